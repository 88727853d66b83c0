//! `fleet` as a person runs it, against a server that answers what the test says.

#![expect(clippy::unwrap_used, reason = "a test that can't go on stops")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::mpsc;

/// Answers one request with this, and gives the request.
fn server(status: &str, body: &str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut piece = [0; 4096];
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let read = stream.read(&mut piece).unwrap();
            request.extend_from_slice(&piece[..read]);
        }
        stream.write_all(answer.as_bytes()).unwrap();
        sender.send(String::from_utf8(request).unwrap()).unwrap();
    });
    (url, receiver)
}

fn fleet(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    for name in ["FLEET_URL", "FLEET_TOKEN", "FLEET_TOKEN_FILE"] {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

fn said(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

fn host(name: &str, state: &str, tags: &[&str], command: &serde_json::Value) -> serde_json::Value {
    let light = |status: &str| {
        let action = serde_json::json!({
            "kind": "details", "op": null, "pipeline": null, "command_id": null, "label": "Details"
        });
        serde_json::json!({ "status": status, "message": "because", "action": action, "also": [] })
    };
    serde_json::json!({
        "id": name, "platform": "script", "host_type": "linux", "state": state, "last_seen": null,
        "agent_version": "0.1.0", "agent_protocol": 3, "os_version": null, "nixpkgs_version": null,
        "generation": "1234567890abcdef1234567890abcdef12345678", "lock_hash": null,
        "deployed": { "commit": "fedcba0987654321fedcba0987654321fedcba09", "lock_hash": null, "system_path": null,
                      "at": "2026-11-21T06:02:24.007Z" },
        "location": "home", "device_type": "server", "color": null, "tags": tags, "comment": null, "metrics": null,
        "disk": null, "reboot_required": null, "failed_units": [], "repo_error": null,
        "lights": { "agent": light("ok"), "git": light("outdated"), "lock": light("error"),
                    "system": light("working"), "tests": light("unknown") },
        "command": command, "offers": [], "broken": null
    })
}

fn two_hosts() -> String {
    let hosts = [
        host("atlas", "online", &["web"], &serde_json::Value::Null),
        host("luna", "never", &[], &serde_json::Value::Null),
    ];
    serde_json::json!({ "version": 7, "hosts": hosts }).to_string()
}

#[test]
fn status_is_a_plain_table_when_piped() {
    let (url, request) = server("200 OK", &two_hosts());
    let output = fleet(&["--url", &url, "status"], &[("FLEET_TOKEN", "tok")]);
    let (out, err, code) = said(&output);
    assert_eq!((err.as_str(), code), ("", 0));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("HOST   STATE   A G L S T  COMMIT"), "{out}");
    assert_eq!(lines[1], "atlas  online  o ! X * -  1234567 (runs fedcba0)  never  -");
    assert!(lines[2].starts_with("luna   never "));
    assert!(!out.contains('\u{1b}'));
    let request = request.recv().unwrap();
    assert!(request.starts_with("GET /api/v1/hosts HTTP/1.1"));
    assert!(request.contains("authorization: Bearer tok"));
}

#[test]
fn json_and_a_selection() {
    for (selector, expected) in [("@web", "atlas"), ("l*", "luna"), ("LUNA", "luna")] {
        let (url, _) = server("200 OK", &two_hosts());
        let (out, _, code) = said(&fleet(&["status", "--json", selector], &[("FLEET_URL", &url)]));
        let list: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(code, 0);
        assert_eq!(list["hosts"].as_array().unwrap().len(), 1);
        assert_eq!(list["hosts"][0]["id"], expected, "{selector}");
    }
}

#[test]
fn what_goes_wrong_says_what_to_do_and_has_its_code() {
    let (_, err, code) = said(&fleet(&["status"], &[("FLEET_URL", "http://127.0.0.1:9")]));
    assert_eq!(code, 3);
    assert!(err.contains("cannot reach http://127.0.0.1:9: connection refused. Check that"), "{err}");

    let problem = r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"no login","code":null,"message":null,"offer":null,"command_id":null}"#;
    let (url, _) = server("401 Unauthorized", problem);
    let (_, err, code) = said(&fleet(&["status"], &[("FLEET_URL", &url)]));
    assert_eq!(code, 3);
    assert!(err.contains("refuses the login: no login. Give an API token"), "{err}");

    let (url, _) = server("200 OK", "<html>");
    let (_, err, code) = said(&fleet(&["status"], &[("FLEET_URL", &url)]));
    assert_eq!(code, 3);
    assert!(err.contains("does not answer like a dashboard"), "{err}");

    let (url, _) = server("200 OK", &two_hosts());
    let (_, err, code) = said(&fleet(&["status", "nobody"], &[("FLEET_URL", &url)]));
    assert_eq!(code, 2);
    assert!(err.contains("no host fits \"nobody\"; the fleet has atlas, luna"), "{err}");

    let (_, err, code) = said(&fleet(&["status"], &[("FLEET_URL", "nonsense")]));
    assert_eq!(code, 2);
    assert!(err.contains("is no address of a dashboard"), "{err}");

    let (_, _, code) = said(&fleet(&["explode"], &[]));
    assert_eq!(code, 2);
}
