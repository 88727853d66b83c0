//! Runs over hosts and a disk that the test plays, in paused time: killed at each stage, cancelled, waited for, halted.

mod bench;
mod rollouts;

use std::sync::Arc;
use std::time::Duration;

use nixfleet_model::fleet_state::FleetState;
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{CommandState, HostState, RunOptions, RunState};
use tokio::time::Instant;

use self::bench::{Bench, host, over, start_sync, view};
use super::*;
use CommandState::{Cancelled, Executing, Pending, Skipped, Success};

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_where_it_was_whenever_its_actor_dies() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], RunOptions::default()).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.begun(&format!("{op} a")).await;
        bench.kill(id).await;
        bench.begun(&format!("{op} b")).await;
        bench.ends(op, "a", Success);
        bench.kill(id).await;
        // It ended while nobody listened.
        bench.ends(op, "b", Success);
    }
    let run = bench.until(id, "over", over).await;
    assert_eq!(run.record.state, RunState::Complete);
    assert_eq!(bench.fleet().begun.len(), 6);
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_when_all_runs_were_started_again() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], RunOptions::default()).await;
    bench.begun("pull b").await;
    bench.actor.kill();
    // What ended meanwhile is known to the hosts.
    bench.ends(Op::Pull, "a", Success);
    let again = Actor::spawn(None, Runs, Args { world: Arc::clone(&bench.world) }).await.unwrap().0;
    bench.ends(Op::Pull, "b", Success);
    bench.stage(Op::Switch, &["a", "b"]).await;
    bench.stage(Op::Test, &["a", "b"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Complete);
    bench.each_once();
    drop(again);
}

