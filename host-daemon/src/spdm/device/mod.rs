//! `tidelock spdm identify`, `certs` and `measure`: a conversation, or a recorded one, and what it says of the device.
//!
//! ```text
//! --connect, --doe ─ talk ─┐
//!                          ├─ capture ─ facts ─ show
//! --replay ────────────────┘      └─ --save
//! ```

pub mod facts;
mod files;
pub mod keylog;
mod show;
pub mod suite;
pub mod talk;

use std::{io::Write, path::PathBuf, time::Duration};

use tdisp::{
    evidence::Root,
    relay::Rid,
    spdm::{RequesterConfig, Timing, msg::measurements::Operation, requester::Measure, transport::Transport},
};

use super::{
    args::{self, Slots},
    decode,
    secrets::Secrets,
};
use crate::transport::{self, Mailbox};
use facts::{Chain, Facts, Vouched};

/// Bytes of the largest message in chunks: a certificate chain of 64 KiB, and what is around it.
const CHUNKED_MAX: u32 = 0x2_0000;

/// What ended the command early, or made it end badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device cannot be reached.
    #[error("{0}")]
    Way(#[from] transport::Error),
    /// Nobody there speaks as was expected.
    #[error(
        "{source}; does it speak {carrier} in the DMTF emulators' framing? See --transport and --timeout"
    )]
    Greeting {
        /// What was spoken.
        carrier: &'static str,
        /// How it went.
        source: transport::Error,
    },
    /// The device or the requester gave up.
    #[error("{failure}{}", look(*.saved))]
    Talk {
        /// Why.
        failure: talk::Failure,
        /// Whether the conversation was kept.
        saved: bool,
    },
    /// A recording cannot be used.
    #[error("{0}")]
    Replay(#[from] decode::Error),
    /// A file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A root is no certificate.
    #[error("{} holds no certificate: {why}; wanted X.509 in DER or PEM", .path.display())]
    Root {
        /// Which file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// A file does not hold this side's identity, or a pre-shared key.
    #[error("{} is of no use: {why}", .path.display())]
    Own {
        /// Which file.
        path: PathBuf,
        /// Why, and what was wanted.
        why: String,
    },
    /// The conversation has nothing of what was asked for.
    #[error("the conversation has no {what}; {cure}")]
    Nothing {
        /// What was asked for.
        what: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// Something said does not agree with the rest.
    #[error("{0}")]
    Disagrees(super::check::Disagreement),
    /// A chain was asked for, or all, and it is not there, though others.
    #[error(
        "the conversation does not show the certificate chain in slot {slot}; ask the device for it with --slot {slot}, or \
         replay a recording that shows it"
    )]
    Unshown {
        /// The slot.
        slot: u8,
    },
    /// Nothing is signed with the key of a chain.
    #[error(
        "the conversation has no signature that could be checked, with the key of this chain, in slot {slot}; {cure}"
    )]
    Unproven {
        /// The slot.
        slot: u8,
        /// What that means.
        cure: &'static str,
    },
    /// Roots were given, and the chain leads to none of them.
    #[error("the certificate chain in slot {slot} is refused: {why}")]
    Untrusted {
        /// The slot.
        slot: u8,
        /// Why.
        why: String,
    },
    /// No root was given.
    #[error("nobody vouches for the device's root certificate; give the vendor's with --root")]
    Nobody,
    /// The output went away.
    #[error("writing failed: {0}")]
    Output(#[from] std::io::Error),
}

fn look(saved: bool) -> &'static str {
    match saved {
        true => "; `tidelock spdm decode` shows what was said",
        false => "; --save FILE.pcap keeps what was said",
    }
}

impl Error {
    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Self::Way(_) | Self::Greeting { .. } => 3,
            Self::Talk {
                failure: talk::Failure::Way { .. },
                ..
            } => 3,
            Self::Nobody => 5,
            _ => 1,
        }
    }
}

