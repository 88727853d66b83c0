//! `/readyz` speaks of progress: 503 when the store can't write, and 200 again when it can.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::fleet::Fleet;

/// A small file system of its own, where there is root.
struct Tmpfs<'a>(&'a Path);

impl<'a> Tmpfs<'a> {
    fn mount(at: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Tells of a test that can't run here: by name and reason, never silently.
fn skipped(test: &str, reason: &str) {
    println!("SKIPPED {test}: {reason}");
    if let Some(list) = std::env::var_os("NIXFLEET_SKIPPED_TESTS") {
        let mut list = OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{test}: {reason}").unwrap();
    }
}

#[test]
fn a_full_disk_is_a_state_and_it_goes_on_when_there_is_room() {
    let dir = tempfile::Builder::new().prefix("nixfleet-full-").tempdir().unwrap();
    let data = dir.path().join("data");
    let Some(_tmpfs) = Tmpfs::mount(&data, "24m") else {
        return skipped("a_full_disk_is_a_state_and_it_goes_on_when_there_is_room", "mounting a tmpfs needs root");
    };
    let mut fleet = Fleet::with(&[("NIXFLEET_DATA_DIR", data.to_str().unwrap())]).host("hsb0");
    fleet.run("hsb0", "switch", "SUCCESS");

    let filler = data.join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    fleet.wait("not ready, and it says why", |fleet| {
        // Something must be written before anyone can notice.
        fleet.post("/api/v1/hosts/hsb0/ops/set-color", &json!({ "args": { "color": "#112233" } }));
        let (status, body) = fleet.get("/readyz");
        status == 503 && body.to_string().contains("store")
    });
    assert_eq!(fleet.get("/health").0, 200);
    let (status, problem) = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true }));
    assert_eq!(status, 503, "nothing is acknowledged that is not on disk: {problem}");

    // A start on a full disk waits, and says for what; it is no crash loop.
    fleet.kill_daemon();
    fleet.launch_daemon();
    fleet.wait("it says what it waits for", |fleet| fleet.logs().contains("waits until"));
    assert!(fleet.daemon_lives());

    fs::remove_file(&filler).unwrap();
    fleet.wait("ready again", |fleet| fleet.try_get("/readyz").is_some_and(|(status, _)| status == 200));
    fleet.wait("the host is back", |fleet| fleet.get("/api/v1/hosts/hsb0").1["state"] == "online");
    let forced = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true }));
    assert!(forced.0 == 202 || forced.1["code"] == "host_busy", "{}", forced.1);
    fleet.wait("the host is idle", |fleet| fleet.get("/api/v1/hosts/hsb0").1["command"].is_null());
    let again = fleet.post("/api/v1/hosts/hsb0/ops/switch", &json!({ "force": true }));
    assert_eq!(again.0, 202, "{}", again.1);
    assert_eq!(fleet.ended(again.1["id"].as_str().unwrap())["state"], "SUCCESS");
}

#[test]
fn a_second_daemon_on_the_same_directory_says_so_and_ends() {
    let fleet = Fleet::new();
    let output = Command::new(env!("CARGO_BIN_EXE_nixfleet"))
        .arg("serve")
        .env("NIXFLEET_LISTEN", format!("127.0.0.1:{}", crate::fleet::free_port()))
        .env("NIXFLEET_DATA_DIR", fleet.data_dir())
        .env("NIXFLEET_PASSWORD_HASH", bcrypt::hash("x", 4).unwrap())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains(&fleet.data_dir().display().to_string()), "{said}");
    assert_eq!(fleet.get("/readyz").0, 200, "the first one does not notice");
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn the_daemon_has_one_heap_and_is_the_process_that_was_started() {
    let mut fleet = Fleet::new();
    assert!(fleet.daemon_lives());
    let environment = fs::read(format!("/proc/{}/environ", fleet.daemon_id())).unwrap();
    let settled = b"GLIBC_TUNABLES=glibc.malloc.arena_max=1";
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable.starts_with(settled)));
    fleet.stop_daemon();
}
