//! The revocation lists that the policy names, read anew for each verdict: they come from the image, or from whatever part of the
//! guest fetches them. What they say is the evidence's to judge; a file that is named and cannot be read is a refusal.

use crate::error::{Fault, Refusal, Step};
use std::io::Read;
use std::path::{Path, PathBuf};
use tdisp::evidence::chain::CRL_SIZE_MAX;

/// The lists in these files.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Refusal> {
    paths.iter().map(|path| read_one(path)).collect()
}

fn read_one(path: &Path) -> Result<Vec<u8>, Refusal> {
    let refused = |what: String, cure| {
        Refusal::new(
            Step::Verify,
            Fault::Guest,
            format!("{}: {what}; wanted a revocation list; {cure}", path.display()),
        )
    };
    let mut list = Vec::new();
    // One byte more than there may be, so that a longer file is told from one that fits.
    let read =
        std::fs::File::open(path).and_then(|file| file.take(CRL_SIZE_MAX as u64 + 1).read_to_end(&mut list));
    if let Err(error) = read {
        let cure = "put it there, or take it out of `crls` in the policy's [[root]]";
        return Err(refused(error.to_string(), cure));
    }
    if list.len() > CRL_SIZE_MAX {
        let what = format!("longer than {CRL_SIZE_MAX} bytes");
        return Err(refused(what, "give the list of one CA alone"));
    }
    if list.starts_with(b"-----BEGIN") {
        let cure = "bring it into DER with `openssl crl -outform DER`";
        return Err(refused("text in PEM".to_owned(), cure));
    }
    Ok(list)
}
