//! What was checked, what was not, and what disagrees first.

use std::collections::BTreeMap;

/// What a check is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A signature over a transcript.
    Signature,
    /// A transcript, or its hash, against what the secrets say.
    Transcript,
    /// A key of the key schedule against what the secrets say, or by what it opens.
    Key,
    /// A MAC that proves a key.
    VerifyData,
    /// A secured record.
    Record,
    /// A message against what the secrets say, or against its format.
    Message,
    /// A digest in a message, of something else that was said.
    Digest,
    /// A certificate by the one before it.
    Certificate,
}

impl Kind {
    /// All of them, in the order in which they are counted up.
    pub const ALL: [Self; 8] = [
        Self::Signature,
        Self::Transcript,
        Self::Key,
        Self::Record,
        Self::VerifyData,
        Self::Digest,
        Self::Certificate,
        Self::Message,
    ];

    /// For people; of one or of many.
    pub fn name(self, count: usize) -> String {
        let (one, many) = match self {
            Self::Signature => ("signature", "signatures"),
            Self::Transcript => ("transcript", "transcripts"),
            Self::Key => ("key", "keys"),
            Self::VerifyData => ("verify data", "verify data"),
            Self::Record => ("record", "records"),
            Self::Message => ("message", "messages"),
            Self::Digest => ("digest", "digests"),
            Self::Certificate => ("certificate", "certificates"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be; perhaps with a word about how.
    Agrees(String),
    /// Not as it should be.
    Disagrees {
        /// What is there.
        found: String,
        /// What should be.
        wanted: String,
    },
    /// It could not be checked, and why.
    NotChecked(String),
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What it is of.
    pub kind: Kind,
    /// Which one.
    pub what: String,
    /// How it came out.
    pub outcome: Outcome,
}

impl Check {
    /// A check of two values that must be equal.
    pub fn equal(kind: Kind, what: impl Into<String>, found: &[u8], wanted: &[u8]) -> Self {
        let outcome = match tdisp::crypto::same(found, wanted) {
            true => Outcome::Agrees(String::new()),
            false => Outcome::Disagrees {
                found: brief(kind, found),
                wanted: brief(kind, wanted),
            },
        };
        Self {
            kind,
            what: what.into(),
            outcome,
        }
    }

    /// A check that came out well.
    pub fn agrees(kind: Kind, what: impl Into<String>, how: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            outcome: Outcome::Agrees(how.into()),
        }
    }

    /// A check that did not.
    pub fn disagrees(
        kind: Kind,
        what: impl Into<String>,
        found: impl Into<String>,
        wanted: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            what: what.into(),
            outcome: Outcome::Disagrees {
                found: found.into(),
                wanted: wanted.into(),
            },
        }
    }

    /// A check that cannot be made.
    pub fn not_checked(kind: Kind, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            kind,
            what: what.into(),
            outcome: Outcome::NotChecked(why.into()),
        }
    }
}

/// As much of a value as tells two apart; of a key, four bytes only.
fn brief(kind: Kind, bytes: &[u8]) -> String {
    let shown = if kind == Kind::Key { 4 } else { 24 };
    match bytes.len() <= shown {
        true => super::hex(bytes),
        false => format!("{}... ({} bytes)", super::hex(&bytes[..shown]), bytes.len()),
    }
}

/// The first message at which something disagrees.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("message {number} ({title}): {what}: found {found}, wanted {wanted}")]
pub struct Disagreement {
    /// The message.
    pub number: usize,
    /// What it is called.
    pub title: String,
    /// What disagrees.
    pub what: String,
    /// What is there.
    pub found: String,
    /// What should be.
    pub wanted: String,
}

/// Counts checks.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// How many came out well.
    pub checked: BTreeMap<Kind, usize>,
    /// How many could not be made, by why.
    pub not_checked: BTreeMap<(Kind, String), usize>,
    /// Those that did not come out well, by message.
    disagreements: BTreeMap<usize, Vec<Disagreement>>,
    /// Messages that the codecs read, and wrote again to the same bytes.
    pub reencoded: usize,
    /// Messages that the codecs refuse, or write otherwise.
    pub odd: usize,
}

impl Ledger {
    /// Counts a check of a message.
    pub fn count(&mut self, number: usize, title: &str, check: &Check) {
        match &check.outcome {
            Outcome::Agrees(_) => *self.checked.entry(check.kind).or_default() += 1,
            Outcome::NotChecked(why) => {
                *self.not_checked.entry((check.kind, why.clone())).or_default() += 1;
            }
            Outcome::Disagrees { found, wanted } => {
                self.disagreements.entry(number).or_default().push(Disagreement {
                    number,
                    title: title.into(),
                    what: check.what.clone(),
                    found: found.clone(),
                    wanted: wanted.clone(),
                });
            }
        }
    }

    /// The first that disagrees.
    pub fn first(&self) -> Option<&Disagreement> {
        self.disagreements.values().flatten().next()
    }

    /// How many disagree.
    pub fn disagreements(&self) -> usize {
        self.disagreements.values().map(Vec::len).sum()
    }

    /// What was checked and what was not, in one line.
    pub fn summary(&self) -> String {
        let count = |kind| self.checked.get(&kind).copied().unwrap_or(0);
        let always = [Kind::Signature, Kind::Transcript, Kind::Key, Kind::Record];
        let kinds = Kind::ALL
            .into_iter()
            .filter(|kind| always.contains(kind) || count(*kind) > 0);
        let checked: Vec<_> = kinds.map(|kind| kind.name(count(kind))).collect();
        let not: Vec<_> = self
            .not_checked
            .iter()
            .map(|((kind, why), count)| format!("{} ({why})", kind.name(*count)))
            .collect();
        let not = if not.is_empty() {
            "nothing".into()
        } else {
            not.join(", ")
        };
        format!("checked: {}; not checked: {not}", checked.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_disagreement_is_that_of_the_earliest_message() {
        let mut ledger = Ledger::default();
        ledger.count(
            9,
            "FINISH",
            &Check::equal(Kind::Key, "req_hs", &[1; 48], &[2; 48]),
        );
        ledger.count(4, "VERSION", &Check::equal(Kind::Message, "plain", b"a", b"b"));
        ledger.count(2, "GET_VERSION", &Check::agrees(Kind::Message, "plain", ""));
        ledger.count(9, "FINISH", &Check::not_checked(Kind::Record, "", "no secrets"));
        assert_eq!(
            ledger.first().unwrap().to_string(),
            "message 4 (VERSION): plain: found 61, wanted 62"
        );
        assert_eq!(ledger.disagreements(), 2);
        assert_eq!(
            ledger.summary(),
            "checked: 0 signatures, 0 transcripts, 0 keys, 0 records, 1 message; not checked: 1 record (no secrets)"
        );
    }

    #[test]
    fn of_a_key_no_more_than_four_bytes_are_shown() {
        let check = Check::equal(Kind::Key, "dhe", &[0xaa; 48], &[0xbb; 48]);
        let Outcome::Disagrees { found, .. } = check.outcome else {
            panic!()
        };
        assert_eq!(found, "aaaaaaaa... (48 bytes)");
    }
}
