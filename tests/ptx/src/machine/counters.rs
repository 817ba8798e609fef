//! The work of a launch, counted in some of its blocks.

use std::collections::BTreeMap;

use crate::exec::Program;
use crate::exec::counts::{AccessCount, Counts};
use crate::text::ast::{self, BulkDirection, Op, Space, Type, Unary};

/// A class of instructions, by the unit of a GPU that carries them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// f32: additions, products, comparisons.
    F32,
    /// f64.
    F64,
    /// f16 and bf16.
    Half,
    /// Integers and logic.
    Integer,
    /// Division and square root, and functions such as `ex2`.
    Special,
    /// Conversions between types.
    Convert,
    /// Moves, selections, logic of predicates.
    Move,
    /// Branches.
    Branch,
    /// Loads and stores of global memory.
    Global,
    /// Loads and stores of shared memory, `ldmatrix` and `stmatrix` too.
    Shared,
    /// Loads and stores of local memory.
    Local,
    /// Reads of parameters and constants.
    Constant,
    /// Atomics.
    Atomic,
    /// `mma` and `wgmma`.
    Tensor,
    /// Asynchronous copies.
    Copy,
    /// Barriers, fences, waits.
    Barrier,
    /// Shuffles, votes and the like.
    Warp,
}

/// Accesses of one memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accesses {
    /// Warp instructions.
    pub requests: u64,
    /// Of global memory: sectors of 32 bytes. Of shared memory: passes; as many as requests where no banks conflict, accesses of
    /// 8 bytes taking two and those of 16 bytes four.
    pub parts: u64,
    /// Bytes that threads asked for.
    pub bytes: u64,
    /// Of shared memory: passes that there would be without conflicts.
    pub least: u64,
}

/// Counts of one instruction of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineCount {
    /// The line of the PTX.
    pub ptx_line: u32,
    /// Its class.
    pub class: Class,
    /// The number of warps that executed it, in the blocks that were counted.
    pub warps: u64,
    /// The number of threads.
    pub threads: u64,
}

/// The work of a launch. Totals are of all blocks, scaled up from those that were counted; `lines` are not scaled.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    /// Blocks of the launch.
    pub blocks: u64,
    /// Blocks that were counted.
    pub sampled: u64,
    /// Warp instructions by class.
    pub warp_instructions: BTreeMap<Class, u64>,
    /// Instructions of threads.
    pub thread_instructions: u64,
    /// Loads of global memory, asynchronous copies' too; a bulk copy is one request.
    pub global_loads: Accesses,
    /// Stores, bulk stores and atomics.
    pub global_stores: Accesses,
    /// Loads of shared memory, the sources of bulk stores too.
    pub shared_loads: Accesses,
    /// Stores, atomics and asynchronous copies into it.
    pub shared_stores: Accesses,
    /// Accesses of local memory.
    pub local: Accesses,
    /// Additions and multiplications of floating-point numbers by threads; an fma is two.
    pub float_operations: u64,
    /// Operations of the tensor cores: two for each product and sum.
    pub tensor_operations: u64,
    /// `bar.sync` and its like, by warps.
    pub barriers: u64,
    /// Each instruction of the text.
    pub lines: Vec<LineCount>,
}

/// From counts to counters.
pub(super) fn counters(kernel: &ast::Kernel, program: &Program, blocks: u64, counts: &Counts) -> Counters {
    let mut counters = Counters { blocks, sampled: counts.sampled, ..Counters::default() };
    let scale = |value: u64| match counts.sampled {
        0 => 0,
        sampled => (u128::from(value) * u128::from(blocks) / u128::from(sampled)) as u64,
    };
    let mut by_site = vec![[0u64; 2]; kernel.body.len()];
    for (block, sites) in program.sites.iter().enumerate() {
        let found = counts.blocks.get(block).copied().unwrap_or_default();
        for &site in sites {
            by_site[site as usize][0] += found[0];
            by_site[site as usize][1] += found[1];
        }
    }
    for (site, instruction) in kernel.body.iter().enumerate() {
        let class = class_of(&instruction.op);
        let [warps, threads] = by_site[site];
        counters.lines.push(LineCount { ptx_line: instruction.line, class, warps, threads });
        *counters.warp_instructions.entry(class).or_default() += warps;
        counters.thread_instructions += threads;
        counters.float_operations += threads * float_operations(&instruction.op);
        match &instruction.op {
            Op::Mma { shape, .. } => counters.tensor_operations += warps * operations(shape),
            // Four warps carry it out together.
            Op::Wgmma { shape, .. } => counters.tensor_operations += warps * operations(shape) / 4,
            Op::Bar { .. } => counters.barriers += warps,
            _ => {}
        }
        if let Some([global, shared, local]) = counts.accesses.get(site) {
            let [to_global, to_shared] = writes(&instruction.op);
            add(if to_global { &mut counters.global_stores } else { &mut counters.global_loads }, global);
            add(if to_shared { &mut counters.shared_stores } else { &mut counters.shared_loads }, shared);
            add(&mut counters.local, local);
        }
    }
    counters.warp_instructions.retain(|_, count| *count > 0);
    counters.warp_instructions.values_mut().for_each(|value| *value = scale(*value));
    let totals = [
        &mut counters.thread_instructions,
        &mut counters.float_operations,
        &mut counters.tensor_operations,
        &mut counters.barriers,
    ];
    for value in totals {
        *value = scale(*value);
    }
    let all = [
        &mut counters.global_loads,
        &mut counters.global_stores,
        &mut counters.shared_loads,
        &mut counters.shared_stores,
        &mut counters.local,
    ];
    for accesses in all {
        *accesses = Accesses {
            requests: scale(accesses.requests),
            parts: scale(accesses.parts),
            bytes: scale(accesses.bytes),
            least: scale(accesses.least),
        };
    }
    counters
}

