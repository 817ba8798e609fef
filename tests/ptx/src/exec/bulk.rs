//! Bulk copies (§9.7.9.25.4, §9.7.9.25.5): `cp.async.bulk` and `cp.async.bulk.tensor`.
//!
//! A copy that an mbarrier is told of is made when it is asked for, or when somebody waits for it in vain; one of a group when it
//! is asked for or when the group is waited for. Where only its sources were waited for, they are read then, and it is made later.

use super::anywhere::Refused;
use super::counts::{AccessCount, PASS, SECTOR};
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::machine::{AsyncCopies, FaultKind};
use crate::tensor::copies::cp_async_bulk;
use crate::tensor::tensor_map::{Fill, MAP_BYTES, Run, TensorMap};
use crate::text::ast::{BulkDirection, Space};

/// A bulk copy as lowering found it. Slots of operands of each lane.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BulkOp {
    pub(crate) direction: BulkDirection,
    /// Shared memory (of the target, where both are shared): slot, whether it has 64 bits, offset.
    pub(crate) shared: (u32, bool, u64),
    /// Global memory or the tensor map, or the source in shared memory.
    pub(crate) other: (u32, bool, u64),
    /// Bytes, of a copy without a tensor.
    pub(crate) bytes: Option<u32>,
    pub(crate) coordinates: Vec<u32>,
    pub(crate) im2col: Option<Vec<u32>>,
    /// The mbarrier: as `shared`.
    pub(crate) mbarrier: Option<(u32, bool, u64)>,
    /// The mask of blocks, of 16 bits.
    pub(crate) multicast: Option<u32>,
}

/// Bytes that go from one place to another.
#[derive(Debug, Clone)]
struct Part {
    to: *mut u8,
    /// Null: the fill.
    from: *const u8,
    bytes: u32,
}

/// A copy that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    pub(crate) direction: BulkDirection,
    parts: Vec<Part>,
    /// The bytes that are written where there is no source, repeated.
    fill: Vec<u8>,
    /// The mbarriers that are told, and of how many bytes.
    told: Vec<*mut u8>,
    bytes: u32,
    /// For the checks: ranges of the own block's shared memory that are written and read, of global memory that are written or read,
    /// and the mbarrier's address.
    pub(crate) written: Vec<(u32, u32)>,
    pub(crate) read: Vec<(u32, u32)>,
    pub(crate) global: Vec<(u64, u64)>,
    pub(crate) mbarrier: Option<u64>,
    /// Who asked for it.
    rank: u32,
    pub(crate) warp: u32,
    pub(crate) lane: u32,
    pub(crate) site: u32,
    /// Its group, of a copy that has one: those that the lane had closed before.
    group: u32,
    /// Whether it was made.
    made: bool,
    /// Its sources, once they were waited for.
    sources: Option<Vec<u8>>,
}

impl Transfer {
    /// Makes the copy.
    fn make(&self) -> Result<(), String> {
        for part in &self.parts {
            // SAFETY: both ends were found to hold that many bytes when the copy was asked for. Allocations outlive launches, and the
            // shared memories of a cluster's blocks each other.
            unsafe {
                if part.from.is_null() {
                    for at in 0..part.bytes as usize {
                        part.to.add(at).write(self.fill[at % self.fill.len()]);
                    }
                } else {
                    part.from.copy_to(part.to, part.bytes as usize);
                }
            }
        }
        for &at in &self.told {
            // SAFETY: the address was found to be in shared memory; one thread of the host runs the cluster.
            let told = unsafe { super::mbarrier::update(at, |object| object.complete_tx(self.bytes)) };
            told.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Its sources are waited for: they are read now if not before, and the checks are told.
    fn read_sources(&mut self, b: &mut Block<'_>) {
        if self.sources.is_some() {
            return;
        }
        let mut bytes: Vec<u8> = Vec::new();
        for part in self.parts.iter().filter(|part| !self.made && !part.from.is_null()) {
            // SAFETY: as in `make`.
            bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(part.from, part.bytes as usize) });
        }
        let mut at = 0;
        for part in self.parts.iter_mut().filter(|part| !self.made && !part.from.is_null()) {
            // The bytes do not move with the vector that holds them.
            part.from = bytes[at..].as_ptr();
            at += part.bytes as usize;
        }
        self.sources = Some(bytes);
        self.sources_done(b);
    }

