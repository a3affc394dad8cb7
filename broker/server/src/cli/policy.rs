//! `procura policy`: bundles, offline.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use procura_policy::{Bundle, Case, Loaded, Mistake, Options, load};

use super::{
    Failure,
    api::Connection,
    print::{self, plain},
    recorded, schemas, tools,
};
use crate::{dev::OPTIONS, kinds::KINDS};

/// `procura policy …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policy {
    /// Lists every mistake of a bundle with file and line
    Check(Folder),
    /// Runs the tests of a bundle
    Test(Folder),
    /// Says which rules decide a case, and what came nearest
    Explain(Box<Explain>),
    /// Writes bundle.sum: the folder is whole, `serve` may load it
    Seal(Folder),
    /// Prints the digests of the definitions of tools, for `definition_sha256` in a server's file
    ToolDigest {
        /// What the server answers to tools/list, as JSON; `-` reads standard input
        file: PathBuf,
    },
    /// Writes the JSON Schemas of a bundle's files, for editors
    Schemas {
        /// The folder that they are written to
        #[arg(default_value = "policies/schemas")]
        folder: PathBuf,
    },
}

/// A bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct Folder {
    /// The bundle
    #[arg(default_value = "policies/dev")]
    folder: PathBuf,
}

/// `procura policy explain`
#[derive(Debug, clap::Args)]
pub(crate) struct Explain {
    #[command(flatten)]
    folder: Folder,
    /// File with `[[case]]` entries, as under tests/ of a bundle; `-` reads standard input
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present_any = ["grant", "issuance"],
        conflicts_with = "grant"
    )]
    case: Option<PathBuf>,
    /// A record's id: its decision is made again, with the bundle that made it
    #[arg(
        long,
        value_name = "ID",
        conflicts_with_all = ["folder", "case", "grant", "server", "tool", "user", "agent", "groups", "actor", "params", "at"]
    )]
    issuance: Option<uuid::Uuid>,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    flags: Flags,
    /// Prints the case as a test that expects what is decided now
    #[arg(long)]
    as_case: bool,
}

