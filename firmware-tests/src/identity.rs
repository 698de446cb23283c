//! The device's identity: a vendor root, an intermediate and a leaf, on P-384 unless another algorithm is wanted, made once
//! and kept in a directory; and a second root under the same names that nobody should trust, for the lie
//! [`crate::lie::Lie::OtherRoot`].
//!
//! The leaf says what an SPDM responder's certificate says (DSP0274 §10.8.2): extended key usage *SPDM responder
//! authentication*, the hardware identity marker, and the device as `manufacturer:product:serial` in a subject
//! alternative name. The roots' private keys are not kept: nothing else can ever be issued under them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, OtherNameValue, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PublicKeyData, SanType, SignatureAlgorithm, date_time_ymd,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tdisp::crypto::{CryptoError, Digest, HashAlg, Ring, Secret, SignAlg, Signer, digest};
use tdisp::spdm::msg::Version;

mod key;
mod rekeyed;

pub use key::Key;
use rekeyed::rekeyed;

/// `id-DMTF-device-info`: the form of the subject alternative name.
const DEVICE_INFO: [u64; 9] = [1, 3, 6, 1, 4, 1, 412, 274, 1];
/// `id-DMTF-eku-responder-auth`.
const RESPONDER_AUTH: [u64; 9] = [1, 3, 6, 1, 4, 1, 412, 274, 3];
/// `id-DMTF-eku-requester-auth`.
const REQUESTER_AUTH: [u64; 9] = [1, 3, 6, 1, 4, 1, 412, 274, 4];
/// `id-DMTF-spdm-extension`.
const SPDM_EXTENSION: [u64; 9] = [1, 3, 6, 1, 4, 1, 412, 274, 6];
/// Content of the SPDM extension: a list of one, `id-DMTF-hardware-identity` (1.3.6.1.4.1.412.274.2).
const HARDWARE_IDENTITY: [u8; 16] = [
    0x30, 0x0e, 0x30, 0x0c, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0x1c, 0x82, 0x12, 0x02,
];
/// The device, as the leaf names it.
pub const DEVICE_NAME: &str = "Tidelock:Emulated TEE-IO NIC:0001";

/// Why an identity could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file could not be read or written.
    #[error("{}: {source}{}", path.display(), cure(source.kind()))]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    /// No identity can be made with this algorithm.
    #[error("an identity cannot be made with {0}; wanted ECDSA on P-256 or P-384, or ML-DSA")]
    Algorithm(SignAlg),
    /// The private key is of none of those kinds.
    #[error("{}: {source}; provision a new directory", path.display())]
    Key {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: CryptoError,
    },
}

/// What to do about a file that could not be read or written.
fn cure(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "; `tidelock-device provision DIR` makes an identity in DIR",
        io::ErrorKind::AlreadyExists => {
            "; an identity is kept as it is: give another directory, or remove this one"
        }
        _ => "",
    }
}

/// Certificates from the root to the leaf, each DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Self-signed.
    pub root: Vec<u8>,
    /// Signed by the root.
    pub intermediate: Vec<u8>,
    /// Signed by the intermediate, for the device's key.
    pub leaf: Vec<u8>,
}

impl Chain {
    /// The three, root first.
    pub fn certificates(&self) -> [&[u8]; 3] {
        [&self.root, &self.intermediate, &self.leaf]
    }

    /// SHA-384 of the root certificate: what a policy pins.
    pub fn root_digest(&self) -> Digest {
        digest(&Ring, HashAlg::Sha384, &self.root)
    }

    /// [`Self::object_in`] SHA-384.
    pub fn object(&self) -> Vec<u8> {
        self.object_in(HashAlg::Sha384)
    }

    /// The object that SPDM carries in a connection with this hash (DSP0274 "Certificate chain format"); the same in
    /// every version before 1.4, and as long as it is shorter than 64 KiB also then.
    pub fn object_in(&self, hash: HashAlg) -> Vec<u8> {
        let root_digest = digest(&Ring, hash, &self.root);
        let chain = tdisp::spdm::msg::certificate::Chain {
            root_hash: root_digest.as_ref(),
            certificates: &self.certificates().concat(),
        };
        let mut object = Vec::new();
        chain.encode(Version::V1_2, &mut object);
        object
    }
}

