//! `mma`, `ldmatrix`, `stmatrix`: instructions that a whole warp carries out together.

use super::path::State;
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::exec::anywhere::Refused;
use crate::tensor::matrix::{self, ROW_BYTES};
use crate::tensor::mma;
use crate::text::ast::Space;

/// `mma` with the slots of its registers.
#[derive(Debug, Clone)]
pub(crate) struct Product {
    /// `None`: of f64.
    pub(crate) kind: Option<mma::Kind>,
    pub(crate) d: Vec<u32>,
    pub(crate) a: Vec<u32>,
    pub(crate) b: Vec<u32>,
    pub(crate) c: Vec<u32>,
}

/// Runs an `.aligned` instruction as soon as all lanes of the warp are there.
pub(crate) fn aligned(
    i: &Decoded,
    w: &mut Warp,
    b: &mut Block<'_>,
    run: impl FnOnce(&mut Warp, &mut Block<'_>) -> Flow,
) -> Flow {
    if w.mask == w.live {
        if let Some(checker) = &mut b.checker {
            checker.together(w.index as usize, w.mask, w.live);
        }
        return run(w, b);
    }
    let at = super::collective::instruction_index(i, b);
    let there = w.waiting_at(State::Aligned, w.block, at);
    if w.live & !w.mask & !there != 0 {
        w.parking = State::Aligned;
        return Flow::Retry;
    }
    let own = w.mask;
    w.mask |= there;
    if let Some(checker) = &mut b.checker {
        checker.together(w.index as usize, w.mask, w.live);
    }
    let flow = run(w, b);
    w.mask = own;
    w.release(State::Aligned, w.block, at);
    flow
}

/// `mma`: `imm` is the index into [`super::Program::products`].
pub(crate) struct Mma;

impl Handler for Mma {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        aligned(i, w, b, |w, b| unsafe { product(i, w, b) })
    }
}

/// The most registers of an operand.
const MOST: usize = 16;

/// # Safety
/// The instruction is one that lowering made for [`Mma`].
unsafe fn product(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let product = &b.program.products[i.imm as usize];
    // SAFETY: lowering put slots there of the width that the kind has.
    unsafe {
        match &product.kind {
            Some(kind) => {
                let mut operands = [[[0u32; LANES]; MOST]; 4];
                let lists = [&product.a, &product.b, &product.c];
                for (operand, list) in operands.iter_mut().zip(lists) {
                    for (lanes, &word) in operand.iter_mut().zip(list) {
                        *lanes = w.lanes(word);
                    }
                }
                let [x, y, z, d] = &mut operands;
                let d = &mut d[..product.d.len()];
                mma::mma(kind, &x[..product.a.len()], &y[..product.b.len()], &z[..product.c.len()], d);
                for (lanes, &word) in d.iter().zip(&product.d) {
                    w.set_lanes::<u32, false>(word, lanes);
                }
            }
            None => {
                let read = |list: &[u32]| list.iter().map(|&word| w.lanes::<u64>(word)).collect::<Vec<_>>();
                let (x, y, z) = (read(&product.a), read(&product.b), read(&product.c));
                let mut d = vec![[0u64; LANES]; product.d.len()];
                mma::mma_f64(&x, &y, &z, &mut d);
                for (lanes, &word) in d.iter().zip(&product.d) {
                    w.set_lanes::<u64, false>(word, lanes);
                }
            }
        }
    }
    Flow::Go
}

/// `ldmatrix`: `n` matrices of the addresses `a`; bit 31 of `bytes` transposes.
pub(crate) struct Ldmatrix;
/// `stmatrix`
pub(crate) struct Stmatrix;

/// In `bytes` beside what [`super::anywhere::any`] says.
pub(crate) const TRANSPOSED: u32 = 1 << 31;

impl Handler for Ldmatrix {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        aligned(i, w, b, |w, b| unsafe { load(i, w, b) })
    }
}

impl Handler for Stmatrix {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        aligned(i, w, b, |w, b| unsafe { store(i, w, b) })
    }
}

/// The places of the rows. `None`: the fault is written down.
///
/// # Safety
/// As of [`super::anywhere::addresses`].
unsafe fn rows(i: &Decoded, w: &Warp, b: &mut Block<'_>) -> Option<[*mut u8; LANES]> {
    // SAFETY: the caller says so.
    let at = unsafe { super::anywhere::addresses(i, w) };
    let mut rows = [std::ptr::null_mut(); LANES];
    let space = match super::anywhere::any::space(i.bytes) {
        Space::Generic => Space::Generic,
        _ => Space::Shared,
    };
    for lane in matrix::address_lanes(i.n as usize) {
        match b.pointer(w, lane, space, at[lane], ROW_BYTES as u64, ROW_BYTES as u64) {
            Ok(pointer) => rows[lane] = pointer,
            Err(Refused { kind, what }) => {
                b.fail(w, i.site, 1 << lane, kind, what, Some(at[lane]));
                return None;
            }
        }
    }
    Some(rows)
}

/// # Safety
/// The instruction is one that lowering made for [`Ldmatrix`].
unsafe fn load(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let count = i.n as usize;
    let mut bytes = [[0u8; ROW_BYTES]; LANES];
    let mut d = [[0u32; LANES]; 4];
    // SAFETY: lowering put slots there; the pointers hold a row each.
    unsafe {
        let Some(rows) = rows(i, w, b) else { return Flow::Fault };
        for lane in matrix::address_lanes(count) {
            bytes[lane] = rows[lane].cast::<[u8; ROW_BYTES]>().read();
        }
        matrix::load(i.bytes & TRANSPOSED != 0, &bytes[..8 * count], &mut d[..count]);
        for (&word, lanes) in i.r[..count].iter().zip(&d) {
            w.set_lanes::<u32, false>(word, lanes);
        }
    }
    Flow::Go
}

/// # Safety
/// The instruction is one that lowering made for [`Stmatrix`].
unsafe fn store(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let count = i.n as usize;
    let mut bytes = [[0u8; ROW_BYTES]; LANES];
    // SAFETY: lowering put slots there; the pointers hold a row each.
    unsafe {
        let Some(rows) = rows(i, w, b) else { return Flow::Fault };
        let a = i.r.map(|word| w.lanes::<u32>(word));
        matrix::store(i.bytes & TRANSPOSED != 0, &a[..count], &mut bytes[..8 * count]);
        for lane in matrix::address_lanes(count) {
            rows[lane].cast::<[u8; ROW_BYTES]>().write(bytes[lane]);
        }
    }
    Flow::Go
}
