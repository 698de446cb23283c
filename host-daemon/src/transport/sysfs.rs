//! The mailbox in a function's config space, through sysfs.
//!
//! Nothing in the kernel serialises user space against its own use of the mailbox. So the device must not be connected to
//! a kernel TSM, which is looked at before every exchange, and a lock file keeps other daemons of ours out.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use sriov::{Bdf, ConfigSpace, Function, Registers as _, Root, tsm::Support};
use tdisp::{
    clock,
    doe::mailbox::{self, Limits, Step},
    relay::Rid,
};

use super::{Error, discovery};

/// One mailbox that takes SPDM.
#[derive(Debug)]
pub(super) struct Registers {
    function: Function,
    config: ConfigSpace,
    capability: u16,
    limits: Limits,
    start: Instant,
    /// Held as long as the way is open.
    _lock: File,
}

impl Registers {
    /// Takes the device's lock and looks for the mailbox that lists SPDM and secured SPDM.
    pub(super) async fn open(root: &Path, rid: Rid, timeout: Duration, locks: &Path) -> Result<Self, Error> {
        let bdf = Bdf::from_rid(rid.segment().into(), rid.requester_id());
        let function = Function::open(&Root::new(root), bdf)?;
        let lock = lock(&locks.join(format!("doe-{bdf}")), bdf)?;
        let config = function.config_writable()?;
        let capabilities = function.trusted_io()?.doe_mailboxes;
        let limits = Limits {
            timeout,
            ..Limits::default()
        };
        let mut this = Self {
            function,
            config,
            capability: 0,
            limits,
            start: Instant::now(),
            _lock: lock,
        };
        let mut last = Error::NoSpdm {
            found: "no DOE capability".into(),
        };
        for capability in capabilities {
            this.capability = capability;
            match this.discover().await {
                Ok(()) => return Ok(this),
                Err(Error::NoSpdm { found }) => last = Error::NoSpdm { found },
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    async fn discover(&mut self) -> Result<(), Error> {
        let mut asked = discovery::Asked::default();
        while let Some(request) = asked.next() {
            let answer = self.exchange(&request).await?;
            asked.answered(&answer)?;
        }
        asked.verdict()
    }

    /// Steps the mailbox's registers until the answer is there. The machine bounds the time.
    pub(super) async fn exchange(&mut self, object: &[u8]) -> Result<Vec<u8>, Error> {
        self.expect_unconnected()?;
        let mut mailbox = mailbox::Mailbox::new(self.capability, self.limits);
        mailbox.start(self.now(), object).map_err(Error::Mailbox)?;
        loop {
            // Registers answer at once, and a device may have a quarter of a million of them: others get their turns.
            tokio::task::consume_budget().await;
            match mailbox.step(self.now()) {
                Step::ReadConfig { offset } => mailbox.answer(self.config.read(offset)?),
                Step::WriteConfig { offset, value } => self.config.write(offset, value)?,
                Step::Wait { until } => tokio::time::sleep(until.since(self.now())).await,
                Step::Done(answer) => return Ok(answer),
                Step::Failed(error) => return Err(Error::Mailbox(error)),
            }
        }
    }

    /// A kernel TSM that is connected owns the mailbox.
    fn expect_unconnected(&self) -> Result<(), Error> {
        let Support::Offered(link) = self.function.tsm()? else {
            return Ok(());
        };
        match link.connected()? {
            None => Ok(()),
            Some(tsm) => Err(Error::Taken {
                bdf: self.function.bdf().to_string(),
                by: format!("the kernel has it connected to {tsm}"),
                cure: "disconnect it there, or use backend \"sysfs-link\"".into(),
            }),
        }
    }

    fn now(&self) -> clock::Instant {
        clock::Instant::at(self.start.elapsed())
    }
}

/// One user at a time. The file stays: removing it would race with the next user's lock.
fn lock(path: &Path, bdf: Bdf) -> Result<File, Error> {
    let failed = |source| Error::Io {
        during: "locking the mailbox",
        source,
    };
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let mut file = open.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let _ = (&file).take(32).read_to_string(&mut holder);
            return Err(Error::Taken {
                bdf: bdf.to_string(),
                by: format!("process {} holds {}", holder.trim(), path.display()),
                cure: "end it, or wait until it is done".into(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed)?;
    Ok(file)
}
