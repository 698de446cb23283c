//! The command line, without running anything.

use super::*;

fn environment() -> (Environment, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = r#"{"qemu":"11.0","kernel":"7.0","busybox":"1","release":"r","made":"now"}"#;
    std::fs::write(dir.path().join("manifest.json"), manifest).unwrap();
    (Environment::open(dir.path()).unwrap(), dir)
}

fn arguments(machine: &Machine) -> Vec<String> {
    machine
        .command()
        .get_args()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect()
}

#[test]
fn function_0_comes_last_because_it_realizes_the_device() {
    let (environment, _dir) = environment();
    let machine = Machine::new(&environment, Path::new("/w"), Path::new("/i"))
        .vfio_user(0, Path::new("/s0"))
        .vfio_user(2, Path::new("/s2"))
        .vfio_user(1, Path::new("/s1"));
    let functions: Vec<String> = arguments(&machine)
        .into_iter()
        .filter(|argument| argument.contains("vfio-user-pci"))
        .collect();
    let places: Vec<bool> = ["0x0.0x2", "0x0.0x1", "0x0.0x0"]
        .iter()
        .zip(&functions)
        .map(|(at, f)| f.contains(at))
        .collect();
    assert_eq!(places, [true; 3], "{functions:?}");
}

#[test]
fn a_comma_in_a_path_stays_part_of_the_path() {
    let (environment, _dir) = environment();
    let machine = Machine::new(&environment, Path::new("/a,b"), Path::new("/i"));
    assert!(
        arguments(&machine)
            .iter()
            .any(|argument| argument.contains("/a,,b/results.sock"))
    );
}

#[test]
fn without_a_viommu_the_kernel_is_not_told_of_one() {
    let (environment, _dir) = environment();
    let machine = Machine::new(&environment, Path::new("/w"), Path::new("/i"))
        .without_iommu()
        .kernel_argument("swiotlb=force");
    let line = machine.kernel_command_line();
    assert!(
        !line.contains("iommu") && line.ends_with(" swiotlb=force"),
        "{line}"
    );
}
