//! Walks a tree from its newest entry to the oldest, for keys that count: a prefix, eight bytes in the order of time
//! (the number of an event, the head of a UUIDv7), and whatever follows.
//!
//! sled walks backwards itself, and for that alone keeps a mebibyte of 0xff in every binary that does. Walking
//! forwards over one stretch after the other, from the last to the first, needs nothing of it.

use std::ops::Bound;

use sled::{IVec, Tree};

/// How many entries a stretch should have at most; only one in which all keys count the same may have more.
const MANY: usize = 64;
/// How few make the next stretch longer.
const FEW: usize = 16;

type Entry = (IVec, IVec);

/// The entries of a tree whose keys begin with a prefix, the newest first.
pub(super) struct NewestFirst<'a> {
    tree: &'a Tree,
    prefix: Vec<u8>,
    /// What is not yet walked over lies below this key.
    below: Bound<Vec<u8>>,
    /// And counts no more than this; none: nothing is left.
    top: Option<u64>,
    /// How many ranks the next stretch has, one at least; none: nobody has looked yet where the newest is.
    length: Option<u64>,
    /// Entries of the stretch that is walked over, the newest last.
    stretch: Vec<Entry>,
}

/// Walks over all keys that begin with `prefix` and are less than `before`.
pub(super) fn newest_first<'a>(tree: &'a Tree, prefix: &[u8], before: Option<&[u8]>) -> NewestFirst<'a> {
    let (below, top) = match before {
        Some(key) => (Bound::Excluded(key.to_vec()), rank(prefix, key)),
        None => (end_of(prefix), u64::MAX),
    };
    NewestFirst { tree, prefix: prefix.to_vec(), below, top: Some(top), length: None, stretch: Vec::new() }
}

/// The newest entry.
pub(super) fn newest(tree: &Tree, prefix: &[u8]) -> sled::Result<Option<Entry>> {
    newest_first(tree, prefix, None).next().transpose()
}

/// What a key counts. A key that is too short counts as if zeros followed: it sorts so.
fn rank(prefix: &[u8], key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (byte, of_key) in bytes.iter_mut().zip(key.get(prefix.len()..).unwrap_or_default()) {
        *byte = *of_key;
    }
    u64::from_be_bytes(bytes)
}

/// Below what all keys with this prefix lie.
fn end_of(prefix: &[u8]) -> Bound<Vec<u8>> {
    let kept = prefix.iter().rposition(|byte| *byte != u8::MAX);
    let Some(last) = kept else { return Bound::Unbounded };
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Bound::Excluded(end)
}

