//! Canary, soak, halt and what a person decides, whatever dies meanwhile.

use std::time::Duration;

use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Canary, CommandState, Decision, RunOptions, RunState};
use tokio::time::Instant;

use super::super::Changed;
use super::bench::{Bench, host, over};
use CommandState::{Cancelled, Error, Pending, Skipped, Success};

fn canary() -> RunOptions {
    RunOptions { canary: Some(Canary { hosts: vec![host("a")], tag: None }), soak_s: 600, ..RunOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn the_others_follow_after_the_soak_also_when_the_run_dies_in_it() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.stage(op, &["a"]).await;
    }
    bench.until(id, "it soaks", |run| run.record.soak.is_some()).await;
    let soaks = Instant::now();
    bench.kill(id).await;
    for _ in 0..20_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if bench.fleet().begun.iter().filter(|begun| *begun == "test a").count() == 2 {
            break;
        }
    }
    // The tests run once more.
    assert_eq!(bench.fleet().begun.iter().filter(|begun| *begun == "test a").count(), 2);
    assert!((590..=605).contains(&soaks.elapsed().as_secs()), "{:?}", soaks.elapsed());
    bench.ends(Op::Test, "a", Success);
    bench.begun("pull b").await;
}

#[tokio::test(start_paused = true)]
async fn a_halted_run_waits_for_a_person_whatever_dies() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    bench.stage(Op::Pull, &["a"]).await;
    bench.stage(Op::Switch, &["a"]).await;
    bench.begun("test a").await;
    bench.ends(Op::Test, "a", Error);
    bench.until(id, "halted", |run| run.record.state == RunState::Halted).await;
    bench.kill(id).await;
    tokio::time::sleep(Duration::from_hours(24)).await;
    let refused = bench.runs.decide(id, Decision::Continue, "user".into()).await;
    assert!(matches!(refused, Changed::Done(_)), "{refused:?}");
    bench.stage(Op::Pull, &["b"]).await;
    let again = bench.runs.decide(id, Decision::Continue, "user".into()).await;
    assert!(matches!(&again, Changed::NotNow(why) if why.code == "not_halted"), "{again:?}");
    bench.stage(Op::Switch, &["b"]).await;
    bench.stage(Op::Test, &["b"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Partial);
    let events = bench.disk.lock().unwrap().events.clone();
    assert_eq!(events, ["run_started", "run_halted", "run_decided", "run_finished"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_rolled_back_is_a_stage_of_the_run() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], canary()).await;
    bench.stage(Op::Pull, &["a"]).await;
    bench.stage(Op::Switch, &["a"]).await;
    bench.begun("test a").await;
    bench.ends(Op::Test, "a", Error);
    bench.until(id, "halted", |run| run.record.state == RunState::Halted).await;
    let decided = bench.runs.decide(id, Decision::Rollback, "user".into()).await;
    let Changed::Done(shown) = decided else { panic!("{decided:?}") };
    assert_eq!(shown.ops.last(), Some(&Op::Rollback));
    bench.begun("rollback a").await;
    bench.kill(id).await;
    bench.ends(Op::Rollback, "a", Success);
    let run = bench.until(id, "over", over).await;
    assert_eq!(
        (run.record.state, Bench::states(&run, "a")),
        (RunState::Failed, vec![Success, Success, Error, Success])
    );
    assert_eq!(Bench::states(&run, "b"), [Cancelled, Cancelled, Cancelled, Skipped]);
    assert!(!Bench::states(&run, "b").contains(&Pending));
    bench.each_once();
}
