//! The device's way to guest memory: translate, ask the gate, copy. There is no other.
//!
//! An access that crosses mappings is decided piece by piece before anything is copied, so a refused access
//! moves no byte.

use super::enforcer::{Enforcer, Facts};
use super::gate::{Access, Refusal};
use super::memory::{Memory, Piece};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use vm_memory::{Bytes, VolatileMemory, VolatileSlice};

/// The pieces an access is cut into at most. A frame of 64 KiB in pages of 4 KiB takes 17.
const PIECES_MAX: usize = 64;

/// One function's access to memory.
#[derive(Clone)]
pub struct Bus {
    function: usize,
    enforcer: Arc<Enforcer>,
    memory: Arc<RwLock<Memory>>,
}

impl Bus {
    /// Memory of `function`, empty until something is mapped.
    pub fn new(function: usize, enforcer: Arc<Enforcer>) -> Self {
        Self {
            function,
            enforcer,
            memory: Arc::default(),
        }
    }

    /// Which function it is.
    pub fn function(&self) -> usize {
        self.function
    }

    /// Facts and counts of the platform.
    pub fn enforcer(&self) -> &Enforcer {
        &self.enforcer
    }

    /// Changes the mappings, when no transfer is under way.
    pub fn remap<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.memory.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins some transfers. While it lives, mappings and pages stay as they are: keep it short.
    pub fn begin(&self) -> Transfers<'_> {
        Transfers {
            function: self.function,
            enforcer: &self.enforcer,
            memory: self.memory.read().unwrap_or_else(PoisonError::into_inner),
            facts: self.enforcer.facts(),
        }
    }
}

/// Transfers under one view of mappings and pages.
pub struct Transfers<'a> {
    function: usize,
    enforcer: &'a Enforcer,
    memory: RwLockReadGuard<'a, Memory>,
    facts: RwLockReadGuard<'a, Facts>,
}

impl Transfers<'_> {
    /// Copies guest memory at `iova` into `out`. On a refusal `out` is untouched.
    pub fn read(&self, iova: u64, out: &mut [u8]) -> Result<(), Refusal> {
        self.each_piece(iova, out.len(), false, |at, slice| {
            slice.copy_to(&mut out[at..at + slice.len()]);
        })
    }

    /// Copies `data` to guest memory at `iova`. On a refusal memory is untouched.
    pub fn write(&self, iova: u64, data: &[u8]) -> Result<(), Refusal> {
        self.each_piece(iova, data.len(), true, |at, slice| {
            slice.copy_from(&data[at..at + slice.len()]);
        })
    }

    /// Loads two bytes in one access, as an index that the driver writes meanwhile has to be read: a copy may take
    /// them one by one.
    pub fn load_u16(&self, iova: u64) -> Result<u16, Refusal> {
        let mut value = Err(Refusal::Misaligned);
        self.each_piece(iova, 2, false, |_, slice| {
            value = slice.load(0, Ordering::Acquire).map_err(|_| Refusal::Misaligned);
        })?;
        value.map(u16::from_le)
    }

    /// Stores two bytes in one access.
    pub fn store_u16(&self, iova: u64, value: u16) -> Result<(), Refusal> {
        let mut stored = Err(Refusal::Misaligned);
        self.each_piece(iova, 2, true, |_, slice| {
            stored = slice
                .store(value.to_le(), 0, Ordering::Release)
                .map_err(|_| Refusal::Misaligned);
        })?;
        stored
    }

    /// Whether an access would be let through; counted like a real one.
    pub fn probe(&self, iova: u64, len: usize, write: bool) -> Result<(), Refusal> {
        self.each_piece(iova, len, write, |_, _| {})
    }

    fn each_piece(
        &self,
        iova: u64,
        len: usize,
        write: bool,
        mut copy: impl FnMut(usize, VolatileSlice<'_>),
    ) -> Result<(), Refusal> {
        // Nearly every access lies within one mapping.
        let first = self.check(iova, len as u64, write)?;
        if first.len == len as u64 {
            copy(0, slice(&first)?);
        } else {
            let mut pieces = vec![first];
            while let Some(last) = pieces.last()
                && last.iova + last.len < iova + len as u64
            {
                if pieces.len() == PIECES_MAX {
                    return Err(Refusal::NotMapped);
                }
                let (at, end) = (last.iova + last.len, iova + len as u64);
                pieces.push(self.check(at, end - at, write)?);
            }
            for piece in pieces {
                copy((piece.iova - iova) as usize, slice(&piece)?);
            }
        }
        self.enforcer.count_allowed(self.function, len as u64);
        Ok(())
    }

    /// The piece of an access at `iova`, if mapped in that direction and let through; counts a refusal.
    fn check(&self, iova: u64, len: u64, write: bool) -> Result<Piece<'_>, Refusal> {
        let mut access = Access {
            iova,
            gpa: 0,
            len,
            write,
        };
        let refuse = |access: Access, gpa, why| {
            self.enforcer.count_refused(self.function, access, gpa, why);
            Err(why)
        };
        let wraps = iova.checked_add(len).is_none();
        let Some(piece) = self.memory.piece(iova, len).filter(|_| !wraps && len > 0) else {
            return refuse(access, None, Refusal::NotMapped);
        };
        (access.gpa, access.len) = (piece.gpa, piece.len);
        let allowed = if write {
            piece.rights.write
        } else {
            piece.rights.read
        };
        if !allowed {
            return refuse(access, Some(piece.gpa), Refusal::Direction);
        }
        match self.facts.decide(self.function, access) {
            Ok(_) => Ok(piece),
            Err(why) => refuse(access, Some(piece.gpa), why),
        }
    }
}

