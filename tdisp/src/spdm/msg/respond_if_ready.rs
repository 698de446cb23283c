//! RESPOND_IF_READY (DSP0274 §10): asks again for what was not ready; the response is the first request's.

use super::{Code, header::header_only};

header_only! {
    /// RESPOND_IF_READY.
    pub struct Request = RESPOND_IF_READY {
        /// The request that was not ready.
        pub code: Code = param1,
        /// The token that came with the error.
        pub token: u8 = param2,
    };
}
