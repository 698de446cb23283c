//! TCP both ways, timed, with the bounce events of the device counted meanwhile.

use crate::Failure;
use crate::address::{Prefixed, configure};
use crate::bounce::Counter;
use sriov::Bdf;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The function whose interface and bounce events are meant
    #[arg(long)]
    bdf: Bdf,
    /// The other side: port 5001 takes what is sent, port 5002 sends what is asked for
    #[arg(long)]
    peer: Ipv4Addr,
    /// The interface's own address, such as 10.77.1.2/24
    #[arg(long)]
    address: Prefixed,
    /// MiB each way
    #[arg(long, default_value_t = 16)]
    mib: u64,
    /// One JSON line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    configure(arguments.bdf, arguments.address)?;
    let bytes = arguments.mib << 20;
    // Connected first: the address's detection and ARP are no part of the throughput.
    let (sink, source) = (
        connect(arguments.peer, SINK_PORT)?,
        connect(arguments.peer, SOURCE_PORT)?,
    );
    let counter = Counter::start(arguments.bdf)?;
    let tx = timed(|| send(sink, bytes))?;
    let rx = timed(|| receive(source, bytes))?;
    let bounce_events = counter.count()?;
    let rate =
        |bytes: u64, seconds: f64| (bytes as f64 / f64::from(1 << 20) / seconds * 100.0).round() / 100.0;
    let (tx_mib_s, rx_mib_s, mib_s) = (rate(bytes, tx), rate(bytes, rx), rate(2 * bytes, tx + rx));
    if !arguments.json {
        let mib = arguments.mib;
        return Ok(format!(
            "{}: {mib} MiB each way, {tx_mib_s} MiB/s out, {rx_mib_s} MiB/s in, {bounce_events} bounce events",
            arguments.bdf
        ));
    }
    Ok(serde_json::json!({
        "bdf": arguments.bdf.to_string(),
        "bounce_events": bounce_events,
        "tx_mib_s": tx_mib_s,
        "rx_mib_s": rx_mib_s,
        "mib_s": mib_s,
        "seconds": ((tx + rx) * 1000.0).round() / 1000.0,
    })
    .to_string())
}

fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<f64, Failure> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_secs_f64().max(1e-9))
}

fn connect(peer: Ipv4Addr, port: u16) -> Result<TcpStream, Failure> {
    let address = SocketAddr::new(IpAddr::V4(peer), port);
    let deadline = Instant::now() + CONNECT_DEADLINE;
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_secs(2)) {
            Ok(stream) => {
                let timeouts = stream
                    .set_read_timeout(Some(SILENCE))
                    .and(stream.set_write_timeout(Some(SILENCE)));
                timeouts.map_err(|error| format!("{address}: {error}"))?;
                return Ok(stream);
            }
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => return Err(format!("{address} does not answer: {error}")),
        }
    }
}

/// Sends `bytes`, and waits until the peer has taken them all and closed its end.
fn send(mut sink: TcpStream, bytes: u64) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("sending to port {SINK_PORT}: {error}");
    let (piece, mut left) = (vec![0x5a; PIECE], bytes);
    while left > 0 {
        let size = left.min(PIECE as u64);
        sink.write_all(&piece[..usize::try_from(size).unwrap_or(PIECE)])
            .map_err(failed)?;
        left -= size;
    }
    sink.shutdown(Shutdown::Write).map_err(failed)?;
    std::io::copy(&mut sink, &mut std::io::sink())
        .map(drop)
        .map_err(failed)
}

fn receive(mut source: TcpStream, bytes: u64) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("receiving from port {SOURCE_PORT}: {error}");
    source
        .write_all(format!("{bytes}\n").as_bytes())
        .map_err(failed)?;
    let (mut piece, mut left) = (vec![0; PIECE], bytes);
    while left > 0 {
        match source.read(&mut piece).map_err(failed)? {
            0 => return Err(format!("port {SOURCE_PORT} closed {left} bytes early")),
            size => left = left.saturating_sub(size as u64),
        }
    }
    Ok(())
}

const SINK_PORT: u16 = 5001;
const SOURCE_PORT: u16 = 5002;
const PIECE: usize = 64 << 10;
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
const SILENCE: Duration = Duration::from_secs(20);
