//! Words, numbers and moments as people read them, and what makes a text from outside fit for an attribute.

use askama::Template;
use nixfleet_protocol::agent::{DeviceType, HostType, Location};
use nixfleet_protocol::api::{Command, CommandState, HostState, Level, LightStatus, OpEntry, Remote, RunState};
use nixfleet_protocol::{Commit, Op, RunId, Time};
use serde_json::Value;

use super::Fleet;

/// A moment with how long ago it was. The script counts on by itself.
#[derive(Template)]
#[template(source = "<time datetime=\"{{ time }}\" data-ago>{{ text }}</time>", ext = "html")]
pub(super) struct Ago {
    time: String,
    text: String,
}

impl askama::filters::HtmlSafe for Ago {}

pub(super) fn ago(time: Time, now: Time) -> Ago {
    Ago { time: time.to_string(), text: ago_text(time, now) }
}

/// "12 s ago". The script has the same steps (`time.js`).
fn ago_text(time: Time, now: Time) -> String {
    match now.since(time).as_secs() {
        0..5 => "now".to_owned(),
        s @ 5..60 => format!("{s} s ago"),
        s @ 60..3_600 => format!("{} min ago", s / 60),
        s @ 3_600..86_400 => format!("{} h ago", s / 3_600),
        s => format!("{} d ago", s / 86_400),
    }
}

/// A moment that comes, with how long it is till then. The script counts on by itself.
#[derive(Template)]
#[template(source = "<time datetime=\"{{ time }}\" data-left>{{ text }}</time>", ext = "html")]
pub(super) struct Left {
    time: String,
    text: String,
}

impl askama::filters::HtmlSafe for Left {}

/// "4 min left".
pub(super) fn left(time: Time, now: Time) -> Left {
    Left { time: time.to_string(), text: ago_text(now, time).replace("ago", "left") }
}

/// Seconds as people say them: `30 s`, `10 min`, `2 h`.
pub(super) fn length(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s.is_multiple_of(3_600) => format!("{} h", s / 3_600),
        s if s > 0 && s.is_multiple_of(60) => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// `hsb0`, `hsb0 and hsb1`, `hsb0, hsb1 and hsb8`; of many the first ones, and how many more.
pub(super) fn names<T: AsRef<str>>(hosts: &[T]) -> String {
    const NAMED: usize = 8;
    let named: Vec<&str> = hosts.iter().take(NAMED).map(AsRef::as_ref).collect();
    match (hosts.len().saturating_sub(NAMED), named.as_slice()) {
        (0, []) => "no host".to_owned(),
        (0, [one]) => (*one).to_owned(),
        (0, [all @ .., last]) => format!("{} and {last}", all.join(", ")),
        (more, named) => format!("{} and {more} more", named.join(", ")),
    }
}

/// Who did it, as people call it: a run by its label, anybody else by name.
pub(super) fn by(fleet: &Fleet<'_>, actor: &str) -> String {
    match actor.strip_prefix("pipeline:") {
        Some(id) => {
            let run = id.parse().ok().and_then(|id: RunId| fleet.state.runs.get(&id));
            run.map_or_else(|| "a run".to_owned(), |run| run.label.clone())
        }
        None => actor.to_owned(),
    }
}

/// What may stand inside another sentence, as one of its own.
pub(super) fn sentence(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}

/// A name from a record, as people write it: `exit_code` is "Exit code".
pub(super) fn named(name: &str) -> String {
    sentence(&name.replace('_', " "))
}

/// A value of JSON, as people write it.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Array(all) if all.iter().all(|one| one.is_string() || one.is_number()) => {
            all.iter().map(self::value).collect::<Vec<_>>().join(" ")
        }
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        Value::Null | Value::Number(_) => value.to_string(),
    }
}

/// What an op was given, each by the name that its form has for it.
pub(super) fn arguments(entry: Option<&OpEntry>, given: &Value) -> Vec<(String, String)> {
    let label = |name: &str| {
        let field = entry.and_then(|entry| entry.args.iter().find(|arg| arg.name == name));
        field.map_or_else(|| named(name), |field| field.label.clone())
    };
    let all = given.as_object().into_iter().flatten().filter(|(_, one)| !one.is_null());
    all.map(|(name, one)| (label(name), value(one))).collect()
}

/// What an agent says of an op, beside its name: of "switch ended with code 1" the code.
pub(super) fn without_op(op: Op, message: &str) -> &str {
    let rest = message.strip_prefix(op.as_str()).and_then(|rest| rest.strip_prefix(" ended with "));
    rest.unwrap_or(message)
}

