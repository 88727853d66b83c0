//! A log by its lines, as a person's tab and a program ask for it.

use std::sync::Arc;

use nixfleet_model::fleet_state::StateChange;
use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::api::{Command, CommandState};
use nixfleet_protocol::log::Record;
use nixfleet_protocol::{CommandId, Op, Time};

use super::harness::{Served, Wanted, serve};
use crate::actors::host::log::log_path;
use crate::actors::store::Scope;

const ID: &str = "01900000-0000-7000-8000-000000000001";

/// A command that failed, with a log of 3,000 lines.
async fn with_log() -> (Served, String) {
    let served = serve(Wanted::default()).await;
    let id: CommandId = ID.parse().unwrap();
    let command = Command {
        host: Some("hsb0".parse().unwrap()),
        ..nixfleet_model::view::command_view(&nixfleet_model::command::Command {
            state: CommandState::Error,
            ..nixfleet_model::command::Command::new(
                id,
                None,
                Op::Switch,
                "user".to_owned(),
                Time::from_millis(1_795_240_944_007),
            )
        })
    };
    served.handles.sync.publish(vec![StateChange::Command(Arc::new(command))]);
    let path = log_path(served.data_dir(), &"hsb0".parse().unwrap(), id);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut text = String::new();
    for line in 1..=3_000 {
        let line =
            if line == 1_234 { "\u{1b}[31merror:\u{1b}[0m <b>no</b>".to_owned() } else { format!("line {line}") };
        text.push_str(&Record::line(Time::from_millis(7), Stream::Stderr, line).encode());
    }
    std::fs::write(path, text).unwrap();
    let token = format!("Bearer {}", served.api(Scope::Read).await);
    (served, token)
}

#[tokio::test]
async fn lines_are_told_by_their_numbers() {
    let (served, token) = with_log().await;
    let ask = async |what: &str| {
        let path = format!("/api/v1/commands/{ID}/log/{what}");
        served.get(&path, &[("Authorization", &token)]).await
    };
    let some = ask("lines?line=2000&count=2").await.json();
    assert_eq!((&some["line"], &some["count"]), (&2_000.into(), &3_000.into()));
    assert_eq!(some["lines"][1]["line"], "line 2001");
    let last = ask("lines?count=3").await.json();
    assert_eq!((&last["line"], last["lines"].as_array().unwrap().len()), (&2_998.into(), 3));
    assert_eq!(ask("lines?count=99999").await.json()["lines"].as_array().unwrap().len(), 1_000, "no more at once");
    let html = ask("lines?line=1234&count=1&view=html").await.json();
    assert_eq!(html["lines"].as_array().unwrap().len(), 0);
    let html = html["html"].as_str().unwrap();
    assert!(html.contains("data-n=\"1234\"") && html.contains("<span class=\"f1\">error:</span>"), "{html}");
    assert!(!html.contains("<b>"), "what a program prints is text: {html}");
    assert_eq!(ask("lines?line=x").await.status, 400);
}

#[tokio::test]
async fn a_log_is_searched_and_its_first_error_found() {
    let (served, token) = with_log().await;
    let ask = async |what: &str| {
        let path = format!("/api/v1/commands/{ID}/log/{what}");
        served.get(&path, &[("Authorization", &token)]).await
    };
    let found = ask("search?text=LINE%2029&from=2950").await.json();
    assert_eq!((&found["count"], &found["seen"]), (&50.into(), &3_000.into()));
    assert_eq!(found["lines"][0], 2_950);
    assert_eq!(ask("search?text=error:%20%3Cb").await.json()["lines"], serde_json::json!([1_234]));
    assert_eq!(ask("first-error").await.json()["lines"], serde_json::json!([1_234]));
    assert_eq!(ask("search").await.status, 400);
    assert_eq!(ask(&format!("search?text={}", "x".repeat(1_001))).await.status, 400);
}

#[tokio::test]
async fn a_downloaded_log_says_of_what_it_is() {
    let (served, token) = with_log().await;
    let raw = served.get(&format!("/api/v1/commands/{ID}/log?raw=1"), &[("Authorization", &token)]).await;
    assert_eq!(raw.header("content-disposition"), "attachment; filename=\"switch-hsb0-2026-11-21.log\"");
    let lines = served.get(&format!("/api/v1/commands/{ID}/log"), &[("Authorization", &token)]).await;
    assert_eq!(lines.header("content-disposition"), "");
}
