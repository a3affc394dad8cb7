//! An export and `procura log verify` on it, beside a bare SHA-256 pass over the same file.

use std::{fs, fs::File, io::Read, path::Path, process::Command};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::Value;

use super::Site;
use crate::{
    Fault,
    clock::{self, median},
    process::{children_seconds, cpu_seconds},
};

/// What is read at once, as `procura log verify` does.
const CHUNK: usize = 4 << 20;

/// What verifying costs. Rates are those of the bare pass by those of `procura log verify`.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Verified {
    pub(super) records: u64,
    bytes: u64,
    /// CPU time of the broker for each exported record.
    export_cpu_us_per_record: f64,
    bare_cpu_seconds: f64,
    verify_cpu_seconds: f64,
    /// Of CPU time, which counts every core that was used.
    pub(super) rate: f64,
    /// Of time that passed.
    rate_of_time: f64,
}

/// Exports the log of a site and verifies it so often, in turn with the bare pass.
pub(super) async fn verify(procura: &Path, site: &Site, times: usize) -> Result<Verified, Fault> {
    let file = site.prepared.folder.join("export.jsonl");
    let broker = site.prepared.start().await?;
    let mut export = Command::new(procura);
    export.args(["log", "export", "--out"]).arg(&file);
    export
        .args(["--url", &format!("http://{}", broker.address)])
        .env("PROCURA_TOKEN", &site.token);
    let before = cpu_seconds(broker.id())?;
    output(export)?;
    let exported = cpu_seconds(broker.id())? - before;
    broker.stop()?;
    let (mut bare, mut full) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..times {
        let mut hash = Command::new(std::env::current_exe()?);
        hash.arg("hash").arg(&file);
        measured(hash, &mut bare)?;
        let mut verify = Command::new(procura);
        verify.args(["log", "verify", "--json"]).arg(&file);
        let report: Value = serde_json::from_str(&measured(verify, &mut full)?)?;
        if report["verified"] != true || report["records"] != site.world.records {
            return Err(format!("not what was written: {report}").into());
        }
    }
    let bytes = fs::metadata(&file)?.len();
    fs::remove_file(&file)?;
    let ratio = |of: usize| median(&bare[of]) / median(&full[of]);
    Ok(Verified {
        records: site.world.records,
        bytes,
        export_cpu_us_per_record: exported * 1e6 / site.world.records as f64,
        bare_cpu_seconds: median(&bare[0]),
        verify_cpu_seconds: median(&full[0]),
        rate: ratio(0),
        rate_of_time: ratio(1),
    })
}

/// Notes CPU time and time of a command; its output.
fn measured(command: Command, [cpu, time]: &mut [Vec<f64>; 2]) -> Result<String, Fault> {
    let (before, began) = (children_seconds()?, clock::now());
    let text = output(command)?;
    time.push(began.elapsed().as_secs_f64());
    // The system counts in hundredths.
    cpu.push((children_seconds()? - before).max(0.01));
    Ok(text)
}

fn output(mut command: Command) -> Result<String, Fault> {
    let output = command.output()?;
    match output.status.success() {
        true => Ok(String::from_utf8(output.stdout)?),
        false => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// Prints the SHA-256 of a file and does nothing else.
pub(crate) fn hash(path: &Path) -> Result<(), Fault> {
    let (mut file, mut context, mut chunk) = (File::open(path)?, Context::new(&SHA256), vec![0; CHUNK]);
    loop {
        match file.read(&mut chunk)? {
            0 => break,
            read => context.update(&chunk[..read]),
        }
    }
    println!("{:02x?}", context.finish().as_ref());
    Ok(())
}
