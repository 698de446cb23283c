//! Device, TSM and daemon as real processes, and this process as VMM and guest.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use firmware_tests::{
    artifact::program,
    platform::{Client, Role},
    process::Process,
};
use tdisp::{
    crypto::{Ring, Secret},
    evidence::Bundle,
    relay::{
        ObjectKind, Rid, TdiId, Vouched,
        courier::{Assembly, Decoder, Request, Response, VERSION},
        guest,
        sealed::Guest,
    },
};
use vfio_bindings::bindings::vfio::VFIO_PCI_CONFIG_REGION_INDEX;

pub(crate) const LIMIT: Duration = Duration::from_secs(15);
/// Function 1 as the guest sees it.
pub(crate) const AT: Rid = Rid(0x0101);

pub(crate) struct Processes {
    directory: tempfile::TempDir,
    address: String,
    suite: String,
    pub(crate) daemon: Option<Process>,
    pub(crate) tsm: Option<Process>,
    device: Process,
}

impl Processes {
    /// Device, TSM and daemon, ready.
    pub(crate) fn start(lies: &[&str]) -> Self {
        Self::start_with(lies, "ecdsa-p384")
    }

    /// The same where device and TSM have these algorithms, of which the first is the identity's.
    pub(crate) fn start_with(lies: &[&str], suite: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("keys")).unwrap();
        let made = tool("tidelock-device")
            .arg("provision")
            .arg(path("identity"))
            .args(["--suite", suite])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let mut command = tool("tidelock-device");
        command
            .arg("serve")
            .arg("--identity")
            .arg(path("identity"))
            .arg("--vfio-user")
            .arg(directory.path());
        command
            .args(["--listen", &address, "--suite", suite])
            .arg("--platform")
            .arg(path("platform.sock"));
        for lie in lies {
            command.args(["--lie", lie]);
        }
        let mut device = Process::start("tidelock-device", &mut command, &path("device.log")).unwrap();
        for name in ["platform.sock", "fn0", "fn1", "fn2"] {
            device.wait_for_path(&path(name), LIMIT).unwrap();
        }
        let mut this = Self {
            directory,
            address,
            suite: suite.to_owned(),
            daemon: None,
            tsm: None,
            device,
        };
        this.start_tsm();
        this.start_daemon();
        this
    }

    pub(crate) fn start_tsm(&mut self) {
        let mut command = tool("tidelock-tsm");
        command.arg("serve").arg("--host").arg(self.path("tsm.sock"));
        command
            .arg("--platform")
            .arg(self.path("platform.sock"))
            .arg("--keys")
            .arg(self.path("keys"))
            .args(["--suite", &self.suite]);
        let mut tsm = Process::start("tidelock-tsm", &mut command, &self.path("tsm.log")).unwrap();
        tsm.wait_for_path(&self.path("tsm.sock"), LIMIT).unwrap();
        self.tsm = Some(tsm);
    }

    pub(crate) fn start_daemon(&mut self) {
        let (config, directory) = (self.path("tidelockd.toml"), self.directory.path().display());
        let text = format!(
            "state_dir = \"{directory}/state\"\napi_socket = \"{directory}/api.sock\"\n\
             [tsm]\nbackend = \"emulated\"\nsocket = \"{directory}/tsm.sock\"\n\
             [[device]]\nname = \"nic0\"\nbdf = \"0000:01:00.0\"\n\
             [device.transport]\nkind = \"emulator\"\naddress = \"{}\"\ntimeout_ms = 1000\n\
             [[vm]]\nid = 1\ncourier_socket = \"{directory}/courier.sock\"\n\
             [[vm.tdi]]\ndevice = \"nic0\"\nfunction = 1\nguest = \"{AT}\"\nlock = [\"no-fw-update\"]\n",
            self.address
        );
        std::fs::write(&config, text).unwrap();
        let mut command = tool("tidelockd");
        command.arg("--config").arg(config);
        let log = self.path("tidelockd.log");
        self.daemon = Some(Process::start("tidelockd", &mut command, &log).unwrap());
        self.done(&["wait-ready", "--timeout", "10"]);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn tidelock(&self, arguments: &[&str]) -> Output {
        tool("tidelock")
            .arg("--socket")
            .arg(self.path("api.sock"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs the operator's command, which must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let out = self.tidelock(arguments);
        assert!(
            out.status.success(),
            "{arguments:?}: {}\n{}",
            text(&out),
            self.logs()
        );
        text(&out)
    }

    pub(crate) fn status(&self) -> serde_json::Value {
        let answer: serde_json::Value = serde_json::from_str(&self.done(&["status", "--json"])).unwrap();
        answer["status"].clone()
    }

    pub(crate) fn logs(&self) -> String {
        let tails = [self.daemon.as_ref(), self.tsm.as_ref(), Some(&self.device)];
        tails
            .into_iter()
            .flatten()
            .map(Process::log_tail)
            .collect::<Vec<_>>()
            .join("---\n")
    }

    /// Plugs function 1 in as a VMM and a kernel would: memory mapped, memory space and bus mastering on.
    pub(crate) fn plug(&self) -> Plugged {
        use std::os::fd::AsRawFd;
        let mut client = vfio_user::Client::new(&self.path("fn1")).unwrap();
        let memory = tempfile::tempfile().unwrap();
        memory.set_len(1 << 20).unwrap();
        client.dma_map(0, IOVA, 1 << 20, memory.as_raw_fd()).unwrap();
        for (at, value) in [(0x10, 0xfe80_0000u32), (0x18, 0xfe90_0000), (4, 6)] {
            client
                .region_write(VFIO_PCI_CONFIG_REGION_INDEX, at, &value.to_le_bytes())
                .unwrap();
        }
        // Writes are posted: once this is answered they are done.
        let mut command = [0; 4];
        client
            .region_read(VFIO_PCI_CONFIG_REGION_INDEX, 4, &mut command)
            .unwrap();
        Plugged {
            _client: client,
            _memory: memory,
            observer: self.path("platform.sock"),
        }
    }

    pub(crate) fn guest(&self) -> VmGuest {
        VmGuest::connect(&self.path("courier.sock"), &self.path("keys/vm-1.key"))
    }
}

/// Where the device sees the guest's memory.
pub(crate) const IOVA: u64 = 0x8000_0000;

/// Function 1 as long as it is plugged in.
pub(crate) struct Plugged {
    _client: vfio_user::Client,
    _memory: std::fs::File,
    observer: PathBuf,
}

impl Plugged {
    /// Whether the function could read a private page now, or why not.
    pub(crate) fn reads_private(&self) -> Result<(), String> {
        let mut observer = Client::connect(&self.observer, Role::Observer).unwrap();
        observer.dma_probe(1, IOVA + 0x8000, 64, false).unwrap()
    }

    /// The function's interface fails.
    pub(crate) fn fault(&self) {
        Client::connect(&self.observer, Role::Observer)
            .unwrap()
            .fault(1)
            .unwrap();
    }
}

/// A guest's end of the courier's port and of the sealed channel.
pub(crate) struct VmGuest {
    stream: UnixStream,
    decoder: Decoder<Response>,
    asked: u32,
    channel: Option<Guest>,
    key: PathBuf,
}

impl VmGuest {
    fn connect(courier: &Path, key: &Path) -> Self {
        let stream = UnixStream::connect(courier).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let (decoder, key) = (Decoder::default(), key.to_owned());
        let mut guest = Self {
            stream,
            decoder,
            asked: 0,
            channel: None,
            key,
        };
        assert_eq!(
            guest.ask(Request::Hello { version: VERSION }),
            Response::Hello { version: VERSION }
        );
        guest
    }

    pub(crate) fn ask(&mut self, request: Request) -> Response {
        self.asked += 1;
        let mut frame = Vec::new();
        request.encode(self.asked, &mut frame);
        self.stream.write_all(&frame).unwrap();
        loop {
            if let Some((id, response)) = self.decoder.next().unwrap() {
                assert_eq!(id, self.asked);
                return response;
            }
            let mut piece = [0; 4096];
            let read = self.stream.read(&mut piece).unwrap();
            assert_ne!(read, 0, "the courier hung up");
            self.decoder.push(&piece[..read]);
        }
    }

    pub(crate) fn bind(&mut self) -> TdiId {
        match self.ask(Request::Bind { guest: AT, flags: 0 }) {
            Response::Bound { tdi } => tdi,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn object(&mut self, tdi: TdiId, kind: ObjectKind) -> Vec<u8> {
        let mut assembly = Assembly::new(kind);
        loop {
            match self.ask(Request::Object {
                tdi,
                kind,
                offset: assembly.offset(),
            }) {
                Response::Chunk(chunk) => {
                    if let Some(object) = assembly.add(&chunk).unwrap() {
                        return object;
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// Asks the TSM, in a channel that is opened when there is none.
    pub(crate) fn tsm(&mut self, request: &guest::Request) -> guest::Response {
        self.vouched(request).into_inner()
    }

    fn vouched(&mut self, request: &guest::Request) -> Vouched<guest::Response> {
        if !self.channel.as_ref().is_some_and(Guest::is_open) {
            let key = Secret::new(std::fs::read(&self.key).unwrap());
            let (opening, message) = Guest::begin(&key, Arc::new(Ring)).unwrap();
            let answer = self.relay(message);
            self.channel = Some(opening.opened(&answer).unwrap());
        }
        let mut channel = self.channel.take().unwrap();
        let answer = self.relay(channel.seal(request).unwrap());
        let response = channel.open(&answer).unwrap();
        self.channel = Some(channel);
        response
    }

    /// Evidence with this nonce, and what the TSM says of it.
    pub(crate) fn evidence(&mut self, tdi: TdiId, nonce: [u8; 32]) -> (Bundle, Vouched<guest::TdiInfo>) {
        let refresh = guest::Request::RefreshMeasurements {
            tdi,
            generation: self.info().generation,
            nonce,
        };
        assert_eq!(self.tsm(&refresh), guest::Response::Done);
        let bundle = Bundle {
            certificates: self.object(tdi, ObjectKind::CERTIFICATES),
            measurements: self.object(tdi, ObjectKind::MEASUREMENTS),
            report: self.object(tdi, ObjectKind::REPORT),
        };
        let info = self.vouched(&guest::Request::TdiInfo { guest: AT });
        (bundle, info.tdi_info().unwrap())
    }

    pub(crate) fn info(&mut self) -> guest::TdiInfo {
        match self.tsm(&guest::Request::TdiInfo { guest: AT }) {
            guest::Response::TdiInfo(info) => info,
            other => panic!("{other:?}"),
        }
    }

    fn relay(&mut self, sealed: Vec<u8>) -> Vec<u8> {
        match self.ask(Request::Guest { sealed }) {
            Response::Guest { sealed } => sealed,
            other => panic!("{other:?}"),
        }
    }
}

/// kill -9.
pub(crate) fn kill(process: Process) {
    let id = process.id().to_string();
    assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
    let gone = Instant::now();
    let path = PathBuf::from(format!("/proc/{id}/fd"));
    while std::fs::read_dir(&path).is_ok_and(|mut fds| fds.next().is_some()) {
        assert!(gone.elapsed() < LIMIT);
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(process);
}

pub(crate) fn text(out: &Output) -> String {
    String::from_utf8_lossy(&[&out.stdout[..], &out.stderr[..]].concat()).into_owned()
}

fn tool(name: &str) -> Command {
    Command::new(program(name).unwrap())
}
