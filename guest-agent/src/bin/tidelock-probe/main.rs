//! tidelock-probe: measures what a device's path does, from inside the guest.
//!
//! A measuring tool for demonstrations and tests. It is no part of the trusted path: it decides nothing, and nothing
//! that it prints is believed by the agent.

mod address;
mod bounce;
mod packets;
mod traffic;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Measures traffic, bounce events and packet filtering of a network function
#[derive(Debug, Parser)]
#[command(name = "tidelock-probe", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send and receive by TCP, counting the transfers that went through bounce buffers
    Traffic(traffic::Arguments),
    /// Ask the peer for UDP datagrams to two ports, and count what arrives
    Xdp(packets::Arguments),
}

/// What went wrong, in a sentence.
type Failure = String;

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Traffic(arguments) => traffic::run(&arguments),
        Command::Xdp(arguments) => packets::run(&arguments),
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("tidelock-probe: {failure}");
            ExitCode::FAILURE
        }
    }
}
