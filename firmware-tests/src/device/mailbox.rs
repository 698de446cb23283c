//! The device's side of a DOE mailbox (PCIe 6.x §6.30.2): registers in, whole data objects out.
//!
//! ```text
//!          write DWs              GO                 answered
//!   Idle ────────────► Idle ────────────► Busy ────────────────► Ready ──last DW acknowledged──► Idle
//!                                          │ length wrong
//!                                          ▼
//!                                        Error ──abort──► Idle          (abort leads to Idle from everywhere)
//! ```
//! The mailbox frames objects and nothing more: it compares the length field with what was written, because the
//! read side could not be framed otherwise, and never looks at what an object says.

use std::collections::VecDeque;

/// DOE Control register, from the capability's start.
pub const CONTROL: usize = 0x08;
/// DOE Status register.
pub const STATUS: usize = 0x0c;
/// DOE Write Data Mailbox register.
pub const WRITE: usize = 0x10;
/// DOE Read Data Mailbox register.
pub const READ: usize = 0x14;
/// Bytes of the capability.
pub const LEN: usize = 0x18;

const CONTROL_ABORT: u32 = 1 << 0;
const CONTROL_GO: u32 = 1 << 31;
const STATUS_BUSY: u32 = 1 << 0;
const STATUS_ERROR: u32 = 1 << 2;
const STATUS_READY: u32 = 1 << 31;

/// The largest object taken or given, in DWs (256 KiB). The format allows 1 MiB; nothing spoken here needs it.
pub const OBJECT_DW_MAX: usize = 0x1_0000;

/// The mailbox's registers.
#[derive(Debug, Default)]
pub struct Mailbox {
    written: Vec<u32>,
    unread: VecDeque<u32>,
    busy: Option<Exchange>,
    error: bool,
    exchanges: u64,
}

/// Which object an answer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange(u64);

impl Mailbox {
    /// The register at `offset` from the capability's start; zero where there is none.
    pub fn read(&self, offset: usize) -> u32 {
        let bit = |set: bool, mask: u32| if set { mask } else { 0 };
        match offset {
            STATUS => {
                bit(self.busy.is_some(), STATUS_BUSY)
                    | bit(self.error, STATUS_ERROR)
                    | bit(!self.unread.is_empty(), STATUS_READY)
            }
            READ => self.unread.front().copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Writes a register. Answers an object when the requester says that it is complete; the device then gives
    /// its answer to [`Mailbox::answer`].
    pub fn write(&mut self, offset: usize, value: u32) -> Option<(Exchange, Vec<u8>)> {
        match offset {
            CONTROL if value & CONTROL_ABORT != 0 => self.abort(),
            CONTROL if value & CONTROL_GO != 0 => return self.go(),
            WRITE => self.push(value),
            READ if self.unread.pop_front().is_some() => {}
            _ => {}
        }
        None
    }

    fn push(&mut self, value: u32) {
        // Writing while an exchange is under way is the requester's mistake, and only an abort ends it.
        if self.busy.is_some() || self.written.len() == OBJECT_DW_MAX {
            self.error = true;
        } else {
            self.written.push(value);
        }
    }

    /// Back to idle, from wherever it is.
    pub fn abort(&mut self) {
        *self = Self {
            exchanges: self.exchanges,
            ..Self::default()
        };
    }

    fn go(&mut self) -> Option<(Exchange, Vec<u8>)> {
        let written = std::mem::take(&mut self.written);
        let claimed = written.get(1).map_or(0, |dw| (dw & 0x3_ffff) as usize);
        if self.busy.is_some() || self.error || written.len() < 2 || claimed != written.len() {
            self.error = true;
            return None;
        }
        self.unread.clear();
        self.exchanges += 1;
        let exchange = Exchange(self.exchanges);
        self.busy = Some(exchange);
        let object = written.iter().flat_map(|dw| dw.to_le_bytes()).collect();
        Some((exchange, object))
    }

    /// Gives the answer to an object: `None` is silence, which a requester sees as a mailbox that never becomes ready.
    /// Ignored if the requester aborted that exchange meanwhile.
    pub fn answer(&mut self, exchange: Exchange, object: Option<&[u8]>) {
        if self.busy.take_if(|busy| *busy == exchange).is_none() {
            return;
        }
        let Some(object) = object else { return };
        self.unread.extend(object.chunks(4).map(|chunk| {
            let mut dw = [0; 4];
            dw[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(dw)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(mailbox: &mut Mailbox, dws: &[u32]) -> Option<(Exchange, Vec<u8>)> {
        for dw in dws {
            assert_eq!(mailbox.write(WRITE, *dw), None);
        }
        mailbox.write(CONTROL, CONTROL_GO)
    }

    #[test]
    fn an_object_goes_in_and_its_answer_comes_out() {
        let mut mailbox = Mailbox::default();
        let (exchange, object) = put(&mut mailbox, &[0x0000_0001, 3, 0]).unwrap();
        assert_eq!(object.len(), 12);
        assert_eq!(mailbox.read(STATUS), STATUS_BUSY);
        mailbox.answer(exchange, Some(&[1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 1]));
        let mut read = Vec::new();
        while mailbox.read(STATUS) & STATUS_READY != 0 {
            read.push(mailbox.read(READ));
            mailbox.write(READ, 0);
        }
        assert_eq!(read, [1, 3, 0x0001_0001 & 0xff_ffff]);
        assert_eq!(mailbox.read(STATUS), 0);
    }

    #[test]
    fn a_wrong_length_is_an_error_until_aborted() {
        for dws in [&[][..], &[1], &[1, 3], &[1, 1, 1], &[1, 0x3_ffff, 1]] {
            let mut mailbox = Mailbox::default();
            assert_eq!(put(&mut mailbox, dws), None, "{dws:x?}");
            assert_eq!(mailbox.read(STATUS), STATUS_ERROR);
            assert_eq!(put(&mut mailbox, &[1, 3, 0]), None, "an error lasts");
            mailbox.write(CONTROL, CONTROL_ABORT);
            assert_eq!(mailbox.read(STATUS), 0);
            assert!(put(&mut mailbox, &[1, 3, 0]).is_some());
        }
    }

    #[test]
    fn more_than_the_largest_object_is_an_error_and_takes_no_more_memory() {
        let mut mailbox = Mailbox::default();
        (0..OBJECT_DW_MAX + 10).for_each(|_| drop(mailbox.write(WRITE, 0)));
        assert_eq!(mailbox.written.len(), OBJECT_DW_MAX);
        assert_eq!(mailbox.read(STATUS), STATUS_ERROR);
    }

    #[test]
    fn an_answer_to_an_aborted_exchange_goes_nowhere() {
        let mut mailbox = Mailbox::default();
        let (aborted, _) = put(&mut mailbox, &[1, 3, 0]).unwrap();
        mailbox.write(CONTROL, CONTROL_ABORT);
        mailbox.answer(aborted, Some(&[0; 12]));
        assert_eq!(mailbox.read(STATUS), 0);
        let (next, _) = put(&mut mailbox, &[1, 3, 0]).unwrap();
        mailbox.answer(aborted, Some(&[0; 12]));
        assert_eq!(mailbox.read(STATUS), STATUS_BUSY);
        mailbox.answer(next, Some(&[0; 12]));
        assert_eq!(mailbox.read(STATUS), STATUS_READY);
    }
}
