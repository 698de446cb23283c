//! The whole flow over a loopback socket, in the framing of the DMTF's emulators, beside what others were measured at.

use crate::{
    counting::Counting,
    flow::{P384, Suite, whole},
    report::Report,
    time::Times,
};
use serde_json::json;
use std::{
    io::{Error, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};
use tdisp::{
    clock::Instant,
    crypto::Ring,
    spdm::{Requester, Responder},
};

/// Connections.
const ROUNDS: usize = 101;

/// Others, on a machine of this kind, both ends, in ms: spdm-rs' emulator pair, and libspdm's without the reading of files.
const OTHERS: [(&str, f64); 2] = [("spdm-rs", 7.06), ("libspdm", 11.0)];

pub(crate) fn run(report: &mut Report) {
    let suite = &*P384;
    suite.connect(true, &Arc::new(Counting::default())); // what is made once is made now
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a loopback");
    let address = listener.local_addr().expect("it is bound");
    let server = thread::spawn(move || serve(&listener, &P384));
    let round = |_| {
        let start = std::time::Instant::now();
        ask(suite, &address).expect("the server answers");
        start.elapsed()
    };
    let times = Times::of((0..ROUNDS).map(round).collect());
    server
        .join()
        .expect("the server is well")
        .expect("the server served");
    let (median, least) = (times.median.as_secs_f64() * 1e3, times.least.as_secs_f64() * 1e3);
    println!(
        "  {}, root pinned: TCP connection to signed MEASUREMENTS, ms",
        suite.name
    );
    println!("  {:<34} {median:>8.2}  (least {least:.2})", "this");
    for (name, ms) in OTHERS {
        println!("  {name:<34} {ms:>8.2}  (as measured elsewhere, on a machine of this kind)");
    }
    let others: Vec<_> = OTHERS.map(|(name, ms)| json!({"name": name, "ms": ms})).to_vec();
    report.add(
        "socket",
        json!({"ms": median, "least_ms": least, "others": others}),
    );
}

fn serve(listener: &TcpListener, suite: &Suite) -> Result<(), Error> {
    for _ in 0..ROUNDS {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut responder = suite.responder(suite.signer.clone(), Arc::new(Ring));
        while let Some(object) = read(&mut stream)? {
            responder.handle(Instant::START, &object);
            answer(&mut stream, &mut responder)?;
        }
    }
    Ok(())
}

fn answer(stream: &mut TcpStream, responder: &mut Responder) -> Result<(), Error> {
    let mut frame = vec![0; HEAD];
    match responder.poll_transmit(&mut frame) {
        true => write(stream, frame),
        false => Ok(()),
    }
}

fn ask(suite: &Suite, address: &std::net::SocketAddr) -> Result<(), Error> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut requester = suite.requester(suite.trust(true), Arc::new(Ring));
    let mut failed = Ok(());
    whole(&mut requester, |requester| match carry(requester, &mut stream) {
        Ok(exchanges) => exchanges,
        Err(error) => {
            failed = Err(error);
            0
        }
    });
    failed
}

fn carry(requester: &mut Requester, stream: &mut TcpStream) -> Result<usize, Error> {
    let mut exchanges = 0;
    loop {
        let mut frame = vec![0; HEAD];
        if !requester.poll_transmit(&mut frame) {
            return Ok(exchanges);
        }
        write(stream, frame)?;
        let object = read(stream)?.ok_or(Error::other("the server hung up"))?;
        requester.handle(Instant::START, &object);
        exchanges += 1;
    }
}

/// Command NORMAL (1), transport DOE (2), size: each 32 bits, big-endian.
const HEAD: usize = 12;

/// Sends a frame, whose head is filled in here.
fn write(stream: &mut TcpStream, mut frame: Vec<u8>) -> Result<(), Error> {
    let size = (frame.len() - HEAD) as u32;
    for (at, value) in [1, 2, size].into_iter().enumerate() {
        let digits = [24, 16, 8, 0].map(|shift| (value >> shift) as u8);
        frame[4 * at..4 * at + 4].copy_from_slice(&digits);
    }
    stream.write_all(&frame)
}

/// A frame's object; `None` at the end.
fn read(stream: &mut TcpStream) -> Result<Option<Vec<u8>>, Error> {
    let mut head = [0; HEAD];
    if stream.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut head[1..])?;
    let size = head[8..]
        .iter()
        .fold(0, |size, byte| size << 8 | usize::from(*byte));
    let mut object = vec![0; size];
    stream.read_exact(&mut object)?;
    Ok(Some(object))
}
