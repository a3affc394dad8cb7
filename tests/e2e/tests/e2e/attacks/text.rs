//! What stands in double braces in a case, filled in.

use std::collections::BTreeMap;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use procura_e2e::Fault;

/// Names with their texts.
pub(super) type Words = BTreeMap<String, Vec<u8>>;

/// Fills a text in.
pub(super) fn fill(text: &str, words: &Words) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        // Three braces are one and a name in two.
        let at = if rest[at..].starts_with("{{{") { at + 1 } else { at };
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let inner = &rest[at + 2..];
        let end = inner.find("}}").ok_or_else(|| format!("no end of braces: {rest}"))?;
        out.extend(word(&inner[..end], words)?);
        rest = &inner[end + 2..];
    }
    out.extend_from_slice(rest.as_bytes());
    Ok(out)
}

/// The same where it must be text.
pub(super) fn fill_text(text: &str, words: &Words) -> Result<String, Fault> {
    Ok(String::from_utf8(fill(text, words)?)?)
}

fn word(word: &str, words: &Words) -> Result<Vec<u8>, Fault> {
    if let Some(known) = words.get(word) {
        return Ok(known.clone());
    }
    let (name, argument) = word.split_once(':').unwrap_or((word, ""));
    match name {
        "hex" => hex(argument),
        "base64" => Ok(BASE64_STANDARD.encode(argument).into_bytes()),
        "base64url" => Ok(BASE64_URL_SAFE_NO_PAD.encode(argument).into_bytes()),
        "repeat" => {
            let (count, text) = counted(argument)?;
            Ok(text.as_bytes().repeat(count))
        }
        "repeat-hex" => {
            let (count, text) = counted(argument)?;
            Ok(hex(text)?.repeat(count))
        }
        "numbered" => {
            let (count, text) = counted(argument)?;
            Ok((0..count)
                .map(|n| text.replace('#', &n.to_string()))
                .collect::<String>()
                .into_bytes())
        }
        "random" => {
            let mut bytes = vec![0; argument.parse()?];
            aws_lc_rs::rand::fill(&mut bytes)?;
            // As long as it says, and odd, so that it may stand for a modulus.
            if let [first, .., last] = bytes.as_mut_slice() {
                (*first, *last) = (*first | 0x80, *last | 1);
            }
            Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into_bytes())
        }
        "now" => Ok(now().to_string().into_bytes()),
        _ => match name.strip_prefix("now") {
            Some(offset) => Ok((now() + offset.parse::<i64>()?).to_string().into_bytes()),
            None => Err(format!("nothing is called {word}").into()),
        },
    }
}

fn counted(argument: &str) -> Result<(usize, &str), Fault> {
    let (count, text) = argument.split_once(':').ok_or("a count and a text are needed")?;
    Ok((count.parse()?, text))
}

fn hex(text: &str) -> Result<Vec<u8>, Fault> {
    let digits: Vec<u8> = text.bytes().filter(|c| !c.is_ascii_whitespace()).collect();
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?);
    digits.chunks(2).map(pair).collect()
}

#[expect(clippy::disallowed_methods, reason = "an issuer of its own, with a clock of its own")]
fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
