//! What a click on a light does, for every light and status: the table "What a click does". A card says the
//! sentence and has its offers; everything else is sent, or shown, at once.

use nixfleet_protocol::agent::DeviceType;
use nixfleet_protocol::api::{Action, ActionKind, Light, LightStatus};

use super::*;

fn action(kind: ActionKind, label: &str) -> Action {
    Action { kind, op: None, pipeline: None, command_id: None, label: label.to_owned(), args: None }
}

fn op(op: Op, label: &str) -> Action {
    Action { op: Some(op), ..action(ActionKind::Op, label) }
}

const ID: &str = "01920000-0000-7000-8000-000000000009";

fn of_command(kind: ActionKind, label: &str) -> Action {
    Action { command_id: ID.parse().ok(), ..action(kind, label) }
}

/// What a light sends, as text: `post …`, `log …`, or `card: offer; offer`.
fn click(name: &str, status: LightStatus, own: Action, also: Vec<Action>) -> String {
    let ops = sample::op_entries();
    let mut host = sample::host("hsb0", DeviceType::Server, "#2563eb", sample::green());
    let light = Light { status, message: "Why.".to_owned(), action: own, also };
    let lights = std::sync::Arc::make_mut(&mut host.lights);
    match name {
        "Agent" => lights.agent = light,
        "Git" => lights.git = light,
        "Lock" => lights.lock = light,
        "System" => lights.system = light,
        _ => lights.tests = light,
    }
    let state = with_host(sample::state(), host);
    let page = fleet_page(&view(&state, &ops), SESSION);
    let cell = element(&page, "host:hsb0:lights").unwrap();
    let button = cell.split("<button").find(|button| button.contains(&format!("aria-label=\"{name}:"))).unwrap();
    let attribute = |name: &str| {
        let text = button.split(&format!(" data-{name}=\"")).nth(1)?.split('"').next()?;
        Some(["&#34;\"", "&#39;'", "&#60;<", "&#62;>", "&#38;&"].iter().fold(text.to_owned(), |text, escape| {
            let (escaped, plain) = escape.split_at(5);
            text.replace(escaped, plain)
        }))
    };
    if attribute("menu").is_none() {
        let sends = attribute("post").map(|post| format!("post {post}{}", attribute("body").unwrap()));
        return sends.or_else(|| attribute("log").map(|id| format!("log {id}"))).unwrap_or_default();
    }
    assert_eq!(attribute("menu").as_deref(), Some("light-card"));
    assert_eq!(attribute("host").as_deref(), Some("hsb0"), "for the way to its page");
    assert!(attribute("help").unwrap().starts_with("Why."), "the card says the sentence");
    assert_eq!(attribute("title").unwrap(), format!("hsb0 · {name}"));
    let card = attribute("card").unwrap_or_default();
    let text = |offer: &str| {
        let field = |name: &str| offer.split(&format!(" data-{name}=\"")).nth(1)?.split('"').next();
        let confirmed = if field("confirm").is_some() { " (asks)" } else { "" };
        let what = ["post", "log", "go"].into_iter().find_map(|name| field(name).map(|text| format!("{name} {text}")));
        let label = offer.split("<span>").nth(1).and_then(|text| text.split('<').next()).unwrap();
        format!("{label}: {}{confirmed}", what.unwrap())
    };
    let offers: Vec<_> = card.split("<button").skip(1).map(text).collect();
    if offers.is_empty() { "card".to_owned() } else { format!("card {}", offers.join("; ")) }
}

