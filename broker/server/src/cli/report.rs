//! `procura report`: how far something reaches, what is not used, what is new.

mod blast;

use clap::{ArgGroup, Subcommand};
use serde_json::Value;

use super::{
    Failure,
    print::{self, table, value},
    records::{Output, text},
    show::Page,
};

/// `procura report …`
#[derive(Debug, Subcommand)]
pub(crate) enum Report {
    /// What one thing could reach, what of it lives now, and what was had with it
    BlastRadius(Box<BlastRadius>),
    /// What of the bundle nobody uses, with a patch that takes it out
    Unused(Unused),
    /// Who did what nobody did before, and who asks far more often than before
    Novel(Novel),
}

/// `procura report blast-radius`
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("of").required(true))]
pub(crate) struct BlastRadius {
    /// A target's own credential by its reference in the bundle; behind an `@` its version
    #[arg(long, group = "of", value_name = "REF[@VERSION]")]
    source: Option<String>,
    /// A target
    #[arg(long, group = "of")]
    target: Option<String>,
    /// A user, or an agent that works for itself (`corp/alice`)
    #[arg(long, group = "of")]
    subject: Option<String>,
    /// An agent that acts for others
    #[arg(long, group = "of")]
    agent: Option<String>,
    /// A server
    #[arg(long, group = "of")]
    server: Option<String>,
    /// An issuer of subject tokens, by its alias
    #[arg(long, group = "of")]
    issuer: Option<String>,
    /// A key by its kid: the broker's, or an issuer's
    #[arg(long, group = "of", value_name = "KID")]
    signing_key: Option<String>,
    /// What was had from this day on (RFC 3339; UTC days are counted)
    #[arg(long)]
    since: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// `procura report unused`
#[derive(Debug, clap::Args)]
pub(crate) struct Unused {
    /// Not used for so many days
    #[arg(long, default_value_t = 90)]
    days: u32,
    /// Prints the patch alone, for `git apply`
    #[arg(long, conflicts_with = "json")]
    patch: bool,
    #[command(flatten)]
    output: Output,
}

/// `procura report novel`
#[derive(Debug, clap::Args)]
pub(crate) struct Novel {
    /// Days that are looked at, today among them (UTC)
    #[arg(long, default_value_t = 1)]
    days: u32,
    /// Days before them that they are compared with
    #[arg(long, default_value_t = 30)]
    baseline: u32,
    #[command(flatten)]
    output: Output,
}

/// Runs `procura report`.
pub(crate) async fn run(command: Report) -> Result<(), Failure> {
    match command {
        Report::BlastRadius(command) => {
            let (source, version) = match command.source.as_deref().map(|source| source.rsplit_once('@')) {
                Some(Some((source, version))) => (Some(source.to_owned()), Some(version.to_owned())),
                _ => (command.source.clone(), None),
            };
            let query = [
                ("source", source),
                ("source_version", version),
                ("target", command.target),
                ("subject", command.subject),
                ("agent", command.agent),
                ("server", command.server),
                ("issuer", command.issuer),
                ("signing_key", command.signing_key),
                ("since", command.since),
            ];
            let api = command.output.connection.open()?;
            let answer = api.get("/reports/blast-radius", &query).await?;
            command.output.print(&answer, blast::page)
        }
        Report::Unused(command) => {
            let query = [("days", text(&Some(command.days)))];
            let answer = command.output.connection.open()?.get("/reports/unused", &query).await?;
            if command.patch {
                print::text(answer["patch"].as_str().unwrap_or_default());
                return Ok(());
            }
            command.output.print(&answer, unused)
        }
        Report::Novel(command) => {
            let query = [
                ("days", text(&Some(command.days))),
                ("baseline", text(&Some(command.baseline))),
            ];
            let answer = command.output.connection.open()?.get("/reports/novel", &query).await?;
            command.output.print(&answer, novel)
        }
    }
}

fn rows<'v>(answer: &'v Value, items: &str) -> impl Iterator<Item = &'v Value> {
    answer[items].as_array().into_iter().flatten()
}

/// Some members of each item as a table.
fn listed<'v>(items: impl Iterator<Item = &'v Value>, columns: &[&str]) -> String {
    let row = |item: &Value| columns.iter().map(|column| value(&item[*column])).collect();
    table(columns, &items.map(row).collect::<Vec<_>>())
}