    /// It is waited for: it is made now if not before, and the checks are told.
    fn finish(mut self, b: &mut Block<'_>) -> Result<(), String> {
        if !self.made {
            self.make()?;
        }
        if self.sources.is_none() {
            self.sources = Some(Vec::new());
            self.sources_done(b);
        }
        self.done(b);
        Ok(())
    }
}

/// Makes all copies that are told to mbarriers.
pub(crate) fn make_all(b: &mut Block<'_>) -> Result<(), String> {
    loop {
        let next = b.cluster.borrow_mut().under_way.pop_front();
        let Some(transfer) = next else { return Ok(()) };
        transfer.make()?;
        if transfer.rank == b.rank {
            transfer.done(b);
        } else if b.checker.is_some() {
            b.cluster.borrow_mut().made.push(transfer);
        }
        b.events += 1;
    }
}

/// Notes the copies of this block that another block's wait has made.
pub(crate) fn note_made(b: &mut Block<'_>) {
    if b.cluster.borrow().made.is_empty() {
        return;
    }
    let made = std::mem::take(&mut b.cluster.borrow_mut().made);
    for transfer in made {
        if transfer.rank == b.rank {
            transfer.done(b);
        } else {
            b.cluster.borrow_mut().made.push(transfer);
        }
    }
}

/// Begins a bulk copy in each active lane: `imm` is the index into [`super::Program::bulks`].
pub(crate) struct BulkCopy;

impl Handler for BulkCopy {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let mask = w.mask;
        for lane in (0..LANES).filter(|lane| mask >> lane & 1 != 0) {
            // SAFETY: the caller's promise.
            let begun = unsafe { begin(i, w, b, lane) };
            if let Err((refused, address)) = begun {
                b.fail(w, i.site, 1 << lane, refused.kind, refused.what, address);
                return Flow::Fault;
            }
        }
        b.events += 1;
        Flow::Go
    }
}

type Failure = (Refused, Option<u64>);

fn illegal(what: impl ToString) -> Failure {
    (Refused { kind: FaultKind::IllegalInstruction, what: what.to_string() }, None)
}

/// # Safety
/// The instruction is one that lowering made for [`BulkCopy`].
unsafe fn begin(i: &Decoded, w: &mut Warp, b: &mut Block<'_>, lane: usize) -> Result<(), Failure> {
    let op = &b.program.bulks[i.imm as usize];
    // SAFETY: lowering put slots of these widths there.
    let read = |word: u32| unsafe { w.slot::<u32>(word).add(lane).read() };
    let address = |(word, wide, offset): (u32, bool, u64)| {
        // SAFETY: as above.
        let base = if wide { unsafe { w.slot::<u64>(word).add(lane).read() } } else { u64::from(read(word)) };
        base.wrapping_add(offset)
    };
    let (shared, other) = (address(op.shared), address(op.other));
    let mut transfer = Transfer {
        direction: op.direction,
        parts: Vec::new(),
        fill: vec![0],
        told: Vec::new(),
        bytes: 0,
        written: Vec::new(),
        read: Vec::new(),
        global: Vec::new(),
        mbarrier: None,
        rank: b.rank,
        warp: w.index,
        lane: lane as u32,
        site: i.site,
        group: w.bulk_groups[lane],
        made: false,
        sources: None,
    };
    let (rank, offset) = b.rank_and_offset(shared);
    let ranks: Vec<usize> = match op.multicast {
        Some(mask) => (0..16).filter(|rank| read(mask) >> rank & 1 != 0).collect(),
        None => vec![rank],
    };
    let runs = match op.bytes {
        Some(bytes) => {
            let bytes = read(bytes);
            transfer.bytes = bytes;
            cp_async_bulk(shared, other, bytes).map_err(|error| {
                let misaligned = shared % 16 != 0 || other % 16 != 0;
                let kind = if misaligned { FaultKind::MisalignedAddress } else { FaultKind::IllegalInstruction };
                (Refused { kind, what: error.to_string() }, Some(if shared % 16 != 0 { shared } else { other }))
            })?;
            vec![Run { shared: offset, global: Some(other), bytes }]
        }
        None => {
            // SAFETY: as above.
            let map = unsafe { tensor_map(w, b, lane, other)? };
            let coordinates: Vec<i32> = op.coordinates.iter().map(|&word| read(word) as i32).collect();
            let mut runs = Vec::new();
            match &op.im2col {
                Some(offsets) => {
                    let offsets: Vec<u32> = offsets.iter().map(|&word| read(word)).collect();
                    map.im2col(&coordinates, &offsets, offset, |run| runs.push(run)).map_err(illegal)?;
                }
                None => map.tiled(&coordinates, offset, |run| runs.push(run)).map_err(illegal)?,
            }
            transfer.bytes = map.copy_bytes();
            if map.fill == Fill::Nan {
                transfer.fill = map.data_type.nan();
            }
            runs
        }
    };
    if b.program.counts {
        count(op, i.site, &runs, ranks.len() as u64, b);
    }
    for run in &runs {
        for (nth, &rank) in ranks.iter().enumerate() {
            part(op, &mut transfer, w, b, (lane, rank, nth == 0), run)?;
        }
    }
    if let Some(mbarrier) = op.mbarrier {
        let (_, at) = b.rank_and_offset(address(mbarrier));
        let own = op.multicast.is_none();
        let own_rank = b.rank_and_offset(address(mbarrier)).0;
        for &rank in if own { std::slice::from_ref(&own_rank) } else { &ranks } {
            let to = shared_pointer(b, rank, at, 8)?;
            transfer.told.push(to);
        }
        transfer.mbarrier = Some(u64::from(at));
    }
    start(transfer, op.mbarrier.is_some(), w, b)
}

