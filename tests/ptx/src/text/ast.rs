//! PTX as typed instructions: what the parser makes of a module's text and what lowering reads.
//!
//! Section numbers ("§9.7.1.3") are those of the PTX ISA's documentation, version 9.0. An instruction that is not listed here is
//! refused by the parser, by its name.

/// A module: one PTX text.
#[derive(Debug, Clone, Default)]
pub struct Module {
    /// `.version major.minor`.
    pub version: (u32, u32),
    /// `.target`, such as `sm_90a`.
    pub target: String,
    /// Variables at module scope, in the order of the text: `.global`, `.const`, `.shared`.
    pub variables: Vec<Variable>,
    /// `.file` directives: number and path.
    pub files: Vec<(u32, String)>,
    /// The kernels (`.entry`). Device functions (`.func`) are refused: nothing calls them here.
    pub kernels: Vec<Kernel>,
}

/// A kernel.
#[derive(Debug, Clone, Default)]
pub struct Kernel {
    /// Its name, as `cuModuleGetFunction` is asked for it.
    pub name: String,
    /// Its parameters, in order. The parameter block lays them out one behind the other, each at its alignment.
    pub parameters: Vec<Variable>,
    /// `.maxntid`: the product is the most threads that a block may have.
    pub max_threads: Option<[u32; 3]>,
    /// `.reqntid`: exactly this block.
    pub required_threads: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_blocks_per_multiprocessor: Option<u32>,
    /// `.reqnctapercluster`, or `.explicitcluster` without a size as `[0; 3]`.
    pub cluster: Option<[u32; 3]>,
    /// Registers, numbered by [`Register`]. A name that is declared again in an inner scope is another register.
    pub registers: Vec<RegisterDeclaration>,
    /// Variables of the body: `.shared` and `.local`.
    pub variables: Vec<Variable>,
    /// The instructions, in order.
    pub body: Vec<Instruction>,
    /// `.loc` lines as they were inlined: what [`Instruction::place`] indexes.
    pub places: Vec<Place>,
}

/// A declared register.
#[derive(Debug, Clone)]
pub struct RegisterDeclaration {
    /// `%r12`.
    pub name: String,
    /// Its type: `pred`, or what gives its width.
    pub ty: Type,
}

/// A register of a kernel: an index into [`Kernel::registers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Register(pub u32);

/// A variable or a parameter.
#[derive(Debug, Clone)]
pub struct Variable {
    /// The memory that it is in.
    pub space: Space,
    /// Its name.
    pub name: String,
    /// Alignment in bytes.
    pub align: u32,
    /// Type of its elements.
    pub ty: Type,
    /// Bytes altogether; 0 for `.extern .shared name[]`, whose size the launch gives.
    pub bytes: u64,
    /// Whether it was declared without a size.
    pub dynamic: bool,
    /// Initial bytes: as many as `bytes`, or none where the text gives no values.
    pub initial: Vec<u8>,
}

/// A place in a source file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Number of the file in [`Module::files`].
    pub file: u32,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1 where it is known.
    pub column: u32,
    /// Where it was inlined at: an index into [`Kernel::places`].
    pub inlined_at: Option<u32>,
}

/// An instruction with its guard.
#[derive(Debug, Clone)]
pub struct Instruction {
    /// `@%p1` or `@!%p1`.
    pub guard: Option<Guard>,
    /// What it does.
    pub op: Op,
    /// Where it comes from: an index into [`Kernel::places`].
    pub place: Option<u32>,
    /// Its line in the PTX text, from 1.
    pub line: u32,
}

/// The predicate that an instruction is carried out under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The predicate.
    pub register: Register,
    /// Whether lanes run it where the predicate is false.
    pub negated: bool,
}

/// Types (§5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
#[rustfmt::skip]
pub enum Type {
    Pred,
    B8, B16, B32, B64, B128,
    U8, U16, U32, U64,
    S8, S16, S32, S64,
    F16, F16x2, Bf16, Bf16x2, Tf32, F32, F64,
    E4m3, E5m2, E4m3x2, E5m2x2,
}

