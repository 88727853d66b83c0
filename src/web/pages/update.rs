//! What waits for a person above the table: the update's pull request, with what merging and deploying it would do to
//! which hosts, and the offer to revert a merge that went badly. Both come and go by themselves.

use askama::Template;
use nixfleet_model::remote::{revert, wish};
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{Host, HostState, Merged, PullRequest};

use super::button::{Button, Does};
use super::{Fleet, html, rollout, words};

/// Id of the region.
pub(super) const ID: &str = "update";
/// The pipeline that merges and deploys.
const MERGE_DEPLOY: &str = "merge-deploy";

#[derive(Template)]
#[template(path = "update.html")]
struct Region {
    request: Option<Request>,
    /// Why nobody can say whether an update waits.
    trouble: String,
    revert: Option<Revert>,
}

/// The pull request that waits.
struct Request {
    number: u64,
    title: String,
    link: String,
    author: String,
    opened: words::Ago,
    /// How much it changes.
    size: String,
    look: &'static str,
    mergeable: String,
    buttons: Vec<Button>,
}

/// The offer to take a merge back.
struct Revert {
    sentence: String,
    merged: String,
    by: String,
    at: words::Ago,
    link: String,
    button: Button,
    consequence: String,
}

/// The region; empty while nothing waits.
pub(super) fn region(fleet: &Fleet<'_>) -> String {
    let remote = &fleet.state.remote;
    html(&Region {
        request: remote.pull_request.as_ref().map(|request| request_of(fleet, request)),
        trouble: remote.pull_request_error.clone().unwrap_or_default(),
        revert: revert_of(fleet),
    })
}

/// Whether the region may differ when this becomes of a host.
pub(super) fn may_differ(fleet: &Fleet<'_>, before: Option<&Host>, host: &Host) -> bool {
    let remote = &fleet.state.remote;
    if remote.pull_request.is_none() && remote.merged.is_none() {
        return false;
    }
    let same = |before: &Host| {
        before.state == host.state
            && rollout::could_start(before) == rollout::could_start(host)
            && before.lights.tests.status == host.lights.tests.status
            && before.lights.system.status == host.lights.system.status
            && before.generation == host.generation
            && before.deployed == host.deployed
    };
    !before.is_some_and(same)
}

/// The hosts that a roll-out takes, and those that it leaves out.
#[derive(Default)]
struct Taken<'a> {
    now: Vec<&'a str>,
    offline: Vec<&'a str>,
    busy: Vec<&'a str>,
    never: usize,
}

fn taken<'a>(fleet: &Fleet<'a>) -> Taken<'a> {
    let mut taken = Taken::default();
    for host in fleet.state.hosts.values().map(|view| &view.host) {
        let name = host.id.as_str();
        if host.state == HostState::Never {
            taken.never += 1;
        } else if !rollout::could_start(host) {
            taken.busy.push(name);
        } else if host.state == HostState::Offline {
            taken.offline.push(name);
        } else {
            taken.now.push(name);
        }
    }
    taken
}

