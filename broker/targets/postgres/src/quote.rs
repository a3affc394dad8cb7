//! Names and values for statements that take no bind parameters (roles and grants).

/// Longest name that PostgreSQL keeps whole, in bytes.
pub(crate) const MAX_NAME: usize = 63;

/// Why a text cannot be the name of a group role; `None` if it can.
pub(crate) fn name_fault(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("is empty"),
        _ if name.len() > MAX_NAME => Some("is longer than 63 bytes"),
        _ if name.contains('\0') => Some("holds a NUL"),
        "public" | "none" | "procura_left" => Some("is reserved"),
        _ if name.starts_with("pg_") => Some("is reserved: make a group role of your own"),
        _ => None,
    }
}

/// A quoted identifier.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A quoted string; `standard_conforming_strings` is on in every session of ours.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_escaped() {
        assert_eq!(ident(r#"a"; DROP ROLE b; --"#), r#""a""; DROP ROLE b; --""#);
        assert_eq!(literal(r"a'; \'"), r"'a''; \'''");
    }

    #[test]
    fn names_that_the_server_would_cut_or_own_are_refused() {
        for bad in ["", "a\0b", "public", "pg_read_all_data", &"é".repeat(32)] {
            assert!(name_fault(bad).is_some(), "{bad:?}");
        }
        assert_eq!(name_fault("Support Reader"), None);
    }
}
