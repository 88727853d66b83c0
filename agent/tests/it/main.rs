//! The agent from outside: the real binary, a real git, a dashboard made for the test, and `kill -9`.

#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what helps a test may fail like a test"
)]

mod crashes;
mod damage;
mod dashboard;
mod deploys;
mod disk;
mod floods;
mod links;
mod ops;
mod output;
mod plans;
mod reach;
mod startup;
mod stop;
mod v2;
mod world;
