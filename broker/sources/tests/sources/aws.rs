//! The settings of AWS sources.

use std::sync::Arc;

use procura_contract::manual_clock::ManualClock;

use crate::kit::sources;

#[tokio::test]
async fn settings_that_cannot_work_are_errors_that_say_what_to_write() {
    let clock = Arc::new(ManualClock::default());
    let good = "[aws]\nkind = 'aws'\nregion = 'eu-central-1'\n";
    let role = "role = 'arn:aws:iam::123456789012:role/team/reader'\n";
    for fine in [
        "",
        "stage = 'AWSPENDING'\naccount = '123456789012'\nendpoint = 'https://vpce-1.example.com'",
        &format!("{role}external_id = 'corp:42'\nsts_endpoint = 'http://127.0.0.1:1'"),
        "role = 'arn:aws-us-gov:iam::123456789012:role/reader'",
    ] {
        assert!(sources(&format!("{good}{fine}"), &clock).is_ok(), "{fine}");
    }
    for (bad, problem) in [
        (
            good.replace("eu-central-1", "eu"),
            "region: \"eu\" is no region, such as eu-central-1",
        ),
        (good.replace("eu-central-1", "eu-1.evil.example/x"), "region: "),
        (
            format!("{good}endpoint = 'http://example.com'"),
            "endpoint: secrets are sent over https only",
        ),
        (
            format!("{good}endpoint = 'https://example.com/x'"),
            "endpoint: write https://host",
        ),
        (
            format!("{good}{role}sts_endpoint = 'http://example.com'"),
            "sts_endpoint: secrets are sent over https only",
        ),
        (
            format!("{good}sts_endpoint = 'https://example.com'"),
            "sts_endpoint is of use with role only; name the role, or take sts_endpoint out",
        ),
        (
            format!("{good}external_id = 'corp'"),
            "external_id is of use with role only",
        ),
        (
            format!("{good}{role}external_id = 'a b'"),
            "external_id: write 2 to 1224 of",
        ),
        (
            format!("{good}role = 'reader'"),
            "role: \"reader\" is no ARN of a role, such as arn:aws:iam::",
        ),
        (
            format!("{good}role = 'arn:aws:iam::123456789012:user/reader'"),
            "role: ",
        ),
        (format!("{good}role = 'arn:aws:iam::1234:role/reader'"), "role: "),
        (format!("{good}role = 'arn:aws:iam::123456789012:role/'"), "role: "),
        (
            format!("{good}account = '1234'"),
            "account: \"1234\" is no account; write its 12 digits",
        ),
        (
            format!("{good}stage = ''"),
            "stage: \"\" is no staging label, such as AWSCURRENT or AWSPENDING",
        ),
        (
            format!("{}account = '12'", good.replace("eu-central-1", "EU-1")),
            "region: \"EU-1\" is no region, such as eu-central-1; account: ",
        ),
    ] {
        let error = sources(&bad, &clock).err().expect("refused").to_string();
        assert!(
            error.starts_with("[sources.aws] ") && error.contains(problem),
            "{error}"
        );
    }
}
