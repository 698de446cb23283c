//! What is under way: for each message that is waited for a type, which the message consumes, and which gives the next.
//!
//! A new kind of request is a type with [`Expect`] in a file of its own, and a line below.

use super::{
    Output, identify, inquiry,
    link::Link,
    measure, mutual, psk, session,
    step::{Exchange, Fault},
};
use alloc::boxed::Box;

/// What a step leads to: another wait, for which it has sent a request, or rest.
pub(super) type Next = Result<Option<Operation>, Fault>;

/// A message that is waited for.
pub(super) trait Expect: Sized {
    /// Whether a refusal of the request (ERROR) is only told ([`Event::Refused`](super::Event::Refused)), and leaves the
    /// connection as it was. A refusal of any other request ends the connection.
    fn is_optional(&self) -> bool {
        false
    }

    /// The message came.
    fn on_response(self, link: &mut Link, exchange: &Exchange<'_>, output: &mut Output<'_>) -> Next;
}

/// Declares [`Operation`] with one variant for each awaited message.
macro_rules! operations {
    ($($variant:ident($expect:ty)),* $(,)?) => {
        /// What is under way.
        pub(super) enum Operation {
            $($variant(Box<$expect>),)*
        }

        impl Operation {
            pub(super) fn on_response(
                self,
                link: &mut Link,
                exchange: &Exchange<'_>,
                output: &mut Output<'_>,
            ) -> Next {
                match self {
                    $(Self::$variant(expect) => expect.on_response(link, exchange, output),)*
                }
            }

            /// See [`Expect::is_optional`].
            pub(super) fn is_optional(&self) -> bool {
                match self {
                    $(Self::$variant(expect) => expect.is_optional(),)*
                }
            }
        }

        $(impl From<$expect> for Operation {
            fn from(expect: $expect) -> Self {
                Self::$variant(Box::new(expect))
            }
        })*
    };
}

operations! {
    Version(identify::ExpectVersion),
    Capabilities(identify::ExpectCapabilities),
    Algorithms(identify::ExpectAlgorithms),
    Digests(identify::ExpectDigests),
    Certificate(identify::ExpectCertificate),
    ChallengeAuth(identify::ExpectChallengeAuth),
    Measurements(measure::ExpectMeasurements),
    KeyExchange(session::ExpectKeyExchange),
    Finish(session::ExpectFinish),
    EncapsulatedRequest(mutual::ExpectRequest),
    AnyEncapsulatedRequest(mutual::ExpectAnyRequest),
    EncapsulatedAck(mutual::ExpectAck),
    PskExchange(psk::ExpectPskExchange),
    PskFinish(psk::ExpectPskFinish),
    Vendor(session::ExpectVendor),
    KeyUpdateAck(session::ExpectKeyUpdateAck),
    KeyVerified(session::ExpectKeyVerified),
    HeartbeatAck(session::ExpectHeartbeatAck),
    EndSessionAck(session::ExpectEndSessionAck),
    Inquiry(inquiry::ExpectInquiry),
}
