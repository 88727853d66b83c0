//! Login sessions, tokens, login limits and TOTP steps: who may come in.
//!
//! ```text
//! web ── Login ──→ access ── bcrypt on a blocking thread ── Checked ──→ access ── commit ──→ store
//!    ── Session, Bearer (each request, from memory) ──→ access                │
//!    ◄─────────────────────────── answer, when it is on disk ─────────────────┘
//!                      access ── ended(…) ──→ sessions, links: sockets of what is over are closed with 4001
//! ```
//!
//! The store has hashes of secrets, never the secrets; so has this actor's memory, but for the moment of a login.
//! When it dies: started again from the store; logins that were being checked are lost and tried again by people;
//! the count of attempts begins anew.
//! Invariants: a session or token is good only when it is on disk; what is taken away is gone from memory at once;
//! a TOTP code is good once, also after a crash; a wrong password and a wrong code are answered alike.

mod committer;
mod proof;
mod records;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::access::{Attempt, LoginLimits, TotpSteps};
use nixfleet_model::checks::TotpProof;
use nixfleet_model::event::NewEvent;
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{HostId, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use tokio::sync::watch;

use self::committer::{Committer, Pending, Then};
use self::records::Records;
use super::links::{AgentIdentity, OwnTokens};
use super::sessions::Viewer;
use super::slot::{Slot, Unanswered, answer};
use super::store::{Batch, LoginSession, Scope, SecretHash, StoreError, StoreHandle, Token, TokenKind, Write};
use crate::config::{AccessConfig, Secret};

pub use self::proof::{NoRandom, hash, random, totp_code};
pub use self::records::{Ended, TokenInfo};

/// The setting that holds the last TOTP step.
const TOTP_STEP: &str = "totp_step";
/// How long an answer from memory may take.
const LOOK: Duration = Duration::from_secs(3);
/// How long a login or a change may take: bcrypt on a busy machine, a slow disk.
const CHANGE: Duration = Duration::from_secs(30);
/// The clock is looked at again at least this often, for it may jump.
const LONGEST_SLEEP: Duration = Duration::from_mins(10);

/// The store can't write, or this actor is being restarted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl From<Unanswered> for Unavailable {
    fn from(error: Unanswered) -> Self {
        Self(error.to_string())
    }
}

/// Why nobody was let in. It does not tell which part was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefused {
    /// The password, the code, or both.
    #[error("the password or the code is wrong")]
    Wrong,
    /// Too many attempts in the last minute.
    #[error("too many attempts: try again in {} s", retry_after.as_secs().max(1))]
    TooMany {
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What somebody typed at the login page.
pub struct Login {
    /// The password.
    pub password: Secret,
    /// The code, where one is asked for.
    pub totp: Option<String>,
    /// Where from.
    pub address: IpAddr,
}

/// A session that began.
pub struct NewSession {
    /// Its id, for the cookie; the only time that it is there.
    pub id: Secret,
    /// The session.
    pub session: LoginSession,
}

/// Whom a bearer token lets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// An agent.
    Agent(AgentIdentity),
    /// A client of the API.
    Api {
        /// The token's name.
        name: String,
        /// What it may do.
        scopes: Vec<Scope>,
        /// Names the token to those who close its sockets.
        token: SecretHash,
    },
    /// A machine that wants a token of its own.
    Enrol {
        /// The one-time token.
        token: SecretHash,
    },
}

/// A token to be made.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// What for.
    pub kind: TokenKind,
    /// Its name, for people.
    pub name: String,
    /// How long it lasts; none: for ever.
    pub lasts: Option<Duration>,
    /// Who makes it.
    pub by: String,
}

/// A token that was made.
pub struct MadeToken {
    /// As people see it.
    pub info: TokenInfo,
    /// The token itself: the only time that it is shown.
    pub token: Secret,
}

