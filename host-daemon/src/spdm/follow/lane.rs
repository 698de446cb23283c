//! What is under way on a connection in clear, or in one of its sessions: requests that wait for their responses, large
//! messages of which some chunks have come, measurements that will be signed.

use tdisp::spdm::msg::Code;

use crate::spdm::dissect::Message;

/// A message, to its true end.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// Number of the packet that it began in.
    pub(super) number: usize,
    /// Its bytes, without padding.
    pub(super) bytes: Vec<u8>,
    /// Its fields.
    pub(super) message: Message,
}

impl Said {
    pub(super) fn code(&self) -> Code {
        self.message.code()
    }

    /// The bytes in front of a field; all of them if there is none of that name.
    pub(super) fn until(&self, field: &str) -> &[u8] {
        let end = self.message.place(field).map_or(self.bytes.len(), |at| at.start);
        self.bytes.get(..end).unwrap_or_default()
    }

    /// The bytes of a field.
    pub(super) fn part(&self, field: &str) -> Option<&[u8]> {
        self.bytes.get(self.message.place(field)?)
    }
}

/// A large message of which some chunks have come.
#[derive(Debug, Clone, Default)]
pub(super) struct Large {
    pub(super) handle: u8,
    pub(super) bytes: Vec<u8>,
    pub(super) next: u64,
    /// The request that a large response answers.
    pub(super) request: Option<Said>,
}

/// One exchange of measurements since the last signature.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    /// The message that has them.
    pub(super) number: usize,
    pub(super) bytes: Vec<u8>,
    /// An ERROR came after it.
    pub(super) before_error: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The request that the next response answers.
    pub(super) pending: Option<Said>,
    /// A request whose response was not ready.
    pub(super) deferred: Option<Said>,
    /// The encapsulated request that the next encapsulated response answers.
    pub(super) encapsulated: Option<Said>,
    /// A large request on its way.
    pub(super) sending: Option<Large>,
    /// A large response on its way.
    pub(super) getting: Option<Large>,
    /// Measurements since the last signature.
    pub(super) measured: Vec<Measured>,
}

impl Lane {
    /// The request that a response answers, whatever came between.
    pub(super) fn asked(&self, response: Code) -> Option<&Said> {
        let pending = self.pending.as_ref()?;
        match pending.code() {
            Code::RESPOND_IF_READY if response != Code::ERROR => self.deferred.as_ref(),
            _ => Some(pending),
        }
    }
}

/// Whether a request asks for a measurement summary, and whether it asks for a signature.
pub(super) fn asks(request: &Message) -> (bool, bool) {
    use crate::spdm::field::Fields;
    let (first, second) = (request.param1(), request.param2());
    match request.code() {
        Code::CHALLENGE => (second != 0, true),
        Code::KEY_EXCHANGE | Code::PSK_EXCHANGE => (first != 0, true),
        Code::GET_MEASUREMENTS => (false, first & 1 == 1),
        Code::GET_ENDPOINT_INFO => {
            let attributes = request.fields.int("RequestAttributes").unwrap_or(0);
            (false, attributes & 1 == 1)
        }
        _ => (false, false),
    }
}
