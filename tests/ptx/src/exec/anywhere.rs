//! Any access of any space, lane by lane, and where the bytes of an address lie on the host.
//!
//! Generic addresses: those of global memory are themselves; shared, local and parameter memory have windows far above them.

use super::block::Block;
use super::memory::outside_what;
use super::{Decoded, Flow, Handler, LANES, Warp};
use crate::machine::FaultKind;
use crate::memory::AccessError;
use crate::text::ast::Space;

/// Generic addresses from here on are in shared memory: from bit 24 on the block's rank in its cluster plus 1, or 0 for the own
/// block, then the offset.
pub(crate) const SHARED_WINDOW: u64 = 1 << 56;
/// Generic addresses from here on are in the thread's local memory.
pub(crate) const LOCAL_WINDOW: u64 = 2 << 56;
/// Generic addresses from here on are in the kernel's parameters.
pub(crate) const PARAM_WINDOW: u64 = 3 << 56;
/// Behind the last window.
pub(crate) const WINDOWS_END: u64 = 4 << 56;

/// The active lanes for which something holds.
pub(crate) fn lanes_where(mask: u32, f: impl Fn(usize) -> bool) -> u32 {
    (0..LANES).filter(|&lane| mask >> lane & 1 != 0 && f(lane)).fold(0, |lanes, lane| lanes | 1 << lane)
}

/// Why a lane's access is refused.
#[derive(Debug, Clone)]
pub(crate) struct Refused {
    pub(crate) kind: FaultKind,
    pub(crate) what: String,
}

impl Block<'_> {
    /// The place of a lane's bytes on the host.
    pub(crate) fn pointer(
        &self,
        w: &Warp,
        lane: usize,
        space: Space,
        address: u64,
        bytes: u64,
        align: u64,
    ) -> Result<*mut u8, Refused> {
        if !address.is_multiple_of(align) {
            let what = format!("an access of {bytes} bytes at an address that is no multiple of {align}");
            return Err(Refused { kind: FaultKind::MisalignedAddress, what });
        }
        let inside = |base: *mut u8, size: u64, name: &str| {
            if address.checked_add(bytes).is_some_and(|end| end <= size) {
                Ok(base.wrapping_add(address as usize))
            } else {
                let what = format!("an access of {bytes} bytes of {name} memory outside of its {size} bytes");
                Err(Refused { kind: FaultKind::IllegalAddress, what })
            }
        };
        match space {
            Space::Global | Space::Const => match self.memory.resolve(address, bytes) {
                Ok(start) => Ok(start.as_ptr()),
                Err(AccessError::Outside | AccessError::Misaligned) => {
                    Err(Refused { kind: FaultKind::IllegalAddress, what: outside_what(self, address, bytes) })
                }
            },
            Space::Shared => inside(self.shared_base, u64::from(self.shared_bytes), "shared"),
            Space::SharedCluster => self.cluster_pointer(address, bytes),
            Space::Local => {
                let size = u64::from(self.program.local);
                inside(w.local_base.wrapping_add(lane * self.program.local as usize), size, "local")
            }
            Space::Param => {
                let parameters = &self.context.launch.parameters;
                // Nothing writes there: `st.param` is refused by the parser.
                inside(parameters.as_ptr().cast_mut(), parameters.len() as u64, "parameter")
            }
            Space::Generic => {
                let (space, base) = space_of(address);
                self.pointer(w, lane, space, address - base, bytes, align)
            }
        }
    }

    /// An address in the shared memory of a block of the cluster.
    fn cluster_pointer(&self, address: u64, bytes: u64) -> Result<*mut u8, Refused> {
        let (rank, offset) = self.rank_and_offset(address);
        let offset = u64::from(offset);
        let refused = |what| Err(Refused { kind: FaultKind::IllegalAddress, what });
        let Some(base) = self.cluster.borrow().shared.get(rank).copied() else {
            return refused(format!("shared memory of block {rank} of a cluster with fewer blocks"));
        };
        if offset + bytes > u64::from(self.shared_bytes) {
            let size = self.shared_bytes;
            return refused(format!("an access of {bytes} bytes of shared memory outside of the block's {size} bytes"));
        }
        Ok(base.wrapping_add(offset as usize))
    }
}

