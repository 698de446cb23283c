//! What a test needs from the machine that it runs on, and how it says so when that is missing.
//!
//! A test that cannot run here is counted as ignored, with the reason, never as passed:
//!
//! ```no_run
//! use firmware_tests::need::{Need, trial};
//! let tests = vec![trial("a guest boots", &[Need::Environment], || Ok(()))];
//! libtest_mimic::run(&libtest_mimic::Arguments::from_args(), tests).exit();
//! ```

use std::path::PathBuf;

use libtest_mimic::{Completion, Failed, Trial};

use crate::artifact::{self, ArtifactError, Environment};
use crate::libspdm::{Libspdm, NoLibspdm};

/// One thing that not every machine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The test environment that `./x env` makes.
    Environment,
    /// libspdm as `./x peer` builds it.
    Libspdm,
    /// The rights of root.
    Root,
    /// A program of this workspace, by its name.
    Program(&'static str),
    /// A file or folder, and what to do when it is not there.
    Path {
        /// Where it should be.
        path: PathBuf,
        /// What the reader of the reason can do about it.
        cure: &'static str,
    },
}

impl Need {
    /// The reason why a test that needs this cannot run here, if so.
    pub fn missing(&self) -> Option<String> {
        match self {
            // One that is there but broken is for the test to stumble over.
            Self::Environment => match Environment::find() {
                Err(error @ ArtifactError::NoEnvironment { .. }) => Some(error.to_string()),
                _ => None,
            },
            Self::Libspdm => match Libspdm::find() {
                Err(error @ NoLibspdm::NotBuilt { .. }) => Some(error.to_string()),
                _ => None,
            },
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".into()),
            Self::Program(name) => artifact::program(name).err().map(|error| error.to_string()),
            Self::Path { path, cure } => {
                (!path.exists()).then(|| format!("{} is not there: {cure}", path.display()))
            }
        }
    }
}

/// A test that runs only where nothing of `needs` is missing, and otherwise counts as ignored, with the reasons.
pub fn trial(name: &str, needs: &[Need], run: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Trial {
    let needs = needs.to_vec();
    Trial::ignorable_test(name, move || {
        let missing: Vec<String> = needs.iter().filter_map(Need::missing).collect();
        if missing.is_empty() {
            return run().map(|()| Completion::Completed);
        }
        Ok(Completion::ignored_with(missing.join("; ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_path_says_what_to_do() {
        let need = Need::Path {
            path: "/no/such".into(),
            cure: "fetch it",
        };
        assert_eq!(need.missing().unwrap(), "/no/such is not there: fetch it");
    }

    #[test]
    fn a_program_that_was_not_built_says_how_to_build_it() {
        let reason = Need::Program("no-such-program").missing().unwrap();
        assert!(reason.contains("cargo build --workspace --bins"), "{reason}");
    }
}
