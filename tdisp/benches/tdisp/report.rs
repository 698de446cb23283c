//! What was found, for machines.

use serde_json::{Map, Value, json};
use std::path::Path;

/// One value for each section, and where it was measured.
pub(crate) struct Report(Map<String, Value>);

impl Report {
    pub(crate) fn new() -> Self {
        let machine = machine();
        println!("{}", machine["words"].as_str().unwrap_or_default());
        Self(Map::from_iter([("machine".to_owned(), machine)]))
    }

    pub(crate) fn add(&mut self, section: &str, found: Value) {
        self.0.insert(section.to_owned(), found);
    }

    pub(crate) fn write(self) {
        // CARGO_TARGET_TMPDIR is target/tmp.
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
        let path = folder.join("tdisp.json");
        let text = serde_json::to_string_pretty(&Value::Object(self.0)).unwrap_or_default();
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, text + "\n"));
        match written {
            Ok(()) => println!("\nall of it: {}", path.display()),
            Err(error) => println!("\n{} could not be written: {error}", path.display()),
        }
    }
}

fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo");
    let model = model.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("an unknown processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    json!({
        "processor": model,
        "cores": cores,
        "kernel": kernel.trim(),
        "load": load,
        "words": format!("{model}, {cores} cores, Linux {}, load {load}", kernel.trim()),
    })
}
