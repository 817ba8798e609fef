//! A device's memory: an address range of its own, which the host cannot read or write by accident.
//!
//! A device address lies in a reserved window that is never readable: a host that follows one ends at once, as it does with a
//! real GPU. Its bytes lie at the same offset in a second window. Page-locked host memory has one address on both sides, as
//! unified addressing has it. Every allocation begins at a granule of 64 KiB, and at least one unused granule lies behind it, so
//! that an access past the end of an allocation hits no other. An address is handed out again only when the window is used up.

use std::collections::BTreeMap;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// Bytes of address space from the beginning of one allocation to a place where the next may begin.
pub const GRANULE: u64 = 64 * 1024;
const GRANULE_BITS: u32 = GRANULE.trailing_zeros();

/// Why an access is not allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No allocation holds these bytes.
    #[error("no allocation holds these bytes")]
    Outside,
    /// The address is not a multiple of the access's size.
    #[error("the address is not a multiple of the access's size")]
    Misaligned,
}

/// A reserved range of host addresses.
struct Reserved {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the range belongs to this value until it is dropped; who accesses its bytes is decided by `Memory`.
unsafe impl Send for Reserved {}
// SAFETY: as above.
unsafe impl Sync for Reserved {}

impl Reserved {
    fn new(bytes: u64, access: ProtFlags) -> std::io::Result<Reserved> {
        let bytes = bytes as usize;
        // SAFETY: a new anonymous mapping at an address that the kernel chooses touches no memory that is in use.
        let start = unsafe { mmap_anonymous(null_mut(), bytes, access, MapFlags::PRIVATE | MapFlags::NORESERVE)? };
        Ok(Reserved { start: NonNull::new(start.cast()).expect("a mapping is not at 0"), bytes })
    }

