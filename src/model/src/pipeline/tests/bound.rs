//! Behind a canary goes what the canary has tried, and what is merged is what was shown.

use nixfleet_protocol::Commit;
use nixfleet_protocol::api::{Decision, PullRequest};
use serde_json::{Value, json};

use super::decisions::rollout;
use super::*;
use CommandState::{Error, Success};

fn commit(text: &str) -> Commit {
    text.parse().unwrap()
}

impl World {
    /// The branch has this head.
    fn head(&mut self, text: &str) {
        self.facts.head = Some(commit(text));
    }

    /// It comes through pull, and has this commit then.
    fn pulls(&mut self, name: &str, text: &str) {
        self.fact(name).checkout = Some(commit(text));
        self.ends(name, Success);
    }
}

/// The canary pulled `aaaaaaa`, switched, and soaks.
fn soaking() -> World {
    let mut world = World::new("pull-switch", &["a", "b", "c"], rollout());
    world.head("aaaaaaa1");
    world.pulls("a", "aaaaaaa");
    world.ends("a", Success);
    world.began();
    world
}

fn reason(world: &World) -> String {
    world.run.view(Vec::new()).halted.map(|halted| halted.reason).unwrap_or_default()
}

#[test]
fn what_is_pushed_in_the_soak_goes_to_nobody_before_a_person_says_so() {
    let mut world = soaking();
    world.head("bbbbbbb");
    world.after(300);
    assert_eq!(world.state(), RunState::Running, "it may be taken back until the soak is over");
    world.after(300);
    assert_eq!((world.state(), world.began()), (RunState::Halted, String::new()));
    assert_eq!(reason(&world), "main went on from aaaaaaa to bbbbbbb: no host of this run has tried bbbbbbb.");
    let decisions = world.run.decisions();
    assert_eq!(decisions, [Decision::Rollback, Decision::Continue, Decision::Cancel]);
    // It goes on further while the person thinks: what the person saw is what is taken.
    world.head("ccccccc");
    world.look();
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.look();
    assert_eq!(reason(&world), "main went on from bbbbbbb to ccccccc: no host of this run has tried ccccccc.");
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "pull b, pull c");
    for name in ["b", "c"] {
        world.pulls(name, "ccccccc");
    }
    assert_eq!(world.began(), "switch b, switch c");
}

#[test]
fn what_was_taken_back_in_the_soak_and_what_nobody_knows_halts_nothing() {
    let mut back = soaking();
    back.head("bbbbbbb");
    back.after(300);
    back.head("aaaaaaa1");
    back.after(300);
    assert_eq!(back.began(), "pull b, pull c");
    let mut blind = soaking();
    blind.facts.head = None;
    blind.after(600);
    assert_eq!(blind.began(), "pull b, pull c");
}

#[test]
fn what_is_pushed_while_a_wave_pulls_is_not_switched() {
    let mut world = soaking();
    world.after(600);
    assert_eq!(world.began(), "pull b, pull c");
    world.pulls("b", "aaaaaaa");
    world.head("bbbbbbb");
    world.pulls("c", "bbbbbbb");
    assert_eq!((world.state(), world.began()), (RunState::Halted, String::new()));
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.look();
    assert_eq!(world.began(), "switch b, switch c");
}

#[test]
fn a_merge_in_the_run_and_a_retry_of_the_canary_are_what_is_tried() {
    let mut world = World::new("merge-deploy", &["a", "b"], rollout());
    world.head("aaaaaaa");
    world.fact("a").checkout = Some(commit("aaaaaaa"));
    world.ends("", Success);
    world.head("bbbbbbb");
    world.pulls("a", "bbbbbbb");
    world.ends("a", Success);
    world.ends("a", Success);
    world.began();
    // It turns bad, a fix is pushed, the canary takes it.
    world.fact("a").red = true;
    world.look();
    assert_eq!(world.state(), RunState::Halted);
    world.fact("a").red = false;
    world.head("ccccccc");
    world.run.decide(Decision::RetryFailed, "user", world.now).unwrap();
    world.look();
    world.pulls("a", "ccccccc");
    world.ends("a", Success);
    world.ends("a", Success);
    world.after(600);
    world.ends("a", Success);
    assert_eq!(world.began(), "pull a, switch a, test a, test a, pull b");
}

#[test]
fn without_a_canary_that_pulled_the_next_group_is_the_first() {
    let options = RunOptions { max_failures: Some(5), ..rollout() };
    let mut world = World::new("pull-switch", &["a", "b"], options);
    world.head("aaaaaaa");
    world.ends("a", Error);
    world.run.decide(Decision::Continue, "user", world.now).unwrap();
    world.head("bbbbbbb");
    world.look();
    assert_eq!(world.began(), "pull a, pull b");
    world.pulls("b", "bbbbbbb");
    assert_eq!(world.began(), "switch b");
    let mut flat = World::new("pull-switch", &["a"], RunOptions::default());
    flat.pulls("a", "aaaaaaa");
    assert!(flat.run.record.heads.is_empty(), "without groups nothing is bound");
}

fn waiting(mergeable: Option<bool>) -> PullRequest {
    PullRequest {
        number: 12,
        title: "flake.lock: Update".to_owned(),
        url: String::new(),
        mergeable,
        why_not: None,
        author: String::new(),
        head: commit("abcdef0"),
        labels: Vec::new(),
        commits: None,
        changed_files: None,
        created_at: START,
    }
}

#[test]
fn a_run_merges_what_was_shown_and_nothing_else() {
    let (open, conflict) = (waiting(Some(true)), waiting(Some(false)));
    let shown = r#"{"number":12,"head":"abcdef0"}"#;
    for (what, given, waits, expected) in [
        ("nothing waits", json!({}), None, "no_pending_pr"),
        ("what waits", json!({}), Some(&open), shown),
        ("a conflict", json!({}), Some(&conflict), "no_pending_pr"),
        ("as it was shown", json!({ "number": 12, "head": "abcdef0" }), Some(&open), shown),
        ("it has other commits", json!({ "number": 12, "head": "abcdef1" }), Some(&open), "pr_changed"),
        ("merged just now", json!({ "number": 12, "head": "abcdef0" }), None, shown),
        (
            "another waits by now",
            json!({ "number": 11, "head": "abcdef1" }),
            Some(&open),
            r#"{"number":11,"head":"abcdef1"}"#,
        ),
        ("no number", json!({ "number": "x" }), Some(&open), "bad_args"),
    ] {
        let given: serde_json::Map<String, Value> = given.as_object().unwrap().clone();
        let args = if given.is_empty() { BTreeMap::new() } else { [(Op::MergePr, given)].into() };
        let options = RunOptions { args, ..RunOptions::default() };
        let registry = Registry::default();
        let wanted = wanted(&["a"], options);
        let mut run = draft(registry.get("merge-deploy").unwrap(), wanted, |_| Vec::new(), START).unwrap();
        let bound = run.bind_merge(waits).map_err(|refusal| refusal.code);
        let outcome = bound.err().unwrap_or(run.record.stages[0].args.as_str()).to_owned();
        assert_eq!(outcome, expected, "{what}");
    }
    let args = [(Op::MergePr, json!({ "branch": "x" }).as_object().unwrap().clone())].into();
    let wanted = wanted(&["a"], RunOptions { args, ..RunOptions::default() });
    let registry = Registry::default();
    let wrong = draft(registry.get("merge-deploy").unwrap(), wanted, |_| Vec::new(), START).unwrap_err();
    assert!(wrong.0[0].contains("merge-pr takes no \"branch\""), "{wrong:?}");
}