/// Whether an instruction that accesses global or shared memory writes there.
fn writes(op: &Op) -> [bool; 2] {
    match op {
        Op::St { .. } | Op::Atom { .. } | Op::Stmatrix { .. } => [true; 2],
        Op::CpAsync { .. } => [false, true],
        Op::CpAsyncBulk { direction, .. } | Op::CpAsyncBulkTensor { direction, .. } => {
            let to_global = *direction == BulkDirection::SharedToGlobal;
            [to_global, !to_global]
        }
        _ => [false; 2],
    }
}

/// Additions and multiplications of floating-point numbers that a thread does.
fn float_operations(op: &Op) -> u64 {
    let numbers = |ty: Type| match ty {
        Type::F16 | Type::Bf16 | Type::F32 | Type::F64 => 1,
        Type::F16x2 | Type::Bf16x2 => 2,
        _ => 0,
    };
    match op {
        Op::Ternary { op: ast::Ternary::Fma, ty, .. } => 2 * numbers(*ty),
        Op::Binary { op: ast::Binary::Add | ast::Binary::Sub | ast::Binary::Mul, ty, .. } => numbers(*ty),
        _ => 0,
    }
}

fn operations(shape: &ast::Shape) -> u64 {
    2 * u64::from(shape.m) * u64::from(shape.n) * u64::from(shape.k)
}

fn add(to: &mut Accesses, count: &AccessCount) {
    to.requests += count.requests;
    to.parts += count.parts;
    to.bytes += count.bytes;
    to.least += count.least;
}

/// The class of an instruction.
fn class_of(op: &Op) -> Class {
    let arithmetic = |ty: Type| match ty {
        Type::F32 | Type::Tf32 => Class::F32,
        Type::F64 => Class::F64,
        Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => Class::Half,
        _ => Class::Integer,
    };
    let memory = |space: Space| match space {
        Space::Global | Space::Generic => Class::Global,
        Space::Shared | Space::SharedCluster => Class::Shared,
        Space::Local => Class::Local,
        Space::Const | Space::Param => Class::Constant,
    };
    match op {
        Op::Mov { .. } | Op::Pack { .. } | Op::Unpack { .. } | Op::Selp { .. } | Op::Slct { .. } => Class::Move,
        Op::PredBinary { .. } | Op::PredMov { .. } | Op::PredNot { .. } | Op::Cvta { .. } | Op::Isspacep { .. } => {
            Class::Move
        }
        Op::Unary { op, ty, .. } => match op {
            Unary::Sqrt
            | Unary::Rcp
            | Unary::Rsqrt
            | Unary::Ex2
            | Unary::Lg2
            | Unary::Sin
            | Unary::Cos
            | Unary::Tanh => Class::Special,
            _ => arithmetic(*ty),
        },
        Op::Binary { op: ast::Binary::Div | ast::Binary::Rem, .. } => Class::Special,
        Op::Binary { ty, .. } | Op::Ternary { ty, .. } | Op::Setp { ty, .. } | Op::Set { ty, .. } => arithmetic(*ty),
        Op::Extended { .. } | Op::Bfi { .. } => Class::Integer,
        Op::Cvt { .. } => Class::Convert,
        Op::Ld { space, .. } | Op::St { space, .. } => memory(*space),
        Op::Prefetch => Class::Global,
        Op::Atom { .. } => Class::Atomic,
        Op::Ldmatrix { .. } | Op::Stmatrix { .. } => Class::Shared,
        Op::Mma { .. } | Op::Wgmma { .. } => Class::Tensor,
        Op::CpAsync { .. } | Op::CpAsyncBulk { .. } | Op::CpAsyncBulkTensor { .. } => Class::Copy,
        Op::Shfl { .. } | Op::Vote { .. } | Op::Match { .. } | Op::Activemask { .. } => Class::Warp,
        Op::Redux { .. } | Op::Elect { .. } => Class::Warp,
        Op::Bra { .. } | Op::BrxIdx { .. } | Op::Exit | Op::Trap => Class::Branch,
        Op::Mapa { .. } | Op::GetCtaRank { .. } => Class::Integer,
        _ => Class::Barrier,
    }
}
