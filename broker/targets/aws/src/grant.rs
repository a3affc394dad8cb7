//! The kind's keys in grants.

use std::collections::BTreeSet;

use procura_core::{
    catalogue::Grant,
    kind::{Key, KeyType},
    params::{ParamType, Params},
};
use serde_json::{Value, json};

use crate::{
    request::{MAX_POLICY, OUR_TAGS, too_large},
    settings::{Role, is_account},
    statement::{Statement, shortest},
};

pub(crate) const GRANT_KEYS: &[Key] = &[
    Key {
        name: "statements",
        ty: KeyType::Tables,
        required: true,
        doc: "The session policy: tables of effect (Allow if unset), actions, resources and where; a condition's value \
              param:NAME is the parameter's.",
    },
    Key {
        name: "policy_arns",
        ty: KeyType::Texts,
        required: false,
        doc: "Managed policies that are session policies too: a session may what they or the statements allow.",
    },
    Key {
        name: "tags",
        ty: KeyType::Texts,
        required: false,
        doc: "Parameters that are handed on as session tags.",
    },
];

/// Most managed session policies (STS AssumeRole, PolicyArns).
const MAX_POLICY_ARNS: usize = 10;
/// Most session tags (STS AssumeRole, Tags).
const MAX_TAGS: usize = 50;

/// What a grant makes of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) statements: Vec<Statement>,
    pub(crate) policy_arns: Vec<String>,
    /// Names of parameters.
    pub(crate) tags: Vec<String>,
}

type Problems = Vec<(&'static str, String)>;

impl Shape {
    /// Reads a grant; the problems are for its author, each with the key. Without a role nothing is compared with it.
    pub(crate) fn read(grant: &Grant, role: Option<&Role>) -> Result<Self, Problems> {
        let mut problems = Problems::new();
        let mut statements = Vec::new();
        let tables = grant.settings.get("statements").and_then(Value::as_array);
        for (number, table) in (1..).zip(tables.into_iter().flatten()) {
            match Statement::read(table, &grant.params) {
                Ok(statement) => statements.push(statement),
                Err(problem) => problems.push(("statements", format!("statement {number}: {problem}"))),
            }
        }
        if statements.is_empty() && problems.is_empty() {
            let text = "is empty; without a session policy the credential could do all that the role can";
            problems.push(("statements", text.to_owned()));
        }
        let shape = Self {
            statements,
            policy_arns: texts(grant, "policy_arns"),
            tags: texts(grant, "tags"),
        };
        shape.check_policy_arns(role, &mut problems);
        shape.check_tags(grant, &mut problems);
        if problems.is_empty() {
            shape.check_whole(grant, &mut problems);
        }
        match problems.is_empty() {
            true => Ok(shape),
            false => Err(problems),
        }
    }

    /// The session policy, each parameter replaced as a whole.
    pub(crate) fn policy(&self, params: &Params) -> Result<Value, String> {
        let statements: Result<Vec<_>, _> = self.statements.iter().map(|statement| statement.fill(params)).collect();
        Ok(json!({ "Version": "2012-10-17", "Statement": statements? }))
    }

    fn check_policy_arns(&self, role: Option<&Role>, problems: &mut Problems) {
        let mut problem = |text: String| problems.push(("policy_arns", text));
        for arn in &self.policy_arns {
            let fits =
                |account: &str| account == "aws" || role.map_or(is_account(account), |role| role.account == account);
            if of_iam(arn, "policy/", fits).is_none() {
                problem(format!(
                    "`{arn}` is no ARN of a managed policy of AWS or of the role's account"
                ));
            }
        }
        if self.policy_arns.len() > MAX_POLICY_ARNS {
            problem(format!("names more than {MAX_POLICY_ARNS}, which AWS does not take"));
        }
    }

    fn check_tags(&self, grant: &Grant, problems: &mut Problems) {
        let mut problem = |text: String| problems.push(("tags", text));
        let mut seen = BTreeSet::new();
        for name in &self.tags {
            match grant.params.get(name) {
                None => problem(format!(
                    "`{name}` is no parameter of this grant; declare it below params"
                )),
                Some(spec) if matches!(spec.ty, ParamType::Set(_)) => {
                    problem(format!("`{name}` is a set, and a tag has one value"));
                }
                Some(spec) if !spec.required => {
                    problem(format!(
                        "`{name}` may be left out, and then nothing is narrowed: required = true"
                    ));
                }
                Some(_) => {}
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                problem(format!(
                    "`{name}` is there twice; AWS sees no difference between A and a"
                ));
            }
        }
        if OUR_TAGS.len() + self.tags.len() > MAX_TAGS {
            problem(format!(
                "names more than {}, which AWS does not take",
                MAX_TAGS - OUR_TAGS.len()
            ));
        }
    }

    fn check_whole(&self, grant: &Grant, problems: &mut Problems) {
        let used: BTreeSet<&str> = self.statements.iter().flat_map(Statement::params).collect();
        let tagged = |name: &String| self.tags.contains(name);
        let unused = grant
            .params
            .keys()
            .find(|name| !used.contains(name.as_str()) && !tagged(name));
        if let Some(name) = unused {
            problems.push((
                "statements",
                format!("the parameter {name} narrows nothing: use it as `param:{name}` in a where or name it in tags"),
            ));
        }
        let least = grant
            .params
            .iter()
            .map(|(name, spec)| (name.clone(), shortest(spec)))
            .collect();
        if let Ok(policy) = self.policy(&least)
            && let Some(problem) = too_large("the session policy", policy.to_string().len(), MAX_POLICY)
        {
            problems.push(("statements", problem));
        }
    }
}

fn texts(grant: &Grant, key: &str) -> Vec<String> {
    let texts = grant.settings.get(key).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What stands after `what` in `arn:PARTITION:iam::ACCOUNT:WHAT…`, path included.
pub(crate) fn of_iam<'a>(arn: &'a str, what: &str, account: impl Fn(&str) -> bool) -> Option<&'a str> {
    let parts: Vec<_> = arn.splitn(6, ':').collect();
    let &["arn", partition, "iam", "", owner, resource] = parts.as_slice() else {
        return None;
    };
    let path = resource.strip_prefix(what)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte);
    let fits = partition.starts_with("aws") && account(owner) && !path.is_empty() && path.bytes().all(plain);
    (fits && arn.len() <= 2048).then_some(path)
}