/// What the access actor answers to. Its `Debug` has names only: there are secrets in it.
pub enum Msg {
    /// Somebody wants in.
    Login { login: Login, reply: RpcReplyPort<Result<NewSession, LoginRefused>> },
    /// The password was checked.
    Checked { right: bool, attempt: Attempt, login: Login, reply: RpcReplyPort<Result<NewSession, LoginRefused>> },
    /// Somebody leaves. Answers whether there was such a session.
    Logout { session: SecretHash, reply: RpcReplyPort<Result<bool, Unavailable>> },
    /// Whose session this is.
    Session { session: SecretHash, reply: RpcReplyPort<Option<Arc<LoginSession>>> },
    /// Whom this token lets in.
    Bearer { token: SecretHash, reply: RpcReplyPort<Option<Who>> },
    /// A code that came with a request.
    ProveTotp { code: Option<String>, address: IpAddr, reply: RpcReplyPort<Result<TotpProof, LoginRefused>> },
    /// Make a token.
    CreateToken { new: NewToken, reply: RpcReplyPort<Result<MadeToken, Unavailable>> },
    /// A one-time token is exchanged for a host's own. Nothing: it is not good.
    Enrol { token: SecretHash, host: HostId, reply: RpcReplyPort<Result<MadeToken, Unavailable>> },
    /// End a token. Answers whether there was one.
    Revoke { id: String, by: String, reply: RpcReplyPort<Result<bool, Unavailable>> },
    /// The tokens that live.
    List { reply: RpcReplyPort<Vec<TokenInfo>> },
    /// The hosts that ever had a token of their own.
    OwnTokens { reply: RpcReplyPort<watch::Receiver<HashSet<HostId>>> },
    /// A host was removed; the store forgot its tokens with it.
    HostRemoved { host: HostId },
    /// The commit in flight ended.
    Committed(Result<(), StoreError>),
    /// Something may be over.
    Expire { generation: u64 },
    /// A snapshot of itself.
    Inspect { reply: RpcReplyPort<serde_json::Value> },
}

impl Msg {
    fn name(&self) -> &'static str {
        match self {
            Self::Login { .. } => "Login",
            Self::Checked { .. } => "Checked",
            Self::Logout { .. } => "Logout",
            Self::Session { .. } => "Session",
            Self::Bearer { .. } => "Bearer",
            Self::ProveTotp { .. } => "ProveTotp",
            Self::CreateToken { .. } => "CreateToken",
            Self::Enrol { .. } => "Enrol",
            Self::Revoke { .. } => "Revoke",
            Self::List { .. } => "List",
            Self::OwnTokens { .. } => "OwnTokens",
            Self::HostRemoved { .. } => "HostRemoved",
            Self::Committed(_) => "Committed",
            Self::Expire { .. } => "Expire",
            Self::Inspect { .. } => "Inspect",
        }
    }
}

impl std::fmt::Debug for Msg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How logins and tokens are checked.
#[derive(Clone)]
pub struct Settings {
    config: Arc<AccessConfig>,
    agent: Option<SecretHash>,
    admin: Option<SecretHash>,
}

impl Settings {
    /// From the configuration.
    pub fn new(config: AccessConfig) -> Self {
        let hashed = |token: &Option<Secret>| token.as_ref().map(|token| hash(token.expose()));
        Self { agent: hashed(&config.agent_token), admin: hashed(&config.admin_token), config: Arc::new(config) }
    }
}

/// Told of what is over, to close its sockets. Called from the actor: it must not block.
pub type OnEnded = Arc<dyn Fn(Ended) + Send + std::marker::Sync>;

/// What it needs.
pub struct Args {
    /// How logins and tokens are checked.
    pub settings: Settings,
    /// Where everything is kept.
    pub store: StoreHandle,
    /// Told of what is over.
    pub ended: OnEnded,
}

/// What it remembers.
pub struct State {
    settings: Settings,
    ended: OnEnded,
    records: Records,
    limits: LoginLimits,
    totp: TotpSteps,
    committer: Committer,
    /// Only the last timer counts.
    generation: u64,
    looked_at: Time,
}

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

/// The actor.
pub struct Access;

