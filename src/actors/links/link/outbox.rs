//! What waits to be sent on one link, between those who send and the link's task. It takes no room while it is empty,
//! which is nearly always.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use nixfleet_protocol::agent::DashboardMessage;
use tokio::sync::oneshot;

use super::Outgoing;

/// Messages that may wait for a slow agent; commands and acknowledgements are few and small.
const MOST: usize = 1024;

/// One link, for those who send to it.
#[derive(Clone, Debug)]
pub struct LinkRef(Arc<Shared>);

/// The other end: the link's task. When it is dropped the link is gone.
#[derive(Debug)]
pub struct Outbox {
    shared: Arc<Shared>,
    /// A ping of the link's own waits.
    ping: bool,
}

/// What the task has to send.
#[derive(Debug)]
pub enum Taken {
    /// What somebody gave.
    Outgoing(Outgoing),
    /// The link's own ping.
    Ping,
}

#[derive(Debug)]
struct Shared {
    id: u64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    queue: VecDeque<Outgoing>,
    /// The link's task, while it sleeps.
    task: Option<Waker>,
    /// Its agent does not read: the link is cut, so that it comes back and tells again.
    cut: bool,
    /// The task is gone.
    gone: bool,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The two ends of a link's outbox. No two links of a daemon's life share an id.
pub fn outbox(id: u64) -> (LinkRef, Outbox) {
    let shared = Arc::new(Shared { id, waiting: Mutex::default() });
    (LinkRef(Arc::clone(&shared)), Outbox { shared, ping: false })
}

impl LinkRef {
    /// Its number: no two links of a daemon's life share one.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Sends. `false`: the link is gone, or its agent does not read and it is cut now, because a frame that is
    /// lost must not be lost on a link that stays; the host will hear of its end.
    pub fn send(&self, message: DashboardMessage) -> bool {
        self.put(Outgoing::Frame(Box::new(message)))
    }

    /// Ends the link.
    pub fn close(&self, code: u16, reason: &str) {
        if !self.put(Outgoing::Close { code, reason: reason.to_owned() }) {
            tracing::debug!(link = self.id(), code, "link is gone or does not read");
        }
    }

    /// Whether the agent answers within `limit`.
    pub async fn answers(&self, limit: Duration) -> bool {
        let (told, pong) = oneshot::channel();
        self.put(Outgoing::Ping(told)) && matches!(tokio::time::timeout(limit, pong).await, Ok(Ok(())))
    }

    fn put(&self, outgoing: Outgoing) -> bool {
        let mut waiting = self.0.waiting();
        if waiting.gone {
            return false;
        }
        let fits = waiting.queue.len() < MOST;
        if fits {
            waiting.queue.push_back(outgoing);
        } else {
            waiting.cut = true;
        }
        let task = waiting.task.take();
        drop(waiting);
        if let Some(task) = task {
            task.wake();
        }
        fits
    }
}

impl Outbox {
    /// Has this task woken by what comes. `true`: the link is to be cut.
    pub fn listen(&self, task: &Waker) -> bool {
        let mut waiting = self.shared.waiting();
        match &mut waiting.task {
            Some(known) => known.clone_from(task),
            None => waiting.task = Some(task.clone()),
        }
        waiting.cut
    }

    /// What comes next.
    pub fn take(&mut self) -> Option<Taken> {
        if std::mem::take(&mut self.ping) {
            return Some(Taken::Ping);
        }
        let mut waiting = self.shared.waiting();
        let next = waiting.queue.pop_front()?;
        if waiting.queue.is_empty() {
            // Its room is given back: the next message comes in minutes.
            waiting.queue = VecDeque::new();
        }
        Some(Taken::Outgoing(next))
    }

    /// A ping of the link's own goes out next.
    pub fn ping(&mut self) {
        self.ping = true;
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let mut waiting = self.shared.waiting();
        waiting.gone = true;
        let (queue, task) = (std::mem::take(&mut waiting.queue), waiting.task.take());
        drop(waiting);
        // Who waits for a pong learns that none will come.
        drop((queue, task));
    }
}
