//! The kernel's files, on trees made for the test.

#![allow(clippy::unwrap_used)] // these are tests, helpers among them

use guest_agent::config::high::Clock;
use guest_agent::platform::{Bar, Linux, Path, Platform, Translation};
use sriov::{Bdf, Root};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

const NET: &str = "0000:01:00.1";

/// A machine with one network function that has no driver.
struct Tree {
    _folder: tempfile::TempDir,
    at: PathBuf,
}

impl Tree {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tree = Self {
            at: folder.path().to_owned(),
            _folder: folder,
        };
        let function = format!("sys/bus/pci/devices/{NET}");
        for (name, text) in [
            ("vendor", "0x1af4\n"),
            ("device", "0x1041\n"),
            ("class", "0x020000\n"),
            ("driver_override", "(null)\n"),
            (
                "resource",
                "0x0000000080000000 0x0000000080003fff 0x0000000000040200\n\
                 0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                 0x000000000000c000 0x000000000000c01f 0x0000000000040101\n\
                 0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                 0x0000000080010000 0x0000000080010fff 0x0000000000040200\n\
                 0x0000000000000000 0x0000000000000000 0x0000000000000000\n",
            ),
        ] {
            tree.put(&format!("{function}/{name}"), text);
        }
        tree.put_bytes(&format!("{function}/config"), &config());
        tree.put("sys/kernel/iommu_groups/7/type", "identity\n");
        tree.link(
            &format!("{function}/iommu_group"),
            "../../../../kernel/iommu_groups/7",
        );
        tree.put("sys/bus/pci/drivers_autoprobe", "1\n");
        tree.put("sys/class/net/eth0/ifindex", "2\n");
        tree.put("sys/class/rtc/rtc0/since_epoch", "1795132800\n");
        tree.put("proc/cmdline", "quiet swiotlb=force intel_iommu=on\n");
        tree.put("proc/sys/kernel/random/boot_id", "0d9f6a5e\n");
        tree.put(
            "proc/iomem",
            "00001000-0009fbff : System RAM\n00100000-3fffffff : System RAM\n",
        );
        tree.put(
            "kmsg",
            "6,113,0,-;software IO TLB: mapped [mem 0x0000000039fdc000-0x000000003dfdc000] (64MB)\n",
        );
        tree
    }

    fn put(&self, name: &str, text: &str) {
        self.put_bytes(name, text.as_bytes());
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) {
        let path = self.at.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn link(&self, name: &str, target: &str) {
        symlink(target, self.at.join(name)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.at.join(name)).unwrap().trim().to_owned()
    }

    fn kernel(&self) -> Linux {
        Linux::at(
            Root::new(self.at.join("sys")),
            self.at.join("proc"),
            self.at.join("kmsg"),
        )
    }
}

/// Config space with one extended capability: ATS, enabled.
fn config() -> Vec<u8> {
    let mut config = vec![0; 4096];
    config[..4].copy_from_slice(&[0xf4, 0x1a, 0x41, 0x10]);
    config[0x100..0x104].copy_from_slice(&[0x0f, 0x00, 0x01, 0x00]);
    config[0x104..0x108].copy_from_slice(&[0, 0, 0, 0x80]);
    config
}

fn bdf() -> Bdf {
    NET.parse().unwrap()
}

#[test]
fn what_the_guest_sees_of_a_function_is_read() {
    let tree = Tree::new();
    let kernel = tree.kernel();
    assert_eq!(kernel.functions().unwrap(), [bdf()]);
    assert_eq!(kernel.driver(bdf()).unwrap(), None);
    assert_eq!(kernel.path(bdf()).unwrap(), Path::Bounce);
    let bar = |index, base, size| Bar { index, base, size };
    assert_eq!(
        kernel.bars(bdf()).unwrap(),
        [bar(0, 0x8000_0000, 0x4000), bar(4, 0x8001_0000, 0x1000)]
    );
    assert_eq!(
        kernel.translation(bdf()).unwrap(),
        Translation {
            ats: true,
            prs: false,
            pasid: false
        }
    );
}

#[test]
fn what_the_guest_knows_of_itself_is_read() {
    let tree = Tree::new();
    let kernel = tree.kernel();
    assert_eq!(kernel.boot_id().unwrap(), "0d9f6a5e");
    assert_eq!(
        kernel.memory().unwrap(),
        [0x1000..0x9_fc00, 0x10_0000..0x4000_0000]
    );
    assert_eq!(kernel.bounce_pool().unwrap(), 0x39fd_c000..0x3dfd_c000);
    assert_eq!(kernel.unix_time(Clock::Rtc).unwrap(), 1_795_132_800);
}

#[test]
fn a_function_is_kept_for_a_driver_that_no_kernel_has() {
    let tree = Tree::new();
    let mut kernel = tree.kernel();
    kernel.stop_autoprobe().unwrap();
    kernel.isolate(bdf()).unwrap();
    assert_eq!(tree.read("sys/bus/pci/drivers_autoprobe"), "0");
    assert_eq!(
        tree.read(&format!("sys/bus/pci/devices/{NET}/driver_override")),
        "tidelock-isolated"
    );
}

#[test]
fn a_driver_that_does_not_let_go_is_an_error() {
    let tree = Tree::new();
    tree.put("sys/bus/pci/drivers/virtio-pci/unbind", "");
    tree.link(
        &format!("sys/bus/pci/devices/{NET}/driver"),
        "../../drivers/virtio-pci",
    );
    let error = tree.kernel().unbind(bdf()).unwrap_err().to_string();
    assert!(error.contains("reads `virtio-pci` after `no driver`"), "{error}");
}

#[test]
fn a_driver_that_is_not_loaded_is_an_error_that_says_so() {
    let error = Tree::new()
        .kernel()
        .bind(bdf(), "virtio-pci")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the driver is missing") && error.contains("load its module first"),
        "{error}"
    );
}

#[test]
fn without_forced_bounce_buffers_nothing_is_set_to_bounce() {
    let tree = Tree::new();
    tree.put("sys/kernel/iommu_groups/7/type", "DMA\n");
    tree.put("proc/cmdline", "quiet\n");
    let error = tree.kernel().bounce(bdf()).unwrap_err().to_string();
    assert!(error.contains("`swiotlb=force` on its command line"), "{error}");
    assert_eq!(tree.read("sys/kernel/iommu_groups/7/type"), "DMA");
}

#[test]
fn a_log_without_the_pool_is_an_error_that_says_so() {
    let tree = Tree::new();
    tree.put("kmsg", "6,1,0,-;Linux version 7.2\n");
    let error = tree.kernel().bounce_pool().unwrap_err().to_string();
    assert!(
        error.contains("does not say where the bounce buffers are"),
        "{error}"
    );
}

#[test]
fn a_function_without_an_iommu_group_has_no_path() {
    let tree = Tree::new();
    fs::remove_file(tree.at.join(format!("sys/bus/pci/devices/{NET}/iommu_group"))).unwrap();
    let error = tree.kernel().path(bdf()).unwrap_err().to_string();
    assert!(
        error.contains("is in no IOMMU group") && error.contains("intel_iommu=on"),
        "{error}"
    );
}
