//! The agent from outside: the real binary, a real git, a dashboard made for the test, and `kill -9`.

mod crashes;
mod dashboard;
mod deploys;
mod links;
mod output;
mod startup;
mod world;
