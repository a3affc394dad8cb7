//! `procura session`, `procura log`: what operators and auditors ask.

use serde_json::Value;

use super::{
    Failure,
    api::Connection,
    export::Export,
    print, show,
    tail::{self, Tail},
    timeline,
    verify::Verify,
};

/// `procura session …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Session {
    /// Lists sessions, newest first
    List(SessionList),
    /// Shows what happened in a session and what is left of it
    Show(One),
    /// Ends a session: what it holds is undone, the report says how far
    End(One),
}

/// `procura log …`
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Log {
    /// Lists records, newest first
    List(Box<LogList>),
    /// Shows records as they are appended, until it is interrupted
    Tail(Tail),
    /// Shows a record and verifies its commitment
    Show(One),
    /// Writes the whole log into a file that anybody can verify
    Export(Export),
    /// Recomputes an export, or the live log: every record, the tree over them, its checkpoints
    Verify(Verify),
}

/// One thing by its id.
#[derive(Debug, clap::Args)]
pub(crate) struct One {
    /// Its id
    id: uuid::Uuid,
    #[command(flatten)]
    output: Output,
}

/// Where from, and in which form.
#[derive(Debug, clap::Args)]
pub(super) struct Output {
    #[command(flatten)]
    pub(super) connection: Connection,
    /// Prints the API's JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A page of a listing.
#[derive(Debug, clap::Args)]
pub(super) struct Page {
    /// At most so many
    #[arg(long)]
    limit: Option<u32>,
    /// Only what is older than this id
    #[arg(long)]
    before: Option<uuid::Uuid>,
    #[command(flatten)]
    pub(super) output: Output,
}

impl Page {
    pub(super) fn query(&self) -> [(&'static str, Option<String>); 2] {
        [("limit", text(&self.limit)), ("before", text(&self.before))]
    }
}

/// Filters of `session list`.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionList {
    /// Only those for this subject (`corp/alice`)
    #[arg(long)]
    subject: Option<String>,
    /// Only those of this agent
    #[arg(long)]
    actor: Option<String>,
    /// Only those of this server
    #[arg(long)]
    server: Option<String>,
    /// Only those that are live
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    page: Page,
}

/// Filters of `log list`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LogList {
    /// A filter: 'subject = corp/alice and at >= -24h and not outcome = issued'
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    /// Only those for this subject (`corp/alice`)
    #[arg(long)]
    subject: Option<String>,
    /// Only those of this agent
    #[arg(long)]
    actor: Option<String>,
    /// Only those of this server
    #[arg(long)]
    server: Option<String>,
    /// Only those of this tool
    #[arg(long)]
    tool: Option<String>,
    /// Only those at this target
    #[arg(long)]
    target: Option<String>,
    /// Only those of this grant
    #[arg(long)]
    grant: Option<String>,
    /// Only those of this session
    #[arg(long)]
    session: Option<uuid::Uuid>,
    /// Only those of this: exchange, use, revocation, `session_end`, rotation
    #[arg(long)]
    event: Option<String>,
    /// Only those that ended so: issued, refused, reported, done
    #[arg(long)]
    outcome: Option<String>,
    /// Only those about this issuance
    #[arg(long)]
    about: Option<uuid::Uuid>,
    /// At or after (RFC 3339)
    #[arg(long)]
    since: Option<String>,
    /// Before (RFC 3339)
    #[arg(long)]
    until: Option<String>,
    /// All of them as CSV, safe for spreadsheets
    #[arg(long, conflicts_with_all = ["json", "jsonl"])]
    csv: bool,
    /// All of them as JSON, one a line
    #[arg(long, conflicts_with = "json")]
    jsonl: bool,
    #[command(flatten)]
    page: Page,
}

/// What the help of listings ends in.
pub(super) const EXAMPLES: &str = "\
Filters compare a field of the record with = != < <= > >= or in (…), and are joined by and, or, not and ( ).
A value that ends in * stands for all that begin so; times are RFC 3339, a day, or ago: -24h.

  'target = db and outcome = refused'
  'issuer = corp and at >= -7d and tool in (query, export)'
  'subject = corp/alice and (params.table = orders or granted.ttl > 300)'";

