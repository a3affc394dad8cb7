//! What STS is asked for, made from an order and nothing else, and what that comes to.

use procura_core::{
    Timestamp,
    catalogue::Target,
    identity::Principal,
    judgement::Plan,
    kind::{MintOrder, Rights},
    params::ParamValue,
};
use serde_json::Value;

use crate::{
    LONGEST, SHORTEST,
    grant::Shape,
    name::{is_tag_value, safe},
    settings::{Role, Settings},
    statement::outline_of,
};

/// Longest session policy, characters (STS AssumeRole, Policy).
pub(crate) const MAX_POLICY: usize = 2048;
/// Longest value of a tag, characters (STS Tag).
const MAX_TAG_VALUE: usize = 256;
/// Seconds that a session ends before its plan: AWS counts from when the request arrives.
const ON_THE_WAY: i64 = 5;
/// Seconds that it may end after its plan, where clocks differ or the request was long on its way.
pub(crate) const LATE: i64 = 30;

/// Keys of the tags that every session has; `procura-actor` only where an agent acts. No parameter has such a name.
pub(crate) const OUR_TAGS: [&str; 7] = [
    "procura-subject",
    "procura-subject-kind",
    "procura-actor",
    "procura-server",
    "procura-session",
    "procura-issuance",
    "procura-grant",
];

const POLICY: &str = "the session policy with its parameters";

/// A request for AssumeRole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) role_arn: String,
    pub(crate) external_id: Option<String>,
    /// The handle: as session name it is in ARNs and user ids, as source identity in every event of a session, those of
    /// roles that it takes further included.
    pub(crate) name: String,
    /// JSON text.
    pub(crate) policy: String,
    pub(crate) policy_arns: Vec<String>,
    /// All of them are transitive, so that a role that the session takes further has them too.
    pub(crate) tags: Vec<(String, String)>,
}

impl Request {
    /// The error says what does not fit; nothing is asked then.
    pub(crate) fn of(order: &MintOrder<'_>, settings: &Settings) -> Result<Self, String> {
        let [name] = order.plan.grants.as_slice() else {
            return Err("a session is of one grant".to_owned());
        };
        let grant = order.target.grants.get(name).ok_or("the target has no such grant")?;
        let shape = Shape::read(grant, Some(&settings.role)).map_err(|_| "the grant's settings are not usable")?;
        let mut tags = our_tags(order);
        tags.extend(their_tags(&shape, order.plan)?);
        let request = Self {
            role_arn: settings.role.arn.clone(),
            external_id: settings.external_id.clone(),
            name: order.handle.to_string(),
            policy: shape.policy(&order.plan.params)?.to_string(),
            policy_arns: shape.policy_arns,
            tags,
        };
        match too_large(POLICY, request.policy.len(), MAX_POLICY) {
            Some(problem) => Err(problem),
            None if !(2..=64).contains(&request.name.len()) => {
                Err("the session's name is not 2 to 64 characters".to_owned())
            }
            None => Ok(request),
        }
    }

    /// What a session that is made so carries, read back from the request. `role` is as AWS named it.
    pub(crate) fn rights(&self, role: String) -> Rights {
        let policy: Option<Value> = serde_json::from_str(&self.policy).ok();
        let list = policy.as_ref().and_then(|policy| policy.get("Statement")?.as_array());
        let outlines = list.into_iter().flatten().map(|statement| {
            // What cannot be read is in no plan.
            outline_of(statement).unwrap_or_else(|| "unreadable".to_owned())
        });
        rights_of(
            role,
            outlines.collect(),
            &self.policy_arns,
            self.tags.iter().map(|(key, _)| key.clone()).collect(),
        )
    }
}

/// Whether the parameters make a session policy and tags.
pub(crate) fn narrow(target: &Target, plan: &Plan) -> Result<(), String> {
    let settings = Settings::read(target).map_err(|_| "the target's settings are not usable")?;
    let name = plan.grants.first().ok_or("the plan has no grant")?;
    let grant = target.grants.get(name).ok_or("the target has no such grant")?;
    let shape = Shape::read(grant, Some(&settings.role)).map_err(|_| "the grant's settings are not usable")?;
    their_tags(&shape, plan)?;
    let policy = shape.policy(&plan.params)?.to_string();
    too_large(POLICY, policy.len(), MAX_POLICY).map_or(Ok(()), Err)
}

/// The most that a session of this plan may carry.
pub(crate) fn rights(target: &Target, plan: &Plan) -> Rights {
    let read = || {
        let settings = Settings::read(target).ok()?;
        let [name] = plan.grants.as_slice() else { return None };
        let shape = Shape::read(target.grants.get(name)?, Some(&settings.role)).ok()?;
        let outlines = shape.statements.iter().map(|statement| statement.outline()).collect();
        let mut tags: Vec<_> = OUR_TAGS.map(str::to_owned).to_vec();
        tags.extend(shape.tags);
        Some(rights_of(called(&settings.role), outlines, &shape.policy_arns, tags))
    };
    read().unwrap_or_default()
}

