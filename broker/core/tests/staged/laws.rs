//! What holds whatever happens in whatever order.

use std::{collections::BTreeSet, time::Duration};

use procura_core::{kind::ProofError, source::Source, staged::Due};
use proptest::prelude::*;

use crate::bench::Bench;

#[derive(Debug, Clone)]
enum Step {
    /// The source has this version.
    Put(u8),
    Pass(u64),
    /// Proves what is due, with this outcome.
    Tend(Option<bool>),
    /// A caller whose version in use is refused gets another; whether that works.
    Refused(bool),
    /// Work that ends late says of any version that it works, where nobody has refused the one in use.
    Late(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..5_u8).prop_map(Step::Put),
        (0..700_u64).prop_map(Step::Pass),
        prop_oneof![Just(None), Just(Some(true)), Just(Some(false))].prop_map(Step::Tend),
        any::<bool>().prop_map(Step::Refused),
        (1..5_u8).prop_map(Step::Late),
    ]
}

/// Checks after each step; answers what broke.
async fn follow(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = Bench::new();
    let mut active = bench.current().await;
    // Everything that was proved or did work.
    let (mut good, mut refused) = (BTreeSet::from([active.clone()]), false);
    for step in steps {
        let late = matches!(step, Step::Late(_));
        match step {
            Step::Put(version) => bench.source.put(&version.to_string()),
            Step::Pass(seconds) => bench.clock.advance(Duration::from_secs(seconds)),
            Step::Tend(outcome) => match bench.staged.due() {
                Some(Due::Prove(secret)) => {
                    let outcome = match outcome {
                        None => Err(ProofError::Failed("away".to_owned())),
                        Some(false) => Err(ProofError::Refused("no".to_owned())),
                        Some(true) => {
                            good.insert(secret.version.clone());
                            Ok(())
                        }
                    };
                    bench.staged.proved(&secret.version, outcome);
                }
                Some(Due::Retire { old, active: used }) => {
                    prop_assert_ne!(&old.version, &used.version);
                    bench.staged.retired(&old.version, Ok(()));
                }
                None => {}
            },
            Step::Refused(works) => {
                refused = true;
                if let Ok(other) = bench.refused(&active).await
                    && works
                    && other.version != active
                {
                    good.insert(other.version.clone());
                    bench.staged.works(&other.version);
                }
            }
            Step::Late(_) if refused => {}
            Step::Late(version) => bench.staged.works(&version.to_string()),
        }
        let used = bench.current().await;
        prop_assert!(good.contains(&used), "{used} was neither proved nor did it work");
        if used != active {
            prop_assert!(!late, "work that ends late takes nothing back");
            refused = false;
            active = used;
        }
        let stage = bench.staged.stage();
        prop_assert_ne!(&stage.candidate, &stage.active);
    }
    Ok(())
}

proptest! {
    #[test]
    fn only_what_was_proved_or_worked_is_in_use(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(follow(steps))?;
    }
}
