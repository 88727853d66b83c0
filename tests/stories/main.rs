//! Stories over the whole system from outside: the real daemon, real agents, real git, real sockets, real
//! `kill -9`. One binary; each story sets up its own fleet in its own directory.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a story that can't go on fails, and says where"
)]

mod api;
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
mod readiness;
mod security;
mod tls;
mod v2;
