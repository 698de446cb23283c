//! Real `tidelockd` and `tidelock` processes between a scripted TSM and a scripted device.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::PathBuf,
    process::{Child, Command as Process, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

use tdisp::relay::{
    courier,
    host::{Answer, Command, Decoder, DevStatus, Done, Status, VERSION},
};

/// What the TSM does with a command.
pub(crate) enum Play {
    /// Sends these answers.
    Answer(Vec<Answer>),
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Closes the connection.
    HangUp,
    /// Says nothing.
    Silence,
}

/// A TSM that plays what a function of the command says. Every command it got is told.
pub(crate) struct Tsm {
    pub(crate) commands: Receiver<Command>,
}

/// One device connection: hello and discovery are done well, then `play` answers each object.
pub(crate) struct Device {
    pub(crate) address: String,
}

/// What the device does with an object.
pub(crate) enum Reply {
    /// Sends frames with these payloads.
    Frames(Vec<Vec<u8>>),
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Closes the connection.
    HangUp,
    /// Says nothing.
    Silence,
}

pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    daemon: Option<Child>,
}

pub(crate) const LIMIT: Duration = Duration::from_secs(20);

impl World {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            daemon: None,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn tsm(&self, mut play: impl FnMut(&Command) -> Play + Send + 'static) -> Tsm {
        let path = self.path("tsm.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(path).unwrap();
        let (told, commands) = channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                play_tsm(stream, &mut play, &told);
            }
        });
        Tsm { commands }
    }

    pub(crate) fn device(&self, mut play: impl FnMut(&[u8]) -> Reply + Send + 'static) -> Device {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let _ = play_device(stream, &mut play);
            }
        });
        Device { address }
    }

    pub(crate) fn config(&self, device: &Device) -> PathBuf {
        let (path, directory) = (self.path("tidelockd.toml"), self.directory.path().display());
        let text = format!(
            "state_dir = \"{directory}/state\"\napi_socket = \"{directory}/api.sock\"\n\
             [tsm]\nbackend = \"emulated\"\nsocket = \"{directory}/tsm.sock\"\n\
             [[device]]\nname = \"nic0\"\nbdf = \"0000:01:00.0\"\n\
             [device.transport]\nkind = \"emulator\"\naddress = \"{}\"\ntimeout_ms = 300\n\
             [[vm]]\nid = 1\ncourier_socket = \"{directory}/vm1.sock\"\n\
             [[vm.tdi]]\ndevice = \"nic0\"\nfunction = 1\nguest = \"0000:01:00.1\"\n\
             [[vm]]\nid = 2\ncourier_socket = \"{directory}/vm2.sock\"\n\
             [[vm.tdi]]\ndevice = \"nic0\"\nfunction = 2\nguest = \"0000:01:00.1\"\nlock = [\"no-fw-update\"]\n",
            device.address
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn start(&mut self, device: &Device) {
        let config = self.config(device);
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let daemon = Process::new(env!("CARGO_BIN_EXE_tidelockd"))
            .arg("--config")
            .arg(config)
            .env("NOTIFY_SOCKET", self.path("notify.sock"))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn();
        self.daemon = Some(daemon.unwrap());
    }

    /// Starts the daemon and waits until it is ready.
    pub(crate) fn ready(&mut self, device: &Device) {
        self.start(device);
        let out = self.tidelock(&["wait-ready", "--timeout", "10"]);
        assert!(out.status.success(), "{}\n{}", text(&out), self.log());
    }

    pub(crate) fn tidelock(&self, arguments: &[&str]) -> Output {
        Process::new(env!("CARGO_BIN_EXE_tidelock"))
            .arg("--socket")
            .arg(self.path("api.sock"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// The daemon's status.
    pub(crate) fn status(&self) -> serde_json::Value {
        let out = self.tidelock(&["status", "--json"]);
        let answer: serde_json::Value = serde_json::from_slice(&out.stdout).expect("status is JSON");
        answer["status"].clone()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub(crate) fn end(&mut self) -> Option<i32> {
        let daemon = self.daemon.as_mut().unwrap();
        let id = daemon.id().to_string();
        assert!(
            Process::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            if let Some(status) = daemon.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("the daemon does not end:\n{}", self.log());
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl Tsm {
    /// The commands until one for which `wanted` holds, that one included.
    pub(crate) fn until(&self, wanted: impl Fn(&Command) -> bool) -> Vec<Command> {
        let mut seen = Vec::new();
        loop {
            let command = self.commands.recv_timeout(LIMIT);
            seen.push(command.unwrap_or_else(|_| panic!("the command never came; {seen:?} did")));
            if seen.last().is_some_and(&wanted) {
                return seen;
            }
        }
    }
}

/// A VM's port, as its guest sees it.
pub(crate) struct Port(UnixStream);

impl Port {
    pub(crate) fn open(world: &World, socket: &str) -> Self {
        let stream = UnixStream::connect(world.path(socket)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    pub(crate) fn ask(&mut self, request: &courier::Request) -> courier::Response {
        let mut frame = Vec::new();
        request.encode(7, &mut frame);
        self.0.write_all(&frame).unwrap();
        let mut decoder = courier::Decoder::<courier::Response>::default();
        let mut piece = [0; 4096];
        loop {
            if let Some((id, response)) = decoder.next().unwrap() {
                assert_eq!(id, 7);
                return response;
            }
            let read = self.0.read(&mut piece).unwrap();
            assert_ne!(read, 0, "the daemon hung up");
            decoder.push(&piece[..read]);
        }
    }
}

/// What an honest TSM without any device answers.
pub(crate) fn plain(command: &Command) -> Play {
    Play::Answer(vec![match command {
        Command::Status => Answer::Done(Done::Status(Status {
            version: VERSION,
            devices: 0,
            vms: 0,
            tdis: 0,
        })),
        Command::DevStatus { .. } => Answer::Done(Done::DevStatus(no_device())),
        _ => Answer::Done(Done::Ok),
    }])
}

pub(crate) fn no_device() -> DevStatus {
    DevStatus {
        connected: false,
        slot: 0,
        spdm: tdisp::relay::guest::Negotiated::default(),
        certificates_digest: [0; 48],
        measurements_digest: [0; 48],
        tdis: Vec::new(),
    }
}

/// An object with GET_VERSION in it.
pub(crate) const GET_VERSION: [u8; 12] = [1, 0, 1, 0, 3, 0, 0, 0, 0x10, 0x84, 0, 0];

pub(crate) fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned()
}

fn play_tsm(mut stream: UnixStream, play: &mut impl FnMut(&Command) -> Play, told: &Sender<Command>) {
    let mut decoder = Decoder::<Command>::default();
    let mut piece = [0; 4096];
    loop {
        while let Ok(Some(command)) = decoder.next() {
            let bytes = match play(&command) {
                Play::Answer(answers) => {
                    let mut out = Vec::new();
                    answers.iter().for_each(|answer| answer.encode(&mut out));
                    out
                }
                Play::Raw(bytes) => bytes,
                Play::Silence => Vec::new(),
                Play::HangUp => {
                    let _ = told.send(command);
                    return;
                }
            };
            let _ = told.send(command);
            if stream.write_all(&bytes).is_err() {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return,
            Ok(read) => decoder.push(&piece[..read]),
        }
    }
}

fn play_device(mut stream: TcpStream, play: &mut impl FnMut(&[u8]) -> Reply) -> std::io::Result<()> {
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header)?;
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (command, size) = (word(0), word(8));
        let mut payload = vec![0; size as usize];
        stream.read_exact(&mut payload)?;
        let reply = match command {
            1 if payload.get(2) == Some(&0) => {
                let index = payload[8];
                let next = if index < 2 { index + 1 } else { 0 };
                Reply::Frames(vec![vec![1, 0, 0, 0, 3, 0, 0, 0, 1, 0, index, next]])
            }
            1 => play(&payload),
            _ => Reply::Frames(vec![payload]),
        };
        match reply {
            Reply::Frames(frames) => {
                let mut bytes = Vec::new();
                for frame in frames {
                    for word in [command, 2, frame.len() as u32] {
                        bytes.extend(word.to_be_bytes());
                    }
                    bytes.extend(frame);
                }
                stream.write_all(&bytes)?;
            }
            Reply::Raw(bytes) => stream.write_all(&bytes)?,
            Reply::HangUp => return Ok(()),
            Reply::Silence => {}
        }
    }
}
