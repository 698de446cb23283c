//! The card's security manager alone, for other people's requesters and validators: no VMM and no platform, only messages over
//! TCP.

pub mod ability;
pub mod options;
pub mod peers;
pub mod standalone;
pub mod suite;
