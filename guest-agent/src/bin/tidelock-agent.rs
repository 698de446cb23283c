//! tidelock-agent: decides, inside a confidential VM, which devices are trusted. The library does the work.

use clap::Parser;
use guest_agent::cli::Arguments;
use guest_agent::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match commands::execute(&arguments) {
        Ok(exit) => exit.into(),
        Err(error) => {
            anstream::eprintln!("tidelock-agent: {error}");
            error.exit().into()
        }
    }
}
