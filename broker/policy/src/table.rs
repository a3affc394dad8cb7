//! TOML read strictly: each value is asked for by name and type, what nobody asked for is a mistake,
//! and reading goes on after one so that all of them are found.

use std::{cell::RefCell, collections::BTreeMap, fmt::Display, str::FromStr, time::Duration};

use jiff::{Timestamp, civil::Date, tz::TimeZone};
use procura_wire::Name;
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::mistake::Mistake;

/// Most mistakes that are told of one file; finding the line of each costs a look at the whole text.
const MAX_MISTAKES: usize = 1000;

/// A file that is being read, with the mistakes found so far.
pub(crate) struct Doc<'d> {
    pub(crate) file: &'d str,
    text: &'d str,
    mistakes: RefCell<Vec<Mistake>>,
}

impl<'d> Doc<'d> {
    pub(crate) fn new(file: &'d str, text: &'d str) -> Self {
        Self {
            file,
            text,
            mistakes: RefCell::default(),
        }
    }

    /// Parses the text; `None` where it is not TOML.
    pub(crate) fn parse(&self) -> Option<Spanned<DeTable<'d>>> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        for error in &errors {
            let at = error.span().map_or(0, |span| span.start);
            self.mistake(at, format!("this is not TOML: {}", error.message()));
        }
        errors.is_empty().then_some(table)
    }

    pub(crate) fn mistake(&self, at: usize, text: impl Into<String>) {
        let mut mistakes = self.mistakes.borrow_mut();
        if mistakes.len() < MAX_MISTAKES {
            mistakes.push(Mistake::at(self.file, self.text, at, text));
        }
    }

    pub(crate) fn into_mistakes(self) -> Vec<Mistake> {
        self.mistakes.into_inner()
    }
}

/// Values that may stand only once in a bundle, with the file that each was first seen in.
#[derive(Default)]
pub(crate) struct Seen(RefCell<BTreeMap<(&'static str, String), String>>);

/// A table whose keys are asked for one by one.
pub(crate) struct Table<'d> {
    pub(crate) doc: &'d Doc<'d>,
    entries: &'d DeTable<'d>,
    at: usize,
    known: Vec<&'static str>,
    open: bool,
}

impl<'d> Table<'d> {
    pub(crate) fn root(doc: &'d Doc<'d>, tree: &'d Spanned<DeTable<'d>>) -> Self {
        Self::new(doc, tree.get_ref(), 0)
    }

    fn new(doc: &'d Doc<'d>, entries: &'d DeTable<'d>, at: usize) -> Self {
        let known = Vec::new();
        let open = false;
        Self {
            doc,
            entries,
            at,
            known,
            open,
        }
    }

    /// The value of a key that may be absent.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Item<'d>> {
        self.known.push(key);
        let (name, value) = self.entries.get_key_value(key)?;
        Some(Item {
            doc: self.doc,
            value: value.get_ref(),
            at: name.span().start,
        })
    }

    /// The value of a key that must be there; `example` shows how to write it.
    pub(crate) fn need(&mut self, key: &'static str, example: &str) -> Option<Item<'d>> {
        let item = self.take(key);
        if item.is_none() {
            self.doc.mistake(
                self.at,
                format!("`{key}` is missing; write for example: {key} = {example}"),
            );
        }
        item
    }

    /// A table of free names under a key; empty where absent.
    pub(crate) fn named(&mut self, key: &'static str) -> Vec<(&'d str, Item<'d>)> {
        self.take(key)
            .and_then(Item::table)
            .map(|table| table.entries())
            .unwrap_or_default()
    }

    pub(crate) fn flag(&mut self, key: &'static str) -> bool {
        self.take(key).and_then(Item::bool).unwrap_or(false)
    }

    /// Lets other keys stand: what they mean cannot be told.
    pub(crate) fn leave_open(&mut self) {
        self.open = true;
    }

    /// Every key with its value.
    pub(crate) fn entries(&self) -> Vec<(&'d str, Item<'d>)> {
        let item = |name: &Spanned<_>, value: &'d Spanned<DeValue<'d>>| Item {
            doc: self.doc,
            value: value.get_ref(),
            at: name.span().start,
        };
        self.entries
            .iter()
            .map(|(name, value)| (name.get_ref().as_ref(), item(name, value)))
            .collect()
    }

    /// Where the table begins.
    pub(crate) fn mistake(&self, text: impl Into<String>) {
        self.doc.mistake(self.at, text);
    }

    /// Ends the reading: what nobody asked for is a mistake.
    pub(crate) fn finish(self) {
        for (name, item) in self.entries() {
            if !self.open && !self.known.contains(&name) {
                let known = self.known.join(", ");
                item.mistake(format!("`{name}` is not a key here; the keys are: {known}"));
            }
        }
    }
}

/// A value with its place.
#[derive(Clone, Copy)]
pub(crate) struct Item<'d> {
    pub(crate) doc: &'d Doc<'d>,
    value: &'d DeValue<'d>,
    pub(crate) at: usize,
}

impl<'d> Item<'d> {
    pub(crate) fn mistake(&self, text: impl Into<String>) {
        self.doc.mistake(self.at, text);
    }

    fn wrong<T>(&self, wanted: &str) -> Option<T> {
        self.mistake(format!("{wanted} is needed here, not {}", of_type(self.value)));
        None
    }

