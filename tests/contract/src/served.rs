//! A server of a test's own, on a thread of its own, so that it also answers tests whose runtime stands still.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    thread::{self, JoinHandle},
};

use axum::Router;
use tokio::sync::oneshot;

/// Routes served on 127.0.0.1; they end when this is dropped.
pub(crate) struct Served {
    /// `http://127.0.0.1:<port>`
    pub(crate) address: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Serves what `routes` makes, which is told the address.
    pub(crate) fn start(routes: impl FnOnce(&str) -> Router) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = format!("http://{}", listener.local_addr()?);
        let app = routes(&address);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                    let served = std::pin::pin!(axum::serve(listener, app).into_future());
                    futures_util::future::select(served, stopped).await;
                }
            });
        });
        Ok(Self {
            address,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has said so.
            let _ = thread.join();
        }
    }
}
