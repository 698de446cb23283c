//! One virtual machine: does the environment that `./x env` made boot, and is it what its manifest says?

use std::time::Duration;

use firmware_tests::artifact::{Environment, Initramfs};
use firmware_tests::need::{Need, trial};
use firmware_tests::vm::Machine;
use libtest_mimic::{Arguments, Failed};

fn main() {
    let tests = vec![
        trial(
            "a guest boots the kernel of the manifest and powers off",
            &[Need::Environment],
            boots,
        ),
        trial(
            "a guest that panics ends its machine and shows its console",
            &[Need::Environment],
            panics,
        ),
        trial(
            "a machine is over when its time is",
            &[Need::Environment],
            overstays,
        ),
        trial(
            "modules and borrowed programs work in the guest",
            &[Need::Environment],
            borrows,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn boots() -> Result<(), Failed> {
    let environment = Environment::find()?;
    let initrd = Initramfs::new(&environment, BOOT).build()?;
    let folder = tempfile::tempdir()?;
    let mut vm = Machine::new(&environment, folder.path(), &initrd).boot()?;
    let event = vm.event("booted", LIMIT)?;
    eprintln!("booted after {:.2?}", vm.age());
    assert_eq!(event["kernel"], environment.manifest().kernel.as_str());
    vm.wait()?;
    Ok(())
}

fn panics() -> Result<(), Failed> {
    let environment = Environment::find()?;
    let initrd = Initramfs::new(&environment, "echo last words; exit 7").build()?;
    let folder = tempfile::tempdir()?;
    let mut vm = Machine::new(&environment, folder.path(), &initrd).boot()?;
    let error = vm
        .event("booted", LIMIT)
        .expect_err("init ends at once")
        .to_string();
    assert!(
        error.contains("last words") && error.contains("Attempted to kill init"),
        "{error}"
    );
    Ok(())
}

fn overstays() -> Result<(), Failed> {
    let environment = Environment::find()?;
    let initrd = Initramfs::new(&environment, "sleep 1000").build()?;
    let folder = tempfile::tempdir()?;
    let machine = Machine::new(&environment, folder.path(), &initrd).limit(Duration::from_secs(1));
    let vm = machine.boot()?;
    let qemu = format!("/proc/{}", vm.id());
    let error = vm.wait().expect_err("the guest sleeps").to_string();
    assert!(error.contains("killed"), "{error}");
    assert!(!std::path::Path::new(&qemu).exists());
    Ok(())
}

fn borrows() -> Result<(), Failed> {
    let environment = Environment::find()?;
    let initrd = Initramfs::new(&environment, BORROW)
        .module("virtio_net")
        .module("qemu_fw_cfg")
        .module("vfio-pci")
        .borrow("/usr/sbin/ip")
        .build()?;
    let folder = tempfile::tempdir()?;
    let secret = folder.path().join("secret");
    std::fs::write(&secret, "a secret")?;
    let machine =
        Machine::new(&environment, folder.path(), &initrd).firmware_file("opt/tidelock/secret", &secret);
    let mut vm = machine.boot()?;
    let event = vm.event("borrowed", LIMIT)?;
    assert_eq!(
        event["modules"], 3,
        "virtio_net, qemu_fw_cfg and vfio_pci: {event}"
    );
    assert_eq!(event["secret"], "a secret");
    assert!(
        event["ip"]
            .as_str()
            .is_some_and(|version| version.contains("iproute2")),
        "{event}"
    );
    vm.quit()?;
    Ok(())
}

const LIMIT: Duration = Duration::from_secs(60);

const BOOT: &str = r#"
say "{\"event\":\"booted\",\"kernel\":\"$(uname -r)\"}"
power_off
"#;

const BORROW: &str = r#"
load_modules
count=$(lsmod | grep -c -E '^(virtio_net|qemu_fw_cfg|vfio_pci) ')
secret=$(cat /sys/firmware/qemu_fw_cfg/by_name/opt/tidelock/secret/raw)
say "{\"event\":\"borrowed\",\"modules\":$count,\"secret\":\"$secret\",\"ip\":\"$(/usr/sbin/ip -V)\"}"
sleep 1000
"#;
