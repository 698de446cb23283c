//! The card's behaviour towards VMM, guest and platform, without a machine, root or network.

#![expect(
    clippy::unwrap_used,
    reason = "what a test sets up and fails at is the test's failure"
)]

mod tier0;

use firmware_tests::device::FUNCTIONS;
use firmware_tests::device::config::COMMAND_MEMORY;
use firmware_tests::device::dsm::Configs;
use firmware_tests::device::gate::TdiState;
use firmware_tests::device::manager::SecurityManager;
use firmware_tests::device::peer::{self, guest_mac, peer_mac};
use firmware_tests::device::virtio::registers::{OFFERED, RX, TX};
use firmware_tests::lie::Lie;
use firmware_tests::platform::{FunctionCounters, Role};
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{IpAddress, IpEndpoint};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tdisp::clock::Instant;
use tier0::driver::{BUFFERS, Driver, IOVA, MEMORY, SIZE};
use tier0::stack::Stack;
use tier0::{Rig, eventually};

/// Offset of each capability by its identifier.
fn capabilities(driver: &mut Driver) -> (BTreeMap<u32, Vec<u64>>, BTreeMap<u32, u64>) {
    let (mut standard, mut extended) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
    let mut at = u64::from(driver.read_config(0x34) & 0xff);
    while at != 0 {
        let header = driver.read_config(at);
        standard.entry(header & 0xff).or_default().push(at);
        at = u64::from(header >> 8 & 0xff);
    }
    at = 0x100;
    while at != 0 {
        let header = driver.read_config(at);
        extended.insert(header & 0xffff, at);
        at = u64::from(header >> 20);
    }
    (standard, extended)
}

#[test]
fn function_0_shows_tee_io_doe_ide_and_acs() {
    let rig = Rig::new();
    let mut driver = rig.driver(0);
    assert_eq!(driver.read_config(0), 0x7ee0_1b36);
    let (standard, extended) = capabilities(&mut driver);
    let pcie = standard[&0x10][0];
    assert_ne!(driver.read_config(pcie + 4) & 1 << 30, 0, "TEE-IO Supported");
    assert!(
        [0x0d, 0x2e, 0x30].iter().all(|id| extended.contains_key(id)),
        "{extended:x?}"
    );
}

#[test]
fn functions_1_and_2_are_virtio_network_cards_with_msix_and_acs() {
    let rig = Rig::new();
    for function in [1, 2] {
        let mut driver = rig.driver(function);
        assert_eq!(driver.read_config(0), 0x1041_1b36);
        let (standard, extended) = capabilities(&mut driver);
        assert_eq!(
            driver.read_config(standard[&0x10][0] + 4) & 1 << 30,
            0,
            "no TEE-IO bit but on function 0"
        );
        assert_eq!(
            standard[&0x09].len(),
            4,
            "virtio: common, notify, interrupt, device"
        );
        assert!(standard.contains_key(&0x11) && extended.contains_key(&0x0d));
        assert_eq!(driver.read_bar(0x2000), guest_mac(function as u8));
    }
}

const CONTROL: u64 = 0x08;
const STATUS: u64 = 0x0c;
const GO: u32 = 1 << 31;
const READY: u32 = 1 << 31;
const ERROR: u32 = 1 << 2;

fn ask(driver: &mut Driver, doe: u64, object: &[u32]) {
    for dw in object {
        driver.write_config(doe + 0x10, *dw);
    }
    driver.write_config(doe + CONTROL, GO);
}

fn answer(driver: &mut Driver, doe: u64) -> Vec<u32> {
    let mut read = Vec::new();
    while driver.read_config(doe + STATUS) & READY != 0 {
        read.push(driver.read_config(doe + 0x14));
        driver.write_config(doe + 0x14, 0);
    }
    read
}

#[test]
fn an_object_goes_through_the_mailbox_and_its_answer_comes_back() {
    let rig = Rig::new();
    let mut driver = rig.driver(0);
    let doe = capabilities(&mut driver).1[&0x2e];
    for dws in [3, 5, 1000] {
        let object: Vec<u32> = [0x0001_0001, dws].into_iter().chain(2..dws).collect();
        ask(&mut driver, doe, &object);
        assert_eq!(answer(&mut driver, doe), object);
    }
}

