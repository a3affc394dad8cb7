//! How far the log is signed and anchored, and how anybody checks that without this page.

use askama::Template;
use axum::{
    http::{HeaderMap, StatusCode},
    response::Response,
};
use procura_core::log::{Head, Log, Statement, Tree};
use procura_wire::Reason;

use super::{
    answer::{Frame, Stop, answer, html},
    guard::Reader,
    show::{lines, plain, time},
};
use crate::http::Door;

/// Records without an index that are counted.
const WAITING: u32 = 100;

/// The last published checkpoint.
struct Checkpoint {
    size: u64,
    root: String,
    /// A key of ours signed it, and it is of the tree that the store has.
    is_good: bool,
    signed_by: String,
    newest: Option<(String, String)>,
    note: String,
}

#[derive(Template)]
#[template(path = "log.html")]
struct LogPage {
    frame: Frame,
    origin: String,
    epoch: u64,
    checkpoint: Option<Checkpoint>,
    /// Records that no checkpoint covers.
    behind: u64,
    /// There are more of them.
    behind_more: bool,
    /// What is in the way of the next checkpoint.
    problem: Option<String>,
    /// What the anchor's last note is, and whether that is as it must be.
    anchor: (bool, String),
    keys: Vec<String>,
    issuer: String,
}

/// `GET /ui/log`: for those who may read all records, for it tells how many there are and what waits.
pub(super) async fn page(door: Door, headers: HeaderMap) -> Response {
    let work = async {
        let reader = Reader::of(&door, &headers).await?;
        if reader.targets().is_some() {
            return Err(Stop::Reason(Reason::V1Forbidden));
        }
        let log = &door.app.log;
        // Read first: what is published meanwhile stands there already.
        let tree = log.store.tree().await?;
        let anchor = anchor(log, &tree).await;
        let waiting = log.store.waiting(tree.size, WAITING).await?.len() as u64;
        let published = tree.published.as_ref().map_or(0, |(size, _)| *size);
        let page = LogPage {
            frame: reader.frame(&door, "log", "Log"),
            checkpoint: checkpoint(log, &tree).await?,
            behind: tree.size - published.min(tree.size) + waiting,
            behind_more: waiting == u64::from(WAITING),
            problem: log.progress().problem.map(|problem| plain(&problem.to_string())),
            anchor,
            keys: log.notary.verifiers(&tree.origin),
            issuer: door.app.site.issuer.clone(),
            epoch: tree.epoch,
            origin: plain(&tree.origin),
        };
        Ok(html(&door, StatusCode::OK, &page))
    };
    answer(&door, Some("/log"), work.await)
}

async fn checkpoint(log: &Log, tree: &Tree) -> Result<Option<Checkpoint>, Stop> {
    let Some((size, note)) = &tree.published else {
        return Ok(None);
    };
    let newest = match size.checked_sub(1) {
        Some(last) => log.store.leaves(last, 1).await?.pop(),
        None => None,
    };
    let text = log.notary.open(&tree.origin, note);
    let head = text.ok().and_then(|text| Statement::parse(&text).ok());
    let head = head.as_ref().map(Statement::head);
    let fits = |head: &Head| head.size == *size && (*size != tree.size || head.root == tree.root);
    Ok(Some(Checkpoint {
        size: *size,
        root: head.map(|head| head.root.to_string()).unwrap_or_default(),
        is_good: head.is_some_and(fits),
        signed_by: log.progress().signed_by.map(time).unwrap_or_default(),
        newest: newest.map(|leaf| (leaf.record.id.to_string(), time(leaf.record.id.time()))),
        note: lines(note),
    }))
}

/// The anchor is read now.
async fn anchor(log: &Log, tree: &Tree) -> (bool, String) {
    let note = match log.anchor.last().await {
        Ok(anchored) => anchored.note,
        Err(error) => return (false, format!("cannot be read: {}", plain(&error.to_string()))),
    };
    let Some(note) = note else {
        return (tree.published.is_none(), "holds nothing".to_owned());
    };
    let Ok(statement) = Statement::parse_unverified(&note) else {
        return (
            false,
            "its last note is neither a checkpoint nor a link of epochs".to_owned(),
        );
    };
    let head = statement.head();
    if log.notary.open(&head.origin, &note).is_err() {
        return (false, "its last note is not signed by a key of this broker".to_owned());
    }
    let published = tree.published.as_ref();
    if published.is_some_and(|(_, published)| *published == note) {
        return (true, "its last note is this checkpoint".to_owned());
    }
    let fits = head.origin == tree.origin && published.is_none_or(|(size, _)| *size <= head.size);
    let what = match &statement {
        Statement::Checkpoint(_) => "a checkpoint",
        Statement::Link(_) => "the link to an epoch",
    };
    (
        fits,
        format!(
            "its last note is {what} of {} records of {}",
            head.size,
            plain(&head.origin)
        ),
    )
}

impl LogPage {
    /// The store has a checkpoint that is none of ours.
    fn is_forged(&self) -> bool {
        self.checkpoint.as_ref().is_some_and(|checkpoint| !checkpoint.is_good)
    }
}
