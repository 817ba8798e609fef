//! Loads and stores (§9.7.9) in their common forms, as vectors; the others are in `anywhere`.

use super::anywhere::{lanes_where, pointers};
use super::block::Block;
use super::lanes::{Cell, PIECE};
use super::turn::{turn_fours, turn_twos};
use super::{Decoded, Flow, Handler, LANES, Warp};
use crate::machine::FaultKind;

/// The relation of an element in memory and a register.
pub(crate) trait Element: 'static {
    type Raw: Copy + Default;
    type Cell: Cell;
    fn widen(raw: Self::Raw) -> Self::Cell;
    fn narrow(cell: Self::Cell) -> Self::Raw;
}

macro_rules! elements {
    ($($name:ident: $raw:ty, $cell:ty;)*) => {$(
        pub(crate) struct $name;
        impl Element for $name {
            type Raw = $raw;
            type Cell = $cell;
            #[inline(always)]
            fn widen(raw: $raw) -> $cell {
                raw as $cell
            }
            #[inline(always)]
            fn narrow(cell: $cell) -> $raw {
                cell as $raw
            }
        }
    )*};
}

elements! {
    Byte: u8, u32;
    Half: u16, u32;
    Word: u32, u32;
    Double: u64, u64;
}

/// The places of each lane's elements, from [`Reached::base`] on. Inactive lanes have an active one's place.
#[repr(align(64))]
pub(crate) struct At<O>([O; LANES]);

impl At<u32> {
    /// Sixteen lanes, in two halves: they are read one by one, and reads of the upper half of a vector of 64 bytes would wait until the
    /// write has left the processor.
    #[inline(always)]
    fn put(&mut self, piece: usize, lanes: [u32; PIECE]) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: 64 bytes become two halves of 32, and lie at a multiple of 64; a volatile write is not joined with its neighbour.
        unsafe {
            use std::arch::x86_64::__m256i;
            let [low, high] = std::mem::transmute::<[u32; PIECE], [__m256i; 2]>(lanes);
            let place = self.0[piece * PIECE..][..PIECE].as_mut_ptr().cast::<__m256i>();
            place.write_volatile(low);
            place.add(1).write_volatile(high);
        }
        #[cfg(not(target_arch = "x86_64"))]
        self.0[piece * PIECE..][..PIECE].copy_from_slice(&lanes);
    }
}

/// The known facts about the places of all lanes.
pub(crate) struct Reached {
    base: *mut u8,
    /// Lanes lie one behind the other.
    linear: bool,
    /// All lanes have one address.
    same: bool,
}

impl Reached {
    /// The place of an element. By way of an address, not of `base` as a pointer: it is 0 where lanes are in several allocations, and the
    /// compiler takes what is reached from a null pointer for unreachable.
    #[inline(always)]
    fn place(&self, offset: impl Offset) -> *mut u8 {
        std::ptr::with_exposed_provenance_mut(self.base.expose_provenance().wrapping_add(offset.bytes()))
    }
}

/// An offset of a lane.
pub(crate) trait Offset: Copy + Default {
    fn bytes(self) -> usize;
}

impl Offset for u32 {
    #[inline(always)]
    fn bytes(self) -> usize {
        self as usize
    }
}

impl Offset for u64 {
    #[inline(always)]
    fn bytes(self) -> usize {
        self as usize
    }
}

/// A space whose accesses come as vectors.
pub(crate) trait Fast {
    type Offset: Offset;
    /// # Safety
    /// `a` is the slot of an address of this space's width.
    unsafe fn reach<const WHOLE: bool>(
        i: &Decoded,
        w: &mut Warp,
        b: &mut Block<'_>,
        element: usize,
        count: usize,
        at: &mut At<Self::Offset>,
    ) -> Option<Reached>;
}

/// `.global` by 64-bit addresses.
pub(crate) struct Global;
/// `.shared` by 32-bit addresses.
pub(crate) struct Shared;
/// `.local` by 32-bit addresses.
pub(crate) struct Local;
/// `.local` by 64-bit addresses.
pub(crate) struct LocalWide;