    pub(crate) fn text(self) -> Option<&'d str> {
        match self.value {
            DeValue::String(text) => Some(text.as_ref()),
            _ => self.wrong("a string"),
        }
    }

    /// A string that is not empty.
    pub(crate) fn filled(self) -> Option<&'d str> {
        let text = self.text()?;
        if text.trim().is_empty() {
            self.mistake("an empty string says nothing here; write a value");
            return None;
        }
        Some(text)
    }

    pub(crate) fn bool(self) -> Option<bool> {
        match self.value {
            DeValue::Boolean(value) => Some(*value),
            _ => self.wrong("true or false"),
        }
    }

    pub(crate) fn int(self) -> Option<i64> {
        match self.value {
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Some(number),
                Err(_) => {
                    self.mistake("the number does not fit into 64 bits");
                    None
                }
            },
            _ => self.wrong("a whole number"),
        }
    }

    pub(crate) fn list(self) -> Option<Vec<Item<'d>>> {
        let DeValue::Array(items) = self.value else {
            return self.wrong("a list in [ ]");
        };
        let item = |value: &'d Spanned<DeValue<'d>>| Item {
            doc: self.doc,
            value: value.get_ref(),
            at: value.span().start,
        };
        Some(items.iter().map(item).collect())
    }

    /// A list of strings, none empty, none twice. Reads on behind a wrong one.
    pub(crate) fn texts(self) -> Option<Vec<(&'d str, Item<'d>)>> {
        let mut found: Vec<(&str, Item<'_>)> = Vec::new();
        for item in self.list()? {
            let Some(text) = item.filled() else { continue };
            if found.iter().any(|(earlier, _)| *earlier == text) {
                item.mistake(format!("`{text}` stands in the list twice; remove one"));
            }
            found.push((text, item));
        }
        Some(found)
    }

    pub(crate) fn table(self) -> Option<Table<'d>> {
        match self.value {
            DeValue::Table(entries) => Some(Table::new(self.doc, entries, self.at)),
            _ => self.wrong("a table"),
        }
    }

    /// A string that parses; `T`'s error says what it must look like.
    pub(crate) fn parse<T: FromStr<Err: Display>>(self) -> Option<T> {
        let text = self.text()?;
        text.parse()
            .map_err(|error| self.mistake(format!("`{text}` does not fit: {error}")))
            .ok()
    }

    /// One of a few words.
    pub(crate) fn one_of<T: Copy>(self, words: &[(&str, T)]) -> Option<T> {
        let text = self.text()?;
        let found = words.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let all: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            self.mistake(format!("`{text}` is not known here; write one of: {}", all.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    /// A lifetime such as `90s`, `5m`, `8h`, `1d`.
    pub(crate) fn duration(self) -> Option<Duration> {
        let text = self.text()?;
        let time = parse_duration(text);
        if time.is_none() {
            self.mistake(format!(
                "`{text}` is no length of time; write for example 90s, 5m, 8h or 1d"
            ));
        }
        time
    }

    /// A moment: RFC 3339, or a day, which means its first moment in UTC.
    pub(crate) fn moment(self) -> Option<Timestamp> {
        let text = match self.value {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => return self.wrong("a time"),
        };
        let day = || text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok();
        let moment = text.parse().ok().or_else(|| day().map(|day| day.timestamp()));
        if moment.is_none() {
            self.mistake(format!(
                "`{text}` is no time; write for example 2027-01-31 or 2026-11-20T09:00:00Z"
            ));
        }
        moment
    }

    /// A parameter's value: a string, a number, true or false, or a list of strings.
    pub(crate) fn json(self) -> Option<serde_json::Value> {
        match self.value {
            DeValue::Boolean(value) => Some((*value).into()),
            DeValue::Integer(_) => self.int().map(Into::into),
            DeValue::Array(_) => self.list()?.into_iter().map(Item::json).collect(),
            _ => self.text().map(Into::into),
        }
    }

    /// The same with tables in it.
    pub(crate) fn tree(self) -> Option<serde_json::Value> {
        match self.value {
            DeValue::Table(_) => {
                let entries = self.table()?.entries().into_iter();
                let members: Option<serde_json::Map<_, _>> = entries
                    .map(|(name, item)| Some((name.to_owned(), item.tree()?)))
                    .collect();
                members.map(Into::into)
            }
            DeValue::Array(_) => self.list()?.into_iter().map(Item::tree).collect(),
            _ => self.json(),
        }
    }

    /// A name that must be among those declared in a folder.
    pub(crate) fn declared(self, names: &[Name], folder: &str) -> Option<Name> {
        let name: Name = self.parse()?;
        if !names.contains(&name) {
            self.mistake(format!("`{name}` is not declared; there is no {folder}/{name}.toml"));
            return None;
        }
        Some(name)
    }

    /// A value that no other file of the bundle may have too.
    pub(crate) fn unique(self, seen: &Seen, what: &'static str, value: impl Into<String>) {
        let mut seen = seen.0.borrow_mut();
        let first = seen
            .entry((what, value.into()))
            .or_insert_with(|| self.doc.file.to_owned());
        if self.doc.file != first {
            self.mistake(format!("{first} has the same {what}; each may stand only once"));
        }
    }
}

fn of_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Reads `90s`, `5m`, `8h`, `1d`; above zero.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    let plain = (1..=6).contains(&number.len()) && number.bytes().all(|c| c.is_ascii_digit());
    let number: u64 = plain.then(|| number.parse().ok())??;
    (number > 0).then(|| Duration::from_secs(number * seconds))
}
