//! The actor over a real store: what a restart must not forget, and what a full disk must not let in.

use std::sync::{Arc, Mutex};

use super::*;
use crate::actors::sessions::Viewer;
use crate::actors::slot::Slot;
use crate::actors::store;

const TOTP_KEY: &[u8] = b"12345678901234567890";

fn settings() -> Settings {
    Settings::new(AccessConfig {
        password_hash: Secret::new(bcrypt::hash("password", 4).unwrap()),
        totp_secret: Some(TOTP_KEY.to_vec()),
        session_secrets: Vec::new(),
        session_duration: Duration::from_hours(1),
        agent_token: None,
        admin_token: None,
    })
}

struct Running {
    access: AccessHandle,
    actor: ActorRef<Msg>,
    store: StoreHandle,
    slot: Slot<Msg>,
    store_slot: Slot<store::Msg>,
    ended: Arc<Mutex<Vec<Ended>>>,
}

async fn start(dir: &std::path::Path) -> Running {
    let store_slot = Slot::new("store");
    let args = store::Args { dir: dir.to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, _) = Actor::spawn(None, store::Store, args).await.unwrap();
    store_slot.seat(actor);
    let store = StoreHandle::new(store_slot.clone());
    let slot = Slot::new("access");
    let ended = Arc::new(Mutex::new(Vec::new()));
    let actor = spawn(&store, &slot, &ended).await;
    Running { access: AccessHandle::new(slot.clone()), actor, store, slot, store_slot, ended }
}

async fn spawn(store: &StoreHandle, slot: &Slot<Msg>, ended: &Arc<Mutex<Vec<Ended>>>) -> ActorRef<Msg> {
    let told = Arc::clone(ended);
    let ended: OnEnded = Arc::new(move |over| told.lock().unwrap().push(over));
    let (actor, _) =
        Actor::spawn(None, Access, Args { settings: settings(), store: store.clone(), ended }).await.unwrap();
    slot.seat(actor.clone());
    actor
}

impl Running {
    /// The actor dies and is started again from the store.
    async fn restart(&mut self) {
        self.actor.stop_and_wait(None, None).await.unwrap();
        self.actor = spawn(&self.store, &self.slot, &self.ended).await;
    }

    async fn login(&self, code: &str) -> Result<NewSession, LoginRefused> {
        let address = "192.0.2.1".parse().unwrap();
        self.access
            .login(Login {
                password: Secret::new("password"),
                totp: Some(code.to_owned()),
                address,
                browser: "Firefox".to_owned(),
            })
            .await
    }

    async fn make(&self, kind: TokenKind, lasts: Option<Duration>) -> MadeToken {
        let new = NewToken { kind, name: "test".to_owned(), lasts, by: "user".to_owned() };
        self.access.create_token(new).await.ok().unwrap()
    }
}

fn code() -> String {
    totp_code(TOTP_KEY, nixfleet_model::access::totp_step(Time::now()))
}

#[tokio::test]
async fn a_restart_forgets_neither_sessions_nor_used_codes() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(dir.path()).await;
    let code = code();
    let new = running.login(&code).await.ok().unwrap();
    let id = hash(new.id.expose());
    running.restart().await;
    let session = running.access.session(id).await.unwrap().unwrap();
    assert_eq!(session.csrf, new.session.csrf);
    assert_eq!(running.login(&code).await.err(), Some(LoginRefused::Wrong));
    assert!(running.access.logout(id).await.unwrap());
    running.restart().await;
    assert!(running.access.session(id).await.unwrap().is_none());
}

#[tokio::test]
async fn a_host_that_ever_had_a_token_of_its_own_is_known_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(dir.path()).await;
    let host: HostId = "hsb0".parse().unwrap();
    let own = running.access.own_tokens().await.unwrap();
    assert!(!own.0(&host));
    let first = running.make(TokenKind::Host(host.clone()), None).await;
    let second = running.make(TokenKind::Host(host.clone()), None).await;
    assert!(own.0(&host), "what was asked for before knows it too");
    for made in [&first, &second] {
        let who = running.access.bearer(made.token.expose()).await.unwrap();
        assert_eq!(who, Some(Who::Agent(AgentIdentity::Host(host.clone()))), "two are valid for a while");
    }
    // The agent came with the second one last: ending the first one does not cut it off.
    assert!(running.access.revoke(first.info.id.clone(), "user".to_owned()).await.unwrap());
    assert!(running.ended.lock().unwrap().is_empty());
    assert!(running.access.revoke(second.info.id.clone(), "user".to_owned()).await.unwrap());
    assert_eq!(*running.ended.lock().unwrap(), [Ended::Host(host.clone())]);
    assert!(!running.access.revoke(second.info.id, "user".to_owned()).await.unwrap());
    assert!(running.access.list().await.unwrap().is_empty());
    running.restart().await;
    assert_eq!(running.ended.lock().unwrap().len(), 1, "a restart cuts nobody off for a token that was over before");
    assert_eq!(running.access.bearer(second.token.expose()).await.unwrap(), None);
    assert!(running.access.own_tokens().await.unwrap().0(&host));
}

