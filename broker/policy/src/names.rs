//! Cedar's names for what the bundle declares.

use std::str::FromStr;

use cedar_policy::{
    EntityId, EntityTypeName, EntityUid, ParseErrors, PolicyFromJsonError, PolicySetError, PolicyToJsonError,
    entities_errors::EntitiesError,
};
use procura_core::{catalogue::Risk, identity::Principal};

/// Cedar refuses what the bundle as a whole needs; says why.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) String);

macro_rules! unusable {
    ($($error:ty)*) => {$(
        impl From<$error> for Unusable {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}

unusable! { ParseErrors PolicySetError EntitiesError PolicyToJsonError PolicyFromJsonError }

/// Entity types of the generated schema, parsed once.
#[derive(Debug)]
pub(crate) struct Names {
    user: EntityTypeName,
    agent: EntityTypeName,
    group: EntityTypeName,
    server: EntityTypeName,
    tool: EntityTypeName,
    target: EntityTypeName,
    log: EntityTypeName,
    action: EntityTypeName,
}

macro_rules! uids {
    ($($name:ident)*) => {$(
        pub(crate) fn $name(&self, id: &str) -> EntityUid {
            EntityUid::from_type_name_and_id(self.$name.clone(), EntityId::new(id))
        }
    )*};
}

impl Names {
    pub(crate) fn new() -> Result<Self, Unusable> {
        Ok(Self {
            user: EntityTypeName::from_str("User")?,
            agent: EntityTypeName::from_str("Agent")?,
            group: EntityTypeName::from_str("Group")?,
            server: EntityTypeName::from_str("Server")?,
            tool: EntityTypeName::from_str("Tool")?,
            target: EntityTypeName::from_str("Target")?,
            log: EntityTypeName::from_str("Log")?,
            action: EntityTypeName::from_str("Action")?,
        })
    }

    uids! { user agent group server tool target log action }

    pub(crate) fn principal(&self, principal: &Principal) -> EntityUid {
        let id = principal.id().to_string();
        match principal {
            Principal::User(_) => self.user(&id),
            Principal::Agent(_) => self.agent(&id),
        }
    }
}

/// The action group of all grants.
pub(crate) const ISSUE: &str = "issue";
/// The action by which an agent may act for a subject.
pub(crate) const ACT_FOR: &str = "act_for";
/// The one entity of type `Log`: records of all targets.
pub(crate) const LOG_OF_ALL: &str = "all";

pub(crate) const ALL_RISKS: [Risk; 3] = [Risk::Read, Risk::Write, Risk::Destructive];

/// The action group of a risk.
pub(crate) fn group_of(risk: Risk) -> &'static str {
    match risk {
        Risk::Read => "read",
        Risk::Write => "write",
        Risk::Destructive => "destructive",
    }
}

/// The risks whose grants an action group holds; `None` where the id names no group.
pub(crate) fn risks_of(group: &str) -> Option<Vec<Risk>> {
    if group == ISSUE {
        return Some(ALL_RISKS.to_vec());
    }
    ALL_RISKS
        .into_iter()
        .find(|risk| group_of(*risk) == group)
        .map(|risk| vec![risk])
}
