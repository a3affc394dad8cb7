//! `agents/*.toml`

use procura_core::catalogue::Agent;

use super::Around;
use crate::table::{Item, Table};

pub(super) fn read(table: &mut Table<'_>, around: &Around<'_>) -> Option<Agent> {
    let issuer = table.need("issuer", "\"corp\"");
    let alias = issuer.and_then(|item| item.declared(&around.issuers, "issuers"));
    let sub_item = table.need("sub", "\"service-account-triage\"");
    let sub = sub_item.and_then(Item::filled);
    let client_item = table.take("client_id");
    let client = client_item.and_then(Item::filled);
    let owner = table.need("owner", "\"support@example.com\"").and_then(Item::filled);
    let suspended = table.flag("suspended");
    if let (Some(alias), Some(sub), Some(item)) = (&alias, sub, sub_item) {
        item.unique(&around.seen, "issuer and sub", format!("{alias}/{sub}"));
        let (client, item) = (client.unwrap_or(sub), client_item.unwrap_or(item));
        item.unique(&around.seen, "issuer and client id", format!("{alias}/{client}"));
    }
    Some(Agent {
        issuer: alias?,
        sub: sub.unwrap_or_default().to_owned(),
        client_id: client.map(str::to_owned),
        owner: owner.unwrap_or_default().to_owned(),
        suspended,
    })
}