#[test]
fn an_object_whose_length_is_wrong_is_an_error_until_the_mailbox_is_aborted() {
    let rig = Rig::new();
    let mut driver = rig.driver(0);
    let doe = capabilities(&mut driver).1[&0x2e];
    ask(&mut driver, doe, &[0x0001_0001, 9, 0]);
    assert_eq!(driver.read_config(doe + STATUS), ERROR);
    driver.write_config(doe + CONTROL, 1);
    ask(&mut driver, doe, &[0x0001_0001, 3, 0]);
    assert_eq!(answer(&mut driver, doe).len(), 3);
}

#[test]
fn a_card_that_lies_about_lengths_does_so_only_once_it_speaks_spdm() {
    let rig = Rig::lying(vec![Lie::WrongLength]);
    let mut driver = rig.driver(0);
    let doe = capabilities(&mut driver).1[&0x2e];
    for (kind, length) in [(0x0000_0001, 3), (0x0001_0001, 4)] {
        ask(&mut driver, doe, &[kind, 3, 0]);
        assert_eq!(answer(&mut driver, doe), [kind, length, 0]);
    }
}

fn echo_request(function: u8) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0, 1, 0, 1];
    let sum = !checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut ip = vec![
        0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 10, 77, function, 2, 10, 77, function, 1,
    ];
    let sum = !checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    [ethernet(function, peer_mac(function), 0x0800), ip, icmp].concat()
}

fn arp_request(function: u8) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1];
    arp.extend(guest_mac(function));
    arp.extend([10, 77, function, 2, 0, 0, 0, 0, 0, 0, 10, 77, function, 1]);
    [ethernet(function, [0xff; 6], 0x0806), arp].concat()
}

fn ethernet(function: u8, to: [u8; 6], kind: u16) -> Vec<u8> {
    [&to[..], &guest_mac(function), &kind.to_be_bytes()].concat()
}

fn checksum(bytes: &[u8]) -> u16 {
    let sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    (sum % 0xffff) as u16
}

/// Makes all of guest memory shared, which a guest that bounces everything comes near to.
fn share_all(rig: &Rig) -> firmware_tests::platform::Client {
    let mut tsm = rig.platform(Role::Tsm).unwrap();
    tsm.share(0, MEMORY).unwrap();
    tsm
}

/// Sends an ARP and an ICMP request, and waits for both answers.
#[track_caller]
fn ping(driver: &mut Driver, function: u8) {
    assert!(driver.send(&arp_request(function)));
    let answer = eventually("an ARP answer", || driver.receive());
    assert_eq!(
        (&answer[6..12], &answer[20..22]),
        (&peer_mac(function)[..], &[0, 2][..])
    );
    assert!(driver.send(&echo_request(function)));
    let answer = eventually("an echo reply", || driver.receive());
    assert_eq!((answer[23], answer[34]), (1, 0), "{answer:x?}");
}

#[test]
fn a_driver_finds_the_peer_behind_each_network_function() {
    let rig = Rig::new();
    let _tsm = share_all(&rig);
    for function in [1, 2] {
        let mut driver = rig.driver(function);
        driver.start();
        ping(&mut driver, function as u8);
    }
}

fn counters(rig: &Rig, function: usize) -> FunctionCounters {
    rig.platform(Role::Observer)
        .unwrap()
        .counters()
        .unwrap()
        .remove(function)
}

#[test]
fn frames_in_private_memory_reach_nobody_and_each_refusal_is_counted() {
    let rig = Rig::new();
    let mut driver = rig.driver(1);
    driver.start();
    assert!(driver.send(&arp_request(1)));
    eventually("completion of the sent chain", || {
        (driver.completed(TX) == 1).then_some(())
    });
    let counters = counters(&rig, 1);
    assert_eq!((counters.tx_packets, counters.refused), (0, 1));
    let refused = counters.last_refused.unwrap();
    assert!(
        refused.gpa.unwrap() >= BUFFERS && refused.why.contains("unlocked"),
        "{refused:?}"
    );
    assert!(counters.allowed > 0, "the rings themselves are within reach");
}

/// Whether a page-sized access to private buffer memory is let through.
#[track_caller]
fn check_probe(rig: &Rig, what: &str, expected: Result<(), &str>) {
    let mut observer = rig.platform(Role::Observer).unwrap();
    let found = observer.dma_probe(1, IOVA + BUFFERS, 0x1000, true).unwrap();
    match (&found, expected) {
        (Ok(()), Ok(())) => {}
        (Err(why), Err(expected)) if why.contains(expected) => {}
        _ => panic!("{what}: {found:?}, expected {expected:?}"),
    }
}

