//! Where things stand in the text of a rule file: statements, and the clauses of each. Cedar's own
//! parser decides what a rule means; this finds the words to show.

use std::ops::Range;

/// Deeper brackets or more operators than any rule that is read by people; Cedar recurses over both, on
/// stacks of 2 MiB too.
const MAX_DEPTH: usize = 32;
const MAX_OPERATORS: usize = 128;

/// One rule in a file, from its first annotation to its semicolon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) start: usize,
    /// Behind its semicolon.
    pub(crate) end: usize,
    pub(crate) clauses: Vec<Clause>,
}

/// A condition of a rule that can be looked at alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clause {
    part: Part,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Principal,
    Action,
    Resource,
    When,
    Unless,
}

impl Clause {
    /// A rule that permits exactly where the clause holds.
    pub(crate) fn as_rule(&self) -> String {
        let text = &self.text;
        match self.part {
            Part::Principal => format!("permit ({text}, action, resource);"),
            Part::Action => format!("permit (principal, {text}, resource);"),
            Part::Resource => format!("permit (principal, action, {text});"),
            Part::When => format!("permit (principal, action, resource) when {{ {text}\n}};"),
            Part::Unless => format!("permit (principal, action, resource) unless {{ {text}\n}};"),
        }
    }

    /// The clause on one line, at most 200 characters.
    pub(crate) fn shown(&self) -> String {
        let words: Vec<_> = self.text.split_whitespace().collect();
        let line = match self.part {
            Part::Unless => format!("unless {{ {} }}", words.join(" ")),
            _ => words.join(" "),
        };
        match line.char_indices().nth(200) {
            Some(_) => line.chars().take(199).chain(['…']).collect(),
            None => line,
        }
    }
}

/// The statements of a file, or the offset and text of what is too large to be read safely.
pub(crate) fn statements(source: &str) -> Result<Vec<Statement>, (usize, &'static str)> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    for statement in tokens.split_inclusive(|token| token.is(source, ";")) {
        check_size(source, statement)?;
        if let (Some(first), Some(last)) = (statement.first(), statement.last()) {
            found.push(Statement {
                start: first.range.start,
                end: last.range.end,
                clauses: clauses(source, statement).unwrap_or_default(),
            });
        }
    }
    Ok(found)
}

#[derive(Debug, Clone)]
struct Token {
    range: Range<usize>,
}

impl Token {
    fn text<'a>(&self, source: &'a str) -> &'a str {
        source.get(self.range.clone()).unwrap_or_default()
    }

    fn is(&self, source: &str, text: &str) -> bool {
        self.text(source) == text
    }
}

fn check_size(source: &str, statement: &[Token]) -> Result<(), (usize, &'static str)> {
    let (mut depth, mut operators) = (0_usize, 0);
    for token in statement {
        let text = token.text(source);
        match text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => (),
        }
        // `a["b"]["c"]` and conditions one after the other nest as much as operators do.
        if let "&&" | "||" | "+" | "-" | "*" | "." | "[" | "!" | "if" | "when" | "unless" = text {
            operators += 1;
        }
        if depth > MAX_DEPTH {
            return Err((token.range.start, "the rule is nested more than 32 deep; split it"));
        }
        if operators > MAX_OPERATORS {
            return Err((
                token.range.start,
                "the rule has more than 128 operators; split it or use a set",
            ));
        }
    }
    Ok(())
}

