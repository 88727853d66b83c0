//! Ops that concern no host: merges and reverts over a forge that does as the test says.

use nixfleet_model::remote::code::Code;
use nixfleet_model::remote::updates;
use nixfleet_model::remote::wish::{Merge, Revert};
use nixfleet_protocol::api::PullRequest;
use serde_json::json;

use super::*;
use crate::actors::remote::forge::{Landed, NotDone, Reverted};

const MERGED: &str = "ccccccc";
const REVERT: &str = "ddddddd";

/// A forge with one pull request. What it does to the branch shows in the remote.
struct FakeForge {
    remote: Arc<Fake>,
    waiting: Mutex<Result<Option<PullRequest>, &'static str>>,
    merged: Mutex<bool>,
    refuses: Mutex<Option<Code>>,
    /// What was really done.
    done: Mutex<Vec<String>>,
    asked: Mutex<Vec<String>>,
    looks: Mutex<usize>,
    gate: Semaphore,
    /// The head follows at once.
    shows: bool,
    /// It was merged by somebody then, and whether one commit holds all of it.
    before: Mutex<Option<(Time, bool)>>,
}

fn update(mergeable: Option<bool>) -> PullRequest {
    PullRequest {
        number: 12,
        title: "flake.lock: Update".to_owned(),
        url: "https://example.org/12".to_owned(),
        mergeable,
        why_not: None,
        author: "updates".to_owned(),
        head: commit("abcdef0"),
        labels: Vec::new(),
        commits: None,
        changed_files: None,
        created_at: Time::from_millis(1),
    }
}

impl FakeForge {
    fn new(remote: &Arc<Fake>) -> Self {
        Self {
            remote: Arc::clone(remote),
            waiting: Mutex::new(Ok(Some(update(Some(true))))),
            merged: Mutex::new(false),
            refuses: Mutex::default(),
            done: Mutex::default(),
            asked: Mutex::default(),
            looks: Mutex::default(),
            gate: Semaphore::new(1_000),
            shows: true,
            before: Mutex::default(),
        }
    }

    fn asked(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn done(&self) -> Vec<String> {
        self.done.lock().unwrap().clone()
    }
}

impl Forge for FakeForge {
    fn waiting(&self, _before: Option<u64>) -> source::Later<'_, Result<Found, Unreadable>> {
        *self.looks.lock().unwrap() += 1;
        let answer = self.waiting.lock().unwrap().clone().map_err(|why| Unreadable(why.to_owned()));
        let answer = answer.map(|waits| updates::choose(waits.into_iter().collect(), None));
        Box::pin(async move { answer })
    }

    fn merge(&self, wish: Merge) -> source::Later<'_, Result<Landed, NotDone>> {
        self.asked(format!("merge {} {:?}", wish.number, wish.head.as_ref().map(Commit::as_str)));
        Box::pin(async move {
            self.gate.acquire().await.unwrap().forget();
            if let Some(code) = *self.refuses.lock().unwrap() {
                return Err(NotDone { code, message: "no".to_owned() });
            }
            let before = *self.before.lock().unwrap();
            let already = before.is_some() || std::mem::replace(&mut *self.merged.lock().unwrap(), true);
            if !already {
                self.done.lock().unwrap().push(format!("merged {}", wish.number));
                *self.waiting.lock().unwrap() = Ok(None);
                if self.shows {
                    self.remote.set(Ok(MERGED));
                }
            }
            // Whoever dies now has done it, and does not know.
            self.gate.acquire().await.unwrap().forget();
            Ok(Landed {
                number: wish.number,
                title: "flake.lock: Update".to_owned(),
                url: "https://example.org/12".to_owned(),
                commit: commit(MERGED),
                revertible: before.is_none_or(|(_, whole)| whole),
                already,
                at: before.map(|(at, _)| at),
            })
        })
    }

    fn revert(&self, wish: Revert) -> source::Later<'_, Result<Reverted, NotDone>> {
        self.asked(format!("revert {} {}", wish.number, wish.commit));
        Box::pin(async move {
            self.done.lock().unwrap().push(format!("reverted {}", wish.number));
            self.remote.set(Ok(REVERT));
            Ok(Reverted::OnBranch(commit(REVERT)))
        })
    }
}

