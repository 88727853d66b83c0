//! NixFleet: the daemon's actors and web server, and the command line. What it decides stands in
//! `nixfleet-model`; what crosses a socket in `nixfleet-protocol`.

pub mod actors;
pub mod admin;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod http_client;
pub mod web;
