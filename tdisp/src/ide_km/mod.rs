//! IDE key management (PCIe 6.x §6.33.3): keys for the streams that encrypt a link.

pub mod msg;
pub mod registers;
pub mod requester;
pub mod responder;
mod stream;

pub use requester::Requester;
pub use responder::Responder;
