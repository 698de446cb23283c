//! Preflight: the reasons that sysfs alone gives, and the real thing on a function that is given to it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use sriov::Root;
use sriov::vfio::{Unfit, preflight};

const NIC: &str = "0000:01:00.1";
const DISK: &str = "0000:01:00.2";

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        Trial::test("a_function_without_vfio_driver_is_told_to_be_bound", || {
            refused(&Tree::new(), "bind it first", |why| {
                matches!(why, Unfit::NotBound { found: None, .. })
            })?;
            let driven = Tree::new().driver(NIC, "virtio-pci");
            refused(&driven, "0000:01:00.1 has virtio-pci", |why| {
                matches!(why, Unfit::NotBound { .. })
            })
        }),
        Trial::test("a_function_without_iommu_is_told_so", || {
            let tree = Tree::new().driver(NIC, "vfio-pci");
            refused(&tree, "intel_iommu=on", |why| {
                matches!(why, Unfit::NoIommu { .. })
            })
        }),
        Trial::test("a_group_that_the_kernel_holds_names_who_holds_it", || {
            let tree = Tree::new()
                .driver(NIC, "vfio-pci")
                .driver(DISK, "nvme")
                .group(&[NIC, DISK]);
            refused(&tree, "0000:01:00.2 (nvme)", |why| {
                matches!(why, Unfit::GroupHeld { .. })
            })
        }),
        Trial::ignorable_test("a_function_bound_to_vfio_passes_preflight", real),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// On a function of this machine that whoever runs the tests gives away: preflight resets it.
fn real() -> Result<Completion, Failed> {
    let Ok(function) = std::env::var(FUNCTION) else {
        return Ok(Completion::ignored_with(format!(
            "{FUNCTION} names no function that may be reset"
        )));
    };
    let report = preflight(&Root::default(), function.parse()?)?;
    assert!(
        report
            .regions
            .iter()
            .any(|region| region.index == 7 && region.size >= 256),
        "{report:?}"
    );
    Ok(Completion::Completed)
}

const FUNCTION: &str = "TIDELOCK_VFIO_FUNCTION";

fn refused(tree: &Tree, words: &str, is: fn(&Unfit) -> bool) -> Result<(), Failed> {
    let why = preflight(&Root::new(tree.0.path()), NIC.parse().unwrap()).unwrap_err();
    if is(&why) && why.to_string().contains(words) {
        return Ok(());
    }
    Err(format!("refused for another reason: {why}; wanted: {words}").into())
}

struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for bdf in [NIC, DISK] {
            let dir = tree.function(bdf);
            fs::create_dir_all(&dir).unwrap();
            for (name, text) in [
                ("vendor", "0x1af4\n"),
                ("device", "0x1041\n"),
                ("class", "0x020000\n"),
            ] {
                fs::write(dir.join(name), text).unwrap();
            }
        }
        tree
    }

    fn function(&self, bdf: &str) -> std::path::PathBuf {
        self.0.path().join("bus/pci/devices").join(bdf)
    }

    fn driver(self, bdf: &str, driver: &str) -> Self {
        symlink(
            format!("../../drivers/{driver}"),
            self.function(bdf).join("driver"),
        )
        .unwrap();
        self
    }

    fn group(self, members: &[&str]) -> Self {
        let devices = self.0.path().join("kernel/iommu_groups/3/devices");
        fs::create_dir_all(&devices).unwrap();
        for bdf in members {
            fs::write(devices.join(bdf), "").unwrap();
            symlink(
                "../../../kernel/iommu_groups/3",
                self.function(bdf).join("iommu_group"),
            )
            .unwrap();
        }
        self
    }
}
