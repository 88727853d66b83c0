//! Tokens: looked at, made, exchanged, ended.

use nixfleet_protocol::api::Level;
use nixfleet_protocol::{HostId, Time};
use ractor::{ActorRef, RpcReplyPort};

use super::committer::Then;
use super::{MadeToken, Msg, NewToken, State, TokenInfo, Unavailable, Who, event, hash, proof, random};
use crate::actors::links::AgentIdentity;
use crate::actors::slot::answer;
use crate::actors::store::{Scope, SecretHash, Token, TokenKind, Write};
use crate::config::Secret;

impl State {
    pub(super) fn bearer(&mut self, myself: &ActorRef<Msg>, token: SecretHash, now: Time) -> Option<Who> {
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

    pub(super) fn enrol(
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

    pub(super) fn create(
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

    pub(super) fn revoke(
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
}
