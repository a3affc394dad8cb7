//! Packages of the system, installed only where `--system-packages` asks for it.

use std::{path::Path, process::Command};

use crate::run::{run, shown};

/// The browser that end-to-end tests drive.
const CHROMIUM: &str = "/usr/bin/chromium";

/// Installs Chromium, unless it is there.
pub(crate) fn install_chromium() -> Result<(), String> {
    if has_chromium() { Ok(()) } else { apt_get("chromium") }
}

/// Whether Debian's Chromium is there.
pub(crate) fn has_chromium() -> bool {
    Path::new(CHROMIUM).exists()
}

/// Installs one package of Debian.
pub(crate) fn apt_get(package: &str) -> Result<(), String> {
    for arguments in [
        &["update"][..],
        &["install", "--yes", "--no-install-recommends", package],
    ] {
        let mut command = Command::new("apt-get");
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        println!("+ {}", shown(&command));
        run(command)?;
    }
    Ok(())
}
