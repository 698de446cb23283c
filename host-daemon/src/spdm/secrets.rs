//! Secrets of recorded sessions, as the `.json` beside a recording has them.
//!
//! One object is the secrets of one session, beside what was said in clear; a list of objects in it, under whatever
//! name, or at the top, is those of further sessions. All values are hexadecimal.
//!
//! | key | what |
//! |---|---|
//! | `plain` | \[\[request, response\], …\] in clear, in order |
//! | `A`, `K` | VCA; the key exchange and its response, up to the signature or whole |
//! | `chains` | slot → certificate chain object |
//! | `dhe` or `psk`, `handshake_secret`, `req_hs`, `rsp_hs`, `master_secret`, `req_app`, `rsp_app`, `exp_master` | the key schedule, or as much of it as there is |
//! | `th1`, `th2` | transcript hashes |
//! | `session_id` | the requester's half in the low 16 bits |
//! | `secured` | \[\[request, response\], …\] of the session, decrypted |

use std::collections::BTreeMap;

use serde_json::Value;
use tdisp::crypto::Secret;

/// What a file says.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// One a session.
    pub sets: Vec<Set>,
    /// Messages in clear, in order.
    pub plain: Option<Vec<Vec<u8>>>,
    /// Certificate chains by slot, or whatever names them.
    pub chains: BTreeMap<String, Vec<u8>>,
    /// Keys whose meaning is not known.
    pub unknown: Vec<String>,
}

/// What is known of one session.
#[derive(Debug, Clone, Default)]
pub struct Set {
    /// Its ID.
    pub session: Option<u32>,
    /// By [`KEYS`]'s names.
    values: BTreeMap<&'static str, Secret>,
    /// What its records held, in order.
    pub secured: Option<Vec<Vec<u8>>>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no JSON.
    #[error("the secrets cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// A value is not what its key wants.
    #[error("the secrets' {key} is {found}; wanted {wanted}")]
    Value {
        /// Which key.
        key: String,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: &'static str,
    },
}

/// Names of secrets, with the other names under which they have been seen. Case, `_` and `-` do not count.
const KEYS: &[(&str, &[&str])] = &[
    ("A", &["a", "vca", "messagea"]),
    ("K", &["k", "messagek"]),
    ("dhe", &["dhe", "dhesecret", "sharedsecret", "kem", "kemsecret"]),
    ("psk", &["psk", "presharedkey", "psksecret"]),
    ("handshake_secret", &["handshakesecret", "hs"]),
    (
        "req_hs",
        &["reqhs", "requesthandshakesecret", "reqhandshakesecret"],
    ),
    (
        "rsp_hs",
        &["rsphs", "responsehandshakesecret", "rsphandshakesecret"],
    ),
    ("master_secret", &["mastersecret", "master"]),
    ("req_app", &["reqapp", "requestdatasecret", "reqdata"]),
    ("rsp_app", &["rspapp", "responsedatasecret", "rspdata"]),
    ("exp_master", &["expmaster", "exportmastersecret", "exportmaster"]),
    ("th1", &["th1"]),
    ("th2", &["th2"]),
];

impl Secrets {
    /// Adds what another file says.
    pub fn add(&mut self, other: Self) {
        self.sets.extend(other.sets);
        self.chains.extend(other.chains);
        self.unknown.extend(other.unknown);
        if self.plain.is_none() {
            self.plain = other.plain;
        }
    }

    /// Reads a file.
    pub fn read(text: &str) -> Result<Self, Error> {
        let value: Value = serde_json::from_str(text)?;
        let mut secrets = Self::default();
        secrets.take("secrets", &value, 0)?;
        Ok(secrets)
    }

    fn take(&mut self, name: &str, value: &Value, depth: usize) -> Result<(), Error> {
        const DEPTH_MAX: usize = 4;
        match value {
            Value::Array(list) if depth < DEPTH_MAX => list
                .iter()
                .try_for_each(|value| self.take(name, value, depth + 1)),
            Value::Object(fields) if depth < DEPTH_MAX => {
                let mut set = Set::default();
                let place = self.sets.len();
                for (key, value) in fields {
                    self.field(&mut set, key, value, depth)?;
                }
                if !set.is_empty() {
                    self.sets.insert(place, set);
                }
                Ok(())
            }
            other => Err(unwanted(name, other, "an object, or a list of objects")),
        }
    }

