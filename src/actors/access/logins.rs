//! Logging in and out, and codes: what the actor does with them.

use std::net::IpAddr;
use std::sync::Arc;

use nixfleet_model::access::Attempt;
use nixfleet_model::checks::TotpProof;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::Level;
use ractor::{ActorRef, RpcReplyPort};

use super::Which;
use super::committer::Then;
use super::records::Ended;
use super::{Login, LoginRefused, Msg, NewSession, State, TOTP_STEP, Unavailable, event, hash, proof, random};
use crate::actors::sessions::Viewer;
use crate::actors::slot::answer;
use crate::actors::store::{LoginSession, SecretHash, Write};
use crate::config::Secret;

/// So much of what a browser calls itself is kept, in characters.
const BROWSER: usize = 300;

impl State {
    pub(super) fn login(
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

    pub(super) fn checked(
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
            id: uuid::Uuid::now_v7().to_string(),
            user: "user".to_owned(),
            csrf,
            created_at: now,
            last_seen: now,
            expires_at: now.plus(self.settings.config.session_duration),
            address: login.address.to_string(),
            browser: login.browser.chars().filter(|c| !c.is_control()).take(BROWSER).collect(),
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
    pub(super) fn failed(&mut self, myself: &ActorRef<Msg>, action: &str, message: String, then: Then, now: Time) {
        let event = event(now, Level::Warn, "user", action, message);
        self.write(myself, Vec::new(), vec![event], then, false);
    }

    pub(super) fn logout(
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

    pub(super) fn end_sessions(
        &mut self,
        myself: &ActorRef<Msg>,
        which: &Which,
        by: String,
        reply: RpcReplyPort<Result<usize, Unavailable>>,
        now: Time,
    ) {
        let gone = self.records.end_sessions(which);
        let Some((_, first)) = gone.first() else { return answer(reply, Ok(0)) };
        let message = match (gone.len(), which) {
            (_, Which::One(_)) => format!("The session from {} was ended.", first.address),
            (1, Which::AllBut(_)) => format!("The other session, from {}, was ended.", first.address),
            (count, Which::AllBut(_)) => format!("{count} other sessions were ended."),
        };
        let event = event(now, Level::Info, by, "session_ended", message);
        let count = gone.len();
        let writes = gone.into_iter().map(|(hash, _)| {
            (self.ended)(Ended::Viewer(Viewer::Session(hash)));
            Write::RemoveSession(hash)
        });
        let writes = writes.collect();
        self.write(myself, writes, vec![event], Then::Ended(count, reply), true);
    }

    pub(super) fn prove_totp(
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
}

fn put_step(step: u64) -> Write {
    Write::PutSetting(TOTP_STEP, step.to_be_bytes().to_vec())
}
