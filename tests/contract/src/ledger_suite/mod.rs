//! What every ledger does. Each function is one behaviour; `ledger_tests!` makes a test of each.

#![expect(clippy::expect_used, clippy::panic, reason = "the code of tests, kept in a library")]

mod appends;
mod counts;
mod kept;
mod leases;
mod listings;
mod questions;
pub mod sample;
mod sessions;

use std::sync::Arc;

use procura_core::{ids::IssuanceId, ledger::Ledger, ports::BoxFuture};

pub use appends::*;
pub use counts::*;
pub use kept::*;
pub use leases::*;
pub use listings::*;
pub use questions::*;
pub use sessions::*;

/// A store for one test, empty at first.
pub trait LedgerUnderTest: Send + Sync {
    /// The store.
    fn ledger(&self) -> Arc<dyn Ledger>;

    /// Closes the store and opens what it kept.
    fn reopen(&mut self) -> BoxFuture<'_, ()>;

    /// Another replica on the same store; the same one where there is only one.
    fn replica(&self) -> BoxFuture<'_, Arc<dyn Ledger>>;

    /// Erases the personal data of a record.
    fn erase(&self, id: IssuanceId) -> BoxFuture<'_, ()>;
}

/// Makes a test of every behaviour. `$make` is an async function that answers a [`LedgerUnderTest`].
#[macro_export]
macro_rules! ledger_tests {
    ($make:path) => {
        $crate::ledger_tests! { $make:
            a_record_reads_back_as_it_was_appended
            a_record_that_is_there_is_not_written_again
            one_replayed_id_among_64_refuses_one_caller
            one_id_presented_64_times_at_once_passes_once
            what_is_refused_burns_nothing
            an_ended_session_refuses_its_own_rows_only
            an_idle_session_refuses
            an_issued_exchange_moves_its_session
            durable_time_is_the_highest_of_all_records
            one_time_ids_are_forgotten_by_durable_time
            everything_is_there_after_a_restart
            the_loser_of_a_race_takes_the_winners_session
            sessions_are_joined_by_all_four_parts_of_the_key
            a_dead_session_is_ended_by_time_when_another_is_opened
            ending_a_session_ends_what_it_holds
            marks_refuse_tokens_up_to_their_whole_second
            only_operators_and_policy_leave_marks
            one_credential_is_revoked_alone
            expired_and_idle_sessions_are_found
            a_lease_goes_live_with_its_record
            a_lease_that_was_taken_over_refuses_its_first_owner
            an_intent_burns_its_one_time_ids
            leases_are_taken_when_they_are_due
            the_backlog_of_one_target_keeps_no_other_waiting
            no_lease_is_handed_out_twice
            one_lease_is_taken_at_once_unless_an_attempt_is_under_way
            only_the_owner_settles_a_lease
            a_lease_is_found_by_what_the_target_calls_it
            a_credential_is_served_again_only_while_its_lease_is_live
            an_interrupted_mint_hands_its_record_on_until_it_is_there
            records_are_found_by_each_filter
            records_come_newest_first_in_pages
            an_issued_record_is_found_by_its_value
            an_erased_record_has_no_side
            sessions_are_listed_by_each_filter
            leases_are_listed_by_each_filter
            leases_come_newest_first_in_pages
            a_question_finds_what_its_filter_says
            attack_199_a_reader_of_some_targets_learns_of_no_others
            a_walk_ends_after_so_many_records
            the_targets_of_a_reader_share_what_a_page_looks_at
            bundles_are_kept_once
            the_bundle_that_was_settled_last_is_known
            places_that_hold_leases_are_told
            counts_of_all_replicas_are_added
            counts_outlive_a_restart_until_their_window_ends
        }
    };
    ($make:path: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let mut store = $make().await;
                $crate::ledger_suite::$behaviour(&mut store).await;
            }
        )*
    };
}
