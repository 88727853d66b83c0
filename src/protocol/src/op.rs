//! The names of the ops. What an op *is* (where it runs, its checks, its limits) stands in the registry of
//! `nixfleet-model`, one entry for each of these; here is only what crosses a socket.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! ops {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A kind of action on one host (or on the fleet), by name.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Op {
            $($(#[$doc])* $variant,)*
        }

        impl Op {
            /// Every op, in the order in which people meet them.
            pub const ALL: &'static [Op] = &[$(Op::$variant,)*];

            /// Whether it is about Nix's store or flakes: hosts that are deployed by scripts have neither.
            pub const fn needs_nix(self) -> bool {
                matches!(self, Op::RefreshSystem | Op::BumpFlake | Op::ForceRebuild | Op::Gc)
            }

            /// Its id: lower case, hyphens.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Op::$variant => $name,)*
                }
            }
        }

        impl FromStr for Op {
            type Err = UnknownOp;

            fn from_str(text: &str) -> Result<Self, UnknownOp> {
                match text {
                    $($name => Ok(Op::$variant),)*
                    _ => Err(UnknownOp(text.chars().take(80).collect())),
                }
            }
        }
    };
}

ops! {
    /// Bring the checkout to the remote's head.
    Pull = "pull",
    /// Build and activate the checkout.
    Switch = "switch",
    /// Run the host's tests.
    Test = "test",
    /// Go back to the generation before.
    Rollback = "rollback",
    /// Restart the agent.
    Restart = "restart",
    /// Reboot the host.
    Reboot = "reboot",
    /// Compare the installed agent with the running one.
    CheckVersion = "check-version",
    /// Ask the remote again.
    RefreshGit = "refresh-git",
    /// Read the lock file again.
    RefreshLock = "refresh-lock",
    /// Compute the closure's path without realising it.
    RefreshSystem = "refresh-system",
    /// Build and report what a switch would change.
    Plan = "plan",
    /// Update flake inputs in the checkout.
    BumpFlake = "bump-flake",
    /// Switch past the caches.
    ForceRebuild = "force-rebuild",
    /// Collect garbage.
    Gc = "gc",
    /// Run one command.
    Exec = "exec",
    /// Read the host's journal.
    Journal = "journal",
    /// Merge the waiting update PR.
    MergePr = "merge-pr",
    /// Revert the PR that was merged last.
    RevertPr = "revert-pr",
    /// Choose a colour.
    SetColor = "set-color",
    /// Choose tags.
    SetTags = "set-tags",
    /// Wake the host by network.
    Wake = "wake",
    /// Forget the host.
    Remove = "remove",
}

/// No op has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown op {0:?}")]
pub struct UnknownOp(pub String);

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Op {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Op {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for op in Op::ALL {
            assert_eq!(op.as_str().parse::<Op>().unwrap(), *op);
            assert!(op.as_str().bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
        }
    }
}
