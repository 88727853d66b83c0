//! Login sessions and tokens in memory, by the hashes of their secrets: what every request is checked against.
//! No I/O: what has to be written is the answer.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use nixfleet_model::access::{is_another_minute, is_over};
use nixfleet_protocol::{HostId, Time};
use serde::Serialize;
use tokio::sync::watch;

use super::Which;
use crate::actors::sessions::Viewer;
use crate::actors::store::{AccessRecords, LoginSession, Scope, SecretHash, Token, TokenKind, Write};

/// What ended: its sockets are to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A login session, or an API token.
    Viewer(Viewer),
    /// The token that a host came with.
    Host(HostId),
}

/// A token as people see it; the secret is nowhere in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenInfo {
    /// Names it.
    pub id: String,
    /// `host`, `api` or `enrol`.
    pub kind: &'static str,
    /// Its name.
    pub name: String,
    /// The host that it is bound to.
    pub host: Option<HostId>,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Time,
    /// When it was last used, to the minute.
    pub last_used: Option<Time>,
    /// When it ends.
    pub expires_at: Option<Time>,
}

impl TokenInfo {
    /// Of a token.
    pub(super) fn of(token: &Token) -> Self {
        let (kind, host, scopes) = match &token.kind {
            TokenKind::Host(host) => ("host", Some(host.clone()), Vec::new()),
            TokenKind::Api(scopes) => ("api", None, scopes.clone()),
            TokenKind::Enrol => ("enrol", None, Vec::new()),
        };
        Self {
            id: token.id.clone(),
            kind,
            name: token.name.clone(),
            host,
            scopes,
            created_at: token.created_at,
            last_used: token.last_used,
            expires_at: token.expires_at,
        }
    }
}

/// A session as people see it; the secret is nowhere in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SessionInfo {
    /// Names it.
    pub id: String,
    /// Whose.
    pub user: String,
    /// When it began.
    pub created_at: Time,
    /// When it was last used, to the minute.
    pub last_seen: Time,
    /// When it ends.
    pub expires_at: Time,
    /// The address that it began from.
    pub address: String,
    /// The browser, as it called itself.
    pub browser: String,
    /// It is the one that asks.
    pub current: bool,
}

impl SessionInfo {
    fn of(session: &LoginSession, current: bool) -> Self {
        let LoginSession { id, user, csrf: _, created_at, last_seen, expires_at, address, browser } = session.clone();
        Self { id, user, created_at, last_seen, expires_at, address, browser, current }
    }
}

/// All of them.
pub(super) struct Records {
    sessions: HashMap<SecretHash, Arc<LoginSession>>,
    tokens: HashMap<SecretHash, Token>,
    /// The token that each host's agent came with last.
    came_with: HashMap<HostId, SecretHash>,
    /// Hosts that ever had a token of their own. Their last token is never forgotten, only ended.
    own: watch::Sender<HashSet<HostId>>,
}

impl Records {
    pub(super) fn new(loaded: AccessRecords) -> Self {
        let tokens: HashMap<_, _> = loaded.tokens.into_iter().collect();
        let own = tokens.values().filter_map(bound_to).cloned().collect();
        Self {
            sessions: loaded.sessions.into_iter().map(|(hash, session)| (hash, Arc::new(session))).collect(),
            tokens,
            came_with: HashMap::new(),
            own: watch::Sender::new(own),
        }
    }

    /// Hosts that ever had a token of their own, as they are at any time.
    pub(super) fn own_tokens(&self) -> watch::Receiver<HashSet<HostId>> {
        self.own.subscribe()
    }

    /// A session that is not over, and what to write of its use.
    pub(super) fn session(&mut self, hash: &SecretHash, now: Time) -> Option<(Arc<LoginSession>, Option<Write>)> {
        let session = self.sessions.get_mut(hash).filter(|session| !is_over(Some(session.expires_at), now))?;
        let mut write = None;
        if is_another_minute(Some(session.last_seen), now) {
            Arc::make_mut(session).last_seen = now;
            write = Some(Write::PutSession(*hash, (**session).clone()));
        }
        Some((Arc::clone(session), write))
    }

    /// A token that is not over, and what to write of its use.
    pub(super) fn token(&mut self, hash: &SecretHash, now: Time) -> Option<(&Token, Option<Write>)> {
        let token = self.tokens.get_mut(hash).filter(|token| !is_over(token.expires_at, now))?;
        let mut write = None;
        if is_another_minute(token.last_used, now) {
            token.last_used = Some(now);
            write = Some(Write::PutToken(*hash, token.clone()));
        }
        if let TokenKind::Host(host) = &token.kind {
            self.came_with.insert(host.clone(), *hash);
        }
        Some((token, write))
    }

    pub(super) fn add_session(&mut self, hash: SecretHash, session: LoginSession) {
        self.sessions.insert(hash, Arc::new(session));
    }

    pub(super) fn remove_session(&mut self, hash: &SecretHash) -> Option<Arc<LoginSession>> {
        self.sessions.remove(hash)
    }

