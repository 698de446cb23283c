//! A responder judged as other people's conformance suites judge it: every request code in every state and version,
//! every request cut short and with every field wrong, and the proofs in every answer.
//!
//! The specification is [`table`]; the requester is made by hand in [`client`], with a cryptography of its own.

#![allow(clippy::unwrap_used, reason = "a test may")]
#![allow(unreachable_pub, reason = "a test program has no users")]

mod client;
mod crypto;
mod device;
mod fields;
mod groups;
#[path = "../pair/mod.rs"]
mod harness;
mod matrix;
mod negotiation;
mod table;

/// Every version, over both transports.
fn each_connection(judge: impl Fn(u8, bool)) {
    for mctp in [false, true] {
        for version in [0x10, 0x11, 0x12, 0x13, 0x14] {
            judge(version, mctp);
        }
    }
}
