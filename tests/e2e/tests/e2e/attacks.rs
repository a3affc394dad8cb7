//! The corpus of `tests/attacks/`, over TCP against the broker. `--attack=TEXT` runs the cases whose names hold it.

mod bundles;
mod case;
mod certificate;
mod presented;
mod rules;
mod running;
mod send;
mod stand;
mod text;
mod token;
mod world;

use std::{collections::BTreeSet, path::Path};

use procura_e2e::{Fault, Testbed, harness::Outcome};
use tempfile::TempDir;

use self::{
    case::{Case, Named},
    running::Speaking,
    stand::Stand,
    text::Words,
    token::Keys,
    world::World,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../attacks");

/// Every request, each with a line of its own.
pub(crate) async fn every_request_ends_as_its_file_says_and_nothing_is_minted(testbed: &Testbed) -> Outcome {
    let chosen = chosen(|case| case.bundle.is_none() && !case.is_over_tls())?;
    if chosen.is_empty() {
        return conclude(0, &[]);
    }
    every(World::dev(testbed).await?, &chosen).await
}

/// The same of those that are for a broker which speaks TLS.
pub(crate) async fn every_request_over_tls_ends_as_its_file_says(testbed: &Testbed) -> Outcome {
    let chosen = chosen(Case::is_over_tls)?;
    if chosen.is_empty() {
        return conclude(0, &[]);
    }
    let (mut words, keys) = (Words::new(), Keys::new()?);
    words.insert("tls".into(), testbed.issuer().await?.url.clone().into());
    let (speaking, stand) = Speaking::prepare(testbed, &keys, &mut words).await?;
    every(World::tls(&speaking, stand, (keys, words)).await?, &chosen).await
}

async fn every(mut world: World<'_>, chosen: &[Named]) -> Outcome {
    let mut failed = Vec::new();
    for Named { name, case } in chosen {
        let outcome = world.run(case).await;
        tell(name, case, outcome, &mut failed);
    }
    world.stop().await?;
    conclude(chosen.len(), &failed)
}

/// Every bundle, each with a line of its own.
pub(crate) async fn every_bundle_is_judged_as_its_file_says(testbed: &Testbed) -> Outcome {
    let chosen = chosen(|case| case.bundle.is_some())?;
    let (mut words, keys, dir) = (Words::new(), Keys::new()?, TempDir::new()?);
    words.insert("tls".into(), "https://127.0.0.1".into());
    let stand = Stand::start(Path::new(ROOT), &keys, &mut words).await?;
    let whole = dir.path().join("whole");
    bundles::write(Path::new(ROOT), &stand, &words, &whole)?;
    let mut failed = Vec::new();
    for Named { name, case } in &chosen {
        if let Some(bundle) = &case.bundle {
            let outcome = bundles::check(testbed.broker(), &whole, (bundle, &case.expect), &words);
            tell(name, case, outcome, &mut failed);
        }
    }
    conclude(chosen.len(), &failed)
}

/// The cases of one sort that the command line asks for.
fn chosen(sort: impl Fn(&Case) -> bool) -> Result<Vec<Named>, Fault> {
    let asked = std::env::args().find_map(|argument| argument.strip_prefix("--attack=").map(str::to_owned));
    let mut cases = case::all(Path::new(ROOT))?;
    every_family_has_a_control(&cases)?;
    let asked = asked.unwrap_or_default();
    cases.retain(|named| named.name.contains(&asked) && sort(&named.case));
    Ok(cases)
}

fn tell(name: &str, case: &Case, outcome: Outcome, failed: &mut Vec<String>) {
    match outcome {
        Ok(()) => println!("attack {name} ... ok"),
        Err(fault) => {
            println!("attack {name} ... FAILED ({})\n{fault:.3000}\n", case.title);
            failed.push(name.to_owned());
        }
    }
}

fn conclude(count: usize, failed: &[String]) -> Outcome {
    println!("{count} attacks, {} failed", failed.len());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")).into())
    }
}

/// Refusals prove something only beside what is issued by the same means.
fn every_family_has_a_control(all: &[Named]) -> Outcome {
    fn family(named: &Named) -> &str {
        named.name.split('/').next().unwrap_or_default()
    }
    let good = |named: &&Named| named.case.expect.minted || named.case.expect.exit == Some(0);
    let controlled: BTreeSet<&str> = all.iter().filter(good).map(family).collect();
    match all.iter().find(|named| !controlled.contains(family(named))) {
        Some(named) => Err(format!("{} has no case that succeeds", family(named)).into()),
        None => Ok(()),
    }
}