/// A role as an ARN of its sessions names it: account and name.
pub(crate) fn called(role: &Role) -> String {
    format!("{}/{}", role.account, role.name)
}

fn rights_of(role: String, outlines: Vec<String>, policy_arns: &[String], tags: Vec<String>) -> Rights {
    // Numbered, so that a policy that lacks one of them, perhaps a Deny, is not within the whole.
    let count = outlines.len();
    let numbered = (1..)
        .zip(outlines)
        .map(|(number, outline): (u32, _)| format!("{number} of {count}: {outline}"));
    let none = (count == 0).then(|| "everything that the role can".to_owned());
    Rights {
        sets: [
            ("policy_arns", policy_arns.iter().cloned().collect()),
            ("role", [role].into()),
            ("statements", numbered.chain(none).collect()),
            ("tags", tags.into_iter().collect()),
        ]
        .into(),
        numbers: [].into(),
    }
}

/// Whole seconds until the end, as AWS takes them.
pub(crate) fn seconds(end: Timestamp, now: Timestamp) -> Result<i32, String> {
    let (least, most) = (SHORTEST.as_secs() as i64, LONGEST.as_secs() as i64);
    let left = end.duration_since(now).as_secs();
    if left + LATE < least {
        return Err("less than 15 minutes are left, and AWS gives no session so short".to_owned());
    }
    i32::try_from((left - ON_THE_WAY).clamp(least, most)).map_err(|error| error.to_string())
}

fn our_tags(order: &MintOrder<'_>) -> Vec<(String, String)> {
    let caller = order.caller;
    let subject = &caller.subject.principal;
    let grants: Vec<_> = order.plan.grants.iter().map(ToString::to_string).collect();
    let values = [
        Some(subject.id().to_string()),
        Some(Principal::kind(subject).to_owned()),
        caller.actor.agent.as_ref().map(ToString::to_string),
        Some(caller.server.name.to_string()),
        Some(order.session.to_string()),
        Some(order.issuance.to_string()),
        Some(format!("{}/{}", order.plan.target, grants.join("+"))),
    ];
    let tags = OUR_TAGS.into_iter().zip(values);
    tags.filter_map(|(key, value)| Some((key.to_owned(), safe(&value?, MAX_TAG_VALUE))))
        .collect()
}

/// Rules of AWS compare these with names of projects and the like, so they are sent as they are or not at all.
fn their_tags(shape: &Shape, plan: &Plan) -> Result<Vec<(String, String)>, String> {
    let tag = |name: &String| {
        let value = match plan.params.get(name) {
            Some(ParamValue::Text(text)) => text.clone(),
            Some(ParamValue::Int(number)) => number.to_string(),
            Some(ParamValue::Bool(is)) => is.to_string(),
            Some(ParamValue::Set(_)) | None => return Err(format!("the parameter {name} has no value for a tag")),
        };
        match is_tag_value(&value, MAX_TAG_VALUE) {
            true => Ok((name.clone(), value)),
            false => Err(format!(
                "the parameter {name} is no value for a tag: 1 to {MAX_TAG_VALUE} of A-Z a-z 0-9, space and _.:/=+-@ in \
                 ASCII; let the bundle's pattern say so"
            )),
        }
    };
    shape.tags.iter().map(tag).collect()
}