impl Fast for Global {
    type Offset = u64;

    #[inline(always)]
    unsafe fn reach<const WHOLE: bool>(
        i: &Decoded,
        w: &mut Warp,
        b: &mut Block<'_>,
        element: usize,
        count: usize,
        at: &mut At<u64>,
    ) -> Option<Reached> {
        let source = w.slot::<u64>(i.a);
        // SAFETY: the caller says so.
        let first = unsafe { source.add(w.first()).read() };
        let (mut low, mut high, mut bits, mut apart) = (u64::MAX, 0, 0, 0);
        let size = (element * count) as u64;
        for lane in 0..LANES {
            // SAFETY: as above.
            let address = unsafe { source.add(lane).read() };
            let address = if WHOLE { address } else { address.blend(first, w.mask >> lane) };
            let address = address.wrapping_add(i.imm);
            at.0[lane] = address;
            low = low.min(address);
            high = high.max(address);
            bits |= address;
            apart |= address.wrapping_sub(first.wrapping_add(i.imm)) ^ (lane as u64 * size);
        }
        if bits & (size - 1) != 0 {
            misaligned(i, w, b, &at.0, size);
            return None;
        }
        let base = match b.memory.resolve(low, (high - low).saturating_add(size)) {
            Ok(start) => start.as_ptr().wrapping_sub(low as usize),
            Err(_) => {
                for lane in 0..LANES {
                    match b.memory.resolve(at.0[lane], size) {
                        Ok(start) => at.0[lane] = start.as_ptr() as u64,
                        Err(_) => {
                            // SAFETY: the caller says that the slot is there.
                            let bases = unsafe { w.lanes::<u64>(i.a) };
                            outside(i, w, b, &bases, size);
                            return None;
                        }
                    }
                }
                return Some(Reached { base: std::ptr::null_mut(), linear: false, same: low == high });
            }
        };
        Some(Reached { base, linear: WHOLE && apart == 0, same: low == high })
    }
}

impl Fast for Shared {
    type Offset = u32;

    #[inline(always)]
    unsafe fn reach<const WHOLE: bool>(
        i: &Decoded,
        w: &mut Warp,
        b: &mut Block<'_>,
        element: usize,
        count: usize,
        at: &mut At<u32>,
    ) -> Option<Reached> {
        let source = w.slot::<u32>(i.a);
        // SAFETY: the caller says so.
        let first = unsafe { source.add(w.first()).read() };
        let (mut high, mut bits, mut apart, mut differ) = ([0; PIECE], [0; PIECE], [0; PIECE], [0; PIECE]);
        let size = (element * count) as u32;
        let start = first.wrapping_add(i.imm as u32);
        for piece in 0..LANES / PIECE {
            // SAFETY: as above; a slot is two pieces.
            let mut lanes = unsafe { source.cast::<[u32; PIECE]>().add(piece).read() };
            for j in 0..PIECE {
                let lane = piece * PIECE + j;
                let address = if WHOLE { lanes[j] } else { lanes[j].blend(first, w.mask >> lane) };
                let address = address.wrapping_add(i.imm as u32);
                lanes[j] = address;
                high[j] = high[j].max(address);
                bits[j] |= address;
                apart[j] |= address.wrapping_sub(start) ^ (lane as u32 * size);
                differ[j] |= address ^ start;
            }
            at.put(piece, lanes);
        }
        let any = |lanes: [u32; PIECE]| lanes.into_iter().fold(0, |any, lane| any | lane);
        let (high, bits, apart, differ) = (high.into_iter().fold(0, u32::max), any(bits), any(apart), any(differ));
        if bits & (size - 1) != 0 || u64::from(high) + u64::from(size) > u64::from(b.shared_bytes) {
            shared_fault(i, w, b, &at.0, size);
            return None;
        }
        Some(Reached { base: b.shared_base, linear: WHOLE && apart == 0, same: differ == 0 })
    }
}

