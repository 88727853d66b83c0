//! A room of every actor that owns records: brings its writes to the store, one commit at a time, and keeps what
//! is to be done until they are on disk. What comes while a commit is under way is merged into the next one.
//!
//! When its actor dies the commit under way is tried no more; whether it reached the disk, the store says.
//! Invariant: effects come out in the order in which they were given, each behind its own commit and all before.

use super::owned::OwnedTask;
use super::store::{Batch, StoreError, StoreHandle};

/// The writes of one actor on their way to the disk. `E` is what is to be done afterwards.
#[derive(Debug)]
pub struct Committer<E> {
    store: StoreHandle,
    /// What is to be done when the commit under way is on disk; none: nothing is under way.
    under_way: Option<(Vec<E>, OwnedTask)>,
    next: Batch,
    then: Vec<E>,
}

impl<E> Committer<E> {
    /// Over a store.
    pub fn new(store: StoreHandle) -> Self {
        Self { store, under_way: None, next: Batch::default(), then: Vec::new() }
    }

    /// Whether everything is on disk: what is published now shows nothing that could be lost.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    /// Takes writes and what follows from them. What needs no commit, and has none before it, comes back at once.
    /// `done` is called, elsewhere, when a commit has ended that this began.
    #[must_use]
    pub fn add(
        &mut self,
        batch: Batch,
        then: Vec<E>,
        done: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Vec<E> {
        if batch.is_empty() && self.is_idle() {
            return then;
        }
        self.next.append(batch);
        self.then.extend(then);
        if self.is_idle() {
            self.begin(done);
        }
        Vec::new()
    }

    /// The commit under way is on disk: what is to be done now. The next one begins, if there is one; what only
    /// waited comes with this one.
    #[must_use]
    pub fn committed(&mut self, done: impl FnOnce(Result<(), StoreError>) + Send + 'static) -> Vec<E> {
        let mut ready = self.under_way.take().map(|(then, _)| then).unwrap_or_default();
        if self.next.is_empty() {
            ready.append(&mut self.then);
        } else {
            self.begin(done);
        }
        ready
    }

    fn begin(&mut self, done: impl FnOnce(Result<(), StoreError>) + Send + 'static) {
        let batch = std::mem::take(&mut self.next);
        let store = self.store.clone();
        let task = OwnedTask::start(async move { done(store.commit(batch).await) });
        self.under_way = Some((std::mem::take(&mut self.then), task));
    }
}