impl Type {
    /// Bytes of one value in memory; a predicate has none.
    pub fn bytes(self) -> u32 {
        use Type::*;
        match self {
            Pred => 0,
            B8 | U8 | S8 | E4m3 | E5m2 => 1,
            B16 | U16 | S16 | F16 | Bf16 | E4m3x2 | E5m2x2 => 2,
            B32 | U32 | S32 | F16x2 | Bf16x2 | Tf32 | F32 => 4,
            B64 | U64 | S64 | F64 => 8,
            B128 => 16,
        }
    }
}

/// State spaces (§5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Space {
    Generic,
    Global,
    Shared,
    /// `.shared::cluster`: an address in the shared memory of any block of the cluster.
    SharedCluster,
    Local,
    Const,
    Param,
}

/// A source operand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Operand {
    /// A register.
    Register(Register),
    /// A constant: the bits, already converted to the instruction's type (`0f3F800000`, `1.5`, `-1`), in the low bytes.
    Immediate(u64),
    /// A special register.
    Special(Special),
    /// The address of a variable in its own space, plus an offset.
    Symbol(Symbol, i64),
}

/// A variable that an operand names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symbol {
    /// [`Module::variables`].
    Module(u32),
    /// [`Kernel::variables`].
    Kernel(u32),
    /// [`Kernel::parameters`].
    Parameter(u32),
}

/// Special registers (§10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    /// 0, 1, 2 for x, y, z; likewise below.
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    ClusterId(u8),
    NClusterId(u8),
    ClusterCtaid(u8),
    ClusterNctaid(u8),
    ClusterCtaRank,
    ClusterNctaRank,
    IsExplicitCluster,
    LaneMaskEq,
    LaneMaskLe,
    LaneMaskLt,
    LaneMaskGe,
    LaneMaskGt,
    Clock,
    Clock64,
    GlobalTimer,
    DynamicSharedBytes,
    TotalSharedBytes,
}

/// `[base + offset]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Address {
    /// A register, a symbol or an immediate.
    pub base: Operand,
    /// Bytes added to it.
    pub offset: i64,
}

/// A predicate as an operand, such as the third of `setp` or the one of `vote`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Predicate {
    /// A register, perhaps negated.
    Register(Guard),
    /// `0` or `1`.
    Constant(bool),
}

/// How a floating-point result is rounded, or a conversion to an integer (§9.7.3, §9.7.9.22).
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

/// What joins a comparison with a predicate.
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

/// How lanes of `shfl` find their source (§9.7.9.6).
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

/// Where the completion of a bulk copy is told.
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

