//! `nixfleet-agent`: see [`nixfleet_agent::cli`].

fn main() -> std::process::ExitCode {
    nixfleet_agent::cli::run()
}
