//! Who acts: `act` and `may_act` (RFC 8693 sections 4.1 and 4.4).

use procura_core::identity::Link;
use procura_wire::Reason;
use serde_json::{Map, Value};

use crate::claims::is_plain_id;

const MAX_LINKS: usize = 8;

/// The chain in `act`, outermost first. Other members than `sub`, `iss`, `client_id` and `act` mean
/// nothing there. A link that names no issuer is one of the token's own: what is minted later has
/// another. Refuses chains that are malformed, deeper than 8, or name an actor twice.
pub(crate) fn chain(act: Option<&Value>, issuer: &str) -> Result<Vec<Link>, Reason> {
    let mut chain = Vec::<Link>::new();
    let mut next = act;
    while let Some(act) = next {
        let act = act.as_object().ok_or(Reason::ActorChain)?;
        let mut link = link(act).ok_or(Reason::ActorChain)?;
        link.iss.get_or_insert_with(|| issuer.to_owned());
        let is_same = |other: &Link| other.sub == link.sub && other.iss == link.iss;
        if chain.len() == MAX_LINKS || chain.iter().any(is_same) {
            return Err(Reason::ActorChain);
        }
        chain.push(link);
        next = act.get("act");
    }
    Ok(chain)
}

/// The one whom `may_act` names.
pub(crate) fn may_act(claim: Option<&Value>) -> Result<Option<Link>, Reason> {
    let Some(claim) = claim else { return Ok(None) };
    let link = claim.as_object().and_then(link).ok_or(Reason::JwtClaimType)?;
    Ok(Some(link))
}

fn link(members: &Map<String, Value>) -> Option<Link> {
    let text = |member: &str| match members.get(member) {
        None => Some(None),
        Some(value) => value
            .as_str()
            .filter(|text| !text.is_empty())
            .map(|text| Some(text.to_owned())),
    };
    Some(Link {
        sub: text("sub")?.filter(|sub| is_plain_id(sub))?,
        iss: text("iss")?,
        client_id: text("client_id")?,
    })
}
