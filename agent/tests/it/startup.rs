//! The command line: `--check`, `--version`, `--help`, and a configuration that is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::world::World;

fn run(command: &mut std::process::Command) -> (Option<i32>, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_good_configuration_is_proven() {
    let world = World::new().await;
    let (code, out, err) = run(world.agent_command().env("NIXFLEET_TYPO", "1").arg("--check"));
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("git is /") && out.contains("state directory"), "{out}");
    assert!(out.contains("warning NIXFLEET_TYPO is no setting"), "{out}");
    assert!(!out.contains("a-token-for-tests"));
}

#[tokio::test]
async fn everything_that_is_wrong_is_said_at_once() {
    let world = World::new().await;
    let token = world.path("token");
    fs::write(&token, "abc").unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, _, err) = run(world
        .agent_command()
        .env("NIXFLEET_URL", "ws://192.0.2.1/ws")
        .env_remove("NIXFLEET_TOKEN")
        .env("NIXFLEET_TOKEN_FILE", &token)
        .env("NIXFLEET_INTERVAL", "soon"));
    assert_eq!(code, Some(1));
    for words in ["NIXFLEET_ALLOW_INSECURE=1", "chmod 600", "NIXFLEET_INTERVAL", "3 problem(s)"] {
        assert!(err.contains(words), "{words}: {err}");
    }
}

#[tokio::test]
async fn what_only_the_machine_knows_is_checked_too() {
    let world = World::new().await;
    let blocked = world.path("file");
    fs::write(&blocked, "").unwrap();
    let (code, out, err) = run(world
        .agent_command()
        .env("NIXFLEET_STATE_DIR", blocked.join("state"))
        .env("NIXFLEET_REPO_DIR", world.path("work"))
        .env("NIXFLEET_SSH_KEY", world.path("no-key"))
        .arg("--check"));
    assert_eq!(code, Some(1), "{err}");
    for words in ["NIXFLEET_STATE_DIR", "did not make", "NIXFLEET_SSH_KEY"] {
        assert!(out.lines().any(|line| line.starts_with("wrong") && line.contains(words)), "{words}: {out}");
    }
}

#[tokio::test]
async fn version_and_help_need_no_configuration() {
    let program = env!("CARGO_BIN_EXE_nixfleet-agent");
    let (code, out, _) = run(std::process::Command::new(program).env_clear().arg("--version"));
    assert_eq!((code, out.as_str()), (Some(0), concat!("nixfleet-agent ", env!("CARGO_PKG_VERSION"), "\n")));
    let (code, out, _) = run(std::process::Command::new(program).env_clear().arg("--help"));
    assert!(code == Some(0) && out.contains("--check"));
    let (code, _, err) = run(std::process::Command::new(program).env_clear().arg("serve"));
    assert!(code == Some(2) && err.contains("serve"));
}
