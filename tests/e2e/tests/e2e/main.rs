//! The end-to-end tests: `cargo xtask test` installs what they need, builds the broker and runs them.

use std::process::ExitCode;

use procura_e2e::{cases, harness};

mod dev;
mod issuers;

fn main() -> ExitCode {
    harness::main(&cases![
        dev::the_four_printed_commands_work_as_pasted,
        dev::an_exchange_issues_a_short_token_with_user_and_actor_and_logs_it,
        dev::the_end_of_a_session_ends_its_tokens_and_refuses_the_subject_token,
        dev::a_server_revokes_its_own_token_and_nobody_elses,
        dev::bad_input_gets_one_clear_error_that_names_the_parameter,
        dev::only_its_own_server_may_present_a_secret,
        dev::what_was_answered_survives_kill_9,
        dev::the_api_wants_an_operator,
        issuers::keycloak_vouches_for_alice_at_the_mcp_server,
        issuers::keycloak_signs_with_a_new_key_after_a_rotation,
        issuers::oidc_provider_vouches_in_either_form,
    ])
}
