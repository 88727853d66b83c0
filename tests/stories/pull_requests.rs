//! Updates that come by pull request: shown, merged, followed, taken back; over a GitHub that fails in all its ways.

use std::path::Path;

use serde_json::{Value, json};

use crate::fake_github::server::{Fake, Fault};
use crate::fleet::Fleet;

const TOKEN: &str = "ghp_the_token_of_the_stories_0123456789";
const SECRET: &str = "the secret of the webhook";

/// A fleet over the fake. The head is read by GitHub's API, or by git beside it. It is asked so seldom that whatever
/// follows at once follows a webhook, a command or a pull.
pub(crate) fn fleet(by_git: bool, env: &[(&str, &str)]) -> (Fleet, Fake) {
    let mut started = None;
    let fleet = Fleet::beside(|repository, port| {
        let webhook = (format!("http://127.0.0.1:{port}/webhook/github"), SECRET.to_owned());
        let fake = Fake::over(Path::new(&repository.url()), TOKEN, webhook);
        let mut all = vec![
            ("NIXFLEET_GITHUB_REPO", "infra/fleet".to_owned()),
            ("NIXFLEET_GITHUB_TOKEN", TOKEN.to_owned()),
            ("NIXFLEET_GITHUB_API_URL", fake.url()),
            ("NIXFLEET_GITHUB_WEBHOOK_SECRET", SECRET.to_owned()),
            ("NIXFLEET_REMOTE_INTERVAL", "10m".to_owned()),
        ];
        if !by_git {
            all.push(("NIXFLEET_REPO_URL", String::new()));
        }
        all.extend(env.iter().map(|(name, value)| (*name, (*value).to_owned())));
        started = Some(fake);
        all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    });
    fleet.wait("the head is known", |fleet| !fleet.remote()["commit"].is_null());
    (fleet, started.unwrap())
}

impl Fleet {
    fn remote(&self) -> Value {
        self.try_get("/api/v1/remote").map_or(Value::Null, |(_, remote)| remote)
    }

    /// Waits until this update is shown and can be merged.
    pub(crate) fn shows(&self, number: u64) {
        self.wait(&format!("#{number} is shown"), |fleet| {
            let shown = &fleet.remote()["pull_request"];
            shown["number"] == number && shown["mergeable"] == true
        });
    }

    /// An op that concerns no host: the command, or the refusal.
    pub(crate) fn ask_for(&self, op: &str) -> Value {
        let (status, answer) = self.post(&format!("/api/v1/ops/{op}"), &json!({}));
        assert_eq!(status, 200, "{answer}");
        answer["outcomes"][0].clone()
    }

    /// The same, to its end.
    fn do_it(&self, op: &str) -> Value {
        let outcome = self.ask_for(op);
        let id = outcome["command"]["id"].as_str().unwrap_or_else(|| panic!("{op}: {outcome:#}\n{}", self.logs()));
        self.ended(id)
    }

    pub(crate) fn does(&self, op: &str) -> Value {
        let command = self.do_it(op);
        assert_eq!(command["state"], "SUCCESS", "{op}: {command:#}\n{}", self.logs());
        command
    }

    fn events(&self) -> Vec<String> {
        let events = self.get("/api/v1/events?limit=200").1;
        events["events"].as_array().unwrap().iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
    }

    /// Nothing that is secret is in the daemon's log, whatever happened.
    fn kept_its_secrets(&self) {
        let log = std::fs::read_to_string(self.dir().join("daemon.log")).unwrap();
        assert!(!log.contains(TOKEN) && !log.contains(SECRET), "a secret is in the log");
    }
}