impl Actor for Access {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        let loaded = args.store.access().await?;
        let last = args.store.setting(TOTP_STEP).await?;
        let last = last.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
        let mut state = State {
            settings: args.settings,
            ended: args.ended,
            records: Records::new(loaded),
            limits: LoginLimits::default(),
            totp: TotpSteps::from_last(last),
            committer: Committer::new(args.store),
            generation: 0,
            looked_at: Time::from_millis(0),
        };
        state.expire(&myself);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(message = message.name());
        let now = Time::now();
        match message {
            Msg::Login { login, reply } => state.login(&myself, login, reply, now),
            Msg::Checked { right, attempt, login, reply } => {
                state.checked(&myself, right, attempt, &login, reply, now);
            }
            Msg::Logout { session, reply } => state.logout(&myself, session, reply, now),
            Msg::Session { session, reply } => {
                let found = state.records.session(&session, now).map(|(session, write)| {
                    state.committer.note(&myself, write);
                    session
                });
                answer(reply, found);
            }
            Msg::Bearer { token, reply } => answer(reply, state.bearer(&myself, token, now)),
            Msg::ProveTotp { code, address, reply } => state.prove_totp(&myself, code, address, reply, now),
            Msg::CreateToken { new, reply } => state.create(&myself, new, None, reply, now),
            Msg::Enrol { token, host, reply } => state.enrol(&myself, token, host, reply, now),
            Msg::Revoke { id, by, reply } => state.revoke(&myself, &id, by, reply, now),
            Msg::List { reply } => answer(reply, state.records.list(now)),
            Msg::OwnTokens { reply } => answer(reply, state.records.own_tokens()),
            Msg::HostRemoved { host } => {
                state.records.forget_host(&host);
                (state.ended)(Ended::Host(host));
            }
            Msg::Committed(result) => {
                for then in state.committer.committed(&myself, result) {
                    state.on_disk(&myself, then);
                }
            }
            Msg::Expire { generation } if generation == state.generation => state.expire(&myself),
            Msg::Expire { .. } => {}
            Msg::Inspect { reply } => {
                let (sessions, tokens) = state.records.counts();
                answer(
                    reply,
                    serde_json::json!({
                        "sessions": sessions,
                        "tokens": tokens,
                        "attempts": state.limits.counted(),
                        "waiting": state.committer.waiting(),
                    }),
                );
            }
        }
        Ok(())
    }
}

fn event(now: Time, level: Level, by: impl Into<String>, action: &str, message: String) -> NewEvent {
    NewEvent::new(now, Category::Audit, level, by, action, message)
}

impl State {
    fn login(
        &mut self,
        myself: &ActorRef<Msg>,
        login: Login,
        reply: RpcReplyPort<Result<NewSession, LoginRefused>>,
        now: Time,
    ) {
        let attempt = match self.limits.attempt(login.address, now) {
            Ok(attempt) => attempt,
            Err(many) => return answer(reply, Err(LoginRefused::TooMany { retry_after: many.retry_after })),
        };
        let (config, tell) = (Arc::clone(&self.settings.config), myself.clone());
        // bcrypt takes a fifth of a second by design. At most 20 of these threads: that is the account's limit.
        tokio::task::spawn_blocking(move || {
            let right = proof::is_password(&login.password, &config.password_hash);
            if tell.cast(Msg::Checked { right, attempt, login, reply }).is_err() {
                tracing::debug!("access is gone");
            }
        });
    }

    fn checked(
        &mut self,
        myself: &ActorRef<Msg>,
        right: bool,
        attempt: Attempt,
        login: &Login,
        reply: RpcReplyPort<Result<NewSession, LoginRefused>>,
        now: Time,
    ) {
        let mut steps = self.totp;
        // Looked at whatever the password was: the time tells nothing. Taken only when both are right.
        let step = self
            .settings
            .config
            .totp_secret
            .as_ref()
            .map(|key| proof::take_totp(&mut steps, key, login.totp.as_deref().unwrap_or_default(), now));
        if !right || step == Some(None) {
            let message = format!("A login from {} failed.", login.address);
            return self.failed(myself, "login_failed", message, Then::Refuse(reply), now);
        }
        let (id, csrf) = match (random(), random()) {
            (Ok(id), Ok(csrf)) => (id, csrf),
            (Err(error), _) | (_, Err(error)) => {
                return answer(reply, Err(LoginRefused::Unavailable(Unavailable(error.to_string()))));
            }
        };
        self.limits.succeeded(attempt);
        self.totp = steps;
        let session = LoginSession {
            user: "user".to_owned(),
            csrf,
            created_at: now,
            last_seen: now,
            expires_at: now.plus(self.settings.config.session_duration),
        };
        let hash = hash(&id);
        let mut writes = vec![Write::PutSession(hash, session.clone())];
        if let Some(Some(step)) = step {
            writes.push(put_step(step));
        }
        let event = event(now, Level::Info, "user", "login", format!("Logged in from {}.", login.address));
        let new = NewSession { id: Secret::new(id), session: session.clone() };
        let then = Then::Open { hash, session, new, reply };
        self.write(myself, writes, vec![event], then, false);
    }

