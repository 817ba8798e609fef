//! A kernel as it is run.

use super::Decoded;
use super::scalar::Scalar;
use crate::text::ast::Special;

/// A kernel, lowered for one set of options.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) code: Vec<Decoded>,
    pub(crate) blocks: Vec<BasicBlock>,
    /// By basic block: the instructions of the kernel's text, by index.
    pub(crate) sites: Vec<Vec<u32>>,
    /// Instructions that run under a predicate: what [`super::control::Guarded`] points at.
    pub(crate) guarded: Vec<Decoded>,
    /// Arithmetic that is done lane by lane.
    pub(crate) scalars: Vec<Scalar>,
    /// The operations of several lanes together.
    pub(crate) collectives: Vec<super::collective::Collective>,
    /// Shuffles by constants.
    pub(crate) exchanges: Vec<super::collective::Exchange>,
    /// Atomics.
    pub(crate) atomics: Vec<super::atomic::AtomicOp>,
    /// Asynchronous copies.
    pub(crate) copies: Vec<super::copies::CopyOp>,
    /// Bulk copies, operations of mbarriers, products of four warps.
    pub(crate) bulks: Vec<super::bulk::BulkOp>,
    pub(crate) mbarriers: Vec<super::mbarrier::MbarrierOp>,
    pub(crate) wgmmas: Vec<super::wgmma::WgmmaOp>,
    /// Products of the tensor cores.
    pub(crate) products: Vec<super::matrix::Product>,
    /// The values of slots before a block begins.
    pub(crate) constants: Vec<Constant>,
    /// Faults of instructions that lowering found.
    pub(crate) misuses: Vec<String>,
    /// Words that are 0 when a block begins.
    pub(crate) cleared: Vec<u32>,
    /// Whether its work is counted.
    pub(crate) counts: bool,
    /// Words of a warp's registers.
    pub(crate) words: u32,
    /// Bytes of shared memory of the variables, without what the launch adds.
    pub(crate) shared: u32,
    /// The same as the kernel sees it, without the gaps that the checks leave between variables; where those lie.
    pub(crate) declared_shared: u32,
    pub(crate) shared_gaps: Vec<(u32, u32)>,
    /// See [`super::checks::proxy::writers`].
    pub(crate) proxy_writers: Vec<bool>,
    /// log2 of the smallest access of shared memory, in bytes; likewise of global memory.
    pub(crate) shared_granule: u32,
    pub(crate) global_granule: u32,
    /// Bytes of local memory of a thread.
    pub(crate) local: u32,
}

/// Instructions without a branch among them.
#[derive(Debug, Clone)]
pub(crate) struct BasicBlock {
    /// Its first instruction in [`Program::code`], and the one behind its last.
    pub(crate) start: u32,
    pub(crate) stop: u32,
    pub(crate) end: End,
    /// Index in the kernel's text of the instruction that ends it.
    pub(crate) site: u32,
}

/// The end of a basic block. Blocks are given by their number.
#[derive(Debug, Clone)]
pub(crate) enum End {
    /// Goes on with another block.
    Go(u32),
    /// Lanes whose predicate holds go to `to`, others to `other`; `rejoin` is where they meet again.
    Branch { predicate: u32, negated: bool, to: u32, other: u32, rejoin: u32 },
    /// Each lane goes to the block that its index says; lists of targets.
    Table { index: u32, targets: Vec<u32>, rejoin: u32 },
    /// Lanes end.
    Exit,
    /// Lanes whose predicate holds end.
    ExitIf { predicate: u32, negated: bool, other: u32 },
    /// `trap`.
    Trap,
}

/// A slot that is filled before a block begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constant {
    pub(crate) word: u32,
    pub(crate) kind: SlotKind,
    pub(crate) value: ConstantValue,
}

/// The kind of slot that holds a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum SlotKind {
    Predicate,
    Word,
    Double,
    Quad,
}

impl SlotKind {
    /// Words of 32 lanes.
    pub(crate) fn words(self) -> u32 {
        match self {
            SlotKind::Predicate => 1,
            SlotKind::Word => 32,
            SlotKind::Double => 64,
            SlotKind::Quad => 128,
        }
    }
}

/// The value that fills a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum ConstantValue {
    /// These bits.
    Bits(u64),
    /// Bytes of the parameter block, extended with the sign if `signed`.
    Parameter { offset: u32, bytes: u32, signed: bool },
    /// A special register.
    Special(Special),
}
