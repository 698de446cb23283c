//! What a card's SPDM side is told on the command line, and the configuration that follows from it.

use super::super::function::VENDOR as CARD_VENDOR;
use super::super::measured;
use super::super::report::Interfaces;
use super::ability::Change;
use super::peers::{NoMutual, PskOption, Way, mutual};
use super::suite::Suite;
use crate::identity::{self, Identity};
use std::path::PathBuf;
use std::sync::Arc;
use tdisp::crypto::{Ability, CryptoError, HashAlg, Provider, Ring, SignAlg, Signer};
use tdisp::spdm::events::Types;
use tdisp::spdm::msg::capabilities::Flags;
use tdisp::spdm::msg::endpoint_info::{DeviceClass, DeviceClasses};
use tdisp::spdm::msg::key_pair_info::{Abilities, Usage, key_algorithm};
use tdisp::spdm::msg::measurements::Dmtf;
use tdisp::spdm::msg::set_certificate::Model;
use tdisp::spdm::msg::vendor::Registry;
use tdisp::spdm::msg::{Version, mel};
use tdisp::spdm::responder::{
    EndpointInfo, KeyCsr, KeyPair, KeyPairs, Measured, MultiKey, NotDone, Psk, ResponderConfig, Slot, Store,
};
use tdisp::spdm::{
    Transport,
    algorithms::{Offer, pqc_sign_bit},
    pkcs10,
};
use tdisp::wire::Write;

/// Bytes of the largest message in chunks.
const CHUNKED_MAX: u32 = 0x2_0000;

/// How a card speaks SPDM.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "How it speaks SPDM")]
pub struct Protocol {
    /// What carries the messages: doe or mctp.
    #[arg(long, value_name = "NAME", default_value = "doe", value_parser = transport)]
    pub transport: Transport,
    /// Versions spoken, of 1.0, 1.1, 1.2, 1.3 and 1.4. Without it 1.2 to 1.4.
    #[arg(long, value_name = "VERSION,…", value_delimiter = ',', value_parser = version)]
    pub spdm: Vec<Version>,
    /// Algorithms, by preference: a suite such as ecdsa-p256-sha256-secp256r1-aes128gcm, or single ones. Of a kind
    /// that none names, P-384, SHA-384 and AES-256-GCM.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub suite: Vec<Suite>,
    /// Capabilities to add to the card or to take from it, such as +csr,-chal; the list is below.
    #[arg(
        long,
        value_name = "±NAME,…",
        value_delimiter = ',',
        allow_hyphen_values = true
    )]
    pub capabilities: Vec<Change>,
    /// Slots that hold the certificate chain.
    #[arg(long, value_name = "SLOT,…", value_delimiter = ',', default_value = "0", value_parser = clap::value_parser!(u8).range(..8))]
    pub slots: Vec<u8>,
    /// Seconds after which a session wants a HEARTBEAT. 0 for none.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub heartbeat: u8,
    /// How requesters authenticate themselves in turn: basic (CHALLENGE_AUTH asks), and one of encap, digests and raw
    /// (KEY_EXCHANGE_RSP asks: by encapsulated requests, the first of them with the response, or for a chain that it has).
    /// With required, who cannot gets no session.
    #[arg(long, value_name = "WAY,…", value_delimiter = ',')]
    pub mutual_auth: Vec<Way>,
    /// A root certificate that requesters' chains may begin with, in DER. May be repeated.
    #[arg(long, value_name = "FILE")]
    pub requester_root: Vec<PathBuf>,
    /// The requester's certificates in DER, root first, for --mutual-auth raw.
    #[arg(long, value_name = "FILE")]
    pub requester_chain: Option<PathBuf>,
    /// A pre-shared key: HEX or HEX:HINT, the hint as text or as 0xHEX; a file with one a line; or spdm-emu, for the one
    /// that the emulators have. May be repeated.
    #[arg(long, value_name = "KEY|FILE")]
    pub psk: Vec<PskOption>,
    /// Bytes of the largest message taken in one piece (DataTransferSize).
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(42..=0x1_0000))]
    pub transfer_size: Option<u32>,
    /// Requester IDs that functions 1 and 2 have in TDISP, on a card without --vfio-user. With one there is function 1 alone.
    #[arg(long, value_name = "ID,ID", default_value = "0x101,0x102")]
    pub tdi: Interfaces,
    /// Ports with IDE, which IDE_KM names by their index.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    pub ide_ports: u8,
}

fn transport(name: &str) -> Result<Transport, String> {
    match name {
        "doe" => Ok(Transport::Doe),
        "mctp" => Ok(Transport::Mctp),
        _ => Err("wanted doe or mctp".to_owned()),
    }
}

