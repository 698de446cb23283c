//! TDISP (PCIe 6.x chapter 11): locking an interface of a device, reporting what it is, and starting it.

mod interface;
pub mod msg;
pub mod report;
pub mod requester;
pub mod responder;

pub use requester::Requester;
pub use responder::Responder;
