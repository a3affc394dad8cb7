//! What `procura dev` prints: four commands that can be pasted.

use std::{env, path::Path};

use super::{
    DevFile, Stage,
    issuer::USERS,
    sample::{Attempt, Sample},
};
use crate::cli::{self, Failure, print};

/// How this program was started, as it can be pasted.
pub(crate) fn program() -> String {
    if cli::environment("CARGO").is_some() {
        return "cargo run -q --".to_owned();
    }
    let started = env::args().next().unwrap_or_else(|| "procura".to_owned());
    let here = env::current_dir().ok();
    let inside = here.and_then(|here| Some(Path::new(&started).strip_prefix(here).ok()?.display().to_string()));
    inside.unwrap_or(started)
}

/// Makes one exchange and prints what to try next.
pub(super) async fn greet(stage: &Stage) {
    let Stage { broker, file, .. } = stage;
    let digest = broker.ports.active.snapshot().judge.digest().to_string();
    print::line(format_args!("Procura runs at {}, for this machine only.", file.issuer));
    print::line(format_args!(
        "Bundle {}, digest {}.",
        broker.workshop.folder.display(),
        &digest[..12]
    ));
    let users = USERS.map(|(user, groups)| match groups {
        [] => user.to_owned(),
        groups => format!("{user} ({})", groups.join(", ")),
    });
    print::line(format_args!("Users of its own issuer: {}.", users.join(", ")));
    if broker.web.is_some() {
        print::line(format_args!("The page for auditors and operators: {}/ui/", file.issuer));
    }
    match &stage.sample {
        Some(sample) => match first_exchange(file, sample).await {
            Ok((issuance, session)) => list(&commands(&program(), sample, &issuance, &session)),
            Err(failure) => print::line(format_args!("The first exchange failed: {failure}")),
        },
        None => print::line(format_args!("{NOTHING}")),
    }
    match &stage.postgres {
        Ok(()) => {
            print::line(format_args!(
                "A log-in to the sample database, where everybody sees their own rows:"
            ));
            print::line(format_args!(
                "{} exchange --target tickets-db --grant read-rows --format url",
                program()
            ));
        }
        Err(without) => print::line(without),
    }
}

const NOTHING: &str = "\
The bundle has nothing to try: that wants an issuer with issuer = \"builtin:dev\", a server with
auth = { method = \"builtin:dev\" }, in its `grants` one of a target of kind jwt, and a rule that permits it.";

fn list(commands: &[String]) {
    print::line(format_args!(
        "One exchange was made already. Try these in another terminal:"
    ));
    print::line("");
    commands
        .iter()
        .for_each(|command| print::line(format_args!("{command}")));
    print::line("");
    print::line(format_args!(
        "The first gives a credential. The second is denied and says which rule came near."
    ));
    print::line(format_args!(
        "The third shows who got what, as whom, by which rule. The fourth ends the session:"
    ));
    print::line(format_args!(
        "after it the credentials of the session are inactive. End the broker with Ctrl-C."
    ));
}

/// The four commands.
pub(crate) fn commands(program: &str, sample: &Sample, issuance: &str, session: &str) -> [String; 4] {
    [
        format!("{program} {}", sample.permitted().command()),
        format!("{program} {}", sample.denied.command()),
        format!("{program} log show {issuance}"),
        format!("{program} session end {session}"),
    ]
}

/// Goes the way of every server, so that a record and a session are there to look at.
async fn first_exchange(file: &DevFile, sample: &Sample) -> Result<(String, String), Failure> {
    let Attempt { target, grant, .. } = sample.permitted();
    let answer = cli::sample_exchange(file, &target, &grant).await?;
    Ok((answer.issuance_id, answer.session))
}
