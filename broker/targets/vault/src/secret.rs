//! What an engine answers, and how long it lives.

use std::time::Duration;

use procura_core::Timestamp;
use serde_json::Value;

use crate::{certificate::Certificate, fault::Fault};

/// How much later than the plan a certificate may end: it is made by the server's clock.
const SKEW: Duration = Duration::from_secs(60);

/// What an engine made.
pub(crate) struct Given {
    /// What is issued.
    pub(crate) data: Value,
    pub(crate) hold: Hold,
    pub(crate) until: Timestamp,
    /// The certificate, where it is one of SSH.
    pub(crate) certificate: Option<Certificate>,
}

/// What it hangs on.
pub(crate) enum Hold {
    /// A lease of the token that asked, which ends with it.
    Lease {
        /// Its id.
        id: String,
        /// It may be renewed.
        renewable: bool,
    },
    /// Nothing: it ends by itself, and nothing takes it back before.
    Nothing,
}

impl Given {
    /// Reads an answer that came at that time. What has no end is not handed out: it would be a static secret.
    pub(crate) fn read(mut answer: Value, now: Timestamp) -> Result<Self, Fault> {
        let data = answer["data"].take();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let lease = text(&answer["lease_id"]);
        let signed = data["signed_key"].as_str();
        let certificate = signed
            .map(|line| Certificate::read(line).ok_or_else(unreadable))
            .transpose()?;
        let own_end = match (&certificate, data["expiration"].as_i64()) {
            (Some(certificate), _) => Some(certificate.until),
            (None, Some(second)) => Timestamp::from_second(second).ok(),
            (None, None) => None,
        };
        // Sessions of AWS and tokens of Kubernetes stand under a lease, and live on after it; so does what has an end of its
        // own.
        let lasting = ["security_token", "session_token", "service_account_token"];
        let lives_on = own_end.is_some() || lasting.iter().any(|member| text(&data[*member]).is_some());
        let (hold, until) = match (lease, own_end) {
            (Some(id), _) => {
                let renewable = answer["renewable"].as_bool().unwrap_or(false) && !lives_on;
                let hold = if lives_on {
                    Hold::Nothing
                } else {
                    Hold::Lease { id, renewable }
                };
                (hold, own_end.unwrap_or(now + lease_duration(&answer)))
            }
            (None, Some(end)) => (Hold::Nothing, end),
            (None, None) => {
                let problem = "the answer has neither a lease nor an end: a static secret is not handed out";
                return Err(Fault::Failed(problem.to_owned()));
            }
        };
        Ok(Self {
            data,
            hold,
            until,
            certificate,
        })
    }

    /// Whether it goes on after the plan's end whatever is done.
    pub(crate) fn outlives(&self, end: Timestamp) -> bool {
        matches!(self.hold, Hold::Nothing) && self.until > end + SKEW
    }

    /// What the server calls it.
    pub(crate) fn id(&self) -> Option<&str> {
        match &self.hold {
            Hold::Lease { id, .. } => Some(id),
            Hold::Nothing => self.data["serial_number"].as_str(),
        }
    }
}

/// How long a lease or a token lives from now on.
pub(crate) fn lease_duration(part: &Value) -> Duration {
    let seconds = part["lease_duration"].as_u64().unwrap_or_default();
    Duration::from_secs(seconds.min(u32::MAX.into()))
}

fn unreadable() -> Fault {
    Fault::Failed("the signed certificate is unreadable, has no principals or no end".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn read(answer: Value) -> Option<(Given, bool)> {
        let given = Given::read(answer, NOW).ok()?;
        let leased = matches!(given.hold, Hold::Lease { .. });
        Some((given, leased))
    }

    #[test]
    fn what_an_engine_gives_ends_with_its_lease_or_by_itself() {
        let lease = json!({ "lease_id": "database/creds/a/1", "lease_duration": 60, "renewable": true, "data": {} });
        let (given, leased) = read(lease).expect("a lease");
        assert!(leased && given.until == NOW + Duration::from_secs(60) && given.id() == Some("database/creds/a/1"));
        let data = json!({ "expiration": 1_800_000_090, "serial_number": "01:02" });
        let (given, leased) = read(json!({ "lease_id": "", "data": data })).expect("a certificate");
        assert!(!leased && given.until == NOW + Duration::from_secs(90) && given.id() == Some("01:02"));
    }

    #[test]
    fn what_nothing_takes_back_may_outlive_the_plan_by_the_clocks_difference_only() {
        let certificate = |seconds: i64| {
            let (given, _) = read(json!({ "data": { "expiration": NOW.as_second() + seconds } })).expect("an end");
            given.outlives(NOW)
        };
        assert!(!certificate(60) && certificate(61));
        let lease = json!({ "lease_id": "db/creds/a/1", "lease_duration": 3600, "data": {} });
        assert!(!read(lease).expect("a lease").0.outlives(NOW), "it is taken back");
    }

    #[test]
    fn a_session_of_aws_is_not_taken_back_by_its_lease() {
        let data = json!({ "access_key": "A", "security_token": "t" });
        let answer = json!({ "lease_id": "aws/sts/a/1", "lease_duration": 900, "renewable": false, "data": data });
        assert!(!read(answer).expect("a session").1);
    }

    #[test]
    fn a_static_secret_and_a_wrapped_answer_are_refused() {
        assert!(read(json!({ "lease_id": "", "lease_duration": 2_764_800, "data": { "password": "p" } })).is_none());
        assert!(read(json!({ "data": null, "wrap_info": { "token": "t" } })).is_none());
        assert!(read(json!({ "data": { "signed_key": "ssh-ed25519-cert-v01@openssh.com AAAA" } })).is_none());
    }
}