#[tokio::test]
async fn a_token_for_enrolment_is_good_once() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let once = running.make(TokenKind::Enrol, Some(Duration::from_mins(1))).await;
    let Some(Who::Enrol { token }) = running.access.bearer(once.token.expose()).await.unwrap() else {
        panic!("not good")
    };
    let host: HostId = "hsb0".parse().unwrap();
    let made = running.access.enrol(token, host.clone()).await.ok().unwrap();
    assert_eq!(
        running.access.bearer(made.token.expose()).await.unwrap(),
        Some(Who::Agent(AgentIdentity::Host(host.clone())))
    );
    assert!(running.access.enrol(token, host).await.is_err());
    assert_eq!(running.access.bearer(once.token.expose()).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_ends_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let made = running.make(TokenKind::Api(vec![Scope::Read]), Some(Duration::from_millis(300))).await;
    assert!(running.access.bearer(made.token.expose()).await.unwrap().is_some());
    let over = async {
        while running.ended.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), over).await.unwrap();
    assert_eq!(*running.ended.lock().unwrap(), [Ended::Viewer(Viewer::Token(hash(made.token.expose())))]);
    assert_eq!(running.access.bearer(made.token.expose()).await.unwrap(), None);
}

#[tokio::test]
async fn the_use_of_a_token_is_written_down_to_the_minute() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let made = running.make(TokenKind::Api(vec![Scope::Read]), None).await;
    for _ in 0..50 {
        running.access.bearer(made.token.expose()).await.unwrap();
    }
    let used = running.access.list().await.unwrap()[0].last_used.unwrap();
    assert!(Time::now().since(used) < Duration::from_mins(1));
}

#[tokio::test]
async fn while_the_store_is_away_nobody_is_let_in_and_what_was_ended_stays_ended() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let made = running.make(TokenKind::Api(vec![Scope::Read]), None).await;
    let actor = running.store_slot.sitting().unwrap();
    running.store_slot.vacate();
    actor.stop_and_wait(None, None).await.unwrap();
    assert!(matches!(running.login(&code()).await, Err(LoginRefused::Unavailable(_))));
    assert!(running.access.revoke(made.info.id.clone(), "user".to_owned()).await.is_err());
    assert_eq!(running.access.bearer(made.token.expose()).await.unwrap(), None, "gone at once");
    let args = store::Args { dir: dir.path().to_owned(), publish: Box::new(|_| {}), on_health: Box::new(|_| {}) };
    let (actor, _) = Actor::spawn(None, store::Store, args).await.unwrap();
    running.store_slot.seat(actor);
    let written = async {
        while !running.store.access().await.unwrap().tokens.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), written).await.unwrap();
}

#[test]
fn a_message_shows_no_secret() {
    let login = Login {
        password: Secret::new("hunter2"),
        totp: None,
        address: "192.0.2.1".parse().unwrap(),
        browser: String::new(),
    };
    let (sender, _receiver) = ractor::concurrency::oneshot();
    let text = format!("{:?}", Msg::Login { login, reply: sender.into() });
    assert_eq!(text, "Login");
}

#[tokio::test]
async fn sessions_are_listed_and_one_or_all_others_end_with_their_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = start(dir.path()).await;
    let step = nixfleet_model::access::totp_step(Time::now());
    let mut made = Vec::new();
    for step in step - 1..=step + 1 {
        made.push(running.login(&totp_code(TOTP_KEY, step)).await.ok().unwrap());
    }
    let mine = hash(made[1].id.expose());
    let listed = running.access.sessions(Some(mine)).await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(listed.iter().filter(|session| session.current).count(), 1);
    assert!(listed.iter().all(|it| (it.address.as_str(), it.browser.as_str()) == ("192.0.2.1", "Firefox")));
    let text = serde_json::to_string(&listed).unwrap();
    assert!(made.iter().all(|new| !text.contains(new.id.expose()) && !text.contains(&new.session.csrf)), "{text}");

    let one = Which::One(made[0].session.id.clone());
    assert_eq!(running.access.end_sessions(one.clone(), "user".to_owned()).await.unwrap(), 1);
    assert_eq!(running.access.end_sessions(one, "user".to_owned()).await.unwrap(), 0);
    assert!(running.access.session(hash(made[0].id.expose())).await.unwrap().is_none());
    assert_eq!(running.access.end_sessions(Which::AllBut(Some(mine)), "user".to_owned()).await.unwrap(), 1);
    let over = |at: usize| Ended::Viewer(Viewer::Session(hash(made[at].id.expose())));
    assert_eq!(*running.ended.lock().unwrap(), [over(0), over(2)]);
    running.restart().await;
    let left: Vec<_> = running.access.sessions(Some(mine)).await.unwrap();
    assert!(left.len() == 1 && left[0].current, "{left:?}");
    let events = running.store.events(None, 10).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "session_ended").count(), 2);
    assert_eq!(running.access.end_sessions(Which::AllBut(None), "api:x".to_owned()).await.unwrap(), 1);
}