/// Counts a copy as one request of global and one of shared memory. What lies outside of a tensor is written to shared memory and read
/// from nowhere; a copy between blocks' shared memories is counted where it arrives.
fn count(op: &BulkOp, site: u32, runs: &[Run], ranks: u64, b: &mut Block<'_>) {
    let shared: u64 = runs.iter().map(|run| u64::from(run.bytes)).sum();
    let passes: u64 = runs.iter().map(|run| u64::from(run.bytes).div_ceil(PASS)).sum();
    let shared = match op.direction {
        BulkDirection::GlobalToShared | BulkDirection::SharedToCluster => {
            AccessCount { requests: 1, parts: ranks * passes, bytes: ranks * shared, least: ranks * passes }
        }
        BulkDirection::SharedToGlobal => AccessCount { requests: 1, parts: passes, bytes: shared, least: passes },
    };
    let mut global = AccessCount::default();
    if op.direction != BulkDirection::SharedToCluster {
        let places = runs.iter().filter_map(|run| Some((run.global?, u64::from(run.bytes))));
        let mut sectors: Vec<u64> =
            places.clone().flat_map(|(at, bytes)| at / SECTOR..(at + bytes).div_ceil(SECTOR)).collect();
        sectors.sort_unstable();
        sectors.dedup();
        let bytes = places.map(|(_, bytes)| bytes).sum();
        global = AccessCount { requests: 1, parts: sectors.len() as u64, bytes, least: 0 };
    }
    b.counts.add(site, [global, shared]);
}

/// Adds the bytes of a run to a copy.
fn part(
    op: &BulkOp,
    transfer: &mut Transfer,
    w: &Warp,
    b: &Block<'_>,
    (lane, rank, first): (usize, usize, bool),
    run: &Run,
) -> Result<(), Failure> {
    let near = shared_pointer(b, rank, run.shared, run.bytes)?;
    let global = |address: u64| {
        let found = b.pointer(w, lane, Space::Global, address, u64::from(run.bytes), 1);
        found.map_err(|refused| (refused, Some(address)))
    };
    match (op.direction, run.global) {
        (BulkDirection::GlobalToShared, Some(address)) => {
            transfer.parts.push(Part { to: near, from: global(address)?, bytes: run.bytes });
        }
        (BulkDirection::GlobalToShared, None) => {
            transfer.parts.push(Part { to: near, from: std::ptr::null(), bytes: run.bytes });
        }
        (BulkDirection::SharedToGlobal, Some(address)) => {
            transfer.parts.push(Part { to: global(address)?, from: near, bytes: run.bytes });
        }
        // Elements outside of the tensor are not stored.
        (BulkDirection::SharedToGlobal, None) => {}
        (BulkDirection::SharedToCluster, address) => {
            let (_, offset) = b.rank_and_offset(address.unwrap_or_default());
            let from = shared_pointer(b, b.rank as usize, offset, run.bytes)?;
            transfer.parts.push(Part { to: near, from, bytes: run.bytes });
        }
    }
    // What the checks keep of this block; a copy to several blocks reads once.
    let own = rank == b.rank as usize;
    let global = run.global.map(|address| (address, u64::from(run.bytes)));
    match op.direction {
        BulkDirection::GlobalToShared => {
            if own {
                transfer.written.push((run.shared, run.bytes));
            }
            transfer.global.extend(global.filter(|_| first));
        }
        BulkDirection::SharedToGlobal => {
            if own && global.is_some() {
                transfer.read.push((run.shared, run.bytes));
            }
            transfer.global.extend(global);
        }
        BulkDirection::SharedToCluster => {
            let (_, offset) = b.rank_and_offset(run.global.unwrap_or_default());
            transfer.read.push((offset, run.bytes));
        }
    }
    Ok(())
}

