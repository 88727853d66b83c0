//! Tables: what is given, and what becomes of it.

use nixfleet_protocol::Op;

use super::*;

const HASH: &str = "$2b$04$EGdrhbKUv8Oc9vGiXX0HQOxSg445d458Muh7DAHskb6QbtCvdxcie";

fn none(_: &Path) -> io::Result<String> {
    Err(io::Error::from(io::ErrorKind::NotFound))
}

fn vars(given: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut vars: BTreeMap<String, String> =
        given.iter().map(|(name, value)| (format!("NIXFLEET_{name}"), (*value).to_owned())).collect();
    vars.entry("NIXFLEET_PASSWORD_HASH".to_owned()).or_insert_with(|| HASH.to_owned());
    vars
}

fn read(given: &[(&str, &str)], file: &str) -> Result<(Config, Vec<Warning>), Vec<Problem>> {
    let vars = vars(given);
    Config::from(&Given { vars: &vars, file: Some(("nixfleet.toml".into(), file.to_owned())), read: &none })
}

fn fine(given: &[(&str, &str)], file: &str) -> Config {
    match read(given, file) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{problems:?}"),
    }
}

fn problems(given: &[(&str, &str)], file: &str) -> Vec<String> {
    match read(given, file) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn without_anything_but_the_password_the_defaults_hold() {
    let config = fine(&[], "");
    assert_eq!(config.listen.to_string(), "127.0.0.1:8000");
    assert_eq!(config.data_dir, Path::new("/var/lib/nixfleet"));
    assert_eq!(config.access.session_duration, Duration::from_hours(24));
    assert_eq!(config.remote.interval, Duration::from_secs(30));
    assert_eq!(config.remote.branch, "main");
    assert_eq!(config.timeout_action, TimeoutAction::Ask);
    assert_eq!((config.command_days, config.event_days), (30, 7));
    assert!(config.access.session_secrets.is_empty());
}

#[test]
fn the_environment_wins_over_the_file() {
    let file = "listen = \"127.0.0.1:1\"\nremote_interval = 60\nallow_insecure = true\n\
                allowed_origins = [\"https://a.example\", \"http://b.example:8080\"]";
    let config = fine(&[("LISTEN", "127.0.0.1:2")], file);
    assert_eq!(config.listen.port(), 2);
    assert_eq!(config.remote.interval, Duration::from_mins(1));
    assert_eq!(config.web.allowed_origins.len(), 2);
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let given = [("LISTEN", "here"), ("SESSION_DURATION", "soon"), ("PASSWORD_HASH", "secret"), ("LOG_FORMAT", "xml")];
    let problems = problems(&given, "colour = \"red\"\nbranch = 1.5");
    for name in ["NIXFLEET_LISTEN", "NIXFLEET_SESSION_DURATION", "NIXFLEET_PASSWORD_HASH", "NIXFLEET_LOG_FORMAT"] {
        assert!(problems.iter().any(|problem| problem.starts_with(name)), "{name}: {problems:?}");
    }
    assert!(problems.iter().any(|problem| problem.starts_with("colour (in nixfleet.toml)")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.starts_with("branch")), "{problems:?}");
    assert_eq!(problems.len(), 6, "{problems:?}");
    assert!(!problems.iter().any(|problem| problem.contains("secret\"")), "{problems:?}");
}

#[test]
fn each_bad_value_stops_the_start() {
    for (name, value) in [
        ("LISTEN", "127.0.0.1"),
        ("BASE_URL", "fleet.example.org"),
        ("BASE_URL", "https://fleet.example.org/path"),
        ("ALLOWED_ORIGINS", "https://a.example,b"),
        ("TRUSTED_PROXIES", "proxy"),
        ("ALLOW_INSECURE", "yes please"),
        ("TOTP_SECRET", "189"),
        ("TOTP_SECRET", "AAAA"),
        ("SESSION_SECRET", "short"),
        ("SESSION_SECRET", "0123456789abcdef0123456789abcdef,short"),
        ("AGENT_TOKEN", "two words"),
        ("REPO_URL", "https://user:password@example.org/x.git"),
        ("REPO_URL", "--upload-pack=x"),
        ("BRANCH", "a b"),
        ("BRANCH", "--x"),
        ("REMOTE_INTERVAL", "0"),
        ("GITHUB_REPO", "name"),
        ("GITHUB_REPO", "me/../x"),
        ("GITHUB_API_URL", "api.example.org"),
        ("GITHUB_TOKEN", "two words"),
        ("VERSION_URL", "version.json"),
        ("VERSION_URL", "https://me:password@example.org/v.json"),
        ("TIMEOUT_ACTION", "wait"),
        ("CMD_RETENTION_DAYS", "0"),
        ("LOG_RETENTION_DAYS", "-1"),
        ("LOG", "a=b=c"),
        ("TLS_CERT", "/cert"),
        ("TLS_KEY", "/key"),
    ] {
        let problems = problems(&[(name, value)], "");
        assert_eq!(problems.len(), 1, "{name}={value}: {problems:?}");
        assert!(problems[0].starts_with("NIXFLEET_"), "{problems:?}");
        assert!(!problems[0].contains("password@") && !problems[0].contains("two words"), "{problems:?}");
    }
}

#[test]
fn beyond_loopback_something_must_guard_it() {
    let open = ("LISTEN", "0.0.0.0:8000");
    assert_eq!(problems(&[open], "").len(), 1);
    assert!(problems(&[open, ("ALLOW_INSECURE", "1")], "").is_empty());
    assert!(problems(&[open, ("TRUSTED_PROXIES", "10.0.0.1")], "").is_empty());
    assert!(problems(&[open, ("TLS_CERT", "/c"), ("TLS_KEY", "/k")], "").is_empty());
    assert!(problems(&[("LISTEN", "[::1]:1")], "").is_empty());
}

#[test]
fn a_secret_may_come_from_a_file_or_from_systemd() {
    let read = |path: &Path| match path.to_str() {
        Some("/secrets/admin") => Ok("from-a-file-0123456789\n".to_owned()),
        Some("/creds/agent-token") => Ok("from-systemd-0123456789\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        _ => none(path),
    };
    let mut vars = vars(&[("ADMIN_TOKEN_FILE", "/secrets/admin")]);
    vars.insert("CREDENTIALS_DIRECTORY".to_owned(), "/creds".to_owned());
    let (config, warnings) = Config::from(&Given { vars: &vars, file: None, read: &read }).ok().unwrap();
    assert!(config.access.admin_token.unwrap().is("from-a-file-0123456789"));
    assert!(config.access.agent_token.unwrap().is("from-systemd-0123456789"));
    assert!(warnings.is_empty(), "{warnings:?}");
    vars.insert("NIXFLEET_ADMIN_TOKEN".to_owned(), "directly".to_owned());
    vars.insert("NIXFLEET_TOTP_SECRET_FILE".to_owned(), "/empty".to_owned());
    vars.insert("NIXFLEET_SESSION_SECRET_FILE".to_owned(), "/nowhere".to_owned());
    let problems = Config::from(&Given { vars: &vars, file: None, read: &read }).err().unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn what_is_unknown_or_idle_is_a_warning() {
    let given = [
        ("COLOUR", "red"),
        ("VERSION_URL", "https://example.org/version.json"),
        ("REPO_URL", "/srv/c.git"),
        ("GITHUB_TOKEN", "t0ken"),
        ("CONFIG", "x"),
    ];
    let warnings = read(&given, "").ok().unwrap().1;
    let warnings: Vec<&str> = warnings.iter().map(|warning| warning.0.as_str()).collect();
    assert_eq!(
        warnings,
        [
            "NIXFLEET_COLOUR is no setting of the daemon; it is ignored",
            "NIXFLEET_GITHUB_TOKEN does nothing without NIXFLEET_GITHUB_REPO",
            "NIXFLEET_VERSION_URL is not read: NIXFLEET_REPO_URL says where the head is",
        ]
    );
}

#[test]
fn a_token_does_not_cross_a_network_in_the_clear() {
    let (repo, token) = (("GITHUB_REPO", "me/c"), ("GITHUB_TOKEN", "t0ken-t0ken"));
    let clear = ("GITHUB_API_URL", "http://git.example.org/api/v3");
    let told = problems(&[repo, token, clear], "");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("NIXFLEET_GITHUB_API_URL") && !told[0].contains("t0ken"), "{told:?}");
    assert!(problems(&[repo, clear], "").is_empty(), "without a token nothing is lost");
    assert!(problems(&[repo, token, ("GITHUB_API_URL", "http://127.0.0.1:1")], "").is_empty());
    let config = fine(&[repo, token, ("GITHUB_API_URL", "https://git.example.org/api/v3/")], "").remote;
    assert_eq!(config.github_api_url.as_deref(), Some("https://git.example.org/api/v3"));
}

#[test]
fn an_empty_variable_is_as_good_as_none() {
    let config = fine(&[("AGENT_TOKEN", ""), ("LISTEN", " ")], "");
    assert!(config.access.agent_token.is_none());
    assert_eq!(config.listen.port(), 8000);
}

#[test]
fn pipelines_are_read() {
    let config = fine(&[], "[[pipeline]]\nname = \"careful\"\nops = [\"pull\", \"plan\"]\nparallel = 1\n");
    assert_eq!(config.pipelines[0].entry().ops, [Op::Pull, Op::Plan]);
    for bad in [
        "[[pipeline]]\nname = \"x\"\nops = [\"dance\"]",
        "[[pipeline]]\nname = \"x y\"\nops = [\"pull\"]",
        "[[pipeline]]\nname = \"x\"\nops = []",
        "[[pipeline]]\nname = \"x\"\nops = [\"pull\"]\ncolour = 1",
        "[[pipeline]]\nname = \"x\"\nops = [\"pull\"]\n[[pipeline]]\nname = \"x\"\nops = [\"pull\"]",
        "[[pipeline]]\nname = \"do-all\"\nops = [\"pull\"]",
        "[[pipeline]]\nname = \"x\"\nops = [\"pull\", \"journal\"]",
        "pipeline = 7",
        "listen = ",
    ] {
        assert_eq!(problems(&[], bad).len(), 1, "{bad}");
    }
}

#[test]
fn several_session_secrets_may_stand() {
    let a = "0123456789abcdef0123456789abcdef";
    let config = fine(&[("SESSION_SECRET", &format!("{a}, {a}x"))], "");
    assert_eq!(config.access.session_secrets.len(), 2);
}

#[test]
fn channels_are_read_from_variables_and_from_the_file() {
    let given = [
        ("NTFY_URL", "https://ntfy.sh/topic"),
        ("SMTP_URL", "smtps://me%40example.org@mail.example.org"),
        ("MAIL_FROM", "NixFleet <fleet@example.org>"),
        ("MAIL_TO", "a@example.org, b@example.org"),
        ("NOTIFY_EVENTS", "host_gone,run_halted"),
        ("NOTIFY_QUIET", "22:00-07:00"),
        ("NOTIFY_TIMEZONE", "+02:00"),
    ];
    let file = "[[notify]]\nname = \"night\"\nkind = \"webhook\"\nurl = \"https://example.org/hook\"\nsecret = \"s\"\n\
                hosts = [\"Web*\"]\nlevels = [\"error\"]\nheaders = { X-Team = \"ops\" }\n";
    let config = fine(&given, file);
    let names: Vec<_> = config.notify.iter().map(|channel| channel.name.as_str()).collect();
    assert_eq!(names, ["ntfy", "mail", "night"]);
    assert_eq!(config.notify[0].rules.kinds.len(), 2);
    assert_eq!(config.notify[0].quiet.as_ref().unwrap().to_string(), "22:00 to 07:00 (UTC+02)");
    let Way::Mail(mail) = &config.notify[1].way else { panic!("no mail") };
    assert_eq!((mail.user.as_deref(), mail.port, mail.tls), (Some("me@example.org"), 465, MailTls::Implicit));
    assert_eq!(mail.to.len(), 2);
    assert_eq!(config.notify[2].rules.hosts, ["web*"]);
    assert!(config.notify[2].quiet.is_none(), "each table has rules of its own");
}

#[test]
fn bad_channels_stop_the_start_all_at_once_and_show_no_secret() {
    for (given, file, said) in [
        (&[("NTFY_URL", "ntfy.sh/SECRET")][..], "", "NIXFLEET_NTFY_URL: expected an address"),
        (&[("DISCORD_WEBHOOK", "https://me:SECRET@example.org")], "", "NIXFLEET_DISCORD_WEBHOOK: must not hold"),
        (&[("SMTP_URL", "smtps://me:SECRET@example.org")], "", "NIXFLEET_SMTP_URL: must not hold a password"),
        (&[("SMTP_URL", "smtps://me@example.org")], "", "NIXFLEET_MAIL_FROM: is required"),
        (&[("SMTP_URL", "smtps://x"), ("MAIL_FROM", "a@b.c")], "", "NIXFLEET_MAIL_TO: is required"),
        (&[("NOTIFY_EVENTS", "everything")], "", "NIXFLEET_NOTIFY_EVENTS: expected of these: command_failed"),
        (&[("NOTIFY_QUIET", "at night")], "", "NIXFLEET_NOTIFY_QUIET: expected hours"),
        (&[("NOTIFY_TIMEZONE", "Middle/Earth")], "", "NIXFLEET_NOTIFY_TIMEZONE: is no time zone"),
        (&[], "notify = 7", "notify: is written [[notify]]"),
        (&[], "[[notify]]\nname = \"x\"\nkind = \"pigeon\"\nurl = \"https://a\"", "kind: expected ntfy"),
        (&[], "[[notify]]\nname = \"x\"\nkind = \"ntfy\"", "url: is required"),
        (&[], "[[notify]]\nname = \"x\"\nkind = \"ntfy\"\nurl = 7777", "url: expected a text"),
        (&[], "[[notify]]\nname = \"X y\"\nkind = \"ntfy\"\nurl = \"https://a/b\"", "name: expected lower case"),
        (
            &[],
            "[[notify]]\nname = \"x\"\nkind = \"ntfy\"\nurl = \"https://a/b\"\nsecret = \"SECRET\"",
            "secret: a channel of this kind has none",
        ),
        (&[], "[[notify]]\nname = \"x\"\nkind = \"ntfy\"\nurl = \"https://a/b\"\ncolour = 1", "unknown field"),
        (
            &[("NTFY_URL", "https://a/b")],
            "[[notify]]\nname = \"ntfy\"\nkind = \"ntfy\"\nurl = \"https://a/c\"",
            "two channels are named",
        ),
    ] {
        let problems = problems(given, file).join("\n");
        assert!(problems.contains(said), "{said:?} in {problems:?}");
        assert!(!problems.contains("SECRET") && !problems.contains("7777"), "{problems}");
    }
}
