//! One conversation of many: a form, a version, a transport, a suite.

use std::fmt;
use std::path::PathBuf;

use firmware_tests::libspdm::Libspdm;
use tdisp::spdm::Transport;
use tdisp::spdm::msg::Version;

/// Algorithms, by their names on both sides.
#[derive(Debug)]
pub(crate) struct Suite {
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    /// The folder of libspdm's sample keys for them.
    keys: &'static str,
}

/// What most devices have.
pub(crate) const EC: &[Suite] = &[
    Suite {
        ours: "ecdsa-p256-sha256-secp256r1-aes128gcm",
        theirs: "p256",
        keys: "ecp256",
    },
    Suite {
        ours: "ecdsa-p384-sha384-secp384r1-aes256gcm",
        theirs: "p384",
        keys: "ecp384",
    },
];

/// Curves crossed, and the cipher that is no AES.
pub(crate) const CHACHA: &[Suite] = &[
    Suite {
        ours: "ecdsa-p256-sha256-secp384r1-chacha20poly1305",
        theirs: "p256-chacha",
        keys: "ecp256",
    },
    Suite {
        ours: "ecdsa-p384-sha384-secp256r1-chacha20poly1305",
        theirs: "p384-chacha",
        keys: "ecp384",
    },
];

/// Signatures that are only verified here.
pub(crate) const RSA: &[Suite] = &[
    Suite {
        ours: "rsassa2048-sha256-secp256r1-aes128gcm",
        theirs: "rsassa2048",
        keys: "rsa2048",
    },
    Suite {
        ours: "rsapss3072-sha384-secp384r1-aes256gcm",
        theirs: "rsapss3072",
        keys: "rsa3072",
    },
    Suite {
        ours: "rsapss4096-sha512-secp384r1-chacha20poly1305",
        theirs: "rsapss4096",
        keys: "rsa4096",
    },
];

/// A form that a conversation may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    /// The first version that has it.
    pub(crate) since: Version,
    /// What it is tried with.
    pub(crate) suites: &'static [Suite],
    /// What our side is told, and what libspdm is.
    pub(crate) ours: &'static str,
    pub(crate) theirs: &'static str,
    /// What was said must have this, so that a form that was not taken up does not pass for one that was.
    pub(crate) shows: &'static str,
}

/// A form, by its fields in their order.
pub(crate) const fn form(
    name: &'static str,
    since: Version,
    suites: &'static [Suite],
    ours: &'static str,
    theirs: &'static str,
    shows: &'static str,
) -> Form {
    Form {
        name,
        since,
        suites,
        ours,
        theirs,
        shows,
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) form: Form,
    pub(crate) version: Version,
    pub(crate) transport: Transport,
    pub(crate) suite: &'static Suite,
}

impl Case {
    /// The form in that version, over every transport and in every suite.
    pub(crate) fn all(version: Version, form: Form) -> impl Iterator<Item = Self> {
        let carried = move |transport| {
            form.suites.iter().map(move |suite| Self {
                form,
                version,
                transport,
                suite,
            })
        };
        [Transport::Doe, Transport::Mctp].into_iter().flat_map(carried)
    }

    /// The version as a command line has it.
    pub(crate) fn spdm(&self) -> String {
        format!("1.{}", self.version.0 & 0xf)
    }

    /// What both of our programs are told.
    pub(crate) fn options(&self) -> [String; 6] {
        let words = [
            ("--transport", self.carrier()),
            ("--spdm", &self.spdm()),
            ("--suite", self.suite.ours),
        ];
        let mut words = words.into_iter().flat_map(|(option, value)| [option, value]);
        std::array::from_fn(|_| words.next().unwrap_or_default().to_owned())
    }

    pub(crate) fn carrier(&self) -> &'static str {
        match self.transport {
            Transport::Doe => "doe",
            Transport::Mctp => "mctp",
        }
    }

    /// A file of libspdm's sample keys for the suite.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        Libspdm::find().unwrap().key(self.suite.keys).join(name)
    }

    /// The root of both of libspdm's sides.
    pub(crate) fn root(&self) -> PathBuf {
        self.key("ca.cert.der")
    }

    /// A root that nobody's chain begins with here.
    pub(crate) fn other_root(&self) -> PathBuf {
        let other = EC.iter().find(|suite| suite.keys != self.suite.keys).unwrap();
        Self {
            suite: other,
            ..*self
        }
        .root()
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [name, version, suite] = [self.form.name, &self.spdm(), self.suite.ours];
        write!(f, "{name}, {version}, {}, {suite}", self.carrier())
    }
}
