//! Whatever an agent sends, and in whatever order, the host's actor lives, answers, and touches no other host.

use nixfleet_protocol::CommandId;
use nixfleet_protocol::codec::{Decoded, decode_agent};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::bench::{Bench, wish};
use super::*;

/// Where a frame names a command.
#[derive(Clone, Copy, Debug)]
enum Named {
    Own,
    Others,
    Unknown,
    Junk,
    None,
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (0_u64..300).prop_map(Value::from),
        prop_oneof![Just(u64::MAX), Just(1 << 40), Just(1 << 63), Just(i64::MAX.unsigned_abs())].prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(json!(1e300)),
        Just(json!(-0.5)),
        Just(Value::Null),
        Just(json!("7")),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,30}".prop_map(Value::from),
        prop_oneof![Just("switch"), Just("pull"), Just("ok"), Just("stopped"), Just("mark"), Just("unsupported")]
            .prop_map(Value::from),
        Just(Value::from("x".repeat(70_000))),
        Just(Value::from("\u{1b}[2J\u{0}<b>")),
        number(),
    ]
}

const TEXTS: &[&str] = &[
    "line",
    "stream",
    "status",
    "command",
    "message",
    "stage",
    "reason",
    "phase",
    "text",
    "result",
    "pending_command",
    "repo_error",
    "generation",
    "system_path",
    "hostname",
    "boot_id",
    "time",
    "finished_at",
    "current_command",
];
const NUMBERS: &[&str] = &[
    "offset",
    "end",
    "output_end",
    "exit_code",
    "done",
    "expected",
    "current",
    "total",
    "passed",
    "tests",
    "is_error",
    "partial",
    "running",
    "generations",
    "failed_units",
    "deployed",
    "disk",
    "metrics",
    "details",
    "reboot_required",
];
const KINDS: &[&str] = &[
    "register",
    "heartbeat",
    "accepted",
    "output",
    "output",
    "output",
    "status",
    "command_rejected",
    "operation_progress",
    "test_progress",
    "progress",
];

fn frame() -> impl Strategy<Value = (&'static str, Named, Value)> {
    let named = prop_oneof![4 => Just(Named::Own), 2 => Just(Named::Others), 2 => Just(Named::Unknown), 1 => Just(Named::Junk), 1 => Just(Named::None)];
    let texts = prop::collection::btree_map(prop::sample::select(TEXTS), text(), 0..5);
    let numbers = prop::collection::btree_map(prop::sample::select(NUMBERS), number(), 0..6);
    (prop::sample::select(KINDS), named, texts, numbers).prop_map(|(kind, named, texts, numbers)| {
        let fields = texts.into_iter().chain(numbers).map(|(name, value)| (name.to_owned(), value));
        (kind, named, Value::Object(fields.collect()))
    })
}

#[tokio::test(start_paused = true)]
async fn any_frames_in_any_order_leave_a_host_alive_and_others_alone() {
    let mut runner = TestRunner::deterministic();
    let bench = Bench::new().await;
    let mut others = bench.link("others", 3).await;
    let Submitted::Accepted(theirs) = bench.handle.submit(host("others"), wish(Op::Switch)).await else { panic!() };
    while !matches!(others.next().await, DashboardMessage::Command(_)) {}
    let theirs_now = || {
        let seen = bench.seen(&host("others")).unwrap();
        (
            seen.agent_version.clone(),
            seen.deployed.clone(),
            seen.command.clone(),
            bench.world().commands[&theirs.id].clone(),
        )
    };
    let before = theirs_now();
    let mut messages = 0;
    for round in 0..200 {
        // Each round a new link, as an agent that was cut off comes again; now and then an old one.
        let protocol = if round % 5 == 0 { 2 } else { 3 };
        let link = bench.link("bad", protocol).await;
        let submitted = bench.handle.submit(host("bad"), wish(Op::Switch)).await;
        assert!(!matches!(submitted, Submitted::Unavailable(_)), "round {round}: {submitted:?}");
        let own = bench.seen(&host("bad")).and_then(|host| host.command.as_ref().map(|command| command.id));
        for _ in 0..40 {
            let (kind, named, mut payload) = frame().new_tree(&mut runner).unwrap().current();
            let id = match named {
                Named::Own => own.map(|id| json!(id)),
                Named::Others => Some(json!(theirs.id)),
                Named::Unknown => Some(json!(CommandId::from_uuid(uuid::Uuid::now_v7()))),
                Named::Junk => Some(json!("../../others/x")),
                Named::None => None,
            };
            if let Some(id) = id {
                payload["command_id"] = id;
            }
            if let Decoded::Message(message) = decode_agent(&json!({ "type": kind, "payload": payload }).to_string()) {
                messages += 1;
                link.say(message).await;
            }
        }
        let state = ractor::call!(link.actor, |reply| host::Msg::Inspect { reply });
        assert!(state.is_ok(), "round {round}: the actor died");
    }
    assert!(messages > 4000, "{messages} of 8000 frames were messages");
    assert!(bench.seen(&host("bad")).is_some());
    assert_eq!(theirs_now(), before, "nothing that one agent sends acts on another host");
    assert!(!bench.data_dir().join("logs/others").exists());
    let logs: Vec<_> = std::fs::read_dir(bench.data_dir().join("logs")).unwrap().flatten().collect();
    assert!(logs.iter().all(|entry| entry.file_name() == "bad"), "{logs:?}");
}
