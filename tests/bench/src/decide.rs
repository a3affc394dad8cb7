//! The decision alone, by the number of rules.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use procura_core::{
    identity::{Actor, ActorAssertion, LogIn, Principal, Subject, VerifiedToken},
    judgement::{Effect, Judge, Question, SessionFacts},
    params::{ParamValue, Params},
};
use procura_policy::{Bundle, Loaded, Options, load};
use procura_wire::{Name, QualifiedId};
use serde::Serialize;
use serde_json::json;

use crate::{
    Fault,
    bundle::{self, SERVER, Size},
    clock::{self, median},
};

/// One permit each for ten grants.
const TEN: Size = Size {
    grants: 10,
    permits: 10,
    forbids: 0,
};
/// The same beside the forbids of the large bundle.
const TEN_WITH_FORBIDS: Size = Size { forbids: 20, ..TEN };
const LARGE: Size = Size {
    grants: 1000,
    permits: 10_000,
    forbids: 20,
};
const ONE_GRANT: Size = Size {
    grants: 1,
    permits: 1000,
    forbids: 0,
};

/// CPU time of one decision, microseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Decisions {
    pub(crate) rules_10: f64,
    pub(crate) rules_10_and_20_forbids: f64,
    pub(crate) rules_10_000_and_20_forbids: f64,
    pub(crate) permits_1_000_on_one_grant: f64,
}

impl Size {
    /// A hundredth of the large numbers.
    fn small(self) -> Self {
        let less = |count: usize| if count >= 1000 { count / 100 } else { count };
        Self {
            grants: less(self.grants),
            permits: less(self.permits),
            ..self
        }
    }
}

/// Measures and prints.
pub(crate) fn main(small: bool) -> Result<(), Fault> {
    println!("{:#}", json!(measure(small)?));
    Ok(())
}

/// Batches of all bundles in turn; the middle of each is its figure.
pub(crate) fn measure(small: bool) -> Result<Decisions, Fault> {
    let (batches, decisions) = if small { (3, 50) } else { (31, 2000) };
    let sizes = [TEN, TEN_WITH_FORBIDS, LARGE, ONE_GRANT];
    let bundles = sizes.map(|size| loaded(if small { size.small() } else { size }));
    let mut times = [(); 4].map(|()| Vec::new());
    // The first batch warms up.
    for batch in 0..=batches {
        for (bundle, times) in bundles.iter().zip(&mut times) {
            let bundle = bundle.as_ref().map_err(ToString::to_string)?;
            let took = decide(bundle, decisions)?;
            if batch > 0 {
                times.push(took);
            }
        }
    }
    let [ten, ten_with_forbids, large, one_grant] = times.map(|times| median(&times));
    Ok(Decisions {
        rules_10: ten,
        rules_10_and_20_forbids: ten_with_forbids,
        rules_10_000_and_20_forbids: large,
        permits_1_000_on_one_grant: one_grant,
    })
}

fn loaded(size: Size) -> Result<Loaded, String> {
    let files = bundle::decisions(size).into_iter();
    let bundle = Bundle::of(files.map(|(path, text)| (path, text.into_bytes())));
    load(&bundle, &[&procura_target_jwt::KIND], Options::default()).map_err(|mistakes| {
        let shown = mistakes.iter().take(5).map(ToString::to_string);
        shown.collect::<Vec<_>>().join("\n")
    })
}

/// Microseconds of CPU per decision; each must be a permit.
fn decide(bundle: &Loaded, count: u32) -> Result<f64, Fault> {
    let (target, grant, server): (Name, Name, Name) = ("t0".parse()?, "g0".parse()?, SERVER.parse()?);
    let (subject, actor) = (subject()?, actor());
    let repositories = ["web", "api"].map(str::to_owned);
    let params = Params::from([("repositories".to_owned(), ParamValue::Set(repositories.into()))]);
    let question = Question {
        subject: &subject,
        actor: &actor,
        server: &server,
        tool: None,
        target: &target,
        grant: &grant,
        params: &params,
        session: SessionFacts { age: 60, issuances: 1 },
        ttl: Duration::from_secs(60),
        now: "2026-01-01T00:00:00Z".parse()?,
    };
    let began = clock::thread_cpu();
    for _ in 0..count {
        let verdict = bundle.decide(&question);
        if verdict.effect != Effect::Permit {
            return Err(format!("the decision was {:?}", verdict.effect).into());
        }
    }
    Ok((clock::thread_cpu() - began).as_secs_f64() * 1e6 / f64::from(count))
}

fn actor() -> Actor {
    Actor {
        agent: None,
        asserted_by: ActorAssertion::Server,
        chain: vec![],
        expires: None,
    }
}

fn subject() -> Result<Subject, Fault> {
    let id = |text: &str| text.parse::<QualifiedId>();
    Ok(Subject {
        principal: Principal::User(id("corp/alice")?),
        token: Arc::new(VerifiedToken {
            issuer: "corp".parse()?,
            iss: "https://id.example.com".to_owned(),
            sub: "alice".to_owned(),
            audience: vec![],
            expires: "2030-01-01T00:00:00Z".parse()?,
            not_before: None,
            issued_at: None,
            jti: None,
            confirmation: None,
            sid: None,
            client: None,
            scopes: None,
            groups: BTreeSet::from([id("corp/support")?]),
            auth: LogIn::default(),
            act: vec![],
            may_act: None,
            vouched: Default::default(),
        }),
    })
}
