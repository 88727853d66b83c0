use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

fn machine() -> Machine {
    Machine {
        hostname: "HSB0.lan".into(),
        host_type: HostType::Linux,
        platform: Platform::Script,
        home: "/home/a".into(),
        user: "a".into(),
    }
}

fn with(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const GOOD: &[(&str, &str)] = &[
    ("NIXFLEET_URL", "wss://fleet.example.org/ws"),
    ("NIXFLEET_TOKEN", "s3cr3t-t0ken"),
    ("NIXFLEET_REPO_URL", "git@example.org:fleet.git"),
];

#[test]
fn the_defaults_are_those_of_the_table() {
    let (config, warnings) = read(&with(GOOD), &machine()).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.host.name, "HSB0");
    assert_eq!(config.host.state_dir, PathBuf::from("/var/lib/nixfleet-agent"));
    assert_eq!(config.host.checkout, PathBuf::from("/var/lib/nixfleet-agent/repo"));
    assert_eq!(config.host.branch, "main");
    assert_eq!(config.interval, 5);
    assert_eq!(config.location, Location::Home);
    assert_eq!(config.device_type, DeviceType::Desktop);
    assert!(!config.host.allow_exec && !config.log.json);
}

#[test]
fn every_problem_is_listed_at_once() {
    let Problems(problems) = read(
        &with(&[
            ("NIXFLEET_URL", "http://x"),
            ("NIXFLEET_INTERVAL", "0"),
            ("NIXFLEET_PLATFORM", "beos"),
            ("NIXFLEET_THEME_COLOR", "red"),
            ("NIXFLEET_BRANCH", "--upload-pack=x"),
            ("NIXFLEET_HOSTNAME", "-x"),
            ("NIXFLEET_STATE_DIR", "relative"),
            ("NIXFLEET_LOCATION", "moon"),
            ("NIXFLEET_LOG", "loud"),
            ("NIXFLEET_ALLOW_EXEC", "perhaps"),
        ]),
        &machine(),
    )
    .unwrap_err();
    for name in [
        "NIXFLEET_URL",
        "NIXFLEET_TOKEN",
        "NIXFLEET_REPO_URL or",
        "NIXFLEET_INTERVAL",
        "NIXFLEET_PLATFORM",
        "NIXFLEET_THEME_COLOR",
        "NIXFLEET_BRANCH",
        "NIXFLEET_HOSTNAME",
        "NIXFLEET_STATE_DIR",
        "NIXFLEET_LOCATION",
        "NIXFLEET_LOG",
        "NIXFLEET_ALLOW_EXEC",
    ] {
        assert!(problems.iter().any(|problem| problem.contains(name)), "{name}: {problems:#?}");
    }
    assert_eq!(problems.len(), 12, "{problems:#?}");
}

#[test]
fn an_unknown_variable_is_a_warning() {
    let mut variables = with(GOOD);
    variables.insert("NIXFLEET_INTERVALL".into(), "5".into());
    let (_, warnings) = read(&variables, &machine()).unwrap();
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].contains("NIXFLEET_INTERVALL"));
}

#[test]
fn the_token_is_never_printed_and_never_passed_on() {
    let (config, _) = read(&with(GOOD), &machine()).unwrap();
    assert!(!format!("{config:?}").contains("s3cr3t"));
    assert!(!serde_json::to_string(&config.host).unwrap().contains("s3cr3t"));
    let mut bad = with(GOOD);
    bad.insert("NIXFLEET_TOKEN".into(), "s3cr3t with spaces".into());
    assert!(!read(&bad, &machine()).unwrap_err().to_string().contains("s3cr3t"));
}

#[test]
fn a_token_file_that_others_can_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "abc\n").unwrap();
    for (mode, good) in [(0o600, true), (0o400, true), (0o440, true), (0o644, false), (0o602, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(Secret::from_file(&file).is_ok(), good, "{mode:o}");
    }
    assert!(Secret::from_file(&dir.path().join("none")).is_err());
}

#[test]
fn commands_get_a_path_and_a_home_and_nothing_by_accident() {
    let mut variables = with(GOOD);
    variables.extend(with(&[("PATH", "/opt/bin:/usr/bin"), ("SECRET", "x"), ("NIX_CONFIG", "y")]));
    let (config, _) = read(&variables, &machine()).unwrap();
    let environment = config.host.environment;
    assert!(environment["PATH"].starts_with("/opt/bin:/usr/bin:/run/wrappers/bin"));
    assert_eq!(environment["HOME"], "/home/a");
    assert_eq!(environment["NIX_CONFIG"], "y");
    assert!(!environment.contains_key("SECRET") && !environment.contains_key("NIXFLEET_TOKEN"));
}

#[test]
fn every_variable_stands_in_the_document_for_people() {
    let document = include_str!("../../../docs/configuration.md");
    let (_, of_agent) = document.split_once("## The agent").unwrap();
    let missing: Vec<_> = VARIABLES.iter().filter(|name| !of_agent.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/configuration.md does not tell of {missing:?}");
}
