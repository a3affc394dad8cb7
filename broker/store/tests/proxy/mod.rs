//! A wire to PostgreSQL that can be cut around a COMMIT.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{AbortHandle, JoinSet},
};

/// When the wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees the COMMIT.
    BeforeCommit = 1,
    /// The server carries it out; its answer is lost.
    BeforeAnswer = 2,
    /// Not at all: from now on nothing passes, and no connection ends.
    Silence = 3,
}

const DONE: u8 = 9;

/// Passes bytes both ways until it ends with this value.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    armed: Arc<AtomicU8>,
    accepting: AbortHandle,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(server: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let port = listener.local_addr().expect("address").port();
        let armed = Arc::new(AtomicU8::new(0));
        let mut tasks = JoinSet::new();
        let cut = Arc::clone(&armed);
        let accepting = tasks.spawn(async move {
            let mut wires = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                wires.spawn(pass(client, server, Arc::clone(&cut)));
            }
        });
        Self {
            port,
            armed,
            accepting,
            _tasks: tasks,
        }
    }

    /// The next COMMIT is cut.
    pub(crate) fn arm(&self, cut: Cut) {
        self.armed.store(cut as u8, Ordering::SeqCst);
    }

    /// Lets everything pass again.
    pub(crate) fn disarm(&self) {
        self.armed.store(0, Ordering::SeqCst);
    }

    pub(crate) fn has_cut(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == DONE
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(mut client: TcpStream, server: u16, armed: Arc<AtomicU8>) {
    let mut server = TcpStream::connect(("127.0.0.1", server)).await.expect("connected");
    let (mut up, mut down) = (vec![0; 65536], vec![0; 65536]);
    // The statement is prepared in one round and carried out in the next.
    let mut prepared = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(count @ 1..) = read else { return };
                let state = armed.load(Ordering::SeqCst);
                if state == Cut::Silence as u8 {
                    continue;
                }
                if prepared && state == Cut::BeforeCommit as u8 {
                    armed.store(DONE, Ordering::SeqCst);
                    return;
                }
                server.write_all(&up[..count]).await.expect("written");
                if prepared && state == Cut::BeforeAnswer as u8 {
                    let _ = server.read(&mut down).await;
                    armed.store(DONE, Ordering::SeqCst);
                    return;
                }
                let commit = up[..count].windows(7).any(|word| word == b"COMMIT\0");
                prepared |= commit && (state == Cut::BeforeCommit as u8 || state == Cut::BeforeAnswer as u8);
            }
            read = server.read(&mut down) => {
                let Ok(count @ 1..) = read else { return };
                if armed.load(Ordering::SeqCst) == Cut::Silence as u8 {
                    continue;
                }
                if client.write_all(&down[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
