//! The crate against a tree shaped like sysfs, honest and hostile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::Duration;

use rustix::io::Errno;
use sriov::apply::{Kernel, observe};
use sriov::tsm::Support;
use sriov::{Bdf, Error, Function, GroupType, Root, functions};

const NIC: &str = "0000:01:00.1";

/// A directory that looks like `/sys`, with nobody behind it unless a test plays the kernel.
struct Tree(tempfile::TempDir);

impl Tree {
    fn new() -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        for dir in ["bus/pci/devices", "bus/pci/drivers", "kernel/iommu_groups"] {
            fs::create_dir_all(tree.path(dir)).unwrap();
        }
        tree.put("bus/pci/drivers_probe", "");
        tree.put("bus/pci/drivers_autoprobe", "1\n");
        tree
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, to: &str) {
        symlink(self.path(to), self.path(path)).unwrap();
    }

    fn function(&self, bdf: &str, class: &str) -> Function {
        let put = |name: &str, text: &[u8]| self.put(&format!("bus/pci/devices/{bdf}/{name}"), text);
        put("vendor", b"0x1af4\n");
        put("device", b"0x1041\n");
        put("class", class.as_bytes());
        put("driver_override", b"(null)\n");
        put("config", &[0; 256]);
        put("resource", RESOURCE.as_bytes());
        Function::open(&self.root(), bdf.parse().unwrap()).unwrap()
    }

    fn nic(&self) -> Function {
        self.function(NIC, "0x020000\n")
    }

    fn group(&self, id: u32, kind: &str, members: &[&str]) {
        self.put(&format!("kernel/iommu_groups/{id}/type"), kind);
        fs::create_dir_all(self.path(&format!("kernel/iommu_groups/{id}/devices"))).unwrap();
        for bdf in members {
            let function = format!("bus/pci/devices/{bdf}");
            self.link(&format!("kernel/iommu_groups/{id}/devices/{bdf}"), &function);
            self.link(
                &format!("{function}/iommu_group"),
                &format!("kernel/iommu_groups/{id}"),
            );
        }
    }

    fn driver(&self, name: &str) {
        self.put(&format!("bus/pci/drivers/{name}/unbind"), "");
    }

    fn root(&self) -> Root {
        Root::new(self.0.path())
    }
}

const RESOURCE: &str = "0x0000004000000000 0x000000400007ffff 0x0000000000140204\n\
                        0x0000000000000000 0x0000000000000000 0x0000000000000000\n\
                        0x00000000fe000000 0x00000000fe000fff 0x0000000000040200\n";

#[test]
fn a_function_says_what_it_is() {
    let tree = Tree::new();
    let nic = tree.nic();
    assert_eq!(
        (nic.vendor(), nic.device(), nic.class()),
        (0x1af4, 0x1041, 0x0002_0000)
    );
    let bars = nic.bars().unwrap();
    assert_eq!(
        bars.iter()
            .map(|bar| (bar.index, bar.base, bar.size))
            .collect::<Vec<_>>(),
        [(0, 0x40_0000_0000, 0x8_0000), (2, 0xfe00_0000, 0x1000)]
    );
    assert!(bars[0].is_64_bit() && bars[0].is_memory() && !bars[1].is_64_bit());
    assert_eq!(nic.driver().unwrap(), None);
    assert_eq!(nic.iommu_group().unwrap(), None);
}

#[test]
fn functions_come_in_order_of_address_and_strangers_are_left_out() {
    let tree = Tree::new();
    for bdf in ["0000:02:00.0", "0000:01:00.1", "10000:00:00.0"] {
        tree.function(bdf, "0x020000\n");
    }
    tree.put("bus/pci/devices/README", "no function");
    let found: Vec<_> = functions(&tree.root())
        .unwrap()
        .iter()
        .map(|f| f.bdf().to_string())
        .collect();
    assert_eq!(found, ["0000:01:00.1", "0000:02:00.0", "10000:00:00.0"]);
}

#[test]
fn net_interfaces_are_found_below_virtio_children_too() {
    let tree = Tree::new();
    let nic = tree.nic();
    let dir = format!("bus/pci/devices/{NIC}");
    for path in [
        "net/eth1",
        "virtio3/net/eth0",
        "virtio/net/no",
        "virtiox/net/no",
        "msi_irqs/net/no",
    ] {
        fs::create_dir_all(tree.path(&format!("{dir}/{path}"))).unwrap();
    }
    assert_eq!(nic.net_interfaces().unwrap(), ["eth0", "eth1"]);
}

