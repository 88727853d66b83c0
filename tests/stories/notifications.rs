//! People are told: over real sockets, by every channel, with receivers that refuse, hang, die and come back.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::fake_github::server::Fault;
use crate::fleet::Fleet;
use crate::pull_requests;
use crate::receivers::{Came, Everyone, MailSink, Manner, Receiver, Talks, tls};
use crate::tls::certificates;

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
    let everyone = Everyone::new();
    let (settings, Everyone { ntfy, discord, webhook, mail }) = (everyone.settings(), &everyone);
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
    assert!(came.is_signed());
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

/// An update waits, its canary fails, the run halts, and goes on to its end.
#[test]
fn an_update_that_waits_and_a_run_that_halts_and_ends_arrive_once_by_every_channel() {
    let everyone = Everyone::new();
    let settings = everyone.settings();
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (fleet, fake) = pull_requests::fleet(false, &settings);
    let broken = fleet.dir().join("broken");
    for host in ["hsb0", "hsb1"] {
        let test = format!("test ! -e {}", broken.display());
        fleet.repository.script(&format!("hosts/{host}/tests/10-answers.sh"), &test);
    }
    fleet.repository.push("add tests");
    fleet.does("refresh-git");
    let fleet = fleet.host("hsb0").host("hsb1");
    let arrives = |title: &str, parts: &[&str]| {
        for channel in 0..4 {
            fleet.wait(&format!("{title:?} is told: {:#?}", everyone.told()[channel]), |_| {
                everyone.told()[channel].1.iter().any(|told| told.title == title)
            });
            let (name, all) = &everyone.told()[channel];
            let told = all.iter().find(|told| told.title == title).unwrap();
            for part in parts {
                assert!(told.text.contains(part), "{part:?} by {name}: {}", told.text);
            }
        }
    };

    let number = fake.update("update-1");
    arrives(
        "An update waits: flake.lock: Update",
        &[&format!("Pull request #{number}: "), &format!("/pull/{number}"), "https://fleet.example.org/"],
    );
    fleet.wait("it can be merged", |fleet| fleet.get("/api/v1/remote").1["pull_request"]["mergeable"] == true);

    fs::write(&broken, "").unwrap();
    let wanted = json!({ "hosts": ["hsb0", "hsb1"], "options": { "canary": { "hosts": ["hsb0"] }, "soak_s": 1 } });
    let (status, run) = fleet.post("/api/v1/pipelines/merge-deploy/runs", &wanted);
    assert_eq!(status, 202, "{run:#}");
    let id = run["id"].as_str().unwrap();
    let page = format!("https://fleet.example.org/runs/{id}");
    arrives("merge-deploy halted and waits for a decision", &["Not good on hsb0.", "Started by ", &page]);

    fs::remove_file(&broken).unwrap();
    let (status, answer) = fleet.post(&format!("/api/v1/runs/{id}/decide"), &json!({ "decision": "retry-failed" }));
    assert_eq!(status, 202, "{answer:#}");
    arrives("merge-deploy is complete on 2 hosts", &["Started by ", &page]);

    // Each once, and nothing else but the test that failed.
    fleet.wait("nothing waits", |fleet| channels(fleet).as_array().unwrap().iter().all(|it| it["waiting"] == 0));
    for (name, all) in everyone.told() {
        let mut titles: Vec<_> = all.iter().map(|told| told.title.as_str()).collect();
        titles.sort_unstable();
        let expected = [
            "An update waits: flake.lock: Update",
            "merge-deploy halted and waits for a decision",
            "merge-deploy is complete on 2 hosts",
            "test on hsb0 failed",
        ];
        assert_eq!(titles, expected, "{name}");
    }
    assert!(everyone.webhook.came().iter().all(Came::is_signed));
    let kinds: Vec<_> = everyone.webhook.came().iter().map(|came| came.json()["kind"].clone()).collect();
    for kind in ["update_waiting", "run_halted", "run_finished"] {
        assert!(kinds.iter().any(|it| it == kind), "{kind} in {kinds:?}");
    }
}

