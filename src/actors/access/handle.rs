//! What others ask of the access actor, as typed methods.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::checks::TotpProof;
use nixfleet_protocol::HostId;

use super::{Login, LoginRefused, MadeToken, Msg, NewSession, NewToken, TokenInfo, Unavailable, Who, hash};
use super::{SessionInfo, Which};
use crate::actors::links::OwnTokens;
use crate::actors::slot::{Slot, Unanswered};
use crate::actors::store::{LoginSession, SecretHash};

/// How long an answer from memory may take.
const LOOK: Duration = Duration::from_secs(3);
/// How long a login or a change may take: bcrypt on a busy machine, a slow disk.
const CHANGE: Duration = Duration::from_secs(30);

/// Logins and tokens, for those who ask.
#[derive(Clone, Debug)]
pub struct AccessHandle {
    slot: Slot<Msg>,
}

impl AccessHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Lets somebody in who has the password (and the code, where one is asked for).
    pub async fn login(&self, login: Login) -> Result<NewSession, LoginRefused> {
        self.slot.call(|reply| Msg::Login { login, reply }, CHANGE).await.map_err(Unavailable::from)?
    }

    /// Ends a session, its sockets too.
    pub async fn logout(&self, session: SecretHash) -> Result<bool, Unavailable> {
        self.slot.call(|reply| Msg::Logout { session, reply }, CHANGE).await?
    }

    /// The session of a cookie that proved to be ours.
    pub async fn session(&self, session: SecretHash) -> Result<Option<Arc<LoginSession>>, Unanswered> {
        self.slot.call(|reply| Msg::Session { session, reply }, LOOK).await
    }

    /// The sessions that live, the newest first; the one that asks is marked.
    pub async fn sessions(&self, asks: Option<SecretHash>) -> Result<Vec<SessionInfo>, Unanswered> {
        self.slot.call(|reply| Msg::Sessions { asks, reply }, LOOK).await
    }

    /// Ends sessions, their sockets too. Answers how many there were.
    pub async fn end_sessions(&self, which: Which, by: String) -> Result<usize, Unavailable> {
        self.slot.call(|reply| Msg::EndSessions { which, by, reply }, CHANGE).await?
    }

    /// Whom a bearer token lets in.
    pub async fn bearer(&self, token: &str) -> Result<Option<Who>, Unanswered> {
        let token = hash(token);
        self.slot.call(|reply| Msg::Bearer { token, reply }, LOOK).await
    }

    /// What a code that came with a request is worth. A wrong one counts as an attempt to log in.
    pub async fn prove_totp(&self, code: Option<String>, address: IpAddr) -> Result<TotpProof, LoginRefused> {
        let asked = self.slot.call(|reply| Msg::ProveTotp { code, address, reply }, CHANGE).await;
        asked.map_err(Unavailable::from)?
    }

    /// Makes a token.
    pub async fn create_token(&self, new: NewToken) -> Result<MadeToken, Unavailable> {
        self.slot.call(|reply| Msg::CreateToken { new, reply }, CHANGE).await?
    }

    /// Exchanges a one-time token for a host's own.
    pub async fn enrol(&self, token: SecretHash, host: HostId) -> Result<MadeToken, Unavailable> {
        self.slot.call(|reply| Msg::Enrol { token, host, reply }, CHANGE).await?
    }

    /// Ends a token, its sockets too. `false`: there is none with this id.
    pub async fn revoke(&self, id: String, by: String) -> Result<bool, Unavailable> {
        self.slot.call(|reply| Msg::Revoke { id, by, reply }, CHANGE).await?
    }

    /// The tokens that live, newest first.
    pub async fn list(&self) -> Result<Vec<TokenInfo>, Unanswered> {
        self.slot.call(|reply| Msg::List { reply }, LOOK).await
    }

    /// Says of a host, at any later time, whether it ever had a token of its own.
    pub async fn own_tokens(&self) -> Result<OwnTokens, Unanswered> {
        let own = self.slot.call(|reply| Msg::OwnTokens { reply }, LOOK).await?;
        Ok(OwnTokens(Arc::new(move |host| own.borrow().contains(host))))
    }

    /// A host was removed.
    pub fn host_removed(&self, host: HostId) -> bool {
        self.slot.cast(Msg::HostRemoved { host })
    }
}
