//! Reads the query of `/v1` listings.

use std::{collections::BTreeMap, str::FromStr};

use procura_core::{
    ids::{IssuanceId, SessionId},
    ledger::{Filter, LeaseFilter, Page, SessionFilter},
    whois::Clue,
};
use procura_wire::{FormFault, Name, Reason};
use serde::de::{DeserializeOwned, IntoDeserializer, value::Error as ValueError};

/// Records of a page where the caller does not say.
const LIMIT: u32 = 50;
/// Most records of a page.
const MAX_LIMIT: u32 = 1000;

/// The parameters of a query. Each may stand once; those that nobody asks for are refused, so that a
/// misspelt filter never widens a listing.
pub(crate) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads a query.
    pub(crate) fn read(query: Option<&str>) -> Result<Self, FormFault> {
        let mut given = BTreeMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if given.insert(name.into_owned(), value.into_owned()).is_some() {
                return Err(fault(Reason::ParamRepeated));
            }
        }
        given.retain(|_, value| !value.is_empty());
        Ok(Self(given))
    }

    pub(super) fn take<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, FormFault> {
        let read = |text: String| text.parse().map_err(|_| FormFault::of(Reason::ParamMalformed, name));
        self.0.remove(name).map(read).transpose()
    }

    /// One of the names that an enumeration has in JSON.
    fn take_word<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>, FormFault> {
        let read = |text: String| {
            T::deserialize(IntoDeserializer::<ValueError>::into_deserializer(text))
                .map_err(|_| FormFault::of(Reason::ParamMalformed, name))
        };
        self.0.remove(name).map(read).transpose()
    }

    pub(super) fn end(self) -> Result<(), FormFault> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(fault(Reason::ParamMalformed))
        }
    }

    fn limit(&mut self) -> Result<u32, FormFault> {
        match self.take("limit")? {
            None => Ok(LIMIT),
            Some(limit) if (1..=MAX_LIMIT).contains(&limit) => Ok(limit),
            Some(_) => Err(FormFault::of(Reason::ParamMalformed, "limit")),
        }
    }

    fn page(&mut self) -> Result<Page, FormFault> {
        Ok(Page {
            before: self.take::<IssuanceId>("before")?,
            limit: self.limit()?,
        })
    }

    /// `grant`: its short name, or `target/grant` as policies have it, which is a filter by target too.
    fn grant(&mut self) -> Result<(Option<Name>, Option<Name>), FormFault> {
        let fault = || FormFault::of(Reason::ParamMalformed, "grant");
        let target = self.take::<Name>("target")?;
        let Some(grant) = self.0.remove("grant") else {
            return Ok((target, None));
        };
        let (of, short) = match grant.split_once('/') {
            Some((of, short)) => (Some(of.parse::<Name>().map_err(|_| fault())?), short),
            None => (target.clone(), grant.as_str()),
        };
        if target.is_some() && target != of {
            return Err(fault());
        }
        Ok((of, Some(short.parse().map_err(|_| fault())?)))
    }

    /// Filters of `GET /v1/issuances`.
    pub(crate) fn issuances(mut self) -> Result<(Filter, Page), FormFault> {
        let (target, grant) = self.grant()?;
        let filter = Filter {
            event: self.take_word("event")?,
            outcome: self.take_word("outcome")?,
            subject: self.take("subject")?,
            actor: self.take("actor")?,
            server: self.take("server")?,
            tool: self.take("tool")?,
            target,
            grant,
            session: self.take("session")?,
            about: self.take("about")?,
            since: self.take("since")?,
            until: self.take("until")?,
        };
        let page = self.page()?;
        self.end()?;
        Ok((filter, page))
    }

    /// Filters of `GET /v1/sessions`, whether only live ones are wanted, `before` and `limit`.
    pub(crate) fn sessions(mut self) -> Result<SessionQuery, FormFault> {
        let query = SessionQuery {
            filter: SessionFilter {
                subject: self.take("subject")?,
                actor: self.take("actor")?,
                server: self.take("server")?,
                live_at: None,
            },
            live: self.take("live")?.unwrap_or(false),
            before: self.take("before")?,
            limit: self.limit()?,
        };
        self.end()?;
        Ok(query)
    }

    /// Filters of `GET /v1/leases`.
    pub(crate) fn leases(mut self) -> Result<(LeaseFilter, Page), FormFault> {
        let filter = LeaseFilter {
            target: self.take("target")?,
            source_version: self.take("source_version")?,
            subject: self.take("subject")?,
            actor: self.take("actor")?,
            server: self.take("server")?,
            session: self.take("session")?,
            state: self.take_word("state")?,
        };
        let page = self.page()?;
        self.end()?;
        Ok((filter, page))
    }

    /// The clue of `GET /v1/whois`: one, or an issuance with the digest of what names it.
    pub(crate) fn whois(mut self) -> Result<Clue, FormFault> {
        let handle = self.take("handle")?;
        let value = self.take("sha256")?;
        let issuance = self.take("issuance")?;
        self.end()?;
        match (handle, issuance, value) {
            (Some(handle), None, None) => Ok(Clue::Handle(handle)),
            (None, Some(issuance), value) => Ok(Clue::Issuance(issuance, value)),
            (None, None, Some(value)) => Ok(Clue::Value(value)),
            (None, None, None) => Err(fault(Reason::ParamMissing)),
            _ => Err(fault(Reason::ParamMalformed)),
        }
    }
}