async fn bench() -> (Bench, Arc<FakeForge>) {
    bench_over(FakeForge::new).await
}

async fn bench_over(forge: impl FnOnce(&Arc<Fake>) -> FakeForge) -> (Bench, Arc<FakeForge>) {
    let fake = Fake::new(Ok("aaaaaaa"));
    let forge = Arc::new(forge(&fake));
    let bench = Bench::with(Duration::from_secs(30), fake, Some(Arc::clone(&forge) as _)).await;
    bench.ask().await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    (bench, forge)
}

impl Bench {
    async fn submit(&self, op: Op) -> CommandId {
        let submitted = self.handle.submit(Wanted::new(op, "user")).await;
        let Submitted::Accepted(command) = submitted else { panic!("not accepted: {submitted:?}") };
        command.id
    }

    /// Merges this one, to the end.
    async fn merge(&self, number: u64) -> nixfleet_model::command::Command {
        let mut wanted = Wanted::new(Op::MergePr, "user");
        wanted.args = json!({ "number": number }).as_object().unwrap().clone();
        let submitted = self.handle.submit(wanted).await;
        let Submitted::Accepted(command) = submitted else { panic!("not accepted: {submitted:?}") };
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.last(command.id)
    }

    fn last(&self, id: CommandId) -> nixfleet_model::command::Command {
        let batches = self.batches.lock().unwrap();
        let mut found = None;
        for write in batches.iter().flat_map(|batch| &batch.writes) {
            if let Write::PutCommand(command) = write
                && command.id == id
            {
                found = Some((**command).clone());
            }
        }
        found.unwrap()
    }
}

async fn moment() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_is_told_and_merged_and_the_new_head_is_known_before_the_command_is_over() {
    let (bench, forge) = bench().await;
    assert_eq!(bench.now().pull_request, Some(update(Some(true))));
    let id = bench.submit(Op::MergePr).await;
    moment().await;
    let command = bench.last(id);
    assert_eq!((command.state, command.host), (CommandState::Success, None));
    assert_eq!(command.message.as_deref(), Some("#12 \"flake.lock: Update\" is merged, with ccccccc"));
    assert_eq!(command.args, r#"{"number":12,"head":"abcdef0"}"#, "what was shown, and nothing newer");
    let now = bench.now();
    assert_eq!(now.desired.as_ref().unwrap().commit, commit(MERGED));
    assert_eq!((now.pull_request.clone(), now.merged.as_ref().map(|merged| merged.number)), (None, Some(12)));
    assert_eq!(forge.done(), ["merged 12"]);
    assert!(bench.events().contains(&"update_waits".to_owned()));
    assert!(bench.events().contains(&"pull_request_merged".to_owned()));

    let id = bench.submit(Op::RevertPr).await;
    moment().await;
    assert_eq!(bench.last(id).state, CommandState::Success);
    assert_eq!(forge.done(), ["merged 12", "reverted 12"]);
    assert_eq!(bench.now().desired.as_ref().unwrap().commit, commit(REVERT));
    assert_eq!(bench.now().merged, None, "what is reverted is not reverted again");
    let refused = bench.handle.submit(Wanted::new(Op::RevertPr, "user")).await;
    assert!(matches!(refused, Submitted::Blocked(command, refusal)
        if refusal.code == "nothing_to_revert" && command.state == CommandState::Blocked));
}

#[tokio::test(start_paused = true)]
async fn a_command_is_not_over_before_the_head_shows_what_was_merged() {
    let (bench, _forge) = bench_over(|remote| FakeForge { shows: false, ..FakeForge::new(remote) }).await;
    let id = bench.submit(Op::MergePr).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(bench.last(id).state, CommandState::Executing);
    bench.fake.set(Ok(MERGED));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.last(id).state, CommandState::Success);
}