/// A pull request appears, is merged from here, every host takes it, and it is taken back: all are as they were.
fn there_and_back(by_git: bool) {
    let (fleet, fake) = fleet(by_git, &[("NIXFLEET_LOG", "trace")]);
    let fleet = fleet.host("hsb0").host("hsb1");
    let hosts = ["hsb0", "hsb1"];
    for host in hosts {
        fleet.run(host, "switch", "SUCCESS");
        fleet.expect_lights(host, "🟢🟢🟢🟢⚪");
    }
    let before = fleet.remote();
    assert!(before["pull_request"].is_null() && before["error"].is_null(), "{before:#}");

    let number = fake.update("update-1");
    for other in ["one", "two", "three"] {
        fake.open(other, "add a host", &format!("{other}.nix"), "{}");
    }
    fleet.shows(number);
    let shown = fleet.remote()["pull_request"].clone();
    assert_eq!((&shown["title"], &shown["author"]), (&json!("flake.lock: Update"), &json!("updates[bot]")));
    fleet.expect_lights("hsb0", "🟢🟢🟡🟢⚪");

    let merged = fleet.does("merge-pr");
    assert!(merged["host"].is_null(), "{merged:#}");
    let remote = fleet.remote();
    assert_ne!(remote["commit"], before["commit"], "the head is known when the command is over");
    assert_eq!((&remote["merged"]["number"], &remote["pull_request"]), (&json!(number), &Value::Null));
    for host in hosts {
        fleet.run(host, "pull", "SUCCESS");
        assert_eq!(fleet.get(&format!("/api/v1/hosts/{host}")).1["generation"], remote["commit"]);
        fleet.run(host, "switch", "SUCCESS");
        fleet.expect_lights(host, "🟢🟢🟢🟢⚪");
    }
    assert_eq!(fleet.ask_for("merge-pr")["problem"]["code"], "no_pending_pr");

    fleet.does("revert-pr");
    let after = fleet.remote();
    assert_eq!(after["lock_hash"], before["lock_hash"], "it is what it was");
    assert!(after["merged"].is_null(), "{after:#}");
    for host in hosts {
        fleet.run(host, "pull", "SUCCESS");
        fleet.run(host, "switch", "SUCCESS");
        fleet.expect_lights(host, "🟢🟢🟢🟢⚪");
    }
    assert_eq!(fleet.ask_for("revert-pr")["problem"]["code"], "nothing_to_revert");
    let events = fleet.events();
    for action in ["update_waits", "pull_request_merged", "pull_request_reverted"] {
        assert!(events.iter().any(|event| event == action), "{action} in {events:?}");
    }
    fleet.kept_its_secrets();
}

#[test]
fn an_update_is_shown_merged_taken_and_taken_back() {
    there_and_back(false);
}

#[test]
fn with_git_for_the_head_and_github_for_the_pull_requests_it_is_the_same() {
    there_and_back(true);
}

#[test]
fn when_somebody_else_merges_the_lights_follow_the_webhook() {
    let (fleet, fake) = fleet(false, &[]);
    let fleet = fleet.host("hsb0");
    fleet.run("hsb0", "switch", "SUCCESS");
    let number = fake.update("update-1");
    fleet.shows(number);
    let merged = fake.control("merge", &json!({ "number": number }));
    fleet.wait("the head is the merge, and no update waits", |fleet| {
        let remote = fleet.remote();
        remote["commit"] == merged["commit"] && remote["pull_request"].is_null()
    });
    fleet.expect_lights("hsb0", "🟢🟡🟡🟡⚪");
    let host = fleet.get("/api/v1/hosts/hsb0").1;
    assert!(
        host["lights"]["git"]["message"].as_str().unwrap().starts_with("Behind by 2 commits"),
        "{:#}",
        host["lights"]
    );
    // A merge that came before ours is as good as ours.
    let wanted = json!({ "args": { "number": number } });
    let outcome = fleet.post("/api/v1/ops/merge-pr", &wanted).1["outcomes"][0].clone();
    let command = fleet.ended(outcome["command"]["id"].as_str().unwrap());
    assert_eq!(command["state"], "SUCCESS", "{command:#}");
    assert!(command["message"].as_str().unwrap().contains("merged already"), "{command:#}");
    let next = fake.update("update-2");
    fleet.shows(next);
    fake.control("close", &json!({ "number": next }));
    fleet.wait("the banner goes by itself", |fleet| fleet.remote()["pull_request"].is_null());
}

#[test]
fn a_daemon_that_is_killed_in_a_merge_and_in_a_revert_does_both_once() {
    let (mut fleet, fake) = fleet(false, &[]);
    let before = fleet.remote()["lock_hash"].clone();
    let number = fake.update("update-1");
    fleet.shows(number);
    for (op, method, part) in [
        ("merge-pr", "PUT", "/merge"),
        ("revert-pr", "POST", "/git/commits"),
        ("revert-pr", "PATCH", "/git/refs/heads/main"),
    ] {
        fake.fault(Fault::Slow { seconds: 1 });
        let id = fleet.ask_for(op)["command"]["id"].as_str().unwrap().to_owned();
        fleet.wait(&format!("{method} {part} is on its way"), |_| fake.has_come(method, part));
        fleet.kill_daemon();
        // What was on its way arrives all the same.
        fleet.wait("it was done", |_| {
            fake.changes().iter().any(|change| change.starts_with(method) && change.contains(part))
        });
        fake.fault(Fault::None);
        fleet.start_daemon();
        let command = fleet.ended(&id);
        assert_eq!(command["state"], "SUCCESS", "{command:#}\n{}", fleet.logs());
        if part == "/git/commits" {
            // Once more for the step after it.
            let number = fake.update("update-2");
            fleet.shows(number);
            fleet.does("merge-pr");
        }
    }
    let changes = fake.changes();
    let count = |what: &str| changes.iter().filter(|change| change.starts_with(what)).count();
    assert_eq!(count("PUT /pulls/"), 2, "each merge once: {changes:?}");
    assert_eq!(count("PATCH /git/refs/heads/main"), 2, "each revert once: {changes:?}");
    assert_eq!(fleet.remote()["lock_hash"], before);
}