#[test]
fn private_memory_opens_to_a_running_and_enabled_interface_and_closes_with_either() {
    let rig = Rig::new();
    let _driver = rig.driver(1);
    let mut tsm = rig.platform(Role::Tsm).unwrap();
    check_probe(&rig, "at first", Err("private"));
    tsm.share(BUFFERS, 0x1000).unwrap();
    check_probe(&rig, "shared", Ok(()));
    tsm.unshare(BUFFERS, 0x1000).unwrap();
    check_probe(&rig, "private again", Err("private"));
    assert!(tsm.dma(1, true).is_err(), "not before it runs");
    rig.set_state(1, TdiState::Locked);
    tsm.hold(1).unwrap();
    assert!(tsm.dma(1, true).is_err(), "nor while it is locked");
    check_probe(&rig, "locked", Err("locked"));
    rig.set_state(1, TdiState::Run);
    check_probe(&rig, "running", Err("not enabled"));
    tsm.dma(1, true).unwrap();
    check_probe(&rig, "running and enabled", Ok(()));
    tsm.dma(1, false).unwrap();
    check_probe(&rig, "disabled", Err("not enabled"));
    tsm.dma(1, true).unwrap();
    drop(tsm);
    eventually("the TSM's end", || (!counters(&rig, 1).dma_enabled).then_some(()));
    check_probe(&rig, "without a TSM", Err("not enabled"));
}

#[test]
fn an_address_that_is_not_mapped_is_refused_whatever_else_holds() {
    let rig = Rig::new();
    let mut driver = rig.driver(1);
    let mut tsm = rig.platform(Role::Tsm).unwrap();
    tsm.share(0, MEMORY).unwrap();
    rig.run(1, &mut tsm);
    check_probe(&rig, "mapped", Ok(()));
    driver.client.dma_unmap(IOVA, MEMORY).unwrap();
    check_probe(&rig, "unmapped", Err("no mapping"));
}

/// Runs function 1 with full access, lets `breach` happen, and looks whether it ended in ERROR and blocked.
#[track_caller]
fn check_breach(what: &str, breach: impl Fn(&Rig, &mut Driver)) {
    for state in [TdiState::Locked, TdiState::Run] {
        let rig = Rig::new();
        let mut driver = rig.driver(1);
        let mut tsm = share_all(&rig);
        match state {
            TdiState::Run => rig.run(1, &mut tsm),
            _ => rig.set_state(1, state),
        }
        rig.set_state(2, state);
        check_probe(&rig, "before", Ok(()));
        breach(&rig, &mut driver);
        check_probe(&rig, what, Err("ERROR"));
        assert_eq!(counters(&rig, 1).state, "error");
        assert_eq!(
            counters(&rig, 2).state,
            state.to_string(),
            "the other function goes on"
        );
    }
}

#[test]
fn a_locked_interface_fails_when_its_configuration_moves() {
    check_breach("memory space cleared", |_, driver| driver.write_config(4, 4));
    check_breach("bus master cleared", |_, driver| driver.write_config(4, 2));
    check_breach("BAR 0 moved", |_, driver| driver.write_config(0x10, 0xfe88_0000));
    check_breach("function level reset", |_, driver| {
        let pcie = capabilities(driver).0[&0x10][0];
        driver.write_config(pcie + 8, 0x8000 | 0x2810);
    });
    check_breach("reset by the VMM", |_, driver| driver.client.reset().unwrap());
    check_breach("a fault", |rig, _| {
        rig.platform(Role::Observer).unwrap().fault(1).unwrap()
    });
}

/// Looks at the registers when it hears of a fault: whether the function still answers to memory accesses.
struct Looking(Configs, Arc<Mutex<Vec<bool>>>);

impl SecurityManager for Looking {
    fn object(&mut self, _: Instant, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
    fn fault(&mut self, function: usize) {
        let enabled = self.0[function].lock().unwrap().command() & COMMAND_MEMORY != 0;
        self.1.lock().unwrap().push(enabled);
    }
    fn states(&self) -> [TdiState; FUNCTIONS] {
        Default::default()
    }
}

#[test]
fn no_lock_fits_between_a_reset_and_its_fault() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = heard.clone();
    let rig = Rig::with(|configs| Box::new(Looking(configs, list)), Vec::new());
    let mut driver = rig.driver(1);
    heard.lock().unwrap().clear();
    driver.client.reset().unwrap();
    assert_eq!(
        heard.lock().unwrap()[..],
        [false],
        "the registers were reset by then"
    );
}

