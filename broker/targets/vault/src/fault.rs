//! What goes wrong between here and the server.

/// A request did not do what it was to do. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The server refuses the broker's token.
    #[error("{0}")]
    Refused(String),
    /// The server said no, or cannot be asked: it did nothing.
    #[error("{0}")]
    Failed(String),
    /// It may have done it.
    #[error("{0}")]
    Unknown(String),
    /// The time is over.
    #[error("the time for it is over")]
    Late,
}
