//! The list of kinds of targets. A new kind is a crate and a line here.

use procura_core::kind::Kind;

/// Every kind that bundles may use.
pub(crate) static KINDS: [&Kind; 2] = [&procura_target_jwt::KIND, &procura_target_postgres::KIND];
