//! Messages and reports: what may be read, what must be refused, and that no bytes make a reader panic.

mod ide_km;
mod optional;
mod properties;
mod report;
mod samples;
mod session;
mod spdm;
mod tdisp;
