//! Graphs of percentages over time, as paths of an SVG. Pure: the same samples are the same picture, whenever it is
//! drawn, so that an open page and a fresh one show the same.
//!
//! One unit of x is one sample, y goes from 0 (all) to 100 (nothing); the stylesheet stretches it to its size.

use std::fmt::Write as _;

/// Where an area ends: below what is seen, so that its own lower edge is not.
const BELOW: i32 = 120;

/// A figure over time, oldest first; none is a gap.
pub(super) struct Graph {
    points: Vec<Option<u8>>,
}

/// The least and the most of what was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) low: u8,
    pub(super) high: u8,
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.low == self.high { write!(f, "{} %", self.low) } else { write!(f, "{} to {} %", self.low, self.high) }
    }
}

impl Graph {
    pub(super) fn new(points: impl Iterator<Item = Option<u8>>) -> Self {
        Self { points: points.collect() }
    }

    /// The same with half the points. `ends_odd`: the last sample is the second of its pair. Pairs stay the same
    /// while samples come, so that the line moves and does not wobble.
    pub(super) fn halved(self, ends_odd: bool) -> Self {
        let mut points: Vec<_> = self.points.into_iter().rev().collect();
        if !ends_odd {
            points.insert(0, None);
        }
        let pairs = points.chunks_exact(2).map(|pair| match (pair[0], pair[1]) {
            (Some(one), Some(other)) => Some(u8::midpoint(one, other)),
            (one, other) => one.or(other),
        });
        let mut points: Vec<_> = pairs.collect();
        points.reverse();
        Self { points }
    }

    /// The largest x.
    pub(super) fn width(&self) -> usize {
        self.points.len().saturating_sub(1)
    }

    pub(super) fn range(&self) -> Option<Range> {
        let heard = || self.points.iter().flatten().copied();
        Some(Range { low: heard().min()?, high: heard().max()? })
    }

    /// Stretches of samples without a gap: where each begins, and its values.
    fn runs(&self) -> Vec<(usize, Vec<u8>)> {
        let mut runs: Vec<(usize, Vec<u8>)> = Vec::new();
        let mut open = false;
        for (at, point) in self.points.iter().enumerate() {
            match (point, runs.last_mut().filter(|_| open)) {
                (Some(value), Some((_, values))) => values.push(*value),
                (Some(value), None) => runs.push((at, vec![*value])),
                (None, _) => {}
            }
            open = point.is_some();
        }
        runs
    }

    /// Where a stretch is drawn from: a single sample is a dash, which needs room to its right.
    fn left(&self, at: usize, values: &[u8]) -> usize {
        if values.len() == 1 { at.min(self.width().saturating_sub(1)) } else { at }
    }

    /// The line through the samples.
    pub(super) fn line(&self) -> String {
        let mut path = String::new();
        for (at, values) in self.runs() {
            // Writing to a String can't fail.
            let _ = write!(path, "M{} {}", self.left(at, &values), 100 - i32::from(values[0]));
            steps(&mut path, &values);
        }
        path
    }

    /// What lies below the line.
    pub(super) fn area(&self) -> String {
        let mut path = String::new();
        for (at, values) in self.runs() {
            let top = 100 - i32::from(values[0]);
            // Beside what is seen, too: there the edge of the picture is no edge of the area.
            let _ = if at == 0 {
                write!(path, "M-2 {BELOW}V{top}H0")
            } else {
                write!(path, "M{} {BELOW}V{top}", self.left(at, &values))
            };
            steps(&mut path, &values);
            if at + values.len() > self.width() {
                let _ = write!(path, "H{}", self.width() + 2);
            }
            let _ = write!(path, "V{BELOW}z");
        }
        path
    }

    /// Where nothing was heard between two samples: from and how long.
    pub(super) fn gaps(&self) -> Vec<(usize, usize)> {
        let ends = self.runs().into_iter().map(|(at, values)| (at, at + values.len() - 1)).collect::<Vec<_>>();
        ends.windows(2).map(|pair| (pair[0].1, pair[1].0 - pair[0].1)).collect()
    }
}

/// From sample to sample; a single one is a short dash.
fn steps(path: &mut String, values: &[u8]) {
    if values.len() == 1 {
        path.push_str("h1");
    }
    for (at, pair) in values.windows(2).enumerate() {
        let down = i32::from(pair[0]) - i32::from(pair[1]);
        let _ = write!(path, "{}{}{down}", if at == 0 { "l1" } else { " 1" }, if down < 0 { "" } else { " " });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(points: &[Option<u8>]) -> Graph {
        Graph::new(points.iter().copied())
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let graph = graph(&[None, Some(10), Some(30), Some(20), None, None, Some(5)]);
        assert_eq!(graph.line(), "M1 90l1-20 1 10M5 95h1");
        assert_eq!(graph.area(), "M1 120V90l1-20 1 10V120zM5 120V95h1H8V120z");
        assert_eq!(graph.gaps(), [(3, 3)], "what was before the first sample is no gap");
        assert_eq!(graph.range().unwrap().to_string(), "5 to 30 %");
        assert_eq!(graph.width(), 6);
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let graph = graph(&[None; 60]);
        assert_eq!(
            (graph.line(), graph.area(), graph.gaps(), graph.range()),
            (String::new(), String::new(), vec![], None)
        );
    }

    #[test]
    fn pairs_stay_pairs_while_samples_come() {
        let minutes: Vec<_> = (0..80_u8).map(|it| Some(it % 9 * 7)).collect();
        let at = |newest: usize| graph(&minutes[newest - 59..=newest]).halved(newest % 2 == 1).points;
        let (odd, even) = (at(61), at(62));
        assert_eq!(odd.len(), 30);
        assert_eq!(even.len(), 30);
        assert_eq!(odd[1..], even[..29], "only the newest point is new");
        assert_eq!(even[..29], at(63)[..29]);
    }
}
