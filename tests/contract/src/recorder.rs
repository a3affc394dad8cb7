//! An HTTP proxy on 127.0.0.1 that notes what is asked through it, so that a test sees requests as they were sent, and that
//! answers by itself what the server behind it would not.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use procura_wire::unescape;

/// One request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Method, path and version.
    pub line: String,
    /// By name in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Seen {
    /// The body as a form; what is there twice is there once.
    pub fn form(&self) -> BTreeMap<String, String> {
        let pairs = self.body.split(|byte| *byte == b'&').filter_map(|pair| {
            let mut parts = pair.splitn(2, |byte| *byte == b'=');
            Some((unescape(parts.next()?)?, unescape(parts.next()?)?))
        });
        pairs.collect()
    }

    /// A header; empty where it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// It goes on to the server.
    Pass,
    /// This status and body are the answer.
    Answer(u16, String),
    /// It goes on to the server, whose answer is lost, and the connection with it.
    Lose,
    /// Nothing happens until the one who asks goes away.
    Hang,
}

/// A running proxy; the port stays taken until the process ends.
pub struct Recorder {
    /// `http://127.0.0.1:<port>`
    pub address: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

struct Proxy {
    upstream: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    turn: Box<dyn Fn(&Seen) -> Turn + Send + Sync>,
}

impl Recorder {
    /// Stands before the server at `http://HOST:PORT`; `turn` says of each request what becomes of it.
    pub fn start(upstream: &str, turn: impl Fn(&Seen) -> Turn + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = format!("http://{}", listener.local_addr()?);
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let proxy = Arc::new(Proxy {
            upstream: upstream.trim_start_matches("http://").to_owned(),
            seen: Arc::clone(&seen),
            turn: Box::new(turn),
        });
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let proxy = Arc::clone(&proxy);
                // Whoever goes away has their reasons.
                thread::spawn(move || proxy.serve(connection));
            }
        });
        Ok(Self { address, seen })
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).clone()
    }
}

impl Proxy {
    fn serve(&self, mut connection: TcpStream) -> io::Result<()> {
        let request = read(&mut connection)?;
        lock(&self.seen).push(request.clone());
        match (self.turn)(&request) {
            Turn::Pass => connection.write_all(&self.ask(&request)?),
            Turn::Lose => self.ask(&request).map(drop),
            Turn::Answer(status, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                connection.write_all((head + &body).as_bytes())
            }
            Turn::Hang => connection.read(&mut [0]).map(drop),
        }
    }

    /// The server's whole answer.
    fn ask(&self, request: &Seen) -> io::Result<Vec<u8>> {
        let mut server = TcpStream::connect(&self.upstream)?;
        let kept = request.headers.iter().filter(|(name, _)| *name != "connection");
        let headers: String = kept.map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let head = format!("{}\r\n{headers}connection: close\r\n\r\n", request.line);
        server.write_all(head.as_bytes())?;
        server.write_all(&request.body)?;
        let mut answer = Vec::new();
        server.read_to_end(&mut answer)?;
        Ok(answer)
    }
}

/// One request with a body of a known length.
fn read(connection: &mut TcpStream) -> io::Result<Seen> {
    let mut reader = BufReader::new(connection);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).map(|_| line.trim_end().to_owned())
    };
    let mut request = Seen {
        line: line()?,
        ..Seen::default()
    };
    loop {
        let header = line()?;
        let Some((name, value)) = header.split_once(':') else {
            break;
        };
        request
            .headers
            .insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = request.header("content-length").parse().unwrap_or(0);
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