fn version(text: &str) -> Result<Version, String> {
    let minor = text.strip_prefix("1.").and_then(|minor| minor.parse::<u8>().ok());
    match minor {
        Some(minor @ 0..=4) => Ok(Version(0x10 | minor)),
        _ => Err("wanted 1.0, 1.1, 1.2, 1.3 or 1.4".to_owned()),
    }
}

/// Why a card cannot be as it was told to be.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// A certificate chain is for one signature algorithm and one hash.
    #[error(
        "--suite names {0}: the certificate chain is made for one; name one of each, and start one card a suite"
    )]
    Several(&'static str),
    /// The key is of another kind.
    #[error("--suite wants {wanted}, and the identity's key is {found}: give another --identity, or none")]
    Key {
        /// What the suite has.
        wanted: SignAlg,
        /// What the key is.
        found: SignAlg,
    },
    /// The key does not sign with this hash.
    #[error("{0} does not sign with {1} here: name ecdsa-p256-sha256, ecdsa-p384-sha384 or ML-DSA")]
    Hash(SignAlg, HashAlg),
    /// Requesters cannot be made to authenticate themselves.
    #[error(transparent)]
    Mutual(#[from] NoMutual),
    /// The key is of no use.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl Protocol {
    /// The signature algorithm that an identity must have.
    pub fn sign(&self) -> Result<SignAlg, Unfit> {
        match Suite::offer(&self.suite, Offer::default()).sign[..] {
            [alg] => Ok(alg),
            _ => Err(Unfit::Several("several signature algorithms")),
        }
    }

    /// The configuration of a card with `identity`, whose vendor chain, or another with the same key, is `chain`, and which
    /// signs with `signer`.
    pub fn config(
        &self,
        identity: &Identity,
        chain: &identity::Chain,
        signer: Arc<dyn Signer>,
    ) -> Result<ResponderConfig, Unfit> {
        let offer = self.offer(identity, &*signer)?;
        let hash = offer.hash[0];
        let slot = Slot::new(chain.object_in(hash), Arc::clone(&signer));
        let mut config = ResponderConfig {
            transport: self.transport,
            slots: std::array::from_fn(|index| self.holds(index).then(|| slot.clone())),
            heartbeat_s: self.heartbeat,
            psk: PskOption::config(&self.psk),
            mutual: mutual(
                &self.mutual_auth,
                &self.requester_root,
                self.requester_chain.as_ref(),
                hash,
            )?,
            chunk: Some(CHUNKED_MAX),
            offer,
            ..ResponderConfig::new(Vec::new(), signer, Vec::new())
        };
        if config.mutual.is_some() {
            let verifies = |alg: &SignAlg| Ring.supports(Ability::Verify(*alg, hash));
            config.offer.requester_sign = SignAlg::ALL.into_iter().filter(verifies).collect();
        }
        if !self.spdm.is_empty() {
            config.versions.clone_from(&self.spdm);
            config.versions.sort();
            config.versions.dedup();
        }
        config.transfer_size = self.transfer_size.unwrap_or(config.transfer_size);
        for change in &self.capabilities {
            match change.add {
                true => self.add(change.flags, identity, &mut config)?,
                false => take(change.flags, &mut config),
            }
        }
        Ok(config)
    }

    fn holds(&self, slot: usize) -> bool {
        // Without a command line there is slot 0.
        self.slots.iter().any(|held| usize::from(*held) == slot) || self.slots.is_empty() && slot == 0
    }

    fn offer(&self, identity: &Identity, signer: &dyn Signer) -> Result<Offer, Unfit> {
        let mut usual = Offer::default();
        let wanted = match self.suite.is_empty() {
            true => identity.alg,
            false => self.sign()?,
        };
        usual.sign = vec![wanted];
        if wanted == SignAlg::EcdsaP256 {
            usual.hash = vec![HashAlg::Sha256];
        }
        let offer = Suite::offer(&self.suite, usual);
        let [hash] = offer.hash[..] else {
            return Err(Unfit::Several("several hashes"));
        };
        if wanted != identity.alg {
            return Err(Unfit::Key {
                wanted,
                found: identity.alg,
            });
        }
        if !signer.signs_with(hash) {
            return Err(Unfit::Hash(wanted, hash));
        }
        Ok(offer)
    }

    fn add(&self, flags: Flags, identity: &Identity, config: &mut ResponderConfig) -> Result<(), Unfit> {
        match flags {
            Flags::MEAS_NO_SIG => config.measured = Measured::Unsigned,
            Flags::HANDSHAKE_IN_THE_CLEAR => config.handshake_in_clear = true,
            Flags::CSR => {
                let signer = identity::signer(identity)?;
                config.provisioning.csr = Some(Arc::new(KeyCsr {
                    public_key: signer.public_key().to_vec(),
                    signer,
                    name: pkcs10::common_name(identity::DEVICE_NAME),
                }));
                // Who signs a request takes the certificate.
                take_certificates(config);
            }
            Flags::SET_CERT => take_certificates(config),
            Flags::ENCAP => config.encapsulated = true,
            Flags::CERT_INSTALL_RESET => config.provisioning.after_reset = true,
            Flags::EP_INFO_NO_SIG | Flags::EP_INFO_SIG => {
                config.endpoint_info = Some(EndpointInfo {
                    device_classes: device_classes(),
                    signed: flags == Flags::EP_INFO_SIG,
                });
            }
            Flags::MEL => {
                config.mel = Some(log());
                config.offer.mel_specification = mel::SPECIFICATION_DMTF;
            }
            Flags::EVENT => config.events = Types::ALL,
            // Who has several keys tells of them.
            Flags::MULTI_KEY_ONLY | Flags::MULTI_KEY_NEGOTIATED => {
                let only = flags == Flags::MULTI_KEY_ONLY;
                config.multi_key = if only {
                    MultiKey::Only
                } else {
                    MultiKey::Negotiated
                };
                config.key_pairs = Some(self.key_pairs(identity));
            }
            Flags::GET_KEY_PAIR_INFO => config.key_pairs = Some(self.key_pairs(identity)),
            // What can be added and is there already.
            _ => {}
        }
        Ok(())
    }

    /// The one key of the card, as GET_KEY_PAIR_INFO tells it.
    fn key_pairs(&self, identity: &Identity) -> KeyPairs {
        let algorithm = match identity.alg {
            SignAlg::EcdsaP256 => key_algorithm::ECC_P256,
            SignAlg::EcdsaP384 => key_algorithm::ECC_P384,
            _ => 0,
        };
        let pqc_algorithm = pqc_sign_bit(identity.alg);
        let slots = (0..8).filter(|slot| self.holds(*slot));
        let usage = Usage::KEY_EXCHANGE | Usage::CHALLENGE | Usage::MEASUREMENTS | Usage::ENDPOINT_INFO;
        let pair = KeyPair {
            abilities: Abilities::default(),
            usages: usage,
            usage,
            algorithms: algorithm,
            algorithm,
            pqc_algorithms: pqc_algorithm,
            pqc_algorithm,
            slots: slots.fold(0, |slots, slot| slots | 1 << slot),
            public_key_info: pkcs10::key_algorithm(identity.alg),
        };
        KeyPairs {
            pairs: vec![pair],
            changer: None,
        }
    }
}

fn take_certificates(config: &mut ResponderConfig) {
    config.provisioning.store = Some(Arc::new(Forgetful));
    config.provisioning.trusted_environment = true;
}

fn take(flags: Flags, config: &mut ResponderConfig) {
    if flags == Flags::PSK_WITH_CONTEXT {
        // What is left is sessions without a context of ours.
        config.psk = config.psk.take().map(|psk| Psk {
            context: false,
            ..psk
        });
        return;
    }
    if flags.contains(Flags::MEAS_NO_SIG | Flags::MEAS_SIG) {
        config.measured = Measured::No;
    }
    config.capabilities = config.capabilities.without(flags);
}

/// Takes every certificate, and keeps it no longer than the connection lasts.
struct Forgetful;

impl Store for Forgetful {
    fn write(&self, slot: u8, chain: Option<&[u8]>, _: Model, _: Option<u8>) -> Result<(), NotDone> {
        match chain {
            Some(chain) => tracing::info!(slot, bytes = chain.len(), "a certificate chain is set"),
            None => tracing::info!(slot, "a certificate chain is erased"),
        }
        Ok(())
    }
}

/// The card by the PCI-SIG's number for its vendor.
fn device_classes() -> Vec<u8> {
    let mut vendor = Vec::new();
    vendor.u16(CARD_VENDOR);
    let card = DeviceClass {
        registry: Registry::PCI_SIG.0 as u8,
        vendor: &vendor,
        subordinates: Vec::new(),
    };
    let classes = DeviceClasses {
        identifiers: vec![card],
    };
    let mut bytes = Vec::new();
    classes.encode(&mut bytes);
    bytes
}

/// A log that says of each measurement what it was extended by: its one value.
fn log() -> Vec<u8> {
    let measured = measured::reference();
    let entries = (1..).zip(&measured).map(|(number, measured)| mel::Entry {
        number,
        measurement: measured.index,
        value: Dmtf {
            kind: measured.kind,
            raw: false,
            value: measured.value.as_ref(),
        },
    });
    let log = mel::Log {
        entries: entries.collect(),
    };
    let mut bytes = Vec::new();
    log.encode(&mut bytes);
    bytes
}
