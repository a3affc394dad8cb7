//! The query in the address: what was asked for can be shared, and asked for again.

use url::form_urlencoded::{Serializer, parse};

/// The parameters of an address, those that are empty left out.
pub(super) struct Asked(Vec<(String, String)>);

impl Asked {
    pub(super) fn read(query: Option<&str>) -> Self {
        let pairs = parse(query.unwrap_or_default().as_bytes()).into_owned();
        Self(pairs.filter(|(_, value)| !value.is_empty()).collect())
    }

    /// The value of one.
    pub(super) fn get(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }

    /// Whether anything is asked for beside the page of a listing.
    pub(super) fn is_narrowed(&self) -> bool {
        self.0.iter().any(|(name, _)| name != "before" && name != "limit")
    }

    /// The same from its beginning.
    pub(super) fn newest(&self) -> String {
        let mut query = Serializer::new(String::new());
        query
            .extend_pairs(self.0.iter().filter(|(name, _)| name != "before"))
            .finish()
    }

    /// The same with another `before`.
    pub(super) fn older(&self, before: &str) -> String {
        let mut query = Serializer::new(String::new());
        query.extend_pairs(self.0.iter().filter(|(name, _)| name != "before"));
        query.append_pair("before", before).finish()
    }
}

/// `name=value`, encoded.
pub(super) fn pair(name: &str, value: &str) -> String {
    Serializer::new(String::new()).append_pair(name, value).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_asks_for_the_same() {
        let asked = Asked::read(Some("server=a%26b&tool=&before=x"));
        assert_eq!((asked.get("server"), asked.get("tool")), ("a&b", ""));
        assert_eq!(asked.older("y"), "server=a%26b&before=y");
        assert!(asked.is_narrowed() && !Asked::read(Some("before=x")).is_narrowed());
    }
}