/// A case on the command line.
#[derive(Debug, clap::Args)]
struct Flags {
    /// The grant (`github/read-issues`)
    #[arg(long, requires = "server", requires = "who")]
    grant: Option<String>,
    /// The server
    #[arg(long)]
    server: Option<String>,
    /// The tool
    #[arg(long)]
    tool: Option<String>,
    /// The user (`corp/alice`)
    #[arg(long, group = "who")]
    user: Option<String>,
    /// The agent that works for itself (`corp/triage-bot`)
    #[arg(long, group = "who")]
    agent: Option<String>,
    /// A group of the subject (`corp/support`)
    #[arg(long = "group")]
    groups: Vec<String>,
    /// The agent that acts for the subject
    #[arg(long)]
    actor: Option<String>,
    /// A parameter: NAME=VALUE, the value as TOML or plain text
    #[arg(long = "param", value_name = "NAME=VALUE")]
    params: Vec<String>,
    /// When (RFC 3339)
    #[arg(long)]
    at: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(command: Policy) -> Result<(), Failure> {
    match command {
        Policy::Check(folder) => check(&folder.folder),
        Policy::Test(folder) => test(&folder.folder),
        Policy::Explain(command) => match command.issuance {
            Some(id) => recorded::explain(id, &command.connection, command.as_case).await,
            None => explain(&command),
        },
        Policy::Seal(folder) => seal(&folder.folder),
        Policy::ToolDigest { file } => tools::print_digests(&read(&file)?),
        Policy::Schemas { folder } => schemas::write(&folder),
    }
}

pub(super) fn listed(mistakes: &[Mistake]) -> Failure {
    let lines: Vec<_> = mistakes.iter().map(|mistake| plain(&mistake.to_string())).collect();
    Failure::Found(format!(
        "{} in the bundle\n{}",
        count(mistakes.len(), "mistake"),
        lines.join("\n")
    ))
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn open(folder: &Path) -> Result<(Bundle, Loaded), Failure> {
    let bundle = Bundle::read(folder).map_err(|mistakes| listed(&mistakes))?;
    let loaded = load(&bundle, &KINDS, OPTIONS).map_err(|mistakes| listed(&mistakes))?;
    Ok((bundle, loaded))
}

fn check(folder: &Path) -> Result<(), Failure> {
    let (bundle, loaded) = open(folder)?;
    print::line(format_args!(
        "{}: no mistakes, {}",
        folder.display(),
        count(loaded.rule_count(), "rule")
    ));
    print::line(format_args!("digest {}", bundle.digest()));
    if load(&bundle, &KINDS, Options::default()).is_err() {
        print::line(format_args!(
            "for `procura dev` only: it uses builtin:dev or an http issuer, which `serve` refuses"
        ));
    }
    Ok(())
}

fn test(folder: &Path) -> Result<(), Failure> {
    let (bundle, loaded) = open(folder)?;
    let mut cases = 0;
    for (path, bytes) in bundle.files().filter(|(path, _)| path.starts_with("tests/")) {
        let read = loaded.read_cases(path, &String::from_utf8_lossy(bytes));
        for case in read.map_err(|mistakes| listed(&mistakes))? {
            print::line(format_args!("ok  {path}: {}", plain(&case.name)));
            cases += 1;
        }
    }
    print::line(format_args!("{} hold", count(cases, "case")));
    Ok(())
}

fn seal(folder: &Path) -> Result<(), Failure> {
    let bundle = Bundle::seal(folder).map_err(|mistakes| listed(&mistakes))?;
    print::line(format_args!(
        "{}/bundle.sum written, digest {}",
        folder.display(),
        bundle.digest()
    ));
    Ok(())
}

fn explain(command: &Explain) -> Result<(), Failure> {
    let (_, loaded) = open(&command.folder.folder)?;
    let (file, text) = match &command.case {
        Some(path) => (path.display().to_string(), read(path)?),
        None => ("the command line".to_owned(), command.flags.text()?),
    };
    let cases = loaded.read_cases(&file, &text).map_err(|mistakes| listed(&mistakes))?;
    let mut denied = 0;
    for case in &cases {
        let explanation = loaded.explain(case);
        denied += usize::from(!explanation.permits());
        if command.as_case {
            print::text(format_args!("{}", as_case(&loaded, case)?));
        } else {
            print_explanation(case, &explanation, cases.len() > 1);
        }
    }
    if denied > 0 && !command.as_case {
        return Err(Failure::Found(format!("{} denied", count(denied, "case"))));
    }
    Ok(())
}

/// The case as a test; an error where a test cannot say exactly this.
pub(super) fn as_case(loaded: &Loaded, case: &Case) -> Result<String, Failure> {
    let text = loaded.as_case(case);
    let read = loaded.read_cases("the case", &text);
    let read = read.map_err(|mistakes| Failure::found(format!("no test can say this; {}", listed(&mistakes))))?;
    let bare = |case: &Case| Case {
        expect: None,
        ..case.clone()
    };
    if read.iter().map(bare).eq([bare(case)]) {
        Ok(text)
    } else {
        Err(Failure::found("no test can say this: its lifetime is below a second"))
    }
}

fn print_explanation(case: &Case, explanation: &procura_policy::Explanation, several: bool) {
    if several {
        print::text(format_args!("{}: ", plain(&case.name)));
    }
    print::line(format_args!("{}", plain(&explanation.to_string())));
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error| Failure::usage(format!("{}: {error}", path.display()));
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map_err(failed)?;
        return Ok(text);
    }
    std::fs::read_to_string(path).map_err(failed)
}

impl Flags {
    /// The case as its file would have it.
    fn text(&self) -> Result<String, Failure> {
        let mut subject = toml::Table::new();
        for (kind, id) in [("user", &self.user), ("agent", &self.agent)] {
            subject.extend(id.iter().map(|id| (kind.to_owned(), id.as_str().into())));
        }
        let id = self.user.as_ref().or(self.agent.as_ref());
        let issuer = id.and_then(|id| id.split_once('/')).map(|(issuer, _)| issuer);
        // As rules have it (`corp/support`), or as cases do (`support`).
        let short = |group: &str| {
            let own = issuer.and_then(|issuer| group.strip_prefix(issuer)?.strip_prefix('/'));
            toml::Value::from(own.unwrap_or(group))
        };
        if !self.groups.is_empty() {
            let groups: Vec<_> = self.groups.iter().map(|group| short(group)).collect();
            subject.insert("groups".to_owned(), groups.into());
        }
        let mut case = toml::Table::from_iter([("name".to_owned(), "the command line".into())]);
        case.insert("subject".to_owned(), subject.into());
        let texts = [
            ("actor", &self.actor),
            ("server", &self.server),
            ("tool", &self.tool),
            ("grant", &self.grant),
            ("at", &self.at),
        ];
        for (name, text) in texts {
            case.extend(text.iter().map(|text| (name.to_owned(), text.as_str().into())));
        }
        let mut params = toml::Table::new();
        for param in &self.params {
            let (name, text) = param
                .split_once('=')
                .ok_or_else(|| Failure::usage("--param is NAME=VALUE"))?;
            let value = text.parse().unwrap_or_else(|_| toml::Value::from(text));
            params.insert(name.to_owned(), value);
        }
        if !params.is_empty() {
            case.insert("params".to_owned(), params.into());
        }
        let file = toml::Table::from_iter([("case".to_owned(), vec![case].into())]);
        toml::to_string(&file).map_err(Failure::usage)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use procura_core::judgement::Judge;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    /// Each folder below `policies/examples/` is one of a kind, and each kind has one.
    #[test]
    fn the_example_of_every_kind_is_checked_tested_and_fit_for_serve() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut examples = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(root.join("policies/examples")).expect("folder") {
            let (folder, name) = entry.map(|entry| (entry.path(), entry.file_name())).expect("entry");
            let kind = name.into_string().expect("text");
            check(&folder).expect("no mistakes");
            test(&folder).expect("its tests hold");
            let bundle = Bundle::read(&folder).expect("folder");
            let loaded = load(&bundle, &KINDS, Options::default()).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
            let mut targets = loaded.catalogue().targets.values();
            assert!(targets.any(|target| target.kind.name == kind), "{kind}");
            for expect in ["expect = \"permit\"", "expect = \"deny\""] {
                let says = |(path, bytes): (&str, &[u8])| {
                    path.starts_with("tests/") && String::from_utf8_lossy(bytes).contains(expect)
                };
                assert!(bundle.files().any(says), "{kind} has no case with {expect}");
            }
            let page = std::fs::read_to_string(root.join(format!("docs/targets/{kind}.md"))).expect("a page");
            assert!(page.contains(&format!("policies/examples/{kind}")), "{kind}");
            examples.insert(kind);
        }
        let kinds = KINDS.iter().map(|kind| kind.name.to_owned()).collect();
        assert_eq!(examples, kinds);
    }

    #[test]
    fn groups_may_be_written_as_rules_have_them() {
        let flags = [
            "explain",
            "--user",
            "corp/a",
            "--group",
            "corp/support",
            "--group",
            "sre",
            "--group",
            "dev/x",
            "--server",
            "tickets",
            "--grant",
            "api/read",
        ];
        let text = Line::try_parse_from(flags).expect("flags").flags.text().expect("case");
        assert!(text.contains(r#"groups = ["support", "sre", "dev/x"]"#), "{text}");
    }
}
