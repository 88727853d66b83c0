//! `fleet status`: one line a host.

use std::time::Duration;

use clap::Args;
use nixfleet_protocol::Time;
use nixfleet_protocol::api::{Host, HostState, LightStatus};
use serde::{Deserialize, Serialize};

use super::client::Client;
use super::output::{self, Colour, painted};
use super::{Failure, selection};

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Hosts by name, @tag, a glob, or all.
    hosts: Vec<String>,
}

/// A list of hosts as the API gives it.
#[derive(Debug, Deserialize, Serialize)]
struct Hosts {
    version: u64,
    hosts: Vec<Host>,
}

pub(super) async fn run(client: &Client, args: &StatusArgs, json: bool) -> Result<(), Failure> {
    let mut list: Hosts = client.get("/api/v1/hosts").await?;
    selection::check(&list.hosts, &args.hosts)?;
    list.hosts.retain(|host| selection::is_meant(host, &args.hosts));
    if json {
        let text = serde_json::to_string(&list)
            .map_err(|error| super::ClientError::Strange { url: client.url().to_owned(), why: error.to_string() })?;
        output::line(&text);
        return Ok(());
    }
    if list.hosts.is_empty() {
        output::line("no hosts yet: `nixfleet token host NAME` makes a token for the first agent");
        return Ok(());
    }
    let colours = output::colours();
    for line in table(&list.hosts, Time::now(), colours) {
        output::line(&line);
    }
    if colours {
        let legend = "A agent  G git  L lock  S system  T tests    o ok  ! to do  X error  * working  - unknown";
        output::line(&painted(legend, Colour::Dim, true));
    }
    Ok(())
}

/// A cell: what is shown, and in which colour.
type Cell = (String, Option<Colour>);

fn table(hosts: &[Host], now: Time, colours: bool) -> Vec<String> {
    let heads = ["HOST", "STATE", "A G L S T", "COMMIT", "SEEN", "RUNNING"];
    let mut rows: Vec<Vec<Vec<Cell>>> =
        vec![heads.iter().map(|head| vec![((*head).to_owned(), Some(Colour::Bold))]).collect()];
    rows.extend(hosts.iter().map(|host| row(host, now)));
    let length = |cell: &Vec<Cell>| cell.iter().map(|(text, _)| text.chars().count()).sum::<usize>();
    let widths: Vec<usize> =
        (0..heads.len()).map(|column| rows.iter().map(|row| length(&row[column])).max().unwrap_or(0)).collect();
    rows.iter()
        .map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                for (text, colour) in cell {
                    line += &colour.map_or_else(|| text.clone(), |colour| painted(text, colour, colours));
                }
                line += &" ".repeat(width - length(cell) + 2);
            }
            line.trim_end().to_owned()
        })
        .collect()
}

fn row(host: &Host, now: Time) -> Vec<Vec<Cell>> {
    let plain = |text: String| vec![(text, None)];
    vec![
        plain(host.id.to_string()),
        vec![state(host.state)],
        lights(host),
        plain(commit(host)),
        plain(host.last_seen.map_or_else(|| "never".to_owned(), |at| ago(now.since(at)))),
        plain(running(host)),
    ]
}

fn state(state: HostState) -> Cell {
    let (word, colour) = match state {
        HostState::Online => ("online", Colour::Green),
        HostState::Stale => ("stale", Colour::Yellow),
        HostState::Offline => ("offline", Colour::Red),
        HostState::Never => ("never", Colour::Dim),
    };
    (word.to_owned(), Some(colour))
}

fn lights(host: &Host) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (_, light) in host.lights.each() {
        let (letter, colour) = match light.status {
            LightStatus::Ok => ("o", Colour::Green),
            LightStatus::Outdated => ("!", Colour::Yellow),
            LightStatus::Error => ("X", Colour::Red),
            LightStatus::Working => ("*", Colour::Blue),
            LightStatus::Unknown => ("-", Colour::Dim),
        };
        if !cells.is_empty() {
            cells.push((" ".to_owned(), None));
        }
        cells.push((letter.to_owned(), Some(colour)));
    }
    cells
}

/// What is checked out; and what is deployed, where that is something else.
fn commit(host: &Host) -> String {
    let deployed = host.deployed.as_ref().map(|deployed| &deployed.commit);
    match (&host.generation, deployed) {
        (Some(checkout), Some(deployed)) if !checkout.is(deployed) => {
            format!("{} (runs {})", checkout.short(), deployed.short())
        }
        (Some(commit), _) | (None, Some(commit)) => commit.short().to_owned(),
        (None, None) => "-".to_owned(),
    }
}

fn running(host: &Host) -> String {
    let Some(command) = &host.command else { return "-".to_owned() };
    let progress = command.progress.as_ref().map(|progress| match (progress.done, progress.expected) {
        (Some(done), Some(expected)) => format!(" {} {done} of {expected}", progress.phase),
        _ => format!(" {}", progress.phase),
    });
    format!("{}{}", command.op, progress.unwrap_or_default()).trim_end().to_owned()
}

fn ago(span: Duration) -> String {
    match span.as_secs() {
        0..10 => "now".to_owned(),
        seconds @ 10..120 => format!("{seconds} s ago"),
        seconds @ 120..7_200 => format!("{} min ago", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h ago", seconds / 3_600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_as_people_say_it() {
        for (seconds, said) in [
            (0, "now"),
            (10, "10 s ago"),
            (119, "119 s ago"),
            (120, "2 min ago"),
            (7_200, "2 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(Duration::from_secs(seconds)), said);
        }
    }
}
