//! Whatever bytes come, the codec answers with a value or an error, never with a panic; and what we send
//! reads back as it was.

use nixfleet_protocol::agent::{AgentMessage, Output, Status, Stream};
use nixfleet_protocol::codec::{Decoded, decode_agent, decode_client, decode_dashboard, encode};
use nixfleet_protocol::log::{Record, whole_length};
use nixfleet_protocol::{Commit, EventId, HostId, LockHash, Op, Time};
use proptest::prelude::*;

const KINDS: &[&str] = &[
    "register",
    "heartbeat",
    "accepted",
    "output",
    "status",
    "command_rejected",
    "operation_progress",
    "test_progress",
    "progress",
    "registered",
    "command",
    "kill_command",
    "output_ack",
    "status_ack",
    "get_state",
    "resume",
    "follow_log",
    "unfollow_log",
    "nonsense",
];

const FIELDS: &[&str] = &[
    "hostname",
    "generation",
    "metrics",
    "update_status",
    "command_id",
    "offset",
    "end",
    "time",
    "line",
    "stream",
    "exit_code",
    "deployed",
    "running",
    "results",
    "details",
    "protocol",
    "journal",
    "heartbeat_interval",
    "epoch",
    "version",
    "progress",
    "signal",
    "pid",
    "offsets",
];

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i32>().prop_map(|n| (f64::from(n) / 4.0).into()),
        ".{0,20}".prop_map(Into::into),
        "[0-9a-f]{40}".prop_map(Into::into),
        Just("0190b6a8-0000-7000-8000-000000000000".into()),
        Just("2026-11-21T06:02:24.007Z".into()),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(prop::sample::select(FIELDS).prop_map(str::to_owned), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn decode_everywhere(text: &str) {
    let _ = (decode_agent(text), decode_dashboard(text), decode_client(text));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in ".*") {
        decode_everywhere(&text);
        let _ = (text.parse::<HostId>(), text.parse::<Commit>(), text.parse::<LockHash>(), text.parse::<Op>(), text.parse::<EventId>(), text.parse::<Time>());
    }

    #[test]
    fn any_payload_of_any_type_is_answered(kind in prop::sample::select(KINDS), payload in any_json()) {
        decode_everywhere(&serde_json::json!({"type": kind, "payload": payload}).to_string());
    }

    #[test]
    fn any_object_is_a_heartbeat(map in prop::collection::btree_map(prop::sample::select(FIELDS), any_json(), 0..8)) {
        let text = serde_json::json!({"type": "heartbeat", "payload": map}).to_string();
        prop_assert!(matches!(decode_agent(&text), Decoded::Message(AgentMessage::Heartbeat(_))));
    }

    #[test]
    fn output_reads_back(line in ".*", stderr in any::<bool>(), offset in any::<u64>(), millis in 0_i64..253_402_300_799_000) {
        let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
        let message = AgentMessage::Output(Output { line, stream, offset: Some(offset), end: Some(offset), time: Some(Time::from_millis(millis)), ..Output::default() });
        prop_assert_eq!(decode_agent(&encode(&message)), Decoded::Message(message));
    }

    #[test]
    fn a_status_reads_back(code in any::<i32>(), text in ".*", details in any_json()) {
        let details = if details.is_null() { None } else { Some(details) };
        let message = AgentMessage::Status(Box::new(Status { exit_code: Some(code), message: Some(text), details, ..Status::default() }));
        prop_assert_eq!(decode_agent(&encode(&message)), Decoded::Message(message));
    }

    #[test]
    fn any_bytes_are_a_record_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Record::decode(&bytes);
        prop_assert!(whole_length(&bytes) <= bytes.len());
    }

    #[test]
    fn a_record_reads_back_and_is_one_line(text in "[^\r\n]*", millis in any::<i64>(), skip in proptest::option::of(any::<u64>())) {
        let time = Time::from_millis(millis);
        let record = match skip {
            Some(skip) => Record::mark(time, skip, text),
            None => Record::line(time, Stream::Stderr, text),
        };
        let bytes = record.encode();
        prop_assert_eq!(bytes.bytes().filter(|b| *b == b'\n').count(), 1);
        prop_assert_eq!(Record::decode(bytes.as_bytes()), Ok((record, bytes.len())));
    }
}
