//! A place in the tree where an actor sits, whoever sits there now. Handles hold slots and not actor
//! references, so that a restarted actor is found by those who knew the one before.

use std::time::Duration;

use ractor::{ActorRef, Message, RpcReplyPort};
use tokio::sync::watch;

/// No answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Nobody sits there now, or who sat there died with the question.
    #[error("the {0} actor is not there right now")]
    Gone(&'static str),
    /// It sits there and did not answer in time.
    #[error("the {0} actor did not answer within {1:?}")]
    Late(&'static str, Duration),
}

/// The place of an actor that takes messages of type `M`.
#[derive(Debug)]
pub struct Slot<M: Message> {
    name: &'static str,
    seat: watch::Sender<Option<ActorRef<M>>>,
}

impl<M: Message> Clone for Slot<M> {
    fn clone(&self) -> Self {
        Self { name: self.name, seat: self.seat.clone() }
    }
}

impl<M: Message> Slot<M> {
    /// An empty place with the name that errors tell.
    pub fn new(name: &'static str) -> Self {
        Self { name, seat: watch::Sender::new(None) }
    }

    /// Who started an actor seats it here.
    pub fn seat(&self, actor: ActorRef<M>) {
        self.seat.send_replace(Some(actor));
    }

    /// Who learns that the actor died empties the place.
    pub fn vacate(&self) {
        self.seat.send_replace(None);
    }

    /// Who sits there now.
    pub fn sitting(&self) -> Option<ActorRef<M>> {
        self.seat.borrow().clone()
    }

    /// Who sits there, as soon as somebody does.
    pub async fn seated(&self) -> Option<ActorRef<M>> {
        let mut seat = self.seat.subscribe();
        seat.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Tells whoever sits there. `false` when nobody does: the message is gone, and the caller knows it.
    pub fn cast(&self, message: M) -> bool {
        self.sitting().is_some_and(|actor| actor.cast(message).is_ok())
    }

    /// Asks whoever sits there. Not for use inside a `handle`: see `ARCHITECTURE.md`.
    pub async fn call<R: Send + 'static>(
        &self,
        message: impl FnOnce(RpcReplyPort<R>) -> M,
        within: Duration,
    ) -> Result<R, Unanswered> {
        let actor = self.sitting().ok_or(Unanswered::Gone(self.name))?;
        let (sender, receiver) = ractor::concurrency::oneshot();
        actor.cast(message(sender.into())).map_err(|_| Unanswered::Gone(self.name))?;
        match tokio::time::timeout(within, receiver).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unanswered::Gone(self.name)),
            Err(_) => Err(Unanswered::Late(self.name, within)),
        }
    }
}

/// Answers a question. Whoever asked may have stopped waiting; that is no error of the one who answers.
pub fn answer<T: Send + 'static>(reply: RpcReplyPort<T>, value: T) {
    if reply.send(value).is_err() {
        tracing::trace!("nobody waits for this answer any more");
    }
}
