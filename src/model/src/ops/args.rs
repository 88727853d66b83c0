//! What ops take. The forms of the page are made of it: what each argument is called, what to write, what is valid.
//! Who carries an op out looks at its arguments once more; here is no check that anything relies on.

use nixfleet_protocol::api::{ArgKind, OpArg};

/// An argument of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arg {
    /// Its name in `args`.
    pub name: &'static str,
    /// What it is called on the page.
    pub label: &'static str,
    /// What to write, in a sentence.
    pub hint: &'static str,
    /// What it is.
    pub kind: ArgKind,
    /// Whether it must be given.
    pub required: bool,
    /// What stands in the form at first.
    pub default: &'static str,
    /// A regular expression that a text matches as a whole; empty: any text.
    pub pattern: &'static str,
    /// The largest number.
    pub max: Option<u64>,
    /// What there is to choose from: the value and what it is called.
    pub choices: &'static [(&'static str, &'static str)],
}

impl Arg {
    /// As the API lists it.
    pub fn entry(&self) -> OpArg {
        let choice = |(value, label): &(&str, &str)| ((*value).to_owned(), (*label).to_owned());
        OpArg {
            name: self.name.to_owned(),
            label: self.label.to_owned(),
            hint: self.hint.to_owned(),
            kind: self.kind,
            required: self.required,
            default: self.default.to_owned(),
            pattern: self.pattern.to_owned(),
            max: self.max,
            choices: self.choices.iter().map(choice).collect(),
        }
    }
}

const TEXT: Arg = Arg {
    name: "",
    label: "",
    hint: "",
    kind: ArgKind::Text,
    required: false,
    default: "",
    pattern: "",
    max: None,
    choices: &[],
};

pub(super) const JOURNAL: &[Arg] = &[
    Arg {
        name: "unit",
        label: "Unit",
        hint: "As the host calls it, for example sshd.service. Empty: everything.",
        pattern: r"[\w:.@\\][\w:.@\\\-]*",
        ..TEXT
    },
    Arg {
        name: "lines",
        label: "Lines",
        hint: "How many lines back.",
        kind: ArgKind::Number,
        required: true,
        default: "200",
        max: Some(100_000),
        ..TEXT
    },
    Arg {
        name: "follow",
        label: "Follow",
        hint: "Goes on with what comes, until its log is closed.",
        kind: ArgKind::Switch,
        default: "true",
        ..TEXT
    },
];

pub(super) const EXEC: &[Arg] = &[Arg {
    name: "argv",
    label: "Command",
    hint: "The program and its arguments. No shell reads it: no pipes, no variables. Quote what has spaces.",
    kind: ArgKind::Words,
    required: true,
    ..TEXT
}];

pub(super) const BUMP_FLAKE: &[Arg] = &[Arg {
    name: "inputs",
    label: "Inputs",
    hint: "Names of flake inputs, with spaces between them, or all.",
    kind: ArgKind::Words,
    required: true,
    default: "nixfleet",
    pattern: r"[\w.\/\- ]+",
    ..TEXT
}];

pub(super) const GC: &[Arg] = &[Arg {
    name: "mode",
    label: "What goes",
    kind: ArgKind::Choice,
    required: true,
    default: "safe",
    choices: &[
        ("safe", "Safe: what no generation refers to"),
        ("aggressive", "Aggressive: the older generations too, and with them the way back"),
    ],
    ..TEXT
}];

pub(super) const SET_COLOR: &[Arg] = &[Arg {
    name: "color",
    label: "Colour",
    kind: ArgKind::Color,
    choices: &[
        ("", "As the host reports"),
        ("#2563eb", "Blue"),
        ("#0891b2", "Cyan"),
        ("#0d9488", "Teal"),
        ("#16a34a", "Green"),
        ("#65a30d", "Lime"),
        ("#ca8a04", "Yellow"),
        ("#ea580c", "Orange"),
        ("#dc2626", "Red"),
        ("#db2777", "Pink"),
        ("#9333ea", "Violet"),
        ("#4f46e5", "Indigo"),
        ("#64748b", "Slate"),
    ],
    ..TEXT
}];

pub(super) const SET_TAGS: &[Arg] = &[Arg {
    name: "tags",
    label: "Tags",
    hint: "With spaces between them, at most 20. Empty: those that the host reports.",
    kind: ArgKind::Words,
    ..TEXT
}];

#[cfg(test)]
mod tests {
    use super::super::registry;
    use super::*;

    #[test]
    fn every_argument_has_a_name_of_its_own_and_a_default_that_is_valid() {
        for spec in registry() {
            for (at, arg) in spec.args.iter().enumerate() {
                let what = format!("{} {}", spec.id, arg.name);
                assert!(!arg.name.is_empty() && !arg.label.is_empty(), "{what}");
                assert!(spec.args[..at].iter().all(|other| other.name != arg.name), "{what}");
                assert!(arg.choices.is_empty() == !matches!(arg.kind, ArgKind::Choice | ArgKind::Color), "{what}");
                if arg.kind == ArgKind::Number {
                    assert!(arg.default.parse::<u64>().unwrap() <= arg.max.unwrap(), "{what}");
                }
                if arg.kind == ArgKind::Choice {
                    assert!(arg.choices.iter().any(|(value, _)| *value == arg.default), "{what}");
                }
            }
        }
    }
}
