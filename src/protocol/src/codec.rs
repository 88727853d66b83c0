//! Frames `{"type": …, "payload": {…}}` to messages and back. Whatever comes in is one of three things: a
//! message, a type of the future (ignored, once logged), or malformed (ignored, counted).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::agent::{AgentMessage, DashboardMessage};
use crate::browser::ClientFrame;

/// What a text frame turned out to be.
#[derive(Debug, PartialEq)]
pub enum Decoded<M> {
    /// A message.
    Message(M),
    /// A frame in good form of a type that we do not know, cut to 80 characters.
    UnknownType(String),
    /// No frame at all, or one whose payload lacks what its type can't do without.
    Malformed(String),
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    payload: Option<&'a RawValue>,
}

/// A message as the text of one frame.
pub fn encode<M: Serialize>(message: &M) -> String {
    // Only maps with non-text keys and failing `Serialize` impls can fail here, and none of ours is such.
    serde_json::to_string(message).unwrap_or_default()
}

fn decode_as<M>(text: &str, by_kind: impl FnOnce(&str, &str) -> Option<serde_json::Result<M>>) -> Decoded<M> {
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) => return Decoded::Malformed(error.to_string()),
    };
    let payload = envelope.payload.map_or("{}", RawValue::get);
    let payload = if payload == "null" { "{}" } else { payload };
    match by_kind(&envelope.kind, payload) {
        Some(Ok(message)) => Decoded::Message(message),
        Some(Err(error)) => Decoded::Malformed(format!("{}: {error}", envelope.kind)),
        None => Decoded::UnknownType(envelope.kind.chars().take(80).collect()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the arms of the tables above it say None for an unknown type")]
fn read<'a, P, M>(payload: &'a str, wrap: impl FnOnce(P) -> M) -> Option<serde_json::Result<M>>
where
    P: Deserialize<'a>,
{
    Some(serde_json::from_str::<P>(payload).map(wrap))
}

/// Kind and payload of a frame as agents write it: in this order, without a space. Whether the payload is one value has
/// not been looked at.
fn as_written(text: &str) -> Option<(&str, &str)> {
    let (kind, rest) = text.strip_prefix(r#"{"type":""#)?.split_once('"')?;
    Some((kind, rest.strip_prefix(r#","payload":"#)?.strip_suffix('}')?))
}

/// A frame that came from an agent.
pub fn decode_agent(text: &str) -> Decoded<AgentMessage> {
    // Nearly all are read in one go. Whatever does not read like this is read again, and what is wrong is said then.
    if let Some(Some(Ok(message))) = as_written(text).map(|(kind, payload)| agent_message(kind, payload)) {
        return Decoded::Message(message);
    }
    decode_as(text, agent_message)
}

fn agent_message(kind: &str, payload: &str) -> Option<serde_json::Result<AgentMessage>> {
    match kind {
        "register" => read(payload, AgentMessage::Register),
        "heartbeat" => read(payload, AgentMessage::Heartbeat),
        "accepted" => read(payload, AgentMessage::Accepted),
        "output" => read(payload, AgentMessage::Output),
        "status" => read(payload, AgentMessage::Status),
        "command_rejected" => read(payload, AgentMessage::CommandRejected),
        "operation_progress" => read(payload, AgentMessage::OperationProgress),
        "test_progress" => read(payload, AgentMessage::TestProgress),
        "progress" => read(payload, AgentMessage::Progress),
        _ => None,
    }
}

/// A frame that came from the dashboard.
pub fn decode_dashboard(text: &str) -> Decoded<DashboardMessage> {
    decode_as(text, |kind, payload| match kind {
        "registered" => read(payload, DashboardMessage::Registered),
        "command" => read(payload, DashboardMessage::Command),
        "kill_command" => read(payload, DashboardMessage::KillCommand),
        "output_ack" => read(payload, DashboardMessage::OutputAck),
        "status_ack" => read(payload, DashboardMessage::StatusAck),
        _ => None,
    })
}

/// A frame that came from a browser's tab or an API client.
pub fn decode_client(text: &str) -> Decoded<ClientFrame> {
    decode_as(text, |kind, payload| match kind {
        "get_state" => Some(Ok(ClientFrame::GetState)),
        "resume" => read(payload, ClientFrame::Resume),
        "follow_log" => read(payload, ClientFrame::FollowLog),
        "unfollow_log" => read(payload, ClientFrame::UnfollowLog),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{Heartbeat, Register};

    #[test]
    fn a_v2_register_reads() {
        let text = r##"{"type":"register","payload":{"hostname":"HSB0","host_type":"nixos","agent_version":"2.1.0","generation":"","heartbeat_interval":5,"location":"moon","device_type":"server","theme_color":"#98b8d8","new_field":{"x":1}}}"##;
        let Decoded::Message(AgentMessage::Register(register)) = decode_agent(text) else { panic!("not a register") };
        assert_eq!(register.hostname, "HSB0");
        assert_eq!(register.generation, None);
        assert_eq!(register.generation_of_protocol(), 2);
        assert_eq!(register.location, crate::agent::Location::Unknown);
    }

    #[test]
    fn junk_in_one_field_costs_that_field_alone() {
        let text = r#"{"type":"heartbeat","payload":{"generation":"not hex","metrics":{"cpu":"hot","ram":7.5},"lock_hash":17,"running":["x","0190b6a8-0000-7000-8000-000000000000"],"update_status":"fine"}}"#;
        let Decoded::Message(AgentMessage::Heartbeat(beat)) = decode_agent(text) else { panic!("not a heartbeat") };
        assert_eq!(beat.generation, None);
        assert_eq!(beat.lock_hash, None);
        assert_eq!(beat.metrics.unwrap().ram, Some(7.5));
        assert_eq!(beat.metrics.unwrap().cpu, None);
        assert_eq!(beat.running.unwrap().len(), 1);
        assert_eq!(beat.update_status, None);
    }

    #[test]
    fn unknown_types_and_malformed_frames_are_told_apart() {
        assert_eq!(decode_agent(r#"{"type":"dance"}"#), Decoded::UnknownType("dance".into()));
        for text in [
            "",
            "{",
            "[]",
            "7",
            r#"{"payload":{}}"#,
            r#"{"type":"accepted","payload":{}}"#,
            r#"{"type":"heartbeat","payload":7}"#,
        ] {
            assert!(matches!(decode_agent(text), Decoded::Malformed(_)), "{text}");
        }
        assert_eq!(
            decode_agent(r#"{"type":"heartbeat","payload":null}"#),
            Decoded::Message(AgentMessage::Heartbeat(Box::default()))
        );
    }

    #[test]
    fn what_reads_in_one_go_is_what_reads_with_care() {
        for text in [
            r#"{"type":"heartbeat","payload":{"tests":3,"metrics":null}}"#,
            r#"{"type":"heartbeat","payload":{"tests":3}} "#,
            r#"{"type":"heartbeat","payload": {"tests":3} }"#,
            r#"{"type":"heartbeat","payload":{"tests":3},"payload":{"tests":4}}"#,
            r#"{"type":"heartbeat","payload":{"tests":3},"type":"dance"}"#,
            r#"{"type":"heartbeat","payload":{"tests":3},"more":{}}"#,
            r#"{"type":"heartbeat","payload":{"tests":3}}}"#,
            r#"{"type":"heartbeat","payload":{"tests":3}"#,
            r#"{"type":"heartbeat","payload":[]}"#,
            r#"{"type":"heartbeat","payload":}"#,
            r#"{"type":"heart\u0062eat","payload":{"tests":3}}"#,
            r#"{"type":"accepted","payload":{"command_id":"0190b6a8-0000-7000-8000-000000000000"}}"#,
            r#"{"type":"accepted","payload":null}"#,
            r#"{"type":"dance","payload":{}}"#,
        ] {
            assert_eq!(decode_agent(text), decode_as(text, agent_message), "{text}");
        }
    }

    #[test]
    fn what_is_sent_reads_back() {
        for message in [
            AgentMessage::Register(Box::new(Register {
                hostname: "a".into(),
                protocol: Some(3),
                ..Register::default()
            })),
            AgentMessage::Heartbeat(Box::new(Heartbeat { reboot_required: Some(true), ..Heartbeat::default() })),
        ] {
            assert_eq!(decode_agent(&encode(&message)), Decoded::Message(message));
        }
    }
}
