//! The whole cycle of the five lights, over the real binaries: the same in the API, in the first render of the
//! page and in the deltas.

use crate::fleet::Fleet;
use crate::tab::Tab;

/// The lights in the API, in an open tab, and in a page that is rendered now.
fn everywhere(fleet: &Fleet, tab: &mut Tab, lights: &str) {
    fleet.expect_lights("hsb0", lights);
    tab.expect_lights("hsb0", lights);
    assert_eq!(rendered(fleet, "hsb0"), lights, "first render");
}

/// The lights of a host in the page as it is rendered now.
fn rendered(fleet: &Fleet, host: &str) -> String {
    let page = crate::security::Browser::log_in(fleet).page("/");
    let group = format!("aria-label=\"Lights of {host}\"");
    let at = page.find(&group).unwrap_or_else(|| panic!("no lights of {host} in the page"));
    page[at..]
        .split("class=\"light is-")
        .skip(1)
        .take(5)
        .map(|rest| match rest.split('"').next() {
            Some("ok") => '🟢',
            Some("outdated") => '🟡',
            Some("error") => '🔴',
            Some("working") => '🔵',
            Some("unknown") => '⚪',
            other => panic!("a light is {other:?}"),
        })
        .collect()
}

#[test]
fn the_lights_come_out_as_in_the_table() {
    let fleet = Fleet::new().host("hsb0");
    let mut tab = Tab::open(&fleet);
    // First connect: the agent has cloned the head, nothing was ever switched by us, and there are no tests.
    everywhere(&fleet, &mut tab, "🟢🟢🟢⚪⚪");
    fleet.run("hsb0", "switch", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢⚪");

    fleet.repository.script("hosts/hsb0/tests/10-answers.sh", "echo it answers");
    fleet.repository.push("add a test");
    everywhere(&fleet, &mut tab, "🟢🟡🟢🟡⚪");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.run("hsb0", "test", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟢");

    // A commit was pushed, pulled, switched, tested.
    fleet.repository.write("hosts/hsb0/motd", "welcome\n");
    fleet.repository.push("a new greeting");
    everywhere(&fleet, &mut tab, "🟢🟡🟢🟡🟢");
    fleet.run("hsb0", "pull", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟡🟢");
    fleet.run("hsb0", "switch", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟡");
    fleet.run("hsb0", "test", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟢");

    // The lock changed with a commit.
    fleet.repository.write("flake.lock", "{\"version\": 7, \"nodes\": {\"nixpkgs\": {}}}\n");
    fleet.repository.push("flake.lock: update");
    everywhere(&fleet, &mut tab, "🟢🟡🟡🟡🟢");
    fleet.run("hsb0", "pull", "SUCCESS");

    // The switch fails; the fix is pushed; the light stays red until a switch succeeds.
    fleet.repository.script("switch", "echo activating; echo cannot start nginx.service >&2; exit 4");
    fleet.repository.push("break the switch");
    fleet.run("hsb0", "pull", "SUCCESS");
    let failed = fleet.run("hsb0", "switch", "ERROR");
    assert_eq!(failed["exit_code"], 4);
    everywhere(&fleet, &mut tab, "🟢🟢🟢🔴🟢");
    fleet.repository.script("switch", "echo switching again");
    fleet.repository.push("fix the switch");
    everywhere(&fleet, &mut tab, "🟢🟡🟢🔴🟢");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟡");

    // A failing test before a passing one fails the run.
    fleet.repository.script("hosts/hsb0/tests/05-fails.sh", "echo no route to host; exit 1");
    fleet.repository.push("a test that fails first");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    let tests = fleet.run("hsb0", "test", "ERROR");
    assert_eq!(tests["details"]["passed"], 1, "{tests:#}");
    assert_eq!(tests["details"]["total"], 2, "{tests:#}");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🔴");
    fleet.repository.script("hosts/hsb0/tests/05-fails.sh", "echo route found");
    fleet.repository.push("the test passes");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    fleet.run("hsb0", "test", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟢");

    // The remote can't be read: after three intervals, and not before.
    fleet.repository.hide();
    everywhere(&fleet, &mut tab, "🟢🔴🔴🟡🟡");
    fleet.repository.show();
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢🟢");
}

#[test]
fn a_rollback_goes_back_to_what_was_deployed_before() {
    let fleet = Fleet::new().host("hsb0");
    let mut tab = Tab::open(&fleet);
    fleet.run("hsb0", "switch", "SUCCESS");
    let first = fleet.get("/api/v1/hosts/hsb0").1["deployed"]["commit"].clone();
    fleet.repository.write("second", "2");
    fleet.repository.push("second");
    fleet.run("hsb0", "pull", "SUCCESS");
    fleet.run("hsb0", "switch", "SUCCESS");
    everywhere(&fleet, &mut tab, "🟢🟢🟢🟢⚪");
    fleet.run("hsb0", "rollback", "SUCCESS");
    fleet.wait("the first commit is deployed again", |fleet| {
        fleet.get("/api/v1/hosts/hsb0").1["deployed"]["commit"] == first
    });
}

#[test]
fn what_would_be_pointless_is_refused_and_says_why() {
    let fleet = Fleet::new().host("hsb0");
    fleet.run("hsb0", "switch", "SUCCESS");
    for (op, code) in
        [("pull", "already_current"), ("switch", "already_current"), ("rollback", "no_previous_generation")]
    {
        let (status, problem) = fleet.post(&format!("/api/v1/hosts/hsb0/ops/{op}"), &serde_json::json!({}));
        assert_eq!((status, problem["code"].as_str()), (409, Some(code)), "{op}: {problem}");
        assert!(problem["message"].as_str().is_some_and(|text| text.len() > 10), "{problem}");
    }
    let forced = fleet.post("/api/v1/hosts/hsb0/ops/switch", &serde_json::json!({ "force": true }));
    assert_eq!(forced.0, 202, "{}", forced.1);
    fleet.ended(forced.1["id"].as_str().unwrap());

    // A commit that nobody polled for yet: the remote is asked again before pull is refused.
    fleet.repository.write("new", "1");
    fleet.repository.push("pushed a moment ago");
    fleet.run("hsb0", "pull", "SUCCESS");
}
