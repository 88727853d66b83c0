//! How what an agent says changes the facts. Absent means unchanged, and so does an empty text of an old agent:
//! no message ever erases what is known by leaving it out.

use nixfleet_protocol::agent::{Deployed, DeviceType, Heartbeat, HostType, Location, Register, Status};
use nixfleet_protocol::text::plain_cut;
use nixfleet_protocol::{Commit, LockHash, Op, Time};

use super::{Facts, Features, Freshness, HostRecord};
use crate::view::color;

/// The longest text of an agent that is kept, in characters.
const MAX_TEXT: usize = 1000;
/// The longest list of an agent that is kept.
const MAX_LIST: usize = 100;

/// A text that is kept: plain, and cut to a bound.
pub(super) fn clean(text: &str) -> String {
    plain_cut(text, MAX_TEXT)
}

fn keep_text(known: &mut String, said: &str) {
    if !said.is_empty() {
        *known = clean(said);
    }
}

/// True: it is another than it was. What was said before is clean, and is not cleaned again.
fn keep_some_text(known: &mut Option<String>, said: Option<&str>) -> bool {
    let Some(said) = said.filter(|said| !said.is_empty() && known.as_deref() != Some(said)) else { return false };
    set(known, Some(clean(said)))
}

/// True: it is another than it was.
fn keep<T: Clone + PartialEq>(known: &mut Option<T>, said: Option<&T>) -> bool {
    let Some(said) = said.filter(|said| known.as_ref() != Some(said)) else { return false };
    *known = Some(said.clone());
    true
}

/// True: it is another than it was.
fn set<T: PartialEq>(known: &mut T, now: T) -> bool {
    let other = *known != now;
    *known = now;
    other
}

fn clean_list(said: &[String]) -> Vec<String> {
    said.iter().filter(|item| !item.is_empty()).take(MAX_LIST).map(|item| clean(item)).collect()
}

impl Freshness {
    /// What a register itself says; nothing is remembered from before.
    pub fn of(register: &Register) -> Self {
        Self {
            source_commit: register.source_commit.clone(),
            store_path: register.store_path.clone(),
            binary_hash: register.binary_hash.clone(),
        }
    }
}

impl HostRecord {
    /// An agent registered.
    pub fn registered(&mut self, register: &Register, now: Time) {
        self.first_seen.get_or_insert(now);
        let facts = &mut self.facts;
        facts.last_seen = Some(now);
        facts.lost_at = None;
        let protocol = register.generation_of_protocol();
        facts.protocol = Some(protocol);
        keep_text(&mut facts.spelling, &register.hostname);
        keep_some_text(&mut facts.agent_version, Some(&register.agent_version));
        keep_some_text(&mut facts.os_version, Some(&register.os_version));
        keep_some_text(&mut facts.nixpkgs_version, Some(&register.nixpkgs_version));
        keep_text(&mut facts.repo_url, &register.repo_url);
        keep_text(&mut facts.repo_dir, &register.repo_dir);
        if register.host_type != HostType::Other {
            facts.host_type = register.host_type;
        }
        if register.location != Location::Unknown {
            facts.location = register.location;
        }
        if register.device_type != DeviceType::Unknown {
            facts.device_type = register.device_type;
        }
        if let Some(color) = color(&register.theme_color) {
            facts.theme_color = Some(color);
        }
        keep(&mut facts.heartbeat_interval, register.heartbeat_interval.filter(|seconds| *seconds > 0).as_ref());
        keep(&mut facts.platform, register.platform.as_ref());
        keep(&mut facts.generation, register.generation.as_ref());
        keep(&mut facts.lock_hash, register.lock_hash.as_ref());
        if let Some(local) = register.lock_local {
            facts.lock_local = local;
        }
        facts.deployed(register.deployed.as_ref());
        keep_some_text(&mut facts.system_path, register.system_path.as_deref());
        keep(&mut facts.system_revision, register.system_revision.as_ref());
        facts.fresh(register.source_commit.as_ref(), register.store_path.as_deref(), register.binary_hash.as_ref());
        // Who this is, is told anew by each register: what an old agent can't say is not remembered.
        facts.journal = register.journal;
        facts.instance = register.instance;
        facts.boot_id.clone_from(&register.boot_id);
        facts.running = register.running.iter().take(MAX_LIST).copied().collect();
        facts.pending = None;
        if protocol >= 3 {
            facts.tags = clean_list(&register.tags);
            facts.features = clean_list(&register.features).into_iter().collect();
            if !register.mac_addresses.is_empty() {
                facts.mac_addresses = clean_list(&register.mac_addresses);
            }
        } else {
            facts.features = Features::default();
        }
    }
}

impl Facts {
    fn fresh(&mut self, commit: Option<&Commit>, store_path: Option<&str>, hash: Option<&LockHash>) -> bool {
        keep(&mut self.freshness.source_commit, commit)
            | keep_some_text(&mut self.freshness.store_path, store_path)
            | keep(&mut self.freshness.binary_hash, hash)
    }

    /// The last good switch, as the agent tells it.
    fn deployed(&mut self, said: Option<&Deployed>) -> bool {
        let Some(said) = said.filter(|said| self.deployed.as_ref().is_none_or(|known| !known.is(said))) else {
            return false;
        };
        set(&mut self.deployed, Some(said.clone().into()))
    }