/// The space of a generic address, and where its window begins.
pub(crate) fn space_of(address: u64) -> (Space, u64) {
    match address {
        SHARED_WINDOW..LOCAL_WINDOW => (Space::SharedCluster, SHARED_WINDOW),
        LOCAL_WINDOW..PARAM_WINDOW => (Space::Local, LOCAL_WINDOW),
        PARAM_WINDOW..WINDOWS_END => (Space::Param, PARAM_WINDOW),
        _ => (Space::Global, 0),
    }
}

/// The fields of `bytes` of [`AnyLoad`] and [`AnyStore`] besides the element's bytes, which are its low 8 bits.
pub(crate) mod any {
    use crate::text::ast::Space;

    /// The element is signed.
    pub(crate) const SIGNED: u32 = 1 << 8;
    /// The registers have 64 bits.
    pub(crate) const WIDE: u32 = 1 << 9;
    /// The registers have 128 bits.
    pub(crate) const QUAD: u32 = 1 << 10;
    /// The address has 64 bits.
    pub(crate) const ADDRESS64: u32 = 1 << 11;
    /// The access writes.
    pub(crate) const WRITES: u32 = 1 << 12;
    /// It is atomic, or strong.
    pub(crate) const STRONG: u32 = 1 << 13;
    /// It is of rows for matrices: 16 bytes at the addresses of eight times `n` lanes.
    pub(crate) const ROWS: u32 = 1 << 14;
    /// It writes, and what was there before counts.
    pub(crate) const READS: u32 = 1 << 15;
    const SPACES: [Space; 7] =
        [Space::Generic, Space::Global, Space::Shared, Space::SharedCluster, Space::Local, Space::Const, Space::Param];

    pub(crate) fn space_bits(space: Space) -> u32 {
        (SPACES.iter().position(|&entry| entry == space).unwrap_or_default() as u32) << 16
    }

    pub(crate) fn space(bits: u32) -> Space {
        SPACES[(bits >> 16 & 7) as usize]
    }
}

/// The addresses of an access in 64 bits, its offset included.
///
/// # Safety
/// `a` is the slot of an address of the width that `bytes` says.
#[inline(always)]
pub(crate) unsafe fn addresses(i: &Decoded, w: &Warp) -> [u64; LANES] {
    // Loops that become vectors where they stand; `map` of an array may stay a call.
    let mut at = [0; LANES];
    // SAFETY: the caller says so.
    unsafe {
        if i.bytes & any::ADDRESS64 != 0 {
            let source = w.slot::<u64>(i.a);
            for lane in 0..LANES {
                at[lane] = source.add(lane).read().wrapping_add(i.imm);
            }
        } else {
            let source = w.slot::<u32>(i.a);
            for lane in 0..LANES {
                at[lane] = u64::from(source.add(lane).read().wrapping_add(i.imm as u32));
            }
        }
    }
    at
}

/// Any `ld`: of any space, lane by lane.
pub(crate) struct AnyLoad;
/// Any `st`.
pub(crate) struct AnyStore;