/// What an instruction does. `d` is the result; a vector of registers holds them in order, `None` for `_`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Op {
    /// `createpolicy` too: a cache policy is a value that only cache hints read, which are dropped, and is 0 here.
    Mov {
        ty: Type,
        d: Register,
        a: Operand,
    },
    /// `mov.b64 %rd, {a, b}`: the first part is the lowest.
    Pack {
        ty: Type,
        d: Register,
        parts: Vec<Operand>,
    },
    /// `mov.b64 {a, b}, %rd`.
    Unpack {
        ty: Type,
        parts: Vec<Option<Register>>,
        a: Operand,
    },
    Unary {
        op: Unary,
        ty: Type,
        modifiers: Modifiers,
        d: Register,
        a: Operand,
    },
    Binary {
        op: Binary,
        ty: Type,
        modifiers: Modifiers,
        d: Register,
        a: Operand,
        b: Operand,
    },
    Ternary {
        op: Ternary,
        ty: Type,
        modifiers: Modifiers,
        d: Register,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// `add.cc`, `addc`, `sub.cc`, `subc`, `mad{c}.lo/hi{.cc}`: `carry_in`, `carry_out`; `c` of mad alone.
    Extended {
        op: Binary,
        ty: Type,
        carry_in: bool,
        carry_out: bool,
        d: Register,
        a: Operand,
        b: Operand,
        c: Option<Operand>,
    },
    /// §9.7.1.22: `d = b` with `length` bits from `position` replaced by those of `a`.
    Bfi {
        ty: Type,
        d: Register,
        a: Operand,
        b: Operand,
        position: Operand,
        length: Operand,
    },
    /// With .f16x2 and .bf16x2 `p` is the lower half's result and `q` the upper one's; else `q` is the result of the opposite
    /// comparison, each joined with the predicate. `mov.pred p, %is_explicit_cluster` is a comparison with 0.
    Setp {
        compare: Compare,
        ty: Type,
        ftz: bool,
        p: Register,
        q: Option<Register>,
        a: Operand,
        b: Operand,
        join: Option<(BoolOp, Predicate)>,
    },
    /// `set`: all ones or 1.0f in `d` of type `d_ty`.
    Set {
        compare: Compare,
        d_ty: Type,
        ty: Type,
        ftz: bool,
        d: Register,
        a: Operand,
        b: Operand,
        join: Option<(BoolOp, Predicate)>,
    },
    Selp {
        ty: Type,
        d: Register,
        a: Operand,
        b: Operand,
        p: Predicate,
    },
    /// `c >= 0 ? a : b`, `c` of type s32 or f32.
    Slct {
        ty: Type,
        c_ty: Type,
        ftz: bool,
        d: Register,
        a: Operand,
        b: Operand,
        c: Operand,
    },
    /// Predicates: `and.pred` and so on, `not.pred`, `mov.pred`.
    PredBinary {
        op: BoolOp,
        d: Register,
        a: Predicate,
        b: Predicate,
    },
    PredMov {
        d: Register,
        a: Predicate,
    },
    PredNot {
        d: Register,
        a: Predicate,
    },
    /// `cvt.d_ty.a_ty`; with `b`, `cvt.rn.bf16x2.f32 d, a, b`: `a` is the upper half.
    Cvt {
        d_ty: Type,
        a_ty: Type,
        modifiers: Modifiers,
        d: Register,
        a: Operand,
        b: Option<Operand>,
    },
    /// `cvta{.to}.space`.
    Cvta {
        to: bool,
        space: Space,
        ty: Type,
        d: Register,
        a: Operand,
    },
    Isspacep {
        space: Space,
        p: Register,
        a: Operand,
    },
    /// `ld`, `ld.param`, `ldu`, `ld.global.nc`.
    Ld {
        space: Space,
        ty: Type,
        ordering: Ordering,
        scope: Scope,
        non_coherent: bool,
        d: Vec<Option<Register>>,
        address: Address,
    },
    St {
        space: Space,
        ty: Type,
        ordering: Ordering,
        scope: Scope,
        a: Vec<Operand>,
        address: Address,
    },
    /// `prefetch`, `prefetchu`, `applypriority`, `discard`: no effect; the address is not looked at.
    Prefetch,
    /// `d` is `None` for `red`. `c` for cas. `d` and `b` have one element each, but for vectors.
    Atom {
        op: Atomic,
        space: Space,
        ty: Type,
        ordering: Ordering,
        scope: Scope,
        d: Option<Vec<Option<Register>>>,
        address: Address,
        b: Vec<Operand>,
        c: Option<Operand>,
    },
    Fence {
        ordering: Ordering,
        scope: Scope,
    },
    /// `fence.proxy.async{.space}`, `fence.mbarrier_init`, `fence.proxy.alias`, `fence.proxy.tensormap`: the name behind `fence.`.
    FenceProxy {
        kind: String,
    },
    /// `aligned`: all threads of the warp carry it out together, as `bar.sync` demands.
    Bar {
        kind: Barrier,
        aligned: bool,
        barrier: Operand,
        threads: Option<Operand>,
    },
    BarWarpSync {
        mask: Operand,
    },
    /// `barrier.cluster.arrive` or `.wait`; `relaxed` of arrive.
    BarrierCluster {
        arrive: bool,
        relaxed: bool,
        aligned: bool,
    },
    Shfl {
        mode: Shuffle,
        d: Register,
        p: Option<Register>,
        a: Operand,
        b: Operand,
        c: Operand,
        mask: Operand,
    },
    /// `d` is a predicate, or b32 for ballot.
    Vote {
        mode: Vote,
        d: Register,
        a: Predicate,
        mask: Operand,
    },
    /// `match.any` or, with `all`, `match.all` and its predicate.
    Match {
        all: bool,
        ty: Type,
        d: Register,
        p: Option<Register>,
        a: Operand,
        mask: Operand,
    },
    Activemask {
        d: Register,
    },
    Redux {
        op: Reduction,
        ty: Type,
        d: Register,
        a: Operand,
        mask: Operand,
    },
    Elect {
        d: Option<Register>,
        p: Register,
        mask: Operand,
    },
    /// `cp.async.{ca,cg}.shared.global [dst], [src], bytes{, source_bytes}`; `source_bytes`: the rest is filled with zeros;
    /// `ignore`: nothing is read where it is true.
    CpAsync {
        dst: Address,
        src: Address,
        bytes: u32,
        source_bytes: Option<Operand>,
        ignore: Option<Predicate>,
    },
    CpAsyncCommit,
    /// `Some(n)`: at most n groups are under way; `None`: `wait_all`.
    CpAsyncWait {
        groups: Option<u32>,
    },
    CpAsyncMbarrierArrive {
        address: Address,
        no_increment: bool,
    },
    /// The address is one of shared memory: generic ones are refused, as for `stmatrix`, mbarriers and
    /// `cp.async.mbarrier.arrive`.
    Ldmatrix {
        trans: bool,
        d: Vec<Register>,
        address: Address,
    },
    Stmatrix {
        trans: bool,
        a: Vec<Operand>,
        address: Address,
    },
    /// `mma.sync.aligned.shape.row.col.d_ty.a_ty.b_ty.c_ty`.
    Mma {
        shape: Shape,
        d_ty: Type,
        a_ty: Type,
        b_ty: Type,
        c_ty: Type,
        d: Vec<Register>,
        a: Vec<Operand>,
        b: Vec<Operand>,
        c: Vec<Operand>,
    },
    Mbarrier(Mbarrier),
    /// `cp.async.bulk` without a tensor. `multicast`: the mask of blocks.
    CpAsyncBulk {
        direction: BulkDirection,
        dst: Address,
        src: Address,
        bytes: Operand,
        completion: Completion,
        multicast: Option<Operand>,
    },
    /// `cp.async.bulk.tensor.{1..5}d`, tiled, or with `im2col` its offsets.
    CpAsyncBulkTensor {
        direction: BulkDirection,
        shared: Address,
        map: Address,
        coordinates: Vec<Operand>,
        im2col: Option<Vec<Operand>>,
        completion: Completion,
        multicast: Option<Operand>,
    },
    /// `cp.reduce.async.bulk.tensor` and `cp.reduce.async.bulk` are refused.
    CpAsyncBulkCommit,
    /// `read`: waits for sources to be read alone.
    CpAsyncBulkWait {
        groups: u32,
        read: bool,
    },
    /// `wgmma.mma_async.sync.aligned.m64nNkK.d_ty.a_ty.b_ty d, a, b, scale_d, imm_scale_a, imm_scale_b, trans_a, trans_b`.
    Wgmma {
        shape: Shape,
        d_ty: Type,
        a_ty: Type,
        b_ty: Type,
        d: Vec<Register>,
        a: WgmmaA,
        b: Operand,
        scale_d: Predicate,
        negate_a: bool,
        negate_b: bool,
        trans_a: bool,
        trans_b: bool,
    },
    WgmmaFence,
    WgmmaCommit,
    WgmmaWait {
        groups: u32,
    },
    /// `setmaxnreg.{inc,dec}.sync.aligned.u32`.
    SetMaxNReg {
        increase: bool,
        registers: u32,
    },
    /// `griddepcontrol.launch_dependents` or, with `wait`, `.wait`.
    GridDepControl {
        wait: bool,
    },
    /// `mapa`: the address of the same variable in the block of rank `b`.
    Mapa {
        space: Space,
        ty: Type,
        d: Register,
        a: Operand,
        b: Operand,
    },
    GetCtaRank {
        space: Space,
        ty: Type,
        d: Register,
        a: Operand,
    },
    /// `target`: an index into [`Kernel::body`], or its length for a label at the end. `uniform`: `bra.uni`.
    Bra {
        target: u32,
        uniform: bool,
    },
    /// `brx.idx`: the targets of its list.
    BrxIdx {
        index: Operand,
        targets: Vec<u32>,
        uniform: bool,
    },
    /// `ret` of a kernel, and `exit`.
    Exit,
    Trap,
    Nanosleep,
}
