//! The pipelines that there are: those of the product and those of the configuration file, in one list.

use nixfleet_protocol::Op;
use nixfleet_protocol::api::PipelineEntry;

use super::record::Stage;
use crate::ops::{self, spec};

/// A pipeline that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// What a button says.
    pub label: String,
    /// What it does.
    pub description: String,
    /// Its stages.
    pub stages: Vec<Stage>,
    /// How many hosts at once, where the run says nothing; none: all.
    pub parallel: Option<u32>,
    /// Whether it comes with the product.
    pub built_in: bool,
}

impl Known {
    /// A pipeline of the configuration file. An error says what is wrong with it.
    pub fn configured(name: &str, ops: &[Op], description: &str, parallel: Option<u32>) -> Result<Self, String> {
        if ops::pipeline(name).is_some() {
            return Err(format!("name: {name:?} comes with NixFleet; choose another"));
        }
        if ops.is_empty() {
            return Err("ops: at least one is needed".to_owned());
        }
        if let Some(op) = ops.iter().find(|op| !can_be_staged(**op)) {
            return Err(format!("ops: {op} can't be part of a pipeline"));
        }
        let stages = ops.iter().map(|op| Stage { op: *op, args: "{}".to_owned() }).collect();
        let description = if description.is_empty() {
            ops.iter().map(|op| spec(*op).label).collect::<Vec<_>>().join(", ")
        } else {
            description.to_owned()
        };
        Ok(Self { name: name.to_owned(), label: label_of(name), description, stages, parallel, built_in: false })
    }

    fn built_in(pipeline: &ops::Pipeline) -> Self {
        let stage = |(op, args): &(Op, &str)| Stage { op: *op, args: (*args).to_owned() };
        Self {
            name: pipeline.name.to_owned(),
            label: pipeline.label.to_owned(),
            description: pipeline.description.to_owned(),
            stages: pipeline.stages.iter().map(stage).collect(),
            parallel: None,
            built_in: true,
        }
    }

    /// Whether an op of it needs a TOTP code: it is asked for once, at the start.
    pub fn needs_totp(&self) -> bool {
        self.stages.iter().any(|stage| spec(stage.op).totp)
    }

    /// As the API lists it.
    pub fn entry(&self) -> PipelineEntry {
        PipelineEntry {
            name: self.name.clone(),
            label: self.label.clone(),
            description: self.description.clone(),
            ops: self.stages.iter().map(|stage| stage.op).collect(),
            parallel: self.parallel,
            totp: self.needs_totp(),
            built_in: self.built_in,
        }
    }
}

/// Whether an op can be a stage: what has an end of its own, changes nothing that a person chose, leaves the host in
/// the fleet, and needs no word beside its name.
pub(super) const fn can_be_staged(op: Op) -> bool {
    match op {
        Op::Pull
        | Op::Switch
        | Op::Test
        | Op::Rollback
        | Op::Restart
        | Op::Reboot
        | Op::CheckVersion
        | Op::RefreshGit
        | Op::RefreshLock
        | Op::RefreshSystem
        | Op::Plan
        | Op::BumpFlake
        | Op::ForceRebuild
        | Op::Gc
        | Op::MergePr
        | Op::RevertPr
        | Op::Wake => true,
        Op::Exec | Op::Journal | Op::SetColor | Op::SetTags | Op::Remove => false,
    }
}

/// `nightly-check` is called `Nightly check`.
fn label_of(name: &str) -> String {
    let words = name.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// All pipelines, those of the product first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registry {
    all: Vec<Known>,
}

impl Default for Registry {
    /// Those of the product.
    fn default() -> Self {
        Self { all: ops::pipelines().iter().map(Known::built_in).collect() }
    }
}

impl Registry {
    /// With those of the configuration file. Of two with one name the first counts; the configuration refuses such.
    pub fn with(configured: impl IntoIterator<Item = Known>) -> Self {
        let mut registry = Self::default();
        for known in configured {
            if registry.get(&known.name).is_none() {
                registry.all.push(known);
            }
        }
        registry
    }

    /// The pipeline of this name.
    pub fn get(&self, name: &str) -> Option<&Known> {
        self.all.iter().find(|known| known.name == name)
    }

    /// All of them.
    pub fn all(&self) -> &[Known] {
        &self.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_pipeline_stands_behind_those_of_the_product() {
        let nightly = Known::configured("nightly-check", &[Op::Pull, Op::Plan], "", Some(2)).unwrap();
        assert_eq!((nightly.label.as_str(), nightly.needs_totp()), ("Nightly check", false));
        let registry = Registry::with([nightly.clone()]);
        assert_eq!(registry.get("nightly-check"), Some(&nightly));
        assert_eq!(registry.all().len(), ops::pipelines().len() + 1);
        assert!(Known::configured("restart-all", &[Op::Reboot], "", None).unwrap().needs_totp());
    }

    #[test]
    fn a_bad_pipeline_says_what_is_wrong_with_it() {
        for (name, ops, why) in [
            ("do-all", vec![Op::Pull], "comes with NixFleet"),
            ("none", vec![], "at least one"),
            ("look", vec![Op::Pull, Op::Journal], "journal can't be part"),
            ("run", vec![Op::Exec], "exec can't be part"),
            ("away", vec![Op::Remove], "remove can't be part"),
        ] {
            let error = Known::configured(name, &ops, "", None).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn every_op_of_the_products_pipelines_can_be_staged() {
        for known in Registry::default().all() {
            assert!(known.stages.iter().all(|stage| can_be_staged(stage.op)), "{}", known.name);
        }
    }
}