#[test]
fn every_light_does_what_the_table_says() {
    use ActionKind::{Details, Help, Log, Stop};
    use LightStatus::{Error, Ok, Outdated, Unknown, Working};
    let details = || action(Details, "Details");
    let post = |op: &str| format!("post /api/v1/hosts/hsb0/ops/{op}{{}}");
    let offer = |label: &str, op: &str| format!("{label}: post /api/v1/hosts/hsb0/ops/{op}");
    let card = |offers: &[String]| format!("card {}", offers.join("; ")).trim_end().to_owned();
    let log = |label: &str| format!("{label}: log {ID}");
    let commit = "See the commit: go https://git.example/infra/fleet/commit/9f2c41a0b7d35e8812f04c6a9d1e7b2233445566";
    let fix = || vec![op(Op::RefreshGit, "Ask the remote")];
    let asks = offer("Ask the remote", "refresh-git");
    let retry = offer("Try again", "switch");
    let back = format!("{} (asks)", offer("Roll back", "rollback"));
    let rows: Vec<(&str, LightStatus, Action, Vec<Action>, String)> = vec![
        ("Agent", Ok, details(), vec![], card(&[])),
        ("Agent", Outdated, action(Help, "Update the dashboard"), vec![], card(&[])),
        ("Agent", Error, op(Op::Pull, "Pull"), vec![], card(&[offer("Pull", "pull")])),
        ("Agent", Unknown, details(), vec![], card(&[])),
        ("Git", Ok, details(), vec![], card(&[commit.to_owned()])),
        ("Git", Outdated, op(Op::Pull, "Pull"), vec![], post("pull")),
        ("Git", Error, action(Help, "How to fix the remote"), fix(), card(std::slice::from_ref(&asks))),
        ("Git", Unknown, details(), vec![], card(&[])),
        ("Lock", Ok, details(), vec![], card(&[])),
        ("Lock", Outdated, op(Op::Pull, "Pull"), vec![], post("pull")),
        ("Lock", Error, action(Help, "How to fix the remote"), fix(), card(std::slice::from_ref(&asks))),
        ("Lock", Unknown, details(), vec![], card(&[])),
        ("System", Ok, details(), vec![], card(&[])),
        ("System", Outdated, op(Op::Switch, "Switch"), vec![], post("switch")),
        (
            "System",
            Error,
            of_command(Log, "Show the log"),
            vec![op(Op::Switch, "Try again"), op(Op::Rollback, "Roll back")],
            card(&[log("Show the log"), retry, back.clone()]),
        ),
        ("System", Unknown, details(), vec![op(Op::Switch, "Switch")], card(&[offer("Switch", "switch")])),
        ("Tests", Ok, of_command(Log, "Show results"), vec![], format!("log {ID}")),
        ("Tests", Outdated, op(Op::Test, "Run tests"), vec![of_command(Log, "Show results")], post("test")),
        (
            "Tests",
            Error,
            of_command(Log, "Show results"),
            vec![op(Op::Test, "Run again"), op(Op::Rollback, "Roll back")],
            card(&[log("Show results"), offer("Run again", "test"), back]),
        ),
        (
            "Tests",
            Unknown,
            action(Help, "How to add tests"),
            vec![op(Op::Test, "Run tests")],
            card(&[offer("Run tests", "test")]),
        ),
    ];
    for (name, status, own, also, expected) in rows {
        assert_eq!(click(name, status, own, also), expected, "{name} {status:?}");
    }
    // Blue is the same for all five: how far it is, and stop.
    let stop = format!("Stop: post /api/v1/commands/{ID}/stop");
    for name in ["Agent", "Git", "Lock", "System", "Tests"] {
        let made = click(name, Working, of_command(Log, "Show progress"), vec![of_command(Stop, "Stop")]);
        assert_eq!(made, card(&[log("Show progress"), stop.clone()]), "{name}");
    }
}

#[test]
fn a_pipeline_is_one_click_and_names_the_host() {
    let pipeline =
        Action { pipeline: Some("pull-switch".to_owned()), ..action(ActionKind::Pipeline, "Pull and switch") };
    let made = click("System", LightStatus::Outdated, pipeline, vec![]);
    assert_eq!(made, "post /api/v1/pipelines/pull-switch/runs{\"hosts\":[\"hsb0\"]}");
}

#[test]
fn an_update_that_waits_is_merged_where_the_dashboard_can_and_looked_at_where_it_can_not() {
    let merge = op(Op::MergePr, "Merge #214");
    let made = click("Lock", LightStatus::Outdated, merge, vec![]);
    assert_eq!(made, "post /api/v1/hosts/hsb0/ops/merge-pr{}");
    // What was shown is what is sent.
    let shown = |args: serde_json::Value| args.as_object().cloned();
    let args = shown(serde_json::json!({ "number": 214, "head": "abcdef0" }));
    let made =
        click("Lock", LightStatus::Outdated, Action { args: args.clone(), ..op(Op::MergePr, "Merge #214") }, vec![]);
    assert_eq!(made, "post /api/v1/hosts/hsb0/ops/merge-pr{\"args\":{\"head\":\"abcdef0\",\"number\":214}}");
    let args = shown(serde_json::json!({ "merge-pr": args }));
    let deploy = action(ActionKind::Pipeline, "Merge & Deploy");
    let deploy = Action { pipeline: Some("merge-deploy".to_owned()), args, ..deploy };
    let made = click("Lock", LightStatus::Outdated, deploy, vec![]);
    let body = "{\"hosts\":[\"hsb0\"],\"options\":{\"args\":{\"merge-pr\":{\"head\":\"abcdef0\",\"number\":214}}}}";
    assert_eq!(made, format!("post /api/v1/pipelines/merge-deploy/runs{body}"));
    let made = click("Lock", LightStatus::Outdated, action(ActionKind::Details, "Details"), vec![]);
    assert_eq!(made, "card Look at the update: go #target");
}