/// A length of time: `8 s`, `3 min 5 s`, `2 h 4 min`.
pub(super) fn span(from: Time, to: Time) -> String {
    match to.since(from).as_secs() {
        s @ 0..60 => format!("{s} s"),
        s @ 60..3_600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// The day of a moment, as everyone writes it: `2026-11-21`.
pub(super) fn day(time: Time) -> String {
    time.to_string().chars().take(10).collect()
}

/// A moment to the minute: `2026-11-21 13:05 UTC`.
pub(super) fn moment(time: Time) -> String {
    let text = time.to_string().replace('T', " ");
    format!("{} UTC", text.chars().take(16).collect::<String>())
}

/// A moment to the second: `2026-11-21 13:05:09 UTC`.
pub(super) fn second(time: Time) -> String {
    let text = time.to_string().replace('T', " ");
    format!("{} UTC", text.chars().take(19).collect::<String>())
}

/// A sentence in which a moment stands: in its place comes how long ago that was.
#[derive(Template)]
#[template(source = "{{ before }}{% if let Some(at) = at %}{{ at }}{% endif %}{{ after }}", ext = "html")]
pub(super) struct Told {
    before: String,
    at: Option<Ago>,
    after: String,
}

impl askama::filters::HtmlSafe for Told {}

/// Looks for the first `2026-11-21 13:05 UTC`.
pub(super) fn told(text: &str, now: Time) -> Told {
    let found = text.match_indices(" UTC").find_map(|(end, unit)| {
        let start = end.checked_sub(16)?;
        let (day, minute) = text.get(start..end)?.split_once(' ')?;
        let time: Time = format!("{day}T{minute}:00Z").parse().ok()?;
        Some((text.get(..start)?, time, text.get(end + unit.len()..)?))
    });
    let (before, at, after) =
        found.map_or((text, None, ""), |(before, time, after)| (before, Some(ago(time, now)), after));
    Told { before: before.to_owned(), at, after: after.to_owned() }
}

/// Bytes as people read them.
pub(super) fn bytes(count: u64) -> String {
    let mut rest = count;
    let mut tenths = 0;
    for unit in ["B", "kB", "MB", "GB", "TB"] {
        if rest < 1_000 || unit == "TB" {
            return if unit == "B" || rest >= 100 {
                format!("{rest} {unit}")
            } else {
                format!("{rest}.{tenths} {unit}")
            };
        }
        tenths = rest % 1_000 / 100;
        rest /= 1_000;
    }
    String::new()
}

/// A colour from outside, or nothing: only `#rrggbb` gets through.
pub(super) fn color(text: Option<&str>) -> &str {
    let good = |text: &&str| {
        text.len() == 7 && text.starts_with('#') && text.bytes().skip(1).all(|byte| byte.is_ascii_hexdigit())
    };
    text.filter(good).unwrap_or("currentColor")
}

/// A link from outside, or nothing: only http and https get through.
pub(super) fn link(text: &str) -> Option<&str> {
    (text.starts_with("https://") || text.starts_with("http://")).then_some(text)
}

/// Where a commit of the remote can be looked at, where that is a page.
pub(super) fn commit_link(remote: &Remote, commit: &Commit) -> Option<String> {
    let source = link(remote.source.as_deref()?)?;
    Some(format!("{}/commit/{commit}", source.trim_end_matches('/').trim_end_matches(".git")))
}

/// A percentage as a whole number from 0 to 100; nothing for what is no number.
pub(super) fn percent(value: Option<f64>) -> Option<u8> {
    let value = value.filter(|value| value.is_finite())?.clamp(0.0, 100.0).round();
    (0..=100_u8).find(|whole| f64::from(*whole) >= value)
}

pub(super) const fn host_state(state: HostState) -> (&'static str, &'static str) {
    match state {
        HostState::Online => ("online", "Online"),
        HostState::Stale => ("stale", "Stale"),
        HostState::Offline => ("offline", "Offline"),
        HostState::Never => ("never", "Never seen"),
    }
}

pub(super) const fn status(status: LightStatus) -> &'static str {
    match status {
        LightStatus::Ok => "ok",
        LightStatus::Outdated => "outdated",
        LightStatus::Error => "error",
        LightStatus::Working => "working",
        LightStatus::Unknown => "unknown",
    }
}

/// A light's status as the counts above the table have it.
pub(super) const fn status_word(status: LightStatus) -> &'static str {
    match status {
        LightStatus::Ok => "ok",
        LightStatus::Outdated => "to do",
        LightStatus::Error => "failing",
        LightStatus::Working => "busy",
        LightStatus::Unknown => "unknown",
    }
}

