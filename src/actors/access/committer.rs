//! What waits for the disk: one commit in flight, what comes meanwhile goes into the next. Each entry says what
//! follows when it is on disk, and whether it is tried again when the disk refuses it. Unlike the room that actors
//! share (`actors/committer.rs`) it gives up at once where a person waits: who logs in on a full disk is told so.

use std::time::Duration;

use ractor::{ActorRef, RpcReplyPort};

use super::{LoginRefused, MadeToken, Msg, NewSession, Unavailable};
use crate::actors::owned::OwnedTask;
use crate::actors::slot::answer;
use crate::actors::store::{Batch, LoginSession, SecretHash, StoreError, StoreHandle, Token, Write};
use crate::config::Secret;
use nixfleet_model::checks::TotpProof;

/// How long to wait after the disk refused.
const AGAIN: Duration = Duration::from_secs(1);

/// What follows when it is on disk.
pub(super) enum Then {
    /// Nothing.
    Nothing,
    /// The session is open, and its browser gets the cookie.
    Open {
        hash: SecretHash,
        session: LoginSession,
        new: NewSession,
        reply: RpcReplyPort<Result<NewSession, LoginRefused>>,
    },
    /// The token is good, and is shown this once.
    Make { hash: SecretHash, token: Token, secret: Secret, reply: RpcReplyPort<Result<MadeToken, Unavailable>> },
    /// The login was wrong.
    Refuse(RpcReplyPort<Result<NewSession, LoginRefused>>),
    /// The code was wrong.
    Disprove(RpcReplyPort<Result<TotpProof, LoginRefused>>),
    /// The code counts.
    Proved(RpcReplyPort<Result<TotpProof, LoginRefused>>),
    /// It is over.
    Over(RpcReplyPort<Result<bool, Unavailable>>),
    /// So many are over.
    Ended(usize, RpcReplyPort<Result<usize, Unavailable>>),
}

/// One entry.
pub(super) struct Pending {
    pub(super) batch: Batch,
    pub(super) then: Then,
    /// Tried until it is on disk: what was taken away in memory must not come back.
    pub(super) insist: bool,
}

/// The queue in front of the store.
pub(super) struct Committer {
    store: StoreHandle,
    waiting: Vec<Pending>,
    flying: Vec<Pending>,
    /// Ends with the actor.
    task: Option<OwnedTask>,
}

impl Committer {
    pub(super) fn new(store: StoreHandle) -> Self {
        Self { store, waiting: Vec::new(), flying: Vec::new(), task: None }
    }

    /// Something more to write.
    pub(super) fn add(&mut self, myself: &ActorRef<Msg>, pending: Pending) {
        self.waiting.push(pending);
        self.start(myself, Duration::ZERO);
    }

    /// When something was used; nobody waits for it, and the next use writes it again.
    pub(super) fn note(&mut self, myself: &ActorRef<Msg>, write: Option<Write>) {
        if let Some(write) = write {
            let batch = Batch { writes: vec![write], ..Batch::default() };
            self.add(myself, Pending { batch, then: Then::Nothing, insist: false });
        }
    }

    fn start(&mut self, myself: &ActorRef<Msg>, after: Duration) {
        if !self.flying.is_empty() || self.waiting.is_empty() {
            return;
        }
        self.flying = std::mem::take(&mut self.waiting);
        let mut all = Batch::default();
        for pending in &self.flying {
            all.append(pending.batch.clone());
        }
        let (store, tell) = (self.store.clone(), myself.clone());
        self.task = Some(OwnedTask::start(async move {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            let result = if after.is_zero() { store.commit_once(all).await } else { store.commit_again(all).await };
            if tell.cast(Msg::Committed(result)).is_err() {
                tracing::debug!("access is gone");
            }
        }));
    }

    /// The commit in flight ended: what follows now.
    pub(super) fn committed(&mut self, myself: &ActorRef<Msg>, result: Result<(), StoreError>) -> Vec<Then> {
        let flown = std::mem::take(&mut self.flying);
        let Err(error) = result else {
            self.start(myself, Duration::ZERO);
            return flown.into_iter().map(|pending| pending.then).collect();
        };
        tracing::warn!(%error, "access could not write");
        let mut again = Vec::new();
        for Pending { batch, then, insist } in flown {
            then.refuse(&Unavailable(error.to_string()));
            // What it refuses for good it refuses again.
            if insist && !matches!(error, StoreError::Refused(_)) {
                again.push(Pending { batch, then: Then::Nothing, insist });
            }
        }
        again.append(&mut self.waiting);
        self.waiting = again;
        self.start(myself, AGAIN);
        Vec::new()
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }
}

impl Then {
    /// The disk refused it.
    fn refuse(self, why: &Unavailable) {
        match self {
            Self::Nothing => {}
            // A full disk makes no login right.
            Self::Refuse(reply) => answer(reply, Err(LoginRefused::Wrong)),
            Self::Disprove(reply) => answer(reply, Ok(TotpProof::Invalid)),
            Self::Open { reply, .. } => answer(reply, Err(why.clone().into())),
            Self::Proved(reply) => answer(reply, Err(why.clone().into())),
            Self::Make { reply, .. } => answer(reply, Err(why.clone())),
            Self::Over(reply) => answer(reply, Err(why.clone())),
            Self::Ended(_, reply) => answer(reply, Err(why.clone())),
        }
    }
}
