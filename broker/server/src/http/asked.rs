//! Reads what `GET /v1/issuances` and its stream are asked for.

use axum::http::{HeaderMap, header};
use procura_core::{
    Timestamp,
    ids::{IssuanceId, SessionId},
    ledger::{Event, Outcome},
    query::{Expr, Order},
};
use procura_wire::{FormFault, Name, QualifiedId, Reason};
use serde::{Deserialize, de::DeserializeOwned};

use super::{filters::Query, reply::Refusal};

/// In which form records are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// A page.
    Json,
    /// A record a line.
    Jsonl,
    /// RFC 4180.
    Csv,
}

/// Which records.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What they pass.
    pub(crate) expr: Expr,
    /// Only those that are older.
    pub(crate) before: Option<IssuanceId>,
    /// So many at most; `None` for all, which no page is asked for.
    pub(crate) limit: Option<u32>,
    /// In which form.
    pub(crate) form: Form,
}

impl Asked {
    /// The one target that is asked about, if it is one.
    pub(crate) fn target(&self) -> Option<Name> {
        self.expr.bounds().target
    }
}

impl Query {
    /// The query of `GET /v1/issuances`: `q` and the filters that are older than it, all of which must hold.
    pub(crate) fn issuances(mut self, headers: &HeaderMap, now: Timestamp) -> Result<Asked, Refusal> {
        let expr = self.filter(now)?;
        let form = self.take_word("format")?.unwrap_or_else(|| accepted(headers));
        let limit = match form {
            Form::Json => Some(self.limit()?),
            _ => self.take("limit")?,
        };
        let before = self.take("before")?;
        self.end()?;
        Ok(Asked {
            expr,
            before,
            limit,
            form,
        })
    }

    /// The query of the page: the same in the one form that it has.
    pub(crate) fn shown(self, now: Timestamp) -> Result<Asked, Refusal> {
        match self.0.contains_key("format") {
            true => Err(FormFault::of(Reason::ParamMalformed, "format").into()),
            false => self.issuances(&HeaderMap::new(), now),
        }
    }

    /// The query of `GET /v1/issuances/stream`: the same filters.
    pub(crate) fn stream(mut self, now: Timestamp) -> Result<Expr, Refusal> {
        let expr = self.filter(now)?;
        self.end()?;
        Ok(expr)
    }

    fn filter(&mut self, now: Timestamp) -> Result<Expr, Refusal> {
        let malformed = || Refusal::from(FormFault::of(Reason::ParamMalformed, "q"));
        let q = self.0.remove("q").unwrap_or_default();
        let q = Expr::parse(&q, now).map_err(|mistake| malformed().because(mistake))?;
        let (target, grant) = self.grant()?;
        let times = [
            self.take("since")?.map(|since| Expr::at(Order::AtLeast, since)),
            self.take("until")?.map(|until| Expr::at(Order::Less, until)),
        ];
        let terms = [
            self.word::<Event>("event")?,
            self.word::<Outcome>("outcome")?,
            self.take::<QualifiedId>("subject")?.map(|id| Expr::is("subject", id)),
            self.take::<QualifiedId>("actor")?.map(|id| Expr::is("actor", id)),
            self.take::<Name>("server")?.map(|name| Expr::is("server", name)),
            self.take::<String>("tool")?.map(|tool| Expr::is("tool", tool)),
            target.map(|name| Expr::is("target", name)),
            grant.map(|name| Expr::is("grants", name)),
            self.take::<SessionId>("session")?.map(|id| Expr::is("session", id)),
            self.take::<IssuanceId>("about")?.map(|id| Expr::is("about", id)),
        ];
        Ok(terms.into_iter().chain(times).flatten().fold(q, Expr::and))
    }

    /// One of the words that an enumeration has in JSON, which is the field's name too.
    fn word<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<Expr>, FormFault> {
        let word = self.0.get(name).cloned();
        self.take_word::<T>(name)?;
        Ok(word.map(|word| Expr::is(name, word)))
    }
}

/// The form that the Accept header names first.
fn accepted(headers: &HeaderMap) -> Form {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let first = accept
        .and_then(|accept| accept.split([',', ';']).next())
        .unwrap_or_default();
    match first.trim() {
        "application/jsonl" | "application/x-ndjson" => Form::Jsonl,
        "text/csv" => Form::Csv,
        _ => Form::Json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-20T09:00:00Z".parse().expect("time")
    }

    fn asked(query: &str, accept: &str) -> Result<Asked, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().expect("value"));
        Query::read(Some(query))?.issuances(&headers, now())
    }

    #[test]
    fn single_filters_and_the_language_are_one_filter() {
        let asked = asked(
            "q=tool+%3D+a+or+tool+%3D+b&target=db&grant=read&event=use&since=2026-11-20T00:00:00Z",
            "*/*",
        );
        let printed = asked.expect("read").expr.to_string();
        let expected = "(((tool = a or tool = b) and event = use) and target = db) and grants = read";
        assert_eq!(printed, format!("({expected}) and at >= 2026-11-20T00:00:00Z"));
    }

    #[test]
    fn a_mistake_in_the_language_is_told_with_its_place() {
        let refusal = asked("q=tarxet+%3D+db", "*/*").expect_err("refused");
        assert_eq!((refusal.reason, refusal.param), (Reason::ParamMalformed, Some("q")));
        let detail = refusal.detail.expect("detail");
        assert_eq!(detail, "character 1: there is no such field; did you mean target?");
    }

    #[test]
    fn the_form_is_named_or_accepted() {
        let form = |query, accept| asked(query, accept).map(|asked| (asked.form, asked.limit));
        assert!(matches!(form("", "*/*"), Ok((Form::Json, Some(50)))));
        assert!(matches!(form("", "text/csv"), Ok((Form::Csv, None))));
        assert!(matches!(form("", "application/jsonl;q=1"), Ok((Form::Jsonl, None))));
        assert!(matches!(
            form("format=csv&limit=5000", "application/jsonl"),
            Ok((Form::Csv, Some(5000)))
        ));
        assert!(matches!(form("format=json", "text/csv"), Ok((Form::Json, Some(50)))));
        for bad in [
            "format=xml",
            "format=csv&limit=-1",
            "format=json&limit=5000",
            "q=%28",
            "after=1",
        ] {
            assert!(form(bad, "*/*").is_err(), "{bad}");
        }
    }

    #[test]
    fn the_page_has_one_form_and_the_limit_of_a_page() {
        let shown = |query: &str| Query::read(Some(query)).map_err(Refusal::from)?.shown(now());
        assert!(matches!(shown("limit=1000"), Ok(asked) if asked.limit == Some(1000)));
        for (query, param) in [
            ("format=csv&limit=4000000000", "format"),
            ("format=json", "format"),
            ("limit=1001", "limit"),
        ] {
            let refusal = shown(query).expect_err(query);
            assert_eq!((refusal.reason, refusal.param), (Reason::ParamMalformed, Some(param)));
        }
    }
}
