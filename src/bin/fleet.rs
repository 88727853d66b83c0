//! `fleet`, the operator's command line.

fn main() -> std::process::ExitCode {
    nixfleet::cli::main()
}