impl NewestFirst<'_> {
    /// Below all keys that count so much, and above all that count less, but for those of the same rank that were cut
    /// short: they come with the next stretch.
    fn key(&self, rank: u64) -> Vec<u8> {
        let mut key = self.prefix.clone();
        if rank > 0 {
            key.extend_from_slice(&rank.to_be_bytes());
        }
        key
    }

    /// Entries that are left and count so much or more, in the order of their keys.
    fn entries(&self, rank: u64) -> sled::Iter {
        self.tree.range::<Vec<u8>, _>((Bound::Included(self.key(rank)), self.below.clone()))
    }

    /// The most that an entry counts which is left; none: none is. Each look halves what is in question.
    fn most(&self, top: u64) -> sled::Result<Option<u64>> {
        let Some((first, _)) = self.entries(0).next().transpose()? else { return Ok(None) };
        let (mut low, mut high) = (rank(&self.prefix, &first), top);
        while low < high {
            let middle = high - (high - low) / 2;
            match self.entries(middle).next().transpose()? {
                Some((key, _)) => low = rank(&self.prefix, &key),
                None => high = middle - 1,
            }
        }
        Ok(Some(low))
    }

    /// Takes the next stretch that has entries.
    fn fill(&mut self) -> sled::Result<()> {
        while let Some(top) = self.top {
            let Some(length) = self.length else {
                (self.top, self.length) = (self.most(top)?, Some(1));
                continue;
            };
            let low = top.saturating_sub(length - 1);
            let most = if low == top { usize::MAX } else { MANY };
            let stretch: Vec<_> = self.entries(low).take(most.saturating_add(1)).collect::<sled::Result<_>>()?;
            if stretch.len() > most {
                self.length = Some(length / 2);
                continue;
            }
            let low_key = self.key(low);
            // A key that was cut short lies before the first that counts as much as it does.
            let passed = matches!(&self.below, Bound::Excluded(below) if *below <= low_key);
            if !passed {
                self.below = Bound::Excluded(low_key);
            }
            self.top = low.checked_sub(1);
            if stretch.len() < FEW {
                self.length = Some(length.saturating_mul(2));
            }
            if !stretch.is_empty() {
                self.stretch = stretch;
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Iterator for NewestFirst<'_> {
    type Item = sled::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.stretch.is_empty()
            && let Err(error) = self.fill()
        {
            self.top = None;
            self.stretch = Vec::new();
            return Some(Err(error));
        }
        self.stretch.pop().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_tree(keys: &[Vec<u8>]) -> (sled::Db, Tree) {
        let db = sled::Config::new().temporary(true).cache_capacity(1024 * 1024).open().unwrap();
        let tree = db.open_tree("tree").unwrap();
        for key in keys {
            tree.insert(key, b"value").unwrap();
        }
        (db, tree)
    }

    fn same(tree: &Tree, prefix: &[u8], before: Option<&[u8]>) {
        let walked = newest_first(tree, prefix, before).collect::<sled::Result<Vec<_>>>().unwrap();
        let expected = tree.scan_prefix(prefix).collect::<sled::Result<Vec<_>>>().unwrap();
        let expected = expected.into_iter().rev().filter(|(key, _)| before.is_none_or(|before| **key < *before));
        let keys = |entries: Vec<Entry>| entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
        assert_eq!(keys(walked), keys(expected.collect()), "{prefix:?} {before:?}");
    }

    /// Keys as they are: dense numbers, sparse times with a tail, the ends of what can be counted, and what is too short.
    fn a_key() -> impl Strategy<Value = Vec<u8>> {
        let prefix = prop_oneof![Just(vec![]), Just(b"a\0".to_vec()), Just(b"ab\0".to_vec()), Just(vec![255, 255])];
        let rank = prop_oneof![0..300_u64, 1_700_000_000_000..1_700_000_000_100_u64, any::<u64>(), Just(u64::MAX)];
        let tail = prop::collection::vec(any::<u8>(), 0..3);
        let short = prop::bool::weighted(0.1);
        (prefix, rank, tail, short).prop_map(|(mut key, rank, tail, short)| {
            key.extend_from_slice(&rank.to_be_bytes()[..if short { tail.len() } else { 8 }]);
            key.extend_from_slice(&tail);
            key
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_entry_comes_once_and_the_newest_first(keys in prop::collection::vec(a_key(), 0..300), at in any::<prop::sample::Index>()) {
            let (_db, tree) = a_tree(&keys);
            for prefix in [&b""[..], b"a\0", b"ab\0", &[255, 255]] {
                same(&tree, prefix, None);
                let of_prefix: Vec<_> = keys.iter().filter(|key| key.starts_with(prefix)).collect();
                if !of_prefix.is_empty() {
                    same(&tree, prefix, Some(of_prefix[at.index(of_prefix.len())]));
                }
            }
        }
    }

    #[test]
    fn a_long_past_is_walked_over_in_stretches() {
        let numbers = (1..=3_000_u64).chain(1 << 40..(1 << 40) + 500);
        let (_db, tree) = a_tree(&numbers.map(|number| number.to_be_bytes().to_vec()).collect::<Vec<_>>());
        same(&tree, b"", None);
        same(&tree, b"", Some(&2_000_u64.to_be_bytes()));
        assert_eq!(newest(&tree, b"").unwrap().unwrap().0, ((1_u64 << 40) + 499).to_be_bytes());
        assert_eq!(newest(&tree, b"nothing like that").unwrap(), None);
    }

    #[test]
    fn a_walk_from_a_key_that_was_cut_short_does_not_come_to_it() {
        let short = [255, 255, 0, 0];
        let (_db, tree) = a_tree(&[short.to_vec(), vec![255, 255], vec![97; 10]]);
        same(&tree, b"", Some(&short));
        same(&tree, &[255, 255], Some(&short));
    }

    #[test]
    fn many_of_one_rank_come_whole() {
        let keys = (0..500_u16).map(|tail| [&7_u64.to_be_bytes()[..], &tail.to_be_bytes()].concat());
        let (_db, tree) = a_tree(&keys.collect::<Vec<_>>());
        same(&tree, b"", None);
    }
}
