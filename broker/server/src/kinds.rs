//! The list of kinds of targets. A new kind is a crate and a line here.

use procura_core::kind::Kind;

/// Every kind that bundles may use.
pub(crate) static KINDS: [&Kind; 6] = [
    &procura_target_aws::KIND,
    &procura_target_github_app::KIND,
    &procura_target_jwt::KIND,
    &procura_target_oauth::KIND,
    &procura_target_postgres::KIND,
    &procura_target_vault::KIND,
];
