//! Whether the store can write, and how fast it was. A full disk is a state, not a failure: nothing is
//! acknowledged while it lasts, everyone is told why, and it goes on when there is room.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use nixfleet_protocol::Epoch;

use super::plan::Counts;
use super::trees::Trees;
use super::{StoreError, Unanswered};

/// How many commits the percentiles look back on.
const LOOK_BACK: usize = 4096;

/// How long a reader waits for a store that is being replaced.
const SWAP: Duration = Duration::from_secs(8);

/// What the writer thread, the readers and the actor share. The writer is the only one who changes it.
pub(super) struct Shared {
    /// The store's epoch.
    pub(super) epoch: Epoch,
    /// What was missing or damaged at the start.
    pub(super) warnings: Vec<String>,
    /// Where sled lies.
    pub(super) store: PathBuf,
    /// Commits that wait or are being written.
    pub(super) queue: AtomicUsize,
    /// Records and events written since the start.
    pub(super) written: AtomicU64,
    /// Hosts and commands that there are.
    pub(super) hosts: AtomicU64,
    /// Commands that there are.
    pub(super) commands: AtomicU64,
    /// What keeps commits waiting for longer than usual, while it lasts.
    pub(super) busy: Busy,
    counts: Mutex<Counts>,
    trees: RwLock<Option<Arc<Trees>>>,
    trouble: Mutex<Option<String>>,
    took: Mutex<Vec<u32>>,
    turn: AtomicUsize,
}

impl Shared {
    pub(super) fn new(epoch: Epoch, warnings: Vec<String>, store: PathBuf, trees: Arc<Trees>) -> Self {
        Self {
            epoch,
            warnings,
            store,
            queue: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            hosts: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            busy: Busy::default(),
            counts: Mutex::new(Counts::default()),
            trees: RwLock::new(Some(trees)),
            trouble: Mutex::new(None),
            took: Mutex::new(Vec::new()),
            turn: AtomicUsize::new(0),
        }
    }

    /// The trees, for as long as one read takes. Whoever keeps them keeps the store from being reopened.
    pub(super) fn trees(&self) -> Result<Arc<Trees>, StoreError> {
        let begun = Instant::now();
        let trees = loop {
            let trees = self.trees.read().unwrap_or_else(PoisonError::into_inner).clone();
            if trees.is_some() || !self.busy.swaps() || begun.elapsed() > SWAP {
                break trees;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        trees.ok_or_else(|| match self.trouble() {
            Some(why) => StoreError::CantRead(format!("the store is closed: {why}")),
            // The writer ended: whoever asks again finds the next one.
            None => Unanswered::Gone("store").into(),
        })
    }

    pub(super) fn replace(&self, trees: Option<Arc<Trees>>) {
        *self.trees.write().unwrap_or_else(PoisonError::into_inner) = trees;
    }

    /// What the store says that there is, as of the last commit.
    pub(super) fn counts(&self) -> Counts {
        *locked(&self.counts)
    }

    pub(super) fn set_counts(&self, counts: Counts) {
        self.hosts.store(counts.hosts, Ordering::Relaxed);
        self.commands.store(counts.commands, Ordering::Relaxed);
        *locked(&self.counts) = counts;
    }

    /// Why it can't write, while it can't.
    pub(super) fn trouble(&self) -> Option<String> {
        locked(&self.trouble).clone()
    }

    pub(super) fn set_trouble(&self, trouble: Option<String>) {
        *locked(&self.trouble) = trouble;
    }

    /// Notes how long a commit took, from its message to its answer.
    pub(super) fn note(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % LOOK_BACK;
        let mut all = locked(&self.took);
        if turn < all.len() {
            all[turn] = took;
        } else {
            all.push(took);
        }
    }

    /// Microseconds that recent commits took: half of them at most the first, 99 of 100 at most the second.
    pub(super) fn percentiles(&self) -> (u32, u32) {
        let mut all = locked(&self.took).clone();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
        (at(50).unwrap_or_default(), at(99).unwrap_or_default())
    }
}

/// Work of the writer that takes seconds: what it is, and whether it goes on. Commits wait for it; that is no failure,
/// as long as it goes on.
#[derive(Debug, Default)]
pub(super) struct Busy {
    what: Mutex<Option<(&'static str, Instant)>>,
    swaps: AtomicBool,
    steps: AtomicU64,
}

/// How long work may stand still before it counts as stuck.
const STUCK: Duration = Duration::from_secs(20);
/// How often it notes that it goes on.
const NOTED: u64 = 256;

impl Busy {
    /// Begins.
    pub(super) fn begin(&self, what: &'static str) {
        *locked(&self.what) = Some((what, Instant::now()));
    }

    /// Ends.
    pub(super) fn end(&self) {
        self.swap(false);
        *locked(&self.what) = None;
    }

    /// So much is done.
    pub(super) fn went_on(&self, by: u64) {
        let before = self.steps.fetch_add(by, Ordering::Relaxed);
        if before / NOTED != (before + by) / NOTED {
            self.alive();
        }
    }

    /// It goes on.
    pub(super) fn alive(&self) {
        if let Some((_, last)) = &mut *locked(&self.what) {
            *last = Instant::now();
        }
    }

    /// The old store is closed, and the new one opens in a moment: readers wait.
    pub(super) fn swap(&self, swaps: bool) {
        self.alive();
        self.swaps.store(swaps, Ordering::SeqCst);
    }

    fn swaps(&self) -> bool {
        self.swaps.load(Ordering::SeqCst)
    }

    /// What it is, while it goes on.
    pub(super) fn what(&self) -> Option<&'static str> {
        locked(&self.what).filter(|(_, last)| last.elapsed() < STUCK).map(|(what, _)| what)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