#[test]
fn an_answer_that_is_lost_is_found_again() {
    let (fleet, fake) = fleet(false, &[]);
    let number = fake.update("update-1");
    fleet.shows(number);
    fake.fault(Fault::LostMerge);
    fleet.does("merge-pr");
    assert_eq!(fake.changes().iter().filter(|change| change.contains("/merge")).count(), 1);
    assert_eq!(fleet.remote()["merged"]["number"], number, "and can be reverted");
}

#[test]
fn what_came_after_a_merge_stays_when_it_is_reverted() {
    let (fleet, fake) = fleet(false, &[]);
    let before = fleet.remote()["lock_hash"].clone();
    let number = fake.update("update-1");
    fleet.shows(number);
    fleet.does("merge-pr");
    let pushed = fake.push("hosts/new.nix", "{ }\n");
    fleet.wait("the push is seen", |fleet| fleet.remote()["commit"] == pushed.as_str());
    fleet.does("revert-pr");
    assert_eq!(fleet.remote()["lock_hash"], before);
    let head = fleet.remote()["commit"].as_str().unwrap().to_owned();
    let files = std::process::Command::new("git")
        .args(["-C", &fleet.repository.url(), "ls-tree", "-r", "--name-only", &head])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&files.stdout).contains("hosts/new.nix"));
}

#[test]
fn each_refusal_of_github_has_its_own_word() {
    let (fleet, fake) = fleet(false, &[]);
    let number = fake.update("update-1");
    fleet.shows(number);
    let fails = |op: &str, code: &str| {
        let command = fleet.do_it(op);
        assert_eq!((&command["state"], &command["code"]), (&json!("ERROR"), &json!(code)), "{command:#}");
    };
    fake.fault(Fault::NoRights);
    fails("merge-pr", "no_right");
    fake.fault(Fault::None);
    fake.control("protect", &json!({ "on": true }));
    fails("merge-pr", "protected_branch");
    fake.control("protect", &json!({ "on": false }));
    let command =
        fleet.post("/api/v1/ops/merge-pr", &json!({ "args": { "head": "1234567" } })).1["outcomes"][0].clone();
    assert_eq!(command["problem"]["code"], "pr_changed", "only what was shown is merged: {command:#}");
    fleet.shows(number);
    fleet.does("merge-pr");
    // A branch that takes pull requests alone is given one, once.
    fake.control("protect", &json!({ "on": true }));
    for _ in 0..2 {
        let command = fleet.do_it("revert-pr");
        assert_eq!(
            (&command["state"], &command["code"]),
            (&json!("PARTIAL"), &json!("revert_pr_waits")),
            "{command:#}"
        );
    }
    assert_eq!(fake.changes().iter().filter(|change| *change == "POST /pulls").count(), 1);
    fake.control("protect", &json!({ "on": false }));
    fake.control("close", &json!({ "number": number + 1 }));
    // Somebody changes the same place.
    fake.push("flake.lock", "{\"version\": 7, \"by\": \"hand\"}\n");
    fails("revert-pr", "revert_conflict");
    // An update that conflicts is shown with its reason, and is not merged.
    let stale = fake.control("open", &json!({ "branch": "old", "title": "flake.lock: old" }));
    fake.push("flake.lock", "{\"version\": 7, \"by\": \"another hand\"}\n");
    fleet.wait("the reason is shown", |fleet| {
        let shown = &fleet.remote()["pull_request"];
        shown["number"] == stale["number"] && shown["why_not"].as_str().is_some_and(|why| why.contains("conflicts"))
    });
    assert_eq!(fleet.ask_for("merge-pr")["problem"]["code"], "no_pending_pr");
}

