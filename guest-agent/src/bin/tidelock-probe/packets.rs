//! UDP datagrams on request, to a port whose packets are passed and to one whose packets are dropped.

use crate::Failure;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The other side, whose port 5003 takes the datagram "send COUNT PORT"
    #[arg(long)]
    peer: Ipv4Addr,
    /// Datagrams to each port
    #[arg(long, default_value_t = 100)]
    count: u32,
    /// The port whose packets are dropped
    #[arg(long, default_value_t = 9)]
    drop_port: u16,
    /// The port whose packets are passed
    #[arg(long, default_value_t = 7)]
    pass_port: u16,
    /// One JSON line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, Failure> {
    let passed = arrivals(arguments, arguments.pass_port)?;
    let dropped = arrivals(arguments, arguments.drop_port)?;
    let (count, pass_port, drop_port) = (arguments.count, arguments.pass_port, arguments.drop_port);
    if !arguments.json {
        return Ok(format!(
            "{count} datagrams each: {passed} arrived on port {pass_port}, {dropped} on port {drop_port}"
        ));
    }
    Ok(serde_json::json!({
        "count": count,
        "pass_port": pass_port,
        "pass_arrived": passed,
        "drop_port": drop_port,
        "drop_arrived": dropped,
    })
    .to_string())
}

fn arrivals(arguments: &Arguments, port: u16) -> Result<u32, Failure> {
    let failed = |error: std::io::Error| format!("port {port}: {error}");
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(failed)?;
    socket.set_read_timeout(Some(QUIET)).map_err(failed)?;
    let request = format!("send {} {port}", arguments.count);
    socket
        .send_to(request.as_bytes(), (arguments.peer, GENERATOR_PORT))
        .map_err(failed)?;
    let (deadline, mut arrived, mut buffer) = (Instant::now() + LONGEST, 0, [0; 2048]);
    while arrived < arguments.count && Instant::now() < deadline {
        match socket.recv_from(&mut buffer) {
            Ok((_, from)) if from.ip() == arguments.peer => arrived += 1,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(arrived)
}

const GENERATOR_PORT: u16 = 5003;
/// After so long without a datagram no more come.
const QUIET: Duration = Duration::from_millis(700);
const LONGEST: Duration = Duration::from_secs(10);
