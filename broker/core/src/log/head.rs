//! What is signed: checkpoints (C2SP tlog-checkpoint), and links from one epoch to the next.

use std::fmt::Write as _;

use tlog_tiles::{Checkpoint, Hash};

use super::tree::MAX_SIZE;

/// What a link begins with; no checkpoint has `old …` as its second line.
const LINK: &str = "procura/log-epoch/v1";

/// The text is no checkpoint and no link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is neither a checkpoint (C2SP tlog-checkpoint) nor a link of epochs")]
pub struct MalformedNote;

/// The head of a tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// Which log: `<host>/procura/<epoch>`, also the name of its keys.
    pub origin: String,
    /// Leaves.
    pub size: u64,
    /// RFC 6962 root hash over them.
    pub root: Hash,
}

/// The origin of an epoch of the log, from 1.
pub fn origin(base: &str, epoch: u64) -> String {
    format!("{base}/procura/{epoch}")
}

impl Head {
    /// The body of a checkpoint: origin, size in decimal, root in base64, each on a line. No extension lines.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, self.root)
    }

    /// The number at the end of the origin, where it has one.
    pub fn epoch(&self) -> Option<u64> {
        self.origin.rsplit_once("/procura/")?.1.parse().ok()
    }

    /// Reads the body of a checkpoint. Extension lines, which nobody need understand, are passed over.
    fn parse(text: &str) -> Result<Self, MalformedNote> {
        let printable = text.chars().all(|c| c == '\n' || !c.is_control());
        let read = Checkpoint::from_bytes(text.as_bytes()).map_err(|_| MalformedNote)?;
        let head = Self {
            origin: read.origin().to_owned(),
            size: read.size(),
            root: *read.hash(),
        };
        let whole = text.strip_prefix(&head.text()).is_some();
        (printable && whole && head.size <= MAX_SIZE)
            .then_some(head)
            .ok_or(MalformedNote)
    }

    fn line(&self) -> String {
        format!("{} {} {}", self.origin, self.size, self.root)
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut parts = line.split(' ');
        let (origin, size, root) = (parts.next()?, parts.next()?, parts.next()?);
        let head = Self::parse(&format!("{origin}\n{size}\n{root}\n")).ok()?;
        (parts.next().is_none()).then_some(head)
    }
}

/// An operator's word that a tree goes on although it does not extend what was anchored: after a restore.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// What was anchored, or else published, last.
    pub old: Head,
    /// What the new epoch begins with.
    pub new: Head,
}

impl Link {
    /// The text of the note: what it is, the old head, the new head, each on a line.
    pub fn text(&self) -> String {
        format!("{LINK}\nold {}\nnew {}\n", self.old.line(), self.new.line())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_prefix(LINK)?.strip_prefix('\n')?.split('\n');
        let old = Head::from_line(lines.next()?.strip_prefix("old ")?)?;
        let new = Head::from_line(lines.next()?.strip_prefix("new ")?)?;
        (lines.next() == Some("") && lines.next().is_none()).then_some(Self { old, new })
    }
}

/// What a note at the anchor says.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// A checkpoint.
    Checkpoint(Head),
    /// A link; what follows extends its new head.
    Link(Link),
}

impl Statement {
    /// Reads the text of a note, signatures apart.
    pub fn parse(text: &str) -> Result<Self, MalformedNote> {
        match Link::parse(text) {
            Some(link) => Ok(Self::Link(link)),
            None => Head::parse(text).map(Self::Checkpoint),
        }
    }

    /// Reads a whole note without looking at its signatures: only to know whose they should be.
    pub fn parse_unverified(note: &str) -> Result<Self, MalformedNote> {
        let (text, _) = note.rsplit_once("\n\n").ok_or(MalformedNote)?;
        let mut text = text.to_owned();
        let _ = text.write_char('\n');
        Self::parse(&text)
    }

    /// The head that whatever comes next must extend; its origin is the name of the keys that signed.
    pub fn head(&self) -> &Head {
        match self {
            Self::Checkpoint(head) => head,
            Self::Link(link) => &link.new,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=";

    fn read(text: &str) -> Option<Head> {
        Head::parse(text).ok()
    }

    #[test]
    fn req_149_a_checkpoint_is_origin_size_and_root_without_extension_lines() {
        let head = read(&format!("broker.example.com/procura/1\n123\n{ROOT}\n")).expect("a checkpoint");
        assert_eq!((head.size, head.epoch()), (123, Some(1)));
        assert_eq!(head.text(), format!("broker.example.com/procura/1\n123\n{ROOT}\n"));
        assert_eq!(origin("broker.example.com", 1), head.origin);
    }

    #[test]
    fn attack_196_what_is_no_checkpoint_is_refused() {
        for bad in [
            format!("o\n0123\n{ROOT}\n"),
            format!("o\n+123\n{ROOT}\n"),
            format!("o\n-1\n{ROOT}\n"),
            format!("o\n 1\n{ROOT}\n"),
            format!("o\n١\n{ROOT}\n"),
            format!("o\n18446744073709551616\n{ROOT}\n"),
            format!("o\n18446744073709551615\n{ROOT}\n"),
            format!("o\r\n123\r\n{ROOT}\r\n"),
            format!("o\n123\r\n{ROOT}\n"),
            format!("o\n123\n{ROOT}"),
            format!("o\n123\n{ROOT}\n\n"),
            format!("o\n123\n{ROOT}\n\next\n"),
            format!("o\n123\n{ROOT}\next"),
            format!("\n123\n{ROOT}\n"),
            format!("o\u{7f}\n123\n{ROOT}\n"),
            format!("o\n123\n{}\n", ROOT.trim_end_matches('=')),
            format!("o\n123\n{ROOT}{ROOT}\n"),
            format!("o\n\n123\n{ROOT}\n"),
            "o\n123\n".to_owned(),
            String::new(),
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn attack_196_extension_lines_and_unicode_origins_are_read_as_they_are() {
        let head = read(&format!("bröker.example/☃\n0\n{ROOT}\nanything\nmore\n")).expect("a checkpoint");
        assert_eq!((head.origin.as_str(), head.size), ("bröker.example/☃", 0));
    }

    #[test]
    fn a_link_is_never_read_as_a_checkpoint_nor_the_other_way_round() {
        let head = |origin: &str, size| Head {
            origin: origin.to_owned(),
            size,
            root: Hash([7; 32]),
        };
        let link = Link {
            old: head("b/procura/1", 9),
            new: head("b/procura/2", 4),
        };
        assert_eq!(read(&link.text()), None);
        let read = Statement::parse(&link.text()).expect("a link");
        assert_eq!((read.head(), &read), (&link.new, &Statement::Link(link.clone())));
        for bad in [
            link.text().replace("\nnew", "\n\nnew"),
            link.text().replace(" 4 ", " 04 "),
            link.text().replace(" 4 ", "  4 "),
            format!("{}more\n", link.text()),
            link.text().trim_end().to_owned(),
        ] {
            assert!(!matches!(Statement::parse(&bad), Ok(Statement::Link(_))), "{bad:?}");
        }
        assert!(Statement::parse(&link.text().replace("old", "older")).is_err());
    }
}
