//! What goes wrong between here and the server.

/// A call to the server failed. Holds no secret: the server's messages quote no statement.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// From the server, or on the way to it.
    #[error(transparent)]
    Sql(#[from] sqlx::Error),
    /// What it did or has is not what must be.
    #[error("{0}")]
    Other(String),
    /// No connection, or none free in time.
    #[error("no connection to the server in time; is it up, and are host and port right?")]
    Unreachable,
    /// The time is over.
    #[error("the time for it is over")]
    Late,
}

impl Fault {
    fn code(&self) -> Option<String> {
        match self {
            Self::Sql(sqlx::Error::Database(error)) => error.code().map(Into::into),
            _ => None,
        }
    }

    /// Whether the server refused the administrator's name or password.
    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self, Self::Sql(sqlx::Error::PoolClosed))
            || self.code().is_some_and(|code| code == "28P01" || code == "28000")
    }

    /// Whether it is the administrator's credential that is at fault: it cannot be read, is refused, or may not do what
    /// a mint does.
    pub(crate) fn is_of_the_secret(&self) -> bool {
        // Classes of SQLSTATE: data (a role to be taken that is none), access, syntax and access rule, role specification.
        let classes = ["22", "28", "42", "0L", "0P"];
        match self {
            Self::Other(_) => true,
            _ => self
                .code()
                .is_some_and(|code| classes.iter().any(|class| code.starts_with(class))),
        }
    }

    /// Whether the same may succeed when it is tried again: a deadlock, a catalogue row that another changed at
    /// the same time ("tuple concurrently updated" has no code of its own), or a connection of the pool that
    /// was ended at the other side, as after a rotation.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Sql(sqlx::Error::Io(_)) => true,
            _ => self
                .code()
                .is_some_and(|code| matches!(code.as_str(), "40001" | "40P01" | "XX000" | "57P01" | "57P02")),
        }
    }

    /// Whether something that was there a moment ago is not any more.
    pub(crate) fn is_absence(&self) -> bool {
        self.code().is_some_and(|code| code == "42704")
    }
}
