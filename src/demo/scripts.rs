//! What stands in the demo's configuration repository: scripts that do what a switch does, at a person's pace,
//! without touching the machine. Plain `sh`, and nothing beyond what every system with git has.

use super::hosts::{Host, Role};

/// A file of the repository.
pub(super) struct File {
    pub(super) path: String,
    pub(super) content: String,
    pub(super) executable: bool,
}

impl File {
    fn text(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), content: content.into(), executable: false }
    }

    fn script(path: impl Into<String>, content: impl Into<String>) -> Self {
        Self { path: path.into(), content: content.into(), executable: true }
    }
}

/// Everything of the first commit. The first deployment is quick, so that the demo begins soon.
pub(super) fn first(hosts: &[Host], location: &str, catalogue: &str) -> Vec<File> {
    let mut files = vec![
        File::text("README.md", README),
        File::text("flake.nix", FLAKE.replace("@location@", location)),
        File::text("flake.lock", lock(location, catalogue)),
        File::text("lib/pace", "0.02\n"),
        File::script("lib/switch.sh", SWITCH),
        File::script("lib/plan.sh", PLAN),
        File::text("lib/test.sh", TEST_LIB),
    ];
    for host in hosts {
        let folder = format!("hosts/{}", host.name);
        files.push(File::script(format!("{folder}/switch"), "#!/bin/sh\nexec \"$PWD/lib/switch.sh\"\n"));
        files.push(File::script(format!("{folder}/plan"), "#!/bin/sh\nexec \"$PWD/lib/plan.sh\"\n"));
        files.push(File::text(format!("{folder}/configuration.nix"), configuration(host)));
        files.push(File::text(format!("{folder}/packages"), packages(host, false)));
        files.push(File::script(format!("{folder}/tests/10-generation.sh"), TEST_GENERATION));
        files.push(File::script(format!("{folder}/tests/20-packages.sh"), TEST_PACKAGES));
        files.push(File::script(format!("{folder}/tests/30-backup.sh"), TEST_BACKUP));
    }
    files
}

/// What the update changes: new versions, and a driver that can't be built on one host.
pub(super) fn update(hosts: &[Host], location: &str, catalogue: &str) -> Vec<File> {
    let mut files = vec![File::text("flake.lock", lock(location, catalogue)), File::text("lib/pace", "0.3\n")];
    files.extend(hosts.iter().map(|host| File::text(format!("hosts/{}/packages", host.name), packages(host, true))));
    files
}

fn packages(host: &Host, updated: bool) -> String {
    let pick = |old: &'static str, new: &'static str| if updated { new } else { old };
    let mut lines = vec![
        format!("openssl {}", pick("3.4.1", "3.4.2")),
        format!("openssh {}", pick("9.9p1", "9.9p2")),
        format!("curl {}", pick("8.12.0", "8.13.0")),
        "git 2.49.0".to_owned(),
    ];
    lines.push(match host.device_type {
        "server" => format!("nginx {}", pick("1.26.2", "1.26.3")),
        "gaming" => "steam 1.0.0.82".to_owned(),
        _ => format!("firefox {}", pick("136.0", "137.0.1")),
    });
    if host.role != Role::TestsFail {
        lines.push("restic 0.17.3".to_owned());
    }
    if host.role == Role::SwitchFails && updated {
        lines.push("gpu-driver 570.133".to_owned());
    }
    lines.join("\n") + "\n"
}

fn configuration(host: &Host) -> String {
    format!(
        "{{ ... }}:\n{{\n  networking.hostName = \"{}\";\n  # The demo installs what stands in `packages`, beside this file.\n}}\n",
        host.name
    )
}

