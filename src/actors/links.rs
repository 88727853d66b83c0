//! Accepts agents. Owns the sockets' tasks (`links/link.rs`) and the one table that says which link speaks for
//! which host; two machines with one hostname are told apart here (`model::takeover`), and no flapping follows.
//!
//! ```text
//! web ── Accept(socket, who) ──→ links ── start ──→ link tasks
//!                                  ▲  └─ LinkUp ──→ hosts ──→ host ◄── FromAgent, LinkDown ── link tasks
//!                                  └──── Registered, Ended ──────────────────────────────────┘
//! ```
//!
//! When it dies: its table is lost, every link of it is closed with 1012 and the agents come back within two
//! seconds.

pub mod link;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::time::Duration;

use nixfleet_model::event::NewEvent;
pub use nixfleet_model::takeover::AgentIdentity;
use nixfleet_model::takeover::{self, Claim, Decision, Denied, Verdict, Wrong};
use nixfleet_protocol::agent::Register;
use nixfleet_protocol::api::{Category, Level};
use nixfleet_protocol::{HostId, Time};
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};

use self::link::{LinkNews, LinkRef, Socket, close};
use super::slot::{Slot, Unanswered, answer};
use super::store::{Batch, StoreHandle};
use super::{host, hosts};

/// What the links actor answers to.
#[derive(Debug)]
pub enum Msg {
    /// An agent's socket, after the handshake and the check of its token.
    Accept {
        /// The socket.
        socket: Box<Socket>,
        /// As whom the token lets it in.
        who: AgentIdentity,
        /// Hosts that have a token of their own and so may not come with the shared one.
        own_tokens: OwnTokens,
    },
    /// A link's tasks tell something.
    News(LinkNews),
    /// The old link of a doubted name was pinged.
    OldAnswered {
        /// The name.
        host: HostId,
        /// The link that was pinged.
        old: u64,
        /// Whether it is alive.
        alive: bool,
    },
    /// End the link of a host: its actor died, its token was removed, or the host was.
    CloseHost {
        /// Which.
        host: HostId,
        /// Close code.
        code: u16,
        /// For people.
        reason: String,
    },
    /// The daemon stops: all links are closed with 1012.
    Drain {
        /// Told when the close frames are on their way.
        reply: RpcReplyPort<()>,
    },
    /// A snapshot of itself.
    Inspect {
        /// Where to.
        reply: RpcReplyPort<serde_json::Value>,
    },
}

/// Says whether a host ever had a token of its own.
#[derive(Clone)]
pub struct OwnTokens(pub std::sync::Arc<dyn Fn(&HostId) -> bool + Send + Sync>);

impl std::fmt::Debug for OwnTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnTokens")
    }
}

/// What it needs.
pub struct Args {
    /// Where links are announced.
    pub hosts: Slot<hosts::Msg>,
    /// For events.
    pub store: StoreHandle,
}

/// A link that speaks for a host, or wants to.
struct Entry {
    link: LinkRef,
    claim: Claim,
}

/// An agent that waits for its turn.
struct Waiting {
    entry: Entry,
    register: Box<Register>,
    attach: RpcReplyPort<ActorRef<host::Msg>>,
}

/// What it remembers.
pub struct State {
    hosts: Slot<hosts::Msg>,
    store: StoreHandle,
    next: u64,
    /// Links that have not said who they are yet, with what their token allows.
    strangers: HashMap<u64, (LinkRef, AgentIdentity, OwnTokens)>,
    /// The link that speaks for each host.
    speaking: HashMap<HostId, Entry>,
    /// Agents whose name is in doubt, one for each name: the old link is being pinged.
    doubted: HashMap<HostId, Waiting>,
}

/// The links, for those who use them.
#[derive(Clone, Debug)]
pub struct LinksHandle {
    slot: Slot<Msg>,
}

impl LinksHandle {
    /// Over the place where the actor sits.
    pub fn new(slot: Slot<Msg>) -> Self {
        Self { slot }
    }

