//! Every scenario that must come out so: Agent, Git, Lock, System, Tests.

use nixfleet_protocol::Op;

use super::fixture::Scene;
use super::fixture::Step::{
    BumpsFlake, DashboardUpdates, Ends, PrMerges, PrOpens, Pull, Push, PushLock, RemoteFails, RemoteRecovers, Rollback,
    RollsBackByHand, Starts, Switch, SwitchFails, TestsFail, TestsPass,
};

macro_rules! scenarios {
    ($($name:ident: $from:ident, $steps:expr => $lights:literal;)*) => {
        $(#[test]
        fn $name() {
            let scene = Scene::$from().after(&$steps);
            assert_eq!(scene.drawn(), $lights, "{:#?}", scene.lights());
        })*
    };
}

scenarios! {
    everything_current: current, [] => "🟢🟢🟢🟢🟢";
    a_commit_was_pushed: current, [Push] => "🟢🟡🟢🟡🟢";
    then_pull: current, [Push, Pull] => "🟢🟢🟢🟡🟢";
    then_switch: current, [Push, Pull, Switch] => "🟢🟢🟢🟢🟡";
    then_tests_pass: current, [Push, Pull, Switch, TestsPass] => "🟢🟢🟢🟢🟢";
    an_update_pr_waits: current, [PrOpens] => "🟢🟢🟡🟢🟢";
    the_pr_was_merged: current, [PrOpens, PrMerges] => "🟢🟡🟡🟡🟢";
    the_dashboard_was_updated_and_the_agent_is_old: current, [DashboardUpdates] => "🔴🟢🟢🟢🟢";
    the_switch_failed: current, [Push, Pull, SwitchFails] => "🟢🟢🟢🔴🟢";
    the_fix_was_pushed: current, [Push, Pull, SwitchFails, Push] => "🟢🟡🟢🔴🟢";
    the_fix_was_pulled_and_not_switched: current, [Push, Pull, SwitchFails, Push, Pull] => "🟢🟢🟢🔴🟢";
    the_fix_was_switched: current, [Push, Pull, SwitchFails, Push, Pull, Switch] => "🟢🟢🟢🟢🟡";
    tests_failed_after_a_good_switch: current, [Push, Pull, Switch, TestsFail] => "🟢🟢🟢🟢🔴";
    a_pull_is_running: current, [Push, Starts(Op::Pull)] => "🟢🔵🟢🟡🟢";
    the_remote_cannot_be_read: current, [RemoteFails] => "🟢🔴🔴🟡🟡";
    the_remote_can_be_read_again: current, [RemoteFails, RemoteRecovers] => "🟢🟢🟢🟢🟢";
    the_remote_cannot_be_read_and_tests_had_failed: current, [TestsFail, RemoteFails] => "🟢🔴🔴🟡🔴";
    the_remote_cannot_be_read_and_a_switch_had_failed: current, [SwitchFails, RemoteFails] => "🟢🔴🔴🔴🟡";
    rolled_back_on_the_host_by_hand: current, [RollsBackByHand] => "🟢🟢🟢🟡🟡";
    switched_again_after_a_rollback_by_hand: current, [RollsBackByHand, Switch] => "🟢🟢🟢🟢🟢";
    rolled_back_from_here: current, [Rollback] => "🟢🟢🟢🟡🟡";
    a_failed_switch_stays_red_after_a_rollback: current, [Push, Pull, SwitchFails, Rollback] => "🟢🟢🟢🔴🟡";
    first_connect: first_connect, [] => "🟢🟢🟢⚪⚪";
    first_connect_and_a_commit_was_pushed: first_connect, [Push] => "🟢🟡🟢⚪⚪";
    the_agent_is_old_behind_and_switch_and_tests_failed:
        current, [TestsFail, SwitchFails, PushLock, DashboardUpdates] => "🔴🟡🟡🔴🔴";

    a_pull_that_changed_nothing_leaves_system_as_it_is: current, [Pull] => "🟢🟢🟢🟢🟢";
    inputs_were_updated_on_the_host: current, [BumpsFlake] => "🟢🟢🟡🟡🟢";
    inputs_were_updated_on_the_host_and_switched: current, [BumpsFlake, Switch] => "🟢🟢🟡🟡🟡";
    inputs_were_updated_on_the_host_and_thrown_away: current, [BumpsFlake, Switch, Pull, Switch, TestsPass] => "🟢🟢🟢🟢🟢";
    a_switch_is_running: current, [Push, Pull, Starts(Op::Switch)] => "🟢🟢🟢🔵🟢";
    a_rollback_is_running: current, [Starts(Op::Rollback)] => "🟢🟢🟢🔵🟢";
    a_rebuild_is_running: current, [Starts(Op::ForceRebuild)] => "🟢🟢🟢🔵🟢";
    tests_are_running: current, [Starts(Op::Test)] => "🟢🟢🟢🟢🔵";
    a_restart_is_running: current, [Starts(Op::Restart)] => "🔵🟢🟢🟢🟢";
    inputs_are_being_updated: current, [Starts(Op::BumpFlake)] => "🟢🟢🔵🟢🟢";
    the_lock_is_being_read: current, [Starts(Op::RefreshLock)] => "🟢🟢🔵🟢🟢";
    a_plan_paints_nothing_blue: current, [Starts(Op::Plan)] => "🟢🟢🟢🟢🟢";
    a_reboot_paints_nothing_blue: current, [Starts(Op::Reboot)] => "🟢🟢🟢🟢🟢";
    what_ran_is_over: current, [Push, Starts(Op::Pull), Pull, Ends] => "🟢🟢🟢🟡🟢";
    blue_wins_over_red: current, [SwitchFails, Starts(Op::Switch)] => "🟢🟢🟢🔵🟢";

    no_lock_on_either_side_counts_for_nothing: current_without_lock, [] => "🟢🟢⚪🟢🟢";
    no_lock_and_a_commit_was_pushed: current_without_lock, [Push] => "🟢🟡⚪🟡🟢";
    no_lock_then_pull_and_switch: current_without_lock, [Push, Pull, Switch] => "🟢🟢⚪🟢🟡";
    no_lock_and_an_update_pr_waits: current_without_lock, [PrOpens] => "🟢🟢⚪🟢🟢";
    no_lock_and_the_remote_cannot_be_read: current_without_lock, [RemoteFails] => "🟢🔴⚪🟡🟡";
    the_remote_got_its_first_lock: current_without_lock, [PushLock] => "🟢🟡⚪🟡🟢";

    an_old_agent_is_told_from_its_history: current_v2, [] => "🔴🟢🟢🟢🟢";
    an_old_agent_and_a_commit_was_pushed: current_v2, [Push] => "🔴🟡🟢🟡🟢";
    an_old_agent_pulled: current_v2, [Push, Pull] => "🔴🟢🟢🟡🟢";
    an_old_agent_switched: current_v2, [Push, Pull, Switch] => "🔴🟢🟢🟢🟡";
    an_old_agent_rolled_back: current_v2, [Rollback] => "🔴🟢🟢🟡🟡";
    an_old_agent_failed_to_switch: current_v2, [Push, Pull, SwitchFails] => "🔴🟢🟢🔴🟢";
}
