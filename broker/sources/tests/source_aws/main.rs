//! AWS Secrets Manager as a source, against moto. The requests are looked at as well, since moto permits everything.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod bed;
mod log;
mod proxy;
mod read;
mod role;
mod write;
