//! What the runner reports of a system beside activating it: what a switch would change, what the checkout evaluates
//! to, which inputs moved, what a collection freed. Nothing here changes what runs.

use std::path::Path;

use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::agent::details::{
    Details, GcMode, GcReport, InputsReport, PackageChange, PlanReport, SystemReport, UnitChange,
};

use super::closures::{closure_size, difference};
use super::execution::{Execution, Verdict, judged};
use super::garbage::GarbageLog;
use super::process::{End, Reader};
use super::units;
use crate::facts::system;
use crate::journal::entry::PROGRESS;
use crate::ops::lock::Locked;
use crate::ops::nix::NIX;
use crate::ops::step::{Action, Invocation};
use crate::record::Stage;

/// Lines of a repository's own plan that are kept for the report; the log has all.
const NOTES: usize = 500;

impl Execution<'_> {
    fn report(&mut self, details: Details, message: String) {
        self.details = Some(details.into_value());
        self.message = Some(message);
    }

    /// Compares the built system with the running one.
    pub(super) async fn compare(&mut self) -> Result<(), Verdict> {
        let built = self.built.clone();
        let Some(to) = built.path else { return Err(Verdict::failed(1, Stage::Build, "nothing was built")) };
        let host = self.host();
        let from = system::running_system(host);
        let (mut packages, mut changed) = (Vec::new(), Vec::new());
        if let Some(from) = from.as_ref().filter(|from| **from != to) {
            packages = self.packages(from, &to).await?;
            changed = units::changes(host.platform, Path::new(from), Path::new(&to));
        }
        let closure_bytes = self.closure(&to).await?;
        let before = match &from {
            Some(from) => self.closure(from).await?,
            None => None,
        };
        let delta = closure_bytes.zip(before).and_then(|(after, before)| {
            i64::try_from(after).ok().zip(i64::try_from(before).ok()).map(|(after, before)| after - before)
        });
        let plan = PlanReport {
            reboot: system::reboot_parts(host, Path::new(&to)),
            from,
            to: Some(to),
            packages: packages.into(),
            units: changed.into(),
            closure_bytes,
            closure_delta: delta,
            downloaded_bytes: Some(built.downloaded),
            notes: Vec::new().into(),
        };
        let message = sentence(&plan);
        self.report(Details { plan: Some(plan), ..Details::default() }, message);
        Ok(())
    }

    async fn packages(&mut self, from: &str, to: &str) -> Result<Vec<PackageChange>, Verdict> {
        let invocation = Invocation::new([&NIX[..], &["store", "diff-closures", from, to]].concat());
        self.tell(&invocation);
        let ended = self.quietly(&Action::Run(invocation.clone())).await?;
        judged(&invocation, &ended, Stage::Build)?;
        let text = String::from_utf8_lossy(&ended.captured).into_owned();
        for line in text.lines() {
            self.log.add(Stream::Stdout, line, false);
        }
        Ok(difference(&text))
    }

    /// Bytes of a path with all that it needs, when nix knows them.
    async fn closure(&mut self, path: &str) -> Result<Option<u64>, Verdict> {
        let invocation = Invocation::new([&NIX[..], &["path-info", "--closure-size", path]].concat());
        let ended = self.quietly(&Action::Run(invocation)).await?;
        let size = closure_size(&String::from_utf8_lossy(&ended.captured));
        Ok(size.filter(|_| ended.end == End::Exited(0)))
    }

    /// Runs the repository's own plan.
    pub(super) async fn run_plan(&mut self, invocation: &Invocation) -> Result<(), Verdict> {
        self.tell(invocation);
        let mut notes = Notes::default();
        let ended = self.program(invocation, Stage::Build, Some(&mut notes)).await?;
        judged(invocation, &ended, Stage::Build)?;
        let mut plan = PlanReport { notes: notes.lines.into(), ..PlanReport::default() };
        plan.notes.left_out = notes.more;
        let message = match plan.notes.total() {
            0 => "the plan says nothing".to_owned(),
            1 => plan.notes.items.first().cloned().unwrap_or_default(),
            lines => format!("the plan has {lines} lines"),
        };
        self.report(Details { plan: Some(plan), ..Details::default() }, message);
        Ok(())
    }

    /// Evaluates to a store path, and compares it with what runs.
    pub(super) async fn evaluate(&mut self, invocation: &Invocation) -> Result<(), Verdict> {
        let (printed, _) = self.nix(invocation).await?;
        let expected = String::from_utf8_lossy(&printed).trim().to_owned();
        if !expected.starts_with('/') {
            return Err(Verdict::failed(1, Stage::Evaluation, "nix did not say which system it is"));
        }
        let running = system::running_system(self.host());
        let same = running.as_deref() == Some(&expected);
        let message = match (&running, same) {
            (_, true) => "what runs is what the checkout evaluates to".to_owned(),
            (Some(_), false) => format!("a switch would activate another system, {expected}"),
            (None, false) => format!("a switch would activate {expected}; nobody knows what runs"),
        };
        let system = SystemReport { expected, running, same };
        self.report(Details { system: Some(system), ..Details::default() }, message);
        Ok(())
    }

    /// Updates the lock.
    pub(super) async fn update_inputs(&mut self, asked: &[String], invocation: &Invocation) -> Result<(), Verdict> {
        let checkout = self.host().checkout.clone();
        // Without a lock, or with one that nobody can read, every input is new.
        let before = Locked::read(&checkout).unwrap_or_default();
        self.nix(invocation).await?;
        let after = Locked::read(&checkout)
            .map_err(|error| Verdict::failed(1, Stage::Evaluation, format!("flake.lock can't be read: {error}")))?;
        let moved = before.moved(&after);
        let own = moved.iter().filter(|input| !input.name.contains('/')).map(|input| input.name.as_str());
        let names = own.take(5).collect::<Vec<_>>().join(", ");
        let message = match moved.len() {
            0 => "the lock did not change: its inputs are the newest already".to_owned(),
            1 => format!("{} moved", moved.first().map_or("", |input| input.name.as_str())),
            count => format!("{count} inputs moved: {names}"),
        };
        let inputs = InputsReport { asked: asked.to_vec(), moved: moved.into() };
        self.report(Details { inputs: Some(inputs), ..Details::default() }, message);
        Ok(())
    }

    /// Collects garbage.
    pub(super) async fn collect_garbage(&mut self, mode: GcMode, invocation: &Invocation) -> Result<(), Verdict> {
        let free = |host: &crate::record::HostSettings| crate::facts::disk(host).map(|disk| disk.store_free);
        let before = free(self.host());
        self.tell(invocation);
        let mut log = GarbageLog::new(self.entry.file(PROGRESS));
        let ended = self.program(invocation, Stage::Build, Some(&mut log)).await?;
        let (paths, freed) = log.freed().unzip();
        let report =
            GcReport { mode, freed_bytes: freed, paths, disk_free_before: before, disk_free_after: free(self.host()) };
        let message = match (paths, freed) {
            (Some(paths), Some(freed)) => format!("{paths} store paths removed, {} freed", shown(freed)),
            _ => "garbage was collected; nix did not say how much it freed".to_owned(),
        };
        self.report(Details { gc: Some(report), ..Details::default() }, message);
        // It is none of the stages of a switch.
        let none =
            |verdict: Verdict| Verdict { stage: verdict.stage.filter(|stage| *stage != Stage::Build), ..verdict };
        judged(invocation, &ended, Stage::Build).map_err(none)
    }
}

