//! What a parent hears when a child dies, as one thing: however it died, it is gone, and there is a reason.

use ractor::{ActorId, SupervisionEvent};

/// Which child died, and why; none: nobody died.
pub(super) fn death(event: SupervisionEvent) -> Option<(ActorId, String)> {
    match event {
        SupervisionEvent::ActorTerminated(child, _, reason) => {
            Some((child.get_id(), reason.unwrap_or_else(|| "it ended without a reason".to_owned())))
        }
        SupervisionEvent::ActorFailed(child, error) => Some((child.get_id(), error.to_string())),
        SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => None,
    }
}
