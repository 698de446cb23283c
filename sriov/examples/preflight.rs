//! Says whether functions that are bound to VFIO can be given to a VM: `preflight 0000:01:00.1 …`

use std::process::ExitCode;

use sriov::{Bdf, Root, vfio};

fn main() -> ExitCode {
    let mut fit = true;
    for address in std::env::args().skip(1) {
        match check(&address) {
            Ok(report) => println!("{report:#?}"),
            Err(why) => {
                eprintln!("{address}: {why}");
                fit = false;
            }
        }
    }
    if fit { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn check(address: &str) -> Result<vfio::Report, Box<dyn std::error::Error>> {
    let bdf: Bdf = address.parse()?;
    Ok(vfio::preflight(&Root::default(), bdf)?)
}
