//! Names that are fit for AWS, made from names that others chose.

use procura_wire::Digest;

/// Stands before the digest of what was changed, and in no name that was not.
const MARK: char = '=';
/// Hexadecimal digits of that digest.
const DIGEST: usize = 32;

/// The text itself where it is a plain tag value of 1 to `most` characters; otherwise what is plain of it and a digest of
/// the whole, so that two texts never become one name. ASCII only: letters that look alike are not alike.
pub(crate) fn safe(text: &str, most: usize) -> String {
    if (1..=most).contains(&text.len()) && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let digest = Digest::of(text.as_bytes()).to_string();
    let kept = text.chars().map(|c| if is_plain(c) { c } else { '_' });
    let kept: String = kept.take(most.saturating_sub(DIGEST + 1)).collect();
    kept + &String::from(MARK) + digest.get(..DIGEST).unwrap_or_default()
}

fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | ':' | '/' | '+' | '-' | '@')
}

/// Whether AWS takes the text as the value of a tag as it is, in ASCII (STS `Tag`; `aws:` is its own).
pub(crate) fn is_tag_value(text: &str, most: usize) -> bool {
    let own = text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:"));
    (1..=most).contains(&text.len()) && !own && text.chars().all(|c| is_plain(c) || c == MARK || c == ' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["corp/alice", "corp/..", "corp/a.b+c@example.com", "a:b-c_d"] {
            assert_eq!(safe(name, 256), name);
        }
    }

    #[test]
    fn hostile_names_become_plain_ones_with_a_digest() {
        let long = "a".repeat(300);
        let hostile = [
            "admin'--",
            "a\"b",
            "a\nb",
            "a\0b",
            "%2f",
            "corp/\u{430}lice",
            "a b",
            "a=b",
            "${aws:userid}",
            "*",
            "",
            &long,
        ];
        for name in hostile {
            let made = safe(name, 256);
            let (kept, digest) = made.rsplit_once(MARK).expect("a digest");
            assert!(made.len() <= 256 && kept.chars().all(is_plain), "{made}");
            assert_eq!(digest.len(), DIGEST);
            assert!(Digest::of(name.as_bytes()).to_string().starts_with(digest));
        }
        assert_ne!(safe("corp/\u{430}lice", 256), safe("corp/alice", 256));
    }

    #[test]
    fn nobody_can_choose_the_name_that_another_one_becomes() {
        let made = safe("admin'--", 256);
        assert_ne!(safe(&made, 256), made);
    }

    proptest! {
        #[test]
        fn two_names_never_become_one(a in ".{0,300}", b in ".{0,300}") {
            prop_assert_eq!(a == b, safe(&a, 256) == safe(&b, 256));
        }

        #[test]
        fn every_name_becomes_a_tag_value(text in ".{0,300}") {
            let name = "corp/".to_owned() + &text;
            prop_assert!(is_tag_value(&safe(&name, 256), 256));
        }
    }
}
