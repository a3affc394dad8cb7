//! The kind against moto, with a proxy before it that notes what is asked: moto enforces no policy, so the requests are
//! what is looked at.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod bed;
mod log;
mod mint;
mod names;
mod probe;
mod rotation;
mod undo;
