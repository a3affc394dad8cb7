//! A wire to a server on this machine that can be cut and mended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::Notify,
    task::JoinSet,
};

use crate::Fault;

/// Passes bytes both ways, unless it is cut. Dropped, it ends.
pub struct Wire {
    /// The port on 127.0.0.1 that leads to the server.
    pub port: u16,
    state: Arc<State>,
    _accepting: JoinSet<()>,
}

#[derive(Default)]
struct State {
    is_cut: AtomicBool,
    cut: Notify,
}

impl Wire {
    /// A wire to that port.
    pub async fn start(server: u16) -> Result<Self, Fault> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut passing = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                passing.spawn(pass(client, server, Arc::clone(&shared)));
            }
        });
        Ok(Self {
            port,
            state,
            _accepting: accepting,
        })
    }

    /// Ends what passes; new connections end as soon as they are there.
    pub fn cut(&self) {
        self.state.is_cut.store(true, Ordering::SeqCst);
        self.state.cut.notify_waiters();
    }

    /// Lets new connections pass again.
    pub fn mend(&self) {
        self.state.is_cut.store(false, Ordering::SeqCst);
    }
}

async fn pass(mut client: TcpStream, server: u16, state: Arc<State>) {
    let cut = state.cut.notified();
    if state.is_cut.load(Ordering::SeqCst) {
        return;
    }
    if let Ok(mut server) = TcpStream::connect(("127.0.0.1", server)).await {
        tokio::select! {
            () = cut => {}
            _ = copy_bidirectional(&mut client, &mut server) => {}
        }
    }
}
