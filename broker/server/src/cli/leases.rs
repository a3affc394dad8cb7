//! `procura lease`: credentials that want undoing at their target.

use std::io::{self, BufRead, IsTerminal, Write as _};

use clap::builder::NonEmptyStringValueParser;
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use super::{
    Failure,
    api::Api,
    print::{self, value},
    records::{Output, Page, text},
    show,
};

/// Undos that are asked for at once.
const AT_ONCE: usize = 8;

/// `procura lease …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Lease {
    /// Lists credentials that want undoing at their target, newest first
    List(Box<LeaseList>),
    /// Undoes one credential, or all that match the filters
    Undo(Box<LeaseUndo>),
}

/// All that are given must hold. An empty one (of an unset variable) is refused, so that it widens nothing.
#[derive(Debug, clap::Args)]
struct Filters {
    /// Only those at this target
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    target: Option<String>,
    /// Only those that this version of the target's source made
    #[arg(long, value_name = "VERSION", value_parser = NonEmptyStringValueParser::new())]
    source_version: Option<String>,
    /// Only those for this subject (`corp/alice`)
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    subject: Option<String>,
    /// Only those of this agent
    #[arg(long, visible_alias = "agent", value_parser = NonEmptyStringValueParser::new())]
    actor: Option<String>,
    /// Only those of this server
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    server: Option<String>,
    /// Only those of this session
    #[arg(long)]
    session: Option<uuid::Uuid>,
    /// Only those in this state: intended, live, undoing, gone
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    state: Option<String>,
}

/// Filters of `lease list`.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaseList {
    #[command(flatten)]
    filters: Filters,
    #[command(flatten)]
    page: Page,
}

/// One lease, or filters.
#[derive(Debug, clap::Args)]
pub(crate) struct LeaseUndo {
    /// The id of one
    id: Option<uuid::Uuid>,
    #[command(flatten)]
    filters: Filters,
    /// Undoes all that match without asking
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    output: Output,
}

/// `procura inventory`
#[derive(Debug, clap::Args)]
pub(crate) struct Inventory {
    #[command(flatten)]
    output: Output,
}

/// Runs `procura inventory`. Something found is exit code 1, and so is a target that does not say.
pub(crate) async fn inventory(Inventory { output }: Inventory) -> Result<(), Failure> {
    let answer = output.connection.open()?.get("/inventory", &[]).await?;
    output.print(&answer, found)?;
    let targets = answer["targets"].as_array().into_iter().flatten();
    let clean = |target: &Value| target["problem"].is_null() && target["handles"].as_array().is_some_and(Vec::is_empty);
    match { targets }.all(clean) {
        true => Ok(()),
        false => Err(Failure::found(
            "targets have what the store does not know, or did not say",
        )),
    }
}

fn found(answer: &Value) -> String {
    let targets = answer["targets"].as_array().into_iter().flatten();
    let lines = targets.map(|target| {
        let name = value(&target["target"]);
        let handles = target["handles"].as_array().into_iter().flatten();
        let handles: String = handles.map(|handle| format!("{name}  {}\n", value(handle))).collect();
        match &target["problem"] {
            Value::Null if handles.is_empty() => format!("{name}  nothing that the store does not know\n"),
            Value::Null => handles,
            problem => format!("{name}  did not say: {}\n", value(problem)),
        }
    });
    lines.collect()
}

/// Runs `procura lease`.
pub(crate) async fn lease(command: Lease) -> Result<(), Failure> {
    match command {
        Lease::List(list) => {
            let mut query = list.filters.query().to_vec();
            query.extend(list.page.query());
            let answer = list.page.output.connection.open()?.get("/leases", &query).await?;
            let columns = [
                "id",
                "target",
                "state",
                "until",
                "attempts",
                "source_version",
                "session",
            ];
            print::listing(&answer, "leases", &columns, list.page.output.json)
        }
        Lease::Undo(undo) => match (undo.id, undo.filters.query().iter().any(|(_, value)| value.is_some())) {
            (Some(id), false) => {
                let answer = undo.output.connection.open()?.delete(&format!("/leases/{id}")).await?;
                undo.output.print(&answer, show::members)
            }
            (None, true) => undo.matching().await,
            _ => Err(Failure::usage("give the id of one credential, or filters")),
        },
    }
}