fn request_of(fleet: &Fleet<'_>, request: &PullRequest) -> Request {
    // What speaks against it: where it can be merged all the same, who merges it is told before.
    let but = request.why_not.as_deref().filter(|_| request.mergeable == Some(true)).map(words::sentence);
    let (look, mergeable, not) = match request.mergeable {
        Some(true) => match &but {
            Some(but) => ("outdated", format!("Can be merged. {but}"), None),
            None => ("ok", "Can be merged.".to_owned(), None),
        },
        Some(false) => {
            let why = request.why_not.as_deref().map(words::sentence);
            let why = why.unwrap_or_else(|| "It can’t be merged as it is.".to_owned());
            ("error", why.clone(), Some(why))
        }
        None => {
            let why = "The remote still looks whether it can be merged.";
            ("unknown", why.to_owned(), Some(why.to_owned()))
        }
    };
    let number = request.number;
    let branch = &fleet.state.remote.branch;
    let taken = taken(fleet);
    let hosts: Vec<&str> = taken.now.iter().chain(&taken.offline).copied().collect();
    let mut buttons = Vec::new();
    if let Some(entry) = fleet.pipeline(MERGE_DEPLOY) {
        let mut sentence = sentence(number, branch, &taken);
        sentence.extend(but.iter().flat_map(|but| ["\n", but]));
        // What is shown is what is merged: another one, or a head that has moved meanwhile, is refused.
        let options = serde_json::json!({ "args": { Op::MergePr.as_str(): wish::shown(request) } });
        let none = hosts.is_empty().then(|| "No host could be deployed to now.".to_owned());
        let does = Does::pipeline(entry, "[]", sentence, &format!("#{number}"))
            .body(&serde_json::json!({ "hosts": hosts, "options": options }))
            .not(not.clone().or(none));
        buttons.push(Button::new(&entry.label, "main", does).icon("i-run").of(&format!("#{number}")));
    }
    let only = format!("Merges #{number} into {branch}. No host is touched: all are behind then.");
    let merge = Does::post(format!("/api/v1/ops/{}", Op::MergePr), format!("Merge #{number}"))
        .body(&serde_json::json!({ "args": wish::shown(request) }))
        .confirm([Some(only), but].into_iter().flatten().collect::<Vec<_>>().join("\n"), "Merge")
        .not(not);
    buttons.push(Button::new("Merge only", "", merge).of(&format!("#{number}")));
    let count = |count: Option<u32>, one: &str, many: &str| {
        count.map(|count| format!("{count} {}", if count == 1 { one } else { many }))
    };
    let size = [count(request.commits, "commit", "commits"), count(request.changed_files, "file", "files")];
    Request {
        number,
        title: request.title.clone(),
        link: words::link(&request.url).unwrap_or_default().to_owned(),
        author: request.author.clone(),
        opened: words::ago(request.created_at, fleet.now),
        size: size.into_iter().flatten().collect::<Vec<_>>().join(", "),
        look,
        mergeable,
        buttons,
    }
}

/// What merging and deploying would do, and to which hosts.
fn sentence(number: u64, branch: &str, taken: &Taken<'_>) -> String {
    let mut said =
        vec![format!("Merges #{number} into {branch}, then pulls, switches and tests {}.", words::names(&taken.now))];
    if !taken.offline.is_empty() {
        said.push(format!("Offline, and waited for: {}.", words::names(&taken.offline)));
    }
    if !taken.busy.is_empty() {
        said.push(format!("Busy now, and left out: {}.", words::names(&taken.busy)));
    }
    if taken.never > 0 {
        let hosts = if taken.never == 1 { "host" } else { "hosts" };
        said.push(format!("{} {hosts} never seen, and left out.", taken.never));
    }
    said.join("\n")
}

fn revert_of(fleet: &Fleet<'_>) -> Option<Revert> {
    let remote = &fleet.state.remote;
    let hosts = fleet.state.hosts.values().map(|view| view.host.as_ref());
    let offer = revert::offer(hosts, remote.merged.as_ref())?;
    let Merged { number, title, url, at, by, .. } = offer.merged;
    let consequence = format!(
        "A commit on {} takes back what #{number} brought. Hosts that have it are behind then: pull and switch them, or \
         roll them back.",
        remote.branch
    );
    let does = Does::post(format!("/api/v1/ops/{}", Op::RevertPr), format!("Revert #{number}"))
        .body(&serde_json::json!({ "args": { "number": number } }))
        .confirm(format!("{} {consequence}", offer.sentence()), "Revert");
    Some(Revert {
        sentence: offer.sentence(),
        merged: format!("#{number} {title}"),
        by: words::by(fleet, by),
        at: words::ago(*at, fleet.now),
        link: words::link(url).unwrap_or_default().to_owned(),
        button: Button::new(&format!("Revert #{number}"), "bad", does).icon("i-back"),
        consequence,
    })
}
