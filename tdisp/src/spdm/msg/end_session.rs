//! END_SESSION and END_SESSION_ACK (DSP0274 §10).

use super::header::header_only;

header_only! {
    /// END_SESSION.
    pub struct Request = END_SESSION {
        /// Whether the responder shall also forget the negotiated state that it keeps over resets.
        pub clear_negotiated_state: bool = param1,
    };

    /// END_SESSION_ACK.
    pub struct Response = END_SESSION_ACK;
}
