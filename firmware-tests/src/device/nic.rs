//! A network function at work: queues on one side, the peer on the other, and the thread that moves frames.
//!
//! ```text
//!   driver ──notify──► Wake ──► worker thread: [ take what was sent │ peer │ deliver │ interrupt ] until idle
//!   driver ──registers (any thread)──► Mutex<Nic> ◄── one round at a time
//! ```
//! Frames move in batches, and a batch ends in at most one interrupt a queue. While the worker is awake it asks for
//! no notifications; before it sleeps it asks again and looks once more.

use super::dma::Bus;
use super::interrupts::Interrupts;
use super::peer::{Peer, guest_mac};
use super::virtio::net::{self, Delivery};
use super::virtio::queue::{Broken, Chain};
use super::virtio::registers::{Effect, RX, Registers, TX};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Chains taken from the sending queue in one round.
const BATCH: usize = 64;
/// Rounds of one turn, after which the worker looks at its surroundings again.
const ROUNDS_MAX: usize = 64;
/// The longest sleep: a bound on what a lost notification costs.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// One network function.
pub struct Nic {
    registers: Registers,
    peer: Peer,
    bus: Bus,
    interrupts: Arc<Interrupts>,
    wake: Arc<Wake>,
    sent: Chain,
    received: Vec<Chain>,
    started: Instant,
}

impl Nic {
    /// The function that `bus` belongs to, as after a reset.
    pub fn new(bus: Bus, interrupts: Arc<Interrupts>, wake: Arc<Wake>) -> Self {
        let function = bus.function() as u8;
        Self {
            registers: Registers::new(guest_mac(function)),
            peer: Peer::new(function),
            bus,
            interrupts,
            wake,
            sent: Chain::default(),
            received: Vec::new(),
            started: Instant::now(),
        }
    }

    /// Reads the registers' BAR.
    pub fn read(&mut self, at: u64, out: &mut [u8]) {
        self.registers.read(at, out);
    }

    /// Writes the registers' BAR.
    pub fn write(&mut self, at: u64, data: &[u8]) {
        match self.registers.write(at, data) {
            Effect::None => {}
            Effect::Queues => self.requeue(),
            Effect::Notified(_) => self.wake.notify(),
        }
    }

    /// Forgets what the driver set up, as a reset does.
    pub fn reset(&mut self) {
        self.registers = Registers::new(guest_mac(self.bus.function() as u8));
        self.requeue();
    }

    fn requeue(&self) {
        let rings = self.registers.rings();
        self.bus.enforcer().set_rings(self.bus.function(), rings);
        self.wake.notify();
    }

    /// Moves one batch each way. Answers whether anything moved.
    fn round(&mut self) -> bool {
        if !self.registers.is_live() {
            self.peer.drain();
            return false;
        }
        let outcome = self.take_sent().and_then(|sent| {
            self.peer.poll(self.started.elapsed());
            Ok(sent + self.deliver()? > 0)
        });
        outcome.unwrap_or_else(|broken| self.give_up(broken))
    }

    /// A driver that broke the rules gets no service until it resets the device. A ring that cannot be reached
    /// only ends the round, and what waits for the guest is lost.
    fn give_up(&mut self, broken: Broken) -> bool {
        let function = self.bus.function();
        if broken.is_final() {
            tracing::warn!(function, %broken, "no service until the driver resets the device");
            self.registers.set_needs_reset();
        } else {
            tracing::debug!(function, %broken, "a round ends early");
        }
        self.peer.drain();
        false
    }

    /// Takes what the guest sent. Pages and mappings are held still for one frame at a time, because the VMM waits
    /// meanwhile if it has a mapping to change.
    fn take_sent(&mut self) -> Result<u64, Broken> {
        let mut usable = 0;
        for _ in 0..BATCH {
            let mut frame = self.peer.buffer();
            let sent = net::send(&mut self.registers, &self.bus.begin(), &mut self.sent, &mut frame);
            if sent == Ok(Some(true)) {
                usable += 1;
                self.peer.put(frame);
                continue;
            }
            self.peer.discard(frame);
            if sent?.is_none() {
                break;
            }
        }
        self.bus.enforcer().count_packets(self.bus.function(), usable, 0);
        self.publish(TX)?;
        Ok(usable)
    }

    fn deliver(&mut self) -> Result<u64, Broken> {
        let mut delivered = 0;
        while let Some(frame) = self.peer.front() {
            match net::receive(&mut self.registers, &self.bus.begin(), &mut self.received, frame)? {
                Delivery::Done => delivered += 1,
                Delivery::Lost => {}
                Delivery::NoBuffers => break,
            }
            self.peer.pop();
        }
        self.bus
            .enforcer()
            .count_packets(self.bus.function(), 0, delivered);
        self.publish(RX)?;
        Ok(delivered)
    }

    /// Shows the driver what was completed on a queue, and interrupts it if it wants that.
    fn publish(&mut self, queue: usize) -> Result<(), Broken> {
        if net::publish(&mut self.registers, &self.bus.begin(), queue)?
            && let Some(vector) = self.registers.vector(queue)
        {
            self.interrupts.trigger(vector);
        }
        Ok(())
    }

    /// Asks for notifications, or for none while awake. Answers whether there is work already.
    fn want_notifications(&mut self, wanted: bool) -> bool {
        if !self.registers.is_live() {
            return false;
        }
        let memory = self.bus.begin();
        let waiting = wanted && self.peer.front().is_some();
        let sent = net::want_notifications(&mut self.registers, &memory, TX, wanted);
        let refilled = net::want_notifications(&mut self.registers, &memory, RX, waiting);
        sent.unwrap_or(false) | refilled.unwrap_or(false)
    }

    /// How long the worker may sleep.
    fn sleep(&mut self) -> Duration {
        if self.peer.front().is_some() {
            return SLEEP_MAX; // only the driver can help, and it notifies
        }
        let delay = self.peer.poll_delay(self.started.elapsed());
        delay.map_or(SLEEP_MAX, |delay| delay.min(SLEEP_MAX))
    }

    /// Bytes that the peer's TCP sink discarded.
    pub fn sunk_bytes(&self) -> u64 {
        self.peer.sunk_bytes()
    }
}

/// A doorbell: rings are remembered until the worker sleeps next.
#[derive(Debug, Default)]
pub struct Wake {
    rung: Mutex<Rung>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rung {
    work: bool,
    stop: bool,
}

impl Wake {
    /// There is work.
    pub fn notify(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).work = true;
        self.changed.notify_one();
    }

    /// The worker ends.
    pub fn stop(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.changed.notify_one();
    }

    /// Waits for work, at most `delay`. False if the worker should end.
    fn sleep(&self, delay: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(rung, delay, |rung| !rung.work && !rung.stop);
        let (mut rung, _) = waited.unwrap_or_else(PoisonError::into_inner);
        rung.work = false;
        !rung.stop
    }
}

/// The worker: moves frames until `wake` says stop.
pub fn work(nic: &Mutex<Nic>, wake: &Wake) {
    let lock = || nic.lock().unwrap_or_else(PoisonError::into_inner);
    let mut delay = SLEEP_MAX;
    while wake.sleep(delay) {
        lock().want_notifications(false);
        let idle = (0..ROUNDS_MAX).any(|_| !lock().round());
        let mut nic = lock();
        let more = nic.want_notifications(true) || !idle;
        delay = if more { Duration::ZERO } else { nic.sleep() };
    }
}
