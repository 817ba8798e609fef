//! `wgmma` (§9.7.15.7): products that four warps ask for together and that are made at some time until they are waited for.
//!
//! A product is made when the fourth warp has asked for it, or when a warp waits for it; registers are read and written then.

use super::checks::shared::Access;
use super::matrix::aligned;
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::machine::{AsyncCopies, FaultKind};
use crate::tensor::wgmma::{self, A, Kind};
use std::collections::VecDeque;

/// A product as lowering found it.
#[derive(Debug, Clone)]
pub(crate) struct WgmmaOp {
    pub(crate) kind: Kind,
    pub(crate) d: Vec<u32>,
    /// Registers of A, or the slot of its descriptor.
    pub(crate) a: Result<u32, Vec<u32>>,
    pub(crate) b: u32,
    /// The predicate, and whether it is negated.
    pub(crate) scale_d: (u32, bool),
}

/// A product that was asked for.
#[derive(Debug, Clone)]
struct Asked {
    op: u64,
    /// The warps of the four that asked.
    warps: u32,
    a: u64,
    b: u64,
    scale_d: bool,
    site: u32,
}

/// The requests of four warps, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct WarpGroup {
    asked: VecDeque<Asked>,
    /// Products that were made.
    made: u64,
}

/// `wgmma.mma_async`: `imm` is the index into [`super::Program::wgmmas`].
pub(crate) struct Wgmma;
/// `wgmma.commit_group`
pub(crate) struct WgmmaCommit;
/// `wgmma.wait_group` of `n` groups
pub(crate) struct WgmmaWait;

impl Handler for Wgmma {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        aligned(i, w, b, |w, b| unsafe { ask(i, w, b) })
    }
}

/// # Safety
/// The instruction is one that lowering made for [`Wgmma`].
unsafe fn ask(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let op = &b.program.wgmmas[i.imm as usize];
    let group = w.index as usize / 4;
    if b.registers.len() < 4 * group + 4 {
        let what = "wgmma in a block whose warps are no multiple of four".to_string();
        b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
        return Flow::Fault;
    }
    let first = w.first();
    // SAFETY: lowering put slots of 64 bits and a predicate there.
    let (a, descriptor, scale) = unsafe {
        let a = op.a.as_ref().map_or(0, |&word| w.slot::<u64>(word).add(first).read());
        let scale = w.predicate(op.scale_d.0) >> first & 1 != u32::from(op.scale_d.1);
        (a, w.slot::<u64>(op.b).add(first).read(), scale)
    };
    if b.warp_groups.len() <= group {
        b.warp_groups.resize(group + 1, WarpGroup::default());
    }
    let asked = Asked { op: i.imm, warps: 0, a, b: descriptor, scale_d: scale, site: i.site };
    let entry = &mut b.warp_groups[group];
    let at = (w.wgmma_asked - entry.made) as usize;
    if at == entry.asked.len() {
        entry.asked.push_back(asked);
    }
    let found = &mut entry.asked[at];
    if (found.op, found.a, found.b, found.scale_d) != (i.imm, a, descriptor, scale) {
        let what = "the four warps of a wgmma carry out different ones, or with different descriptors".to_string();
        b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
        return Flow::Fault;
    }
    found.warps |= 1 << (w.index % 4);
    w.wgmma_asked += 1;
    b.events += 1;
    if b.context.options.async_copies == AsyncCopies::Earliest {
        while b.warp_groups[group].asked.front().is_some_and(|front| front.warps == 0xF) {
            if let Err(what) = make(group, b) {
                b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
                return Flow::Fault;
            }
        }
    }
    Flow::Go
}

impl Handler for WgmmaCommit {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        w.wgmma_groups.push(w.wgmma_asked);
        Flow::Go
    }
}

