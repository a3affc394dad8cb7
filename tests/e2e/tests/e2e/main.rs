//! The end-to-end tests: `cargo xtask test` installs what they need, builds the broker and runs them.

use std::process::ExitCode;

use procura_e2e::{cases, harness};

mod alerts;
mod archive;
mod attacks;
mod campaign;
mod clients;
mod crash;
mod dev;
mod dev_postgres;
mod dpop;
mod editor;
mod explain;
mod id_jag;
mod identities;
mod issuers;
mod keeper;
mod key_rotation;
mod kinds;
mod library;
mod log;
mod log_bucket;
mod log_crash;
mod log_peers;
mod mcp;
mod mtls;
mod outage;
mod page;
mod peers;
mod questions;
mod reload;
mod replicas;
mod reports;
mod rotation;
mod trusted;
mod undoing;
mod upstream;
mod withdraw;
mod witness;

fn main() -> ExitCode {
    if let Some(campaign) = campaign::Asked::read() {
        return campaign.run();
    }
    harness::main(&cases![
        alerts::a_finding_is_told_over_tls_once_and_is_in_the_report,
        archive::an_export_is_verified_and_whatever_was_changed_is_named,
        attacks::every_request_ends_as_its_file_says_and_nothing_is_minted,
        attacks::every_request_over_tls_ends_as_its_file_says,
        attacks::every_bundle_is_judged_as_its_file_says,
        clients::openid_client_and_authlib_sign_and_what_they_signed_serves_once,
        clients::an_assertion_serves_once_at_all_replicas_and_a_denial_uses_it_up,
        clients::the_library_signs_or_sends_its_platforms_token_and_reports_uses,
        id_jag::the_sdks_present_id_jags_and_each_serves_once,
        crash::what_is_shipped_has_no_failpoints,
        crash::kill_9_at_every_step_leaves_nothing_behind_on_sqlite,
        crash::kill_9_at_every_step_leaves_nothing_behind_on_postgres,
        crash::kill_9_at_every_step_leaves_nothing_behind_at_vault,
        crash::kill_9_at_every_step_leaves_nothing_unknown_at_github,
        crash::kill_9_at_every_step_leaves_nothing_unknown_at_aws,
        crash::kill_9_at_every_step_leaves_nothing_unknown_at_an_oauth_upstream,
        crash::the_end_of_a_session_reaches_a_request_at_every_step_on_sqlite,
        crash::the_end_of_a_session_reaches_a_request_at_every_step_on_postgres,
        dev::the_four_printed_commands_work_as_pasted,
        dev::an_exchange_issues_a_short_token_with_user_and_actor_and_logs_it,
        dev::the_end_of_a_session_ends_its_tokens_and_refuses_the_subject_token,
        dev::a_server_revokes_its_own_token_and_nobody_elses,
        dev::bad_input_gets_one_clear_error_that_names_the_parameter,
        dev::only_its_own_server_may_present_a_secret,
        dev::what_was_answered_survives_kill_9,
        dev::the_api_wants_an_operator,
        dev_postgres::a_server_of_its_own_comes_and_goes_with_the_broker,
        dev_postgres::without_the_programs_it_runs_without_a_database_and_says_how,
        dpop::a_proof_needs_a_nonce_and_is_taken_once_by_all_replicas_also_after_a_restart,
        dpop::a_token_of_oidc_provider_that_is_bound_needs_its_key,
        dpop::a_token_of_keycloak_that_is_bound_needs_its_key,
        dpop::an_operators_bound_token_is_no_bearer_token,
        dpop::the_library_proves_its_key,
        editor::the_language_server_completes_keys_and_finds_no_fault_with_the_examples,
        explain::a_record_is_explained_by_the_bundle_that_decided,
        explain::a_bundle_is_given_to_operators_by_its_digest,
        identities::a_token_that_keycloak_revoked_is_refused_although_it_is_signed,
        identities::opaque_tokens_of_oidc_provider_are_taken_until_they_are_revoked,
        identities::an_issuer_that_does_not_answer_holds_up_no_other,
        identities::a_weak_log_in_and_a_lack_of_scope_are_told_what_suffices,
        issuers::keycloak_vouches_for_alice_at_the_mcp_server,
        issuers::keycloak_signs_with_a_new_key_after_a_rotation,
        issuers::oidc_provider_vouches_in_either_form,
        key_rotation::no_exchange_fails_while_issuers_change_their_keys_and_what_a_gone_key_signed_is_refused,
        outage::a_full_disk_refuses_and_is_forgotten_when_there_is_space,
        outage::a_read_only_store_refuses_and_is_forgotten_when_it_can_be_written,
        outage::a_stopped_store_refuses_and_is_forgotten_when_it_runs,
        outage::an_fsync_error_ends_the_process_and_the_next_one_recovers,
        outage::a_store_whose_files_cannot_grow_refuses_and_is_forgotten_when_they_can,
        outage::more_writes_than_may_wait_are_refused_and_leave_nothing,
        outage::a_source_that_is_away_breaks_only_the_target_that_needs_it,
        outage::the_last_good_value_of_a_source_serves_for_a_limited_time,
        kinds::what_vault_makes_is_used_narrowed_attributed_and_undone,
        kinds::what_a_real_vault_makes_is_used_narrowed_attributed_and_undone,
        kinds::a_session_of_aws_is_used_narrowed_attributed_and_lives_until_it_lapses,
        kinds::a_session_of_aws_is_denied_everything_where_the_bundle_lets_it,
        kinds::a_token_of_github_is_used_narrowed_attributed_and_revoked,
        kinds::a_session_of_aws_is_served_again_for_the_same_and_for_nothing_else,
        kinds::names_from_tokens_reach_targets_only_as_generated_ones,
        library::the_library_trusts_the_ca_that_it_is_given_and_no_other,
        reload::a_changed_bundle_is_in_force_at_sighup_and_no_exchange_fails,
        reload::a_broken_bundle_is_refused_and_the_last_good_one_goes_on,
        reload::a_renewed_certificate_is_taken_up_and_a_broken_one_is_not,
        questions::a_question_finds_the_same_by_command_and_api_on_both_engines,
        questions::a_reader_of_one_target_is_told_of_no_other,
        questions::a_reader_of_one_target_follows_no_other,
        questions::whoever_follows_the_log_sees_each_record_and_holds_up_no_end,
        reports::exchanges_are_in_the_blast_radius_of_all_that_they_hang_on,
        reports::the_patch_of_what_is_not_used_leaves_a_bundle_that_loads,
        reports::an_erased_subject_is_in_no_report,
        reports::a_reader_of_one_target_is_told_of_that_one,
        page::an_operator_logs_in_through_keycloak_reads_a_rule_and_ends_a_session,
        page::an_auditor_of_one_target_sees_nothing_of_others,
        page::a_record_that_was_changed_in_the_store_is_shown_not_to_be_in_the_log,
        page::the_page_of_dev_lets_in_who_began_the_log_in_once,
        page::chromium_keeps_the_cookies_of_dev_on_the_loopback_address,
        replicas::one_stopped_in_a_mint_leaves_nothing_and_undoes_nothing_that_lives,
        replicas::one_stopped_in_a_mint_while_the_session_ends_at_the_other_leaves_nothing,
        rotation::no_exchange_fails_while_a_password_changes_that_a_file_keeps,
        rotation::no_exchange_fails_while_a_password_changes_that_vault_keeps,
        rotation::no_exchange_fails_while_a_password_changes_that_secrets_manager_keeps,
        rotation::a_bad_new_version_is_rolled_back_and_no_exchange_fails,
        rotation::procura_rotate_lets_log_ins_take_turns_and_no_exchange_fails,
        rotation::a_rotation_that_is_killed_leaves_a_log_in_that_works,
        undoing::a_target_that_was_away_is_cleared_and_holds_nobody_up,
        undoing::what_lives_costs_nothing_until_it_is_due,
        upstream::keycloak_issues_to_a_client_that_signs_and_revokes_at_the_sessions_end,
        upstream::keycloak_exchanges_a_users_token_and_nobody_else_gets_it,
        upstream::github_gives_tokens_for_the_repositories_that_were_asked_for_until_the_session_ends,
        upstream::oidc_provider_issues_to_a_client_that_signs_and_revokes_what_it_can,
        log::every_record_is_under_a_signed_and_anchored_checkpoint_and_proved,
        log::a_store_that_went_back_is_refused_until_an_operator_acknowledges_it,
        log_bucket::checkpoints_in_a_bucket_outlive_restarts_and_tell_of_a_restore,
        log_crash::kill_9_between_the_steps_of_the_log_leaves_one_tree_on_sqlite,
        log_crash::kill_9_between_the_steps_of_the_log_leaves_one_tree_on_postgres,
        log_peers::sigstore_and_ct_merkle_verify_the_log_as_it_verifies_theirs,
        mcp::every_client_reaches_the_rows_that_only_its_user_may_see,
        mcp::the_mcp_server_wants_a_token_and_says_from_whom,
        mcp::the_log_names_everything_for_the_first_call_and_for_cached_ones,
        mcp::no_setting_of_a_session_shows_it_the_rows_of_others,
        mcp::the_end_of_a_session_ends_role_connection_and_subject_token,
        mtls::a_certificate_proves_its_server_and_nothing_else_does,
        mtls::another_bundle_ends_what_a_certificate_proves_on_open_connections,
        mtls::a_certificate_in_a_header_is_believed_from_the_named_proxy_only,
        mtls::workloads_prove_their_server_by_either_svid,
        mtls::a_server_that_could_never_authenticate_stops_the_start,
        peers::openid_client_authlib_and_curl_prove_themselves_by_certificates,
        peers::openid_client_and_authlib_bind_tokens_to_their_keys_however_they_prove_themselves,
        withdraw::a_grant_that_is_taken_from_a_server_is_undone,
        withdraw::a_server_that_is_removed_loses_its_sessions_and_what_they_hold,
        withdraw::a_target_with_live_leases_is_not_dropped_unless_it_is_abandoned,
        withdraw::a_target_is_dropped_when_its_leases_are_gone,
        withdraw::a_restored_store_undoes_nothing_while_revocation_is_held,
        withdraw::a_secret_that_runs_out_soon_is_told_and_does_not_degrade,
    ])
}