/// Makes a copy now, or keeps it for later.
fn start(mut transfer: Transfer, told: bool, w: &mut Warp, b: &mut Block<'_>) -> Result<(), Failure> {
    transfer.asked(b);
    if b.context.options.async_copies == AsyncCopies::Earliest {
        transfer.make().map_err(illegal)?;
        transfer.made = true;
    }
    match (told, transfer.made) {
        (true, true) => transfer.done(b),
        (true, false) => b.cluster.borrow_mut().under_way.push_back(transfer),
        // The thread may not count on it before it waits.
        (false, _) => w.bulk.push(transfer),
    }
    Ok(())
}

/// Bytes of the shared memory of a block of the cluster.
fn shared_pointer(b: &Block<'_>, rank: usize, offset: u32, bytes: u32) -> Result<*mut u8, Failure> {
    let base = b.cluster.borrow().shared.get(rank).copied();
    match base {
        Some(base) if u64::from(offset) + u64::from(bytes) <= u64::from(b.shared_bytes) => {
            Ok(base.wrapping_add(offset as usize))
        }
        _ => {
            let what = format!(
                "{bytes} bytes at {offset:#x} of the shared memory of block {rank} of the cluster are not all there"
            );
            Err((Refused { kind: FaultKind::IllegalAddress, what }, Some(u64::from(offset))))
        }
    }
}

/// # Safety
/// None beyond that the warp is one of the block's.
unsafe fn tensor_map(w: &Warp, b: &Block<'_>, lane: usize, address: u64) -> Result<TensorMap, Failure> {
    let found = b.pointer(w, lane, Space::Generic, address, MAP_BYTES as u64, 64);
    let pointer = found.map_err(|refused| (refused, Some(address)))?;
    // SAFETY: the map's bytes are there.
    let bytes = unsafe { pointer.cast::<[u8; MAP_BYTES]>().read_unaligned() };
    TensorMap::decode(&bytes).ok_or_else(|| {
        let what = "the tensor map is none that cuTensorMapEncodeTiled or cuTensorMapEncodeIm2col wrote".into();
        (Refused { kind: FaultKind::IllegalInstruction, what }, Some(address))
    })
}

/// `cp.async.bulk.commit_group`
pub(crate) struct BulkCommit;
/// `cp.async.bulk.wait_group` of `n` groups; `imm` is 1 for `.read`
pub(crate) struct BulkWait;

impl Handler for BulkCommit {
    unsafe fn run<const WHOLE: bool>(_: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        for lane in 0..LANES {
            w.bulk_groups[lane] += w.mask >> lane & 1;
        }
        Flow::Go
    }
}

impl Handler for BulkWait {
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        let due = |transfer: &Transfer, w: &Warp| {
            let lane = transfer.lane as usize;
            w.mask >> lane & 1 != 0 && u64::from(transfer.group) + u64::from(i.n) < u64::from(w.bulk_groups[lane])
        };
        if i.imm != 0 {
            let mut all = std::mem::take(&mut w.bulk);
            all.iter_mut().filter(|transfer| due(transfer, w)).for_each(|transfer| transfer.read_sources(b));
            w.bulk = all;
            return Flow::Go;
        }
        let (now, later) = std::mem::take(&mut w.bulk).into_iter().partition(|transfer| due(transfer, w));
        w.bulk = later;
        finish(now, w, b, i.site)
    }
}

fn finish(transfers: Vec<Transfer>, w: &Warp, b: &mut Block<'_>, site: u32) -> Flow {
    for transfer in transfers {
        let lane = transfer.lane;
        if let Err(what) = transfer.finish(b) {
            b.fail(w, site, 1 << lane, FaultKind::IllegalInstruction, what, None);
            return Flow::Fault;
        }
    }
    Flow::Go
}

/// A warp has exited: its stores that nothing waited for come now.
pub(crate) fn finish_all(w: &mut Warp, b: &mut Block<'_>) {
    let transfers = std::mem::take(&mut w.bulk);
    let _ = finish(transfers, w, b, 0);
}
