//! What files say of tokens beyond issuer, key and audience: keys of issuers, servers, tools and grants.

use std::collections::{BTreeMap, BTreeSet};

use procura_core::{
    catalogue::Issuer,
    trust::{Introspection, IntrospectionMode, LogInRule, Requires, SubjectRules, Tenant, Trust},
};
use procura_wire::{Name, QualifiedId};

use super::{Around, issuers};
use crate::table::{Item, Table};

const MODES: [(&str, IntrospectionMode); 2] = [
    ("opaque", IntrospectionMode::Opaque),
    ("always", IntrospectionMode::Always),
];

/// Keys of `issuers/*.toml`.
pub(super) fn of_issuer(table: &mut Table<'_>, around: &Around<'_>) -> Option<Trust> {
    let tenant = table.take("tenant").map(tenant);
    let log_in = log_in(table, ["require_acr", "require_amr", "max_age"]);
    let id_tokens = table.flag("id_tokens");
    let implied = table.take("scopes_imply").and_then(implied);
    let introspection = table.take("introspection").map(|item| introspection(item, around));
    Some(Trust {
        tenant: absent_or_whole(tenant)?,
        log_in,
        id_tokens,
        scopes_imply: implied.unwrap_or_default(),
        introspection: absent_or_whole(introspection)?,
    })
}

/// What is there and could not be read is not taken for absent.
fn absent_or_whole<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// Keys that do not go together.
pub(super) fn check(table: &Table<'_>, issuer: &Issuer) {
    let trust = &issuer.trust;
    if trust.id_tokens && issuer.clients.as_ref().is_none_or(BTreeSet::is_empty) {
        table.mistake("id_tokens needs the clients that they are for; write for example: clients = [\"agent\"]");
    }
    if trust.id_tokens && trust.asks_always() {
        table.mistake("no issuer can be asked about ID tokens (RFC 7662); remove id_tokens or write mode = \"opaque\"");
    }
    if trust.introspection.is_some() && issuer.issuer.starts_with("builtin:") {
        table.mistake("a built-in issuer is not asked about tokens; remove introspection");
    }
    let of_many = trust.tenant.as_ref().is_some_and(|tenant| tenant.value.is_none());
    if of_many && issuer.operators {
        table.mistake("operators of every organisation would be let in; name the value of tenant");
    }
}

fn tenant(item: Item<'_>) -> Option<Tenant> {
    let mut table = item.table()?;
    let claim = table.need("claim", "\"tid\"").and_then(Item::filled);
    let value = table.take("value").map(Item::filled);
    table.finish();
    Some(Tenant {
        claim: claim?.to_owned(),
        value: absent_or_whole(value)?.map(str::to_owned),
    })
}

fn log_in(table: &mut Table<'_>, [acr, amr, max_age]: [&'static str; 3]) -> LogInRule {
    let acr = table.take(acr).and_then(words).unwrap_or_default();
    let amr = table.take(amr).and_then(words).unwrap_or_default();
    LogInRule {
        acr,
        amr: amr.into_iter().collect(),
        max_age: table.take(max_age).and_then(Item::duration),
    }
}

fn implied(item: Item<'_>) -> Option<BTreeMap<String, BTreeSet<String>>> {
    let mut direct = BTreeMap::new();
    for (scope, item) in item.table()?.entries() {
        if !is_word(scope) {
            item.mistake(format!("`{scope}` cannot be a scope (RFC 6749 section 3.3)"));
        }
        direct.insert(scope.to_owned(), scopes(item).unwrap_or_default());
    }
    Some(
        direct
            .keys()
            .map(|scope| (scope.clone(), all_of(&direct, scope)))
            .collect(),
    )
}

/// What a scope implies, and what that implies.
fn all_of(direct: &BTreeMap<String, BTreeSet<String>>, scope: &str) -> BTreeSet<String> {
    let (mut all, mut next) = (BTreeSet::new(), vec![scope]);
    while let Some(scope) = next.pop() {
        for implied in direct.get(scope).into_iter().flatten() {
            if all.insert(implied.clone()) {
                next.push(implied);
            }
        }
    }
    all
}

