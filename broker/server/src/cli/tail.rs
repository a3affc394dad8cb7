//! `procura log tail`, and answers that come in pieces.

use std::{
    io::{self, IsTerminal, Write as _},
    time::Duration,
};

use reqwest::Response;
use serde_json::Value;

use super::{
    Failure,
    api::Api,
    print::{self, steady},
    records::{EXAMPLES, Output},
};

/// Pause before it is asked again.
const AGAIN: Duration = Duration::from_secs(1);
/// Times that it is asked in vain.
const TRIES: u32 = 30;
/// A broker that follows its log says something more often than this.
const SILENCE: Duration = Duration::from_secs(60);

/// `procura log tail`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tail {
    /// Only those that pass this filter
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
    #[command(flatten)]
    output: Output,
}

impl Tail {
    /// Follows the log; what breaks off is gone on with.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        let api = self.output.connection.open()?;
        let (mut last, mut vain) = (None, 0);
        loop {
            match self.follow(&api, &mut last).await {
                Ok(()) => vain = 0,
                Err(Failure::Away(_)) if vain < TRIES => vain += 1,
                Err(failure) => return Err(failure),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Until the answer ends, however it does.
    async fn follow(&self, api: &Api, last: &mut Option<String>) -> Result<(), Failure> {
        let query = [("q", self.filter.clone())];
        let mut answer = api.pieces("/issuances/stream", &query, last.as_deref()).await?;
        let mut text = Vec::new();
        while let Ok(Ok(Some(piece))) = tokio::time::timeout(SILENCE, answer.chunk()).await {
            text.extend_from_slice(&piece);
            while let Some(end) = text.windows(2).position(|pair| pair == b"\n\n") {
                let event: Vec<u8> = text.drain(..end + 2).collect();
                let (id, record) = read(&event);
                if let Some(record) = record {
                    self.show(&record);
                }
                if id.is_some() {
                    *last = id;
                }
            }
        }
        Ok(())
    }

    fn show(&self, record: &Value) {
        if self.output.json {
            print::line(steady(&record.to_string()));
        } else {
            print::line(line(record));
        }
    }
}

/// The id and the record of an event. One without a record says how far was looked, a comment nothing.
fn read(event: &[u8]) -> (Option<String>, Option<Value>) {
    let event = std::str::from_utf8(event).unwrap_or_default();
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
    let record = field("data: ").and_then(|data| serde_json::from_str(data).ok());
    (field("id: ").map(str::to_owned), record)
}

fn line(record: &Value) -> String {
    let members = [
        "at", "id", "event", "outcome", "subject", "server", "tool", "target", "grants", "reason",
    ];
    let said = members.map(|member| print::value(&record[member]));
    let said: Vec<_> = said.into_iter().filter(|text| !text.is_empty()).collect();
    said.join("  ")
}

/// Writes an answer to standard output as it comes. A terminal gets whole lines, and nothing that could steer it.
pub(super) async fn copy(mut answer: Response) -> Result<(), Failure> {
    let mut out = io::stdout();
    let terminal = out.is_terminal();
    let mut rest = Vec::new();
    loop {
        let piece = answer.chunk().await.map_err(|_| {
            Failure::Away("the answer broke off; go on with --before and the id of its last record".to_owned())
        })?;
        let Some(piece) = piece else { return Ok(()) };
        let written = if terminal {
            rest.extend_from_slice(&piece);
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let lines: Vec<u8> = rest.drain(..whole).collect();
            out.write_all(steady(&String::from_utf8_lossy(&lines)).as_bytes())
        } else {
            out.write_all(&piece)
        };
        // A reader that went away (`| head`) is no error.
        if written.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_shown_in_a_line_of_its_own() {
        let event = json!({
            "id": "1", "at": "2026-11-20T09:00:00Z", "event": "exchange", "outcome": "refused", "grants": ["a", "b"],
            "tool": "x\n2026-11-20T09:00:00Z  forged\u{1b}[2J\u{202e}", "reason": null,
        });
        let (id, record) = read(format!("id: 1\ndata: {event}\n\n").as_bytes());
        assert_eq!(id.as_deref(), Some("1"));
        assert_eq!(
            line(&record.expect("a record")),
            r"2026-11-20T09:00:00Z  1  exchange  refused  x\u{a}2026-11-20T09:00:00Z  forged\u{1b}[2J\u{202e}  a, b"
        );
    }

    #[test]
    fn an_event_without_a_record_says_from_where_to_go_on() {
        let followed = ": the log is followed\n\n";
        assert_eq!(read(followed.as_bytes()), (None, None));
        let position = (Some("2".to_owned()), None);
        assert_eq!(read(format!("id: 2\n{followed}").as_bytes()), position);
    }
}
