//! From bytes that a host brought to facts that a guest may build on.
//!
//! ```text
//!   host ── certificates, measurements, report ──► Bundle          anyone can build one; nothing is believed
//!                                                    │
//!   TSM ══ Vouched<TdiInfo>: digests, lock, state ═══╡             only the sealed channel makes one
//!   guest ── Expectation: nonce, roots, time, floor ─┤
//!                                                    ▼ verify()    pure: no clock, no files, no state
//!                                             Verified, or Refusal
//! ```
//!
//! * [`Bundle`]: the three objects as they came.
//! * [`verify`]: one pure function; what it checks, in which order, is in its documentation.
//! * [`Verified`]: private fields, made only there. It remembers the bytes, so that an audit can verify them again.
//! * [`Refusal`]: one variant a check, in words for people: what was found, what is wanted, what to do.
//! * [`chain`]: the certificate chain object and its strict path validation.
//!
//! **Invariant:** no [`Verified`] exists whose objects the TSM did not vouch for, digest by digest, in the lock that
//! [`Verified::lock`] names.
//!
//! What is not here: whether the measurements are the wanted ones and the report's features welcome (the guest's
//! policy), fetching revocation lists, and anything that a verdict cannot see, such as a probe on the memory bus.

mod bundle;
pub mod chain;
mod parameter;
mod refusal;
mod transcript;
mod verify;

#[cfg(test)]
mod testing;

pub use bundle::Bundle;
pub use chain::{CrlRule, Crls, Identity, IdentityRule, PciIdentity, Root};
pub use parameter::Parameter;
pub use refusal::Refusal;
pub use verify::{Expectation, Floor, Lock, Measurement, Verified, verify};