#[test]
fn memory_and_bus_mastering_are_switched_on_and_the_rest_of_the_header_stays() {
    let tree = Tree::new();
    let nic = tree.nic();
    let before = u32::from_le_bytes([0x01, 0x04, 0x10, 0x00]);
    nic.write_config(4, before).unwrap();
    nic.enable_memory_and_bus_master().unwrap();
    assert_eq!(nic.read_config(4).unwrap(), before | 0b110);
    assert!(nic.config().unwrap().is_memory_and_bus_master_enabled().unwrap());
}

#[test]
fn a_register_beyond_config_space_is_an_error_and_the_file_does_not_grow() {
    let tree = Tree::new();
    let nic = tree.nic();
    assert!(matches!(
        nic.read_config(0x100),
        Err(Error::ConfigTooShort { offset: 0x100, .. })
    ));
    assert!(matches!(
        nic.write_config(0xfe, 1),
        Err(Error::ConfigTooShort { .. })
    ));
    assert!(matches!(
        nic.write_config(0x100, 1),
        Err(Error::ConfigTooShort { .. })
    ));
    assert_eq!(fs::metadata(nic.path().join("config")).unwrap().len(), 256);
    assert_eq!(nic.extended_capabilities().unwrap(), []);
}

#[test]
fn a_driver_that_takes_the_function_is_seen_to_have_it() {
    let tree = Tree::new();
    let nic = tree.nic();
    tree.driver("vfio-pci");
    let (probe, link) = (tree.path("bus/pci/drivers_probe"), nic.path().join("driver"));
    let driver = tree.path("bus/pci/drivers/vfio-pci");
    let kernel = std::thread::spawn(move || {
        while fs::read(&probe).unwrap() != NIC.as_bytes() {
            std::thread::sleep(Duration::from_millis(1));
        }
        symlink(driver, link).unwrap();
    });
    nic.bind("vfio-pci").unwrap();
    kernel.join().unwrap();
    assert_eq!(nic.driver().unwrap().as_deref(), Some("vfio-pci"));
    assert_eq!(nic.driver_override().unwrap().as_deref(), Some("vfio-pci"));
    nic.bind("vfio-pci").unwrap();
}

#[test]
fn a_driver_that_refuses_the_function_is_an_error_and_the_override_is_put_back() {
    let tree = Tree::new();
    let nic = tree.nic();
    tree.driver("vfio-pci");
    let error = nic.bind("vfio-pci").unwrap_err();
    assert!(
        matches!(&error, Error::NoEffect { found, wanted, .. } if found == "no driver" && wanted == "vfio-pci")
    );
    assert_eq!(nic.driver_override().unwrap(), None);
}

