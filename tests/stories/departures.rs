//! The agent goes on purpose: `restart` ends with the new process, `reboot` with the new boot, and neither by
//! anything less.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use ring::hmac;
use serde_json::json;

use crate::fleet::{Fleet, processes_in, signal};

/// The secret of the story's codes, in base32 and as bytes.
const SECRET: (&str, &[u8]) = ("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", b"12345678901234567890");

/// The code of this moment, as an authenticator shows it.
fn code() -> String {
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.1);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let at = usize::from(tag.as_ref()[19] & 15);
    let number = u32::from_be_bytes(tag.as_ref()[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

#[test]
fn a_restart_is_over_when_the_new_process_registered() {
    let fleet = Fleet::new().host("hsb0");
    let command = fleet.run("hsb0", "restart", "SUCCESS");
    assert!(command["finished_at"].is_string(), "{command:#}");
    fleet.wait("it is online", |fleet| fleet.get("/api/v1/hosts/hsb0").1["state"] == "online");
    // The slot is free at once, and the next command runs.
    assert!(fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
    fleet.run("hsb0", "switch", "SUCCESS");
}

#[test]
fn a_reboot_is_over_with_another_boot_and_not_with_another_process() {
    let mut fleet = Fleet::with(&[("NIXFLEET_TOTP_SECRET", SECRET.0)]);
    let root = fleet.dir().join("root");
    let boot_id = root.join("proc/sys/kernel/random/boot_id");
    fs::create_dir_all(boot_id.parent().unwrap()).unwrap();
    fs::write(&boot_id, "boot-one\n").unwrap();
    let root = root.display().to_string();
    fleet.add_host("hsb0", &[("NIXFLEET_ROOT", &root), ("NIXFLEET_REBOOT_COMMAND", "/bin/echo going down")]);
    let (status, body) = fleet.post("/api/v1/hosts/hsb0/ops/reboot", &json!({ "totp": code() }));
    assert_eq!(status, 202, "{body}");
    let id = body["id"].as_str().unwrap().to_owned();
    fleet.wait("it was asked for", |fleet| {
        fleet.log(&id).iter().any(|(_, line)| line.contains("waiting for the host to go down"))
    });
    // The agent dies and comes back within the same boot: that is no reboot.
    fleet.kill_agent("hsb0");
    fleet.wait("it is missed", |fleet| fleet.command(&id)["state"] == "AWAITING_RECONNECT");
    fleet.start_agent("hsb0");
    fleet.wait("it is back", |fleet| fleet.command(&id)["state"] == "EXECUTING");
    // The host goes down: everything on it ends. It comes up with another boot.
    fleet.kill_agent("hsb0");
    for process in processes_in(&fleet.state_dir("hsb0")) {
        let arguments = fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        if !arguments.contains("serve") {
            signal(process, rustix::process::Signal::KILL);
        }
    }
    fs::write(&boot_id, "boot-two\n").unwrap();
    fleet.start_agent("hsb0");
    let command = fleet.ended(&id);
    assert_eq!(command["state"], "SUCCESS", "{command:#}");
}
