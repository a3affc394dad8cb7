//! A broker that speaks TLS as its users reach it: operators by commands, servers by the client library.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use procura_client::{Builder, Client, Secret};
use serde_json::Value;

use crate::{
    Fault,
    serve::{SERVER, Site},
};

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Exit code.
    pub code: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Ran {
    /// Its output as JSON, if it ended with that code; otherwise an error that shows it.
    pub fn json(&self, code: i32) -> Result<Value, Fault> {
        if self.code != Some(code) {
            return Err(format!("expected exit code {code}: {self:?}").into());
        }
        Ok(serde_json::from_str(&self.stdout)?)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Site<'_> {
    /// The client library as its server uses it.
    pub fn client(&self) -> Result<Client, Fault> {
        Ok(self.client_builder()?.build()?)
    }

    /// The same with settings of its own.
    pub fn client_builder(&self) -> Result<Builder, Fault> {
        let authority = self.authority.as_ref().ok_or("it speaks no TLS")?;
        let builder = Client::builder(&self.identifier, SERVER, Secret::new(self.secret.clone()));
        Ok(builder.ca_pem(authority.certificate.clone()))
    }

    /// Runs a command of the operator against the broker of this site, which speaks TLS.
    pub fn procura(&self, arguments: &[&str], stdin: &str) -> Result<Ran, Fault> {
        let authority = self.authority.as_ref().ok_or("it speaks no TLS")?;
        let trusted = self.path("authority.pem");
        fs::write(&trusted, &authority.certificate)?;
        let mut child = Command::new(self.testbed.broker())
            .args(arguments)
            .env("PROCURA_URL", &self.identifier)
            .env("PROCURA_TOKEN", self.operator()?)
            .env("SSL_CERT_FILE", trusted)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(stdin.as_bytes())?;
        }
        Ok(child.wait_with_output()?.into())
    }
}
