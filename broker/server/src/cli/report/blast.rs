//! A blast radius for people.

use serde_json::Value;

use super::{counted, listed, rows};
use crate::cli::{print::value, show::Page};

const COULD: [&str; 7] = ["target", "grant", "risk", "max_ttl", "ends", "through", "rules"];
const LIVE: [&str; 6] = ["target", "leases", "undoing", "values", "until", "endless"];
const HAD: [&str; 6] = ["what", "issued", "refused", "reported", "first", "last"];

pub(super) fn page(answer: &Value) -> String {
    let mut page = Page::default();
    if answer["key_of"].is_array() {
        let of = value(&answer["key_of"]);
        page.head(&format!(
            "key of: {}\n",
            if of.is_empty() { "nobody that is known" } else { &of }
        ));
    }
    page.head("could reach, at most (conditions of rules apart)");
    part(&mut page, rows(answer, "could"), &COULD);
    more(&mut page, answer, "could_more");
    page.head("\nlives now: leases are taken back at once, values end by themselves");
    part(&mut page, rows(answer, "live"), &LIVE);
    page.line("worst", worst(answer));
    more(&mut page, answer, "live_more");
    obtained(&mut page, answer);
    page.head("\nnext");
    for step in rows(answer, "next") {
        page.head(&format!("  {}", value(&step["does"])));
        let command = value(&step["command"]);
        if !command.is_empty() {
            page.head(&format!("    {command}"));
        }
    }
    page.0
}

fn worst(answer: &Value) -> String {
    let endless = rows(answer, "live").any(|at| at["endless"] == true);
    match (value(&answer["worst"]), endless) {
        (until, false) => until,
        (until, true) if until.is_empty() => "lives until it is undone".to_owned(),
        (until, true) => format!("{until}, and some lives until it is undone"),
    }
}

fn obtained(page: &mut Page, answer: &Value) {
    let obtained = &answer["obtained"];
    let since = match value(&obtained["since"]) {
        none if none.is_empty() => "the beginning".to_owned(),
        since => since,
    };
    page.head(&format!("\nwas had since {since}"));
    let [issued, refused, reported] = ["issued", "refused", "reported"].map(|member| value(&obtained[member]));
    page.line(
        "sums",
        format!("{issued} issued, {refused} refused, {reported} uses reported"),
    );
    page.line("first", value(&obtained["first"]));
    page.line("last", value(&obtained["last"]));
    page.line("counted", counted(answer));
    for (by, label) in [
        ("by_grant", "by grant"),
        ("by_subject", "by subject"),
        ("by_server", "by server"),
    ] {
        page.head(&format!("\n{label}"));
        part(page, rows(obtained, by), &HAD);
    }
}

fn part<'v>(page: &mut Page, items: impl Iterator<Item = &'v Value>, columns: &[&str]) {
    for line in listed(items, columns).lines() {
        page.head(&format!("  {line}"));
    }
}

fn more(page: &mut Page, answer: &Value, member: &str) {
    if answer[member] == true {
        page.head("  there may be more");
    }
}