    /// An object in an object: more of the same session, unless it says that it is another or has what is there already.
    fn inner(&mut self, set: &mut Set, key: &str, value: &Value, depth: usize) -> Result<(), Error> {
        let place = self.sets.len();
        self.take(key, value, depth + 1)?;
        let more = match &self.sets[place..] {
            [more] => more,
            _ => return Ok(()),
        };
        let same = more.session.is_none() && more.values.keys().all(|name| !set.values.contains_key(name));
        if same && (set.secured.is_none() || more.secured.is_none()) {
            let more = self.sets.remove(place);
            set.values.extend(more.values);
            set.secured = set.secured.take().or(more.secured);
        }
        Ok(())
    }

    fn field(&mut self, set: &mut Set, key: &str, value: &Value, depth: usize) -> Result<(), Error> {
        let folded: String = key
            .chars()
            .filter(|c| !matches!(c, '_' | '-' | ' '))
            .collect::<String>()
            .to_lowercase();
        if value.is_null() {
            return Ok(());
        }
        match folded.as_str() {
            "name" | "messages" | "version" | "comment" => {}
            "sessionid" | "session" => set.session = Some(session(key, value)?),
            // Several sessions of one recording may each have all of it.
            "plain" => {
                let plain = messages(key, value)?;
                if self.plain.as_ref() != Some(&plain) {
                    self.plain.get_or_insert_default().extend(plain);
                }
            }
            "secured" => set.secured = Some(messages(key, value)?),
            "chains" => {
                let chains = value
                    .as_object()
                    .ok_or_else(|| unwanted(key, value, "an object: slot and chain"))?;
                for (slot, chain) in chains {
                    // One side's chains may be apart from the other's.
                    let inner = chain.as_object().into_iter().flatten();
                    for (inner, chain) in inner {
                        self.chains.insert(format!("{slot}.{inner}"), hex(key, chain)?);
                    }
                    if !chain.is_object() {
                        self.chains.insert(slot.clone(), hex(key, chain)?);
                    }
                }
            }
            _ => match KEYS.iter().find(|(_, names)| names.contains(&folded.as_str())) {
                Some((name, _)) if !value.is_object() => {
                    set.values.insert(name, Secret::new(hex(key, value)?));
                }
                Some(_) => self.unknown.push(key.into()),
                None if value.is_array()
                    && value
                        .as_array()
                        .is_some_and(|list| list.iter().all(Value::is_object)) =>
                {
                    self.take(key, value, depth + 1)?;
                }
                None if value.is_object() => self.inner(set, key, value, depth)?,
                None => self.unknown.push(key.into()),
            },
        }
        Ok(())
    }
}

impl Set {
    /// A value by its name in `KEYS`.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.values.get(name)
    }

    /// Its bytes.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.get(name).map(Secret::expose)
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.secured.is_none() && self.session.is_none()
    }

    /// Whether there is anything that keys can be derived from.
    pub fn has_keys(&self) -> bool {
        self.values
            .keys()
            .any(|key| !matches!(*key, "A" | "K" | "th1" | "th2"))
    }
}

/// Pairs of messages, one after the other.
fn messages(key: &str, value: &Value) -> Result<Vec<Vec<u8>>, Error> {
    const WANTED: &str = "a list of [request, response]";
    let list = value.as_array().ok_or_else(|| unwanted(key, value, WANTED))?;
    let mut found = Vec::new();
    for entry in list {
        match entry {
            Value::Array(pair) => {
                for message in pair.iter().filter(|message| !message.is_null()) {
                    found.push(hex(key, message)?);
                }
            }
            Value::String(_) => found.push(hex(key, entry)?),
            other => return Err(unwanted(key, other, WANTED)),
        }
    }
    found.retain(|message| !message.is_empty());
    Ok(found)
}