#[test]
fn quiet_hours_and_the_minute_between_two_of_a_kind_hold_back_also_over_a_kill() {
    let (open, quiet) = (Receiver::new(), Receiver::new());
    // From an hour ago to an hour from now at least, by UTC.
    let hour = UNIX_EPOCH.elapsed().unwrap().as_secs() / 3600;
    let hours = format!("{:02}:00-{:02}:00", (hour + 23) % 24, (hour + 2) % 24);
    let file = tempfile::NamedTempFile::new().unwrap();
    let configure = |rule: &str| {
        let table = |name: &str, to: &Receiver, rule: &str| {
            format!("[[notify]]\nname = {name:?}\nkind = \"webhook\"\nurl = {:?}\n{rule}\n", to.url("/"))
        };
        fs::write(file.path(), table("day", &open, "") + &table("night", &quiet, rule)).unwrap();
    };
    configure(&format!("quiet = {hours:?}\ntimezone = \"UTC\""));
    let mut fleet = Fleet::with(&[("NIXFLEET_CONFIG", file.path().to_str().unwrap())]);
    fails(&fleet);
    for host in ["hsb0", "hsb1", "hsb2"] {
        fleet.add_host_under(host, &[], &[]);
    }
    fleet.wait("all hosts are there", |fleet| {
        let hosts = fleet.get("/api/v1/hosts").1;
        let ready = |host: &&Value| host["state"] == "online" && !host["generation"].is_null();
        hosts["hosts"].as_array().unwrap().iter().filter(ready).count() == 3
    });
    fleet.run("hsb0", "switch", "ERROR");
    fleet.wait("the first is told at once", |_| open.titles() == ["switch on hsb0 failed"]);
    let others = ["hsb1", "hsb2"].map(|host| fleet.submit(host, "switch"));
    for id in &others {
        assert_eq!(fleet.ended(id)["state"], "ERROR");
    }
    let waiting = |fleet: &Fleet, channel: usize| channels(fleet)[channel]["waiting"].clone();
    fleet.wait("two of its minute wait here and three there", |fleet| {
        (waiting(fleet, 0), waiting(fleet, 1)) == (json!(2), json!(3))
    });
    let night = channels(&fleet)[1].clone();
    assert!(!night["quiet_until"].is_null() && night["last_success"].is_null(), "{night:#}");
    assert!(channels(&fleet)[0]["quiet_until"].is_null());

    // What waits outlives the daemon; when the hours are lifted it comes as one message, with a count.
    fleet.kill_daemon();
    configure("");
    fleet.start_daemon();
    fleet.wait("the night is told", |_| !quiet.titles().is_empty());
    let body = quiet.came()[0].json();
    assert!(body["title"].as_str().unwrap().starts_with("3 commands failed: switch on hsb0, "), "{body:#}");
    assert_eq!(body["count"], 3);
    // The other one still keeps its minute, or it is over and the rest came as one.
    fleet.wait("nothing of the burst is lost", |fleet| {
        let told: u64 = open.came().iter().filter_map(|came| came.json()["count"].as_u64()).sum();
        let waits = waiting(fleet, 0).as_u64().unwrap();
        (told, waits, open.came().len()) == (1, 2, 1) || (told, waits, open.came().len()) == (3, 0, 2)
    });
    fleet.wait("the night has all", |fleet| waiting(fleet, 1) == 0);
    assert_eq!(quiet.came().len(), 1);
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

#[test]
fn a_merge_that_github_refuses_is_told() {
    let webhook = Receiver::new();
    let (fleet, fake) = pull_requests::fleet(false, &[("NIXFLEET_NOTIFY_WEBHOOK_URL", &webhook.url("/"))]);
    let number = fake.update("update-1");
    fleet.shows(number);
    fake.fault(Fault::NoRights);
    let id = fleet.ask_for("merge-pr")["command"]["id"].as_str().unwrap().to_owned();
    assert_eq!(fleet.ended(&id)["state"], "ERROR");
    fleet.wait("it is told", |_| webhook.titles().contains(&"merge-pr failed".to_owned()));
    let told = webhook.came().into_iter().map(|came| came.json()).find(|it| it["title"] == "merge-pr failed").unwrap();
    assert!(told["text"].as_str().unwrap().contains("Contents and Pull requests"), "{told:#}");
    assert_eq!(told["notices"][0]["path"], format!("/commands/{id}"));
}

/// Sends a test by each channel of this file; what each said.
fn tried(file: &str, env: &[(&str, &str)], names: &[&str]) -> (Fleet, Vec<(u16, String)>) {
    let config = tempfile::NamedTempFile::new().unwrap();
    fs::write(config.path(), file).unwrap();
    let mut env = env.to_vec();
    env.push(("NIXFLEET_CONFIG", config.path().to_str().unwrap()));
    let fleet = Fleet::with(&env);
    let said = names.iter().map(|name| {
        let (status, answer) = fleet.post(&format!("/api/v1/notifications/{name}/test"), &json!({}));
        (status, answer["detail"].as_str().or(answer["message"].as_str()).unwrap().to_owned())
    });
    let said = said.collect();
    (fleet, said)
}

#[test]
fn over_tls_a_certificate_that_is_trusted_is_good_and_another_is_refused_and_named() {
    let (authority, certificate, key) = certificates();
    let (_, stranger, strange_key) = certificates();
    let (ours, theirs) = (|| Some(tls(&certificate, &key)), || Some(tls(&stranger, &strange_key)));
    let (known, unknown) = (Receiver::over(ours()), Receiver::over(theirs()));
    let sink = |tls, starttls| MailSink::that(Talks { tls, starttls, ..Talks::default() });
    let mails = [sink(ours(), false), sink(theirs(), false), sink(ours(), true), sink(theirs(), true)];
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), authority).unwrap();
    let hook = |name: &str, to: &Receiver| {
        format!("[[notify]]\nname = {name:?}\nkind = \"webhook\"\nurl = {:?}\n", to.url("/"))
    };
    let mail = |name: &str, scheme: &str, to: &MailSink| {
        // In capitals it is not known to be this machine, where TLS could be done without.
        format!(
            "[[notify]]\nname = {name:?}\nkind = \"mail\"\nurl = \"{scheme}://LOCALHOST:{}\"\n\
             from = \"fleet@example.org\"\nto = [\"ops@example.org\"]\n",
            to.port
        )
    };
    let config = [
        hook("known", &known),
        hook("unknown", &unknown),
        mail("tls", "smtps", &mails[0]),
        mail("tls-unknown", "smtps", &mails[1]),
        mail("starttls", "smtp", &mails[2]),
        mail("starttls-unknown", "smtp", &mails[3]),
    ];
    let names = ["known", "unknown", "tls", "tls-unknown", "starttls", "starttls-unknown"];
    let env = [("SSL_CERT_FILE", file.path().to_str().unwrap())];
    let (fleet, said) = tried(&config.concat(), &env, &names);
    for (name, (status, said)) in names.iter().zip(said) {
        let good = !name.ends_with("unknown");
        assert_eq!(status, if good { 200 } else { 502 }, "{name}: {said}\n{}", fleet.logs());
        assert_eq!(said.contains("certificate is not trusted"), !good, "{name}: {said}");
    }
    assert_eq!((known.titles().len(), unknown.came().len()), (1, 0));
    assert_eq!(mails.map(|sink| sink.letters().len()), [1, 0, 1, 0], "and nothing went to a stranger");
}

