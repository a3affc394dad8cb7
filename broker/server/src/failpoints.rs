//! Failpoints, in the build that tests use: one place of the broker at which it is killed, stopped,
//! held up or made to fail.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

use crate::cli;

/// `NAME=ACTION`, or `NAME=ACTION@N` for the N-th time that the place is reached.
const VARIABLE: &str = "PROCURA_FAILPOINT";
/// Longer than a session's end takes, shorter than a mint's deadline.
const HANG: Duration = Duration::from_secs(3);

/// Arms the failpoint that the environment names; the error says how it is written.
pub(crate) fn arm() -> Result<(), String> {
    let Some(text) = cli::environment(VARIABLE) else {
        return Ok(());
    };
    let wrong = || {
        format!("{VARIABLE} is NAME=kill, stop, hang, error or always, and @N behind it where it is not the first time")
    };
    let (name, action) = text.split_once('=').ok_or_else(wrong)?;
    let (action, nth) = action.split_once('@').unwrap_or((action, "1"));
    let nth: u32 = nth.parse().ok().filter(|nth| *nth > 0).ok_or_else(wrong)?;
    match action {
        "kill" => once(name, nth, || signal(Signal::KILL)),
        "stop" => once(name, nth, || signal(Signal::STOP)),
        "hang" => once(name, nth, || thread::sleep(HANG)),
        "error" => fail::cfg(name, &format!("{}*off->1*return", nth - 1)),
        "always" => fail::cfg(name, "return"),
        _ => Err(wrong()),
    }
}

fn once(name: &str, nth: u32, act: impl Fn() + Send + Sync + 'static) -> Result<(), String> {
    let (reached, shown) = (AtomicU32::new(0), name.to_owned());
    fail::cfg_callback(name, move || {
        if reached.fetch_add(1, Ordering::SeqCst) + 1 == nth {
            tracing::warn!(failpoint = shown, "reached");
            act();
        }
    })
}

fn signal(signal: Signal) {
    // Nothing is left to tell where it fails: the test then sees that the process lives.
    let _ = kill_process(getpid(), signal);
    // Any thread may take the signal first: this one does not go on meanwhile.
    thread::sleep(Duration::from_millis(100));
}