fn session(key: &str, value: &Value) -> Result<u32, Error> {
    const WANTED: &str = "a session ID of 32 bits";
    let text = match value {
        Value::Number(number) => {
            return number
                .as_u64()
                .and_then(|id| u32::try_from(id).ok())
                .ok_or_else(|| unwanted(key, value, WANTED));
        }
        Value::String(text) => text.trim(),
        other => return Err(unwanted(key, other, WANTED)),
    };
    u32::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|_| unwanted(key, value, WANTED))
}

fn hex(key: &str, value: &Value) -> Result<Vec<u8>, Error> {
    const WANTED: &str = "hexadecimal digits, two a byte";
    let text = value.as_str().ok_or_else(|| unwanted(key, value, WANTED))?;
    let digits: Vec<u8> = text
        .trim_start_matches("0x")
        .bytes()
        .filter(|byte| !matches!(byte, b' ' | b':' | b'\n'))
        .collect();
    super::unhex(&digits).ok_or_else(|| unwanted(key, value, WANTED))
}

/// Says what kind of value was found, never the value: it may be a secret.
fn unwanted(key: &str, found: &Value, wanted: &'static str) -> Error {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number that does not fit",
        Value::String(_) => "a text that is not that",
        Value::Array(_) => "a list of something else",
        Value::Object(_) => "an object",
    };
    Error::Value {
        key: key.into(),
        found: found.into(),
        wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_session_several_sessions_and_other_names_are_read() {
        let text = r#"{"plain": [["1084", "1004"]], "session_id": 4294967295, "dhe": "00ff",
            "chains": {"0": "aa"}, "comment": "no matter", "what": "00",
            "sessions": [{"session_id": "0xfffefffe", "PSK": "0x01:02", "secured": [["01"], "02"]}]}"#;
        let secrets = Secrets::read(text).unwrap();
        let ids: Vec<_> = secrets.sets.iter().map(|set| set.session).collect();
        assert_eq!(ids, [Some(0xffff_ffff), Some(0xfffe_fffe)]);
        assert_eq!(secrets.sets[0].bytes("dhe"), Some(&[0, 0xff][..]));
        assert_eq!(secrets.sets[1].bytes("psk"), Some(&[1, 2][..]));
        assert_eq!(secrets.sets[1].secured.as_deref(), Some(&[vec![1], vec![2]][..]));
        assert_eq!(secrets.plain.unwrap().len(), 2);
        assert_eq!(
            (secrets.unknown, secrets.chains.len()),
            (vec!["what".to_owned()], 1)
        );
    }

    #[test]
    fn an_object_in_an_object_is_of_the_same_session_unless_it_says_otherwise() {
        let text = r#"{"session_id": 1, "keys": {"req_hs": "01", "note": {"key": "02"}}, "dhe": "03"}"#;
        let one = Secrets::read(text).unwrap().sets;
        assert_eq!((one.len(), one[0].bytes("req_hs")), (1, Some(&[1][..])));
        let text = r#"{"first": {"dhe": "01"}, "second": {"dhe": "02"}, "third": {"session_id": 3}}"#;
        assert_eq!(Secrets::read(text).unwrap().sets.len(), 3);
        let text = r#"{"chains": {"0": "aa", "requester": {"0": "bb"}}}"#;
        let chains = Secrets::read(text).unwrap().chains;
        assert_eq!(chains.keys().collect::<Vec<_>>(), ["0", "requester.0"]);
    }

    #[test]
    fn what_cannot_be_read_is_named_and_never_shown() {
        for (text, wanted) in [
            (
                r#"{"dhe": "0g"}"#,
                "the secrets' dhe is a text that is not that; wanted hexadecimal digits",
            ),
            (r#"{"psk": 7}"#, "the secrets' psk is a number"),
            (r#"{"session_id": 4294967296}"#, "wanted a session ID"),
            (r#"7"#, "wanted an object, or a list of objects"),
            (r#"{"#, "the secrets cannot be read"),
        ] {
            let message = Secrets::read(text).unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