/// An identity as it is in a directory.
#[derive(Clone)]
pub struct Identity {
    /// The vendor's.
    pub vendor: Chain,
    /// The same names under another root; the leaf has the same key.
    pub rogue: Chain,
    /// The leaf's private key, PKCS#8 DER.
    pub key: Secret,
    /// What the key signs with.
    pub alg: SignAlg,
}

const KEY: &str = "leaf.key";
const VENDOR: [&str; 3] = ["root.der", "intermediate.der", "leaf.der"];
const ROGUE: [&str; 3] = ["rogue-root.der", "rogue-intermediate.der", "rogue-leaf.der"];

/// An identity that is nowhere kept.
pub fn new(alg: SignAlg) -> Result<Identity, IdentityError> {
    new_for(alg, &RESPONDER_AUTH)
}

/// The same of one that asks, and authenticates itself in turn.
pub fn of_requester(alg: SignAlg) -> Result<Identity, IdentityError> {
    new_for(alg, &REQUESTER_AUTH)
}

fn new_for(alg: SignAlg, purpose: &[u64]) -> Result<Identity, IdentityError> {
    let pkcs8 = Secret::new(key::draw(alg)?);
    let unusable = |_| rcgen::Error::CouldNotParseKeyPair;
    let key = Key::from_pkcs8(alg, pkcs8.expose()).map_err(unusable)?;
    Ok(Identity {
        vendor: issue(&key, purpose)?,
        rogue: issue(&key, purpose)?,
        key: pkcs8,
        alg,
    })
}

/// Makes an identity on P-384 in `directory`; see [`provision_with`].
pub fn provision(directory: &Path) -> Result<Identity, IdentityError> {
    provision_with(directory, SignAlg::EcdsaP384)
}

/// Makes an identity in `directory`, which is made if it is not there. Files that are there already are an
/// error: a device's identity does not change under its users.
pub fn provision_with(directory: &Path, alg: SignAlg) -> Result<Identity, IdentityError> {
    let identity = new(alg)?;
    fs::create_dir_all(directory).map_err(|source| IdentityError::File {
        path: directory.to_owned(),
        source,
    })?;
    create(&directory.join(KEY), identity.key.expose(), 0o600)?;
    for (names, chain) in [(VENDOR, &identity.vendor), (ROGUE, &identity.rogue)] {
        for (name, der) in names.iter().zip(chain.certificates()) {
            create(&directory.join(name), der, 0o644)?;
        }
    }
    Ok(identity)
}

/// Reads what [`provision`] made.
pub fn load(directory: &Path) -> Result<Identity, IdentityError> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read(&path).map_err(|source| IdentityError::File { path, source })
    };
    let chain = |[root, intermediate, leaf]: [&str; 3]| {
        Ok::<_, IdentityError>(Chain {
            root: read(root)?,
            intermediate: read(intermediate)?,
            leaf: read(leaf)?,
        })
    };
    let key = read(KEY)?;
    let alg = key::algorithm(&key).ok_or_else(|| IdentityError::Key {
        path: directory.join(KEY),
        source: CryptoError::BadKey("PKCS#8 private key on P-256 or P-384, or of ML-DSA"),
    })?;
    Ok(Identity {
        vendor: chain(VENDOR)?,
        rogue: chain(ROGUE)?,
        key: Secret::new(key),
        alg,
    })
}

/// The device's signing key.
pub fn signer(identity: &Identity) -> Result<Key, CryptoError> {
    Key::from_pkcs8(identity.alg, identity.key.expose())
}

/// The curves that identities can be made with.
static CURVES: [(SignAlg, &SignatureAlgorithm); 2] = [
    (SignAlg::EcdsaP384, &PKCS_ECDSA_P384_SHA384),
    (SignAlg::EcdsaP256, &PKCS_ECDSA_P256_SHA256),
];

fn curve(alg: SignAlg) -> Result<&'static SignatureAlgorithm, IdentityError> {
    let found = CURVES.iter().find(|(known, _)| *known == alg);
    let (_, curve) = found.ok_or(IdentityError::Algorithm(alg))?;
    Ok(curve)
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> Result<(), IdentityError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(mode);
    let written = options.open(path).and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| IdentityError::File {
        path: path.to_owned(),
        source,
    })
}

