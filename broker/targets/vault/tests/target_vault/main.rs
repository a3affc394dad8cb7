//! The kind against the fake of Vault's API, and against a real server where there is one, each test on both.

#![expect(clippy::expect_used, reason = "a test that cannot be set up fails")]

mod bed;
mod faults;
mod mint;
mod probe;
mod rotation;
mod secrets;
mod settings;
mod undo;

/// Makes two tests of each function: one on the fake, one on a real server.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_the_fake {
            $(#[tokio::test]
            async fn $name() { super::$name(&crate::bed::Bed::fake().await).await; })+
        }
        mod on_a_real_server {
            $(#[tokio::test]
            async fn $name() {
                match crate::bed::Bed::real().await {
                    Some(bed) => super::$name(&bed).await,
                    None => println!("{}", procura_contract::vault_suite::NO_SERVER),
                }
            })+
        }
    };
}
pub(crate) use on_both;
