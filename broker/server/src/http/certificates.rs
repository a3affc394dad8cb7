//! Hands the certificates of a connection to its requests.

use std::sync::Arc;

use axum::{Extension, middleware::AddExtension};
use axum_server::accept::Accept;
use futures_util::{TryFutureExt, future::MapOk};
use procura_core::identity::PeerCertificates;
use tokio_rustls::server::TlsStream;
use tower::Layer;

/// Accepts what `A` does; each request finds the `Option<Arc<PeerCertificates>>` of its connection.
#[derive(Debug, Clone)]
pub(super) struct Certified<A>(pub(super) A);

type WithChain<S> = AddExtension<S, Option<Arc<PeerCertificates>>>;
type Accepted<T, S> = (TlsStream<T>, WithChain<S>);

impl<A, I, S, T> Accept<I, S> for Certified<A>
where
    A: Accept<I, S, Stream = TlsStream<T>>,
{
    type Stream = TlsStream<T>;
    type Service = WithChain<A::Service>;
    type Future = MapOk<A::Future, fn((TlsStream<T>, A::Service)) -> Accepted<T, A::Service>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        self.0.accept(stream, service).map_ok(|(stream, service)| {
            let chain = chain(&stream);
            (stream, Extension(chain).layer(service))
        })
    }
}

fn chain<T>(stream: &TlsStream<T>) -> Option<Arc<PeerCertificates>> {
    let (_, connection) = stream.get_ref();
    let chain = connection.peer_certificates()?.iter().map(|der| der.to_vec());
    Some(Arc::new(PeerCertificates(chain.collect())))
}