/// The query of `GET /v1/sessions`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SessionQuery {
    pub(crate) filter: SessionFilter,
    pub(crate) live: bool,
    pub(crate) before: Option<SessionId>,
    pub(crate) limit: u32,
}

fn fault(reason: Reason) -> FormFault {
    FormFault { reason, param: None }
}

#[cfg(test)]
mod tests {
    use procura_core::ledger::{Event, LeaseState, Outcome};

    use super::*;

    fn issuances(query: &str) -> Result<(Filter, Page), FormFault> {
        Query::read(Some(query))?.issuances()
    }

    #[test]
    fn reads_every_filter() {
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let query = format!(
            "event=exchange&outcome=refused&subject=dev%2Falice&actor=dev/bot&server=tickets&tool=list&target=api\
             &grant=read&session={id}&about={id}&since=2026-11-20T09:00:00Z&until=2026-11-21T09:00:00Z&limit=7&before={id}"
        );
        let (filter, page) = issuances(&query).expect("query");
        assert_eq!(
            (filter.event, filter.outcome),
            (Some(Event::Exchange), Some(Outcome::Refused))
        );
        assert_eq!(filter.subject.map(|id| id.to_string()).as_deref(), Some("dev/alice"));
        assert!(filter.since < filter.until && filter.grant.is_some() && filter.about.is_some());
        assert_eq!((page.limit, page.before.is_some()), (7, true));
    }

    #[test]
    fn reads_every_filter_of_leases_and_no_other() {
        let read = |query: &str| Query::read(Some(query))?.leases();
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let query = format!(
            "target=db&source_version=v%207&subject=corp/alice&actor=corp/bot&server=tickets&session={id}&state=undoing"
        );
        let (filter, _) = read(&query).expect("leases");
        let expected = LeaseFilter {
            target: "db".parse().ok(),
            source_version: Some("v 7".into()),
            subject: "corp/alice".parse().ok(),
            actor: "corp/bot".parse().ok(),
            server: "tickets".parse().ok(),
            session: id.parse().ok(),
            state: Some(LeaseState::Undoing),
        };
        assert_eq!(filter, expected);
        for bad in [
            "agent=corp/bot",
            "source-version=7",
            "grant=read",
            "state=dead",
            "subject=alice",
        ] {
            let reason = read(bad).map_err(|fault| fault.reason);
            assert_eq!(reason, Err(Reason::ParamMalformed), "{bad}");
        }
    }

    #[test]
    fn whois_takes_one_clue() {
        let read = |query: &str| Query::read(Some(query))?.whois();
        let id = "01890a5d-ac96-774b-bcce-b302099a8057";
        let (digest, hash) = (
            procura_wire::Digest::of(b"x"),
            procura_wire::Digest::of(b"x").to_string(),
        );
        let issuance: IssuanceId = id.parse().expect("id");
        assert_eq!(read("handle=pabc"), Ok(Clue::Handle("pabc".into())));
        assert_eq!(read(&format!("sha256={hash}")), Ok(Clue::Value(digest)));
        assert_eq!(
            read(&format!("issuance={id}&sha256={hash}")),
            Ok(Clue::Issuance(issuance, Some(digest)))
        );
        assert_eq!(read(&format!("issuance={id}")), Ok(Clue::Issuance(issuance, None)));
        let reason = |query: &str| read(query).map_err(|fault| fault.reason);
        assert_eq!(reason("handle="), Err(Reason::ParamMissing));
        for bad in [
            "token=x".to_owned(),
            "sha256=x".to_owned(),
            format!("handle=pabc&sha256={hash}"),
            format!("handle=pabc&issuance={id}"),
        ] {
            assert_eq!(reason(&bad), Err(Reason::ParamMalformed), "{bad}");
        }
    }

    #[test]
    fn a_grant_may_name_its_target() {
        let read = |query| {
            let (filter, _) = issuances(query).map_err(|fault| fault.param)?;
            Ok([filter.target, filter.grant].map(|name| name.map(|name| name.to_string())))
        };
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(read("grant=read"), Ok([None, some("read")]));
        assert_eq!(read("grant=api/read"), Ok([some("api"), some("read")]));
        assert_eq!(read("grant=api%2Fread&target=api"), Ok([some("api"), some("read")]));
        for bad in ["grant=api/read&target=db", "grant=api/", "grant=/read", "grant=a/b/c"] {
            assert_eq!(read(bad), Err(Some("grant")), "{bad}");
        }
    }

    #[test]
    fn a_filter_that_is_misspelt_twice_or_malformed_is_refused() {
        let reason = |query| issuances(query).map_err(|fault| (fault.reason, fault.param));
        assert_eq!(reason("sever=x"), Err((Reason::ParamMalformed, None)));
        assert_eq!(reason("server=x&server=y"), Err((Reason::ParamRepeated, None)));
        assert_eq!(reason("server=X"), Err((Reason::ParamMalformed, Some("server"))));
        assert_eq!(reason("event=all"), Err((Reason::ParamMalformed, Some("event"))));
        assert_eq!(reason("limit=0"), Err((Reason::ParamMalformed, Some("limit"))));
        assert_eq!(reason("limit=1001"), Err((Reason::ParamMalformed, Some("limit"))));
    }

    #[test]
    fn an_empty_query_asks_for_the_newest() {
        let (filter, page) = Query::read(None).expect("query").issuances().expect("filters");
        assert_eq!(filter, Filter::default());
        assert_eq!((page.before, page.limit), (None, LIMIT));
    }
}