/// What is to be shown.
#[derive(Debug, Clone, Copy)]
pub enum Ask<'a> {
    /// Who it is.
    Identify(&'a args::Identify),
    /// Its certificates.
    Certs(&'a args::Certs),
    /// Its measurements.
    Measure(&'a args::Measure),
}

impl<'a> Ask<'a> {
    fn device(self) -> &'a args::Device {
        match self {
            Self::Identify(args) => &args.device,
            Self::Certs(args) => &args.device,
            Self::Measure(args) => &args.device,
        }
    }

    fn slots(self) -> Slots {
        match self {
            Self::Identify(args) => args.slot,
            Self::Certs(args) => args.slot,
            Self::Measure(args) => Slots::One(args.slot),
        }
    }

    fn measure(self) -> Option<Measure> {
        let Self::Measure(args) = self else { return None };
        Some(Measure {
            operation: args.index.map_or(Operation::ALL, Operation),
            raw: args.raw,
            fresh: args.fresh,
            ..Measure::all(None)
        })
    }
}

/// Does what the command line says.
pub fn run(ask: Ask<'_>, json: bool, out: &mut impl Write) -> Result<(), Error> {
    let device = ask.device();
    let roots = device
        .root
        .iter()
        .map(|path| files::root(path))
        .collect::<Result<Vec<_>, _>>()?;
    let talk = match &device.way.replay {
        Some(path) => talk::Talk {
            capture: decode::read(path)?,
            failure: None,
            opened: None,
        },
        None => converse(device, ask)?,
    };
    if let Some(path) = &device.save {
        files::save(path, &talk.capture)?;
    }
    if let (Some(path), Some(opened)) = (&device.save_secrets, &talk.opened) {
        files::save_secrets(path, opened)?;
    }
    let secrets = match &talk.opened {
        Some(opened) => Secrets::read(&files::secrets(opened)).ok(),
        None => decode::read_secrets(&device.secrets)?,
    };
    let facts = Facts::of(&talk.capture, secrets.as_ref(), &roots);
    match (json, ask) {
        (true, _) => writeln!(out, "{}", show::json(&facts))?,
        (false, Ask::Identify(_)) => show::identity(&facts, out)?,
        (false, Ask::Certs(_)) => show::certificates(&facts, out)?,
        (false, Ask::Measure(_)) => show::measurements(&facts, out)?,
    }
    // What was shown is written too, whatever became of the rest.
    if let (Ask::Certs(args), Some(_)) = (ask, &facts.chains.first())
        && let Some(directory) = &args.out
    {
        files::certificates(directory, &facts)?;
    }
    if let Some(failure) = talk.failure {
        let saved = device.save.is_some();
        return Err(Error::Talk { failure, saved });
    }
    judge(ask, &facts, &roots)?;
    match (&device.way.replay, talk.capture.cut) {
        (Some(path), Some(what)) => {
            let path = path.clone();
            Err(decode::Error::Cut { path, what }.into())
        }
        _ => Ok(()),
    }
}

/// Whether what was asked for is there, agrees, and has somebody who vouches for it.
fn judge(ask: Ask<'_>, facts: &Facts, roots: &[Root]) -> Result<(), Error> {
    if let Some(first) = facts.disagreement() {
        return Err(Error::Disagrees(first.clone()));
    }
    let nothing = |what, cure| Err(Error::Nothing { what, cure });
    let chains = judged(ask.slots(), facts);
    match (ask, chains.first()) {
        (Ask::Certs(_), None) => {
            return nothing(
                "certificate chain",
                "see which capabilities the device has with `identify`",
            );
        }
        (Ask::Measure(_), _) if facts.measurements.is_empty() => {
            return nothing(
                "measurements",
                "see which capabilities the device has with `identify`",
            );
        }
        (Ask::Identify(_), _) if facts.spdm.is_none() => {
            return nothing("capabilities", "see what is in it with `decode`");
        }
        _ => {}
    }
    if let Some(slot) = unshown(ask.slots(), facts) {
        return Err(Error::Unshown { slot });
    }
    for chain in &chains {
        let slot = chain.slot;
        match &chain.vouched {
            Vouched::By(_) => proven(ask, facts, slot)?,
            Vouched::Refused(why) => {
                let why = why.clone();
                return Err(Error::Untrusted { slot, why });
            }
            Vouched::Nobody => return Err(Error::Nobody),
        }
    }
    match (chains.is_empty(), roots.is_empty()) {
        (false, _) => Ok(()),
        (true, false) => nothing("certificate chain", "nothing in it can be vouched for by a root"),
        (true, true) => Err(Error::Nobody),
    }
}

/// A slot that was asked for and is not there, though others. Slot 0 is the one that nobody need name.
fn unshown(slots: Slots, facts: &Facts) -> Option<u8> {
    let shown = |slot: &u8| facts.chains.iter().any(|chain| chain.slot == *slot);
    match slots {
        Slots::All => facts
            .slots
            .iter()
            .map(|(slot, _)| *slot)
            .find(|slot| !shown(slot)),
        Slots::One(slot) => Some(slot).filter(|slot| *slot != 0 && !facts.chains.is_empty() && !shown(slot)),
    }
}

/// The chains that were asked for: where slot 0's is not there, the first that is.
fn judged(slots: Slots, facts: &Facts) -> Vec<&Chain> {
    let one = |slot| facts.chains.iter().find(|chain| chain.slot == slot);
    match slots {
        Slots::All => facts.chains.iter().collect(),
        Slots::One(slot) => one(slot).or(facts.chains.first()).into_iter().collect(),
    }
}

/// A chain alone proves nothing of who showed it: what was asked for must be signed with the key of that very chain.
fn proven(ask: Ask<'_>, facts: &Facts, slot: u8) -> Result<(), Error> {
    let (signed, cure) = match ask {
        Ask::Certs(_) => return Ok(()),
        Ask::Identify(_) => (
            facts.challenged_slots.contains(&slot),
            "the device has shown its chain, but not that it has the key",
        ),
        Ask::Measure(_) => (
            facts.measurements.iter().all(|one| one.signed == Some(slot)),
            "anybody between could have made up measurements that are not signed",
        ),
    };
    match signed {
        true => Ok(()),
        false => Err(Error::Unproven { slot, cure }),
    }
}

/// A peer that is there, and answers a hello or discovery with nothing or with something else, may be of another kind.
fn greeting(source: transport::Error, transport: Transport) -> Error {
    use transport::Error::{HungUp, Malformed, TimedOut, Unasked};
    let carrier = match transport {
        Transport::Doe => "DOE",
        Transport::Mctp => "MCTP",
    };
    match source {
        TimedOut {
            during: transport::CONNECTING,
            ..
        } => Error::Way(source),
        HungUp { .. } | Malformed { .. } | TimedOut { .. } | Unasked { .. } => {
            Error::Greeting { carrier, source }
        }
        source => Error::Way(source),
    }
}

/// Talks to the device that the arguments name.
fn converse(device: &args::Device, ask: Ask<'_>) -> Result<talk::Talk, Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let timeout = Duration::from_secs(device.timeout);
    let transport = match device.transport {
        args::Carrier::Doe => Transport::Doe,
        args::Carrier::Mctp => Transport::Mctp,
    };
    let config = RequesterConfig {
        versions: device.spdm.clone(),
        transport,
        slot: match ask.slots() {
            Slots::One(slot) => slot,
            Slots::All => 0,
        },
        offer: suite::offer(&device.suite),
        supported_asked: matches!(ask, Ask::Identify(_)),
        timing: Timing {
            answer: timeout,
            retries: device.retries,
            ..Timing::default()
        },
        psk: device
            .psk
            .as_deref()
            .map(|path| files::psk(path, &device.psk_hint))
            .transpose()?,
        chunk: Some(CHUNKED_MAX),
        ..RequesterConfig::default()
    };
    let config = match &device.identity {
        Some(path) => files::identity(path, config)?,
        None => config,
    };
    let session = match &device.psk {
        _ if !device.session => None,
        Some(_) => Some(talk::Opening::PreShared),
        None => Some(talk::Opening::KeyExchange),
    };
    runtime.block_on(async {
        let mut mailbox = match (&device.way.connect, device.way.doe) {
            (Some(address), _) => {
                let connected = Mailbox::connect(address, timeout, transport).await;
                connected.map_err(|source| greeting(source, transport))?
            }
            (None, Some(bdf)) => {
                let segment = bdf.domain() << 16;
                let rid = Rid(segment | u32::from(bdf.rid()));
                Mailbox::sysfs(&device.sysfs, rid, timeout, &device.locks).await?
            }
            (None, None) => {
                return Err(Error::Nothing {
                    what: "device",
                    cure: "name one with --connect or --doe",
                });
            }
        };
        let talk = talk::talk(
            &mut mailbox,
            &talk::Plan {
                config,
                measure: ask.measure(),
                session,
                every_slot: ask.slots() == Slots::All,
            },
        )
        .await;
        mailbox.close().await;
        Ok(talk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_never_reached_is_not_asked_what_it_speaks() {
        let after = Duration::from_secs(1);
        let timed_out = |during| transport::Error::TimedOut { during, after };
        let error = greeting(timed_out(transport::CONNECTING), Transport::Doe);
        assert_eq!(
            error.to_string(),
            "the device gave no answer to connecting in 1000 ms"
        );
        let error = greeting(timed_out("the hello"), Transport::Mctp);
        assert!(error.to_string().contains("does it speak MCTP"), "{error}");
        assert_eq!(error.code(), 3);
    }
}