#[tokio::test(start_paused = true)]
async fn a_run_hears_of_what_ended_while_sync_was_away() {
    let bench = Bench::new().await;
    let id = bench.start(&["a"], RunOptions::default()).await;
    bench.begun("pull a").await;
    bench.slot.sitting().unwrap().kill();
    bench.slot.vacate();
    bench.ends(Op::Pull, "a", Success);
    start_sync(&bench.world.store, &bench.slot).await;
    bench.sync.publish(vec![view("a", HostState::Online)]);
    assert!(bench.actor.cast(Msg::Republish).is_ok());
    bench.stage(Op::Switch, &["a"]).await;
    bench.stage(Op::Test, &["a"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Complete);
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn runs_are_exclusive_and_the_refusal_names_who_is_in_the_way() {
    let bench = Bench::new().await;
    let first = bench.start(&["a", "b"], RunOptions::default()).await;
    let second = bench.runs.start(Bench::draft(&["b", "c"], RunOptions::default())).await;
    let Started::Not(NotBegun::Hosts(refused)) = second else { panic!("{second:?}") };
    assert_eq!(refused.iter().map(|(host, _)| host.as_str()).collect::<Vec<_>>(), ["b"]);
    assert!(!bench.fleet().owners.contains_key(&host("c")), "none is taken");
    bench.stage(Op::Pull, &["a", "b"]).await;
    assert!(matches!(bench.runs.cancel(first, "user".into()).await, Changed::Done(_)));
    bench.stage(Op::Switch, &[]).await;
    for name in ["a", "b"] {
        if bench.fleet().begun.contains(&format!("switch {name}")) {
            bench.ends(Op::Switch, name, Success);
        }
    }
    let run = bench.until(first, "over", over).await;
    assert_eq!(run.record.state, RunState::Cancelled);
    assert_eq!(Bench::states(&run, "a")[2], Cancelled);
    bench.idle_again().await;
    bench.start(&["b", "c"], RunOptions::default()).await;
    assert!(matches!(bench.runs.cancel(first, "user".into()).await, Changed::NotOpen));
}

#[tokio::test(start_paused = true)]
async fn an_offline_host_is_waited_for_and_skipped_in_time() {
    let bench = Bench::new().await;
    bench.sync.publish(vec![view("b", HostState::Offline)]);
    // The state says that it is there, and it is not.
    bench.fleet().away.insert(host("c"));
    let began = Instant::now();
    let id = bench.start(&["a", "b", "c"], RunOptions::default()).await;
    bench.stage(Op::Pull, &["a"]).await;
    let run = bench.until(id, "b is passed over", |run| Bench::states(run, "b")[0] == Skipped).await;
    assert!(began.elapsed() >= Duration::from_secs(89), "{:?}", began.elapsed());
    assert_eq!(Bench::states(&run, "b"), [Skipped; 3]);
    let run = bench.until(id, "c too", |run| Bench::states(run, "c")[0] == Skipped).await;
    assert_eq!(Bench::states(&run, "c"), [Skipped; 3]);
    bench.stage(Op::Switch, &["a"]).await;
    bench.stage(Op::Test, &["a"]).await;
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Partial);
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn a_host_that_has_just_ended_a_stage_is_idle_and_not_passed_over() {
    let bench = Bench::new().await;
    let id = bench.start(&["a"], RunOptions { wait_s: Some(0), ..RunOptions::default() }).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.begun(&format!("{op} a")).await;
        // The run has seen that it is busy.
        tokio::time::sleep(Duration::from_secs(1)).await;
        bench.ends(op, "a", Success);
    }
    assert_eq!(bench.until(id, "over", over).await.record.state, RunState::Complete);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_keeps_dying_is_named_and_can_be_cancelled() {
    let bench = Bench::new().await;
    let id = bench.start(&["a", "b"], RunOptions::default()).await;
    bench.begun("pull a").await;
    for _ in 0..5 {
        bench.kill(id).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for _ in 0..100 {
        if !bench.runs.health().await.unwrap().quarantined.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let health = bench.runs.health().await.unwrap();
    assert_eq!((health.silent.len(), health.quarantined[0].0), (0, id));
    let cancelled = bench.runs.cancel(id, "user".into()).await;
    assert!(matches!(&cancelled, Changed::Done(run) if run.state == RunState::Cancelled), "{cancelled:?}");
    let run = bench.disk.lock().unwrap().run(id).unwrap();
    assert_eq!((run.record.state, Bench::states(&run, "a")), (RunState::Cancelled, vec![Cancelled; 3]));
    bench.idle_again().await;
    assert!(matches!(bench.runs.cancel(id, "user".into()).await, Changed::NotOpen));
    // Its time comes to be tried again, and it stays over.
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert_eq!(bench.actor.get_children().len(), 0);
    assert_eq!(bench.runs.health().await.unwrap(), Health::default());
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn a_thousand_hosts_are_shown_once_a_breath_and_not_with_each_answer() {
    let bench = Bench::new().await;
    let names: Vec<String> = (0..1000).map(|at| format!("h{at}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    bench.sync.publish(names.iter().map(|name| view(name, HostState::Online)).collect());
    let shown = bench.count_shown_runs().await;
    let began = Instant::now();
    let id = bench.start(&names, RunOptions::default()).await;
    for op in [Op::Pull, Op::Switch, Op::Test] {
        bench.begun(&format!("{op} h999")).await;
        for name in &names {
            bench.ends(op, name, Success);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let run = bench.until(id, "over", over).await;
    assert_eq!(run.record.state, RunState::Complete);
    // A breath of so many hosts is half a second: each is one look, and each look is shown once at most.
    let (looks, shown) = (began.elapsed().as_millis() / 520, shown.load(std::sync::atomic::Ordering::Relaxed));
    assert!(shown as u128 <= looks + 3, "{shown} times in {looks} breaths");
    bench.each_once();
}

#[tokio::test(start_paused = true)]
async fn what_everyone_sees_is_what_is_on_the_disk() {
    let bench = Bench::new().await;
    let id = bench.start(&["a"], RunOptions::default()).await;
    bench.begun("pull a").await;
    let seen = async || -> Arc<FleetState> { bench.sync.snapshot().await.unwrap().state };
    for _ in 0..100 {
        if seen().await.runs[&id].hosts[&host("a")][0] == Executing {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let shown = Arc::clone(&seen().await.runs[&id]);
    assert_eq!(shown.hosts[&host("a")], [Executing, Pending, Pending]);
    assert_eq!(shown.waits.len(), 1);
    let on_disk = bench.disk.lock().unwrap().run(id).unwrap();
    assert_eq!(on_disk.view(shown.waits.clone()), *shown);
}
