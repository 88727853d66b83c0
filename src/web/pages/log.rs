//! What stands in a log, and above it: its lines with their colours and numbers, how its command stands, and what to
//! do next.

use std::fmt::Write as _;

use askama::Template;
use askama::filters::{Html, escape};
use nixfleet_model::next::next_steps;
use nixfleet_protocol::agent::Stream;
use nixfleet_protocol::api::{Command, LogLine};
use nixfleet_protocol::sgr::{Pen, Style};
use nixfleet_protocol::{CommandId, Time};

use super::button::{Button, Does, Offer, op_icon};
use super::lights::{part, steps};
use super::{Fleet, html, words};

/// How a command stands, above its log.
#[derive(Template)]
#[template(path = "log_head.html")]
struct Head {
    look: &'static str,
    word: String,
    text: String,
    done: Option<Done>,
    buttons: Vec<Button>,
    /// Nothing will be added to the log.
    over: bool,
}

/// How far a command is.
pub(super) struct Done {
    /// What it does now.
    pub(super) phase: String,
    /// `3 of 12`.
    pub(super) count: String,
    /// Percent.
    pub(super) part: Option<u8>,
}

/// How far a command is that goes on.
pub(super) fn done(command: &Command) -> Option<Done> {
    let progress = command.progress.as_ref().filter(|_| !command.state.is_final())?;
    let count = match (progress.done, progress.expected) {
        (Some(done), Some(expected)) if expected > 0 => format!("{done} of {expected}"),
        _ => String::new(),
    };
    let part = progress.done.zip(progress.expected).and_then(|(done, expected)| part(done, expected));
    Some(Done { phase: progress.phase.clone(), count, part })
}

/// How a command stands, ready to be put above its log.
pub fn log_head(fleet: &Fleet<'_>, command: &Command) -> String {
    let (look, word) = verdict(command);
    let title = super::commands::title(fleet, command);
    let mut buttons = steps(command, &title, "");
    buttons.extend(next_buttons(fleet, command));
    for button in &mut buttons {
        button.look = if button.look == "main" { "main small" } else { "small" };
    }
    let (mut text, done, over) = (super::commands::text(command), done(command), command.state.is_final());
    if done.as_ref().is_some_and(|done| done.phase == text) {
        text.clear();
    }
    html(&Head { look, word, text, done, buttons, over })
}

/// A command's look and its verdict in a word or two: what failed, where the agent says so.
pub(super) fn verdict(command: &Command) -> (&'static str, String) {
    let (look, word) = words::ended(command);
    let stage = command.stage.as_deref().filter(|_| command.state.is_final()).and_then(words::stage);
    (look, stage.map_or(word, |(word, _)| word).to_owned())
}

/// What can be done after a command that did not end well; the likeliest stands out.
pub(super) fn next_buttons(fleet: &Fleet<'_>, command: &Command) -> Vec<Button> {
    let Some(host) = command.host.as_ref().and_then(|id| fleet.host(id)) else { return Vec::new() };
    let refused = (fleet.refused)(host);
    let mut buttons = Vec::new();
    for step in next_steps(command, host) {
        let mut does = Does::action(fleet, &host.id, &step.action, "");
        if let Some(op) = step.action.op {
            let offer = Offer::of(host, &refused, op);
            if offer == Offer::Never {
                continue;
            }
            if step.same {
                does = does.with(&command.args, step.force);
            }
            // With force another rule holds: the dashboard says when it is clicked.
            does = does.not(offer.why_not().filter(|_| !step.force));
        }
        let look = if buttons.is_empty() { "main" } else { "" };
        buttons.push(Button::new(&step.action.label, look, does).icon(step.action.op.map_or("", op_icon)));
    }
    buttons
}

/// Lines of a log, the first of which has the number `line` and begins to be written with `pen`.
pub fn log_rows(command: CommandId, line: u64, lines: &[LogLine], mut pen: Pen) -> String {
    let mut out = String::with_capacity(lines.len() * 320);
    for (one, number) in lines.iter().zip(line..) {
        row(&mut out, command, number, one, &mut pen);
    }
    out
}

