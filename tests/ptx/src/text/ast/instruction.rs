//! The parts of instructions beside their operands: modifiers, kinds, shapes.

use super::{Address, Operand, Predicate, Register, Space};

/// The rounding of a floating-point result, or of a conversion to an integer (§9.7.3, §9.7.9.22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Rounding {
    /// `.rn`
    NearestEven,
    /// `.rna`
    NearestAway,
    /// `.rz`
    Zero,
    /// `.rm`
    Down,
    /// `.rp`
    Up,
    /// `.rni`
    IntegerNearest,
    /// `.rzi`
    IntegerZero,
    /// `.rmi`
    IntegerDown,
    /// `.rpi`
    IntegerUp,
    /// `.approx`
    Approximate,
    /// `.full`
    Full,
}

/// Modifiers of arithmetic. What an instruction's type does not know is refused by the parser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Modifiers {
    /// Rounding, where one is written.
    pub rounding: Option<Rounding>,
    /// `.ftz`: subnormals are flushed to zero with their sign.
    pub ftz: bool,
    /// `.sat`: floats to [0, 1] with NaN → 0; integers to their range.
    pub saturate: bool,
    /// `.relu`: negative results and NaN → 0.
    pub relu: bool,
    /// `.NaN` of min and max.
    pub nan: bool,
    /// `.xorsign` of min and max, with `.abs`.
    pub xorsign_abs: bool,
}

/// Instructions of two sources and one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Binary {
    Add,
    Sub,
    /// Floats.
    Mul,
    MulLo,
    MulHi,
    /// `d` is twice as wide as the type.
    MulWide,
    Mul24Lo,
    Div,
    Rem,
    Min,
    Max,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    CopySign,
}

/// Instructions of one source and one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Unary {
    Neg,
    Abs,
    Not,
    /// C's `!`: 1 where the source is 0.
    CNot,
    /// `d` is u32, as of clz.
    Popc,
    Clz,
    Brev,
    Sqrt,
    Rcp,
    Rsqrt,
    Ex2,
    Lg2,
    Sin,
    Cos,
    Tanh,
    /// `testp.finite` and its like are refused; `bfind` gives u32.
    Bfind,
    BfindShiftAmount,
}

/// Instructions of three sources and one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Ternary {
    /// Floats; `mad.f32` too.
    Fma,
    MadLo,
    MadHi,
    /// `c` and `d` are twice as wide as the type.
    MadWide,
    Sad,
    /// §9.7.1.21: source, position, length.
    Bfe,
    /// `prmt.b32` in its default mode.
    Prmt,
    /// `shf.l.clamp`, and so on: low word, high word, amount.
    ShfLeftClamp,
    ShfLeftWrap,
    ShfRightClamp,
    ShfRightWrap,
    /// `lop3.b32` with its table.
    Lop3(u8),
    /// Three-input `min` and `max` (sm_100), `add3` are refused.
    Min3,
    Max3,
}

/// Comparisons (§9.7.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Compare { Eq, Ne, Lt, Le, Gt, Ge, Equ, Neu, Ltu, Leu, Gtu, Geu, Num, Nan, Lo, Ls, Hi, Hs }

/// The operation that joins a comparison with a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum BoolOp { And, Or, Xor }

/// Atomic operations (§9.7.13.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Atomic { And, Or, Xor, Exch, Cas, Add, Inc, Dec, Min, Max }

/// Order of a memory access (§8.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Ordering { #[default] Weak, Volatile, Relaxed, Acquire, Release, AcqRel, SeqCst }

/// Scope of an order (§8.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Scope { #[default] Cta, Cluster, Gpu, Sys }

/// The way in which lanes of `shfl` find their source (§9.7.9.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Shuffle { Up, Down, Bfly, Idx }

/// `vote` (§9.7.14.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Vote { All, Any, Uni, Ballot }

/// `redux.sync` (§9.7.14.13).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Reduction { Add, Min, Max, And, Or, Xor }

/// `bar` and `barrier.cta` (§9.7.14.1).
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Barrier {
    Sync,
    Arrive,
    RedPopc { d: Register, p: Predicate },
    RedAnd { d: Register, p: Predicate },
    RedOr { d: Register, p: Predicate },
}

/// A shape m×n×k of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Shape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

/// The mechanism that signals the completion of a bulk copy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Completion {
    /// `.mbarrier::complete_tx::bytes`, at this address.
    Mbarrier(Address),
    /// `.bulk_group`.
    BulkGroup,
}

/// The direction of a bulk copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BulkDirection {
    /// `.shared::cta.global` or `.shared::cluster.global`.
    GlobalToShared,
    /// `.global.shared::cta`.
    SharedToGlobal,
    /// `.shared::cluster.shared::cta`.
    SharedToCluster,
}

/// Instructions of mbarrier (§9.7.14.15).
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Mbarrier {
    Init {
        address: Address,
        count: Operand,
    },
    Inval {
        address: Address,
    },
    ExpectTx {
        address: Address,
        bytes: Operand,
    },
    CompleteTx {
        address: Address,
        bytes: Operand,
    },
    /// `d` is the state, `None` where it is not asked for. `expect_tx`: bytes, of `.expect_tx`. `drop`: `arrive_drop`.
    Arrive {
        d: Option<Register>,
        address: Address,
        count: Option<Operand>,
        expect_tx: Option<Operand>,
        drop: bool,
        no_complete: bool,
        space: Space,
    },
    /// `test_wait` and `try_wait`: `parity` says that `state` is a phase's parity and not the result of an arrive.
    Wait {
        p: Register,
        address: Address,
        state: Operand,
        parity: bool,
        try_wait: bool,
        hint: Option<Operand>,
    },
    PendingCount {
        d: Register,
        state: Operand,
    },
}

/// The A of `wgmma`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum WgmmaA {
    Descriptor(Operand),
    Registers(Vec<Register>),
}