/// The pointers of all active lanes; those of others are null. `None`: the fault is written down.
///
/// # Safety
/// As of [`addresses`].
pub(crate) unsafe fn pointers(
    i: &Decoded,
    w: &Warp,
    b: &mut Block<'_>,
    bytes: u64,
    align: u64,
) -> Option<[*mut u8; LANES]> {
    // SAFETY: the caller says so.
    let at = unsafe { addresses(i, w) };
    let mut pointers = [std::ptr::null_mut(); LANES];
    let space = any::space(i.bytes);
    for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
        match b.pointer(w, lane, space, at[lane], bytes, align) {
            Ok(pointer) => pointers[lane] = pointer,
            Err(Refused { kind, what }) => {
                let same = |other: usize| {
                    let found = b.pointer(w, other, space, at[other], bytes, align);
                    found.is_err_and(|refused| refused.kind == kind)
                };
                let lanes = lanes_where(w.mask, same);
                b.fail(w, i.site, lanes, kind, what, Some(at[lane]));
                return None;
            }
        }
    }
    Some(pointers)
}

impl Handler for AnyLoad {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { any_load(i, w, b) }
    }
}

impl Handler for AnyStore {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { any_store(i, w, b) }
    }
}

/// # Safety
/// The instruction is one that lowering made for [`AnyLoad`].
unsafe fn any_load(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let size = (i.bytes & 0xFF) as usize;
    let total = (size * i.n as usize) as u64;
    // SAFETY: lowering gave slots as `bytes` says; the pointers are valid for all elements.
    unsafe {
        let Some(pointers) = pointers(i, w, b, total, total) else { return Flow::Fault };
        for n in 0..i.n as usize {
            for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
                let mut raw = [0; 16];
                pointers[lane].add(n * size).copy_to_nonoverlapping(raw.as_mut_ptr(), size);
                let raw = u128::from_le_bytes(raw);
                let spare = 128 - 8 * size as u32;
                let value = if i.bytes & any::SIGNED != 0 { ((raw << spare) as i128 >> spare) as u128 } else { raw };
                if i.bytes & any::QUAD != 0 {
                    w.slot::<u64>(i.r[n]).add(lane).write(value as u64);
                    w.slot::<u64>(i.r[n] + 64).add(lane).write((value >> 64) as u64);
                } else if i.bytes & any::WIDE != 0 {
                    w.slot::<u64>(i.r[n]).add(lane).write(value as u64);
                } else {
                    w.slot::<u32>(i.r[n]).add(lane).write(value as u32);
                }
            }
        }
    }
    Flow::Go
}

/// # Safety
/// The instruction is one that lowering made for [`AnyStore`].
unsafe fn any_store(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let size = (i.bytes & 0xFF) as usize;
    let total = (size * i.n as usize) as u64;
    // SAFETY: lowering gave slots as `bytes` says; the pointers are valid for all elements.
    unsafe {
        let Some(pointers) = pointers(i, w, b, total, total) else { return Flow::Fault };
        for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
            for n in 0..i.n as usize {
                let value = if i.bytes & any::QUAD != 0 {
                    let low = w.slot::<u64>(i.r[n]).add(lane).read();
                    u128::from(w.slot::<u64>(i.r[n] + 64).add(lane).read()) << 64 | u128::from(low)
                } else if i.bytes & any::WIDE != 0 {
                    u128::from(w.slot::<u64>(i.r[n]).add(lane).read())
                } else {
                    u128::from(w.slot::<u32>(i.r[n]).add(lane).read())
                };
                let raw = value.to_le_bytes();
                pointers[lane].add(n * size).copy_from_nonoverlapping(raw.as_ptr(), size);
            }
        }
    }
    Flow::Go
}

/// `isspacep`: the space is in `bytes`.
pub(crate) struct Isspacep;

impl Handler for Isspacep {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        let asked = any::space(i.bytes);
        // SAFETY: lowering gave this handler an address and a predicate.
        unsafe {
            let at = w.lanes::<u64>(i.a);
            let holds = |address: u64| match (space_of(address).0, asked) {
                (Space::SharedCluster, Space::Shared) => (address - SHARED_WINDOW) >> 24 == 0,
                (Space::Global, Space::Const) => false,
                (found, asked) => found == asked,
            };
            w.set_predicate(i.r[0], lanes_where(u32::MAX, |lane| holds(at[lane])));
        }
        Flow::Go
    }
}
