//! The operator's command; see `tidelock --help`.

fn main() -> std::process::ExitCode {
    host_daemon::cli::main()
}
