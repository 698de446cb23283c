//! The emulated TSM behind its unix socket: commands out, objects carried, one answer at the end.

use std::{path::PathBuf, time::Duration};

use tdisp::relay::{
    FrameError, Rid, TdiId, VmId,
    host::{self, Answer, Bind, Code, Command, Decoder, DevStatus, Done},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};

use super::{Error, Later, Tsm};
use crate::errand::{Errand, OBJECTS_MAX};

/// Longest silence of the TSM between two of its answers: it only computes and talks to the platform.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Longest operation counted in carriages: a certificate chain in the smallest portions is the longest.
const CARRIAGES_MAX: usize = 8192;

pub(super) struct Emulated {
    socket: PathBuf,
    stream: Option<Stream>,
}

struct Stream {
    stream: UnixStream,
    decoder: Decoder<Answer>,
}

impl Emulated {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, stream: None }
    }

    async fn find(&mut self) -> Result<(), Error> {
        self.stream = None;
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| Error::Unreachable {
            path: self.socket.clone(),
            source,
        })?;
        self.stream = Some(Stream {
            stream,
            decoder: Decoder::default(),
        });
        let during = "the greeting";
        match self.run(during, Command::Status, None).await? {
            Done::Status(status) if status.version == host::VERSION => Ok(()),
            Done::Status(status) => Err(Error::Version {
                found: status.version,
                wanted: host::VERSION,
            }),
            other => Err(wrong(during, &other, "its status")),
        }
    }

    /// Runs one command to its end. Unless the TSM ended it, the connection is given up.
    async fn run(
        &mut self,
        during: &'static str,
        command: Command,
        errand: Option<&mut Errand<'_>>,
    ) -> Result<Done, Error> {
        let lost = || Error::Lost {
            what: "is not there".into(),
            during,
        };
        let mut stream = self.stream.take().ok_or_else(lost)?;
        let result = stream.converse(during, command, errand).await;
        if result.as_ref().map_or_else(|error| !error.is_lost(), |_| true) {
            self.stream = Some(stream);
        }
        result
    }

    async fn expect_ok(
        &mut self,
        during: &'static str,
        command: Command,
        errand: Option<&mut Errand<'_>>,
    ) -> Result<(), Error> {
        match self.run(during, command, errand).await? {
            Done::Ok => Ok(()),
            other => Err(wrong(during, &other, "that it is done")),
        }
    }
}

impl Stream {
    async fn converse(
        &mut self,
        during: &'static str,
        command: Command,
        mut errand: Option<&mut Errand<'_>>,
    ) -> Result<Done, Error> {
        self.send(during, &command).await?;
        let mut failed_carriage = None;
        for _ in 0..CARRIAGES_MAX {
            match (self.receive(during).await?, errand.as_deref_mut()) {
                (Answer::Carry { device, object }, Some(errand)) => {
                    let carried = match errand.carry(device, &object).await {
                        Ok(object) => Command::Carried { object },
                        Err((step, source)) => {
                            let reason = format!("{step}: {source}");
                            failed_carriage = Some((step, source));
                            Command::CarryFailed { reason }
                        }
                    };
                    self.send(during, &carried).await?;
                }
                (Answer::Carry { .. }, None) => {
                    return Err(Error::WrongAnswer {
                        during,
                        found: "a carriage",
                        wanted: "an answer at once",
                    });
                }
                (Answer::Object { owner, kind, bytes }, Some(errand)) => {
                    if !errand.keep(owner, kind, bytes) {
                        return Err(Error::Lost {
                            what: format!("handed over more than {OBJECTS_MAX} objects"),
                            during,
                        });
                    }
                }
                (Answer::Object { .. }, None) => {
                    return Err(Error::WrongAnswer {
                        during,
                        found: "an object",
                        wanted: "an answer at once",
                    });
                }
                (Answer::Done(done), _) => return Ok(done),
                (Answer::Failed { code, reason }, _) => {
                    return Err(match failed_carriage {
                        // Our own words about the way to the device, with their type.
                        Some((step, source)) => Error::Device {
                            during: format!("{during}, at {step},"),
                            source,
                        },
                        None => Error::Refused { during, code, reason },
                    });
                }
            }
        }
        Err(Error::Lost {
            what: format!("wanted more than {CARRIAGES_MAX} carriages"),
            during,
        })
    }

    async fn send(&mut self, during: &'static str, command: &Command) -> Result<(), Error> {
        let mut frame = Vec::new();
        command.encode(&mut frame);
        let sent = timeout(SILENCE_MAX, self.stream.write_all(&frame)).await;
        let what = match sent {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("hung up ({error})"),
            Err(_) => silent(),
        };
        Err(Error::Lost { what, during })
    }

