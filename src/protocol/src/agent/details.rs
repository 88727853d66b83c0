//! What `details` of a result hold beside the results of tests: what a plan found, what was freed, which inputs moved.
//!
//! The agent makes them, the dashboard and the page read them. All of it fits into 128 KiB of JSON: lists that are
//! too long lose their end, and say how many of their entries are left out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::lenient;
use crate::text::plain_cut;

/// The most that details may take, in bytes of JSON.
pub const MAX_DETAILS: usize = 128 * 1024;
/// The longest name, version or line that is kept, in characters.
const MAX_TEXT: usize = 400;

/// The details of one result. What an op does not report is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Details {
    /// `plan`: what a switch would change.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanReport>,
    /// `gc`: what was freed.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub gc: Option<GcReport>,
    /// `refresh-system`: what the checkout evaluates to.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub system: Option<SystemReport>,
    /// `bump-flake`: which inputs moved.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub inputs: Option<InputsReport>,
    /// `rollback`: where the profile went.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackReport>,
    /// A switch or rollback that failed while it activated: how it left the host.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationReport>,
}

/// A list that may have lost its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, bound = "T: Serialize + for<'a> Deserialize<'a>")]
pub struct Cut<T> {
    /// Its beginning.
    #[serde(deserialize_with = "lenient::list")]
    pub items: Vec<T>,
    /// How many more there were.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "is_zero")]
    pub left_out: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl<T> Default for Cut<T> {
    fn default() -> Self {
        Self { items: Vec::new(), left_out: 0 }
    }
}

impl<T> From<Vec<T>> for Cut<T> {
    fn from(items: Vec<T>) -> Self {
        Self { items, left_out: 0 }
    }
}

impl<T> Cut<T> {
    /// Keeps at most so many.
    fn keep(&mut self, most: usize) {
        let gone = self.items.len().saturating_sub(most);
        self.items.truncate(most);
        self.left_out += gone as u64;
    }

    /// How many there were in all.
    pub const fn total(&self) -> u64 {
        self.left_out + self.items.len() as u64
    }
}

/// What a switch would change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanReport {
    /// The system that runs; none on the platform `script`, or where nothing runs yet.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The system that was built; none on the platform `script`.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Packages that come, go or change.
    #[serde(deserialize_with = "lenient::or_default")]
    pub packages: Cut<PackageChange>,
    /// Units that a switch would start, stop or restart, as far as their files tell.
    #[serde(deserialize_with = "lenient::or_default")]
    pub units: Cut<UnitChange>,
    /// What differs from the booted system and comes with a reboot only: `kernel`, `initrd`, `kernel-modules`. Absent
    /// where nobody can say.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub reboot: Option<Vec<String>>,
    /// Bytes of the built system with everything that it needs.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub closure_bytes: Option<u64>,
    /// How many bytes more (or less) that is than what runs.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub closure_delta: Option<i64>,
    /// Bytes that this plan downloaded. They are there now: a switch needs no more.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub downloaded_bytes: Option<u64>,
    /// What the repository's own `plan` printed, on the platform `script`.
    #[serde(deserialize_with = "lenient::or_default", skip_serializing_if = "Cut::is_nothing")]
    pub notes: Cut<String>,
}

impl<T> Cut<T> {
    const fn is_nothing(&self) -> bool {
        self.items.is_empty() && self.left_out == 0
    }
}

/// One package that comes, goes or changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageChange {
    /// Its name.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// Its versions in the running system, comma separated; empty for a package without one; absent where it is new,
    /// or where nix names none since only the size differs.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// Its versions in the built system; absent where it goes, or where nix names none.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// How many bytes more (or less) it takes; absent where that is next to nothing.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
}

/// What a switch would do with a unit, if it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitAction {
    /// It is new.
    Start,
    /// It is gone.
    Stop,
    /// It changed.
    Restart,
    /// It changed, and asks for a reload instead of a restart.
    Reload,
    /// It changed, and asks to be left alone.
    Keep,
    /// A word of the future.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UnitChange {
    /// Its name, such as `nginx.service`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// What happens to it.
    #[serde(deserialize_with = "lenient::or_default")]
    pub action: UnitAction,
}

/// How much a collection may take away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GcMode {
    /// What nothing refers to.
    #[default]
    Safe,
    /// The older generations first, and then what nothing refers to.
    Aggressive,
}

impl GcMode {
    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safe => "safe",
            Self::Aggressive => "aggressive",
        }
    }
}

/// What a collection freed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GcReport {
    /// How it was asked for.
    #[serde(deserialize_with = "lenient::or_default")]
    pub mode: GcMode,
    /// Bytes, as nix counts them: to the hundredth of a MiB.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub freed_bytes: Option<u64>,
    /// Store paths that went.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub paths: Option<u64>,
    /// Free bytes of the store's file system before. Other programs write there too.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub disk_free_before: Option<u64>,
    /// Free bytes of the store's file system after.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub disk_free_after: Option<u64>,
}

/// What the checkout evaluates to, against what runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SystemReport {
    /// The system that a switch would activate.
    #[serde(deserialize_with = "lenient::text")]
    pub expected: String,
    /// The system that runs.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// Whether they are the same.
    #[serde(deserialize_with = "lenient::or_default")]
    pub same: bool,
}