/// A real lock: its one input is the branch `catalogue` of the same repository.
fn lock(location: &str, catalogue: &str) -> String {
    let input = |more: serde_json::Value| {
        let mut input = serde_json::json!({ "ref": "refs/heads/catalogue", "type": "git", "url": location });
        if let (Some(input), serde_json::Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        input
    };
    let lock = serde_json::json!({
        "nodes": {
            "catalogue": {
                "flake": false,
                "locked": input(serde_json::json!({ "rev": catalogue })),
                "original": input(serde_json::json!({})),
            },
            "root": { "inputs": { "catalogue": "catalogue" } },
        },
        "root": "root",
        "version": 7,
    });
    format!("{lock:#}\n")
}

const README: &str = "\
# A small fleet's configuration

The repository of `nixfleet demo`. `hosts/<name>/packages` lists what a host has installed, `hosts/<name>/switch`
deploys it, `hosts/<name>/plan` says what that would change, and each `hosts/<name>/tests/*.sh` is a test. Change something, commit, push, and look at the page.

Two things here are broken on purpose:

- One host's tests fail: its `packages` lack `restic`, so it makes no backups. Add the line `restic 0.17.3`.
- One host's switch fails after the update: its `gpu-driver` needs a patch that nobody has written. Remove the line.
";

const FLAKE: &str = r#"{
  description = "A small fleet: the configuration of `nixfleet demo`";

  inputs.catalogue = {
    url = "git+@location@?ref=refs/heads/catalogue";
    flake = false;
  };

  outputs = { self, catalogue }: {
    # Stand-ins that any nix can build: one text file for each host.
    nixosConfigurations = builtins.listToAttrs (map (name: {
      inherit name;
      value.config.system.build.toplevel = derivation {
        name = "nixos-system-${name}";
        system = builtins.currentSystem or "x86_64-linux";
        builder = "/bin/sh";
        args = [ "-c" "echo ${name} > $out" ];
        packages = builtins.readFile (./hosts + "/${name}/packages");
      };
    }) (builtins.attrNames (builtins.readDir ./hosts)));
  };
}
"#;

const SWITCH: &str = r#"#!/bin/sh
# Deploys hosts/$NIXFLEET_HOST/packages: "builds" what changed, makes a generation beside the checkout, and makes
# it the current one. Prints what a switch prints; touches nothing else.
set -eu
# One stream, so that the lines stay in order; what failed goes to the other.
exec 3>&2 2>&1
host=$NIXFLEET_HOST
commit=${NIXFLEET_COMMIT:-$(git rev-parse HEAD)}
wanted=hosts/$host/packages
pace=$(cat lib/pace)
profiles=$(dirname "$PWD")/profiles
current=$profiles/system
mkdir -p "$profiles"

bold=$(printf '\033[1m') red=$(printf '\033[31;1m') green=$(printf '\033[32;1m')
magenta=$(printf '\033[35;1m') plain=$(printf '\033[0m')

# A path in the store, the same for the same name and version.
path() { printf '/nix/store/%s-%s' "$(printf '%s' "$1" | git hash-object --stdin | cut -c 1-32)" "$1"; }
wait_a_bit() { sleep "$pace"; }

echo "${bold}demo: this switch makes a directory and changes nothing on this machine${plain}"
echo "building the system configuration..."
wait_a_bit
changed=0 total=0
while read -r name version; do
  total=$((total + 1))
  grep -qx "$name $version" "$current/packages" 2>/dev/null || changed=$((changed + 1))
done <"$wanted"
echo "these $((changed + 1)) derivations will be built:"
while read -r name version; do
  grep -qx "$name $version" "$current/packages" 2>/dev/null || echo "  $(path "$name-$version").drv"
done <"$wanted"
system=$(path "nixos-system-$host-25.05.$(printf '%s' "$commit" | cut -c 1-7)")
echo "  $system.drv"

