//! The lights, from the scenarios of the product down to single cells.

pub(crate) mod fixture;
mod properties;
mod scenarios;
mod sentences;
mod tables;
