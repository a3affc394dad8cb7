//! The text of a rule as its file has it, for those who read what it decided.

use std::str::FromStr;

use cedar_policy::{PolicyId, PolicySet};

use crate::{bundle::Bundle, declare::listed, text};

/// A rule as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    /// Its file in the bundle.
    pub file: String,
    /// Its first line there, from 1.
    pub line: usize,
    /// From its first annotation to its semicolon.
    pub text: String,
}

impl Bundle {
    /// The text of the rule with that `@id`; `None` where the bundle has none.
    pub fn rule_text(&self, id: &str) -> Option<RuleText> {
        listed(self, "rules", ".cedar").find_map(|(path, _, bytes)| in_file(path, str::from_utf8(bytes).ok()?, id))
    }
}

fn in_file(path: &str, source: &str, id: &str) -> Option<RuleText> {
    let statements = text::statements(source).ok()?;
    let set = PolicySet::from_str(source).ok()?;
    // Cedar names the rules of a file policy0, policy1, … in their order.
    let index = (0..statements.len()).find(|index| {
        let policy = set.policy(&PolicyId::new(format!("policy{index}")));
        policy.is_some_and(|policy| policy.annotation("id") == Some(id))
    })?;
    let start = statements.get(index)?.start;
    let text = source.get(start..statements.get(index)?.end)?;
    Some(RuleText {
        file: path.to_owned(),
        line: source.get(..start)?.matches('\n').count() + 1,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "// First.\n@id(\"a;\")\npermit (principal, action, resource);\n\n\
                         @id(\"b\")\nforbid (principal, action, resource)\nwhen { context.x == \";\" }; // last\n";

    #[test]
    fn a_rule_is_found_by_its_id_with_file_line_and_whole_text() {
        let bundle = Bundle::of([("rules/x.cedar".to_owned(), RULES.as_bytes().to_vec())]);
        let found = bundle.rule_text("b").expect("rule");
        assert_eq!((found.file.as_str(), found.line), ("rules/x.cedar", 5));
        let text = "@id(\"b\")\nforbid (principal, action, resource)\nwhen { context.x == \";\" };";
        assert_eq!(found.text, text);
        let first = bundle.rule_text("a;").map(|rule| rule.line);
        assert_eq!((first, bundle.rule_text("c")), (Some(2), None));
    }
}
