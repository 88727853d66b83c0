//! What is known of a host, line by line.

use askama::Template;
use nixfleet_protocol::Commit;
use nixfleet_protocol::api::Host;

use super::super::{Fleet, html, words};

/// A line of the list.
struct Fact {
    name: &'static str,
    text: String,
    /// It is written as code.
    code: bool,
    /// Where it leads; may be empty.
    link: String,
    /// What more there is to say.
    note: String,
    when: Option<words::Ago>,
}

#[derive(Template)]
#[template(path = "host_facts.html")]
struct Facts {
    facts: Vec<Fact>,
}

impl Fact {
    fn new(name: &'static str, text: impl Into<String>) -> Self {
        Self { name, text: text.into(), code: false, link: String::new(), note: String::new(), when: None }
    }

    fn code(name: &'static str, text: impl Into<String>) -> Self {
        Self { code: true, ..Self::new(name, text) }
    }
}

/// Where a commit can be looked at; empty: nowhere.
pub(super) fn commit_link(fleet: &Fleet<'_>, commit: &Commit) -> String {
    let source = fleet.state.remote.source.as_deref().and_then(words::link);
    let base = source.map(|source| source.trim_end_matches('/').trim_end_matches(".git"));
    base.map(|base| format!("{base}/commit/{commit}")).unwrap_or_default()
}

/// What the commit is about, where that is known.
pub(super) fn subject(fleet: &Fleet<'_>, commit: &Commit) -> String {
    let remote = &fleet.state.remote;
    let head = remote.commit.as_ref().filter(|head| *head == commit);
    head.and(remote.subject.clone()).unwrap_or_default()
}

pub(in super::super) fn facts(fleet: &Fleet<'_>, host: &Host) -> String {
    let commit = |name, commit: &Commit| Fact {
        link: commit_link(fleet, commit),
        note: subject(fleet, commit),
        ..Fact::code(name, commit.short())
    };
    let hash = |hash: &nixfleet_protocol::LockHash| hash.as_str().chars().take(12).collect::<String>();
    let mut facts = Vec::new();
    facts.extend(host.comment.as_ref().map(|comment| Fact::new("Note", comment)));
    facts.push(Fact::new("Device", words::device(host.device_type).1));
    facts.push(Fact::new("Place", words::location(host.location).1));
    if !host.tags.is_empty() {
        facts.push(Fact::new("Tags", host.tags.join(", ")));
    }
    facts.push(Fact {
        note: host.os_version.clone().unwrap_or_default(),
        ..Fact::new("System", words::system(host.host_type).1)
    });
    facts.extend(host.nixpkgs_version.as_ref().map(|version| Fact::new("nixpkgs", version)));
    facts.extend(host.platform.map(|platform| Fact::new("Deploys with", platform.as_str())));
    facts.extend(host.agent_version.as_ref().map(|version| Fact {
        note: host.agent_protocol.map(|protocol| format!("protocol {protocol}")).unwrap_or_default(),
        ..Fact::new("Agent", version)
    }));
    facts.extend(host.generation.as_ref().map(|it| commit("Checked out", it)));
    facts.extend(host.lock_hash.as_ref().map(|it| Fact::code("Lock", hash(it))));
    if let Some(deployed) = &host.deployed {
        let when = Some(words::ago(deployed.at, fleet.now));
        facts.push(Fact { when, ..commit("Deployed", &deployed.commit) });
        facts.extend(deployed.lock_hash.as_ref().map(|it| Fact::code("Deployed lock", hash(it))));
        facts.extend(deployed.system_path.as_ref().map(|path| Fact::code("System path", path)));
    }
    if let Some(disk) = &host.disk {
        let of = |free, total| format!("{} free of {}", words::bytes(free), words::bytes(total));
        facts.push(Fact::new("Disk", of(disk.store_free, disk.store_total)));
        facts.extend(disk.boot_free.zip(disk.boot_total).map(|(free, total)| Fact::new("Boot", of(free, total))));
    }
    let needed = |needed| if needed { "needed" } else { "not needed" };
    facts.extend(host.reboot_required.map(|it| Fact::new("Reboot", needed(it))));
    if host.last_seen.is_some() {
        let units = if host.failed_units.is_empty() { "none".to_owned() } else { host.failed_units.join(", ") };
        facts.push(Fact::new("Failed units", units));
    }
    html(&Facts { facts })
}