#[test]
fn a_driver_that_is_not_loaded_is_named_before_anything_changes() {
    let tree = Tree::new();
    let nic = tree.nic();
    let error = nic.bind("vfio-pci").unwrap_err();
    assert!(
        matches!(
            error,
            Error::Missing {
                what: "the driver",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("modprobe"));
    assert_eq!(
        fs::read_to_string(nic.path().join("driver_override")).unwrap(),
        "(null)\n"
    );
}

#[test]
fn a_driver_s_name_cannot_leave_its_directory() {
    let tree = Tree::new();
    let nic = tree.nic();
    for name in [".", "..", "../../x", "a/b", "a\nb", "a\0b", " a", &"x".repeat(65)] {
        assert!(matches!(nic.bind(name), Err(Error::Caller { .. })), "{name:?}");
        assert!(
            matches!(nic.set_driver_override(Some(name)), Err(Error::Caller { .. })),
            "{name:?}"
        );
    }
}

#[test]
fn an_unbind_without_effect_is_an_error() {
    let tree = Tree::new();
    let nic = tree.nic();
    nic.unbind().unwrap();
    tree.driver("virtio-pci");
    tree.link(
        &format!("bus/pci/devices/{NIC}/driver"),
        "bus/pci/drivers/virtio-pci",
    );
    assert!(matches!(nic.unbind(), Err(Error::NoEffect { found, .. }) if found == "virtio-pci"));
    assert_eq!(
        fs::read_to_string(tree.path("bus/pci/drivers/virtio-pci/unbind")).unwrap(),
        NIC
    );
}

#[test]
fn autoprobe_is_switched_and_read_back() {
    let tree = Tree::new();
    assert!(sriov::drivers_autoprobe(&tree.root()).unwrap());
    sriov::set_drivers_autoprobe(&tree.root(), false).unwrap();
    assert!(!sriov::drivers_autoprobe(&tree.root()).unwrap());
    tree.put("bus/pci/drivers_autoprobe", "maybe\n");
    assert!(matches!(
        sriov::drivers_autoprobe(&tree.root()),
        Err(Error::Malformed { .. })
    ));
}

#[test]
fn a_group_s_type_is_set_and_its_blockers_are_named() {
    let tree = Tree::new();
    let nic = tree.nic();
    let bridge = tree.function("0000:00:01.0", "0x060400\n");
    tree.driver("nvme");
    tree.function("0000:01:00.2", "0x010802\n");
    tree.link("bus/pci/devices/0000:01:00.2/driver", "bus/pci/drivers/nvme");
    tree.group(7, "identity\n", &[NIC, "0000:00:01.0", "0000:01:00.2"]);
    let group = nic.iommu_group().unwrap().unwrap();
    assert_eq!((group.id(), group.type_().unwrap()), (7, GroupType::Identity));
    group.set_type(GroupType::DmaFq).unwrap();
    assert_eq!(group.type_().unwrap(), GroupType::DmaFq);
    assert!(matches!(
        group.set_type(GroupType::Blocked),
        Err(Error::Caller { .. })
    ));
    assert_eq!(group.members().unwrap().len(), 3);
    assert!(bridge.is_bridge());
    let blockers: Vec<_> = group
        .blockers()
        .unwrap()
        .iter()
        .map(|m| m.bdf.to_string())
        .collect();
    assert_eq!(blockers, ["0000:01:00.2"]);
}

#[test]
fn a_group_s_type_that_cannot_be_written_says_why_and_what_to_do() {
    let tree = Tree::new();
    let nic = tree.nic();
    tree.group(7, "identity\n", &[NIC]);
    let kind = tree.path("kernel/iommu_groups/7/type");
    fs::remove_file(&kind).unwrap();
    fs::create_dir(&kind).unwrap();
    let group = nic.iommu_group().unwrap().unwrap();
    let error = group.type_().unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ISDIR));
    assert!(
        error.to_string().contains("kernel/iommu_groups/7/type"),
        "{error}"
    );
}

#[test]
fn absence_of_a_tsm_is_not_incapability() {
    let tree = Tree::new();
    let nic = tree.nic();
    assert!(matches!(nic.tsm().unwrap(), Support::Unknown));
    fs::create_dir_all(tree.path("class/tsm/tsm0")).unwrap();
    assert_eq!(sriov::tsms(&tree.root()).unwrap(), ["tsm0"]);
    assert!(matches!(nic.tsm().unwrap(), Support::Incapable));
    let dir = format!("bus/pci/devices/{NIC}/tsm");
    tree.put(&format!("{dir}/connect"), "\n");
    tree.put(&format!("{dir}/disconnect"), "");
    tree.put(&format!("{dir}/dsm"), "0000:01:00.0\n");
    let Support::Offered(link) = nic.tsm().unwrap() else {
        panic!("offered")
    };
    assert_eq!(link.verbs(), ["connect", "disconnect", "dsm"]);
    assert_eq!((link.connected().unwrap(), link.bound().unwrap()), (None, None));
    assert_eq!(link.dsm().unwrap(), "0000:01:00.0".parse().ok());
    link.connect("tsm0").unwrap();
    assert_eq!(link.connected().unwrap().as_deref(), Some("tsm0"));
    assert!(matches!(link.disconnect(), Err(Error::NoEffect { .. })));
    assert_eq!(
        fs::read_to_string(tree.path(&format!("{dir}/disconnect"))).unwrap(),
        "tsm0"
    );
}

