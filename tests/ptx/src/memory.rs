//! A device's memory: an address range of its own, which the host cannot read or write by accident.
//!
//! A device address lies in a reserved window that is never readable: a host that follows one ends at once, as it does with a
//! real GPU. Its bytes lie at the same offset in a second window. Page-locked host memory has one address on both sides, as
//! unified addressing has it. Every allocation begins at a granule of 64 KiB, and at least one unused granule lies behind it, so
//! that an access past the end of an allocation hits no other. An address is handed out again only when the window is used up.

use std::collections::BTreeMap;
use std::ptr::{NonNull, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// What an allocation is.
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
    /// What it is.
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
}

impl Memory {
    /// Memory of `capacity` bytes; pinned memory does not count.
    pub fn new(capacity: u64) -> std::io::Result<Memory> {
        // Address space costs nothing: enough that addresses are rarely used twice.
        let window = (4 * capacity).next_multiple_of(1 << 40);
        let regions = [Region::new(Kind::Device, window)?, Region::new(Kind::Pinned, 1 << 40)?];
        let tables = Tables { allocations: BTreeMap::new(), next: [GRANULE; 2], device_bytes: 0 };
        Ok(Memory { regions, tables: Mutex::new(tables), capacity })
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

    /// Where the bytes at a device address lie on the host, if one allocation holds all of them.
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
        Ok(())
    }

    /// Copies on the device.
    pub fn copy(&self, source: u64, target: u64, bytes: u64) -> Result<(), AccessError> {
        let (from, to) = (self.resolve(source, bytes)?, self.resolve(target, bytes)?);
        // SAFETY: as in `read`; the ranges may overlap.
        unsafe { from.copy_to(to, bytes as usize) };
        Ok(())
    }

    /// Sets bytes.
    pub fn fill(&self, address: u64, value: u8, bytes: u64) -> Result<(), AccessError> {
        let target = self.resolve(address, bytes)?;
        // SAFETY: as in `read`.
        unsafe { target.write_bytes(value, bytes as usize) };
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_stays_in_its_allocation() {
        let memory = Memory::new(1 << 30).expect("address space");
        let address = memory.allocate(100, Kind::Device).expect("memory");
        assert_eq!(memory.write(address, &[7; 100]), Ok(()));
        assert_eq!(memory.write(address + 1, &[7; 100]), Err(AccessError::Outside));
        assert_eq!(memory.resolve(address - 1, 1), Err(AccessError::Outside));
        assert_eq!(memory.resolve(u64::MAX, 1), Err(AccessError::Outside));
        assert_eq!(memory.resolve(address, u64::MAX), Err(AccessError::Outside));
        let other = memory.allocate(GRANULE, Kind::Device).expect("memory");
        assert_eq!(memory.copy(address, other, 100), Ok(()));
        let mut bytes = [0; 100];
        assert_eq!(memory.read(other, &mut bytes), Ok(()));
        assert_eq!(bytes, [7; 100]);
        assert_eq!(memory.resolve(other + GRANULE - 1, 2), Err(AccessError::Outside));
    }

    #[test]
    fn what_was_freed_is_not_found_and_not_handed_out_again() {
        let memory = Memory::new(1 << 20).expect("address space");
        let first = memory.allocate(1 << 20, Kind::Device).expect("memory");
        assert_eq!(memory.allocate(1, Kind::Device), None);
        assert_eq!(memory.free(first + 1), None);
        assert_eq!(memory.free(first).map(|allocation| allocation.bytes), Some(1 << 20));
        assert_eq!(memory.free(first), None);
        assert_eq!(memory.resolve(first, 1), Err(AccessError::Outside));
        assert_ne!(memory.allocate(1 << 20, Kind::Device).expect("memory"), first);
    }

    #[test]
    fn pinned_memory_has_one_address() {
        let memory = Memory::new(1 << 20).expect("address space");
        let address = memory.allocate(64, Kind::Pinned).expect("memory");
        assert_eq!(memory.resolve(address, 64).map(|at| at.as_ptr() as u64), Ok(address));
        assert_eq!(memory.used(), 0);
    }
}
