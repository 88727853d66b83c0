//! Stories with real nix: the daemon, an agent of the platform `nixos`, a flake without inputs from elsewhere, and a
//! store, profiles and generations in a directory of the story's own. No root, no network, nothing of the machine's.
//!
//! Where there is no nix they are skipped by name.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a story that can't go on fails, and says where"
)]

#[path = "../stories/api.rs"]
mod api;
#[expect(dead_code, reason = "the builder of all stories; these need a part of it")]
#[path = "../stories/fleet.rs"]
mod fleet;
#[expect(dead_code, reason = "as above")]
#[path = "../stories/repository.rs"]
mod repository;

mod configuration;
mod machine;

mod cycle;
mod failures;
mod looks;
