//! Ids of issuances, sessions and replicas, and the handle that a target knows a credential by.

use std::{fmt, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ports::Entropy;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new id (UUIDv7, RFC 9562 section 5.7) that sorts by `now`.
            pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(now, entropy))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            /// Reads the hyphenated form only.
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse::<uuid::fmt::Hyphenated>().map(|id| Self(id.into_uuid()))
            }
        }
    };
}

id! {
    /// Id of a record in the issuance log, and of the credential that it is about.
    IssuanceId
}
id! {
    /// Id of a session.
    SessionId
}
id! {
    /// Id of one running broker process: the owner of what it has begun.
    ReplicaId
}

impl IssuanceId {
    /// What no id of this time, or of a later one, is before.
    pub fn first_at(time: Timestamp) -> Self {
        let millis = u64::try_from(time.as_millisecond()).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid())
    }

    /// The time that it sorts by, whole milliseconds.
    pub fn time(&self) -> Timestamp {
        let millis = i64::try_from(self.0.as_u128() >> 80).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }
}

fn uuid_v7(now: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// The name that a target knows a credential by: `p<installation>_<issuance>`, made before the
/// credential so that it can always be found and undone. 42 characters of `[a-z0-9_]`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(String);

impl Handle {
    /// The handle of an issuance. `installation` is 8 of `[a-z0-9]`.
    pub fn new(installation: &str, issuance: IssuanceId) -> Self {
        Self(format!("{}{}", Self::prefix(installation), issuance.0.simple()))
    }

    /// What every handle of an installation begins with.
    pub fn prefix(installation: &str) -> String {
        format!("p{installation}_")
    }

    /// Reads a name found at a target; `None` where it is not a handle of this installation.
    pub fn parse(installation: &str, text: &str) -> Option<Self> {
        let issuance = text.strip_prefix(&Self::prefix(installation))?;
        let plain = issuance.len() == 32 && issuance.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        plain.then(|| Self(text.to_owned()))
    }

    /// The issuance that the handle was made for.
    pub fn issuance(&self) -> Option<IssuanceId> {
        let (_, id) = self.0.rsplit_once('_')?;
        Uuid::try_parse(id).ok().map(IssuanceId)
    }

    /// A handle read back from where it was kept.
    pub fn from_kept(text: String) -> Self {
        Self(text)
    }

    /// The handle as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_leads_back_to_its_issuance() {
        let id = IssuanceId(Uuid::from_u128(7));
        let handle = Handle::new("abcd1234", id);
        assert_eq!(handle.as_str().len(), 42);
        assert_eq!(handle.issuance(), Some(id));
        assert_eq!(Handle::parse("abcd1234", handle.as_str()), Some(handle.clone()));
        assert_eq!(Handle::parse("abcd9999", handle.as_str()), None);
        assert_eq!(Handle::parse("abcd1234", "pabcd1234_x"), None);
    }

    #[test]
    fn an_id_sorts_by_the_time_that_it_names() {
        let time: Timestamp = "2026-11-20T09:00:00.123Z".parse().expect("time");
        let first = IssuanceId::first_at(time);
        let last = IssuanceId(uuid::Builder::from_unix_timestamp_millis(1_795_165_200_123, &[0xff; 10]).into_uuid());
        assert_eq!((first.time(), last.time()), (time, time));
        assert!(first < last && last < IssuanceId::first_at(time + std::time::Duration::from_millis(1)));
        assert_eq!(IssuanceId(Uuid::max()).time(), Timestamp::MAX);
    }

    #[test]
    fn ids_are_read_in_the_hyphenated_form_only() {
        let text = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(text.parse::<IssuanceId>().map(|id| id.to_string()).as_deref(), Ok(text));
        assert!("01890a5dac96774bbcceb302099a8057".parse::<IssuanceId>().is_err());
    }
}