/// Words, strings and signs; comments and white space are left out.
fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || !c.is_ascii();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&c) = bytes.get(at) {
        let rest = bytes.get(at..).unwrap_or_default();
        let length = match c {
            _ if c.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'/' if rest.starts_with(b"//") => {
                at += rest.iter().position(|c| *c == b'\n').unwrap_or(rest.len());
                continue;
            }
            b'"' => string(rest),
            _ if word(c) => rest.iter().position(|c| !word(*c)).unwrap_or(rest.len()),
            _ if [&b"&&"[..], b"||"].iter().any(|sign| rest.starts_with(sign)) => 2,
            _ => 1,
        };
        tokens.push(Token { range: at..at + length });
        at += length;
    }
    tokens
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while let Some(c) = rest.get(at) {
        match c {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Scope and conditions of one statement; `None` where its shape is not that of a rule.
fn clauses(source: &str, statement: &[Token]) -> Option<Vec<Clause>> {
    let mut rest = statement;
    while rest.first()?.is(source, "@") {
        rest = rest.get(2..)?;
        if rest.first()?.is(source, "(") {
            rest = rest.get(3..)?;
        }
    }
    let (scope, mut rest) = bracketed(source, rest.get(1..)?)?;
    let mut clauses: Vec<_> = split(source, scope, ",")
        .into_iter()
        .zip([Part::Principal, Part::Action, Part::Resource])
        .filter(|(tokens, _)| tokens.len() > 1)
        .filter_map(|(tokens, part)| clause(source, tokens, part))
        .collect();
    while !rest.first()?.is(source, ";") {
        let unless = rest.first()?.is(source, "unless");
        let (body, after) = bracketed(source, rest.get(1..)?)?;
        if unless {
            clauses.extend(clause(source, body, Part::Unless));
        } else {
            let parts = conjuncts(source, body).into_iter();
            clauses.extend(parts.filter_map(|tokens| clause(source, tokens, Part::When)));
        }
        rest = after;
    }
    Some(clauses)
}

fn clause(source: &str, tokens: &[Token], part: Part) -> Option<Clause> {
    let range = tokens.first()?.range.start..tokens.last()?.range.end;
    let text = source.get(range)?.to_owned();
    Some(Clause { part, text })
}

/// What stands between the opening bracket that comes first and its closing one, and what follows.
fn bracketed<'a>(source: &str, tokens: &'a [Token]) -> Option<(&'a [Token], &'a [Token])> {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate() {
        match token.text(source) {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth -= 1,
            _ => (),
        }
        if depth == 0 {
            return Some((tokens.get(1..index)?, tokens.get(index + 1..)?));
        }
    }
    None
}

/// `a && b && c` at the top. `||` and `if` bind weaker, so with them the whole is one clause.
fn conjuncts<'a>(source: &str, body: &'a [Token]) -> Vec<&'a [Token]> {
    let weaker = ["||", "if"].iter().any(|sign| split(source, body, sign).len() > 1);
    if weaker { vec![body] } else { split(source, body, "&&") }
}

fn split<'a>(source: &str, tokens: &'a [Token], sign: &str) -> Vec<&'a [Token]> {
    let mut depth = 0_usize;
    tokens
        .split(|token| {
            match token.text(source) {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => (),
            }
            depth == 0 && token.is(source, sign)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(source: &str) -> Vec<String> {
        let statements = statements(source).expect("small");
        statements
            .iter()
            .flat_map(|s| s.clauses.iter().map(Clause::shown))
            .collect()
    }

    #[test]
    fn splits_scope_and_conjuncts() {
        let rule = r#"@id("a;&&b") @x permit (principal in Group::"a,b", action == Action::"x/y", resource)
            when { context.a == "}&&" && [1, 2].contains(context.b) // && no
              && (context.c || context.d) }
            unless { context.e && context.f };"#;
        assert_eq!(
            shown(rule),
            [
                r#"principal in Group::"a,b""#,
                r#"action == Action::"x/y""#,
                r#"context.a == "}&&""#,
                "[1, 2].contains(context.b)",
                "(context.c || context.d)",
                "unless { context.e && context.f }",
            ]
        );
    }

    #[test]
    fn what_binds_weaker_is_one_clause() {
        assert_eq!(
            shown("permit (principal, action, resource) when { a && b || c };"),
            ["a && b || c"]
        );
        let text = "if a then b else c && d";
        assert_eq!(
            shown(&format!("permit (principal, action, resource) when {{ {text} }};")),
            [text]
        );
    }

    #[test]
    fn finds_statements_behind_comments() {
        let source = "// permit (principal, action, resource);\n@id(\"a\")\npermit (principal, action, resource);";
        let starts: Vec<_> = statements(source).expect("small").iter().map(|s| s.start).collect();
        assert_eq!(starts, [source.find('@').expect("annotation")]);
    }

    #[test]
    fn any_text_is_survived_and_deep_ones_are_refused() {
        for text in [
            "",
            "\"",
            "\"\\",
            "permit",
            "permit(",
            "@",
            "@id(",
            ";;",
            "permit(a,b,c) when {",
            "ä/",
            ")",
        ] {
            assert!(statements(text).is_ok(), "{text}");
        }
        assert!(statements(&"(".repeat(33)).is_err());
        for chain in ["a&&", "[\"a\"]", "when{a}", "unless{a}"] {
            assert!(statements(&chain.repeat(128)).is_ok(), "{chain}");
            assert!(statements(&chain.repeat(129)).is_err(), "{chain}");
        }
    }
}