/// A fresh root and intermediate on the leaf's curve, or on P-384 above a key that is on none, and a leaf for `key`.
fn issue(key: &Key, purpose: &[u64]) -> Result<Chain, rcgen::Error> {
    let curve = curve(key.algorithm()).unwrap_or(&PKCS_ECDSA_P384_SHA384);
    let new_key = || KeyPair::generate_for(curve);
    let root = CertifiedIssuer::self_signed(authority("Tidelock Test Vendor Root CA", 1), new_key()?)?;
    let intermediate_params = authority("Tidelock Test Vendor Device CA", 0);
    let intermediate_key = new_key()?;
    let intermediate = intermediate_params.signed_by(&intermediate_key, &root)?;
    let issuer = Issuer::new(intermediate_params, intermediate_key);
    let stand_in = new_key()?;
    let leaf = leaf(purpose).signed_by(&stand_in, &issuer)?;
    let old = stand_in.subject_public_key_info();
    Ok(Chain {
        root: root.der().to_vec(),
        intermediate: intermediate.der().to_vec(),
        leaf: rekeyed(leaf.der(), &old, &key.public_key_info(), issuer.key())?,
    })
}

fn subject(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Tidelock emulation");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2045, 1, 1);
    params.use_authority_key_identifier_extension = true;
    params
}

fn authority(name: &str, path_len: u8) -> CertificateParams {
    let mut params = subject(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(path_len));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(purpose: &[u64]) -> CertificateParams {
    let mut params = subject("Tidelock Emulated TEE-IO NIC");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(purpose.to_vec())];
    let name = OtherNameValue::Utf8String(DEVICE_NAME.to_owned());
    params.subject_alt_names = vec![SanType::OtherName((DEVICE_INFO.to_vec(), name))];
    let marker = CustomExtension::from_oid_content(&SPDM_EXTENSION, HARDWARE_IDENTITY.to_vec());
    params.custom_extensions = vec![marker];
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn an_identity_is_read_as_it_was_made_and_its_key_is_private() {
        let directory = tempfile::tempdir().unwrap();
        let made = provision(directory.path()).unwrap();
        let read = load(directory.path()).unwrap();
        assert_eq!((made.vendor, made.rogue), (read.vendor, read.rogue));
        let mode = fs::metadata(directory.path().join(KEY))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_identity_on_the_other_curve_is_known_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        provision_with(directory.path(), SignAlg::EcdsaP256).unwrap();
        let read = load(directory.path()).unwrap();
        assert_eq!(read.alg, SignAlg::EcdsaP256);
        assert!(signer(&read).is_ok());
        assert!(matches!(
            new(SignAlg::RsaPss3072),
            Err(IdentityError::Algorithm(_))
        ));
    }

    #[test]
    fn an_identity_with_ml_dsa_is_known_by_its_key_and_its_chain_is_one() {
        use tdisp::crypto::x509::PublicKey;
        use x509_parser::prelude::{FromDer, X509Certificate};
        for alg in SignAlg::ALL.into_iter().filter(|alg| alg.is_post_quantum()) {
            let directory = tempfile::tempdir().unwrap();
            provision_with(directory.path(), alg).unwrap();
            let read = load(directory.path()).unwrap();
            assert_eq!(read.alg, alg);
            let [_, issuer, leaf] = read.vendor.certificates();
            let key = |der| {
                let (_, certificate) = X509Certificate::from_der(der).unwrap();
                PublicKey::from_der(certificate.public_key().raw).unwrap()
            };
            assert_eq!(key(issuer).check_signed(leaf, &Ring), Ok(()));
            let signer = signer(&read).unwrap();
            assert_eq!(key(leaf).for_alg(alg).unwrap(), signer.public_key());
        }
    }

    #[test]
    fn an_identity_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        provision(directory.path()).unwrap();
        assert!(matches!(
            provision(directory.path()),
            Err(IdentityError::File { .. })
        ));
    }

    #[test]
    fn the_rogue_root_is_another_one() {
        let directory = tempfile::tempdir().unwrap();
        let identity = provision(directory.path()).unwrap();
        assert_ne!(identity.vendor.root, identity.rogue.root);
    }
}
