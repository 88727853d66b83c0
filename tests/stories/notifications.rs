//! People are told: over real sockets, by every channel, with receivers that refuse, hang, die and come back.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fleet::Fleet;
use crate::receivers::{MailSink, Manner, Receiver};

/// What takes its time by the specification: 90 s after the start, a minute after a link was lost.
const LONG: Duration = Duration::from_mins(3);

/// Waits longer than a story usually does.
fn wait_long(fleet: &Fleet, what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < LONG, "waited too long until {what}\n{}", fleet.logs());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A repository whose switch fails.
fn fails(fleet: &Fleet) {
    fleet.repository.script("switch", "echo cannot start nginx.service >&2; exit 4");
    fleet.repository.push("break the switch");
}

fn channels(fleet: &Fleet) -> Value {
    fleet.get("/api/v1/notifications").1["channels"].clone()
}

#[test]
fn a_failed_command_arrives_by_every_channel() {
    let (ntfy, discord, webhook, mail) = (Receiver::new(), Receiver::new(), Receiver::new(), MailSink::new());
    let settings = [
        ("NIXFLEET_BASE_URL", "https://fleet.example.org".to_owned()),
        ("NIXFLEET_NTFY_URL", ntfy.url("/alerts")),
        ("NIXFLEET_NTFY_TOKEN", "tk_of_the_story".to_owned()),
        ("NIXFLEET_DISCORD_WEBHOOK", discord.url("/api/webhooks/1/secret-part")),
        ("NIXFLEET_NOTIFY_WEBHOOK_URL", webhook.url("/hook/secret-part")),
        ("NIXFLEET_NOTIFY_WEBHOOK_SECRET", "shared".to_owned()),
        ("NIXFLEET_SMTP_URL", format!("smtp://127.0.0.1:{}", mail.port)),
        ("NIXFLEET_MAIL_FROM", "NixFleet <fleet@example.org>".to_owned()),
        ("NIXFLEET_MAIL_TO", "ops@example.org".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut fleet = Fleet::with(&settings);
    fails(&fleet);
    fleet.add_host("hsb0", &[]);
    let id = fleet.run("hsb0", "switch", "ERROR")["id"].as_str().unwrap().to_owned();
    let page = format!("https://fleet.example.org/commands/{id}");

    fleet.wait("ntfy has it", |_| !ntfy.came().is_empty());
    let came = ntfy.came()[0].clone();
    let body = came.json();
    assert_eq!((came.path.as_str(), came.header("authorization")), ("/", "Bearer tk_of_the_story"));
    assert_eq!((&body["topic"], &body["title"]), (&json!("alerts"), &json!("switch on hsb0 failed")));
    assert_eq!((&body["priority"], &body["click"]), (&json!(4), &json!(page)));

    fleet.wait("Discord has it", |_| !discord.came().is_empty());
    let body = discord.came()[0].json();
    assert_eq!(body["allowed_mentions"], json!({ "parse": [] }));
    assert_eq!(
        (&body["embeds"][0]["title"], &body["embeds"][0]["url"]),
        (&json!("switch on hsb0 failed"), &json!(page))
    );

    fleet.wait("the webhook has it", |_| !webhook.came().is_empty());
    let came = webhook.came()[0].clone();
    let body = came.json();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"shared");
    let signature = data_encoding::HEXLOWER.encode(ring::hmac::sign(&key, &came.bytes).as_ref());
    assert_eq!(came.header("x-nixfleet-signature"), format!("sha256={signature}"));
    assert_eq!(came.header("x-nixfleet-delivery"), body["id"].as_str().unwrap());
    assert_eq!((&body["kind"], &body["level"], &body["count"]), (&json!("command_failed"), &json!("error"), &json!(1)));
    assert_eq!((&body["notices"][0]["host"], &body["url"]), (&json!("hsb0"), &json!(page)));

    fleet.wait("the mail has it", |_| !mail.letters().is_empty());
    let letter = mail.letters()[0].clone();
    for part in ["Subject: switch on hsb0 failed", "To: ops@example.org", "Auto-Submitted: auto-generated", &id] {
        assert!(letter.replace("=\r\n", "").contains(part), "{part} in {letter}");
    }

    fleet.wait("nothing waits", |fleet| {
        channels(fleet).as_array().unwrap().iter().all(|it| it["waiting"] == 0 && !it["last_success"].is_null())
    });
    let told = channels(&fleet).to_string() + &fleet.logs();
    for secret in ["tk_of_the_story", "secret-part", "shared\""] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

#[test]
fn hosts_gone_and_back_and_a_repository_that_cannot_be_read_are_told_and_a_flap_is_not() {
    let webhook = Receiver::new();
    let mut fleet = Fleet::with(&[("NIXFLEET_NOTIFY_WEBHOOK_URL", &webhook.url("/"))]).host("hsb0").host("hsb1");
    // A short absence is none.
    fleet.kill_agent("hsb1");
    fleet.start_agent("hsb1");
    fleet.kill_agent("hsb0");
    fleet.repository.hide();
    wait_long(&fleet, "it is told that the repository can't be read", || {
        webhook.titles().contains(&"The configuration repository can't be read".to_owned())
    });
    fleet.repository.show();
    wait_long(&fleet, "it is told that it can be read again", || {
        webhook.titles().contains(&"The configuration repository can be read again".to_owned())
    });
    wait_long(&fleet, "it is told that the host is gone", || webhook.titles().contains(&"hsb0 is gone".to_owned()));
    // What was told is not told again after a restart.
    fleet.kill_daemon();
    fleet.start_daemon();
    fleet.start_agent("hsb0");
    wait_long(&fleet, "it is told that the host is back", || webhook.titles().contains(&"hsb0 is back".to_owned()));
    let mut titles = webhook.titles();
    titles.sort();
    let all = [
        "The configuration repository can be read again",
        "The configuration repository can't be read",
        "hsb0 is back",
        "hsb0 is gone",
    ];
    assert_eq!(titles, all);
}

#[test]
fn a_receiver_that_refuses_hangs_or_is_dead_disturbs_nobody_and_loses_nothing() {
    let (good, hangs, refuses) = (Receiver::new(), Receiver::new(), Receiver::new());
    hangs.is_to(Manner::Hangs);
    refuses.is_to(Manner::Answers(503));
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let settings = [
        ("NIXFLEET_NTFY_URL", good.url("/topic")),
        ("NIXFLEET_DISCORD_WEBHOOK", hangs.url("/")),
        ("NIXFLEET_NOTIFY_WEBHOOK_URL", refuses.url("/")),
        ("NIXFLEET_SMTP_URL", format!("smtp://127.0.0.1:{dead}")),
        ("NIXFLEET_MAIL_FROM", "fleet@example.org".to_owned()),
        ("NIXFLEET_MAIL_TO", "ops@example.org".to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut fleet = Fleet::with(&settings);
    fails(&fleet);
    fleet.add_host("hsb0", &[]);
    fleet.run("hsb0", "switch", "ERROR");
    fleet.wait("who is there is told at once", |_| good.titles() == ["switch on hsb0 failed"]);
    fleet.wait("the others are known to fail", |fleet| {
        let errors = channels(fleet).as_array().unwrap().iter().filter(|it| !it["last_error"].is_null()).count();
        errors == 3
    });
    assert_eq!(fleet.get("/readyz").0, 200, "a dead receiver is no trouble of the daemon");

    // Killed with a full outbox: what was not taken is sent, what was taken is not sent again.
    fleet.kill_daemon();
    hangs.is_to(Manner::Takes);
    refuses.is_to(Manner::Takes);
    fleet.start_daemon();
    wait_long(&fleet, "all have it", || {
        let discord = hangs.came().iter().any(|came| came.taken);
        discord && refuses.titles() == ["switch on hsb0 failed"]
    });
    let ids: Vec<_> = refuses.came().iter().map(|came| came.header("x-nixfleet-delivery").to_owned()).collect();
    assert!(ids.len() > 1 && ids.iter().all(|id| *id == ids[0]), "each attempt has the same id: {ids:?}");
    assert_eq!(good.titles().len(), 1);
    assert_eq!(refuses.came().iter().filter(|came| came.taken).count(), 1);
}

#[test]
fn the_test_button_says_what_the_receiver_said() {
    let receiver = Receiver::new();
    let fleet = Fleet::with(&[("NIXFLEET_NTFY_URL", &receiver.url("/topic"))]);
    let test = |name: &str| fleet.post(&format!("/api/v1/notifications/{name}/test"), &json!({}));
    assert_eq!(test("ntfy"), (200, json!({ "channel": "ntfy", "message": "ntfy took the test notification." })));
    assert_eq!(receiver.titles(), ["NixFleet can reach you"]);
    receiver.is_to(Manner::Answers(403));
    let (status, problem) = test("ntfy");
    assert_eq!((status, &problem["code"]), (502, &json!("notification_failed")));
    assert!(problem["detail"].as_str().unwrap().contains("403 Forbidden: not today"), "{problem}");
    assert_eq!(test("phone").0, 404);
    let events = fleet.get("/api/v1/events?action=notification_tested").1;
    assert_eq!(events["events"].as_array().unwrap().len(), 2);
}