#[test]
fn a_recipient_whom_the_mail_server_refuses_keeps_no_letter_from_the_others() {
    let refuses = vec![("gone@example.org", "550 5.1.1 no such user")];
    let sink = MailSink::that(Talks { refuses, ..Talks::default() });
    let url = format!("smtp://127.0.0.1:{}", sink.port);
    let settings = [
        ("NIXFLEET_SMTP_URL", url.as_str()),
        ("NIXFLEET_MAIL_FROM", "fleet@example.org"),
        ("NIXFLEET_MAIL_TO", "gone@example.org,ops@example.org"),
    ];
    let mut fleet = Fleet::with(&settings);
    fails(&fleet);
    fleet.add_host("hsb0", &[]);
    fleet.run("hsb0", "switch", "ERROR");
    fleet.wait("the other one has it", |_| !sink.letters().is_empty());
    let letter = sink.letters()[0].clone();
    let (to, letter) = letter.split_once("From:").unwrap();
    assert!(to.contains("ops@example.org") && !to.contains("gone@"), "{to}");
    assert!(letter.contains("Subject: switch on hsb0 failed"), "{letter}");
    fleet.wait("nothing waits", |fleet| channels(fleet)[0]["waiting"] == 0);
    let events = fleet.get("/api/v1/events?action=notification_refused").1;
    let told = events["events"][0]["message"].as_str().unwrap();
    assert!(told.contains("gone@example.org: 550") && told.contains("no such user"), "{told}");
    assert_eq!(sink.letters().len(), 1, "once");
}

#[test]
fn a_receiver_that_was_moved_says_so() {
    let moved = Receiver::new();
    moved.is_to(Manner::Answers(308));
    let file = format!("[[notify]]\nname = \"moved\"\nkind = \"webhook\"\nurl = {:?}\n", moved.url("/"));
    let (_fleet, said) = tried(&file, &[], &["moved"]);
    assert_eq!(said[0].0, 502);
    assert!(said[0].1.contains("it was moved: change its address"), "{}", said[0].1);
}
