//! How a command ends.

use std::{fmt, process::ExitCode};

/// Why a command did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Refused, or something was found: exit code 1.
    Found(String),
    /// There is no such thing, or not for this caller: exit code 1.
    Unknown(String),
    /// The command line or a file that it names is wrong: exit code 2.
    Usage(String),
    /// The broker does not answer: exit code 3.
    Away(String),
}

impl Failure {
    pub(crate) fn found(problem: impl fmt::Display) -> Self {
        Self::Found(problem.to_string())
    }

    pub(crate) fn usage(problem: impl fmt::Display) -> Self {
        Self::Usage(problem.to_string())
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Found(_) | Self::Unknown(_) => 1,
            Self::Usage(_) => 2,
            Self::Away(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found(problem) | Self::Unknown(problem) | Self::Usage(problem) | Self::Away(problem) => {
                f.write_str(problem)
            }
        }
    }
}
