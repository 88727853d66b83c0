use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use futures_util::{SinkExt as _, StreamExt as _};
use nixfleet_protocol::Time;
use nixfleet_protocol::agent::{Platform, Registered, StatusAck};
use nixfleet_protocol::codec::{decode_agent, encode};
use tokio::io::{AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use uuid::Uuid;

use super::*;
use crate::config::{self, machine::Machine};
use crate::journal::Journal;
use crate::journal::entry::{RESULT, STARTED};
use crate::link::Transport;
use crate::record::{Outcome, tests_support};

/// An agent of this directory, with a result of a switch that nobody has acknowledged.
fn agent_with_a_result(dir: &Path, id: CommandId) -> Agent {
    let variables: BTreeMap<String, String> = [
        ("NIXFLEET_URL", "ws://127.0.0.1:1/ws".to_owned()),
        ("NIXFLEET_TOKEN", "a-token-for-tests".to_owned()),
        ("NIXFLEET_REPO_DIR", dir.display().to_string()),
        ("NIXFLEET_STATE_DIR", dir.join("state").display().to_string()),
        ("NIXFLEET_ROOT", dir.join("root").display().to_string()),
        ("NIXFLEET_HOSTNAME", "h1".to_owned()),
        ("NIXFLEET_PLATFORM", "script".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    let (config, _) = config::read(&variables, &Machine::look(&variables)).unwrap();
    let journal = Journal::open(&config.host.state_dir).unwrap();
    let order = tests_support::order(id);
    journal.admit(&order).unwrap();
    let folder = journal.commands_dir().join(id.to_string());
    fs::write(folder.join(STARTED), "").unwrap();
    let outcome =
        Outcome { exit_code: 0, stage: None, finished_at: Time::from_millis(1), ..crate::runner::facts_now(&order) };
    crate::durable::write_json(&folder.join(RESULT), &outcome).unwrap();
    assert_eq!(order.host.platform, Platform::Script);
    Agent::new(config).unwrap()
}

async fn told(socket: &mut WebSocketStream<DuplexStream>) -> AgentMessage {
    loop {
        if let Message::Text(text) = socket.next().await.unwrap().unwrap()
            && let Decoded::Message(message) = decode_agent(text.as_str())
        {
            return message;
        }
    }
}

#[tokio::test]
async fn the_wish_to_make_room_for_a_new_agent_outlives_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let id = CommandId::from_uuid(Uuid::from_u128(7));
    let place = dir.path().join("root/run/current-system/sw/bin/nixfleet-agent");
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(&place, "the agent before the switch").unwrap();
    let mut agent = agent_with_a_result(dir.path(), id);
    fs::write(&place, "the agent that the switch brought").unwrap();
    // Small, so that nothing waits on the way.
    let (ours, theirs) = tokio::io::duplex(256);
    let transport: Box<dyn Transport> = Box::new(ours);
    let link = Link::new(WebSocketStream::from_raw_socket(transport, Role::Client, None).await);
    let mut dashboard = WebSocketStream::from_raw_socket(theirs, Role::Server, None).await;
    let dashboard = async move {
        let send = |message: DashboardMessage| Message::text(encode(&message));
        assert!(matches!(told(&mut dashboard).await, AgentMessage::Register(_)));
        let registered = Registered { host_id: "h1".into(), protocol: Some(3), ..Registered::default() };
        dashboard.send(send(DashboardMessage::Registered(registered))).await.unwrap();
        while !matches!(told(&mut dashboard).await, AgentMessage::Status(_)) {}
        while !matches!(told(&mut dashboard).await, AgentMessage::Heartbeat(_)) {}
        // The acknowledgement is the last that ever comes over this link.
        dashboard.send(send(DashboardMessage::StatusAck(StatusAck { command_id: id }))).await.unwrap();
        // Nothing comes behind it, and what the agent is about to say still goes out: else it may fail at that first.
        dashboard.get_mut().shutdown().await.unwrap();
        while let Some(Ok(_)) = dashboard.next().await {}
    };
    let mut ending = Ending::new().unwrap();
    let ((end, _), ()) = tokio::join!(run(&mut agent, link, &mut ending), dashboard);
    assert!(matches!(end, SessionEnd::Leaving(Departure::Restart)), "{end:?}");
}
