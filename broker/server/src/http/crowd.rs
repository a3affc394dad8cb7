//! Who is connected: so many at most, and so many of one peer, so that nobody takes all places by being there.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use procura_core::limits::network;

/// Connections of a listener at most.
pub(super) const MAX_CONNECTIONS: usize = 4096;
/// Connections of one peer at most: an IPv4 address, or the /64 of an IPv6 address.
pub(super) const MAX_OF_PEER: usize = 1024;

/// The connections of a listener.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Present>);

#[derive(Debug, Default)]
struct Present {
    all: usize,
    of_peer: HashMap<IpAddr, usize>,
}

impl Crowd {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection of this peer, as long as it is held; `None` where all are taken.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = network(peer);
        let mut present = self.present();
        let of_peer = present.of_peer.get(&peer).copied().unwrap_or(0);
        if present.all >= MAX_CONNECTIONS || of_peer >= MAX_OF_PEER {
            metrics::counter!("procura_connections_refused_total").increment(1);
            return None;
        }
        present.all += 1;
        present.of_peer.insert(peer, of_peer + 1);
        let crowd = Arc::clone(self);
        Some(Place { crowd, peer })
    }
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    peer: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut present = self.crowd.present();
        present.all = present.all.saturating_sub(1);
        if let Some(count) = present.of_peer.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                present.of_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn attack_068_one_peer_does_not_take_all_places() {
        let crowd = Arc::new(Crowd::default());
        // One host has all of a /64.
        let address = |n: usize| IpAddr::V6(Ipv6Addr::from(0x2001_0db8_u128 << 96 | n as u128));
        let places: Vec<_> = (0..=MAX_OF_PEER).filter_map(|n| crowd.admit(address(n))).collect();
        assert_eq!(places.len(), MAX_OF_PEER);
        assert!(crowd.admit("192.0.2.1".parse().expect("address")).is_some());
        drop(places);
        let present = crowd.present();
        assert_eq!(
            (present.all, present.of_peer.len()),
            (0, 0),
            "nothing is kept of who left"
        );
    }

    #[test]
    fn attack_068_there_are_so_many_places_at_most() {
        let crowd = Arc::new(Crowd::default());
        let address = |n: usize| IpAddr::from((n as u32).to_be_bytes());
        let places: Vec<_> = (0..2 * MAX_CONNECTIONS)
            .filter_map(|n| crowd.admit(address(n)))
            .collect();
        assert_eq!(places.len(), MAX_CONNECTIONS);
    }
}
