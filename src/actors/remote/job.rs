//! Work that the remote's actor starts and does not wait for: what comes out of it is cast to the actor.

use ractor::ActorRef;
use tokio::task::AbortHandle;

use super::Msg;

/// A task that ends with its owner.
pub(super) struct Job(AbortHandle);

impl Drop for Job {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Job {
    /// Casts what came out of the work; nothing when it panicked.
    pub(super) fn start<T: Send + 'static>(
        myself: &ActorRef<Msg>,
        work: impl Future<Output = T> + Send + 'static,
        news: impl FnOnce(Option<T>) -> Msg + Send + 'static,
    ) -> Self {
        let work = tokio::spawn(work);
        let job = Self(work.abort_handle());
        let myself = myself.clone();
        tokio::spawn(async move {
            let outcome = match work.await {
                Ok(outcome) => Some(outcome),
                Err(error) if error.is_cancelled() => return,
                Err(_) => None,
            };
            cast(&myself, news(outcome));
        });
        job
    }
}

pub(super) fn cast(myself: &ActorRef<Msg>, message: Msg) {
    if myself.cast(message).is_err() {
        tracing::trace!("the remote's actor is gone");
    }
}
