//! How many connections there may be: few of those that did not log in, many of those that did. One that is too
//! many waits a moment, for a fleet that comes back all at once logs in within milliseconds each; then it is
//! refused.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nixfleet_model::access::one_source;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Not logged in, in all.
    pub strangers: usize,
    /// Not logged in, from one address.
    pub per_address: usize,
    /// Logged in.
    pub known: usize,
    /// Waiting for a place.
    pub waiting: usize,
    /// How long one waits for a place.
    pub patience: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { strangers: 200, per_address: 20, known: 12_000, waiting: 1000, patience: Duration::from_secs(1) }
    }
}

/// Addresses that are remembered before those without connections are forgotten.
const REMEMBERED: usize = 1024;

/// The places.
pub(super) struct Admission {
    bounds: Bounds,
    strangers: Arc<Semaphore>,
    known: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    by_address: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
}

/// A place of one connection; given back when it is dropped.
pub(in crate::web) struct Ticket {
    place: Mutex<Place>,
    known: Arc<Semaphore>,
}

enum Place {
    Stranger { _all: OwnedSemaphorePermit, _address: Option<OwnedSemaphorePermit> },
    Known { _all: OwnedSemaphorePermit },
}

impl Admission {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            strangers: Arc::new(Semaphore::new(bounds.strangers)),
            known: Arc::new(Semaphore::new(bounds.known)),
            waiting: Arc::new(Semaphore::new(bounds.waiting)),
            by_address: Mutex::default(),
        }
    }

    /// A place, as soon as there is one; `None` when there was none for too long. A trusted proxy stands for many
    /// addresses: its own does not count.
    pub(super) async fn admit(&self, address: IpAddr, is_proxy: bool) -> Option<Ticket> {
        let _queue = self.waiting.try_acquire().ok()?;
        let places = async {
            let address = match (!is_proxy).then(|| self.places_of(address)) {
                None => None,
                Some(places) => Some(places.acquire_owned().await.ok()?),
            };
            let all = Arc::clone(&self.strangers).acquire_owned().await.ok()?;
            Some(Place::Stranger { _all: all, _address: address })
        };
        let place = tokio::time::timeout(self.bounds.patience, places).await.ok()??;
        Some(Ticket { place: Mutex::new(place), known: Arc::clone(&self.known) })
    }

    fn places_of(&self, address: IpAddr) -> Arc<Semaphore> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if by_address.len() >= REMEMBERED {
            // Each permit that is out holds its semaphore.
            by_address.retain(|_, places| Arc::strong_count(places) > 1);
        }
        let new = || Arc::new(Semaphore::new(self.bounds.per_address));
        Arc::clone(by_address.entry(one_source(address)).or_insert_with(new))
    }
}

impl Ticket {
    /// Who connected is known: the place of a stranger is free again. Where no place of the known is left the
    /// connection stays a stranger's.
    pub(in crate::web) fn known(&self) {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*place, Place::Known { .. }) {
            return;
        }
        if let Ok(all) = Arc::clone(&self.known).try_acquire_owned() {
            *place = Place::Known { _all: all };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission() -> Admission {
        let patience = Duration::from_millis(10);
        Admission::new(Bounds { strangers: 4, per_address: 2, known: 1, waiting: 8, patience })
    }

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_has_few_places_and_all_have_some() {
        let admission = admission();
        let first = admission.admit(address(1), false).await.unwrap();
        let _second = admission.admit(address(1), false).await.unwrap();
        assert!(admission.admit(address(1), false).await.is_none());
        let _third = admission.admit(address(2), false).await.unwrap();
        let _fourth = admission.admit(address(3), false).await.unwrap();
        assert!(admission.admit(address(4), false).await.is_none());
        drop(first);
        assert!(admission.admit(address(4), false).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_frees_a_place_and_a_proxy_is_no_address() {
        let admission = admission();
        let first = admission.admit(address(1), false).await.unwrap();
        let second = admission.admit(address(1), false).await.unwrap();
        first.known();
        let _third = admission.admit(address(1), false).await.unwrap();
        // There is one place for the known only.
        second.known();
        assert!(admission.admit(address(1), false).await.is_none());
        let _proxied =
            [admission.admit(address(9), true).await.unwrap(), admission.admit(address(9), true).await.unwrap()];
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_without_connections_are_forgotten() {
        let admission = admission();
        for number in 0..2 * REMEMBERED {
            let address = IpAddr::from(u32::try_from(number).unwrap().to_be_bytes());
            assert!(admission.admit(address, false).await.is_some());
        }
        assert!(admission.by_address.lock().unwrap().len() <= REMEMBERED);
    }
}
