//! Anchors of the log: where signed checkpoints are kept out of the store's reach.

mod file;
mod s3;

pub use file::{FileAnchor, Nearness, nearness};
pub use s3::{S3Anchor, S3Config};
