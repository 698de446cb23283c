//! Packet rules in XDP: the BPF program (in C, under `bpf/`), its loader and its counters.
//!
//! ```text
//!  TOML ─► Rules ─Offload::load─► Loaded ─attach(ifindex, mode)─► Attached ─drop─► (off)
//!          pure                   verified by the kernel          at work; stats, replace
//!
//!  frame ─► bpf/parse.h ─► bpf/verdict.h: first rule that matches, else default ─► pass | drop, counted once
//! ```
//!
//! # Invariants
//! - The mode is the one asked for and is read back from the kernel; another is an error, never a fallback.
//! - A program's rules never change. New rules are a new program, which takes the old one's place at once.
//! - Every packet changes one counter, so that the sums over CPUs are exact.
//! - A packet that cannot be read (cut short, contradictory, too deeply nested) is dropped and counted as such.
//! - Fragments: the first is judged like any packet. A later one has no ports: a rule that *passes* by port passes
//!   it by its addresses and protocol, a rule that *drops* by port leaves it to the rules after.
//! - It takes CAP_BPF and CAP_NET_ADMIN and no other right; whoever holds [`Attached`] owns the program's life.
//!
//! # Building
//! On Debian 12: `clang`, `linux-libc-dev`, `libelf-dev`, `zlib1g-dev`, `make`, `pkg-config`, `gcc`. The BPF headers
//! come with `libbpf-sys`, so neither `libbpf-dev` nor a `vmlinux.h` is needed; at run time `libelf1` and `zlib1g`.
//! The program takes Linux 5.18 or newer, for `bpf_xdp_load_bytes` (see `bpf/parse.h`); its tests have passed on
//! 6.1, 6.12 and 6.18, and native mode on virtio_net on 7.2.
//!
//! # What it does not do
//! No redirection, no rewriting, no connection tracking, no AF_XDP, no egress; frames of more than one buffer are
//! the driver's to refuse (an MTU over about 3.5 kB on most).

pub mod attach;
pub mod error;
pub mod field;
pub mod interface;
pub mod load;
pub mod rule;
pub mod stats;

mod kernel;
mod skel;

pub use attach::{Attached, Mode};
pub use error::Error;
pub use field::{Cidr, Ports, Protocol};
pub use interface::{Interface, interfaces};
pub use load::{Loaded, Offload};
pub use rule::{Action, Conditions, Rule, RuleError, Rules};
pub use stats::{Counter, Stats};
