//! Gives a physical function so many VFs, all with one driver, and says each step before it is taken:
//! `carve 0000:01:00.0 4 vfio-pci`

use std::collections::BTreeSet;
use std::process::ExitCode;

use sriov::apply::{apply, observe};
use sriov::plan::{Desired, plan};
use sriov::{Bdf, Root};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.as_slice() {
        [pf, count] => carve(pf, count, None),
        [pf, count, driver] => carve(pf, count, Some(driver.clone())),
        _ => Err("usage: carve FUNCTION COUNT [DRIVER]".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("carve: {why}");
            ExitCode::FAILURE
        }
    }
}

fn carve(pf: &str, count: &str, driver: Option<String>) -> Result<(), Box<dyn std::error::Error>> {
    let (mut root, pf) = (Root::default(), pf.parse::<Bdf>()?);
    let desired = Desired {
        count: count.parse()?,
        driver,
        allow_destroy: false,
    };
    let steps = plan(&observe(&root, pf, &BTreeSet::new())?, &desired)?;
    for step in &steps {
        println!("{step}");
    }
    apply(&mut root, pf, &steps)?;
    for vf in observe(&root, pf, &BTreeSet::new())?.vfs {
        println!("{}: {}", vf.bdf, vf.driver.as_deref().unwrap_or("no driver"));
    }
    Ok(())
}