impl Filters {
    fn query(&self) -> [(&'static str, Option<String>); 7] {
        [
            ("target", self.target.clone()),
            ("source_version", self.source_version.clone()),
            ("subject", self.subject.clone()),
            ("actor", self.actor.clone()),
            ("server", self.server.clone()),
            ("session", text(&self.session)),
            ("state", self.state.clone()),
        ]
    }

    /// Every lease in this state that matches.
    async fn all(&self, api: &Api, state: &str) -> Result<Vec<Value>, Failure> {
        let mut found = Vec::new();
        let mut before = None;
        loop {
            let mut query = self.query().to_vec();
            query.retain(|(name, _)| *name != "state");
            query.push(("state", Some(state.to_owned())));
            query.push(("limit", Some("1000".to_owned())));
            query.push(("before", before));
            let mut page = api.get("/leases", &query).await?;
            match page["leases"].take() {
                Value::Array(leases) => found.extend(leases),
                _ => return Err(Failure::found("the broker's answer is not a listing")),
            }
            match page["next"].as_str() {
                Some(next) => before = Some(next.to_owned()),
                None => return Ok(found),
            }
        }
    }
}

impl LeaseUndo {
    async fn matching(&self) -> Result<(), Failure> {
        let states = match self.filters.state.as_deref() {
            None => vec!["live", "undoing"],
            Some(state @ ("live" | "undoing")) => vec![state],
            Some(_) => return Err(Failure::usage("only live and undoing credentials can be undone")),
        };
        let api = self.output.connection.open()?;
        let mut found = Vec::new();
        for state in states {
            found.extend(self.filters.all(&api, state).await?);
        }
        let minting = match self.filters.state {
            None => self.filters.all(&api, "intended").await?.len(),
            Some(_) => 0,
        };
        tell(&format!("matching: {}", credentials(found.len())));
        if minting > 0 {
            let text = "not undone by this, look again in a minute; mints under way that match";
            tell(&format!("{text}: {minting}"));
        }
        if !found.is_empty() {
            let stdin = io::stdin();
            let asked = stdin.is_terminal().then(|| stdin.lock());
            confirm(self.yes, asked, "undo them?", "nothing was undone")?;
        }
        let undos = found.into_iter().map(|lease| undone(&api, lease));
        let reports = stream::iter(undos).buffered(AT_ONCE).collect().await;
        self.report(reports, minting)
    }

    fn report(&self, reports: Vec<Value>, minting: usize) -> Result<(), Failure> {
        let count = |status: &str| reports.iter().filter(|report| report["status"] == status).count();
        let (done, queued, unknown, failed) = (count("done"), count("queued"), count("unknown"), count("failed"));
        let summary = format!("{done} undone, {queued} queued, {unknown} not there any more, {failed} failed");
        let answer = json!({"leases": reports, "minting": minting});
        self.output.print(&answer, readable)?;
        tell(&summary);
        if failed == 0 {
            Ok(())
        } else {
            Err(Failure::found(format!(
                "{} not asked to be undone",
                credentials(failed)
            )))
        }
    }
}

fn credentials(count: usize) -> String {
    match count {
        1 => "1 credential".to_owned(),
        count => format!("{count} credentials"),
    }
}

/// What people read while programs read the standard output.
fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Asks whoever sits at the terminal, if anybody does.
pub(super) fn confirm(yes: bool, terminal: Option<impl BufRead>, question: &str, undone: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    let Some(mut terminal) = terminal else {
        return Err(Failure::usage(format!(
            "{undone}: give --yes where there is no terminal to ask at"
        )));
    };
    let _ = write!(io::stderr(), "{question} [y/N] ");
    let mut answer = String::new();
    terminal.read_line(&mut answer).map_err(Failure::usage)?;
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::found(undone)),
    }
}

/// Undoes one and answers the broker's report of it, or why there is none.
async fn undone(api: &Api, lease: Value) -> Value {
    let id = value(&lease["id"]);
    let (status, problem) = match api.delete(&format!("/leases/{id}")).await {
        Ok(report) => return report,
        Err(Failure::Unknown(problem)) => ("unknown", problem),
        Err(failure) => ("failed", failure.to_string()),
    };
    let problem = problem.lines().next();
    json!({"issuance": lease["id"], "target": lease["target"], "status": status, "problem": problem})
}

fn readable(answer: &Value) -> String {
    let row = |report: &Value| {
        let status = match report["status"].as_str() {
            Some("failed") => format!("failed: {}", value(&report["problem"])),
            Some("unknown") => "not there any more, or its record is not written yet".to_owned(),
            _ => show::undone(report),
        };
        vec![value(&report["issuance"]), value(&report["target"]), status]
    };
    let rows: Vec<_> = answer["leases"].as_array().into_iter().flatten().map(row).collect();
    match &rows[..] {
        [] => String::new(),
        rows => print::table(&["id", "target", "status"], rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_at_a_terminal_or_on_the_command_line_undoes() {
        let asked = |yes, terminal: Option<&[u8]>| confirm(yes, terminal, "undo them?", "nothing was undone");
        assert!(asked(true, None).is_ok());
        assert!(matches!(asked(false, None), Err(Failure::Usage(_))));
        for (typed, goes_on) in [
            ("y\n", true),
            ("yes\n", true),
            ("\n", false),
            ("", false),
            ("n\n", false),
        ] {
            assert_eq!(asked(false, Some(typed.as_bytes())).is_ok(), goes_on, "{typed:?}");
        }
    }

    #[test]
    fn the_report_has_a_line_for_each() {
        let id = |n: u8| format!("01890a5d-ac96-774b-bcce-b302099a805{n}");
        let answer = json!({"leases": [
            {"issuance": id(1), "target": "db", "status": "done"},
            {"issuance": id(2), "target": "billing", "status": "queued"},
            {"issuance": id(3), "target": "db", "status": "unknown", "problem": "no such thing"},
            {"issuance": id(4), "target": "db", "status": "failed", "problem": "not allowed\u{1b} (v1.forbidden)"},
        ]});
        insta::assert_snapshot!(readable(&answer), @r"
        id                                    target   status
        01890a5d-ac96-774b-bcce-b302099a8051  db       undone
        01890a5d-ac96-774b-bcce-b302099a8052  billing  queued: the target is asked until it confirms
        01890a5d-ac96-774b-bcce-b302099a8053  db       not there any more, or its record is not written yet
        01890a5d-ac96-774b-bcce-b302099a8054  db       failed: not allowed\u{1b} (v1.forbidden)
        ");
    }
}
