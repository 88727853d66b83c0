//! The commits that hosts reported: each is related to the remote's head. Bounded, because they come from
//! outside; the one that was named longest ago goes first.

use std::collections::BTreeMap;

use nixfleet_protocol::Commit;

/// A fleet of thousands stands on a few commits; so many different ones are a fleet that nobody tends.
pub const MOST: usize = 1024;

/// The commits of interest.
#[derive(Debug, Default)]
pub struct Interest {
    named: BTreeMap<Commit, u64>,
    clock: u64,
}

impl Interest {
    /// Somebody named this commit. `true`: it was not known, and is to be related.
    pub fn add(&mut self, commit: Commit) -> bool {
        self.clock += 1;
        let new = self.named.insert(commit, self.clock).is_none();
        if self.named.len() > MOST
            && let Some(oldest) = self.named.iter().min_by_key(|(_, at)| **at).map(|(commit, _)| commit.clone())
        {
            self.named.remove(&oldest);
        }
        new
    }

    /// All of them.
    pub fn commits(&self) -> impl Iterator<Item = &Commit> {
        self.named.keys()
    }

    /// Whether it is still of interest.
    pub fn has(&self, commit: &Commit) -> bool {
        self.named.contains_key(commit)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.named.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.named.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(number: usize) -> Commit {
        format!("{number:07x}").parse().unwrap()
    }

    #[test]
    fn a_commit_is_new_once() {
        let mut interest = Interest::default();
        assert!(interest.add(commit(1)));
        assert!(!interest.add(commit(1)));
        assert_eq!(interest.len(), 1);
    }

    #[test]
    fn the_one_that_was_named_longest_ago_goes_first() {
        let mut interest = Interest::default();
        for number in 0..MOST {
            interest.add(commit(number));
        }
        interest.add(commit(0));
        interest.add(commit(MOST));
        assert_eq!(interest.len(), MOST);
        assert!(interest.has(&commit(0)) && !interest.has(&commit(1)) && interest.has(&commit(MOST)));
    }
}
