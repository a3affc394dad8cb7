//! A filter as words, values and signs.

use super::Mistake;

/// A part of a filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word.
    Word(String),
    /// A quoted text.
    Quoted(String),
    /// What a value begins with: a word or a quoted text with `*` behind it.
    Prefix(String),
    /// `= != < <= > >=`
    Sign(&'static str),
    /// `(`
    Open,
    /// `)`
    Close,
    /// `,`
    Comma,
}

/// The longer signs first.
const SIGNS: [&str; 6] = ["!=", "<=", ">=", "=", "<", ">"];

/// The parts with the character that each begins at, the first is 1.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, Mistake> {
    let mut tokens = Vec::new();
    let mut rest = Rest { text, at: 1 };
    loop {
        rest.skip(|c| c.is_whitespace());
        let at = rest.at;
        let Some(first) = rest.text.chars().next() else {
            return Ok(tokens);
        };
        let token = match first {
            '(' => rest.sign(1, Token::Open),
            ')' => rest.sign(1, Token::Close),
            ',' => rest.sign(1, Token::Comma),
            '"' => rest.quoted()?,
            '=' | '!' | '<' | '>' => match SIGNS.iter().find(|sign| rest.text.starts_with(**sign)) {
                Some(sign) => rest.sign(sign.len(), Token::Sign(sign)),
                None => return Err(mistake(at, "signs are = != < <= > >=")),
            },
            _ => rest.word()?,
        };
        tokens.push((at, token));
    }
}

pub(super) fn mistake(at: usize, problem: impl Into<String>) -> Mistake {
    let problem = problem.into();
    Mistake { at, problem }
}

struct Rest<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Rest<'t> {
    /// What the condition holds for, which is passed by.
    fn skip(&mut self, inside: impl Fn(char) -> bool) -> &'t str {
        let end = self.text.find(|c| !inside(c)).unwrap_or(self.text.len());
        let (skipped, rest) = self.text.split_at(end);
        (self.text, self.at) = (rest, self.at + skipped.chars().count());
        skipped
    }

    /// A part of so many ASCII characters.
    fn sign(&mut self, length: usize, token: Token) -> Token {
        (self.text, self.at) = (&self.text[length..], self.at + length);
        token
    }

    fn word(&mut self) -> Result<Token, Mistake> {
        let at = self.at;
        let word = self.skip(|c| !c.is_whitespace() && !matches!(c, '(' | ')' | ',' | '"' | '=' | '!' | '<' | '>'));
        let (begin, prefix) = match word.strip_suffix('*') {
            Some(begin) => (begin, true),
            None => (word, false),
        };
        if begin.contains('*') {
            return Err(mistake(
                at,
                "a * stands at the end of a value; quote one that is meant itself",
            ));
        }
        Ok(match prefix {
            true => Token::Prefix(begin.to_owned()),
            false => Token::Word(begin.to_owned()),
        })
    }

    fn quoted(&mut self) -> Result<Token, Mistake> {
        let begin = self.at;
        let (mut text, mut escaped, mut length) = (String::new(), false, 0);
        let mut end = None;
        for (at, c) in self.text.char_indices().skip(1) {
            length += 1;
            match c {
                _ if escaped => {
                    text.push(c);
                    escaped = false;
                }
                '\\' => escaped = true,
                '"' => {
                    end = Some(at + 1);
                    break;
                }
                _ => text.push(c),
            }
        }
        let end = end.ok_or_else(|| mistake(begin, "the quotation has no end"))?;
        (self.text, self.at) = (&self.text[end..], self.at + length + 1);
        match self.text.strip_prefix('*') {
            Some(rest) => {
                (self.text, self.at) = (rest, self.at + 1);
                Ok(Token::Prefix(text))
            }
            None => Ok(Token::Quoted(text)),
        }
    }
}
