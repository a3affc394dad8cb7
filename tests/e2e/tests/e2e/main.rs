//! The end-to-end tests: `cargo xtask test` installs what they need, builds the broker and runs them.

use std::process::ExitCode;

use procura_e2e::{cases, harness};

mod issuers;

fn main() -> ExitCode {
    harness::main(&cases![
        issuers::keycloak_vouches_for_alice_at_the_mcp_server,
        issuers::keycloak_signs_with_a_new_key_after_a_rotation,
        issuers::oidc_provider_vouches_in_either_form,
    ])
}
