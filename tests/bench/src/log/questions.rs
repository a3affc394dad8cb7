//! What is asked of both stores.

use procura_core::ids::IssuanceId;
use url::form_urlencoded::Serializer;

use super::records::{Visit, World};
use crate::Fault;

/// Records of a page.
pub(super) const PAGE: u32 = 50;
/// Sessions that questions are about, in turn.
const SAMPLES: u64 = 101;
/// Records in a range of time that is asked for.
const RANGE: f64 = 1000.0;

const QUESTIONS: [&str; 10] = [
    "id",
    "session",
    "subject",
    "agent",
    "target",
    "server",
    "time",
    "issuer",
    "issuer with few records",
    "subject and outcome",
];

/// A question and how it is put, about one session after the other.
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) asked: Vec<Asked>,
}

pub(super) enum Asked {
    Record(IssuanceId),
    /// A filter and the number of records that the page must have at least.
    Filter(String, usize),
    /// A selector of the blast radius.
    Blast(String),
}

/// Those for records; of each page so many must be found.
pub(super) fn questions(world: &World, least: usize) -> Result<Vec<Question>, Fault> {
    // Behind the last of them there are records enough for a range of time.
    let samples = || (0..SAMPLES).map(|sample| sample * (world.sessions() * 9 / 10) / SAMPLES);
    let question = |name| {
        Ok(Question {
            name,
            asked: samples()
                .map(|at| asked(world, name, at, least))
                .collect::<Result<_, Fault>>()?,
        })
    };
    QUESTIONS.into_iter().map(question).collect()
}

fn asked(world: &World, name: &str, at: u64, least: usize) -> Result<Asked, Fault> {
    let visit = world.visit(at)?;
    let key = &visit.session.key;
    let text = match name {
        "id" => return Ok(Asked::Record(visit.steps()?[0].entry().id)),
        "session" => format!("session = {}", visit.session.id),
        "subject" => format!("subject = \"{}\"", key.subject.id()),
        "agent" => format!("actor = {}", agent(&world.visit(at - at % 5)?)?),
        "target" => format!("target = {}", visit.target()),
        "server" => format!("server = {}", key.server),
        "time" => {
            let begin = at as f64 / world.sessions() as f64;
            let end = world.time(begin + RANGE / world.records as f64);
            format!("at >= {} and at < {end}", world.time(begin))
        }
        "issuer" => "issuer = corp".to_owned(),
        "issuer with few records" => "issuer = partner".to_owned(),
        _ => format!("subject = \"{}\" and outcome = refused", key.subject.id()),
    };
    let least = match name {
        "session" => 13,
        "subject and outcome" => 0,
        _ => least,
    };
    Ok(Asked::Filter(text, least))
}

fn agent(visit: &Visit) -> Result<String, Fault> {
    let actor = visit.session.key.actor.as_ref();
    Ok(actor.ok_or("a session without an agent")?.to_string())
}

/// Those for the blast radius, by each selector.
pub(super) fn blasts(world: &World) -> Result<Vec<Question>, Fault> {
    let samples = (0..SAMPLES).map(|sample| world.visit(sample * 5 * (world.sessions() / 5 / SAMPLES)));
    let visits = samples.collect::<Result<Vec<_>, Fault>>()?;
    let each = |name, parameters: &dyn Fn(&Visit) -> Vec<(&'static str, String)>| {
        let asked = visits.iter().map(|visit| {
            let query = Serializer::new(String::new()).extend_pairs(parameters(visit)).finish();
            Asked::Blast(query)
        });
        Question {
            name,
            asked: asked.collect(),
        }
    };
    let one = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    Ok(vec![
        each("blast radius of a subject", &|visit| {
            vec![("subject", visit.session.key.subject.id().to_string())]
        }),
        each("blast radius of an agent", &|visit| {
            let actor = visit.session.key.actor.as_ref();
            vec![("agent", actor.map(ToString::to_string).unwrap_or_default())]
        }),
        each("blast radius of a server", &|visit| {
            vec![("server", visit.session.key.server.to_string())]
        }),
        each("blast radius of a target", &|visit| vec![("target", visit.target())]),
        each("blast radius of a source", &|_| one("source", "vault:kv/target-3")),
        each("blast radius of a source's version", &|_| {
            vec![
                ("source", "vault:kv/target-3".to_owned()),
                ("source_version", "4".to_owned()),
            ]
        }),
        each("blast radius of an issuer", &|_| one("issuer", "partner")),
        each("blast radius of a large issuer", &|_| one("issuer", "corp")),
        each("blast radius of the broker's key", &|_| one("signing_key", "ours-1")),
        each("blast radius of an issuer's key", &|_| one("signing_key", "partner-1")),
    ])
}