impl Handler for WgmmaWait {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let group = w.index as usize / 4;
        let due = w.wgmma_groups.len().saturating_sub(i.n as usize);
        let Some(&needed) = due.checked_sub(1).and_then(|at| w.wgmma_groups.get(at)) else { return Flow::Go };
        while b.warp_groups[group].made < needed {
            // The other warps have to ask first.
            if b.warp_groups[group].asked.front().is_none_or(|front| front.warps != 0xF) {
                return Flow::Again;
            }
            if let Err(what) = make(group, b) {
                b.fail(w, i.site, w.mask, FaultKind::IllegalInstruction, what, None);
                return Flow::Fault;
            }
        }
        Flow::Go
    }
}

/// Makes the oldest product of a group of warps.
fn make(group: usize, b: &mut Block<'_>) -> Result<(), String> {
    let Some(asked) = b.warp_groups[group].asked.pop_front() else { return Ok(()) };
    b.warp_groups[group].made += 1;
    b.events += 1;
    let op = &b.program.wgmmas[asked.op as usize];
    let bases: [*mut u32; 4] = std::array::from_fn(|at| b.registers[4 * group + at]);
    // SAFETY: lowering laid out the registers of all warps alike; no warp's handler is in the middle of them.
    let lanes = |base: *mut u32, word: u32| unsafe { base.add(word as usize).cast::<[u32; LANES]>() };
    // SAFETY: as above.
    let read =
        |words: &[u32]| bases.map(|base| words.iter().map(|&word| unsafe { lanes(base, word).read() }).collect());
    let mut d: [Vec<[u32; LANES]>; 4] = read(&op.d);
    let a: [Vec<[u32; LANES]>; 4] = match &op.a {
        Ok(_) => Default::default(),
        Err(words) => read(words),
    };
    let operand = match &op.a {
        Ok(_) => A::Descriptor(asked.a),
        Err(_) => A::Registers(a.each_ref().map(Vec::as_slice)),
    };
    let (base, size) = (b.shared_base, u64::from(b.shared_bytes));
    let mut outside = None;
    let mut touched = Vec::new();
    let checked = b.checker.is_some();
    let mut fetch = |address: u32, bytes: &mut [u8]| {
        if u64::from(address) + bytes.len() as u64 > size {
            outside.get_or_insert(address);
            return bytes.fill(0);
        }
        if checked {
            touched.push((address, bytes.len() as u32));
        }
        // SAFETY: the bytes lie inside of the block's shared memory.
        unsafe { base.add(address as usize).copy_to_nonoverlapping(bytes.as_mut_ptr(), bytes.len()) };
    };
    let [d0, d1, d2, d3] = &mut d;
    wgmma::wgmma(&op.kind, [d0, d1, d2, d3], operand, asked.b, asked.scale_d, &mut fetch)
        .map_err(|error| error.to_string())?;
    if let Some(address) = outside {
        return Err(format!("wgmma reads shared memory at {address:#x}, outside of the block's {size} bytes"));
    }
    for (base, d) in bases.iter().zip(&d) {
        for (&word, values) in op.d.iter().zip(d) {
            // SAFETY: as above.
            unsafe { lanes(*base, word).write(*values) };
        }
    }
    note(b, group, asked.site, &touched);
    Ok(())
}

/// Tells the checks what a product read.
fn note(b: &mut Block<'_>, group: usize, site: u32, touched: &[(u32, u32)]) {
    let block = b.id;
    let Some(checker) = &mut b.checker else { return };
    for &(address, bytes) in touched {
        let end = address + bytes;
        let mut at = address;
        while at < end {
            let piece = (end - at).min(16);
            let access = Access {
                block,
                warp: 4 * group as u32,
                lanes: 1,
                at: &[u64::from(at); LANES],
                bytes: piece,
                site,
                writes: false,
                reads: true,
                strong: false,
                same_values: &|_, _| true,
            };
            checker.shared_access(&access);
            checker.by_async_proxy(&access, 4, "wgmma");
            at += piece;
        }
    }
}
