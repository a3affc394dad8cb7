//! Who acts: the actor token, else the subject token's `act`, else its `azp`, else the server itself
//! (RFC 8693 sections 1.1, 4.1 and 4.4).

use procura_wire::{QualifiedId, Reason};

use super::{Admitted, bind, demands, identify, refuse::Stop};
use crate::{
    catalogue::Catalogue,
    identity::{Actor, ActorAssertion, Link, Principal, Subject, VerifiedToken},
    judgement::Effect,
    ports::{Ports, Role},
    request::TokenRequest,
};

/// Longest chain, the new actor included.
const MAX_CHAIN: usize = 8;

pub(super) async fn resolve(
    ports: &Ports,
    admitted: &mut Admitted,
    subject: &Subject,
    request: &TokenRequest,
) -> Result<Actor, Stop> {
    let snapshot = std::sync::Arc::clone(&admitted.snapshot);
    let catalogue = snapshot.judge.catalogue();
    let token = match &request.actor {
        Some(presented) => {
            let at_fault = |reason| Stop::param(reason, "actor_token");
            let verified = demands::verify(ports, admitted, presented, Role::Actor).await;
            let token = verified.map_err(at_fault)?;
            identify::check_token(catalogue, &token, admitted.now).map_err(at_fault)?;
            let server = admitted.entry()?;
            if token.vouched.tenant.is_some() {
                demands::check_tenant(catalogue, server, &token).map_err(at_fault)?;
            }
            let resource = server.resource.as_str();
            let accepted = [ports.issuer.as_str(), resource];
            let wrong = |_| Stop::param(Reason::ActorAudience, "actor_token");
            identify::check_audience(catalogue, &token, &accepted).map_err(wrong)?;
            bind::check(catalogue, admitted, &token).map_err(at_fault)?;
            Some(token)
        }
        None => None,
    };
    let (actor, current) = match &token {
        Some(token) => from_actor_token(catalogue, subject, token)?,
        None => from_subject_token(ports, admitted, catalogue, subject)?,
    };
    let matched = match &subject.token.may_act {
        Some(may_act) if !names(may_act, &actor, &current, subject) => return Err(Reason::ActorMayAct.into()),
        may_act => may_act.is_some(),
    };
    if let (Some(agent), ActorAssertion::ActorToken, false) = (&actor.agent, actor.asserted_by, matched) {
        let agent = Principal::Agent(agent.clone());
        let verdict = admitted.snapshot.judge.may_act_for(&agent, subject, admitted.now);
        let permitted = verdict.effect == Effect::Permit;
        super::refuse::note_verdict(admitted, verdict);
        if !permitted {
            return Err(Stop::param(Reason::ActorNotPermitted, "actor_token"));
        }
    }
    Ok(actor)
}

/// The actor, and the link that `may_act` must name.
type Resolved = (Actor, Link);

fn from_actor_token(catalogue: &Catalogue, subject: &Subject, token: &VerifiedToken) -> Result<Resolved, Stop> {
    let at_fault = |reason| Stop::param(reason, "actor_token");
    let same = token.issuer == subject.token.issuer && token.sub == subject.token.sub;
    if same {
        return Err(at_fault(Reason::ActorSelf));
    }
    let link = Link {
        sub: token.sub.clone(),
        iss: Some(token.iss.clone()),
        client_id: token.client.clone(),
    };
    let chain = prepend(link.clone(), &subject.token.act)?;
    let agent = agent_id(catalogue, &token.issuer, &token.sub).map_err(at_fault)?;
    Ok((
        Actor {
            agent: Some(agent),
            asserted_by: ActorAssertion::ActorToken,
            chain,
            expires: Some(token.expires),
        },
        link,
    ))
}

fn from_subject_token(
    ports: &Ports,
    admitted: &Admitted,
    catalogue: &Catalogue,
    subject: &Subject,
) -> Result<Resolved, Stop> {
    let at_fault = |reason| Stop::param(reason, "subject_token");
    let token = &subject.token;
    if let Some(current) = token.act.first() {
        let iss = current.iss.as_ref().unwrap_or(&token.iss);
        let issuer = match catalogue.issuer_by_url(iss) {
            _ if *iss == token.iss => &token.issuer,
            Some((alias, _)) => alias,
            None => return Err(at_fault(Reason::ActorChain)),
        };
        if *issuer == token.issuer && current.sub == token.sub {
            return Err(at_fault(Reason::ActorSelf));
        }
        let agent = agent_id(catalogue, issuer, &current.sub).map_err(at_fault)?;
        let link = Link {
            iss: Some(iss.clone()),
            ..current.clone()
        };
        let actor = Actor {
            agent: Some(agent),
            asserted_by: ActorAssertion::Act,
            chain: token.act.clone(),
            expires: None,
        };
        return Ok((actor, link));
    }
    let from_azp = catalogue
        .issuers
        .get(&token.issuer)
        .is_some_and(|issuer| issuer.actor_from_azp);
    if let (true, Some(client)) = (from_azp, &token.client) {
        let declared = catalogue
            .agent_by_client(&token.issuer, client)
            .ok_or(at_fault(Reason::ActorUnknown))?;
        let agent = QualifiedId::new(token.issuer.clone(), declared.0.as_str());
        // An agent's own token names it as client too: then it works for itself.
        if subject.principal != Principal::Agent(agent.clone()) {
            let link = Link {
                sub: declared.1.sub.clone(),
                iss: Some(token.iss.clone()),
                client_id: Some(client.clone()),
            };
            let chain = vec![link.clone()];
            return Ok((
                Actor {
                    agent: Some(agent),
                    asserted_by: ActorAssertion::Azp,
                    chain,
                    expires: None,
                },
                link,
            ));
        }
    }
    let name = admitted.server.name.to_string();
    let link = Link {
        sub: name.clone(),
        iss: Some(ports.issuer.clone()),
        client_id: Some(name),
    };
    let chain = vec![link.clone()];
    Ok((
        Actor {
            agent: None,
            asserted_by: ActorAssertion::Server,
            chain,
            expires: None,
        },
        link,
    ))
}

/// The agent with that `sub`: a declared one by its name, else by its `sub` where no declared one has that name.
fn agent_id(catalogue: &Catalogue, issuer: &procura_wire::Name, sub: &str) -> Result<QualifiedId, Reason> {
    identify::principal(catalogue, issuer, sub).map(|principal| principal.id().clone())
}

/// RFC 8693 section 4.1: the new actor outermost, the earlier ones nested in it.
fn prepend(actor: Link, earlier: &[Link]) -> Result<Vec<Link>, Stop> {
    let same = |link: &Link| link.sub == actor.sub && link.iss == actor.iss;
    let mut chain = earlier.to_vec();
    if !chain.first().is_some_and(same) {
        if chain.iter().any(same) || chain.len() == MAX_CHAIN {
            return Err(Stop::param(Reason::ActorChain, "subject_token"));
        }
        chain.insert(0, actor);
    }
    Ok(chain)
}

/// Whether `may_act` names this actor: same `sub`, and same issuer (the subject token's, where it does
/// not say; a server is known by its name alone).
fn names(may_act: &Link, actor: &Actor, current: &Link, subject: &Subject) -> bool {
    let by_name = may_act.iss.is_none() && actor.asserted_by == ActorAssertion::Server;
    let iss = may_act.iss.as_ref().unwrap_or(&subject.token.iss);
    let client_fits = may_act.client_id.is_none() || may_act.client_id == current.client_id;
    may_act.sub == current.sub && (by_name || current.iss.as_ref() == Some(iss)) && client_fits
}