macro_rules! local {
    ($name:ident, $cell:ty) => {
        impl Fast for $name {
            type Offset = u32;

            #[inline(always)]
            unsafe fn reach<const WHOLE: bool>(
                i: &Decoded,
                w: &mut Warp,
                b: &mut Block<'_>,
                element: usize,
                count: usize,
                at: &mut At<u32>,
            ) -> Option<Reached> {
                let source = w.slot::<$cell>(i.a);
                let size = (element * count) as u64;
                let local = b.program.local;
                let (mut high, mut bits) = (0, 0);
                for lane in 0..LANES {
                    // SAFETY: the caller says so. Inactive lanes have address 0 of their own.
                    let address = unsafe { source.add(lane).read() }.wrapping_add(i.imm as $cell);
                    let address = if WHOLE { address } else { address.blend(0, w.mask >> lane) };
                    high = high.max(address);
                    bits |= address;
                    at.0[lane] = (address as u32).wrapping_add(lane as u32 * local);
                }
                #[allow(clippy::unnecessary_cast)]
                if bits as u64 & (size - 1) != 0 || (high as u64).saturating_add(size) > u64::from(local) {
                    local_fault(i, w, b, size);
                    return None;
                }
                Some(Reached { base: w.local_base, linear: false, same: false })
            }
        }
    };
}

local!(Local, u32);
local!(LocalWide, u64);

#[cold]
#[inline(never)]
fn local_fault(i: &Decoded, w: &Warp, b: &mut Block<'_>, size: u64) {
    // SAFETY: lowering put an address there, of the width that `bytes` says.
    let _ = unsafe { pointers(i, w, b, size, size) };
}

#[cold]
#[inline(never)]
fn misaligned(i: &Decoded, w: &Warp, b: &mut Block<'_>, at: &[u64; LANES], size: u64) {
    let lanes = lanes_where(w.mask, |lane| !at[lane].is_multiple_of(size));
    let address = at[lanes.trailing_zeros() as usize & 31];
    let what = format!("an access of {size} bytes at an address that is no multiple of {size}");
    b.fail(w, i.site, lanes, FaultKind::MisalignedAddress, what, Some(address));
}

#[cold]
#[inline(never)]
fn outside(i: &Decoded, w: &Warp, b: &mut Block<'_>, bases: &[u64; LANES], size: u64) {
    let at: [u64; LANES] = std::array::from_fn(|lane| bases[lane].wrapping_add(i.imm));
    let lanes = lanes_where(w.mask, |lane| b.memory.resolve(at[lane], size).is_err());
    let address = at[lanes.trailing_zeros() as usize & 31];
    let what = outside_what(b, address, size);
    b.fail(w, i.site, lanes, FaultKind::IllegalAddress, what, Some(address));
}

/// An access of global memory that hits no allocation, in words.
pub(crate) fn outside_what(b: &Block<'_>, address: u64, size: u64) -> String {
    let near = match b.memory.nearest(address) {
        Some(near) if address - near.address < near.bytes.saturating_add(1 << 32) => format!(
            "; the allocation before it begins {} bytes below and has {} bytes",
            address - near.address,
            near.bytes
        ),
        _ => String::new(),
    };
    format!("an access of {size} bytes of global memory outside of all allocations{near}")
}

#[cold]
#[inline(never)]
fn shared_fault(i: &Decoded, w: &Warp, b: &mut Block<'_>, at: &[u32; LANES], size: u32) {
    let bytes = b.shared_bytes;
    let beyond = lanes_where(w.mask, |lane| u64::from(at[lane]) + u64::from(size) > u64::from(bytes));
    let odd = lanes_where(w.mask, |lane| !at[lane].is_multiple_of(size));
    let (lanes, kind, what) = if beyond != 0 {
        let what = format!("an access of {size} bytes of shared memory outside of the block's {bytes} bytes");
        (beyond, FaultKind::IllegalAddress, what)
    } else {
        let what = format!("an access of {size} bytes of shared memory at an address that is no multiple of {size}");
        (odd, FaultKind::MisalignedAddress, what)
    };
    let address = at[lanes.trailing_zeros() as usize & 31];
    b.fail(w, i.site, lanes, kind, what, Some(u64::from(address)));
}