#[tokio::test(start_paused = true)]
async fn a_merge_that_the_head_never_shows_is_a_part_and_remembered_and_found_again() {
    let (bench, forge) = bench_over(|remote| FakeForge { shows: false, ..FakeForge::new(remote) }).await;
    let id = bench.submit(Op::MergePr).await;
    tokio::time::sleep(Duration::from_secs(61)).await;
    let command = bench.last(id);
    assert_eq!((command.state, command.code.as_deref()), (CommandState::Partial, Some("head_not_seen")));
    assert!(command.message.unwrap().contains("does not show it after 60 s"));
    assert_eq!(bench.now().merged.as_ref().map(|merged| merged.number), Some(12), "it can be reverted");
    // Who tries again finds it, once the head is there.
    bench.fake.set(Ok(MERGED));
    let again = bench.merge(12).await;
    assert_eq!(again.state, CommandState::Success, "{:?}", again.message);
    assert_eq!(forge.done(), ["merged 12"]);
}

#[tokio::test(start_paused = true)]
async fn what_was_merged_before_the_last_one_is_not_taken_for_the_last_one() {
    let (bench, forge) = bench().await;
    bench.submit(Op::MergePr).await;
    moment().await;
    let last = bench.now().merged.clone().unwrap();
    // A tab that was left open since asks for an older one.
    *forge.before.lock().unwrap() = Some((Time::from_millis(1), true));
    assert_eq!(bench.merge(11).await.state, CommandState::Success);
    assert_eq!(bench.now().merged, Some(last), "what is reverted is still the last one");
}

