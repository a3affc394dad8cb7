//! What files say of tokens that are bound to keys.

use procura_core::judgement::Judge;

use super::{BASE, try_load};

#[test]
fn req_085_req_089_bindings_are_read() {
    let with = |path: &str, line: &str| {
        let text = BASE.iter().find(|(known, _)| *known == path).map(|(_, text)| *text);
        let text = format!("{line}\n{}", text.expect("file"));
        let loaded = try_load(&[(path, &text)]).expect("loaded");
        loaded.catalogue().clone()
    };
    let issuer = &with("issuers/corp.toml", "trusted_presenters = [\"tickets\"]").issuers["corp"];
    assert_eq!(
        issuer
            .trusted_presenters
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        ["tickets"]
    );
    let path = "servers/tickets.toml";
    let server = &with(path, "dpop_bound_access_tokens = true").servers["tickets"];
    assert!(server.dpop_bound && !server.certificate_bound);
    let server = &with(path, "certificate_bound_access_tokens = true").servers["tickets"];
    assert!(server.certificate_bound && !server.dpop_bound);
}