pub(super) fn text(value: &Option<impl ToString>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

/// Runs `procura session`.
pub(crate) async fn session(command: Session) -> Result<(), Failure> {
    match command {
        Session::List(list) => {
            let mut query = vec![
                ("subject", list.subject),
                ("actor", list.actor),
                ("server", list.server),
                ("live", list.live.then(|| "true".to_owned())),
            ];
            query.extend(list.page.query());
            let columns = ["id", "subject", "actor", "server", "opened", "issuances", "state"];
            let mut answer = list.page.output.connection.open()?.get("/sessions", &query).await?;
            for session in answer["sessions"].as_array_mut().into_iter().flatten() {
                flatten_session(session, list.page.output.json);
            }
            print::listing(&answer, "sessions", &columns, list.page.output.json)
        }
        Session::Show(one) => {
            let answer = one
                .output
                .connection
                .open()?
                .get(&format!("/sessions/{}", one.id), &[])
                .await?;
            one.print(&answer, timeline::session)
        }
        Session::End(one) => {
            let answer = one
                .output
                .connection
                .open()?
                .delete(&format!("/sessions/{}", one.id))
                .await?;
            one.print(&answer, show::report)
        }
    }
}

/// For a table: the subject's id alone, and one word about its state.
fn flatten_session(session: &mut Value, as_json: bool) {
    if !as_json {
        session["subject"] = session["subject"]["id"].take();
        let ended = session["ended"]["by"].as_str();
        session["state"] = ended
            .map_or_else(|| "open".to_owned(), |by| format!("ended by {by}"))
            .into();
    }
}

/// Runs `procura log`.
pub(crate) async fn log(command: Log) -> Result<(), Failure> {
    match command {
        Log::List(list) => list.run().await,
        Log::Tail(tail) => tail.run().await,
        Log::Export(command) => super::export::run(command).await,
        Log::Verify(command) => super::verify::run(command).await,
        Log::Show(one) => {
            let answer = one
                .output
                .connection
                .open()?
                .get(&format!("/issuances/{}", one.id), &[])
                .await?;
            let proof = show::verify(&answer);
            one.print(&answer, |answer| show::record(answer, proof))?;
            if proof == show::Proof::Broken {
                return Err(Failure::found("the commitment does not fit the clear text"));
            }
            Ok(())
        }
    }
}

impl LogList {
    async fn run(self) -> Result<(), Failure> {
        let api = self.page.output.connection.open()?;
        let format = match (self.csv, self.jsonl) {
            (true, _) => Some("csv".to_owned()),
            (_, true) => Some("jsonl".to_owned()),
            _ => None,
        };
        let mut query = vec![
            ("q", self.filter),
            ("subject", self.subject),
            ("actor", self.actor),
            ("server", self.server),
            ("tool", self.tool),
            ("target", self.target),
            ("grant", self.grant),
            ("session", text(&self.session)),
            ("event", self.event),
            ("outcome", self.outcome),
            ("about", text(&self.about)),
            ("since", self.since),
            ("until", self.until),
        ];
        query.extend(self.page.query());
        if format.is_some() {
            query.push(("format", format));
            return tail::copy(api.pieces("/issuances", &query, None).await?).await;
        }
        let answer = api.get("/issuances", &query).await?;
        let columns = [
            "at", "id", "event", "outcome", "subject", "server", "target", "grants", "reason",
        ];
        print::listing(&answer, "issuances", &columns, self.page.output.json)?;
        if !self.page.output.json {
            bounds(&answer);
        }
        Ok(())
    }
}

/// What a listing does not show: older records, and those of other targets.
fn bounds(answer: &Value) {
    if let Some(time) = answer["searched_to"].as_str() {
        print::line(format_args!("looked back to {} and no further", print::plain(time)));
    }
    if answer["targets"].is_array() {
        print::line(format_args!(
            "records of these targets only: {}",
            print::value(&answer["targets"])
        ));
    }
}

impl One {
    fn print(&self, answer: &Value, readable: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        self.output.print(answer, readable)
    }
}

impl Output {
    pub(super) fn print(&self, answer: &Value, readable: impl FnOnce(&Value) -> String) -> Result<(), Failure> {
        if self.json {
            print::json(answer);
        } else {
            print::text(format_args!("{}", readable(answer)));
        }
        Ok(())
    }
}
