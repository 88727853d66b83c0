//! Stories over the whole system from outside: the real daemon, real agents, real git, real sockets, real
//! `kill -9`. One binary; each story sets up its own fleet in its own directory.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a story that can't go on fails, and says where"
)]

mod api;
#[path = "../fake_github/room.rs"]
mod fake_github;
mod fleet;
mod old_agent;
mod played;
mod receivers;
mod repository;
mod tab;

mod auto_tests;
mod cycle;
mod departures;
mod disasters;
mod floods;
mod journal;
mod keeping;
mod kills;
mod names;
mod notifications;
mod pitfalls;
mod pull_requests;
mod readiness;
mod runs;
mod security;
mod tls;
mod v2;
mod weekly_update;