/// An op that concerns no host, with arguments: its end, as state and code, or the refusal's code.
fn ends(fleet: &Fleet, op: &str, args: &Value) -> (String, String, String) {
    let (status, answer) = fleet.post(&format!("/api/v1/ops/{op}"), &json!({ "args": args }));
    assert_eq!(status, 200, "{answer}");
    let outcome = &answer["outcomes"][0];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    match outcome["command"]["id"].as_str() {
        Some(id) => {
            let command = fleet.ended(id);
            (text(&command["state"]), text(&command["code"]), text(&command["message"]))
        }
        None => ("BLOCKED".to_owned(), text(&outcome["problem"]["code"]), text(&outcome["problem"]["detail"])),
    }
}

#[test]
fn what_was_shown_is_merged_and_nothing_else() {
    let (fleet, fake) = fleet(false, &[]);
    let merges = || fake.changes().into_iter().filter(|change| change.contains("/merge")).collect::<Vec<_>>();
    let first = fake.update("update-1");
    fleet.shows(first);
    let shown = |fleet: &Fleet| {
        let shown = fleet.remote()["pull_request"].clone();
        json!({ "number": shown["number"], "head": shown["head"] })
    };
    let page = shown(&fleet);
    // It is pushed to between the page and the click, whether that was noticed or not.
    fake.control(
        "push",
        &json!({ "branch": "update-1", "path": "flake.lock", "content": "{\"version\": 7, \"other\": 1}\n" }),
    );
    let (state, code, _) = ends(&fleet, "merge-pr", &page);
    assert!(state != "SUCCESS" && code == "pr_changed", "{state} {code}");
    fleet.wait("the push is shown", |fleet| {
        fleet.remote()["pull_request"]["head"] != page["head"] && fleet.remote()["pull_request"]["mergeable"] == true
    });
    let (state, code, _) = ends(&fleet, "merge-pr", &page);
    assert_eq!((state.as_str(), code.as_str()), ("BLOCKED", "pr_changed"));
    let options = json!({ "hosts": [], "options": { "args": { "merge-pr": page } } });
    assert_ne!(fleet.post("/api/v1/pipelines/merge-deploy/runs", &options).0, 202);
    assert_eq!(merges(), Vec::<String>::new());
    // A second update appears: what was shown is merged all the same, and the second one is not.
    let page = shown(&fleet);
    let second = fake.control("open", &json!({ "branch": "update-2", "path": "other.lock", "content": "{}" }));
    let second = second["number"].as_u64().unwrap();
    fleet.shows(second);
    let (state, _, message) = ends(&fleet, "merge-pr", &page);
    assert_eq!(state, "SUCCESS", "{message}");
    assert_eq!(merges(), [format!("PUT /pulls/{first}/merge")]);
    // Somebody else was faster with the second one.
    fleet.wait("the second is shown", |fleet| fleet.remote()["pull_request"]["number"] == second);
    let page = shown(&fleet);
    let made = fake.control("merge", &json!({ "number": second }));
    assert_eq!(ends(&fleet, "merge-pr", &page).0, "SUCCESS");
    assert_eq!(fleet.remote()["commit"], made["commit"]);
}

#[test]
fn an_update_that_is_pushed_to_stays_the_one_that_waits() {
    let (fleet, fake) = fleet(false, &[]);
    let first = fake.update("update-1");
    fleet.shows(first);
    let second = fake.control("open", &json!({ "branch": "update-2", "path": "other.lock", "content": "{}" }));
    let second = second["number"].as_u64().unwrap();
    fleet.shows(second);
    fake.control("push", &json!({ "branch": "update-2", "path": "other.lock", "content": "{\"a\": 1}" }));
    // Nobody knows for a moment whether it can be merged.
    fleet.wait("it can be merged again", |fleet| {
        let shown = fleet.remote()["pull_request"].clone();
        assert_eq!(shown["number"], second, "the older one stands there");
        shown["mergeable"] == true && fake.changes().is_empty() && fleet.events().len() > 1
    });
    assert_eq!(fleet.events().iter().filter(|event| *event == "update_waits").count(), 2, "each once");
}

