//! The card's security manager alone, for other people's requesters and validators: no VMM and no platform, only data
//! objects over TCP.

pub mod suite;