    /// Sessions that live, newest first.
    pub(super) fn sessions(&self, asks: Option<&SecretHash>, now: Time) -> Vec<SessionInfo> {
        let live = self.sessions.iter().filter(|(_, session)| !is_over(Some(session.expires_at), now));
        let mut all: Vec<_> = live.map(|(hash, session)| SessionInfo::of(session, asks == Some(hash))).collect();
        all.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        all
    }

    /// Ends sessions; gives those that there were.
    pub(super) fn end_sessions(&mut self, which: &Which) -> Vec<(SecretHash, Arc<LoginSession>)> {
        let goes = |hash: &SecretHash, session: &LoginSession| match which {
            Which::One(id) => session.id == *id,
            Which::AllBut(stays) => stays.as_ref() != Some(hash),
        };
        self.sessions.extract_if(|hash, session| goes(hash, session)).collect()
    }

    pub(super) fn add_token(&mut self, hash: SecretHash, token: Token) {
        if let Some(host) = bound_to(&token) {
            self.own.send_if_modified(|own| own.insert(host.clone()));
        }
        self.tokens.insert(hash, token);
    }

    /// The token with this id, while it lives.
    pub(super) fn by_id(&self, id: &str, now: Time) -> Option<SecretHash> {
        let mut found = self.tokens.iter().filter(|(_, token)| token.id == id && !is_over(token.expires_at, now));
        found.next().map(|(hash, _)| *hash)
    }

    /// Ends a token: what to write, and whose sockets end with it.
    pub(super) fn end_token(&mut self, hash: &SecretHash, now: Time) -> Option<(Token, Write, Option<Ended>)> {
        let token = self.tokens.get(hash)?.clone();
        let ended = match &token.kind {
            TokenKind::Api(_) => Some(Ended::Viewer(Viewer::Token(*hash))),
            TokenKind::Enrol => None,
            // An agent that came with another token since stays.
            TokenKind::Host(host) => {
                let current = self.came_with.get(host).is_none_or(|came| came == hash);
                current.then(|| Ended::Host(host.clone()))
            }
        };
        let last_of_its_host = self.is_last_of_its_host(hash, &token);
        let write = if last_of_its_host {
            // Kept as over: the host can never come back with the shared token.
            let over = Token { expires_at: Some(token.expires_at.map_or(now, |end| end.min(now))), ..token.clone() };
            self.tokens.insert(*hash, over.clone());
            Write::PutToken(*hash, over)
        } else {
            self.tokens.remove(hash);
            Write::RemoveToken(*hash)
        };
        Some((token, write, ended))
    }

    fn is_last_of_its_host(&self, hash: &SecretHash, token: &Token) -> bool {
        let host = bound_to(token);
        host.is_some() && self.tokens.iter().all(|(other, token)| other == hash || bound_to(token) != host)
    }

    /// The host is gone, and its tokens with it (the store removes them together).
    pub(super) fn forget_host(&mut self, host: &HostId) {
        self.tokens.retain(|_, token| bound_to(token) != Some(host));
        self.came_with.remove(host);
        self.own.send_if_modified(|own| own.remove(host));
    }

    /// Tokens that live, newest first.
    pub(super) fn list(&self, now: Time) -> Vec<TokenInfo> {
        let mut tokens: Vec<_> =
            self.tokens.values().filter(|token| !is_over(token.expires_at, now)).map(TokenInfo::of).collect();
        tokens.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        tokens
    }

    /// Ends what is over: what to write, and whose sockets end with it. Tokens that were ended before stay as they are.
    pub(super) fn expire(&mut self, before: Time, now: Time) -> (Vec<Write>, Vec<Ended>) {
        let mut writes = Vec::new();
        let mut ended = Vec::new();
        let over: Vec<SecretHash> = self
            .sessions
            .iter()
            .filter(|(_, session)| is_over(Some(session.expires_at), now))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            self.sessions.remove(&hash);
            writes.push(Write::RemoveSession(hash));
            ended.push(Ended::Viewer(Viewer::Session(hash)));
        }
        let over: Vec<SecretHash> = self
            .tokens
            .iter()
            .filter(|(_, token)| is_over(token.expires_at, now) && !is_over(token.expires_at, before))
            .map(|(hash, _)| *hash)
            .collect();
        for hash in over {
            let stays = self.tokens.get(&hash).is_some_and(|token| self.is_last_of_its_host(&hash, token));
            if let Some((_, write, end)) = self.end_token(&hash, now) {
                // The last token of a host stays as it is: over.
                if !stays {
                    writes.push(write);
                }
                ended.extend(end);
            }
        }
        (writes, ended)
    }

    /// When something ends next.
    pub(super) fn next_end(&self, now: Time) -> Option<Time> {
        let sessions = self.sessions.values().map(|session| session.expires_at);
        let tokens = self.tokens.values().filter_map(|token| token.expires_at).filter(|end| *end > now);
        sessions.chain(tokens).min()
    }

    pub(super) fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.tokens.len())
    }
}

fn bound_to(token: &Token) -> Option<&HostId> {
    match &token.kind {
        TokenKind::Host(host) => Some(host),
        TokenKind::Api(_) | TokenKind::Enrol => None,
    }
}
