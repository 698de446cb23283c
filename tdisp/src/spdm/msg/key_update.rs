//! KEY_UPDATE and KEY_UPDATE_ACK (DSP0274 §10).

use super::header::{Param, header_only};
use crate::open_enum;

open_enum! {
    /// What to do with the keys.
    pub struct Operation(u8) {
        /// New keys for the requester's direction.
        UPDATE_KEY = 1,
        /// New keys for both directions.
        UPDATE_ALL_KEYS = 2,
        /// The new keys work.
        VERIFY_NEW_KEY = 3,
    }
}

impl Param for Operation {
    fn from_param(param: u8) -> Self {
        Self(param)
    }

    fn to_param(self) -> u8 {
        self.0
    }
}

header_only! {
    /// KEY_UPDATE.
    pub struct Request = KEY_UPDATE {
        /// What to do; one that is not named is the machine's to refuse.
        pub operation: Operation = param1,
        /// Repeated in the response.
        pub tag: u8 = param2,
    };

    /// KEY_UPDATE_ACK.
    pub struct Response = KEY_UPDATE_ACK {
        /// The request's.
        pub operation: Operation = param1,
        /// The request's.
        pub tag: u8 = param2,
    };
}
