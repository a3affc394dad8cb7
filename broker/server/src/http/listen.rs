//! Listeners: the one place that accepts connections.

use std::{io, net::SocketAddr, time::Duration};

use axum::Router;
use axum_server::{
    Handle,
    accept::NoDelayAcceptor,
    tls_rustls::{RustlsAcceptor, RustlsConfig},
};
use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto::Builder,
};

use super::{certificates::Certified, speaking::Impatient};

/// Longest time for the header of a request, idle time between two requests included.
const MAX_HEADER_TIME: Duration = Duration::from_secs(10);
/// Largest header of a request.
const MAX_HEADER: u32 = 64 * 1024;
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;

/// A bound socket that does not accept yet.
pub(crate) struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
}

/// Binds an address; port 0 takes a free one.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = std::net::TcpListener::bind(address)?;
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok(Listener { socket, address })
}

impl Listener {
    /// The address with its real port.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts until the handle says to stop, then lets requests under way finish.
    pub(crate) async fn serve(self, routes: Router, tls: Option<RustlsConfig>, handle: Handle<SocketAddr>) {
        let service = routes.into_make_service_with_connect_info::<SocketAddr>();
        let ended = match axum_server::from_tcp(self.socket) {
            Ok(mut server) => {
                limit(server.http_builder());
                let server = server.handle(handle);
                match tls {
                    Some(tls) => {
                        let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor);
                        server.acceptor(Impatient(Certified(acceptor))).serve(service).await
                    }
                    None => server.acceptor(Impatient(NoDelayAcceptor)).serve(service).await,
                }
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            tracing::error!(%error, address = %self.address, "the listener failed");
        }
    }
}

/// Slow and greedy connections are closed.
fn limit(http: &mut Builder<TokioExecutor>) {
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEADER_TIME)
        .max_buf_size(MAX_HEADER as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER)
        .keep_alive_interval(MAX_HEADER_TIME)
        .keep_alive_timeout(MAX_HEADER_TIME);
}