/// `ld` of N elements.
pub(crate) struct Load<S, E, const N: usize>(std::marker::PhantomData<(S, E)>);
/// `st` of N elements.
pub(crate) struct Store<S, E, const N: usize>(std::marker::PhantomData<(S, E)>);

impl<S: Fast, E: Element, const N: usize> Handler for Load<S, E, N> {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let size = size_of::<E::Raw>();
        // SAFETY: lowering gave this handler the address and N slots; `reach` says that the elements are there, and aligned.
        // What another thread writes at the same time is the kernel's race: bytes are copied, of any value.
        unsafe {
            let mut at = At([S::Offset::default(); LANES]);
            let Some(reached) = S::reach::<WHOLE>(i, w, b, size, N, &mut at) else { return Flow::Fault };
            let slots: [*mut E::Cell; N] = std::array::from_fn(|n| w.slot(i.r[n]));
            let mask = w.mask;
            let give = |n: usize, lane: usize, raw: E::Raw| {
                let slot = slots[n].add(lane);
                let cell = E::widen(raw);
                slot.write(if WHOLE { cell } else { cell.blend(slot.read(), mask >> lane) });
            };
            let place = |lane: usize| reached.place(at.0[lane]).cast::<E::Raw>();
            if reached.same {
                let start = place(0);
                for n in 0..N {
                    let raw = start.add(n).read();
                    for lane in 0..LANES {
                        give(n, lane, raw);
                    }
                }
            } else if N == 1 && reached.linear {
                let start = place(0);
                for lane in 0..LANES {
                    give(0, lane, start.add(lane).read());
                }
            } else if N == 1 {
                for lane in 0..LANES {
                    give(0, lane, place(lane).read());
                }
            } else if cfg!(target_arch = "x86_64") && WHOLE && size == 4 && N == 4 && size_of::<E::Cell>() == 4 {
                turn_fours(|lane| place(lane).cast(), std::array::from_fn(|n| slots[n % N].cast()));
            } else if cfg!(target_arch = "x86_64") && WHOLE && size == 8 && N == 2 && size_of::<E::Cell>() == 8 {
                turn_twos(|lane| place(lane).cast(), std::array::from_fn(|n| slots[n % N].cast()));
            } else {
                // Four lanes' elements are turned round in registers.
                for four in (0..LANES).step_by(4) {
                    let rows: [[E::Raw; N]; 4] = std::array::from_fn(|j| place(four + j).cast::<[E::Raw; N]>().read());
                    for n in 0..N {
                        for j in 0..4 {
                            give(n, four + j, rows[j][n]);
                        }
                    }
                }
            }
        }
        Flow::Go
    }
}

impl<S: Fast, E: Element, const N: usize> Handler for Store<S, E, N> {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let size = size_of::<E::Raw>();
        // SAFETY: as of `Load`.
        unsafe {
            let mut at = At([S::Offset::default(); LANES]);
            let Some(reached) = S::reach::<WHOLE>(i, w, b, size, N, &mut at) else { return Flow::Fault };
            let slots: [*const E::Cell; N] = std::array::from_fn(|n| w.slot::<E::Cell>(i.r[n]).cast_const());
            let take = |n: usize, lane: usize| E::narrow(slots[n].add(lane).read());
            if WHOLE && reached.linear {
                let start = reached.place(at.0[0]).cast::<E::Raw>();
                for lane in 0..LANES {
                    for n in 0..N {
                        start.add(lane * N + n).write(take(n, lane));
                    }
                }
            } else if WHOLE {
                for lane in 0..LANES {
                    let start = reached.place(at.0[lane]).cast::<E::Raw>();
                    for n in 0..N {
                        start.add(n).write(take(n, lane));
                    }
                }
            } else {
                let mut rest = w.mask;
                while rest != 0 {
                    let lane = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    let start = reached.place(at.0[lane]).cast::<E::Raw>();
                    for n in 0..N {
                        start.add(n).write(take(n, lane));
                    }
                }
            }
        }
        Flow::Go
    }
}
