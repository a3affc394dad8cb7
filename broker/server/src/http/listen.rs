//! Listeners: the one place that accepts connections.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

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

use super::{certificates::Certified, crowd::Crowd, speaking::Impatient};

/// Longest time for the header of a request, idle time between two requests included.
const MAX_HEADER_TIME: Duration = Duration::from_secs(10);
/// Largest header of a request.
const MAX_HEADER: u32 = 64 * 1024;
/// Requests of one HTTP/2 connection at a time.
const MAX_STREAMS: u32 = 128;
/// Requests of an HTTP/2 connection that were taken back before they were looked at; one more ends it.
const MAX_TAKEN_BACK: usize = 20;
/// Requests of an HTTP/2 connection that were refused because they break the protocol; one more ends it.
const MAX_BROKEN: usize = 64;
/// Bytes of one HTTP/2 request and of all of a connection that may wait to be read.
const MAX_UNREAD: (u32, u32) = (64 * 1024, 512 * 1024);
/// Bytes of an HTTP/2 answer that wait for its reader.
const MAX_UNSENT: usize = 64 * 1024;

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
        let crowd = Arc::<Crowd>::default();
        let ended = match axum_server::from_tcp(self.socket) {
            Ok(mut server) => {
                limit(server.http_builder());
                let server = server.handle(handle);
                match tls {
                    Some(tls) => {
                        let acceptor = RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor);
                        server
                            .acceptor(Impatient {
                                inner: Certified(acceptor),
                                crowd,
                            })
                            .serve(service)
                            .await
                    }
                    None => {
                        let inner = NoDelayAcceptor;
                        server.acceptor(Impatient { inner, crowd }).serve(service).await
                    }
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
        .max_pending_accept_reset_streams(MAX_TAKEN_BACK)
        .max_local_error_reset_streams(MAX_BROKEN)
        .initial_stream_window_size(MAX_UNREAD.0)
        .initial_connection_window_size(MAX_UNREAD.1)
        .max_send_buf_size(MAX_UNSENT)
        .keep_alive_interval(MAX_HEADER_TIME)
        .keep_alive_timeout(MAX_HEADER_TIME);
}
