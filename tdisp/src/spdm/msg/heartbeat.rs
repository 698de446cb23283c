//! HEARTBEAT and HEARTBEAT_ACK (DSP0274 §10): they keep a session alive that says a heartbeat period.

use super::header::header_only;

header_only! {
    /// HEARTBEAT.
    pub struct Request = HEARTBEAT;

    /// HEARTBEAT_ACK.
    pub struct Response = HEARTBEAT_ACK;
}
