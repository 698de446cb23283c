//! What a connection costs over the cryptography that it cannot do without.
//!
//! `./x bench tdisp [SECTION...]` prints what it finds and writes it to `target/bench/tdisp.json`. Times are medians, on one
//! thread, in one process, without a wire, and of what the thread computes; the section `socket` takes a clock's. It fails on
//! no time; on memory it does.

#[path = "../../tests/pair/mod.rs"]
mod pair;
#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/messages/samples.rs"]
mod samples;

mod counting;
mod flow;
mod handshake;
mod memory;
mod messages;
mod records;
mod report;
mod socket;
mod time;

use report::Report;

type Section = fn(&mut Report);

const SECTIONS: [(&str, Section); 5] = [
    ("handshake", handshake::run),
    ("messages", messages::run),
    ("records", records::run),
    ("memory", memory::run),
    ("socket", socket::run),
];

fn main() {
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let mut report = Report::new();
    for (name, section) in SECTIONS {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
            println!("\n{name}");
            section(&mut report);
        }
    }
    report.write();
}
