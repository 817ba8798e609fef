//! The instructions.

use super::*;

/// The operation of an instruction. `d` is the result; a vector of registers holds them in order, `None` for `_`.
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
