//! `[device.measurements]`: a table whose keys are measurement indices.
//!
//! ```toml
//! [device.measurements]
//! 1 = "…96 hexadecimal digits…"        # exactly this SHA-384
//! 17 = ["…", "…"]                       # one of these
//! 5 = { svn_min = 7 }                   # a security version number of at least 7
//! 254 = { mode = "operational" }        # the device mode field says: normal operation, no debugging
//! 18 = "any"                            # may be there, decides nothing
//! unlisted = "refuse"                   # or "ignore": what an index that is not here means
//! ```

use super::ExpectedByIndex;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::Spanned;

/// The table.
#[derive(Debug, Clone)]
pub struct Measurements {
    /// What each index must be.
    pub expected: ExpectedByIndex,
    /// What an index that is not listed means.
    pub unlisted: Unlisted,
}

/// What an index that the policy does not list means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unlisted {
    /// The device is refused.
    #[default]
    Refuse,
    /// It is shown and decides nothing.
    Ignore,
}

/// What one measurement must be, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// One of these digests, in hexadecimal.
    Digest(Vec<String>),
    /// A security version number of at least this.
    SvnMin(u64),
    /// The device mode field.
    Mode(DeviceMode),
    /// Whatever it is.
    Any,
}

/// A device mode that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceMode {
    /// Normal operation, and no debugging is or was active.
    Operational,
}

const KEYS: &str = "a measurement index from 1 to 254, or `unlisted`";

enum Key {
    Index(u8),
    Unlisted,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            _ if text == "unlisted" => Ok(Self::Unlisted),
            Ok(index @ 1..=254) => Ok(Self::Index(index)),
            _ => Err(de::Error::custom(format!(
                "unknown key `{text}`, expected {KEYS}"
            ))),
        }
    }
}

impl<'de> Deserialize<'de> for Measurements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = Measurements;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "a table of measurements whose keys are {KEYS}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut expected = ExpectedByIndex::new();
                let mut unlisted = Unlisted::default();
                while let Some(key) = map.next_key()? {
                    match key {
                        Key::Unlisted => unlisted = map.next_value()?,
                        Key::Index(index) => match expected.insert(index, map.next_value()?) {
                            None => {}
                            Some(_) => {
                                return Err(de::Error::custom(format!("index {index} is given twice")));
                            }
                        },
                    }
                }
                Ok(Measurements { expected, unlisted })
            }
        }
        deserializer.deserialize_map(Table)
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    svn_min: Option<u64>,
    mode: Option<DeviceMode>,
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Value;
        impl<'de> Visitor<'de> for Value {
            type Value = Expected;
            fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str("a SHA-384 digest, a list of them, \"any\", { svn_min = N } or { mode = \"operational\" }")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Expected, E> {
                Ok(match text {
                    "any" => Expected::Any,
                    digest => Expected::Digest(vec![digest.to_owned()]),
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Expected, A::Error> {
                let mut digests = Vec::new();
                while let Some(digest) = seq.next_element()? {
                    digests.push(digest);
                }
                Ok(Expected::Digest(digests))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Expected, A::Error> {
                let rule = Rule::deserialize(de::value::MapAccessDeserializer::new(map))?;
                match (rule.svn_min, rule.mode) {
                    (Some(svn), None) => Ok(Expected::SvnMin(svn)),
                    (None, Some(mode)) => Ok(Expected::Mode(mode)),
                    _ => Err(de::Error::custom("wanted exactly one of `svn_min` and `mode`")),
                }
            }
        }
        deserializer.deserialize_any(Value)
    }
}

impl Measurements {
    /// The indices with what is written for them.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Spanned<Expected>)> {
        self.expected.iter().map(|(index, expected)| (*index, expected))
    }
}
