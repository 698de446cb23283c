//! Unix sockets that the daemon listens on: owner only, never over a living daemon's, gone at the end.

use std::{
    fs, io,
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
};

use tokio::net::UnixListener;

/// Removes the socket's file when dropped.
#[derive(Debug)]
pub struct File(PathBuf);

/// Why nothing listens.
#[derive(Debug, thiserror::Error)]
#[error("the socket {} cannot be made: {what}", path.display())]
pub struct Error {
    /// Where.
    pub path: PathBuf,
    /// Why, and what to do.
    pub what: String,
}

/// Listens at `path` with mode 0600. A dead daemon's file is replaced, a living one's is not touched.
pub fn listen(path: &Path) -> Result<(UnixListener, File), Error> {
    let wrong = |what: String| Error {
        path: path.into(),
        what,
    };
    if UnixStream::connect(path).is_ok() {
        return Err(wrong(
            "somebody listens there already; stop that process, or name another path".into(),
        ));
    }
    make(path).map_err(|error| wrong(format!("{error}; see that the directory exists and is writable")))
}

/// The socket gets its mode under another name first, so that it is never open to others under its own.
fn make(path: &Path) -> io::Result<(UnixListener, File)> {
    let fresh = path.with_extension("new");
    for old in [path, &fresh] {
        match fs::symlink_metadata(old) {
            Ok(meta) if !std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type()) => {
                return Err(io::Error::other(format!(
                    "{} is there and is no socket",
                    old.display()
                )));
            }
            Ok(_) => fs::remove_file(old)?,
            Err(_) => {}
        }
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, path)?;
    Ok((listener, File(path.into())))
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_its_owners_and_goes_with_its_guard() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        let (_listener, file) = listen(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_or_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let (_listener, _file) = listen(&path).unwrap();
        assert!(
            listen(&path)
                .unwrap_err()
                .to_string()
                .contains("somebody listens there already")
        );
        let plain = dir.path().join("plain");
        fs::write(&plain, "x").unwrap();
        assert!(listen(&plain).unwrap_err().to_string().contains("is no socket"));
    }
}