#[test]
fn doe_features_are_listed_without_touching_the_mailbox() {
    let tree = Tree::new();
    let nic = tree.nic();
    for name in [
        "doe_discovery",
        "0001:01",
        "0001:02",
        "0001:00",
        "rubbish",
        "0001:zz",
    ] {
        tree.put(&format!("bus/pci/devices/{NIC}/doe_features/{name}"), "");
    }
    let found: Vec<_> = nic
        .doe_features()
        .unwrap()
        .iter()
        .map(|f| (f.vendor, f.kind))
        .collect();
    assert_eq!(found, [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn a_physical_function_is_observed_with_its_leases() {
    let tree = Tree::new();
    let pf = tree.function("0000:01:00.0", "0x020000\n");
    let vf = tree.nic();
    let dir = "bus/pci/devices/0000:01:00.0";
    assert!(matches!(
        observe(&tree.root(), pf.bdf(), &BTreeSet::new()),
        Err(Error::Missing { what: "SR-IOV", .. })
    ));
    tree.put(&format!("{dir}/sriov_totalvfs"), "4\n");
    tree.put(&format!("{dir}/sriov_numvfs"), "1\n");
    tree.put(&format!("{dir}/sriov_drivers_autoprobe"), "1\n");
    tree.link(&format!("{dir}/virtfn0"), &format!("bus/pci/devices/{NIC}"));
    tree.link(&format!("bus/pci/devices/{NIC}/physfn"), dir);
    assert_eq!(vf.physical_function().unwrap(), Some(pf.bdf()));
    let observed = observe(&tree.root(), pf.bdf(), &BTreeSet::from([vf.bdf()])).unwrap();
    assert_eq!(
        (observed.total, observed.count(), observed.autoprobe),
        (4, 1, true)
    );
    assert!(observed.vfs[0].leased && observed.vfs[0].bdf == vf.bdf());

    let mut kernel = tree.root();
    kernel.autoprobe_off(pf.bdf()).unwrap();
    kernel.set_count(pf.bdf(), 0).unwrap();
    let observed = observe(&tree.root(), pf.bdf(), &BTreeSet::new()).unwrap();
    assert_eq!((observed.count(), observed.autoprobe), (0, false));
}

#[test]
fn a_link_that_loops_or_is_not_text_is_an_error() {
    let tree = Tree::new();
    let nic = tree.nic();
    symlink(
        std::ffi::OsStr::from_bytes(b"/groups/\xff\xfe"),
        nic.path().join("iommu_group"),
    )
    .unwrap();
    assert!(matches!(nic.iommu_group(), Err(Error::Malformed { .. })));
    symlink("driver", nic.path().join("driver")).unwrap();
    assert_eq!(nic.driver().unwrap().as_deref(), Some("driver"));
    let dir = nic.path().join("net");
    symlink("net", &dir).unwrap();
    assert_eq!(nic.net_interfaces().unwrap_err().errno(), Some(Errno::LOOP));
    symlink("..", nic.path().join("physfn")).unwrap();
    assert!(matches!(nic.physical_function(), Err(Error::Malformed { .. })));
}

#[test]
fn hostile_text_is_an_error_and_never_fills_memory() {
    let tree = Tree::new();
    let nic = tree.nic();
    let huge = nic.path().join("resource");
    fs::File::create(&huge).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(nic.bars(), Err(Error::Malformed { .. })));
    for line in [
        "0x0 0x0",
        "0x1 0x0 0x200",
        "0x0 0xffffffffffffffff 0x200",
        "0x0 0x0 0x0 0x0",
        "0xg 0x0 0x0",
    ] {
        fs::write(&huge, format!("{line}\n")).unwrap();
        assert!(matches!(nic.bars(), Err(Error::Malformed { .. })), "{line:?}");
    }
    for vendor in [
        &b"\xff\xfe"[..],
        b"",
        b"0x",
        b"+1",
        b"0x12345",
        b"-1",
        b"0x1af4 junk",
    ] {
        tree.put(&format!("bus/pci/devices/{NIC}/vendor"), vendor);
        let opened = Function::open(&tree.root(), nic.bdf());
        assert!(matches!(opened, Err(Error::Malformed { .. })), "{vendor:?}");
    }
}

#[test]
fn a_function_that_is_not_there_is_said_so() {
    let tree = Tree::new();
    let error = Function::open(&tree.root(), Bdf::from_rid(0, 0)).unwrap_err();
    assert!(error.is_absent());
    assert!(error.to_string().contains("lspci"), "{error}");
}
