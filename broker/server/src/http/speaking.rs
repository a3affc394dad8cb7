//! Connections on which nobody speaks are closed.
//!
//! The header timeout begins once the HTTP version is known, which needs the first bytes; until then
//! this waits for them, but not for ever.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum_server::accept::Accept;
use procura_core::ports::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use super::crowd::{Crowd, Place};

/// Bytes after which the version is certain: the length of the preface of HTTP/2 (RFC 9113 section 3.4).
const PREFACE: usize = 24;
/// Longest time for them.
const PATIENCE: Duration = Duration::from_secs(10);

/// Accepts what `A` does where a place is free, handshakes included, and waits for the first bytes for a bounded time.
#[derive(Debug, Clone)]
pub(super) struct Impatient<A> {
    pub(super) inner: A,
    pub(super) crowd: Arc<Crowd>,
}

type Accepted<T, S> = (Speaking<T>, S);

impl<A, S> Accept<TcpStream, S> for Impatient<A>
where
    A: Accept<TcpStream, S, Future: Send + 'static>,
{
    type Stream = Speaking<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<Accepted<A::Stream, A::Service>>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let peer = stream.peer_addr();
        let place = peer.ok().and_then(|peer| self.crowd.admit(peer.ip()));
        let accepted = place.map(|place| (place, self.inner.accept(stream, service)));
        Box::pin(async move {
            let (place, accepted) = accepted.ok_or(io::ErrorKind::ResourceBusy)?;
            let (stream, service) = accepted.await?;
            Ok((Speaking::new(stream, Some(place)), service))
        })
    }
}

/// A stream whose first bytes must come in time.
pub(super) struct Speaking<T> {
    inner: T,
    /// Until they are there: when it is too late, and how many are missing.
    waiting: Option<(Pin<Box<Sleep>>, usize)>,
    /// Given back when the connection ends.
    _place: Option<Place>,
}

impl<T> Speaking<T> {
    fn new(inner: T, place: Option<Place>) -> Self {
        let waiting = Some((Box::pin(sleep(PATIENCE)), PREFACE));
        Self {
            inner,
            waiting,
            _place: place,
        }
    }

    fn heard(&mut self, count: usize) {
        self.waiting = self.waiting.take().and_then(|(late, missing)| {
            let missing = missing.saturating_sub(count);
            (missing > 0).then_some((late, missing))
        });
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Speaking<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.inner).poll_read(cx, buf) {
            self.heard(buf.filled().len() - before);
            return Poll::Ready(read);
        }
        match &mut self.waiting {
            Some((late, _)) => {
                ready!(late.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            None => Poll::Pending,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Speaking<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use axum_server::accept::NoDelayAcceptor;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, duplex},
        net::TcpListener,
    };

    use super::*;
    use crate::http::crowd::MAX_OF_PEER;

    #[tokio::test]
    async fn attack_068_a_connection_without_a_free_place_is_not_accepted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("address");
        let crowd = Arc::new(Crowd::default());
        let inner = NoDelayAcceptor;
        let impatient = Impatient {
            inner,
            crowd: Arc::clone(&crowd),
        };
        let connected = async || {
            let caller = TcpStream::connect(address).await.expect("connected");
            let (stream, _) = listener.accept().await.expect("accepted");
            (caller, impatient.accept(stream, ()).await)
        };
        let mut places: Vec<_> = (0..MAX_OF_PEER).filter_map(|_| crowd.admit(address.ip())).collect();
        let refused = connected().await.1.err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::ResourceBusy));
        places.pop();
        let (_caller, accepted) = connected().await;
        assert!(accepted.is_ok());
        assert!(crowd.admit(address.ip()).is_none(), "the connection holds the place");
        drop(accepted);
        assert!(crowd.admit(address.ip()).is_some(), "and gives it back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_says_too_little_is_closed() {
        let (mut caller, server) = duplex(64);
        caller.write_all(b"PRI * HTTP").await.expect("written");
        let mut heard = Vec::new();
        let error = Speaking::new(server, None)
            .read_to_end(&mut heard)
            .await
            .expect_err("closed");
        assert_eq!((error.kind(), heard.len()), (io::ErrorKind::TimedOut, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_spoke_may_pause() {
        let (mut caller, server) = duplex(64);
        let mut server = Speaking::new(server, None);
        caller.write_all(&[b'x'; PREFACE]).await.expect("written");
        server.read_exact(&mut [0; PREFACE]).await.expect("read");
        let pause = tokio::time::timeout(PATIENCE * 10, server.read_u8()).await;
        assert!(pause.is_err(), "still open");
    }
}