/// A problem where something is longer than AWS takes.
pub(crate) fn too_large(what: &str, is: usize, most: usize) -> Option<String> {
    (is > most).then(|| format!("{what} has {is} characters, and AWS takes {most}: use fewer or shorter statements"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use procura_contract::asked::{Asked, target};
    use procura_core::{
        ids::SessionId,
        params::{ParamSpec, ParamType},
    };
    use proptest::{collection::btree_set, prelude::*};
    use serde_json::json;

    use super::*;
    use crate::KIND;

    /// Everything that a session is made from beside who takes part.
    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Effective {
        role: String,
        external_id: Option<String>,
        effect: bool,
        action: String,
        resource: String,
        policy_arns: Vec<String>,
        prefixes: BTreeSet<String>,
        project: String,
    }

    fn effective() -> impl Strategy<Value = Effective> {
        let of_target = ("[ab]", proptest::option::of("[ab]{2}"));
        let of_grant = (any::<bool>(), "[AB]", "[ab]", proptest::collection::vec("[ab]", 0..3));
        let of_request = (btree_set("[ab/\"\\\\,]{0,2}", 1..3), "[ab=]{1,2}");
        (of_target, of_grant, of_request).prop_map(
            |((role, external_id), (effect, action, resource, policy_arns), (prefixes, project))| Effective {
                role,
                external_id,
                effect,
                action,
                resource,
                policy_arns,
                prefixes,
                project,
            },
        )
    }

    fn now() -> Timestamp {
        Timestamp::constant(1_795_165_200, 0)
    }

    fn request(from: &Effective) -> (Request, bool) {
        let mut own =
            json!({ "role_arn": format!("arn:aws:iam::123456789012:role/{}", from.role), "region": "eu-central-1" });
        if let Some(id) = &from.external_id {
            own["external_id"] = json!(id);
        }
        let arns = from
            .policy_arns
            .iter()
            .map(|name| format!("arn:aws:iam::aws:policy/{name}"));
        // Each effect with the operator that narrows.
        let (effect, operator) = if from.effect {
            ("Allow", "StringEquals")
        } else {
            ("Deny", "StringNotEquals")
        };
        let grant = json!({
            "statements": [{ "effect": effect, "actions": [format!("s3:{}", from.action)],
                             "resources": [format!("arn:aws:s3:::{}", from.resource)],
                             "where": { operator: { "s3:prefix": "param:prefix" } } }],
            "policy_arns": arns.collect::<Vec<_>>(),
            "tags": ["project"],
        });
        let mut target = target(&KIND, &own, &grant);
        for grant in target.grants.values_mut() {
            for (name, ty) in [("prefix", ParamType::Set(None)), ("project", ParamType::String(None))] {
                grant.params.insert(name.to_owned(), ParamSpec { ty, required: true });
            }
        }
        let prefixes: Vec<&str> = from.prefixes.iter().map(String::as_str).collect();
        let mut asked = Asked::new(&target, now()).with("prefix", &prefixes);
        asked.plan.end = now() + SHORTEST;
        asked
            .plan
            .params
            .insert("project".to_owned(), ParamValue::Text(from.project.clone()));
        let settings = Settings::read(&target).expect("settings");
        let handle = asked.undoable(None).handle;
        let order = MintOrder {
            plan: &asked.plan,
            target: &asked.target,
            caller: &asked.caller,
            issuance: handle.issuance().expect("an id"),
            handle,
            session: SessionId(uuid::Uuid::from_u128(2)),
            now: now(),
            deadline: std::time::Duration::ZERO,
            target_deadline: None,
            forward: None,
        };
        let request = Request::of(&order, &settings).expect("a request");
        let is_within = request
            .rights(called(&settings.role))
            .within(&rights(&target, &asked.plan));
        (request, is_within)
    }

    proptest! {
        #[test]
        fn two_effective_grants_never_become_one_request(a in effective(), b in effective()) {
            let ((of_a, fits), (of_b, _)) = (request(&a), request(&b));
            prop_assert_eq!(a == b, of_a == of_b);
            prop_assert!(fits);
        }
    }

    #[test]
    fn what_is_sent_beyond_the_plan_is_not_within_it() {
        let from = Effective {
            role: "a".to_owned(),
            external_id: None,
            effect: false,
            action: "A".to_owned(),
            resource: "a".to_owned(),
            policy_arns: vec!["P".to_owned()],
            prefixes: ["a".to_owned()].into(),
            project: "a".to_owned(),
        };
        let (sent, _) = request(&from);
        let role = || "123456789012/a".to_owned();
        let allowed = sent.rights(role());
        let changed = |change: &dyn Fn(&mut Request)| {
            let mut sent = sent.clone();
            change(&mut sent);
            sent.rights(role()).within(&allowed)
        };
        assert!(changed(&|_| ()));
        assert!(
            !changed(&|sent| sent.policy = String::new()),
            "no session policy is the whole role"
        );
        assert!(!changed(
            &|sent| sent.policy = r#"{"Version":"2012-10-17","Statement":[]}"#.to_owned()
        ));
        assert!(!changed(&|sent| sent.policy = sent.policy.replace("Deny", "Allow")));
        assert!(!changed(
            &|sent| sent.policy = sent.policy.replace(r#""s3:A""#, r#""s3:*""#)
        ));
        assert!(!changed(
            &|sent| sent.policy = sent.policy.replace("StringNotEquals", "StringNotLike")
        ));
        assert!(!changed(&|sent| sent
            .policy_arns
            .push("arn:aws:iam::aws:policy/Q".to_owned())));
        assert!(!changed(&|sent| sent.tags.push(("more".to_owned(), "x".to_owned()))));
        assert!(!sent.rights("123456789012/b".to_owned()).within(&allowed));
    }

    #[test]
    fn a_session_ends_before_its_plan() {
        let after = |seconds: u64| now() + std::time::Duration::from_secs(seconds);
        assert_eq!(seconds(after(3600), now()), Ok(3595));
        assert_eq!(seconds(after(905), now()), Ok(900));
        assert_eq!(seconds(after(880), now()), Ok(900), "AWS gives none so short");
        assert!(seconds(after(869), now()).is_err());
        assert_eq!(seconds(after(50_000), now()), Ok(43_200));
    }
}
