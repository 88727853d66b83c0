//! How busy a host was: the small graphs in its row, and those of the hour and the day on its page. They are drawn
//! when a minute is over, not with each heartbeat.

use askama::Template;
use nixfleet_protocol::api::{Host, LoadSample};

use super::super::graph::Graph;
use super::super::row::{Meter, meters};
use super::super::{Fleet, html, words};

/// The graphs of a row.
#[derive(Template)]
#[template(path = "row_past.html")]
struct Small {
    id: String,
    figures: [SmallFigure; 2],
}

struct SmallFigure {
    name: &'static str,
    width: usize,
    area: String,
    range: String,
}

/// Id of the graphs in a host's row.
pub(in super::super) fn small_id(host: &Host) -> String {
    format!("host:{}:past", host.id)
}

pub(in super::super) fn small(host: &Host) -> String {
    let odd = (host.past.hour_until().millis() / 60_000) % 2 == 0;
    let figure = |name, of: fn(LoadSample) -> Option<u8>| {
        let graph = Graph::new(host.past.hour().map(of)).halved(odd);
        let range = Graph::new(host.past.hour().map(of)).range();
        SmallFigure {
            name,
            width: graph.width(),
            area: graph.area(),
            range: range.map(|it| it.to_string()).unwrap_or_default(),
        }
    };
    html(&Small { id: small_id(host), figures: [figure("CPU", |it| it.cpu), figure("RAM", |it| it.ram)] })
}

/// The figures of now.
#[derive(Template)]
#[template(path = "host_load.html")]
struct Numbers {
    unit: &'static str,
    meters: [Meter; 3],
    load: String,
}

pub(in super::super) fn numbers(host: &Host) -> String {
    let metrics = host.metrics.unwrap_or_default();
    let load = metrics.load.filter(|load| load.is_finite()).map(|load| format!("{load:.2}"));
    html(&Numbers { unit: "\u{202f}%", meters: meters(&metrics), load: load.unwrap_or_default() })
}

/// The graphs of the host's page.
#[derive(Template)]
#[template(path = "host_graphs.html")]
struct Graphs {
    empty: bool,
    spans: Vec<Span>,
}

struct Span {
    name: &'static str,
    title: &'static str,
    figures: [Figure; 2],
    times: [words::Ago; 3],
}

struct Figure {
    name: &'static str,
    look: &'static str,
    width: usize,
    area: String,
    line: String,
    gaps: Vec<(usize, usize)>,
    range: String,
}

pub(in super::super) fn graphs(fleet: &Fleet<'_>, host: &Host) -> String {
    let past = &host.past;
    let figure = |name, look, graph: Graph| Figure {
        name,
        look,
        width: graph.width(),
        area: graph.area(),
        line: graph.line(),
        gaps: graph.gaps(),
        range: graph.range().map(|range| range.to_string()).unwrap_or_default(),
    };
    let times = |until: nixfleet_protocol::Time, minutes: u64| {
        let at = |back| words::ago(until.minus(std::time::Duration::from_mins(back)), fleet.now);
        [at(minutes), at(minutes / 2), at(0)]
    };
    let both = |samples: Vec<LoadSample>| {
        [
            figure("CPU", "cpu", Graph::new(samples.iter().map(|it| it.cpu))),
            figure("RAM", "ram", Graph::new(samples.iter().map(|it| it.ram))),
        ]
    };
    let spans = vec![
        Span {
            name: "hour",
            title: "last hour",
            figures: both(past.hour().collect()),
            times: times(past.hour_until(), 60),
        },
        Span {
            name: "day",
            title: "last 24 hours",
            figures: both(past.day().collect()),
            times: times(past.day_until(), 24 * 60),
        },
    ];
    html(&Graphs { empty: past.is_empty(), spans })
}
