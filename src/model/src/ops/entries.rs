//! The entries of the registry, one for each op.

use std::time::Duration;

use nixfleet_protocol::Op;

use super::args;
use super::{Compartment, OpSpec, PostCheck, PreCheck, RunsOn, Scope};

/// What most ops of an agent have in common.
const AGENT: OpSpec = OpSpec {
    id: Op::Pull,
    label: "",
    description: "",
    runs_on: RunsOn::Agent,
    per_host: true,
    pre: &[PreCheck::Online, PreCheck::Supported, PreCheck::Idle],
    post: PostCheck::ExitZero,
    warn: None,
    hard: None,
    retry: true,
    totp: false,
    interrupts_link: false,
    confirm: None,
    compartment: None,
    v2: None,
    bulk: false,
    takes_slot: true,
    scope: Scope::Operate,
    args: &[],
};

/// What most ops of the dashboard have in common.
const DASHBOARD: OpSpec =
    OpSpec { runs_on: RunsOn::Dashboard, pre: &[], post: PostCheck::Nothing, takes_slot: false, ..AGENT };

/// The entry of an op.
pub const fn spec(op: Op) -> &'static OpSpec {
    match op {
        Op::Pull => {
            const {
                &OpSpec {
                    id: Op::Pull,
                    label: "Pull",
                    description: "Bring the host's checkout to the head of the tracked branch.",
                    pre: &[
                        PreCheck::Online,
                        PreCheck::Supported,
                        PreCheck::Idle,
                        PreCheck::RemoteReadable,
                        PreCheck::NotPulled,
                    ],
                    post: PostCheck::CheckoutAtHead,
                    warn: Some(Duration::from_mins(2)),
                    hard: Some(Duration::from_mins(5)),
                    compartment: Some(Compartment::Git),
                    v2: Some("pull"),
                    bulk: true,
                    ..AGENT
                }
            }
        }
        Op::Switch => {
            const {
                &OpSpec {
                    id: Op::Switch,
                    label: "Switch",
                    description: "Build the host's checkout and activate it.",
                    pre: &[
                        PreCheck::Online,
                        PreCheck::Supported,
                        PreCheck::Idle,
                        PreCheck::LockNotBehind,
                        PreCheck::NotSwitched,
                    ],
                    post: PostCheck::DeployedIsCheckout,
                    warn: Some(Duration::from_mins(10)),
                    hard: Some(Duration::from_mins(30)),
                    interrupts_link: true,
                    compartment: Some(Compartment::System),
                    v2: Some("switch"),
                    bulk: true,
                    ..AGENT
                }
            }
        }
        Op::Test => {
            const {
                &OpSpec {
                    id: Op::Test,
                    label: "Run tests",
                    description: "Run the host's tests, each on its own.",
                    post: PostCheck::TestsPassed,
                    warn: Some(Duration::from_mins(5)),
                    hard: Some(Duration::from_mins(10)),
                    compartment: Some(Compartment::Tests),
                    v2: Some("test"),
                    bulk: true,
                    ..AGENT
                }
            }
        }
        Op::Rollback => {
            const {
                &OpSpec {
                    id: Op::Rollback,
                    label: "Roll back",
                    description: "Go back to the generation before the one that runs.",
                    pre: &[PreCheck::Online, PreCheck::Supported, PreCheck::Idle, PreCheck::EarlierGeneration],
                    post: PostCheck::SystemChangedBack,
                    warn: Some(Duration::from_mins(5)),
                    hard: Some(Duration::from_mins(15)),
                    retry: false,
                    interrupts_link: true,
                    confirm: Some(
                        "{host} goes back to the generation before the one that runs. Services that differ are restarted.",
                    ),
                    compartment: Some(Compartment::System),
                    v2: Some("rollback"),
                    ..AGENT
                }
            }
        }
        Op::Restart => {
            const {
                &OpSpec {
                    id: Op::Restart,
                    label: "Restart agent",
                    description: "Restart the agent; the host itself goes on.",
                    post: PostCheck::NewInstance,
                    warn: Some(Duration::from_secs(30)),
                    hard: Some(Duration::from_mins(2)),
                    interrupts_link: true,
                    compartment: Some(Compartment::Agent),
                    v2: Some("restart"),
                    bulk: true,
                    ..AGENT
                }
            }
        }
        Op::Reboot => {
            const {
                &OpSpec {
                    id: Op::Reboot,
                    label: "Reboot",
                    description: "Reboot the host. At most 5 times an hour.",
                    pre: &[PreCheck::Online, PreCheck::Supported, PreCheck::Idle, PreCheck::FewReboots, PreCheck::Totp],
                    post: PostCheck::NewBoot,
                    warn: Some(Duration::from_mins(2)),
                    hard: Some(Duration::from_mins(10)),
                    retry: false,
                    totp: true,
                    interrupts_link: true,
                    confirm: Some("{host} reboots now. Everything that runs on it is interrupted."),
                    v2: Some("reboot"),
                    ..AGENT
                }
            }
        }
        Op::CheckVersion => {
            const {
                &OpSpec {
                    id: Op::CheckVersion,
                    label: "Check version",
                    description: "Compare the installed agent with the one that runs.",
                    post: PostCheck::Nothing,
                    warn: Some(Duration::from_secs(10)),
                    hard: Some(Duration::from_secs(30)),
                    v2: Some("check-version"),
                    ..AGENT
                }
            }
        }
        Op::RefreshGit => {
            const {
                &OpSpec {
                    id: Op::RefreshGit,
                    label: "Ask the remote again",
                    description: "Read the head of the tracked branch again.",
                    per_host: false,
                    post: PostCheck::RemoteAsked,
                    warn: Some(Duration::from_secs(10)),
                    hard: Some(Duration::from_secs(30)),
                    v2: Some("refresh-git"),
                    ..DASHBOARD
                }
            }
        }
        Op::RefreshLock => {
            const {
                &OpSpec {
                    id: Op::RefreshLock,
                    label: "Read the lock again",
                    description: "Read the checkout's flake.lock again.",
                    post: PostCheck::Nothing,
                    warn: Some(Duration::from_secs(10)),
                    hard: Some(Duration::from_secs(30)),
                    compartment: Some(Compartment::Lock),
                    v2: Some("refresh-lock"),
                    ..AGENT
                }
            }
        }
        Op::RefreshSystem => {
            const {
                &OpSpec {
                    id: Op::RefreshSystem,
                    label: "Compare the system",
                    description: "Compute the path of the system that a switch would activate, without building it.",
                    post: PostCheck::Nothing,
                    warn: Some(Duration::from_mins(2)),
                    hard: Some(Duration::from_mins(10)),
                    confirm: Some("{host} evaluates its whole configuration. That takes minutes and much memory."),
                    v2: Some("refresh-system"),
                    ..AGENT
                }
            }
        }
        Op::Plan => {
            const {
                &OpSpec {
                    id: Op::Plan,
                    label: "Plan",
                    description: "Build, change nothing, and report what a switch would change.",
                    post: PostCheck::PlanReported,
                    warn: Some(Duration::from_mins(10)),
                    hard: Some(Duration::from_mins(30)),
                    bulk: true,
                    ..AGENT
                }
            }
        }
        Op::BumpFlake => {
            const {
                &OpSpec {
                    id: Op::BumpFlake,
                    label: "Update inputs",
                    description: "Update flake inputs in the host's checkout; the change stays on the host.",
                    post: PostCheck::LockChanged,
                    warn: Some(Duration::from_mins(1)),
                    hard: Some(Duration::from_mins(5)),
                    compartment: Some(Compartment::Lock),
                    args: args::BUMP_FLAKE,
                    ..AGENT
                }
            }
        }
        Op::ForceRebuild => {
            const {
                &OpSpec {
                    id: Op::ForceRebuild,
                    label: "Force rebuild",
                    description: "Build past the caches and activate, even where nothing changed.",
                    post: PostCheck::DeployedIsCheckout,
                    warn: Some(Duration::from_mins(10)),
                    hard: Some(Duration::from_mins(30)),
                    interrupts_link: true,
                    confirm: Some("{host} builds its system anew, past the caches. That can take long."),
                    compartment: Some(Compartment::System),
                    ..AGENT
                }
            }
        }
        Op::Gc => {
            const {
                &OpSpec {
                    id: Op::Gc,
                    label: "Collect garbage",
                    description: "Free disk space by removing what nothing refers to.",
                    warn: Some(Duration::from_mins(10)),
                    hard: Some(Duration::from_hours(1)),
                    confirm: Some(
                        "{host} removes what nothing refers to. In the mode aggressive the older generations go too, \
                     and with them the way back.",
                    ),
                    bulk: true,
                    args: args::GC,
                    ..AGENT
                }
            }
        }
        Op::Exec => {
            const {
                &OpSpec {
                    id: Op::Exec,
                    label: "Run a command",
                    description: "Run one command on the host, where the host's own configuration allows it.",
                    pre: &[PreCheck::Online, PreCheck::Supported, PreCheck::Idle, PreCheck::ExecAllowed],
                    warn: Some(Duration::from_mins(1)),
                    hard: Some(Duration::from_mins(10)),
                    retry: false,
                    confirm: Some("{host} runs this command. It is written to the audit log."),
                    scope: Scope::Admin,
                    args: args::EXEC,
                    ..AGENT
                }
            }
        }
        Op::Journal => {
            const {
                &OpSpec {
                    id: Op::Journal,
                    label: "Read journal",
                    description: "Read the host's own journal, live.",
                    pre: &[PreCheck::Online, PreCheck::Supported],
                    post: PostCheck::Nothing,
                    takes_slot: false,
                    args: args::JOURNAL,
                    ..AGENT
                }
            }
        }
        Op::MergePr => {
            const {
                &OpSpec {
                    id: Op::MergePr,
                    label: "Merge",
                    description: "Merge the update pull request that waits.",
                    per_host: false,
                    pre: &[PreCheck::PullRequest],
                    post: PostCheck::Merged,
                    warn: Some(Duration::from_secs(30)),
                    hard: Some(Duration::from_mins(1)),
                    confirm: Some("The update pull request is merged into the tracked branch."),
                    ..DASHBOARD
                }
            }
        }
        Op::RevertPr => {
            const {
                &OpSpec {
                    id: Op::RevertPr,
                    label: "Revert",
                    description: "Revert the pull request that was merged from here last.",
                    per_host: false,
                    pre: &[PreCheck::MergedByUs],
                    post: PostCheck::Reverted,
                    warn: Some(Duration::from_secs(30)),
                    hard: Some(Duration::from_mins(1)),
                    retry: false,
                    confirm: Some("A revert of the last merge is put on the tracked branch."),
                    ..DASHBOARD
                }
            }
        }
        Op::SetColor => {
            const {
                &OpSpec {
                    id: Op::SetColor,
                    label: "Choose colour",
                    description: "Choose the host's colour; it outlives what the agent reports.",
                    args: args::SET_COLOR,
                    ..DASHBOARD
                }
            }
        }
        Op::SetTags => {
            const {
                &OpSpec {
                    id: Op::SetTags,
                    label: "Choose tags",
                    description: "Choose the host's tags; they outlive what the agent reports.",
                    bulk: true,
                    args: args::SET_TAGS,
                    ..DASHBOARD
                }
            }
        }
        Op::Wake => {
            const {
                &OpSpec {
                    id: Op::Wake,
                    label: "Wake",
                    description: "Wake the host by network (Wake-on-LAN).",
                    pre: &[PreCheck::Offline, PreCheck::MacKnown],
                    post: PostCheck::Registered,
                    warn: Some(Duration::from_mins(1)),
                    hard: Some(Duration::from_mins(5)),
                    bulk: true,
                    ..DASHBOARD
                }
            }
        }
        Op::Remove => {
            const {
                &OpSpec {
                    id: Op::Remove,
                    label: "Remove",
                    description: "Forget the host, its commands and its tokens.",
                    pre: &[PreCheck::Offline, PreCheck::NotInRun],
                    retry: false,
                    confirm: Some("{host} is forgotten: its history, its logs and its tokens."),
                    ..DASHBOARD
                }
            }
        }
    }
}
