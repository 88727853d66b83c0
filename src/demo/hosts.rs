//! The demo's hosts: their names, what they are, and what part each has in the story.

/// What a host shows when the page opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It deployed the update.
    Current,
    /// The update waits for it.
    Behind,
    /// It deployed the update, and its tests fail.
    TestsFail,
    /// The update can't be built on it.
    SwitchFails,
}

/// A host of the demo.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) name: String,
    pub(super) role: Role,
    pub(super) device_type: &'static str,
    pub(super) location: &'static str,
    pub(super) color: &'static str,
    pub(super) tags: &'static str,
}

/// Name, device type, location, colour, tags.
const KNOWN: &[(&str, &str, &str, &str, &str)] = &[
    ("atlas", "server", "home", "#7aa2f7", "storage,always-on"),
    ("nova", "gaming", "home", "#f7768e", "desk"),
    ("luna", "laptop", "work", "#bb9af7", "travel"),
    ("orion", "desktop", "work", "#9ece6a", "desk"),
    ("vega", "server", "cloud", "#7dcfff", "web,always-on"),
    ("lyra", "server", "cloud", "#2ac3de", "mail,always-on"),
    ("rigel", "desktop", "home", "#e0af68", "desk"),
    ("mira", "laptop", "home", "#ff9e64", "travel"),
    ("altair", "server", "home", "#73daca", "build,always-on"),
    ("deneb", "server", "cloud", "#b4f9f8", "web,always-on"),
];

/// So many hosts, in the order in which their roles matter most.
pub(super) fn fleet(count: usize) -> Vec<Host> {
    (0..count)
        .map(|number| {
            let (name, device_type, location, color, tags) = KNOWN[number % KNOWN.len()];
            let round = number / KNOWN.len();
            let name = if round == 0 { name.to_owned() } else { format!("{name}-{}", round + 1) };
            Host { name, role: role(number, count), device_type, location, color, tags }
        })
        .collect()
}

fn role(number: usize, count: usize) -> Role {
    match number {
        // An update always waits for somebody.
        0 if count < 4 => Role::Behind,
        1 => Role::SwitchFails,
        2 => Role::TestsFail,
        3 | 4 => Role::Behind,
        _ if number % 3 == 1 => Role::Behind,
        _ => Role::Current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_of_any_size_has_names_of_its_own_and_an_update_that_waits() {
        for count in [1, 2, 3, 5, 10, 37] {
            let hosts = fleet(count);
            let names: std::collections::BTreeSet<_> = hosts.iter().map(|host| &host.name).collect();
            assert_eq!(names.len(), count);
            assert!(hosts.iter().any(|host| host.role == Role::Behind), "{count}");
            assert!(hosts.iter().all(|host| host.name.parse::<nixfleet_protocol::HostId>().is_ok()));
        }
        let roles: Vec<Role> = fleet(5).iter().map(|host| host.role).collect();
        assert_eq!(roles, [Role::Current, Role::SwitchFails, Role::TestsFail, Role::Behind, Role::Behind]);
    }
}