    /// A heartbeat came. True: it told more than another load, another free space and that the host is there.
    pub fn heard(&mut self, beat: &Heartbeat, now: Time) -> bool {
        self.last_seen = Some(now);
        keep(&mut self.metrics, beat.metrics.as_ref());
        keep(&mut self.disk, beat.disk.as_ref());
        let mut news = keep(&mut self.generation, beat.generation.as_ref());
        news |= keep_some_text(&mut self.nixpkgs_version, beat.nixpkgs_version.as_deref());
        news |= self.fresh(beat.source_commit.as_ref(), beat.store_path.as_deref(), beat.binary_hash.as_ref());
        news |= keep(&mut self.lock_hash, beat.lock_hash.as_ref());
        news |= self.deployed(beat.deployed.as_ref());
        news |= keep_some_text(&mut self.system_path, beat.system_path.as_deref());
        news |= keep(&mut self.system_revision, beat.system_revision.as_ref());
        if let Some(local) = beat.lock_local {
            news |= set(&mut self.lock_local, local);
        }
        if let Some(generations) = &beat.generations {
            let mut generations: Vec<_> = generations.iter().take(20).cloned().collect();
            generations.sort_by_key(|generation| std::cmp::Reverse(generation.number));
            if *self.generations != *generations {
                self.generations = generations.into();
                news = true;
            }
        }
        if let Some(running) = &beat.running {
            news |= set(&mut self.running, running.iter().take(MAX_LIST).copied().collect());
        }
        news |= keep(&mut self.reboot_required, beat.reboot_required.as_ref());
        if let Some(units) = &beat.failed_units {
            news |= set(&mut self.failed_units, clean_list(units));
        }
        news |= keep(&mut self.tests, beat.tests.as_ref());
        if let Some(error) = &beat.repo_error {
            news |= set(&mut self.repo_error, (!error.is_empty()).then(|| clean(error)));
        }
        // Null says that nothing runs: of this field alone absent is a word.
        news |= set(&mut self.pending, beat.pending_command.as_deref().filter(|op| !op.is_empty()).map(clean));
        news
    }

    /// A command ended, and its result carries facts.
    pub fn told(&mut self, status: &Status, now: Time) {
        self.last_seen = Some(now);
        keep(&mut self.generation, status.generation.as_ref());
        keep(&mut self.lock_hash, status.lock_hash.as_ref());
        if let Some(local) = status.lock_local {
            self.lock_local = local;
        }
        self.deployed(status.deployed.as_ref());
        keep_some_text(&mut self.system_path, status.system_path.as_deref());
        if let Some(id) = status.command_id {
            self.running.retain(|running| *running != id);
        }
        if status.command_id.is_none()
            || status.command.parse::<Op>().is_ok_and(|op| self.pending.as_deref() == Some(op.as_str()))
        {
            self.pending = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(millis: i64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn a_missing_field_erases_nothing() {
        let mut record = HostRecord::new("a".parse().unwrap(), time(0));
        let register = Register {
            hostname: "A".into(),
            agent_version: "3.0.0".into(),
            theme_color: "#AABBCC".into(),
            generation: "0123456".parse().ok(),
            location: Location::Cloud,
            protocol: Some(3),
            ..Register::default()
        };
        record.registered(&register, time(1));
        let beat = Heartbeat { lock_hash: "0".repeat(64).parse().ok(), tests: Some(0), ..Heartbeat::default() };
        record.facts.heard(&beat, time(2));
        let known = record.facts.clone();
        record.registered(&Register { protocol: Some(3), ..Register::default() }, time(3));
        record.facts.heard(&Heartbeat::default(), time(4));
        assert_eq!(record.facts, Facts { last_seen: Some(time(4)), ..known });
        assert_eq!(record.facts.theme_color.as_deref(), Some("#aabbcc"));
        assert_eq!(record.first_seen, Some(time(1)));
    }

    #[test]
    fn only_a_colour_is_a_colour() {
        for (text, good) in [("#98b8d8", true), ("#98b8d", false), ("98b8d8", false), ("#98b8dg", false), ("", false)] {
            assert_eq!(color(text).is_some(), good, "{text:?}");
        }
    }

    #[test]
    fn an_agent_can_not_smuggle_control_characters_or_novels() {
        let mut record = HostRecord::new("a".parse().unwrap(), time(0));
        let os_version = format!("\u{1b}[2J{}", "x".repeat(5000));
        record.registered(&Register { os_version, ..Register::default() }, time(1));
        let kept = record.facts.os_version.clone().unwrap();
        assert!(kept.len() <= MAX_TEXT && kept.starts_with('x'), "{kept}");
        let repo_error = Some("\u{1b}[31;1mfatal:\u{1b}[0m no such repository\n".to_owned());
        let deployed = Deployed {
            commit: "0123456".parse().unwrap(),
            lock_hash: None,
            system_path: Some("/nix/store/x\u{1b}[2J".to_owned()),
            number: None,
            at: time(2),
        };
        let beat = Heartbeat { repo_error, deployed: Some(deployed), ..Heartbeat::default() };
        record.facts.heard(&beat, time(2));
        let deployed = record.facts.deployed.clone().unwrap();
        assert_eq!(deployed.system_path.as_deref(), Some("/nix/store/x"));
        assert_eq!(record.facts.repo_error.as_deref(), Some("fatal: no such repository"));
    }
}
