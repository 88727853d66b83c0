//! What is judged of one host is mostly what is judged of the next: a fleet that stands at one commit has the same
//! lights, offers and refusals on nearly all of its hosts. They are two kilobytes; alike hosts share them.
//!
//! Nobody sees a difference but in memory: what comes back equals what was given. Lock: held for a few comparisons.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use nixfleet_protocol::Op;
use nixfleet_protocol::api::Lights;

use crate::view::{Judged, Refused};

/// How many different ones are remembered; the one that was needed longest ago goes.
const KEEP: usize = 16;

/// What was judged last of the hosts of a fleet, each thing once.
#[derive(Debug, Default)]
pub struct Alike {
    lights: Pool<Lights>,
    offers: Pool<[Op]>,
    refused: Pool<[Refused]>,
}

impl Alike {
    /// The same, from what another host has already where it can be.
    pub(super) fn share(&self, judged: Judged) -> Judged {
        let Judged { lights, offers, refused, system } = judged;
        Judged {
            lights: self.lights.share(lights),
            offers: self.offers.share(offers),
            refused: self.refused.share(refused),
            system,
        }
    }
}

/// The newest first.
#[derive(Debug)]
struct Pool<T: ?Sized>(Mutex<Vec<Arc<T>>>);

impl<T: ?Sized> Default for Pool<T> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<T: ?Sized + PartialEq> Pool<T> {
    fn share(&self, new: Arc<T>) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().position(|it| *it == new);
        let shared = match found {
            Some(at) => known.remove(at),
            None => new,
        };
        known.truncate(KEEP - 1);
        known.insert(0, Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_share_one_copy_and_only_the_last_ones_are_kept() {
        let pool = Pool::<[Op]>::default();
        let first = pool.share([Op::Pull].into());
        assert!(Arc::ptr_eq(&first, &pool.share([Op::Pull].into())), "the same again");
        let other = pool.share([Op::Pull, Op::Switch].into());
        assert_eq!(*other, [Op::Pull, Op::Switch]);
        for many in 2..=KEEP {
            assert!(Arc::ptr_eq(&first, &pool.share([Op::Pull].into())), "what is needed stays");
            assert_eq!(pool.share(vec![Op::Test; many].into()).len(), many);
        }
        assert_eq!(pool.0.lock().unwrap().len(), KEEP);
        assert!(!Arc::ptr_eq(&other, &pool.share([Op::Pull, Op::Switch].into())), "what nobody needed was forgotten");
    }
}