pub(super) const fn location(location: Location) -> (&'static str, &'static str) {
    match location {
        Location::Home => ("home", "At home"),
        Location::Work => ("work", "At work"),
        Location::Cloud => ("cloud", "In the cloud"),
        Location::Unknown => ("unknown", "Place unknown"),
    }
}

pub(super) const fn device(device: DeviceType) -> (&'static str, &'static str) {
    match device {
        DeviceType::Server => ("server", "Server"),
        DeviceType::Desktop => ("desktop", "Desktop"),
        DeviceType::Laptop => ("laptop", "Laptop"),
        DeviceType::Gaming => ("gaming", "Gaming"),
        DeviceType::Unknown => ("unknown", "Device unknown"),
    }
}

pub(super) const fn system(kind: HostType) -> (&'static str, &'static str) {
    match kind {
        HostType::Nixos => ("nixos", "NixOS"),
        HostType::Macos => ("macos", "macOS"),
        HostType::Linux => ("linux", "Linux"),
        HostType::Other => ("unknown", "System unknown"),
    }
}

/// A command's state: the look that it shares with the lights, and the word.
pub(super) const fn command(state: CommandState) -> (&'static str, &'static str) {
    match state {
        CommandState::Pending => ("working", "Pending"),
        CommandState::Validating => ("working", "Checking"),
        CommandState::Executing => ("working", "Running"),
        CommandState::RunningWarning => ("working", "Running long"),
        CommandState::TimeoutPending => ("outdated", "Past its limit"),
        CommandState::AwaitingReconnect => ("outdated", "Waiting"),
        CommandState::Killing => ("working", "Stopping"),
        CommandState::Blocked => ("outdated", "Blocked"),
        CommandState::Success => ("ok", "Success"),
        CommandState::Error => ("error", "Failed"),
        CommandState::Partial => ("outdated", "Partial"),
        CommandState::Killed => ("unknown", "Stopped"),
        CommandState::Timeout => ("error", "Timed out"),
        CommandState::StaleBinary => ("error", "Stale binary"),
        CommandState::Suspicious => ("outdated", "Suspicious"),
        CommandState::Orphaned => ("unknown", "Orphaned"),
        CommandState::Cancelled => ("unknown", "Cancelled"),
        CommandState::Skipped => ("unknown", "Skipped"),
    }
}

/// The same of a command as it stands: who was refused because all is done already has nothing to do.
pub(super) fn ended(of: &Command) -> (&'static str, &'static str) {
    match (of.state, of.code.as_deref()) {
        (CommandState::Blocked, Some("already_current")) => ("unknown", "Nothing to do"),
        (state, _) => command(state),
    }
}

/// Look and word of a run's state.
pub(super) const fn run(state: RunState) -> (&'static str, &'static str) {
    match state {
        RunState::Running => ("working", "Running"),
        RunState::Halted => ("outdated", "Halted"),
        RunState::Complete => ("ok", "Complete"),
        RunState::Partial => ("outdated", "Partial"),
        RunState::Failed => ("error", "Failed"),
        RunState::Cancelled => ("unknown", "Cancelled"),
    }
}

/// What a state means that says little by its word, and what to do next.
pub(super) const fn meaning(state: CommandState) -> Option<&'static str> {
    match state {
        CommandState::TimeoutPending => {
            Some("It runs on: wait for it, stop it, or ignore the limit and let it take as long as it likes.")
        }
        CommandState::AwaitingReconnect => Some(
            "Its clocks stand still until the agent is back and says what became of it. Give it up only if the host \
             never comes back.",
        ),
        CommandState::Partial => {
            Some("It ended well, yet its goal is not reached. Look at the log, then run it again.")
        }
        CommandState::StaleBinary => Some(
            "The switch brought another agent, and the old one runs. Restart the agent; if that does not help, look at \
             its service on the host.",
        ),
        CommandState::Suspicious => Some(
            "The agent names another source, and its binary is the same. Check how its package is built and pinned, \
             then switch again.",
        ),
        CommandState::Timeout => {
            Some("Nobody heard how it ended. Look at the host; when it is back, compare its lights, then run it again.")
        }
        CommandState::Orphaned => Some(
            "What ran may have ended well or badly, and nobody can say so any more. Compare the host's lights, then run \
             it again.",
        ),
        CommandState::Pending
        | CommandState::Validating
        | CommandState::Executing
        | CommandState::RunningWarning
        | CommandState::Killing
        | CommandState::Blocked
        | CommandState::Success
        | CommandState::Error
        | CommandState::Killed
        | CommandState::Cancelled
        | CommandState::Skipped => None,
    }
}

