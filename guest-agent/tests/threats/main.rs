//! The attack cases that the agent answers, each named after its number in the list of threats. What a case decides
//! inside evidence alone is tested with `tdisp::evidence`; here is what the agent as a whole does about it.

#![allow(clippy::unwrap_used)] // these are tests, helpers among them

#[path = "../../../tdisp/tests/known/mod.rs"]
mod known;
#[path = "../../../tdisp/tests/providers/mod.rs"]
mod providers;
#[path = "../world/mod.rs"]
mod world;

mod evidence;
mod freshness;
mod host;
mod inputs;
mod report;
mod state;
