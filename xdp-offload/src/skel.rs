//! The generated skeleton, and what this crate takes for granted about it.
//!
//! The types come from the BPF object's BTF, so `bpf/shared.h` is where they are written; the assertions fail
//! the build if its layout is no more what the loader writes.
// UNSAFETY: libbpf-cargo generates this code, which reaches into libbpf's C structures; it is not ours to change.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks)]
#![allow(
    clippy::all,
    clippy::unwrap_used,
    unused_imports,
    unreachable_pub,
    missing_docs
)] // generated, for no reader

use std::mem::{offset_of, size_of};

include!(concat!(env!("OUT_DIR"), "/offload.skel.rs"));

const _: () = {
    assert!(size_of::<types::rule>() == 80);
    assert!(offset_of!(types::rule, source_first) == 6);
    assert!(offset_of!(types::rule, source) == 16);
    assert!(offset_of!(types::rule, destination_mask) == 64);
    assert!(size_of::<types::counter>() == 16);
    assert!(offset_of!(types::counter, bytes) == 8);
};

/// The bytes of a rule as the map holds them.
pub(crate) fn bytes(rule: &types::rule) -> &[u8] {
    // SAFETY: the struct is plain integers in C's layout, whose sizes add up to the 80 bytes asserted above, so that
    // no byte is padding; the slice borrows the rule.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(rule).cast(), size_of::<types::rule>()) }
}
