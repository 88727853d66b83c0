//! The forms of the ops that take something: one dialog for each, made of the registry. The script opens it, sends
//! what is in it, and knows none of its fields.

use askama::Template;
use nixfleet_model::ops::{self, OpSpec};
use nixfleet_protocol::Op;
use nixfleet_protocol::api::{ArgKind, Command, CommandState, Host, OpArg, OpEntry};
use serde_json::Value;

use super::{Fleet, words};

/// Id of the dialog of an op.
pub(super) fn id(entry: &OpEntry) -> String {
    format!("form:{}", entry.id)
}

/// The dialog of an op.
#[derive(Template)]
#[template(path = "op_form.html")]
pub(super) struct Form {
    id: String,
    label: String,
    about: String,
    totp: bool,
    fields: Vec<Field>,
}

impl askama::filters::HtmlSafe for Form {}

/// An argument, as the template reads it.
struct Field {
    /// Its id in the page.
    id: String,
    arg: OpArg,
    /// How the script writes it into JSON.
    kind: &'static str,
}

/// The dialogs of all ops that take something.
pub(super) fn all() -> Vec<Form> {
    ops::registry().map(OpSpec::entry).filter(|entry| !entry.args.is_empty()).map(form).collect()
}

fn form(entry: OpEntry) -> Form {
    let of = id(&entry);
    let field = |arg: OpArg| {
        let kind = match arg.kind {
            ArgKind::Text | ArgKind::Choice => "text",
            ArgKind::Words => "words",
            ArgKind::Number => "number",
            ArgKind::Switch => "flag",
            ArgKind::Color => "color",
        };
        Field { id: format!("{of}:{}", arg.name), arg, kind }
    };
    let fields = entry.args.into_iter().map(field).collect();
    Form { fields, id: of, label: entry.label, about: entry.description, totp: entry.totp }
}

/// What was chosen for a host, as the forms show it at first.
pub(super) fn chosen(host: &Host) -> String {
    let color = words::color(host.color.as_deref());
    let color = if color.starts_with('#') { color } else { "" };
    parameters([("color", color.to_lowercase()), ("tags", joined(host.tags.iter().map(String::as_str)))])
}

/// The same in the menu that all rows share: what the row says.
pub(super) fn chosen_of_row(entry: &OpEntry) -> String {
    if entry.args.is_empty() { String::new() } else { "{fill}".to_owned() }
}

/// What an op was given before, as its form shows it.
pub(super) fn filled(args: &Value) -> String {
    let Some(args) = args.as_object() else { return String::new() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => joined(list.iter().filter_map(Value::as_str)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    };
    parameters(args.iter().map(|(name, value)| (name.as_str(), text(value))))
}

fn parameters<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// Words with spaces between them; those that have spaces in quotes.
fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let quoted = |word: &str| {
        if word.is_empty() || word.contains(char::is_whitespace) { format!("\"{word}\"") } else { word.to_owned() }
    };
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// How long an op took on a host when it went well last, where it is known.
pub(super) fn took(fleet: &Fleet<'_>, host: &Host, op: Op) -> Option<String> {
    let good = |command: &&std::sync::Arc<Command>| {
        command.op == op && command.host.as_ref() == Some(&host.id) && command.state == CommandState::Success
    };
    let last = fleet.state.commands.values().rev().find(good)?;
    Some(format!("Last time it took {}.", words::span(last.started_at?, last.finished_at?)))
}

#[cfg(test)]
mod tests {
    use askama::Template as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn every_op_that_takes_something_has_a_form_with_its_rules() {
        let forms = all();
        let html: String = forms.iter().map(|form| form.render().unwrap()).collect();
        for spec in ops::registry() {
            let open = format!("<dialog id=\"form:{}\"", spec.id);
            assert_eq!(html.contains(&open), !spec.args.is_empty(), "{}", spec.id);
            for arg in spec.args {
                assert!(html.contains(&format!("name=\"{}\"", arg.name)), "{} {}", spec.id, arg.name);
                assert!(arg.hint.is_empty() || html.contains(arg.hint), "{} {}", spec.id, arg.name);
            }
        }
        assert!(html.contains("max=\"100000\"") && html.contains("required"), "{html}");
    }

    #[test]
    fn what_was_given_before_stands_in_the_form() {
        let given =
            json!({"unit": "a&b.service", "lines": 5, "follow": true, "argv": ["echo", "a b", ""], "color": null});
        let filled = filled(&given);
        for part in ["unit=a%26b.service", "lines=5", "follow=true", "argv=echo+%22a+b%22+%22%22", "color=null"] {
            assert!(filled.split('&').any(|pair| pair == part), "{part}: {filled}");
        }
    }
}