/// The stage that failed: the verdict, and what it means for the host.
pub(super) fn stage(stage: &str) -> Option<(&'static str, &'static str)> {
    Some(match stage {
        "checkout" => ("Failed in the checkout", "Nothing was built: the host runs what it ran before."),
        "evaluation" => ("Failed in the evaluation", "Nothing was built: the host runs what it ran before."),
        "build" => ("Failed in the build", "Nothing was activated: the host runs what it ran before."),
        "activation" => ("Failed in the activation", "The host may run part of the new system."),
        "tests" => ("Tests failed", "The log of each test says why."),
        "interrupted" => {
            ("Interrupted", "Its runner ended before it did, with a reboot perhaps. Nobody can say how far it came.")
        }
        _ => return None,
    })
}

pub(super) const fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "waits",
        Level::Warn => "outdated",
        Level::Error => "error",
        Level::Success => "ok",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_well() {
        let now = Time::from_millis(1_000_000_000);
        for (seconds, text) in
            [(0, "now"), (4, "now"), (5, "5 s ago"), (61, "1 min ago"), (7_200, "2 h ago"), (200_000, "2 d ago")]
        {
            assert_eq!(ago_text(Time::from_millis(now.millis() - seconds * 1_000), now), text);
        }
        assert_eq!(ago_text(Time::from_millis(now.millis() + 9_000), now), "now", "a clock that is ahead");
        let later = |seconds: i64| left(Time::from_millis(now.millis() + seconds * 1_000), now).text;
        assert_eq!([later(-3), later(30), later(299)], ["now", "30 s left", "4 min left"]);
        assert_eq!([length(45), length(600), length(7_200)], ["45 s", "10 min", "2 h"]);
        assert_eq!(span(Time::from_millis(0), Time::from_millis(185_000)), "3 min 5 s");
    }

    #[test]
    fn only_a_colour_is_a_colour_and_only_a_link_is_a_link() {
        assert_eq!(color(Some("#12aBcd")), "#12aBcd");
        for bad in ["#12abc", "red", "#12abcg", "\"><img>", "#12345é", ""] {
            assert_eq!(color(Some(bad)), "currentColor", "{bad}");
        }
        assert_eq!(link("https://git.example/x"), Some("https://git.example/x"));
        assert_eq!(link("javascript:alert(1)"), None);
    }

    #[test]
    fn hosts_are_named_as_long_as_one_reads_them() {
        let hosts: Vec<nixfleet_protocol::HostId> = (0..10).map(|n| format!("h{n}").parse().unwrap()).collect();
        assert_eq!([names(&hosts[..0]), names(&hosts[..1]), names(&hosts[..2])], ["no host", "h0", "h0 and h1"]);
        assert_eq!(names(&hosts), "h0, h1, h2, h3, h4, h5, h6, h7 and 2 more");
    }

    #[test]
    fn a_moment_in_a_sentence_becomes_how_long_ago_it_was() {
        let now = "2026-11-21T18:00:00Z".parse().unwrap();
        let told = |text: &str| told(text, now).render().unwrap();
        let time = "<time datetime=\"2026-11-21T17:40:00.000Z\" data-ago>20 min ago</time>";
        assert_eq!(told("All passed, 2026-11-21 17:40 UTC."), format!("All passed, {time}."));
        for plain in ["All passed.", " UTC", "é 99-99-99 17:40 UTC", "since 14:02 UTC: <b>", "ä026-11-21 17:40 UTC"] {
            assert!(!told(plain).contains("<time") && !told(plain).contains("<b>"), "{plain}");
        }
    }

    #[test]
    fn what_is_stored_is_said_in_words() {
        assert_eq!(named("exit_code"), "Exit code");
        assert_eq!(without_op(Op::Switch, "switch ended with code 1: no"), "code 1: no");
        assert_eq!(without_op(Op::Switch, "plan ended with code 1"), "plan ended with code 1");
        let given = serde_json::json!({ "argv": ["ls", "-l"], "all": true, "none": null });
        assert_eq!(
            arguments(None, &given),
            [("All".to_owned(), "yes".to_owned()), ("Argv".to_owned(), "ls -l".to_owned())]
        );
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(percent(Some(f64::NAN)), None);
        assert_eq!(percent(Some(-3.0)), Some(0));
        assert_eq!(percent(Some(99.6)), Some(100));
        assert_eq!(percent(Some(1e300)), Some(100));
        for (count, text) in [(999, "999 B"), (1_200, "1.2 kB"), (73_400_320, "73.4 MB"), (512_000_000_000, "512 GB")] {
            assert_eq!(bytes(count), text);
        }
    }
}