    /// Hands over an agent's socket. `false`: nobody is there to take it; drop it, the agent comes again.
    pub fn accept(&self, socket: Socket, who: AgentIdentity, own_tokens: OwnTokens) -> bool {
        self.slot.cast(Msg::Accept { socket: Box::new(socket), who, own_tokens })
    }

    /// Ends the link of a host.
    pub fn close_host(&self, host: HostId, code: u16, reason: &str) -> bool {
        self.slot.cast(Msg::CloseHost { host, code, reason: reason.to_owned() })
    }

    /// Closes all links because the daemon stops.
    pub async fn drain(&self) -> Result<(), Unanswered> {
        self.slot.call(|reply| Msg::Drain { reply }, Duration::from_secs(2)).await
    }
}

/// The actor.
pub struct Links;

impl Actor for Links {
    type Msg = Msg;
    type State = State;
    type Arguments = Args;

    async fn pre_start(&self, _myself: ActorRef<Msg>, args: Args) -> Result<State, ActorProcessingErr> {
        Ok(State {
            hosts: args.hosts,
            store: args.store,
            // Numbers go on over a restart of this actor: the clock is far ahead of any counter.
            next: u64::try_from(Time::now().millis()).unwrap_or_default() << 16,
            strangers: HashMap::new(),
            speaking: HashMap::new(),
            doubted: HashMap::new(),
        })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        tracing::trace!(?message);
        match message {
            Msg::Accept { socket, who, own_tokens } => state.accept(&myself, *socket, who, own_tokens),
            Msg::News(LinkNews::Registered { link, register, attach }) => {
                state.registered(&myself, link, register, attach);
            }
            Msg::News(LinkNews::Ended { link }) => state.ended(link),
            Msg::OldAnswered { host, old, alive } => state.old_answered(&myself, host, old, alive),
            Msg::CloseHost { host, code, reason } => {
                if let Some(entry) = state.speaking.remove(&host) {
                    entry.link.close(code, &reason);
                }
                // Nor does anyone get in who waits at the door with what he was let through by then.
                if let Some(waiting) = state.doubted.remove(&host) {
                    waiting.entry.link.close(code, &reason);
                }
                for (_, (link, _, _)) in
                    state.strangers.extract_if(|_, (_, who, _)| *who == AgentIdentity::Host(host.clone()))
                {
                    link.close(code, &reason);
                }
            }
            Msg::Drain { reply } => {
                state.send_away();
                answer(reply, ());
            }
            Msg::Inspect { reply } => answer(
                reply,
                serde_json::json!({
                    "links": state.speaking.len(),
                    "strangers": state.strangers.len(),
                    "doubted": state.doubted.keys().collect::<Vec<_>>(),
                }),
            ),
        }
        Ok(())
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.send_away();
    }
}

impl State {
    fn send_away(&self) {
        let speaking = self.speaking.values().map(|entry| &entry.link);
        let doubted = self.doubted.values().map(|waiting| &waiting.entry.link);
        let strangers = self.strangers.values().map(|(link, _, _)| link);
        for link in speaking.chain(doubted).chain(strangers) {
            link.close(close::RESTART, "the dashboard restarts");
        }
    }

    fn accept(&mut self, myself: &ActorRef<Msg>, socket: Socket, who: AgentIdentity, own_tokens: OwnTokens) {
        self.next += 1;
        let tell = myself.clone();
        let link = link::start(self.next, socket, move |news| {
            if tell.cast(Msg::News(news)).is_err() {
                tracing::debug!("links actor is gone");
            }
        });
        self.strangers.insert(link.id(), (link, who, own_tokens));
    }