    /// A wrong password or code: who tried is told when the event is on disk.
    fn failed(&mut self, myself: &ActorRef<Msg>, action: &str, message: String, then: Then, now: Time) {
        let event = event(now, Level::Warn, "user", action, message);
        self.write(myself, Vec::new(), vec![event], then, false);
    }

    fn logout(
        &mut self,
        myself: &ActorRef<Msg>,
        session: SecretHash,
        reply: RpcReplyPort<Result<bool, Unavailable>>,
        now: Time,
    ) {
        let Some(gone) = self.records.remove_session(&session) else { return answer(reply, Ok(false)) };
        (self.ended)(Ended::Viewer(Viewer::Session(session)));
        let event = event(now, Level::Info, gone.user.clone(), "logout", "Logged out.".to_owned());
        self.write(myself, vec![Write::RemoveSession(session)], vec![event], Then::Over(reply), true);
    }

    fn bearer(&mut self, myself: &ActorRef<Msg>, token: SecretHash, now: Time) -> Option<Who> {
        let is = |fixed: &Option<SecretHash>| fixed.as_ref().is_some_and(|fixed| proof::same(fixed, &token));
        if is(&self.settings.admin) {
            return Some(Who::Api { name: "admin".to_owned(), scopes: vec![Scope::Admin], token });
        }
        if is(&self.settings.agent) {
            return Some(Who::Agent(AgentIdentity::Shared));
        }
        let (found, write) = self.records.token(&token, now)?;
        let who = match &found.kind {
            TokenKind::Host(host) => Who::Agent(AgentIdentity::Host(host.clone())),
            TokenKind::Api(scopes) => Who::Api { name: found.name.clone(), scopes: scopes.clone(), token },
            TokenKind::Enrol => Who::Enrol { token },
        };
        self.committer.note(myself, write);
        Some(who)
    }

    fn prove_totp(
        &mut self,
        myself: &ActorRef<Msg>,
        code: Option<String>,
        address: IpAddr,
        reply: RpcReplyPort<Result<TotpProof, LoginRefused>>,
        now: Time,
    ) {
        let Some(key) = &self.settings.config.totp_secret else {
            return answer(reply, Ok(TotpProof::NotConfigured));
        };
        let Some(code) = code.filter(|code| !code.trim().is_empty()) else {
            return answer(reply, Ok(TotpProof::NotGiven));
        };
        let attempt = match self.limits.attempt(address, now) {
            Ok(attempt) => attempt,
            Err(many) => return answer(reply, Err(LoginRefused::TooMany { retry_after: many.retry_after })),
        };
        if let Some(step) = proof::take_totp(&mut self.totp, key, &code, now) {
            self.limits.succeeded(attempt);
            self.write(myself, vec![put_step(step)], Vec::new(), Then::Proved(reply), true);
        } else {
            let message = format!("A wrong code was given from {address}.");
            self.failed(myself, "totp_failed", message, Then::Disprove(reply), now);
        }
    }

    fn enrol(
        &mut self,
        myself: &ActorRef<Msg>,
        token: SecretHash,
        host: HostId,
        reply: RpcReplyPort<Result<MadeToken, Unavailable>>,
        now: Time,
    ) {
        let good = self.records.token(&token, now).is_some_and(|(token, _)| token.kind == TokenKind::Enrol);
        let ended = if good { self.records.end_token(&token, now) } else { None };
        let Some((used, write, _)) = ended else {
            return answer(reply, Err(Unavailable("the token is used up or not one for enrolment".to_owned())));
        };
        let new = NewToken {
            name: format!("enrolled by {}", used.name),
            kind: TokenKind::Host(host),
            lasts: None,
            by: "agent".to_owned(),
        };
        self.create(myself, new, Some(write), reply, now);
    }

