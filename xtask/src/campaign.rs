//! `cargo xtask campaign`: the end-to-end tests' random crashes, rotations, undos and leases, many times. Run for a release, and
//! when the exchange, the stores or undoing change; its results are committed.

use crate::{
    bench, fuzz, mutants,
    parts::Testbed,
    run::{self, cargo, shown},
    test,
    workspace::Workspace,
};

/// What there is, and how many times where the command line does not say.
const CAMPAIGNS: [(&str, u32); 7] = [
    ("crash", 2000),
    ("rotation", 100),
    ("undo", 10_000),
    ("leases", 100_000),
    ("mutants", u32::MAX),
    // Seconds for each target.
    ("fuzz", 600),
    // Records.
    ("log", 10_000_000),
];

/// A campaign as the command line names it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Campaign {
    name: &'static str,
    times: u32,
    seed: u64,
}

impl Campaign {
    /// `campaign NAME [--times=N] [--seed=N]`; `None` is a usage error.
    pub(crate) fn parse(arguments: &[String]) -> Option<Self> {
        let [task, name, flags @ ..] = arguments else {
            return None;
        };
        let &(name, times) = CAMPAIGNS.iter().find(|(known, _)| known == name)?;
        let mut campaign = Self { name, times, seed: 1 };
        for flag in flags {
            match flag.split_once('=')? {
                ("--times", times) => campaign.times = times.parse().ok().filter(|times| *times > 0)?,
                ("--seed", seed) => campaign.seed = seed.parse().ok()?,
                _ => return None,
            }
        }
        (task == "campaign").then_some(campaign)
    }
}

/// Builds the broker twice, with failpoints and without, and runs the campaign.
pub(crate) fn run(campaign: &Campaign) -> Result<(), String> {
    if campaign.name == "mutants" {
        return mutants::run(campaign.times, campaign.seed);
    }
    if campaign.name == "fuzz" {
        return fuzz::run(campaign.times, campaign.seed);
    }
    if campaign.name == "log" {
        return bench::log(campaign.times, campaign.seed);
    }
    let workspace = Workspace::read()?;
    let result = workspace
        .root
        .join(format!("tests/campaigns/results/{}.json", campaign.name));
    let mut command = cargo();
    command.args(["test", "--workspace", "--test", "e2e", "--"]);
    command.arg(format!("--campaign={}", campaign.name));
    command.arg(format!("--times={}", campaign.times));
    command.arg(format!("--seed={}", campaign.seed));
    command.arg(format!("--result={}", result.display()));
    command.current_dir(&workspace.root);
    let testbed = Testbed {
        root: workspace.target.join("testbed"),
    };
    command.env("PROCURA_TEST_MOTO", testbed.moto());
    command.env("PROCURA_TESTBED", testbed.root);
    command.envs(test::AWS);
    command.envs(test::brokers(&workspace)?);
    println!("+ {}", shown(&command));
    run::run(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<(&'static str, u32, u64)> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        Campaign::parse(&words).map(|campaign| (campaign.name, campaign.times, campaign.seed))
    }

    #[test]
    fn reads_the_campaigns_command_line() {
        assert_eq!(parse("campaign crash"), Some(("crash", 2000, 1)));
        assert_eq!(parse("campaign fuzz"), Some(("fuzz", 600, 1)));
        assert_eq!(parse("campaign log --seed=2"), Some(("log", 10_000_000, 2)));
        assert_eq!(parse("campaign rotation --times=7 --seed=3"), Some(("rotation", 7, 3)));
        for wrong in [
            "campaign",
            "campaign other",
            "campaign crash --times=0",
            "campaign crash --time=1",
            "test crash",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
