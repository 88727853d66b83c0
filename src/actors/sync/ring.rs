//! The last changes, for clients that were away for a moment.

use std::collections::VecDeque;

use nixfleet_protocol::Version;
use nixfleet_protocol::browser::Change;

/// How many changes are kept: a minute and more of a fleet of fifty. Who was away longer gets the full state.
const KEEP: usize = 1024;

/// The last changes in the order of their versions, without gaps.
#[derive(Debug, Default)]
pub(super) struct Ring {
    changes: VecDeque<(Version, Change)>,
}

impl Ring {
    /// Adds the newest change.
    pub(super) fn push(&mut self, version: Version, change: Change) {
        if self.changes.len() == KEEP {
            self.changes.pop_front();
        }
        self.changes.push_back((version, change));
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.changes.len()
    }

    /// What came after `version`, where it is all still here. `None`: too old, or a version never given.
    pub(super) fn after(
        &self,
        version: Version,
        now: Version,
    ) -> Option<impl Iterator<Item = (Version, &Change)> + use<'_>> {
        if version > now {
            return None;
        }
        let missed = usize::try_from(now.0 - version.0).ok()?;
        let skip = self.changes.len().checked_sub(missed)?;
        Some(self.changes.iter().skip(skip).map(|(version, change)| (*version, change)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixfleet_protocol::HostId;

    fn versions(ring: &Ring, from: u64, now: u64) -> Option<Vec<u64>> {
        ring.after(Version(from), Version(now)).map(|changes| changes.map(|(version, _)| version.0).collect())
    }

    #[test]
    fn what_was_missed_is_there_or_the_gap_is_named() {
        let mut ring = Ring::default();
        let host: HostId = "a".parse().unwrap();
        for version in 11..=20 {
            ring.push(Version(version), Change::HostRemoved(host.clone()));
        }
        assert_eq!(versions(&ring, 20, 20), Some(vec![]));
        assert_eq!(versions(&ring, 18, 20), Some(vec![19, 20]));
        assert_eq!(versions(&ring, 10, 20), Some((11..=20).collect()));
        assert_eq!(versions(&ring, 9, 20), None);
        assert_eq!(versions(&ring, 21, 20), None);
    }

    #[test]
    fn the_oldest_go() {
        let mut ring = Ring::default();
        let host: HostId = "a".parse().unwrap();
        for version in 1..=(KEEP as u64 + 5) {
            ring.push(Version(version), Change::HostRemoved(host.clone()));
        }
        assert_eq!(ring.len(), KEEP);
        assert_eq!(versions(&ring, 4, KEEP as u64 + 5), None);
        assert_eq!(versions(&ring, 5, KEEP as u64 + 5).map(|v| v.len()), Some(KEEP));
    }
}