    fn create(
        &mut self,
        myself: &ActorRef<Msg>,
        new: NewToken,
        also: Option<Write>,
        reply: RpcReplyPort<Result<MadeToken, Unavailable>>,
        now: Time,
    ) {
        let secret = match random() {
            Ok(secret) => secret,
            Err(error) => return answer(reply, Err(Unavailable(error.to_string()))),
        };
        let (prefix, what, host) = match &new.kind {
            TokenKind::Host(host) => ("nfh_", format!("A token for {host}"), Some(host.clone())),
            TokenKind::Api(scopes) => {
                let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str()).collect();
                ("nfa_", format!("An API token with scope {}", scopes.join(", ")), None)
            }
            TokenKind::Enrol => ("nfe_", "A token for enrolment".to_owned(), None),
        };
        let secret = Secret::new(format!("{prefix}{secret}"));
        let hash = hash(secret.expose());
        let token = Token {
            id: uuid::Uuid::now_v7().to_string(),
            name: new.name,
            kind: new.kind,
            created_at: now,
            last_used: None,
            expires_at: new.lasts.map(|lasts| now.plus(lasts)),
        };
        let mut event = event(now, Level::Info, new.by, "token_created", format!("{what} was made: {}.", token.name));
        event.host = host;
        let mut writes = vec![Write::PutToken(hash, token.clone())];
        let insist = also.is_some();
        writes.extend(also);
        self.write(myself, writes, vec![event], Then::Make { hash, token, secret, reply }, insist);
    }

    fn revoke(
        &mut self,
        myself: &ActorRef<Msg>,
        id: &str,
        by: String,
        reply: RpcReplyPort<Result<bool, Unavailable>>,
        now: Time,
    ) {
        let ended = self.records.by_id(id, now).and_then(|hash| self.records.end_token(&hash, now));
        let Some((token, write, ended)) = ended else { return answer(reply, Ok(false)) };
        if let Some(ended) = ended {
            (self.ended)(ended);
        }
        let info = TokenInfo::of(&token);
        let mut event = event(now, Level::Info, by, "token_removed", format!("The token {} was removed.", token.name));
        event.host = info.host;
        self.write(myself, vec![write], vec![event], Then::Over(reply), true);
    }

    /// It is on disk: it counts from now on.
    fn on_disk(&mut self, myself: &ActorRef<Msg>, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Open { hash, session, new, reply } => {
                self.records.add_session(hash, session);
                self.arm(myself);
                answer(reply, Ok(new));
            }
            Then::Make { hash, token, secret, reply } => {
                let info = TokenInfo::of(&token);
                self.records.add_token(hash, token);
                self.arm(myself);
                answer(reply, Ok(MadeToken { info, token: secret }));
            }
            Then::Proved(reply) => answer(reply, Ok(TotpProof::Valid)),
            Then::Disprove(reply) => answer(reply, Ok(TotpProof::Invalid)),
            Then::Refuse(reply) => answer(reply, Err(LoginRefused::Wrong)),
            Then::Over(reply) => answer(reply, Ok(true)),
        }
    }

    fn expire(&mut self, myself: &ActorRef<Msg>) {
        let now = Time::now();
        let (writes, ended) = self.records.expire(self.looked_at, now);
        self.looked_at = now;
        for ended in ended {
            (self.ended)(ended);
        }
        if !writes.is_empty() {
            self.write(myself, writes, Vec::new(), Then::Nothing, true);
        }
        self.arm(myself);
    }

    /// The next look at what is over.
    fn arm(&mut self, myself: &ActorRef<Msg>) {
        let now = Time::now();
        let Some(end) = self.records.next_end(now) else { return };
        self.generation += 1;
        let generation = self.generation;
        let after = end.since(now).min(LONGEST_SLEEP);
        // The handle of the timer is not needed: a stale one is told by its generation.
        drop(myself.send_after(after, move || Msg::Expire { generation }));
    }

    fn write(&mut self, myself: &ActorRef<Msg>, writes: Vec<Write>, events: Vec<NewEvent>, then: Then, insist: bool) {
        let batch = Batch { writes, events, changes: Vec::new() };
        self.committer.add(myself, Pending { batch, then, insist });
    }
}

fn put_step(step: u64) -> Write {
    Write::PutSetting(TOTP_STEP, step.to_be_bytes().to_vec())
}
