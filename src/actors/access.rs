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
mod handle;
mod logins;
mod proof;
mod records;
mod request;
#[cfg(test)]
mod tests;
mod tokens;

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
use super::links::AgentIdentity;
use super::slot::{Unanswered, answer};
use super::store::{Batch, LoginSession, Scope, SecretHash, StoreError, StoreHandle, TokenKind, Write};
use crate::config::{AccessConfig, Secret};

pub use self::handle::AccessHandle;
pub use self::proof::{NoRandom, hash, random, totp_code, totp_secret};
pub use self::records::{Ended, SessionInfo, TokenInfo};
pub use self::request::{Kind, TokenRequest};

/// The setting that holds the last TOTP step.
const TOTP_STEP: &str = "totp_step";
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
    /// What the browser calls itself.
    pub browser: String,
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

/// Which sessions are to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this public id.
    One(String),
    /// All but this one, where one is named.
    AllBut(Option<SecretHash>),
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
    /// The sessions that live; the one that asks is marked.
    Sessions { asks: Option<SecretHash>, reply: RpcReplyPort<Vec<SessionInfo>> },
    /// End sessions for somebody. Answers how many there were.
    EndSessions { which: Which, by: String, reply: RpcReplyPort<Result<usize, Unavailable>> },
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
            Self::Sessions { .. } => "Sessions",
            Self::EndSessions { .. } => "EndSessions",
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

    /// For tools that only make and end tokens: nobody can log in.
    pub fn tokens_only() -> Self {
        Self::new(AccessConfig {
            password_hash: Secret::new(""),
            totp_secret: None,
            session_secrets: Vec::new(),
            session_duration: Duration::from_hours(1),
            agent_token: None,
            admin_token: None,
        })
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
    /// When what is over was last looked for; the beginning of time: never yet.
    looked_at: Time,
}

/// The actor.
pub struct Access;

impl Actor for Access {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        args.store.settled().await?;
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
            looked_at: Time::default(),
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
            Msg::Sessions { asks, reply } => answer(reply, state.records.sessions(asks.as_ref(), now)),
            Msg::EndSessions { which, by, reply } => state.end_sessions(&myself, &which, by, reply, now),
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
            Then::Ended(count, reply) => answer(reply, Ok(count)),
        }
    }

    fn expire(&mut self, myself: &ActorRef<Msg>) {
        let now = Time::now();
        let started = self.looked_at != Time::default();
        let (writes, ended) = self.records.expire(self.looked_at, now);
        self.looked_at = now;
        for ended in ended {
            // At the start nobody came with anything yet: a host's old token says nothing of its link.
            if started || matches!(ended, Ended::Viewer(_)) {
                (self.ended)(ended);
            }
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
