//! The NixOS configuration of a story, as the text of a flake. It is made of raw derivations, so it needs no nixpkgs,
//! and yet all that looks at a system from outside finds what it looks for.

use std::fmt::Write as _;
use std::path::Path;

/// What a configuration has; each story changes what it is about.
#[derive(Clone, Debug)]
pub(crate) struct Configuration {
    /// Packages: name, version, and how many KiB they take.
    pub(crate) packages: Vec<(&'static str, &'static str, u32)>,
    /// Version of the kernel.
    pub(crate) kernel: &'static str,
    /// Units: name and text.
    pub(crate) units: Vec<(&'static str, &'static str)>,
    /// What the activation does before it makes the system the running one, in the words of a shell.
    pub(crate) before: String,
    /// What it does afterwards.
    pub(crate) after: String,
    /// Address of the input `nixfleet`, whose file `version` goes into the system.
    pub(crate) input: Option<String>,
    /// What stands in the place of the whole system.
    pub(crate) instead: Option<String>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            packages: vec![("curl", "8.1.0", 64), ("zlib", "1.3", 16)],
            kernel: "6.6.1",
            units: vec![("web.service", "[Service]\nExecStart=/bin/web --port 80\n")],
            before: String::new(),
            after: String::new(),
            input: None,
            instead: None,
        }
    }
}

impl Configuration {
    /// The flake's text. `root` is the host's root, `host` its name.
    pub(crate) fn flake(&self, root: &Path, host: &str) -> String {
        let root = root.display();
        let system = format!("{}-linux", std::env::consts::ARCH);
        let inputs = self
            .input
            .as_ref()
            .map_or(String::new(), |url| format!("inputs.nixfleet = {{ url = \"{url}\"; flake = false; }};"));
        let input = if self.input.is_some() { "${builtins.readFile \"${inputs.nixfleet}/version\"}" } else { "none" };
        let mut packages = String::new();
        for (name, version, kib) in &self.packages {
            write!(packages, "(package \"{name}-{version}\" {kib}) ").unwrap();
        }
        let mut units = String::new();
        for (name, text) in &self.units {
            write!(units, "(builtins.toFile \"unit-{name}\" ''{text}'') ").unwrap();
        }
        let names = self.units.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
        let (kernel, before, after) = (self.kernel, &self.before, &self.after);
        let toplevel = self.instead.as_deref().unwrap_or("toplevel");
        format!(
            r#"{{
  {inputs}
  outputs = inputs: let
    make = name: more: script: derivation (more // {{
      inherit name; system = "{system}"; builder = "/bin/sh"; PATH = "/usr/bin:/bin"; args = [ "-euc" script ];
    }});
    package = name: kib: make name {{ }} ''
      echo "building ${{name}}"; mkdir -p $out; head -c $((${{toString kib}} * 1024)) /dev/zero > $out/data
      echo ${{name}} > $out/name
    '';
    switch = builtins.toFile "switch-to-configuration" ''
      #!/bin/sh
      PATH=/usr/bin:/bin
      root={root}
      echo "activating the configuration..." >&2
      {before}
      ln -sfn @out@ $root/run/.next && mv -T $root/run/.next $root/run/current-system
      {after}
      echo "the activation is complete" >&2
    '';
    packages = [ {packages}];
    units = [ {units}];
    kernel = package "linux-{kernel}" 8;
    toplevel = make "nixos-system-{host}" {{ inherit packages units kernel switch; names = "{names}"; }} ''
      mkdir -p $out/bin $out/sw $out/etc/systemd/system
      echo $packages > $out/sw/packages
      echo "{input}" > $out/sw/input
      echo 24.05 > $out/nixos-version
      ln -s $kernel $out/kernel; ln -s $kernel $out/initrd; ln -s $kernel $out/kernel-modules
      set -- $units
      for name in $names; do ln -s $1 $out/etc/systemd/system/$name; shift; done
      sed "s,@out@,$out," $switch > $out/bin/switch-to-configuration
      chmod +x $out/bin/switch-to-configuration
    '';
  in {{ nixosConfigurations."{host}".config.system.build.toplevel = {toplevel}; }};
}}
"#
        )
    }
}
