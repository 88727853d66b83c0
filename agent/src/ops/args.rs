//! What people may ask of an op, read from the command's `args`. Whatever does not fit is named in the answer.
//!
//! The agent looks before it takes a command, so a wrong word is refused at once; the runner's plan reads the same.

use nixfleet_protocol::Op;
use nixfleet_protocol::agent::details::GcMode;
use serde_json::{Map, Value};

/// More inputs than this nobody names one by one.
const MAX_INPUTS: usize = 50;
/// The longest name of an input.
const MAX_NAME: usize = 200;
/// The input that is updated when none is named: the agent's own.
pub const DEFAULT_INPUT: &str = "nixfleet";

/// Arguments that an op does not understand: a code, and a sentence that names them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad_args: {0}")]
pub struct BadArgs(String);

/// Which inputs of the flake are to be updated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inputs {
    /// All of them.
    All,
    /// These.
    Named(Vec<String>),
}

/// Looks whether these ops understand these arguments. What a pipeline of an old word does with them is its matter.
pub fn check(ops: &[Op], args: Option<&Value>) -> Result<(), BadArgs> {
    match ops {
        [Op::BumpFlake] => inputs(args).map(|_| ()),
        [Op::Gc] => gc_mode(args).map(|_| ()),
        _ => Ok(()),
    }
}

/// The fields of an op's arguments, none of which it does not know.
fn fields<'a>(op: Op, known: &str, args: Option<&'a Value>) -> Result<Option<&'a Map<String, Value>>, BadArgs> {
    match args {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(fields)) => match fields.keys().find(|name| *name != known) {
            Some(odd) => Err(BadArgs(format!("{op} takes {known}, and does not know {}", shown(odd)))),
            None => Ok(Some(fields)),
        },
        Some(other) => Err(BadArgs(format!("{op} takes an object with {known}, and not {}", json(other)))),
    }
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}

/// A value as JSON, cut.
fn json(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}

/// `inputs` of `bump-flake`: `all`, a name, or a list of names.
pub fn inputs(args: Option<&Value>) -> Result<Inputs, BadArgs> {
    let fields = fields(Op::BumpFlake, "inputs", args)?;
    let names = match fields.and_then(|fields| fields.get("inputs")) {
        None | Some(Value::Null) => return Ok(Inputs::Named(vec![DEFAULT_INPUT.to_owned()])),
        Some(Value::String(word)) if word == "all" => return Ok(Inputs::All),
        Some(Value::String(name)) => vec![name.as_str()],
        Some(Value::Array(names)) => {
            let texts: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            texts.ok_or_else(|| {
                BadArgs(format!("inputs is a list of names, and not {}", json(&Value::from(names.clone()))))
            })?
        }
        Some(other) => {
            let message = format!("inputs is \"all\", a name or a list of names, and not {}", json(other));
            return Err(BadArgs(message));
        }
    };
    if names.is_empty() {
        return Err(BadArgs("inputs names no input: leave it out for nixfleet, or say \"all\"".to_owned()));
    }
    if names.len() > MAX_INPUTS {
        return Err(BadArgs(format!("inputs names {} inputs; more than {MAX_INPUTS} are \"all\"", names.len())));
    }
    if names.contains(&"all") {
        return Err(BadArgs("inputs is \"all\" or a list of names, not both".to_owned()));
    }
    match names.iter().find(|name| !is_input(name)) {
        Some(odd) => Err(BadArgs(format!("{} is no name of an input", shown(odd)))),
        None => Ok(Inputs::Named(names.into_iter().map(str::to_owned).collect())),
    }
}

/// A name as nix takes it, `a` or `a/b`. Never an option: it stands in an argument vector.
fn is_input(name: &str) -> bool {
    let part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | '\''))
    };
    name.len() <= MAX_NAME && name.split('/').all(part)
}

/// `mode` of `gc`: `safe` or `aggressive`.
pub fn gc_mode(args: Option<&Value>) -> Result<GcMode, BadArgs> {
    let fields = fields(Op::Gc, "mode", args)?;
    match fields.and_then(|fields| fields.get("mode")) {
        None | Some(Value::Null) => Ok(GcMode::Safe),
        Some(Value::String(word)) if word == GcMode::Safe.as_str() => Ok(GcMode::Safe),
        Some(Value::String(word)) if word == GcMode::Aggressive.as_str() => Ok(GcMode::Aggressive),
        Some(other) => Err(BadArgs(format!("mode is \"safe\" or \"aggressive\", and not {}", json(other)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn named(names: &[&str]) -> Inputs {
        Inputs::Named(names.iter().map(|name| (*name).to_owned()).collect())
    }

    #[test]
    fn inputs_are_all_or_names_and_what_does_not_fit_is_named() {
        for (args, read) in [
            (json!(null), Ok(named(&["nixfleet"]))),
            (json!({}), Ok(named(&["nixfleet"]))),
            (json!({ "inputs": null }), Ok(named(&["nixfleet"]))),
            (json!({ "inputs": "all" }), Ok(Inputs::All)),
            (json!({ "inputs": "nixpkgs" }), Ok(named(&["nixpkgs"]))),
            (json!({ "inputs": ["nixpkgs", "a/b_c.d"] }), Ok(named(&["nixpkgs", "a/b_c.d"]))),
            (json!({ "inputs": [] }), Err("names no input")),
            (json!({ "inputs": ["all", "x"] }), Err("not both")),
            (json!({ "inputs": ["--override-input"] }), Err("\"--override-input\" is no name")),
            (json!({ "inputs": ["a/-b"] }), Err("\"a/-b\" is no name")),
            (json!({ "inputs": ["a b"] }), Err("\"a b\" is no name")),
            (json!({ "inputs": [""] }), Err("\"\" is no name")),
            (json!({ "inputs": [1] }), Err("not [1]")),
            (json!({ "inputs": 7 }), Err("not 7")),
            (json!({ "input": "x" }), Err("\"input\"")),
            (json!("all"), Err("not \"all\"")),
            (json!({ "inputs": vec!["x"; 51] }), Err("51 inputs")),
        ] {
            match (inputs(Some(&args)), read) {
                (Err(error), Err(wanted)) => assert!(error.to_string().contains(wanted), "{args}: {error}"),
                (got, read) => assert_eq!(got.ok(), read.ok(), "{args}"),
            }
        }
        assert_eq!(inputs(None), Ok(Inputs::Named(vec!["nixfleet".into()])));
    }

    #[test]
    fn the_mode_is_safe_unless_it_is_aggressive() {
        for (args, read) in [
            (json!(null), Ok(GcMode::Safe)),
            (json!({ "mode": "safe" }), Ok(GcMode::Safe)),
            (json!({ "mode": "aggressive" }), Ok(GcMode::Aggressive)),
            (json!({ "mode": "all" }), Err("mode is \"safe\" or \"aggressive\", and not \"all\"")),
            (json!({ "modus": "safe" }), Err("gc takes mode, and does not know \"modus\"")),
            (json!([]), Err("gc takes an object with mode, and not []")),
        ] {
            assert_eq!(gc_mode(Some(&args)), read.map_err(|text| BadArgs(text.to_owned())), "{args}");
        }
        assert!(check(&[Op::Gc], Some(&json!({ "mode": 1 }))).is_err());
        assert!(check(&[Op::Pull], Some(&json!({ "mode": 1 }))).is_ok());
    }
}