done_so_far=0
while read -r name version; do
  if grep -qx "$name $version" "$current/packages" 2>/dev/null; then continue; fi
  done_so_far=$((done_so_far + 1))
  echo "${magenta}[$done_so_far/$((changed + 1)) built]${plain} building '$(path "$name-$version").drv'..."
  for phase in unpackPhase patchPhase configurePhase buildPhase installPhase; do
    echo "$name> Running phase: $phase"
    wait_a_bit
    if [ "$phase" = patchPhase ] && [ "$name" = gpu-driver ] && [ ! -e "hosts/$host/gpu-driver.patch" ]; then
      echo "$name> applying patch hosts/$host/gpu-driver.patch"
      echo "$name> patch: **** Can't open patch file hosts/$host/gpu-driver.patch : No such file or directory"
      echo "${red}error:${plain} builder for '${bold}$(path "$name-$version").drv${plain}' failed with exit code 1;" >&3
      echo "       last 2 log lines:" >&3
      echo "       > applying patch hosts/$host/gpu-driver.patch" >&3
      echo "       > patch: **** Can't open patch file hosts/$host/gpu-driver.patch : No such file or directory" >&3
      echo "${red}error:${plain} 1 dependencies of derivation '${bold}$system.drv${plain}' failed to build" >&3
      exit 1
    fi
  done
done <"$wanted"
for name in openssl curl; do
  echo "copying path '$(path "$name-doc")' from 'https://cache.nixos.org'..."
  wait_a_bit
done
echo "${magenta}[$((changed + 1))/$((changed + 1)) built]${plain} building '$system.drv'..."
wait_a_bit

number=1
while [ -e "$profiles/system-$number-link" ]; do number=$((number + 1)); done
generation=$profiles/system-$number-link
mkdir "$profiles/.new-$$"
cp "$wanted" "$profiles/.new-$$/packages"
printf '%s\n' "$commit" >"$profiles/.new-$$/configuration-revision"
printf '25.05.%s\n' "$(printf '%s' "$commit" | cut -c 1-7)" >"$profiles/.new-$$/nixos-version"
mv "$profiles/.new-$$" "$generation"
echo "stopping the following units: systemd-modules-load.service, systemd-udevd.service"
wait_a_bit
echo "activating the configuration..."
echo "setting up /etc..."
wait_a_bit
ln -sfn "system-$number-link" "$current"
echo "reloading the following units: dbus.service, firewall.service"
wait_a_bit
echo "restarting the following units: nscd.service, sshd.service, systemd-journald.service"
wait_a_bit
echo "starting the following units: systemd-modules-load.service, systemd-udevd.service"
echo "${green}Done.${plain} $total packages; generation $number is $system"
"#;

const PLAN: &str = r#"#!/bin/sh
# What a switch would change: the packages that differ from those of the current generation, one line each.
set -eu
wanted=hosts/$NIXFLEET_HOST/packages
current=$(dirname "$PWD")/profiles/system/packages
[ -e "$current" ] || current=/dev/null
same=true
while read -r name version; do
  before=$(sed -n "s/^$name //p" "$current")
  if [ "$before" != "$version" ]; then
    echo "$name: ${before:-∅} → $version"
    same=false
  fi
done <"$wanted"
while read -r name version; do
  if ! grep -q "^$name " "$wanted"; then
    echo "$name: $version → ∅"
    same=false
  fi
done <"$current"
if $same; then echo "nothing would change"; fi
"#;

const TEST_LIB: &str = r#"# For the tests: where the current generation lies.
current=$(dirname "$PWD")/profiles/system
fail() {
  echo "$*" >&2
  exit 1
}
"#;

const TEST_GENERATION: &str = r#"#!/bin/sh
# A generation is current, and it says which commit it was made from.
. lib/test.sh
[ -d "$current/" ] || fail "nothing was ever switched to on $NIXFLEET_HOST"
revision=$(cat "$current/configuration-revision") || fail "the generation does not say what it was made from"
echo "$NIXFLEET_HOST runs $(cat "$current/nixos-version"), made from $revision"
"#;

const TEST_PACKAGES: &str = r#"#!/bin/sh
# Everything that the generation lists has a version.
. lib/test.sh
while read -r name version; do
  [ -n "$version" ] || fail "$name has no version"
  echo "ok: $name $version"
  sleep 0.05
done <"$current/packages"
"#;

const TEST_BACKUP: &str = r#"#!/bin/sh
# Backups can run.
. lib/test.sh
grep -q '^restic ' "$current/packages" || fail "restic is not installed on $NIXFLEET_HOST: it makes no backups"
echo "restic is there"
"#;