/// The mapped bytes of a piece. The map keeps pieces inside their file, so the error is unreachable in practice.
fn slice<'a>(piece: &Piece<'a>) -> Result<VolatileSlice<'a>, Refusal> {
    let (at, len) = (piece.gpa as usize, piece.len as usize);
    piece.file.get_slice(at, len).map_err(|_| Refusal::NotMapped)
}

#[cfg(test)]
mod tests {
    use super::super::gate::TdiState;
    use super::super::memory::Rights;
    use super::*;

    const BOTH: Rights = Rights {
        read: true,
        write: true,
    };

    fn bus() -> Bus {
        let bus = Bus::new(1, Arc::default());
        let file = tempfile::tempfile().unwrap();
        file.set_len(0x10000).unwrap();
        let again = file.try_clone().unwrap();
        bus.remap(|memory| {
            memory.map(0x8000, 0x1000, 0x3000, BOTH, file).unwrap();
            memory.map(0x9000, 0x1000, 0x1000, BOTH, again).unwrap();
        });
        bus
    }

    #[test]
    fn an_access_across_mappings_reaches_each_ones_pages() {
        let bus = bus();
        bus.enforcer().share(0x3000, 0x1000).unwrap();
        bus.enforcer().share(0x1000, 0x1000).unwrap();
        let transfers = bus.begin();
        transfers.write(0x8ffe, &[1, 2, 3, 4]).unwrap();
        let mut out = [0; 2];
        transfers.read(0x9000, &mut out).unwrap();
        assert_eq!(out, [3, 4]);
        assert_eq!(bus.enforcer().counters()[1].allowed_bytes, 6);
    }

    #[test]
    fn an_access_refused_in_its_second_piece_moves_no_byte() {
        let bus = bus();
        bus.enforcer().share(0x3000, 0x1000).unwrap();
        let refused = bus.begin().write(0x8ffe, &[1, 2, 3, 4]);
        assert_eq!(refused, Err(Refusal::NotRunning(TdiState::Unlocked)));
        let mut out = [0xee; 2];
        bus.begin().read(0x8ffe, &mut out).unwrap();
        assert_eq!(out, [0, 0]);
        let counters = &bus.enforcer().counters()[1];
        assert_eq!(counters.refused, 1);
        assert_eq!(counters.last_refused.as_ref().unwrap().gpa, Some(0x1000));
    }

    #[test]
    fn an_index_is_loaded_and_stored_whole_or_not_at_all() {
        let bus = bus();
        bus.enforcer().share(0x1000, 0x3000).unwrap();
        let transfers = bus.begin();
        transfers.store_u16(0x8ffe, 0x1234).unwrap();
        assert_eq!(transfers.load_u16(0x8ffe), Ok(0x1234));
        for odd in [0x8001, 0x8fff] {
            assert_eq!(transfers.load_u16(odd), Err(Refusal::Misaligned));
            assert_eq!(transfers.store_u16(odd, 1), Err(Refusal::Misaligned));
        }
    }

    #[test]
    fn unmapped_empty_and_wrapping_accesses_are_refused() {
        let bus = bus();
        for (iova, len) in [(0x7000, 4), (0xa000, 1), (0x9ffe, 4), (0x8000, 0), (u64::MAX, 2)] {
            assert!(bus.begin().probe(iova, len, false).is_err(), "{iova:#x}+{len}");
        }
    }
}