#[tokio::test(start_paused = true)]
async fn what_somebody_else_merged_later_is_the_last_one() {
    let (bench, forge) = bench().await;
    bench.submit(Op::MergePr).await;
    moment().await;
    let later = Time::now().plus(Duration::from_hours(1));
    *forge.before.lock().unwrap() = Some((later, true));
    assert_eq!(bench.merge(14).await.state, CommandState::Success);
    let merged = bench.now().merged.clone().unwrap();
    assert_eq!((merged.number, merged.at), (14, later));
    // Rebased by somebody: no single commit takes it back, and the one before is not the last one any more.
    *forge.before.lock().unwrap() = Some((later.plus(Duration::from_hours(1)), false));
    assert_eq!(bench.merge(15).await.state, CommandState::Success);
    assert_eq!(bench.now().merged, None);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_went_on_shows_it_too() {
    let (bench, _forge) = bench_over(|remote| FakeForge { shows: false, ..FakeForge::new(remote) }).await;
    bench.fake.set(Ok("eeeeeee"));
    bench.fake.known.lock().unwrap().push((commit(MERGED), Relation::Behind(1)));
    let id = bench.submit(Op::MergePr).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(bench.last(id).state, CommandState::Success);
}

#[tokio::test(start_paused = true)]
async fn the_same_id_is_carried_out_once_however_often_it_is_asked_for() {
    let (bench, forge) = bench().await;
    let id = CommandId::from_uuid(uuid::Uuid::now_v7());
    let wanted = || Wanted { id: Some(id), ..Wanted::new(Op::MergePr, "pipeline:x") };
    let both = tokio::join!(bench.handle.submit(wanted()), bench.handle.submit(wanted()));
    for submitted in [both.0, both.1] {
        assert!(matches!(submitted, Submitted::Accepted(command) if command.id == id));
    }
    moment().await;
    let again = bench.handle.submit(wanted()).await;
    assert!(matches!(again, Submitted::Accepted(command) if command.state == CommandState::Success), "as it is");
    // Also where the actor has no memory of it.
    bench.slot.sitting().unwrap().kill_and_wait(None).await.unwrap();
    bench.start().await;
    let again = bench.handle.submit(wanted()).await;
    assert!(matches!(again, Submitted::Accepted(command) if command.state == CommandState::Success), "as it is");
    assert_eq!(forge.asked.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_has_its_command_and_the_same_id_is_answered_with_it() {
    let (bench, forge) = bench().await;
    *forge.waiting.lock().unwrap() = Ok(None);
    bench.handle.webhook(None, About::PullRequests);
    moment().await;
    let id = CommandId::from_uuid(uuid::Uuid::now_v7());
    let wanted = || Wanted { id: Some(id), ..Wanted::new(Op::MergePr, "pipeline:x") };
    let Submitted::Blocked(command, refusal) = bench.handle.submit(wanted()).await else { panic!("not refused") };
    assert_eq!((refusal.code, command.code.as_deref()), ("no_pending_pr", Some("no_pending_pr")));
    *forge.waiting.lock().unwrap() = Ok(Some(update(Some(true))));
    bench.handle.webhook(None, About::PullRequests);
    moment().await;
    let again = bench.handle.submit(wanted()).await;
    assert!(matches!(again, Submitted::Accepted(command) if command.state == CommandState::Blocked));
    assert!(forge.asked.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_actor_that_died_in_the_middle_of_a_merge_merges_once() {
    let (bench, forge) = bench_over(|remote| FakeForge { gate: Semaphore::new(1), ..FakeForge::new(remote) }).await;
    let id = bench.submit(Op::MergePr).await;
    moment().await;
    assert_eq!((forge.done(), bench.last(id).state), (vec!["merged 12".to_owned()], CommandState::Executing));
    bench.slot.sitting().unwrap().kill_and_wait(None).await.unwrap();
    forge.gate.add_permits(100);
    bench.start().await;
    moment().await;
    let command = bench.last(id);
    assert_eq!(command.state, CommandState::Success, "{:?}", command.message);
    assert_eq!(forge.done(), ["merged 12"]);
    assert_eq!(forge.asked.lock().unwrap().len(), 2, "it looked again");
    let merged = bench.now().merged.clone().unwrap();
    assert_eq!((merged.commit, merged.by.as_str()), (commit(MERGED), "user"), "and can be reverted");
}

#[tokio::test(start_paused = true)]
async fn what_the_forge_refuses_ends_the_command_with_its_code() {
    let (bench, forge) = bench().await;
    *forge.refuses.lock().unwrap() = Some(Code::NotMergeable);
    let id = bench.submit(Op::MergePr).await;
    moment().await;
    let command = bench.last(id);
    assert_eq!((command.state, command.code.as_deref()), (CommandState::Error, Some("not_mergeable")));
    assert_eq!(bench.now().merged, None);
    // What tells people of it goes by these.
    let batches = bench.batches.lock().unwrap();
    let event = batches.iter().flat_map(|batch| &batch.events).rfind(|event| event.action == "command_finished");
    let details: serde_json::Value = serde_json::from_str(event.unwrap().details.as_deref().unwrap()).unwrap();
    assert_eq!((&details["command_id"], &details["op"]), (&json!(id), &json!("merge-pr")));
    assert_eq!(details["state"], "ERROR");
}

#[tokio::test(start_paused = true)]
async fn a_forge_that_says_nothing_ends_the_command_and_the_next_one_has_its_turn() {
    let (bench, forge) = bench_over(|remote| FakeForge { gate: Semaphore::new(0), ..FakeForge::new(remote) }).await;
    let first = bench.submit(Op::MergePr).await;
    let second = bench.submit(Op::MergePr).await;
    tokio::time::sleep(Duration::from_secs(31)).await;
    assert_eq!(bench.last(first).state, CommandState::RunningWarning);
    assert_eq!(bench.last(second).state, CommandState::Pending, "one change at a time");
    forge.gate.add_permits(0);
    tokio::time::sleep(Duration::from_secs(30)).await;
    let ended = bench.last(first);
    assert_eq!((ended.state, ended.code.as_deref()), (CommandState::Error, Some("no_answer")));
    forge.gate.add_permits(10);
    moment().await;
    assert_eq!(bench.last(second).state, CommandState::Success);
}

#[tokio::test(start_paused = true)]
async fn whether_it_can_be_merged_is_asked_again_soon_and_not_for_ever() {
    let (bench, forge) = bench().await;
    *forge.waiting.lock().unwrap() = Ok(Some(update(None)));
    bench.handle.webhook(None, About::PullRequests);
    moment().await;
    assert_eq!(bench.now().pull_request.as_ref().unwrap().mergeable, None);
    *forge.waiting.lock().unwrap() = Ok(Some(update(Some(true))));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.now().pull_request.as_ref().unwrap().mergeable, Some(true));
    *forge.waiting.lock().unwrap() = Ok(Some(update(None)));
    bench.handle.webhook(None, About::PullRequests);
    let before = *forge.looks.lock().unwrap();
    tokio::time::sleep(Duration::from_mins(30)).await;
    let looks = *forge.looks.lock().unwrap() - before;
    assert!((4..=8).contains(&looks), "{looks}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_webhooks_asks_once_and_a_delivery_that_comes_again_not_at_all() {
    let (bench, forge) = bench().await;
    let before = (bench.fake.reads(), *forge.looks.lock().unwrap());
    for number in 0..50 {
        bench.handle.webhook(Some(number.to_string()), About::Everything);
    }
    moment().await;
    let after = (bench.fake.reads(), *forge.looks.lock().unwrap());
    assert!(after.0 - before.0 <= 2 && after.1 - before.1 <= 2, "{before:?} {after:?}");
    for number in 0..50 {
        bench.handle.webhook(Some(number.to_string()), About::Everything);
    }
    moment().await;
    assert_eq!((bench.fake.reads(), *forge.looks.lock().unwrap()), after);
    bench.handle.webhook(Some("new".to_owned()), About::PullRequests);
    moment().await;
    assert_eq!((bench.fake.reads(), *forge.looks.lock().unwrap()), (after.0, after.1 + 1));
}

#[tokio::test(start_paused = true)]
async fn a_push_to_a_branch_that_nobody_follows_asks_nothing() {
    let (bench, forge) = bench().await;
    let asked = || (bench.fake.reads(), *forge.looks.lock().unwrap());
    let before = asked();
    bench.handle.webhook(Some("1".to_owned()), About::Branch("update-1".to_owned()));
    moment().await;
    assert_eq!(asked(), before);
    bench.handle.webhook(Some("2".to_owned()), About::Branch("main".to_owned()));
    moment().await;
    assert_eq!(asked(), (before.0 + 1, before.1 + 1));
}

#[tokio::test(start_paused = true)]
async fn pull_requests_that_cant_be_read_are_told_and_the_head_is_none_the_worse() {
    let (bench, forge) = bench().await;
    *forge.waiting.lock().unwrap() = Err("the token was refused");
    bench.handle.webhook(None, About::PullRequests);
    tokio::time::sleep(Duration::from_secs(15)).await;
    let now = bench.now();
    assert_eq!(now.pull_request_error.as_deref(), Some("the token was refused"));
    assert_eq!(now.pull_request, Some(update(Some(true))), "the last good answer is kept");
    assert_eq!(now.failing, None);
    assert_eq!(bench.events().iter().filter(|event| *event == "updates_unreadable").count(), 1);
    *forge.waiting.lock().unwrap() = Ok(Some(update(Some(true))));
    bench.handle.webhook(None, About::PullRequests);
    moment().await;
    assert_eq!(bench.now().pull_request_error, None);
}

#[tokio::test(start_paused = true)]
async fn without_a_forge_nothing_can_be_merged_and_it_says_what_to_set() {
    let bench = Bench::new(Fake::new(Ok("aaaaaaa"))).await;
    bench.ask().await;
    let mut wanted = Wanted::new(Op::MergePr, "user");
    wanted.args = json!({ "number": 12 }).as_object().unwrap().clone();
    let Submitted::Blocked(_, refusal) = bench.handle.submit(wanted).await else { panic!("not refused") };
    assert_eq!(refusal.code, "no_pending_pr");
    assert!(refusal.message.contains("NIXFLEET_GITHUB_REPO"));
    let Submitted::Blocked(_, refusal) = bench.handle.submit(Wanted::new(Op::Switch, "user")).await else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, "host_required");
}

#[tokio::test(start_paused = true)]
async fn an_update_that_nobody_could_tell_the_end_of_is_not_shown_for_ever() {
    let (mut bench, _forge) = bench().await;
    assert!(bench.now().pull_request.is_some());
    bench.slot.sitting().unwrap().kill_and_wait(None).await.unwrap();
    bench.forge = None;
    bench.start().await;
    bench.ask().await;
    assert_eq!(bench.now().pull_request, None, "pull requests are not configured any more");
}
