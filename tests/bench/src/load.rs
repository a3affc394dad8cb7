//! The load generator, a process of its own. It speaks HTTP/1.1 by hand, because a client library
//! would take more of the machine than the server that is measured.

use std::{collections::VecDeque, fs, io::Read, net::SocketAddr, path::PathBuf, rc::Rc, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    task::{JoinSet, LocalSet},
};

use crate::{
    Fault, clock,
    connect::{Connector, Stream, Tls},
};

/// Largest answer.
const MAX_ANSWER: usize = 64 * 1024;

/// What to send. Each connection sends the next body as soon as its last answer is there.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) address: SocketAddr,
    pub(crate) path: String,
    pub(crate) authorization: Option<String>,
    /// Where the server speaks TLS.
    pub(crate) tls: Option<Tls>,
    /// A file with one form per line, a DPoP proof and a tab before it where there is one; used in turn, again from
    /// the start where there are too few.
    pub(crate) bodies: PathBuf,
    pub(crate) count: usize,
    pub(crate) connections: usize,
    /// Stands in every right answer.
    pub(crate) expect: String,
    /// No request begins after this time.
    pub(crate) seconds: u64,
}

/// How it went: all answers were right, or there is no outcome.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) answered: u32,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Reads a job from standard input and prints its outcome.
pub(crate) async fn main() -> Result<(), Fault> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let job: Job = serde_json::from_str(&text)?;
    let outcome = LocalSet::new().run_until(run(job)).await?;
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn run(job: Job) -> Result<Outcome, Fault> {
    let requests = Rc::new(requests(&job)?);
    let mut callers = JoinSet::new();
    let mut streams = VecDeque::new();
    let connector = Connector::new(job.address, job.tls.as_ref())?;
    for _ in 0..job.connections {
        streams.push_back(BufReader::new(connector.connect().await?));
    }
    let (began, job) = (clock::now(), Rc::new(job));
    for (first, stream) in streams.into_iter().enumerate() {
        callers.spawn_local(caller(Rc::clone(&job), Rc::clone(&requests), stream, first));
    }
    let mut times = Vec::with_capacity(job.count);
    while let Some(done) = callers.join_next().await {
        times.extend(done??);
    }
    let seconds = began.elapsed().as_secs_f64();
    times.sort_unstable();
    let micros = |time: &Duration| time.as_secs_f64() * 1e6;
    let quantile = |per_cent: usize| times.get(times.len() * per_cent / 100).map_or(0.0, micros);
    Ok(Outcome {
        answered: u32::try_from(times.len())?,
        seconds,
        p50_us: quantile(50),
        p99_us: quantile(99),
    })
}

/// Every request as it goes onto the wire.
fn requests(job: &Job) -> Result<Vec<Vec<u8>>, Fault> {
    let authorization = job.authorization.as_ref();
    let authorization = authorization.map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let bodies = fs::read_to_string(&job.bodies)?;
    let request = |line: &str| {
        let (proof, body) = line.split_once('\t').unwrap_or(("", line));
        let proof = if proof.is_empty() {
            String::new()
        } else {
            format!("DPoP: {proof}\r\n")
        };
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\n{authorization}{proof}Content-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n",
            job.path,
            job.address,
            body.len()
        );
        (head + body).into_bytes()
    };
    let requests: Vec<_> = bodies.lines().map(request).collect();
    if requests.is_empty() {
        return Err("there is no body to send".into());
    }
    Ok(requests)
}

/// One connection: every `connections`-th request, beginning with `first`.
async fn caller(
    job: Rc<Job>,
    requests: Rc<Vec<Vec<u8>>>,
    mut stream: BufReader<Stream>,
    first: usize,
) -> Result<Vec<Duration>, Fault> {
    let end = clock::now() + Duration::from_secs(job.seconds);
    let mut times = Vec::with_capacity(job.count / job.connections + 1);
    for at in (first..job.count).step_by(job.connections) {
        let began = clock::now();
        if began > end {
            break;
        }
        stream.write_all(&requests[at % requests.len()]).await?;
        let (status, body) = answer(&mut stream).await?;
        times.push(began.elapsed());
        if status != "200" || !contains(&body, &job.expect) {
            return Err(format!("answered {status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    Ok(times)
}

/// Status and body of one answer with a `Content-Length` (RFC 9112).
async fn answer(stream: &mut BufReader<Stream>) -> Result<(String, Vec<u8>), Fault> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let status = line
        .split(' ')
        .nth(1)
        .ok_or("the server closed the connection")?
        .to_owned();
    let mut length = None;
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Err("the server closed the connection".into());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = Some(value.trim().parse::<usize>()?);
        }
    }
    let length = length.filter(|length| *length <= MAX_ANSWER);
    let mut body = vec![0; length.ok_or("an answer without a length, or too long")?];
    stream.read_exact(&mut body).await?;
    Ok((status, body))
}

fn contains(body: &[u8], expected: &str) -> bool {
    body.windows(expected.len()).any(|part| part == expected.as_bytes())
}
