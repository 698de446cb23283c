//! Capabilities by name: `+csr` gives the device one, `-chal` takes one away.

use std::str::FromStr;
use tdisp::spdm::msg::capabilities::Flags;

/// A capability: its name, its flags, whether it can be added here, and what it is.
struct Known(&'static str, Flags, bool, &'static str);

#[rustfmt::skip] // a table is read by its columns
const KNOWN: [Known; 27] = [
    Known("cert", Flags::CERT, false, "certificates"),
    Known("chal", Flags::CHAL, false, "CHALLENGE"),
    Known("meas", Flags(Flags::MEAS_NO_SIG.0 | Flags::MEAS_SIG.0 | Flags::MEAS_FRESH.0), false, "measurements"),
    Known("meas-no-sig", Flags::MEAS_NO_SIG, true, "measurements without signatures"),
    Known("meas-fresh", Flags::MEAS_FRESH, false, "fresh measurements"),
    Known("encrypt", Flags::ENCRYPT, false, "encrypted records"),
    Known("mac", Flags::MAC, false, "authenticated records"),
    Known("mut-auth", Flags::MUT_AUTH, false, "mutual authentication, see --mutual-auth"),
    Known("key-ex", Flags::KEY_EX, false, "sessions by KEY_EXCHANGE"),
    Known("psk", Flags(Flags::PSK.0 | Flags::PSK_WITH_CONTEXT.0), false, "sessions on pre-shared keys, see --psk"),
    Known("psk-context", Flags::PSK_WITH_CONTEXT, false, "a context of the responder's own in those (there already)"),
    Known("encap", Flags::ENCAP, true, "encapsulated requests: KEY_UPDATE in turn"),
    Known("hbeat", Flags::HBEAT, false, "HEARTBEAT, see --heartbeat"),
    Known("key-upd", Flags::KEY_UPD, false, "KEY_UPDATE"),
    Known("clear", Flags::HANDSHAKE_IN_THE_CLEAR, true, "handshakes in clear"),
    Known("chunk", Flags::CHUNK, true, "large messages in chunks (there already)"),
    Known("set-cert", Flags::SET_CERT, true, "SET_CERTIFICATE, kept until the next connection"),
    Known("csr", Flags::CSR, true, "GET_CSR"),
    Known("reset", Flags::CERT_INSTALL_RESET, true, "GET_CSR and SET_CERTIFICATE want a reset"),
    Known("ep-info", Flags::EP_INFO_NO_SIG, true, "GET_ENDPOINT_INFO"),
    Known("ep-info-sig", Flags::EP_INFO_SIG, true, "GET_ENDPOINT_INFO with signatures"),
    Known("mel", Flags::MEL, true, "the measurement extension log"),
    Known("event", Flags::EVENT, true, "events"),
    Known("multi-key", Flags::MULTI_KEY_NEGOTIATED, true, "several keys, if the requester wants that"),
    Known("multi-key-only", Flags::MULTI_KEY_ONLY, true, "several keys, always"),
    Known("key-pair-info", Flags::GET_KEY_PAIR_INFO, true, "GET_KEY_PAIR_INFO"),
    Known("large-response", Flags::LARGE_RESPONSE, false, "large forms of messages (1.4)"),
];

/// A capability that is added or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Whether it is added.
    pub add: bool,
    /// Which one.
    pub flags: Flags,
}

/// No change that can be made.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoChange {
    /// There is no sign before it.
    #[error("`{0}` has no sign: +{0} adds a capability, -{0} takes it away")]
    Sign(String),
    /// There is no such capability.
    #[error("there is no capability `{0}`; wanted one of {names}", names = names())]
    Unknown(String),
    /// It comes of something else.
    #[error("`+{0}` cannot be added: {1}")]
    NotAdded(String, &'static str),
}

impl FromStr for Change {
    type Err = NoChange;

    fn from_str(text: &str) -> Result<Self, NoChange> {
        let (add, name) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(name), _) => (true, name),
            (_, Some(name)) => (false, name),
            _ => return Err(NoChange::Sign(text.to_owned())),
        };
        let known = KNOWN.iter().find(|known| known.0 == name);
        let Known(_, flags, addable, what) = known.ok_or_else(|| NoChange::Unknown(name.to_owned()))?;
        if add && !addable {
            return Err(NoChange::NotAdded(name.to_owned(), what));
        }
        Ok(Self { add, flags: *flags })
    }
}

fn names() -> String {
    let names: Vec<_> = KNOWN.iter().map(|known| known.0).collect();
    names.join(", ")
}

/// One line a capability, for `--help`.
pub fn help() -> String {
    let line = |Known(name, _, addable, what): &Known| {
        let sign = if *addable { "+-" } else { " -" };
        format!("  {sign}{name:<16} {what}\n")
    };
    KNOWN.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_sign_and_a_name() {
        let csr = "+csr".parse::<Change>().unwrap();
        assert_eq!((csr.add, csr.flags), (true, Flags::CSR));
        let chal = "-chal".parse::<Change>().unwrap();
        assert_eq!((chal.add, chal.flags), (false, Flags::CHAL));
    }

    #[test]
    fn what_cannot_be_done_says_why() {
        for (text, why) in [
            ("csr", "`csr` has no sign"),
            ("+teleport", "there is no capability `teleport`"),
            (
                "+psk",
                "`+psk` cannot be added: sessions on pre-shared keys, see --psk",
            ),
        ] {
            let error = text.parse::<Change>().unwrap_err().to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }
}
