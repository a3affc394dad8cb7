//! What stands between a source and moto: it keeps what passes, and answers itself where a test says so.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Runs until it is dropped.
pub(crate) struct Proxy {
    /// `http://127.0.0.1:<port>`
    pub(crate) address: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    moto: String,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    requests: Vec<String>,
    answers: Vec<String>,
    /// Status and body.
    canned: Option<(u16, String)>,
    silent: bool,
}

impl Proxy {
    /// Before the server at this address.
    pub(crate) async fn start(moto: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("its address"));
        let shared = Arc::new(Shared {
            moto: moto.trim_start_matches("http://").to_owned(),
            kept: Mutex::default(),
        });
        #[expect(clippy::disallowed_methods, reason = "ends with the test")]
        let task = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    /// Answers this to everything, as a service with a JSON protocol does; `None` ends it.
    pub(crate) fn answer_with(&self, canned: Option<(u16, &str)>) {
        self.shared.kept().canned = canned.map(|(status, body)| (status, body.to_owned()));
    }

    /// Answers nothing any more.
    pub(crate) fn be_silent(&self) {
        self.shared.kept().silent = true;
    }

    /// Head and body of each request that contains the text.
    pub(crate) fn requests(&self, text: &str) -> Vec<String> {
        let kept = self.shared.kept();
        kept.requests
            .iter()
            .filter(|request| request.contains(text))
            .cloned()
            .collect()
    }

    /// Head and body of every answer.
    pub(crate) fn answers(&self) -> Vec<String> {
        self.shared.kept().answers.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((client, _)) = listener.accept().await {
        // A client that goes away is its own affair.
        let _ = pass(client, &shared).await;
    }
}

async fn pass(mut client: TcpStream, shared: &Shared) -> io::Result<()> {
    let request = read_request(&mut client).await?;
    let (canned, silent) = {
        let mut kept = shared.kept();
        kept.requests.push(request.clone());
        (kept.canned.clone(), kept.silent)
    };
    if silent {
        std::future::pending::<()>().await;
    }
    let answer = match canned {
        Some((status, body)) => format!(
            "HTTP/1.1 {status} Canned\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        ),
        None => {
            let mut server = TcpStream::connect(&shared.moto).await?;
            let request = request.replacen("\r\n\r\n", "\r\nconnection: close\r\n\r\n", 1);
            server.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            server.read_to_string(&mut answer).await?;
            answer
        }
    };
    client.write_all(answer.as_bytes()).await?;
    shared.kept().answers.push(answer);
    client.shutdown().await
}

async fn read_request(client: &mut TcpStream) -> io::Result<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length")
                    .then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or_default() {
                return Ok(text.into_owned());
            }
        }
        if client.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}