    async fn receive(&mut self, during: &'static str) -> Result<Answer, Error> {
        let malformed = |source: FrameError| Error::Malformed { during, source };
        let mut piece = vec![0; 64 * 1024];
        loop {
            if let Some(answer) = self.decoder.next().map_err(malformed)? {
                return Ok(answer);
            }
            let what = match timeout(SILENCE_MAX, self.stream.read(&mut piece)).await {
                Ok(Ok(0)) => "hung up".into(),
                Ok(Ok(read)) => {
                    self.decoder.push(&piece[..read]);
                    continue;
                }
                Ok(Err(error)) => format!("hung up ({error})"),
                Err(_) => silent(),
            };
            return Err(Error::Lost { what, during });
        }
    }
}

impl Tsm for Emulated {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn note(&self) -> &'static str {
        "connects and binds; the platform and IDE are emulated"
    }

    fn is_alive(&self) -> bool {
        let Some(stream) = &self.stream else { return false };
        // Between two commands the TSM has nothing to say: bytes, or the end of them, are wrong.
        stream
            .stream
            .try_read(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    }

    fn open(&mut self) -> Later<'_, ()> {
        Box::pin(self.find())
    }

    fn create_vm(&mut self, vm: VmId) -> Later<'_, ()> {
        Box::pin(async move {
            let created = self
                .expect_ok("making the VM's key", Command::VmCreate { vm }, None)
                .await;
            fine_if(created, Code::EXISTS)
        })
    }

    fn connect<'a>(&'a mut self, device: Rid, slot: u8, errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        Box::pin(async move {
            errand.open(device).await.map_err(|source| Error::Device {
                during: "connect, at discovery,".into(),
                source,
            })?;
            self.expect_ok("connect", Command::DevConnect { device, slot }, Some(errand))
                .await
        })
    }

    fn disconnect<'a>(&'a mut self, device: Rid, errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        Box::pin(async move {
            let command = Command::DevDisconnect { device };
            fine_if(
                self.expect_ok("disconnect", command, Some(errand)).await,
                Code::UNKNOWN,
            )
        })
    }

    fn device(&mut self, device: Rid) -> Later<'_, DevStatus> {
        Box::pin(async move {
            let during = "asking for the device";
            match self.run(during, Command::DevStatus { device }, None).await? {
                Done::DevStatus(status) => Ok(status),
                other => Err(wrong(during, &other, "the device's status")),
            }
        })
    }

    fn bind<'a>(&'a mut self, bind: Bind, errand: &'a mut Errand<'_>) -> Later<'a, TdiId> {
        Box::pin(async move {
            match self.run("bind", Command::TdiBind(bind), Some(errand)).await? {
                Done::Bound { tdi } => Ok(tdi),
                other => Err(wrong("bind", &other, "the TDI's name")),
            }
        })
    }

    fn unbind<'a>(&'a mut self, tdi: TdiId, errand: &'a mut Errand<'_>) -> Later<'a, ()> {
        Box::pin(async move {
            let command = Command::TdiUnbind { tdi };
            fine_if(
                self.expect_ok("unbind", command, Some(errand)).await,
                Code::UNKNOWN,
            )
        })
    }

    fn guest<'a>(&'a mut self, vm: VmId, bytes: Vec<u8>, errand: &'a mut Errand<'_>) -> Later<'a, Vec<u8>> {
        Box::pin(async move {
            let during = "the guest's request";
            match self
                .run(during, Command::GuestRequest { vm, bytes }, Some(errand))
                .await?
            {
                Done::Guest { bytes } => Ok(bytes),
                other => Err(wrong(during, &other, "a message for the guest")),
            }
        })
    }
}

fn fine_if(result: Result<(), Error>, fine: Code) -> Result<(), Error> {
    match result {
        Err(Error::Refused { code, .. }) if code == fine => Ok(()),
        other => other,
    }
}

fn silent() -> String {
    format!("was silent for {} s", SILENCE_MAX.as_secs())
}

fn wrong(during: &'static str, found: &Done, wanted: &'static str) -> Error {
    let found = match found {
        Done::Ok => "that it is done",
        Done::Status(_) => "its status",
        Done::DevStatus(_) => "a device's status",
        Done::Bound { .. } => "a TDI's name",
        Done::Guest { .. } => "a message for a guest",
    };
    Error::WrongAnswer {
        during,
        found,
        wanted,
    }
}
