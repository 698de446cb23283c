//! The ways in which the device model can lie, each with a name, so that a test shows who notices.

use std::fmt;
use std::str::FromStr;

/// Which functions a lie is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Every,
    /// One; the others are honest.
    One(u8),
}

impl Scope {
    /// Whether `function` is in it.
    pub fn includes(self, function: u8) -> bool {
        self == Self::Every || self == Self::One(function)
    }
}

/// A lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// The measured personality of a function is not the one that the vendor published.
    MeasurementSwapped(Scope),
    /// The certificates lead to a root that nobody pinned, under the same names.
    OtherRoot,
    /// A function's interface report describes another function.
    ReportOfOtherFunction(Scope),
    /// Measurements carry a signature that was made over an older exchange.
    NonceReplay,
    /// A locked interface says that it is unlocked.
    StateNotLocked(Scope),
    /// A function's interface report ends early.
    TruncatedReport(Scope),
    /// Every SPDM answer comes seconds late.
    LateAnswer,
    /// The device hangs up, or falls silent, instead of answering SPDM.
    HangUp,
    /// The length of every SPDM answer's object is one too many.
    WrongLength,
}

/// Name, whether it takes a function, and what it does.
const NAMES: [(&str, bool, &str); 9] = [
    (
        "measurement-swapped",
        true,
        "the function's measured personality is not the published one",
    ),
    (
        "other-root",
        false,
        "the certificates lead to a root that nobody pinned",
    ),
    (
        "report-of-other-function",
        true,
        "the interface report describes another function",
    ),
    (
        "nonce-replay",
        false,
        "measurements carry a signature over an older exchange",
    ),
    (
        "state-not-locked",
        true,
        "a locked interface says that it is unlocked",
    ),
    ("truncated-report", true, "the interface report ends early"),
    ("late-answer", false, "every SPDM answer comes 3 seconds late"),
    (
        "hang-up",
        false,
        "the device falls silent instead of answering SPDM",
    ),
    (
        "wrong-length",
        false,
        "every SPDM answer's object is one double word shorter than it says",
    ),
];

impl Lie {
    /// One line a lie, for `--help`.
    pub fn help() -> String {
        let line = |(name, scoped, what): &(&str, bool, &str)| {
            let function = if *scoped { "[:FUNCTION]" } else { "" };
            format!("  {:<36} {what}\n", format!("{name}{function}"))
        };
        NAMES.iter().map(line).collect()
    }

    fn name(self) -> &'static str {
        let index = match self {
            Self::MeasurementSwapped(_) => 0,
            Self::OtherRoot => 1,
            Self::ReportOfOtherFunction(_) => 2,
            Self::NonceReplay => 3,
            Self::StateNotLocked(_) => 4,
            Self::TruncatedReport(_) => 5,
            Self::LateAnswer => 6,
            Self::HangUp => 7,
            Self::WrongLength => 8,
        };
        NAMES[index].0
    }

    fn scope(self) -> Option<Scope> {
        match self {
            Self::MeasurementSwapped(scope)
            | Self::ReportOfOtherFunction(scope)
            | Self::StateNotLocked(scope)
            | Self::TruncatedReport(scope) => Some(scope),
            _ => None,
        }
    }
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scope() {
            Some(Scope::One(function)) => write!(f, "{}:{function}", self.name()),
            _ => f.write_str(self.name()),
        }
    }
}

/// A lie that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnknownLie {
    /// No such name.
    #[error("there is no lie {found:?}; known are {}", NAMES.map(|name| name.0).join(", "))]
    Name {
        /// What was given.
        found: String,
    },
    /// A function where none is possible, or one that does not exist.
    #[error("{found:?}: {wanted}")]
    Function {
        /// What was given.
        found: String,
        /// What would have been right.
        wanted: &'static str,
    },
}

impl FromStr for Lie {
    type Err = UnknownLie;

    fn from_str(text: &str) -> Result<Self, UnknownLie> {
        let found = || text.to_owned();
        let (name, function) = match text.split_once(':') {
            Some((name, function)) => (name, Some(function)),
            None => (text, None),
        };
        let scope = match function.map(str::parse) {
            None => Scope::Every,
            Some(Ok(function @ 1..=2)) => Scope::One(function),
            Some(_) => {
                return Err(UnknownLie::Function {
                    found: found(),
                    wanted: "the function is 1 or 2",
                });
            }
        };
        let lie = match name {
            "measurement-swapped" => Self::MeasurementSwapped(scope),
            "other-root" => Self::OtherRoot,
            "report-of-other-function" => Self::ReportOfOtherFunction(scope),
            "nonce-replay" => Self::NonceReplay,
            "state-not-locked" => Self::StateNotLocked(scope),
            "truncated-report" => Self::TruncatedReport(scope),
            "late-answer" => Self::LateAnswer,
            "hang-up" => Self::HangUp,
            "wrong-length" => Self::WrongLength,
            _ => return Err(UnknownLie::Name { found: found() }),
        };
        match (lie.scope(), function) {
            (None, Some(_)) => Err(UnknownLie::Function {
                found: found(),
                wanted: "this lie is about the whole device and takes no function",
            }),
            _ => Ok(lie),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_parses_and_prints_as_itself() {
        for (name, scoped, _) in NAMES {
            assert_eq!(
                name.parse::<Lie>().map(|lie| lie.to_string()),
                Ok(name.to_owned())
            );
            let one = format!("{name}:2");
            let parsed = one.parse::<Lie>().map(|lie| lie.to_string());
            assert_eq!(parsed.ok(), scoped.then_some(one));
        }
    }

    #[test]
    fn an_unknown_name_or_function_is_refused_with_the_known_ones() {
        let error = "white-lie".parse::<Lie>().unwrap_err().to_string();
        assert!(error.contains("other-root"), "{error}");
        assert!("truncated-report:7".parse::<Lie>().is_err());
    }
}