/// A row: its number leads to it, its colours are classes. Nothing that is written here can fail: it goes to memory.
fn row(out: &mut String, command: CommandId, number: u64, line: &LogLine, pen: &mut Pen) {
    let stream = match line.stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
        Stream::Note => "note",
        Stream::Mark => "mark",
    };
    let _ = write!(
        out,
        "<div class=\"ln s-{stream}\" title=\"{}\"><a class=\"no\" href=\"/commands/{command}#L{number}\" \
         data-n=\"{number}\" tabindex=\"-1\" aria-hidden=\"true\"></a>",
        clock(line.time)
    );
    pen.pieces(&line.line, |text, pen| {
        let names = classes(pen);
        let Ok(text) = escape(text, Html);
        let _ =
            if names.is_empty() { write!(out, "{text}") } else { write!(out, "<span class=\"{names}\">{text}</span>") };
    });
    out.push_str("</div>");
}

/// `12:03:07 UTC`.
fn clock(time: Time) -> String {
    time.to_string().get(11..19).map(|clock| format!("{clock} UTC")).unwrap_or_default()
}

/// Class names of a pen; the stylesheet has the colours.
fn classes(pen: Pen) -> String {
    if pen.is_plain() {
        return String::new();
    }
    let mut names = Vec::new();
    // Reversed, the paper's and the ink's colours change places too.
    let (fore, back) = if pen.has(Style::Reverse) {
        let name = |letter: char, color: Option<u8>, plain: char| {
            color.map_or_else(|| format!("{letter}{plain}"), |color| format!("{letter}{color}"))
        };
        (Some(name('f', pen.back(), 'k')), Some(name('g', pen.fore(), 'w')))
    } else {
        (pen.fore().map(|color| format!("f{color}")), pen.back().map(|color| format!("g{color}")))
    };
    names.extend(fore.into_iter().chain(back));
    for (style, name) in [
        (Style::Bold, "sb"),
        (Style::Dim, "sd"),
        (Style::Italic, "si"),
        (Style::Underline, "su"),
        (Style::Strike, "ss"),
    ] {
        if pen.has(style) {
            names.push(name.to_owned());
        }
    }
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            offset: 0,
            end: 0,
            time: Time::from_millis(1_795_240_944_007),
            stream: Stream::Stderr,
            line: text.to_owned(),
            partial: false,
        }
    }

    fn texts(lines: &[&str]) -> Vec<String> {
        let lines: Vec<LogLine> = lines.iter().copied().map(line).collect();
        let rows = log_rows("01900000-0000-7000-8000-000000000001".parse().unwrap(), 7, &lines, Pen::default());
        rows.split_inclusive("</div>").map(|row| row.split_once("</a>").unwrap().1.replace("</div>", "")).collect()
    }

    #[test]
    fn a_row_has_its_number_its_stream_and_its_time() {
        let rows = log_rows("01900000-0000-7000-8000-000000000001".parse().unwrap(), 120, &[line("a")], Pen::default());
        assert_eq!(
            rows,
            "<div class=\"ln s-stderr\" title=\"06:02:24 UTC\"><a class=\"no\" \
             href=\"/commands/01900000-0000-7000-8000-000000000001#L120\" data-n=\"120\" tabindex=\"-1\" \
             aria-hidden=\"true\"></a>a</div>"
        );
    }

    #[test]
    fn colours_are_classes_and_go_on_in_the_next_line() {
        assert_eq!(
            texts(&["\u{1b}[31;1merror:\u{1b}[0m no", "\u{1b}[33ma", "b\u{1b}[7mc"]),
            [
                "<span class=\"f1 sb\">error:</span> no",
                "<span class=\"f3\">a</span>",
                "<span class=\"f3\">b</span><span class=\"fk g3\">c</span>"
            ]
        );
    }

    #[test]
    fn what_a_program_prints_is_text() {
        let row = &texts(&["<img src=x onerror=alert(1)>&\u{1b}[1m\"</span>"])[0];
        assert!(!row.contains("<img"), "{row}");
        assert_eq!(row.matches("<span").count(), 1, "{row}");
    }
}