/// How far the sums count.
fn counted(answer: &Value) -> String {
    let counted = &answer["counted"];
    if counted["behind"].is_null() {
        return "up to some seconds ago".to_owned();
    }
    let behind = match counted["behind"].as_bool() {
        Some(true) => "; newer ones are being counted",
        _ => "",
    };
    match (counted["at"].as_str(), counted["record"].as_str()) {
        (None, _) => format!("no record is counted yet{behind}"),
        (Some(at), None) => format!("up to {}{behind}", print::plain(at)),
        (Some(at), Some(record)) => format!(
            "{} records, the last of {}, {}{behind}",
            value(&counted["records"]),
            print::plain(at),
            print::plain(record)
        ),
    }
}

fn unused(answer: &Value) -> String {
    let mut page = Page::default();
    let since = value(&answer["since"]);
    let first = match value(&answer["first"]) {
        none if none.is_empty() => "; nothing was recorded since".to_owned(),
        first => format!("; the first record since then is of {first}"),
    };
    page.head(&format!("not used since {since}{first}"));
    if answer["more"] == true {
        page.head("more is used than was read: what is listed here may be used");
    }
    page.0.push('\n');
    page.0.push_str(&listed(
        rows(answer, "idle"),
        &["kind", "name", "file", "line", "in_patch", "why"],
    ));
    let cases: Vec<_> = rows(answer, "cases").map(value).collect();
    if !cases.is_empty() {
        page.head("\ntests that show what the patch takes out, and that it takes out too");
        cases.iter().for_each(|case| page.head(&format!("  {case}")));
    }
    page.head("");
    if value(&answer["patch"]).is_empty() {
        page.head("there is no patch");
    } else {
        page.head(
            "the patch: procura report unused --patch > unused.patch; in the bundle's folder: git apply unused.patch",
        );
    }
    page.line("counted", counted(answer));
    page.0
}

fn novel(answer: &Value) -> String {
    let mut page = Page::default();
    page.head(&format!("new since {}", value(&answer["window"])));
    page.line(
        "baseline",
        format!(
            "from {}, {} days with records",
            value(&answer["baseline"]),
            value(&answer["baseline_days"])
        ),
    );
    page.line("rates", value(&answer["rate_rule"]));
    page.line("counted", counted(answer));
    if answer["more"] == true {
        page.head("there is more");
    }
    page.0.push('\n');
    let of = |finding: &Value| {
        let members = finding["of"].as_object().into_iter().flatten();
        let members: Vec<_> = members.map(|(name, part)| format!("{name} {}", value(part))).collect();
        let rate = &finding["rate"];
        let rate = match rate.is_null() {
            true => String::new(),
            false => format!(
                ": {} a day, mean {}, spread {}, limit {}",
                value(&rate["count"]),
                value(&rate["mean"]),
                value(&rate["spread"]),
                value(&rate["limit"])
            ),
        };
        members.join(", ") + &rate
    };
    let row = |finding: &Value| {
        let [kind, issued, refused, first, record] =
            ["finding", "issued", "refused", "first", "record"].map(|member| value(&finding[member]));
        vec![kind, of(finding), issued, refused, first, record]
    };
    let found: Vec<_> = rows(answer, "findings").map(row).collect();
    page.0.push_str(&table(
        &["finding", "of", "issued", "refused", "first", "record"],
        &found,
    ));
    page.0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn hostile_texts_stay_data() {
        let hostile = "a\u{1b}[2J\u{202e}\n=b";
        let answer = json!({
            "findings": [{"finding": "subject_tool", "of": {"subject": hostile}, "record": hostile}],
            "idle": [{"kind": "tool", "name": hostile, "why": hostile}],
            "cases": [hostile],
            "could": [{"target": hostile, "through": [hostile]}],
            "live": [{"target": hostile}],
            "obtained": {"by_subject": [{"what": hostile}], "by_grant": [], "by_server": []},
            "next": [{"does": hostile, "command": hostile}],
        });
        for shown in [unused(&answer), novel(&answer), blast::page(&answer)] {
            assert!(shown.contains(r"a\u{1b}[2J\u{202e}\u{a}=b"), "{shown}");
            assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'), "{shown}");
        }
    }
}