    fn registered(
        &mut self,
        myself: &ActorRef<Msg>,
        link: LinkRef,
        register: Box<Register>,
        attach: RpcReplyPort<ActorRef<host::Msg>>,
    ) {
        let Some((_, who, own_tokens)) = self.strangers.remove(&link.id()) else { return };
        let host = match takeover::allowed(&register.hostname, &who, &*own_tokens.0) {
            Ok(host) => host,
            Err(Denied { wrong, host, reason }) => {
                let code = match wrong {
                    Wrong::Name => close::BAD_NAME,
                    Wrong::Token => close::NOT_ALLOWED,
                };
                link.close(code, &reason);
                self.event(Level::Warn, host, "agent_refused", format!("An agent was refused: {reason}."));
                return;
            }
        };
        let waiting = Waiting { entry: Entry { link, claim: Claim::of(&register) }, register, attach };
        self.decide(myself, host, waiting);
    }

    /// Between the link that speaks for a host now and one that wants to.
    fn decide(&mut self, myself: &ActorRef<Msg>, host: HostId, waiting: Waiting) {
        let old = self.speaking.get(&host);
        match takeover::decide(old.map(|entry| &entry.claim), &waiting.entry.claim) {
            Decision::Accept => self.let_in(host, waiting),
            Decision::Replace => self.replace(host, waiting),
            Decision::PingFirst => {
                let Some(old) = old.map(|entry| entry.link.clone()) else { return self.let_in(host, waiting) };
                if self.doubted.contains_key(&host) {
                    return self.name_taken(&host, &waiting);
                }
                self.doubted.insert(host.clone(), waiting);
                let tell = myself.clone();
                tokio::spawn(async move {
                    let alive = old.answers(takeover::PING_WITHIN).await;
                    if tell.cast(Msg::OldAnswered { host, old: old.id(), alive }).is_err() {
                        tracing::debug!("links actor is gone");
                    }
                });
            }
        }
    }

    fn old_answered(&mut self, myself: &ActorRef<Msg>, host: HostId, old: u64, alive: bool) {
        let Some(waiting) = self.doubted.remove(&host) else { return };
        if self.speaking.get(&host).is_none_or(|entry| entry.link.id() != old) {
            // The link that was pinged is gone, and another may speak for the host by now: it was not asked.
            return self.decide(myself, host, waiting);
        }
        match takeover::after_ping(alive) {
            Verdict::Refuse => self.name_taken(&host, &waiting),
            Verdict::Replace => self.replace(host, waiting),
        }
    }

    fn name_taken(&self, host: &HostId, waiting: &Waiting) {
        waiting.entry.link.close(close::NAME_TAKEN, "another machine with this hostname is connected");
        self.event(
            Level::Warn,
            Some(host.clone()),
            "name_clash",
            format!("A second machine called {host} was refused: give one of the two another hostname."),
        );
    }

    fn replace(&mut self, host: HostId, waiting: Waiting) {
        if let Some(old) = self.speaking.remove(&host) {
            old.link.close(close::REPLACED, "a newer link took this one's place");
        }
        self.let_in(host, waiting);
    }

    fn let_in(&mut self, host: HostId, waiting: Waiting) {
        let Waiting { entry, register, attach } = waiting;
        let up = hosts::Msg::LinkUp { host: host.clone(), link: entry.link.clone(), register, attach };
        if self.hosts.cast(up) {
            self.speaking.insert(host, entry);
        } else {
            entry.link.close(close::RESTART, "the dashboard is starting, come back");
        }
    }

    fn ended(&mut self, link: u64) {
        self.strangers.remove(&link);
        self.speaking.retain(|_, entry| entry.link.id() != link);
        self.doubted.retain(|_, waiting| waiting.entry.link.id() != link);
    }

    fn event(&self, level: Level, host: Option<HostId>, action: &str, message: String) {
        let mut event = NewEvent::new(Time::now(), Category::Audit, level, "agent", action, message);
        event.host = host;
        let store = self.store.clone();
        tokio::spawn(async move {
            let batch = Batch { events: vec![event], ..Batch::default() };
            if let Err(error) = store.commit_once(batch).await {
                tracing::warn!(%error, "event not written");
            }
        });
    }
}