#[test]
fn the_last_merge_is_the_one_that_is_reverted_whatever_an_old_page_asks_for() {
    let (fleet, fake) = fleet(false, &[]);
    let old = fake.update("update-1");
    fleet.shows(old);
    fake.control("merge", &json!({ "number": old }));
    fleet.wait("it is gone", |fleet| fleet.remote()["pull_request"].is_null());
    let new = fake.update("update-2");
    fleet.shows(new);
    fleet.does("merge-pr");
    assert_eq!(ends(&fleet, "merge-pr", &json!({ "number": old })).0, "SUCCESS", "merged already");
    assert_eq!(fleet.remote()["merged"]["number"], new);
    // One that went into another branch is none of ours.
    let other = fake.control("open", &json!({ "branch": "update-3", "base": "next" }))["number"].as_u64().unwrap();
    fake.control("merge", &json!({ "number": other }));
    let (state, code, message) = ends(&fleet, "merge-pr", &json!({ "number": other }));
    assert_eq!((state.as_str(), code.as_str()), ("ERROR", "pr_changed"), "{message}");
    assert!(message.contains("goes to next and not to main"), "{message}");
    assert_eq!(fleet.remote()["merged"]["number"], new);
}

#[test]
fn checks_that_fail_are_told_and_a_repository_that_takes_rebases_alone_says_what_to_change() {
    let (fleet, fake) = fleet(false, &[]);
    fake.control("rules", &json!({ "checks_fail": true, "rebase_only": true }));
    let number = fake.update("update-1");
    fleet.shows(number);
    assert_eq!(fleet.remote()["pull_request"]["why_not"], "its checks have failed or still run.");
    let (state, code, message) = ends(&fleet, "merge-pr", &json!({}));
    assert_eq!((state.as_str(), code.as_str()), ("ERROR", "not_mergeable"), "{message}");
    assert!(message.contains("allow merge commits or squash merges in its settings"), "{message}");
}

#[test]
fn a_rate_limit_is_told_and_nothing_is_asked_until_it_is_over() {
    let (fleet, fake) = fleet(false, &[("NIXFLEET_REMOTE_INTERVAL", "1s")]);
    let fleet = fleet.host("hsb0");
    let head = fleet.remote()["commit"].clone();
    fake.fault(Fault::Secondary { seconds: 3 });
    fleet.wait("it says so", |fleet| {
        let command = fleet.do_it("refresh-git");
        command["state"] == "ERROR" && command["message"].as_str().unwrap().contains("rate limit")
    });
    let asked = fake.asked();
    fake.fault(Fault::None);
    let refused = fleet.do_it("refresh-git");
    if refused["state"] == "ERROR" {
        assert_eq!(fake.asked(), asked, "it was not asked");
    }
    assert_eq!(fleet.remote()["commit"], head, "the good answer is kept");
    fleet.run("hsb0", "test", "SUCCESS");
    fleet.wait("it goes on", |fleet| fleet.do_it("refresh-git")["state"] == "SUCCESS");
    fleet.kept_its_secrets();
}

#[test]
fn a_slow_or_dead_github_costs_nobody_else_anything() {
    let (fleet, fake) = fleet(false, &[("NIXFLEET_REMOTE_INTERVAL", "1s")]);
    let fleet = fleet.host("hsb0");
    for fault in [Fault::Slow { seconds: 20 }, Fault::Drop, Fault::Broken] {
        fake.fault(fault);
        let open = fleet.ask_for("refresh-git")["command"]["id"].as_str().unwrap().to_owned();
        fleet.run("hsb0", "test", "SUCCESS");
        assert_eq!(fleet.get("/readyz").0, 200);
        let command = fleet.ended(&open);
        assert_eq!(command["state"], "ERROR", "{command:#}");
    }
    fake.fault(Fault::None);
    fleet.wait("it goes on", |fleet| fleet.do_it("refresh-git")["state"] == "SUCCESS");
}

#[test]
fn a_version_json_is_enough_for_the_lights() {
    let mut started = None;
    let fleet = Fleet::beside(|repository, _| {
        let fake = Fake::over(Path::new(&repository.url()), TOKEN, (String::new(), SECRET.to_owned()));
        let url = format!("{}/version.json", fake.url());
        started = Some(fake);
        vec![("NIXFLEET_REPO_URL".to_owned(), String::new()), ("NIXFLEET_VERSION_URL".to_owned(), url)]
    });
    let fake = started.unwrap();
    let (status, refused) = fleet.post("/webhook/github", &json!({}));
    assert_eq!((status, &refused["code"]), (503, &json!("no_webhook_secret")), "nobody signs here: {refused}");
    let fleet = fleet.host("hsb0");
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.expect_lights("hsb0", "🟢🟢🟢🟢⚪");
    fake.push("flake.lock", "{\"version\": 7, \"new\": true}\n");
    fleet.expect_lights("hsb0", "🟢🟡🟡🟡⚪");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.expect_lights("hsb0", "🟢🟢🟢🟢⚪");
}