fn introspection(item: Item<'_>, around: &Around<'_>) -> Option<Introspection> {
    let mut table = item.table()?;
    let client_id = table.need("client_id", "\"procura\"").and_then(Item::filled);
    let secret = table.need("secret", "\"vault:kv/prod/corp-introspection#secret\"");
    let secret = secret.and_then(super::reference);
    let endpoint = table.take("endpoint").map(|item| endpoint(item, around));
    let mode = table.need("mode", "\"opaque\"").and_then(|item| item.one_of(&MODES));
    table.finish();
    Some(Introspection {
        client_id: client_id?.to_owned(),
        secret: secret?.to_owned(),
        endpoint: absent_or_whole(endpoint)?.map(str::to_owned),
        mode: mode?,
    })
}

fn endpoint<'d>(item: Item<'d>, around: &Around<'_>) -> Option<&'d str> {
    let text = item.text()?;
    let checked = issuers::web_address(text, around.options);
    checked.map_err(|problem| item.mistake(problem)).ok()?;
    Some(text)
}

/// Keys of `servers/*.toml`, tools apart.
pub(super) fn of_server(table: &mut Table<'_>, around: &Around<'_>) -> SubjectRules {
    let tenants = table.take("tenants").and_then(|item| tenants(item, around));
    let asked = table.take("opaque_tokens_from").and_then(|item| asked(item, around));
    SubjectRules {
        tenants: tenants.unwrap_or_default(),
        opaque_tokens_from: asked,
        tool_scopes: BTreeMap::new(),
    }
}

fn tenants(item: Item<'_>, around: &Around<'_>) -> Option<BTreeSet<QualifiedId>> {
    let texts = item.texts()?;
    if texts.is_empty() {
        item.mistake("an empty list serves nobody; name an organisation, or remove it");
    }
    let known = |(_, item): (&str, Item<'_>)| {
        let id: QualifiedId = item.parse()?;
        let alias = &id.qualifier;
        match around.trusted.get(alias) {
            Some(trust) if trust.tenant.is_some() => {}
            Some(_) => item.mistake(format!(
                "`{id}`: issuers/{alias}.toml does not say how to tell organisations; write there: tenant = {{ claim = \
                 \"tid\" }}"
            )),
            None if around.issuers.contains(alias) => {}
            None => item.mistake(format!("`{id}`: there is no issuers/{alias}.toml")),
        }
        Some(id)
    };
    Some(texts.into_iter().filter_map(known).collect())
}

fn asked(item: Item<'_>, around: &Around<'_>) -> Option<Name> {
    let name = item.declared(&around.issuers, "issuers")?;
    let trust = around.trusted.get(&name);
    if trust.is_some_and(|trust| trust.introspection.is_none()) {
        item.mistake(format!(
            "issuers/{name}.toml has no introspection; nobody could be asked about such a token"
        ));
    }
    Some(name)
}

/// Keys of `[grants.NAME]`.
pub(super) fn of_grant(table: &mut Table<'_>) -> Requires {
    let scope = table.take("requires_scope").and_then(scopes);
    let auth = table.take("requires_auth").and_then(|item| {
        let mut table = item.table()?;
        let rule = log_in(&mut table, ["acr", "amr", "max_age"]);
        if rule == LogInRule::default() {
            table.mistake("this requires nothing; write acr, amr or max_age, or remove it");
        }
        table.finish();
        Some(rule)
    });
    Requires {
        scope: scope.unwrap_or_default(),
        log_in: auth.unwrap_or_default(),
    }
}

/// `requires_scope`, a scope each.
pub(super) fn scopes(item: Item<'_>) -> Option<BTreeSet<String>> {
    Some(words(item)?.into_iter().collect())
}

/// Words that can stand in a `scope` (RFC 6749 section 3.3) and in a challenge; at least one.
fn words(item: Item<'_>) -> Option<Vec<String>> {
    let texts = item.texts()?;
    if texts.is_empty() {
        item.mistake("an empty list requires nothing; name at least one, or remove it");
    }
    for (text, item) in &texts {
        if !is_word(text) {
            item.mistake(format!(
                "`{text}`: printable ASCII without spaces, quotes and backslash is needed here"
            ));
        }
    }
    Some(texts.into_iter().map(|(text, _)| text.to_owned()).collect())
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| matches!(c, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}
