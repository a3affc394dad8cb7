//! The exported log: JSON Lines that anybody can verify without the broker.
//!
//! A header, the records in the order of their leaf indices, and checkpoints, each behind the last record that it covers;
//! the last line is a checkpoint, or says which record the store lacks. Whatever a line says has one spelling only, so that no bit of the file can change
//! unseen.

mod kept;
mod line;
mod walk;

pub use kept::{Fork, Kept};
pub use line::{Fault, Line, checkpoint_line, header_line, missing_line, read, record_line};
pub use walk::{Found, Frontier, Open, Problem, Walk};

/// Version of the format.
pub const FORMAT: u32 = 1;

#[cfg(test)]
mod epochs;
#[cfg(test)]
mod tests;