#[test]
fn an_unlocked_interface_may_be_reconfigured() {
    let rig = Rig::new();
    let mut driver = rig.driver(1);
    driver.write_config(0x10, 0xfe88_0000);
    driver.write_config(4, 0);
    assert_eq!(counters(&rig, 1).state, "unlocked");
}

#[test]
fn mmio_ranges_are_where_the_guest_placed_them() {
    let rig = Rig::new();
    let _driver = rig.driver(1);
    let mut tsm = rig.platform(Role::Tsm).unwrap();
    assert_eq!(tsm.mmio(1, 0).unwrap(), (0xfe80_0000, 0x4000));
    assert_eq!(tsm.mmio(1, 2).unwrap(), (0xfe90_0000, 0x1000));
    assert!(tsm.mmio(1, 1).is_err() && tsm.mmio(2, 0).is_err() && tsm.mmio(9, 0).is_err());
}

#[test]
fn there_is_one_tsm_and_observers_cannot_speak_for_it() {
    let rig = Rig::new();
    let tsm = rig.platform(Role::Tsm).unwrap();
    let error = rig.platform(Role::Tsm).unwrap_err().to_string();
    assert!(error.contains("another TSM"), "{error}");
    let mut observer = rig.platform(Role::Observer).unwrap();
    assert!(
        observer.share(0, 4096).is_err()
            && observer.hold(1).is_err()
            && observer.dma(1, false).is_err()
            && observer.mmio(1, 0).is_err()
    );
    assert!(observer.counters().is_ok());
    drop(tsm);
    let mut tsm = eventually("the seat of the TSM", || rig.platform(Role::Tsm).ok());
    assert!(tsm.fault(1).is_err() && tsm.dma_probe(1, 0, 1, false).is_err());
    assert!(tsm.share(0, 0).is_err() && tsm.share(u64::MAX, 2).is_err() && tsm.hold(3).is_err());
    assert!(tsm.counters().is_ok(), "an error ends nothing");
}

/// Lets the driver do something hostile to the sending queue, then resets the device and sees it work again.
#[track_caller]
fn check_hostile(what: &str, hostile: impl FnOnce(&mut Driver)) {
    let rig = Rig::new();
    let _tsm = share_all(&rig);
    let mut driver = rig.driver(1);
    driver.start();
    hostile(&mut driver);
    driver.notify(TX);
    driver.notify(RX);
    assert_eq!(
        driver.read_config(0),
        0x1041_1b36,
        "{what}: the card still answers"
    );
    driver.start();
    ping(&mut driver, 1);
}

#[test]
fn hostile_rings_stop_at_the_card() {
    check_hostile("a chain that loops", |driver| {
        driver.descriptor(TX, 0, IOVA + BUFFERS, 64, 1, 1);
        driver.descriptor(TX, 1, IOVA + BUFFERS, 64, 1, 0);
        driver.offer(TX, 0);
    });
    check_hostile("a head beyond the table", |driver| driver.offer(TX, 0xfff0));
    check_hostile("a next beyond the table", |driver| {
        driver.descriptor(TX, 0, IOVA + BUFFERS, 64, 1, SIZE);
        driver.offer(TX, 0);
    });
    check_hostile("huge lengths", |driver| {
        for index in 0..SIZE - 1 {
            driver.descriptor(TX, index, IOVA + BUFFERS, u32::MAX, 1, index + 1);
        }
        driver.descriptor(TX, SIZE - 1, IOVA, u32::MAX, 0, 0);
        driver.offer(TX, 0);
    });
    check_hostile("addresses that wrap", |driver| {
        driver.descriptor(TX, 0, u64::MAX - 5, 64, 0, 0);
        driver.offer(TX, 0);
    });
    check_hostile("an index far ahead", |driver| {
        driver.poke(tier0::driver::ring(TX) + 0x402, &0x8000u16.to_le_bytes());
    });
    check_hostile("an indirect descriptor", |driver| {
        driver.descriptor(TX, 0, IOVA + BUFFERS, 64, 4, 0);
        driver.offer(TX, 0);
    });
    check_hostile("readable after writable", |driver| {
        driver.descriptor(TX, 0, IOVA + BUFFERS, 64, 1 | 2, 1);
        driver.descriptor(TX, 1, IOVA + BUFFERS, 64, 0, 0);
        driver.offer(TX, 0);
    });
    check_hostile("nothing to send", |driver| {
        driver.descriptor(TX, 0, IOVA + BUFFERS, 0, 0, 0);
        driver.offer(TX, 0);
    });
}