/// Which inputs moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputsReport {
    /// The inputs that were asked for; empty for all.
    #[serde(deserialize_with = "lenient::list")]
    pub asked: Vec<String>,
    /// The inputs whose locked version is another one now.
    #[serde(deserialize_with = "lenient::or_default")]
    pub moved: Cut<InputChange>,
}

/// One input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct InputChange {
    /// Its name in the lock; inputs of inputs as `a/b`.
    #[serde(deserialize_with = "lenient::text")]
    pub name: String,
    /// The commit, else the hash, that was locked; absent where it is new.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The commit, else the hash, that is locked; absent where it is gone.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// Where the profile went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RollbackReport {
    /// The generation that it named before.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The generation that it names now.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

impl RollbackReport {
    /// Whether it went back. After an activation that failed before the new system ran, this is all that goes back:
    /// the system before runs all the time.
    pub fn went_back(&self) -> bool {
        matches!((self.from, self.to), (Some(from), Some(to)) if to < from)
    }
}

/// How a failed activation left the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivationReport {
    /// The system that was to run.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The system that runs.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// The system that the profile names: what boots next.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The number of that generation.
    #[serde(deserialize_with = "lenient::optional", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Details {
    /// Reads what a result carries. What is no such detail is left out.
    pub fn read(value: &Value) -> Self {
        // Through text: that is what reading leniently needs.
        serde_json::from_str(&value.to_string()).unwrap_or_default()
    }

    /// The same as JSON that fits into a result: texts and lists that are too long are cut.
    pub fn into_value(mut self) -> Value {
        self.clean();
        let mut most = self.longest();
        loop {
            let value = serde_json::to_value(&self).unwrap_or_default();
            if most == 0 || value.to_string().len() <= MAX_DETAILS {
                return value;
            }
            // A quarter less each time: few rounds, and little more is lost than must be.
            most = most * 3 / 4;
            self.keep(most);
        }
    }

    fn clean(&mut self) {
        let text = |text: &mut String| *text = plain_cut(text, MAX_TEXT);
        let some = |some: &mut Option<String>| {
            if let Some(text) = some {
                *text = plain_cut(text, MAX_TEXT);
            }
        };
        if let Some(plan) = &mut self.plan {
            some(&mut plan.from);
            some(&mut plan.to);
            for package in &mut plan.packages.items {
                text(&mut package.name);
                some(&mut package.before);
                some(&mut package.after);
            }
            plan.units.items.iter_mut().for_each(|unit| text(&mut unit.name));
            plan.notes.items.iter_mut().for_each(text);
        }
        if let Some(inputs) = &mut self.inputs {
            inputs.asked.truncate(50);
            inputs.asked.iter_mut().for_each(text);
            for input in &mut inputs.moved.items {
                text(&mut input.name);
                some(&mut input.before);
                some(&mut input.after);
            }
        }
    }

    fn longest(&self) -> usize {
        let plan = self
            .plan
            .as_ref()
            .map_or(0, |plan| plan.packages.items.len().max(plan.units.items.len()).max(plan.notes.items.len()));
        plan.max(self.inputs.as_ref().map_or(0, |inputs| inputs.moved.items.len()))
    }

    fn keep(&mut self, most: usize) {
        if let Some(plan) = &mut self.plan {
            plan.packages.keep(most);
            plan.units.keep(most);
            plan.notes.keep(most);
        }
        if let Some(inputs) = &mut self.inputs {
            inputs.moved.keep(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packages(count: usize, length: usize) -> Cut<PackageChange> {
        let one = |n: usize| PackageChange {
            name: format!("{n}{}", "x".repeat(length)),
            after: Some("1".into()),
            ..PackageChange::default()
        };
        (0..count).map(one).collect::<Vec<_>>().into()
    }

    #[test]
    fn details_read_back_and_junk_in_one_costs_that_one() {
        let details = Details {
            plan: Some(PlanReport {
                from: Some("/nix/store/a".into()),
                packages: packages(2, 3),
                units: vec![UnitChange { name: "a.service".into(), action: UnitAction::Restart }].into(),
                reboot: Some(vec![]),
                closure_delta: Some(-5),
                ..PlanReport::default()
            }),
            gc: Some(GcReport { mode: GcMode::Aggressive, freed_bytes: Some(7), ..GcReport::default() }),
            ..Details::default()
        };
        let mut value = details.clone().into_value();
        assert_eq!(Details::read(&value), details);
        value["plan"]["packages"]["items"][0] = serde_json::json!(7);
        value["gc"] = serde_json::json!("junk");
        value["tests"] = serde_json::json!([]);
        let read = Details::read(&value);
        assert_eq!(read.plan.unwrap().packages.items.len(), 1);
        assert_eq!(read.gc, None);
        assert_eq!(Details::read(&serde_json::json!([1])), Details::default());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn details_fit_and_say_what_is_left_out(count in 0..3000_usize, length in 0..1000_usize, units in 0..9000_usize) {
            let unit = UnitChange { name: "u".into(), action: UnitAction::Start };
            let plan = PlanReport {
                packages: packages(count, length), units: vec![unit; units].into(), ..PlanReport::default()
            };
            let value = Details { plan: Some(plan), ..Details::default() }.into_value();
            prop_assert!(value.to_string().len() <= MAX_DETAILS);
            let plan = Details::read(&value).plan.unwrap();
            prop_assert_eq!(plan.packages.total(), count as u64);
            prop_assert_eq!(plan.units.total(), units as u64);
        }
    }
}