    fn at(&self, offset: u64) -> *mut u8 {
        self.start.as_ptr().wrapping_add(offset as usize)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` with this size, and ends with its owner.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

/// The kind of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Device memory.
    Device,
    /// Page-locked host memory, which kernels can access too.
    Pinned,
}

/// An allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allocation {
    /// Its first address.
    pub address: u64,
    /// Its size as it was asked for.
    pub bytes: u64,
    /// Its kind.
    pub kind: Kind,
}

/// One of the two ranges: device addresses, and those of pinned memory.
struct Region {
    kind: Kind,
    /// The addresses that are handed out; readable by the host where the kind is `Pinned`.
    window: Reserved,
    /// The bytes of device memory, at the same offsets.
    backing: Option<Reserved>,
    /// For each granule, the offset behind the last byte of the allocation in it, 0 where there is none.
    ends: Reserved,
}

impl Region {
    fn new(kind: Kind, bytes: u64) -> std::io::Result<Region> {
        let window = Reserved::new(bytes, ProtFlags::empty())?;
        let backing = match kind {
            Kind::Device => Some(Reserved::new(bytes, ProtFlags::empty())?),
            Kind::Pinned => None,
        };
        let ends = Reserved::new((bytes >> GRANULE_BITS) * 8, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Region { kind, window, backing, ends })
    }

    fn base(&self) -> u64 {
        self.window.start.as_ptr() as u64
    }

    fn bytes(&self) -> u64 {
        self.window.bytes as u64
    }

    fn end(&self, granule: u64) -> &AtomicU64 {
        debug_assert!(granule < self.bytes() >> GRANULE_BITS);
        // SAFETY: `ends` holds one u64 for each granule of the window, mapped and zeroed, and it is only accessed atomically.
        unsafe { AtomicU64::from_ptr(self.ends.at(granule * 8).cast()) }
    }

    fn bytes_at(&self, offset: u64) -> *mut u8 {
        self.backing.as_ref().unwrap_or(&self.window).at(offset)
    }

    fn granules(&self, allocation: &Allocation) -> std::ops::Range<u64> {
        let first = (allocation.address - self.base()) >> GRANULE_BITS;
        first..first + allocation.bytes.div_ceil(GRANULE)
    }
}

struct Tables {
    allocations: BTreeMap<u64, Allocation>,
    /// By kind: where the next allocation begins.
    next: [u64; 2],
    device_bytes: u64,
}

/// The memory of a device.
pub struct Memory {
    regions: [Region; 2],
    tables: Mutex<Tables>,
    capacity: u64,
    /// A bit for each byte of device memory: whether it was written; where that is asked for.
    written: OnceLock<Reserved>,
}

impl Memory {
    /// Memory of `capacity` bytes; pinned memory does not count.
    pub fn new(capacity: u64) -> std::io::Result<Memory> {
        // Address space costs nothing: enough that addresses are rarely used twice.
        let window = (4 * capacity).next_multiple_of(1 << 40);
        let regions = [Region::new(Kind::Device, window)?, Region::new(Kind::Pinned, 1 << 40)?];
        let tables = Tables { allocations: BTreeMap::new(), next: [GRANULE; 2], device_bytes: 0 };
        Ok(Memory { regions, tables: Mutex::new(tables), capacity, written: OnceLock::new() })
    }

    /// Bytes of the device.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are allocated on the device, in whole granules of 512 bytes as `cuMemAlloc` rounds them.
    pub fn used(&self) -> u64 {
        self.tables().device_bytes
    }

    fn tables(&self) -> std::sync::MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Allocates; `None` where the device's capacity or the host's memory is used up, or `bytes` is 0. The bytes are zero on the
    /// host, and unwritten for the checks.
    pub fn allocate(&self, bytes: u64, kind: Kind) -> Option<u64> {
        if bytes == 0 {
            return None;
        }
        let region = &self.regions[kind as usize];
        let counted = bytes.checked_next_multiple_of(512)?;
        let mut tables = self.tables();
        if kind == Kind::Device && tables.device_bytes.checked_add(counted)? > self.capacity {
            return None;
        }
        let span = bytes.checked_next_multiple_of(GRANULE)? + GRANULE;
        let offset = match tables.next[kind as usize] {
            next if next.checked_add(span)? <= region.bytes() => {
                tables.next[kind as usize] = next + span;
                next
            }
            _ => first_hole(&tables, region, span)?,
        };
        let allocation = Allocation { address: region.base() + offset, bytes, kind };
        let writable = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the range lies in the region's mapping, and no allocation holds it.
        unsafe { mprotect(region.bytes_at(offset).cast(), (span - GRANULE) as usize, writable).ok()? };
        region.granules(&allocation).for_each(|granule| region.end(granule).store(offset + bytes, Ordering::Release));
        self.set_written(&allocation, false);
        tables.allocations.insert(allocation.address, allocation);
        if kind == Kind::Device {
            tables.device_bytes += counted;
        }
        Some(allocation.address)
    }

    /// Frees an allocation; returns it, or `None` where none begins at the address.
    pub fn free(&self, address: u64) -> Option<Allocation> {
        let mut tables = self.tables();
        let allocation = tables.allocations.remove(&address)?;
        let region = &self.regions[allocation.kind as usize];
        region.granules(&allocation).for_each(|granule| region.end(granule).store(0, Ordering::Release));
        let (start, bytes) = (region.bytes_at(address - region.base()), allocation.bytes.next_multiple_of(GRANULE));
        // SAFETY: the range was this allocation's alone; its pages go back, and it can't be accessed until it is handed out anew.
        unsafe {
            let _ = madvise(start.cast(), bytes as usize, Advice::LinuxDontNeed);
            let _ = mprotect(start.cast(), bytes as usize, MprotectFlags::empty());
        }
        if allocation.kind == Kind::Device {
            tables.device_bytes -= allocation.bytes.next_multiple_of(512);
        }
        Some(allocation)
    }

    /// The allocation that holds an address.
    pub fn allocation(&self, address: u64) -> Option<Allocation> {
        let tables = self.tables();
        let (_, allocation) = tables.allocations.range(..=address).next_back()?;
        (address - allocation.address < allocation.bytes).then_some(*allocation)
    }

    /// Whether an address lies where this memory's allocations are, allocated or not.
    pub fn holds(&self, address: u64) -> bool {
        self.regions.iter().any(|region| address.wrapping_sub(region.base()) < region.bytes())
    }

    /// The allocation that begins before an address and nearest to it, for a message.
    pub fn nearest(&self, address: u64) -> Option<Allocation> {
        self.tables().allocations.range(..=address).next_back().map(|(_, allocation)| *allocation)
    }

    /// Every allocation, by address.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.tables().allocations.values().copied().collect()
    }

    /// The place on the host of the bytes at a device address, if one allocation holds all of them.
    #[inline]
    pub fn resolve(&self, address: u64, bytes: u64) -> Result<NonNull<u8>, AccessError> {
        for region in &self.regions {
            let offset = address.wrapping_sub(region.base());
            if offset < region.bytes() {
                // An allocation may end in the middle of a granule; in its last granule and the unused one behind it the end is
                // smaller than the sum.
                let end = region.end(offset >> GRANULE_BITS).load(Ordering::Relaxed);
                if offset.checked_add(bytes).is_some_and(|last| last <= end) {
                    return Ok(NonNull::new(region.bytes_at(offset)).expect("a mapping is not at 0"));
                }
                break;
            }
        }
        Err(AccessError::Outside)
    }

    /// Copies from the device to the host.
    pub fn read(&self, address: u64, target: &mut [u8]) -> Result<(), AccessError> {
        let source = self.resolve(address, target.len() as u64)?;
        // SAFETY: `resolve` says that one allocation holds these bytes; `target` is the host's own. A race with a kernel that runs
        // on the same bytes is the program's, as it is on a GPU: bytes are copied, and none is interpreted here.
        unsafe { source.copy_to_nonoverlapping(NonNull::from(&mut *target).cast(), target.len()) };
        Ok(())
    }

    /// Copies from the host to the device.
    pub fn write(&self, address: u64, source: &[u8]) -> Result<(), AccessError> {
        let target = self.resolve(address, source.len() as u64)?;
        // SAFETY: as in `read`.
        unsafe { target.copy_from_nonoverlapping(NonNull::from(source).cast(), source.len()) };
        self.mark_written(address, source.len() as u64);
        Ok(())
    }

    /// Copies on the device.
    pub fn copy(&self, source: u64, target: u64, bytes: u64) -> Result<(), AccessError> {
        let (from, to) = (self.resolve(source, bytes)?, self.resolve(target, bytes)?);
        // SAFETY: as in `read`; the ranges may overlap.
        unsafe { from.copy_to(to, bytes as usize) };
        self.copy_written(source, target, bytes);
        Ok(())
    }

    /// Sets the bytes of a range and leaves open whether they were written: for memory that is handed out with anything in it.
    pub fn scribble(&self, address: u64, value: u8, bytes: u64) -> Result<(), AccessError> {
        let target = self.resolve(address, bytes)?;
        // SAFETY: as in `read`.
        unsafe { target.write_bytes(value, bytes as usize) };
        Ok(())
    }

    /// Sets bytes.
    pub fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), AccessError> {
        self.scribble(address, value, bytes)?;
        self.mark_written(address, bytes);
        Ok(())
    }
}

/// The bytes of device memory that were written. Bytes of pinned memory always count as written, as the host writes them unseen.
impl Memory {
    /// Keeps track from now on; what is allocated now counts as written. Takes an eighth of the memory that is used.
    pub fn track_writes(&self) {
        let tables = self.tables();
        let bits = self.regions[Kind::Device as usize].bytes() / 8;
        let mut new = false;
        self.written.get_or_init(|| {
            new = true;
            Reserved::new(bits, ProtFlags::READ | ProtFlags::WRITE).expect("address space for the record of writes")
        });
        if new {
            tables.allocations.values().for_each(|allocation| self.set_written(allocation, true));
        }
    }

    /// Everything that is allocated counts as written: after a kernel that ran without a record of its writes.
    pub fn mark_all_written(&self) {
        if self.written.get().is_some() {
            self.tables().allocations.values().for_each(|allocation| self.set_written(allocation, true));
        }
    }

    /// The word of the record for 64 bytes of device memory.
    fn written_word(&self, offset: u64) -> Option<&AtomicU64> {
        let written = self.written.get()?;
        debug_assert!(offset / 8 < written.bytes as u64);
        // SAFETY: the record has a bit for each byte of the region, is mapped and zeroed, and is only accessed atomically.
        Some(unsafe { AtomicU64::from_ptr(written.at(offset / 64 * 8).cast()) })
    }

    /// Offset and bits of each word of the record for a range of device memory.
    fn written_words(&self, address: u64, bytes: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let region = &self.regions[Kind::Device as usize];
        let start = address.wrapping_sub(region.base());
        let inside = self.written.get().is_some() && start < region.bytes();
        let (start, end) = if inside { (start, (start + bytes).min(region.bytes())) } else { (0, 0) };
        (start / 64..end.div_ceil(64)).map(move |word| {
            let (low, high) = (start.max(word * 64) - word * 64, end.min(word * 64 + 64) - word * 64);
            (word * 64, (u64::MAX >> (64 - (high - low))) << low)
        })
    }

    /// Bytes of device memory were written.
    #[inline]
    pub fn mark_written(&self, address: u64, bytes: u64) {
        if bytes == 0 {
            return;
        }
        for (offset, bits) in self.written_words(address, bytes) {
            let Some(word) = self.written_word(offset) else { return };
            if word.load(Ordering::Relaxed) & bits != bits {
                word.fetch_or(bits, Ordering::Relaxed);
            }
        }
    }

    /// Whether a short range was written, as far as a record is kept.
    #[inline]
    pub(crate) fn all_written(&self, address: u64, bytes: u64) -> bool {
        let Some(written) = self.written.get() else { return true };
        let region = &self.regions[Kind::Device as usize];
        let start = address.wrapping_sub(region.base());
        let end = start.saturating_add(bytes);
        if end > region.bytes() {
            return self.first_unwritten(address, bytes).is_none();
        }
        let (first, last) = (start / 64, end.saturating_sub(1) / 64);
        let mut missing = 0;
        for word in first..=last {
            // SAFETY: as in `written_word`; the range lies inside of the region.
            let found = unsafe { AtomicU64::from_ptr(written.at(word * 8).cast()) }.load(Ordering::Relaxed);
            let low = if word == first { u64::MAX << (start % 64) } else { u64::MAX };
            let high = if word == last { u64::MAX >> (63 - (end - 1) % 64) } else { u64::MAX };
            missing |= !found & low & high;
        }
        missing == 0
    }

    /// The first byte of a range that nothing wrote, where a record is kept.
    #[inline]
    pub fn first_unwritten(&self, address: u64, bytes: u64) -> Option<u64> {
        let base = self.regions[Kind::Device as usize].base();
        for (offset, bits) in self.written_words(address, bytes.max(1)) {
            let missing = bits & !self.written_word(offset)?.load(Ordering::Relaxed);
            if missing != 0 {
                return Some(base + offset + u64::from(missing.trailing_zeros()));
            }
        }
        None
    }

    fn set_written(&self, allocation: &Allocation, value: bool) {
        if allocation.kind != Kind::Device {
            return;
        }
        for (offset, bits) in self.written_words(allocation.address, allocation.bytes) {
            let Some(word) = self.written_word(offset) else { return };
            if value {
                word.fetch_or(bits, Ordering::Relaxed);
            } else {
                word.fetch_and(!bits, Ordering::Relaxed);
            }
        }
    }

    /// Marks the copied bytes as written where their source is.
    fn copy_written(&self, source: u64, target: u64, bytes: u64) {
        if self.written.get().is_none() || bytes == 0 {
            return;
        }
        if self.first_unwritten(source, bytes).is_none() {
            return self.mark_written(target, bytes);
        }
        let states: Vec<bool> = (0..bytes).map(|at| self.first_unwritten(source + at, 1).is_none()).collect();
        for (at, state) in states.into_iter().enumerate() {
            let at = target + at as u64;
            let bits = self.written_words(at, 1).next();
            if let Some((offset, bits)) = bits.filter(|_| !state)
                && let Some(word) = self.written_word(offset)
            {
                word.fetch_and(!bits, Ordering::Relaxed);
            } else {
                self.mark_written(at, 1);
            }
        }
    }
}

/// The first place in a used-up window that is free and long enough.
fn first_hole(tables: &Tables, region: &Region, span: u64) -> Option<u64> {
    let mut free = GRANULE;
    for allocation in tables.allocations.values().filter(|allocation| allocation.kind == region.kind) {
        let start = allocation.address - region.base();
        if start.saturating_sub(free) >= span {
            return Some(free);
        }
        free = start + allocation.bytes.next_multiple_of(GRANULE) + GRANULE;
    }
    (free + span <= region.bytes()).then_some(free)
}
