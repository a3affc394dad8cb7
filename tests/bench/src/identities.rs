//! What other proofs of identity cost beside a secret and a token that says everything itself.

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::{
    Fault,
    broker::{self, Broker, Setup},
    caller::{Auth, Authority, CallerKey},
    issuer::{Algorithm::Es256, Issuer, USERS, opaque},
    load::Job,
    rounds::Series,
    run::Scene,
};

/// A series and the plain one that it is compared with.
pub(crate) const COMPARED: [(&str, &str); 5] = [
    ("dpop", "es256-es256"),
    ("private_key_jwt", "es256-es256"),
    ("tls", "es256-es256"),
    ("tls_client_auth", "tls"),
    ("introspected", "repeated-es256"),
];

/// The brokers whose callers have no secret, and one whose caller has it but speaks TLS.
pub(crate) struct Identities {
    caller: Mutex<CallerKey>,
    authority: Authority,
    key: Broker,
    tls: Broker,
    certificate: Broker,
}

impl Identities {
    pub(crate) async fn start(procura: &Path, folder: &Path, issuer: &Issuer) -> Result<Self, Fault> {
        let (caller, authority) = (CallerKey::generate()?, Authority::new()?);
        let start = async |name: &str, auth: Auth<'_>, authority| {
            let algorithm = "es256";
            let setup = Setup {
                algorithm,
                auth,
                authority,
            };
            Broker::start(procura, folder.join(name), issuer, setup).await
        };
        Ok(Self {
            key: start("private_key_jwt", Auth::Key(&caller), None).await?,
            tls: start("tls", Auth::Secret, Some(&authority)).await?,
            certificate: start("tls_client_auth", Auth::Certificate, Some(&authority)).await?,
            caller: Mutex::new(caller),
            authority,
        })
    }

    /// All series of [`COMPARED`], beside the plain ones of the scene.
    pub(crate) fn series<'a>(&'a self, scene: &'a Scene, count: usize) -> Result<Vec<Series<'a>>, Fault> {
        Ok(vec![
            self.with_proofs(scene, count),
            self.with_assertions(scene, count),
            self.over_tls(scene, count),
            self.with_certificate(scene, count),
            introspected(scene, count)?,
        ])
    }

    fn with_proofs<'a>(&'a self, scene: &'a Scene, count: usize) -> Series<'a> {
        let (broker, name) = (&scene.es256, "dpop");
        Series {
            name,
            pid: broker.id(),
            job: scene.exchanges(broker, name, count),
            prepare: Box::new(move |job| {
                let mut caller = self.caller();
                let nonce = nonce(job, &caller.proof(broker.address, "none")?)?;
                lines(scene, job, |token, call| {
                    let proof = caller.proof(broker.address, &nonce)?;
                    Ok(format!("{proof}\t{}", broker::form(token, call)))
                })
            }),
        }
    }

    fn with_assertions<'a>(&'a self, scene: &'a Scene, count: usize) -> Series<'a> {
        let name = "private_key_jwt";
        let mut job = scene.exchanges(&self.key, name, count);
        job.authorization = None;
        let issuer = format!("http://{}", self.key.address);
        Series {
            name,
            pid: self.key.id(),
            job,
            prepare: Box::new(move |job| {
                let mut caller = self.caller();
                lines(scene, job, |token, call| {
                    Ok(broker::asserted_form(token, call, &caller.assertion(&issuer)?))
                })
            }),
        }
    }

    fn over_tls<'a>(&'a self, scene: &'a Scene, count: usize) -> Series<'a> {
        let name = "tls";
        let mut job = scene.exchanges(&self.tls, name, count);
        job.tls = Some(self.authority.tls(false));
        Series {
            name,
            pid: self.tls.id(),
            job,
            prepare: Box::new(|job| lines(scene, job, |token, call| Ok(broker::form(token, call)))),
        }
    }

    fn with_certificate<'a>(&'a self, scene: &'a Scene, count: usize) -> Series<'a> {
        let name = "tls_client_auth";
        let mut job = scene.exchanges(&self.certificate, name, count);
        job.authorization = None;
        job.tls = Some(self.authority.tls(true));
        Series {
            name,
            pid: self.certificate.id(),
            job,
            prepare: Box::new(|job| lines(scene, job, |token, call| Ok(broker::certified_form(token, call)))),
        }
    }

    fn caller(&self) -> MutexGuard<'_, CallerKey> {
        self.caller.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One opaque token per user: the issuer is asked every 30 s for each.
fn introspected(scene: &Scene, count: usize) -> Result<Series<'_>, Fault> {
    let name = "introspected";
    let job = scene.exchanges(&scene.es256, name, count);
    let forms = (0..USERS).map(|user| broker::form(&opaque(user), user) + "\n");
    fs::write(&job.bodies, forms.collect::<String>())?;
    Ok(Series {
        name,
        pid: scene.es256.id(),
        job,
        prepare: Box::new(|_| Ok(())),
    })
}

/// Writes a line for each request, with a token that was never used.
fn lines(scene: &Scene, job: &Job, mut line: impl FnMut(&str, usize) -> Result<String, Fault>) -> Result<(), Fault> {
    let mut issuer = scene.issuer();
    let mut text = String::new();
    for call in 0..job.count {
        writeln!(text, "{}", line(&issuer.token(Es256)?, call)?)?;
    }
    Ok(fs::write(&job.bodies, text)?)
}

/// What the broker wants in proofs, from its refusal of one without it (RFC 9449 section 8).
fn nonce(job: &Job, proof: &str) -> Result<String, Fault> {
    let mut stream = TcpStream::connect(job.address)?;
    let authorization = job.authorization.as_deref().unwrap_or_default();
    let body = broker::form("none", 0);
    write!(
        stream,
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: {authorization}\r\nDPoP: {proof}\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        job.path,
        job.address,
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let nonce = answer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("dpop-nonce").then(|| value.trim().to_owned())
    });
    nonce.ok_or_else(|| format!("no DPoP-Nonce in: {answer}").into())
}
