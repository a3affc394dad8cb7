//! What the machine's disk and cryptography take by themselves.

use std::{fs::File, io::Write, path::Path};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey},
};
use serde::Serialize;

use crate::{
    Fault,
    clock::{self, median},
};

const APPENDS: usize = 300;
const SIGNATURES: usize = 500;
/// About the size of a record.
const RECORD: [u8; 600] = [b'r'; 600];

/// Medians, microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Probe {
    /// Appending a record to a file and `fdatasync`.
    pub(crate) fdatasync_us: f64,
    /// Verifying and making one ES256 signature.
    pub(crate) es256_us: f64,
}

/// Measures in that folder.
pub(crate) fn measure(folder: &Path) -> Result<Probe, Fault> {
    Ok(Probe {
        fdatasync_us: fdatasync(folder)?,
        es256_us: es256()?,
    })
}

fn fdatasync(folder: &Path) -> Result<f64, Fault> {
    let mut file = File::create(folder.join("probe"))?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let began = clock::now();
        file.write_all(&RECORD)?;
        file.sync_data()?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&times))
}

fn es256() -> Result<f64, Fault> {
    let (key, random) = (
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?,
        SystemRandom::new(),
    );
    let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref()).parse()?;
    let mut times = Vec::with_capacity(SIGNATURES);
    for _ in 0..SIGNATURES {
        let began = clock::now();
        let signature = key.sign(&random, &RECORD)?;
        public.verify_sig(&RECORD, signature.as_ref())?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(&times))
}
