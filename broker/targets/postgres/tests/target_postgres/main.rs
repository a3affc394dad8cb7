//! The kind against real servers: PostgreSQL 15 and a newer major version, each test on both. The broker's
//! administrator is a CREATEROLE role in all of them, never a superuser.

#![expect(clippy::expect_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod bed;
mod mint;
mod order;
mod ports;
mod probe;
mod rotation;
mod turns;
mod undo;

/// Makes two tests of each function: one on 15, one on the newer version.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_15 {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(&crate::bed::Bed::new(crate::bed::Version::Fifteen).await).await; })+
        }
        mod on_newer {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() { super::$name(&crate::bed::Bed::new(crate::bed::Version::Newer).await).await; })+
        }
    };
}
pub(crate) use on_both;
