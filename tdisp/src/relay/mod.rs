//! What the parties say to each other beside the device's own protocols, and who may say it.
//!
//! ```text
//!   guest (relying party)                 host (carries, is never believed)             TSM (believed)
//!  ┌─────────────────────┐   courier     ┌────────────────────────────────┐   host    ┌──────────────────┐
//!  │ tidelock-agent      │◄─────────────►│ tidelockd                      │◄─────────►│ one operation at │
//!  │   courier::Request  │ frames on a   │  answers courier requests from │ commands, │ a time, each may │
//!  │                     │ byte stream   │  its cache, carries the rest   │ answers   │ ask for carriage │
//!  │   sealed::Guest ────┼───────────────┼── opaque bytes both ways ──────┼───────────┼─► sealed::Tsm    │
//!  └─────────────────────┘  guest::{Request, Response}, encrypted end to end            └──────────────────┘
//! ```
//!
//! * [`courier`]: guest ↔ host. Evidence objects in chunks, and sealed bytes. Nothing in it is believed.
//! * [`sealed`]: guest ↔ TSM through the host, encrypted and in order. What comes out of it is [`Vouched`].
//! * [`guest`]: the requests and answers inside [`sealed`].
//! * [`host`]: host ↔ TSM. Commands one at a time; the TSM may ask to [carry](host::Answer::Carry) DOE objects.
//!
//! Every decoder here treats its peer as hostile: lengths are bounded before anything is kept, text may hold no
//! control characters, leftover bytes are refused. All integers are little-endian.
//!
//! What is not here: transport (each side moves bytes as it likes), and time (a peer that never answers is the
//! caller's timeout).

pub mod courier;
mod frame;
pub mod guest;
pub mod host;
mod ids;
pub mod sealed;
mod text;

pub use frame::FrameError;
pub use ids::{ObjectKind, ParseRidError, Rid, TdiId, VmId};
pub use sealed::Vouched;
pub use text::TEXT_SIZE_MAX;
