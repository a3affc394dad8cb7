//! Settings of targets and grants.

use super::*;

#[test]
fn settings_that_no_token_can_carry_are_load_errors() {
    let faults = |target: &Target| -> Vec<&str> { (KIND.check)(target).iter().map(|fault| fault.key).collect() };
    assert!(faults(&target()).is_empty());
    for bad in [
        json!([]),
        json!([""]),
        json!(["a b"]),
        json!(["a\"b"]),
        json!(["ä"]),
        json!(["a\\b"]),
    ] {
        let mut target = target();
        target.grants.insert(name("bad"), grant(bad.clone()));
        assert_eq!(faults(&target), ["scopes"], "{bad}");
    }
    for bad in ["", "a b", "a\n"] {
        let mut target = target();
        target.settings.insert("audience".into(), json!(bad));
        assert_eq!(faults(&target), ["audience"], "{bad:?}");
    }
}