/// The plan in one sentence.
fn sentence(plan: &PlanReport) -> String {
    if plan.from.is_some() && plan.from == plan.to {
        return "a switch would change nothing: the built system runs".to_owned();
    }
    let count =
        |many: u64, one: &str, more: &str| if many == 1 { format!("1 {one}") } else { format!("{many} {more}") };
    let mut said = match plan.from {
        None => vec!["it was built; nobody knows what runs".to_owned()],
        Some(_) => vec![
            count(plan.packages.total(), "package differs", "packages differ"),
            count(changing(&plan.units.items) + plan.units.left_out, "unit would change", "units would change"),
        ],
    };
    if let Some(delta) = plan.closure_delta {
        let sign = if delta < 0 { "-" } else { "+" };
        said.push(format!("{sign}{} on disk", shown(delta.unsigned_abs())));
    }
    if let Some(parts) = plan.reboot.as_ref().filter(|parts| !parts.is_empty()) {
        said.push(format!("a reboot is needed for {}", parts.join(", ")));
    }
    said.join(", ")
}

fn changing(units: &[UnitChange]) -> u64 {
    use nixfleet_protocol::agent::details::UnitAction;
    units.iter().filter(|unit| unit.action != UnitAction::Keep).count() as u64
}

/// Bytes for people, to a tenth of the unit that fits.
fn shown(bytes: u64) -> String {
    let tenths = |unit: u64| format!("{}.{}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", tenths(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", tenths(1_048_576)),
        _ => format!("{} GiB", tenths(1_073_741_824)),
    }
}

/// Keeps what a program prints on its standard output; the log gets all of it.
#[derive(Debug, Default)]
struct Notes {
    lines: Vec<String>,
    more: u64,
}

impl Reader for Notes {
    fn line(&mut self, stream: Stream, text: &str, _: bool) -> Option<String> {
        if stream == Stream::Stdout {
            if self.lines.len() < NOTES {
                self.lines.push(text.to_owned());
            } else {
                self.more += 1;
            }
        }
        Some(text.to_owned())
    }

    fn captures(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nixfleet_protocol::agent::details::UnitAction;

    #[test]
    fn a_plan_is_told_in_one_sentence() {
        let unit = |action| UnitChange { name: "a.service".into(), action };
        let plan = PlanReport {
            from: Some("/a".into()),
            to: Some("/b".into()),
            packages: vec![PackageChange::default()].into(),
            units: vec![unit(UnitAction::Restart), unit(UnitAction::Keep), unit(UnitAction::Stop)].into(),
            reboot: Some(vec!["kernel".into(), "initrd".into()]),
            closure_delta: Some(-1_572_864),
            ..PlanReport::default()
        };
        assert_eq!(
            sentence(&plan),
            "1 package differs, 2 units would change, -1.5 MiB on disk, a reboot is needed for kernel, initrd"
        );
        let same = PlanReport { to: plan.from.clone(), ..plan.clone() };
        assert_eq!(sentence(&same), "a switch would change nothing: the built system runs");
        let first = PlanReport { from: None, closure_delta: None, reboot: Some(vec![]), ..plan };
        assert_eq!(sentence(&first), "it was built; nobody knows what runs");
    }

    #[test]
    fn bytes_are_shown_to_a_tenth() {
        for (bytes, text) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3_670_016, "3.5 MiB"), (1_073_741_824, "1.0 GiB")]
        {
            assert_eq!(shown(bytes), text);
        }
    }
}