#[test]
fn hostile_registers_stop_at_the_card() {
    check_hostile("queues at the end of the address space", |driver| {
        driver.negotiate(OFFERED);
        driver.write_bar(0x16, &[1, 0]);
        for register in [0x20, 0x28, 0x30] {
            driver.write_bar(register, &(u64::MAX - 1).to_le_bytes());
        }
        driver.write_bar(0x1c, &[1, 0]);
        driver.write_bar(0x14, &[15]);
    });
    check_hostile("queues at odd addresses", |driver| {
        driver.negotiate(OFFERED);
        for q in [RX, TX] {
            driver.write_bar(0x16, &[q as u8, 0]);
            for register in [0x20, 0x28, 0x30] {
                driver.write_bar(register, &(IOVA + 1).to_le_bytes());
            }
            driver.write_bar(0x1c, &[1, 0]);
        }
        driver.write_bar(0x14, &[15]);
    });
    check_hostile("every register written with ones", |driver| {
        for at in 0..0x40 {
            driver.write_bar(at, &[0xff; 4]);
        }
    });
}

/// A guest's network stack on function 1, in a rig where all memory is shared.
fn stack(rig: &Rig) -> Stack {
    let mut driver = rig.driver(1);
    driver.start();
    Stack::new(1, driver)
}

fn peer_port(port: u16) -> IpEndpoint {
    IpEndpoint::new(IpAddress::Ipv4(peer::peer_address(1)), port)
}

fn connect(stack: &mut Stack, port: u16) -> smoltcp::iface::SocketHandle {
    let buffer = || tcp::SocketBuffer::new(vec![0; 0x8000]);
    let handle = stack.sockets.add(tcp::Socket::new(buffer(), buffer()));
    let context = stack.interface.context();
    let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
    socket.connect(context, peer_port(port), 40_000 + port).unwrap();
    handle
}

#[test]
fn the_source_sends_what_it_is_asked_for_and_closes() {
    let rig = Rig::new();
    let _tsm = share_all(&rig);
    let mut stack = stack(&rig);
    let handle = connect(&mut stack, peer::SOURCE_PORT);
    let (mut asked, mut received) = (false, 0);
    eventually("300000 bytes and the end", || {
        stack.poll();
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if !asked && socket.can_send() {
            asked = socket.send_slice(b"300000\n").is_ok();
        }
        while let Ok(read @ 1..) = socket.recv(|bytes| (bytes.len(), bytes.len())) {
            received += read;
        }
        (asked && received == 300_000 && !socket.may_recv()).then_some(())
    });
}

#[test]
fn the_sink_takes_everything_and_closes_after_the_guest() {
    let rig = Rig::new();
    let _tsm = share_all(&rig);
    let mut stack = stack(&rig);
    let handle = connect(&mut stack, peer::SINK_PORT);
    let mut left = 300_000;
    eventually("all bytes sent and the connection closed", || {
        stack.poll();
        let socket = stack.sockets.get_mut::<tcp::Socket<'_>>(handle);
        if left > 0 && socket.can_send() {
            let sent = socket.send(|room| (room.len().min(left), room.len().min(left)));
            left -= sent.unwrap();
        }
        if left == 0 {
            socket.close();
        }
        matches!(socket.state(), tcp::State::TimeWait | tcp::State::Closed).then_some(())
    });
}

#[test]
fn the_generator_sends_as_many_datagrams_as_ordered() {
    let rig = Rig::new();
    let _tsm = share_all(&rig);
    let mut stack = stack(&rig);
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 64], vec![0; 0x8000]);
    let handle = stack.sockets.add(udp::Socket::new(buffer(), buffer()));
    let socket = stack.sockets.get_mut::<udp::Socket<'_>>(handle);
    socket.bind(7000).unwrap();
    socket
        .send_slice(b"send 50 7000", peer_port(peer::GENERATOR_PORT))
        .unwrap();
    let mut received = 0;
    eventually("50 datagrams", || {
        stack.poll();
        let socket = stack.sockets.get_mut::<udp::Socket<'_>>(handle);
        while let Ok((datagram, _)) = socket.recv() {
            assert_eq!(datagram.len(), 256);
            received += 1;
        }
        (received == 50).then_some(())
    });
}
