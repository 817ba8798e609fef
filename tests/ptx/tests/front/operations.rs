//! The operations that lines become, by the ISA's description of each instruction.

use ptx_machine::text::ast::*;

use crate::front::{kernel, op};

/// The register that an index stands for, by its name in head.ptx.
fn reg(name: &str) -> Register {
    let kernel = kernel("").expect("an empty body is a body");
    let at = kernel.registers.iter().position(|register| register.name == name);
    Register(at.unwrap_or_else(|| panic!("no register {name}")) as u32)
}

fn src(name: &str) -> Operand {
    Operand::Register(reg(name))
}

fn pred(name: &str, negated: bool) -> Predicate {
    Predicate::Register(Guard { register: reg(name), negated })
}

fn at(name: &str, offset: i64) -> Address {
    Address { base: src(name), offset }
}

const NONE: Modifiers =
    Modifiers { rounding: None, ftz: false, saturate: false, relu: false, nan: false, xorsign_abs: false };

/// The constant of `mov.type d, constant`.
fn constant(ty: &str, register: &str, text: &str) -> u64 {
    match op(&format!("mov.{ty} {register}, {text};")) {
        Op::Mov { a: Operand::Immediate(bits), .. } => bits,
        other => panic!("{other:?}"),
    }
}

/// §4.5: constants, and §4.6: expressions of them.
#[test]
fn constants_become_bits_of_the_instructions_type() {
    assert_eq!(constant("u32", "%r1", "0x1F"), 31);
    assert_eq!(constant("u32", "%r1", "017"), 15);
    assert_eq!(constant("u32", "%r1", "0b101U"), 5);
    assert_eq!(constant("s32", "%r1", "-1"), 0xFFFF_FFFF);
    assert_eq!(constant("s16", "%h1", "-2"), 0xFFFE);
    assert_eq!(constant("s64", "%rd1", "-1"), u64::MAX);
    assert_eq!(constant("u32", "%r1", "0x1FFFFFFFF"), 0xFFFF_FFFF);
    assert_eq!(constant("u32", "%r1", "(1 + 2) * 3 - 7 / 2"), 6);
    assert_eq!(constant("u32", "%r1", "1 << 4 | 3 & ~1 ^ 1"), 16 | (3 & !1) ^ 1);
    assert_eq!(constant("u32", "%r1", "WARP_SZ"), 32);
    assert_eq!(constant("f32", "%f1", "0f3F800000"), u64::from(1.0f32.to_bits()));
    assert_eq!(constant("f32", "%f1", "-1.5e-3"), u64::from((-1.5e-3f32).to_bits()));
    assert_eq!(constant("f32", "%f1", "0d3FE0000000000000"), u64::from(0.5f32.to_bits()));
    assert_eq!(constant("f64", "%fd1", "1.5"), 1.5f64.to_bits());
    assert_eq!(constant("f64", "%fd1", ".25"), 0.25f64.to_bits());
    assert_eq!(constant("f64", "%fd1", "0f3F800000"), 1.0f64.to_bits());
    assert_eq!(constant("b32", "%r1", "0f3F800000"), 0x3F80_0000);
    assert_eq!(constant("b64", "%rd1", "0d3FF0000000000000"), 0x3FF0_0000_0000_0000);
}

#[test]
fn arithmetic_keeps_its_modifiers() {
    let (d, a, b, c) = (reg("%f1"), src("%f2"), src("%f3"), src("%f4"));
    let modifiers = Modifiers { rounding: Some(Rounding::Zero), ftz: true, saturate: true, ..NONE };
    assert_eq!(
        op("fma.rz.ftz.sat.f32 %f1, %f2, %f3, %f4;"),
        Op::Ternary { op: Ternary::Fma, ty: Type::F32, modifiers, d, a, b, c }
    );
    let modifiers = Modifiers { nan: true, xorsign_abs: true, ..NONE };
    assert_eq!(
        op("max.NaN.xorsign.abs.f32 %f1, %f2, %f3;"),
        Op::Binary { op: Binary::Max, ty: Type::F32, modifiers, d, a, b }
    );
    let modifiers = Modifiers { rounding: Some(Rounding::Approximate), ftz: true, ..NONE };
    let (d, a) = (reg("%fd1"), src("%fd2"));
    assert_eq!(op("rcp.approx.ftz.f64 %fd1, %fd2;"), Op::Unary { op: Unary::Rcp, ty: Type::F64, modifiers, d, a });
    let (d, a, b) = (reg("%rd1"), src("%r2"), Operand::Immediate(0xFFFF_FFFD));
    assert_eq!(
        op("mul.wide.s32 %rd1, %r2, -3;"),
        Op::Binary { op: Binary::MulWide, ty: Type::S32, modifiers: NONE, d, a, b }
    );
}

#[test]
fn bit_fields_tables_and_carries_keep_their_operands() {
    let (d, a, b) = (reg("%r1"), src("%r2"), src("%r3"));
    let (position, length) = (Operand::Immediate(8), src("%r4"));
    assert_eq!(op("bfi.b32 %r1, %r2, %r3, 8, %r4;"), Op::Bfi { ty: Type::B32, d, a, b, position, length });
    let c = src("%r4");
    assert_eq!(
        op("lop3.b32 %r1, %r2, %r3, %r4, 0x96;"),
        Op::Ternary { op: Ternary::Lop3(0x96), ty: Type::B32, modifiers: NONE, d, a, b, c }
    );
    assert_eq!(
        op("shf.r.wrap.b32 %r1, %r2, %r3, %r4;"),
        Op::Ternary { op: Ternary::ShfRightWrap, ty: Type::B32, modifiers: NONE, d, a, b, c }
    );
    let ty = Type::U32;
    assert_eq!(
        op("madc.hi.cc.u32 %r1, %r2, %r3, %r4;"),
        Op::Extended { op: Binary::MulHi, ty, carry_in: true, carry_out: true, d, a, b, c: Some(c) }
    );
    assert_eq!(
        op("sub.cc.u32 %r1, %r2, %r3;"),
        Op::Extended { op: Binary::Sub, ty, carry_in: false, carry_out: true, d, a, b, c: None }
    );
}

#[test]
fn conversions_know_both_types_and_their_rounding() {
    let nearest = Modifiers { rounding: Some(Rounding::NearestEven), ..NONE };
    let (a, b) = (src("%f1"), Some(src("%f2")));
    assert_eq!(
        op("cvt.rn.relu.bf16x2.f32 %r1, %f1, %f2;"),
        Op::Cvt {
            d_ty: Type::Bf16x2,
            a_ty: Type::F32,
            modifiers: Modifiers { relu: true, ..nearest },
            d: reg("%r1"),
            a,
            b
        }
    );
    let modifiers = Modifiers { rounding: Some(Rounding::NearestAway), ..NONE };
    assert_eq!(
        op("cvt.rna.tf32.f32 %r1, %f1;"),
        Op::Cvt { d_ty: Type::Tf32, a_ty: Type::F32, modifiers, d: reg("%r1"), a, b: None }
    );
    let modifiers = Modifiers { rounding: Some(Rounding::IntegerZero), ftz: true, saturate: true, ..NONE };
    assert_eq!(
        op("cvt.rzi.ftz.sat.u32.f32 %r1, %f1;"),
        Op::Cvt { d_ty: Type::U32, a_ty: Type::F32, modifiers, d: reg("%r1"), a, b: None }
    );
    // §9.4.1: the source is cut off to 32 bits, the result is as wide as the register.
    assert_eq!(
        op("cvt.s64.s32 %rd1, %rd2;"),
        Op::Cvt { d_ty: Type::S64, a_ty: Type::S32, modifiers: NONE, d: reg("%rd1"), a: src("%rd2"), b: None }
    );
}

#[test]
fn comparisons_have_two_results_and_a_joined_predicate() {
    let (a, b) = (src("%f1"), src("%f2"));
    assert_eq!(
        op("setp.ltu.and.ftz.f32 %p1|%p2, %f1, %f2, !%p3;"),
        Op::Setp {
            compare: Compare::Ltu,
            ty: Type::F32,
            ftz: true,
            p: reg("%p1"),
            q: Some(reg("%p2")),
            a,
            b,
            join: Some((BoolOp::And, pred("%p3", true))),
        }
    );
    // A result that is not wanted goes to a register that no name stands for.
    match op("setp.eq.s32 _|%p2, %r1, 5;") {
        Op::Setp { p, q, .. } => {
            assert_eq!(q, Some(reg("%p2")));
            assert!(p.0 > reg("%q3").0);
        }
        other => panic!("{other:?}"),
    }
    let (a, b, p) = (Operand::Immediate(1), Operand::Immediate(0), pred("%p1", true));
    assert_eq!(op("selp.u32 %r1, 1, 0, !%p1;"), Op::Selp { ty: Type::U32, d: reg("%r1"), a, b, p });
    let (d, a, b) = (reg("%p1"), pred("%p2", false), Predicate::Constant(true));
    assert_eq!(op("xor.pred %p1, %p2, 1;"), Op::PredBinary { op: BoolOp::Xor, d, a, b });
    assert_eq!(op("mov.pred %p1, !%p2;"), Op::PredMov { d, a: pred("%p2", true) });
    assert_eq!(op("mov.pred %p1, -1;"), Op::PredMov { d, a: Predicate::Constant(true) });
    // The one special register of one bit.
    let (a, b) = (Operand::Special(Special::IsExplicitCluster), Operand::Immediate(0));
    let explicit = Op::Setp { compare: Compare::Ne, ty: Type::U32, ftz: false, p: d, q: None, a, b, join: None };
    assert_eq!(op("mov.pred %p1, %is_explicit_cluster;"), explicit);
}

#[test]
fn moves_pack_unpack_and_take_addresses() {
    assert_eq!(
        op("mov.b64 {_, %r1}, %rd1;"),
        Op::Unpack { ty: Type::B64, parts: vec![None, Some(reg("%r1"))], a: src("%rd1") }
    );
    let parts = vec![Operand::Immediate(0xFFFF), src("%h2")];
    assert_eq!(op("mov.b32 %r1, {-1, %h2};"), Op::Pack { ty: Type::B32, d: reg("%r1"), parts });
    let a = Operand::Symbol(Symbol::Module(0), 8);
    assert_eq!(op("mov.u32 %r1, sm+8;"), Op::Mov { ty: Type::U32, d: reg("%r1"), a });
    let a = Operand::Symbol(Symbol::Parameter(2), 0);
    assert_eq!(op("mov.b64 %rd1, tm;"), Op::Mov { ty: Type::B64, d: reg("%rd1"), a });
    let a = Operand::Special(Special::ClusterNctaid(1));
    assert_eq!(op("mov.u32 %r1, %cluster_nctaid.y;"), Op::Mov { ty: Type::U32, d: reg("%r1"), a });
    let a = Operand::Symbol(Symbol::Kernel(0), 0);
    assert_eq!(
        op("cvta.local.u64 %rd1, lo;"),
        Op::Cvta { to: false, space: Space::Local, ty: Type::U64, d: reg("%rd1"), a }
    );
}

#[test]
fn loads_and_stores_know_space_order_and_vector() {
    assert_eq!(
        op("ld.global.nc.L1::no_allocate.v4.f32 {%f1,_,%f3,%f4}, [%rd1+-16];"),
        Op::Ld {
            space: Space::Global,
            ty: Type::F32,
            ordering: Ordering::Weak,
            scope: Scope::Cta,
            non_coherent: true,
            d: vec![Some(reg("%f1")), None, Some(reg("%f3")), Some(reg("%f4"))],
            address: at("%rd1", -16),
        }
    );
    let address = Address { base: Operand::Symbol(Symbol::Parameter(1), 0), offset: 0 };
    assert_eq!(
        op("ld.param.s32 %rd1, [p1];"),
        Op::Ld {
            space: Space::Param,
            ty: Type::S32,
            ordering: Ordering::Weak,
            scope: Scope::Cta,
            non_coherent: false,
            d: vec![Some(reg("%rd1"))],
            address,
        }
    );
    assert_eq!(
        op("st.release.gpu.global.L1::no_allocate.L2::cache_hint.v2.u32 [%rd1], {%r1,7}, %rd2;"),
        Op::St {
            space: Space::Global,
            ty: Type::U32,
            ordering: Ordering::Release,
            scope: Scope::Gpu,
            a: vec![src("%r1"), Operand::Immediate(7)],
            address: at("%rd1", 0),
        }
    );
}

#[test]
fn atomics_have_their_order_and_scope() {
    assert_eq!(
        op("atom.acq_rel.sys.global.cas.b64 %rd1, [%rd2+8], %rd3, 5;"),
        Op::Atom {
            op: Atomic::Cas,
            space: Space::Global,
            ty: Type::B64,
            ordering: Ordering::AcqRel,
            scope: Scope::Sys,
            d: Some(vec![Some(reg("%rd1"))]),
            address: at("%rd2", 8),
            b: vec![src("%rd3")],
            c: Some(Operand::Immediate(5)),
        }
    );
    // §9.7.13.13: relaxed and of the GPU where nothing is written.
    assert_eq!(
        op("red.global.add.v2.f32 [%rd1], {%f1,%f2};"),
        Op::Atom {
            op: Atomic::Add,
            space: Space::Global,
            ty: Type::F32,
            ordering: Ordering::Relaxed,
            scope: Scope::Gpu,
            d: None,
            address: at("%rd1", 0),
            b: vec![src("%f1"), src("%f2")],
            c: None,
        }
    );
    assert_eq!(op("membar.gl;"), Op::Fence { ordering: Ordering::SeqCst, scope: Scope::Gpu });
    assert_eq!(op("fence.proxy.async.shared::cta;"), Op::FenceProxy { kind: "proxy.async.shared::cta".into() });
}

#[test]
fn barriers_and_warp_instructions_know_their_masks() {
    let barrier = Operand::Immediate(1);
    assert_eq!(
        op("barrier.sync 1, %r2;"),
        Op::Bar { kind: Barrier::Sync, aligned: false, barrier, threads: Some(src("%r2")) }
    );
    let kind = Barrier::RedOr { d: reg("%p1"), p: pred("%p2", true) };
    assert_eq!(op("bar.red.or.pred %p1, 1, !%p2;"), Op::Bar { kind, aligned: true, barrier, threads: None });
    assert_eq!(
        op("shfl.sync.idx.b32 %r1|%p1, %r2, 3, 0x1f, -1;"),
        Op::Shfl {
            mode: Shuffle::Idx,
            d: reg("%r1"),
            p: Some(reg("%p1")),
            a: src("%r2"),
            b: Operand::Immediate(3),
            c: Operand::Immediate(31),
            mask: Operand::Immediate(0xFFFF_FFFF),
        }
    );
    let (d, mask) = (reg("%r1"), src("%r3"));
    assert_eq!(
        op("vote.sync.ballot.b32 %r1, !%p2, %r3;"),
        Op::Vote { mode: Vote::Ballot, d, a: pred("%p2", true), mask }
    );
    assert_eq!(op("elect.sync _|%p1, %r3;"), Op::Elect { d: None, p: reg("%p1"), mask });
    assert_eq!(
        op("barrier.cluster.arrive.relaxed.aligned;"),
        Op::BarrierCluster { arrive: true, relaxed: true, aligned: true }
    );
    assert_eq!(op("setmaxnreg.dec.sync.aligned.u32 40;"), Op::SetMaxNReg { increase: false, registers: 40 });
}

#[test]
fn asynchronous_copies_know_where_from_and_how_they_end() {
    let (dst, src_address) = (at("%r1", 16), at("%rd1", 0));
    assert_eq!(
        op("cp.async.cg.shared.global.L2::128B [%r1+16], [%rd1], 16, %r2;"),
        Op::CpAsync { dst, src: src_address, bytes: 16, source_bytes: Some(src("%r2")), ignore: None }
    );
    assert_eq!(
        op("cp.async.ca.shared.global.L2::cache_hint [%r1+16], [%rd1], 8, %p1, %rd2;"),
        Op::CpAsync { dst, src: src_address, bytes: 8, source_bytes: None, ignore: Some(pred("%p1", false)) }
    );
    assert_eq!(op("cp.async.wait_group 3;"), Op::CpAsyncWait { groups: Some(3) });
    assert_eq!(op("cp.async.bulk.wait_group.read 1;"), Op::CpAsyncBulkWait { groups: 1, read: true });
    let tensor =
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes.multicast::cluster";
    assert_eq!(
        op(&format!("{tensor} [%r1], [%rd1, {{%r2,0,-1,%r3}}], [%r4+8], {{%h1,2}}, %h3;")),
        Op::CpAsyncBulkTensor {
            direction: BulkDirection::GlobalToShared,
            shared: at("%r1", 0),
            map: at("%rd1", 0),
            coordinates: vec![src("%r2"), Operand::Immediate(0), Operand::Immediate(0xFFFF_FFFF), src("%r3")],
            im2col: Some(vec![src("%h1"), Operand::Immediate(2)]),
            completion: Completion::Mbarrier(at("%r4", 8)),
            multicast: Some(src("%h3")),
        }
    );
    assert_eq!(
        op("cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%rd1], [%r1], 64, %rd2;"),
        Op::CpAsyncBulk {
            direction: BulkDirection::SharedToGlobal,
            dst: at("%rd1", 0),
            src: at("%r1", 0),
            bytes: Operand::Immediate(64),
            completion: Completion::BulkGroup,
            multicast: None,
        }
    );
}

#[test]
fn mbarriers_tell_states_from_parities() {
    let address = at("%r1", 0);
    assert_eq!(
        op("mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p1, [%r1], 1, %r2;"),
        Op::Mbarrier(Mbarrier::Wait {
            p: reg("%p1"),
            address,
            state: Operand::Immediate(1),
            parity: true,
            try_wait: true,
            hint: Some(src("%r2")),
        })
    );
    assert_eq!(
        op("mbarrier.arrive.expect_tx.shared.b64 _, [%r1], 128;"),
        Op::Mbarrier(Mbarrier::Arrive {
            d: None,
            address,
            count: None,
            expect_tx: Some(Operand::Immediate(128)),
            drop: false,
            no_complete: false,
            space: Space::Shared,
        })
    );
    assert_eq!(
        op("mbarrier.arrive_drop.noComplete.shared.b64 %rd1, [%r1], 2;"),
        Op::Mbarrier(Mbarrier::Arrive {
            d: Some(reg("%rd1")),
            address,
            count: Some(Operand::Immediate(2)),
            expect_tx: None,
            drop: true,
            no_complete: true,
            space: Space::Shared,
        })
    );
}

/// §9.7.15.5, §9.7.16.5: how many registers the fragments of a warp or a warpgroup have.
#[test]
fn products_have_the_registers_of_their_fragments() {
    let line = "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4}, {%r1,%r2,%r3,%r4}, {%r5,%r6}, \
                {%f1,%f2,0f00000000,%f4};";
    match op(line) {
        Op::Mma { shape, a_ty: Type::Tf32, c_ty: Type::F32, d, a, b, c, .. } => {
            assert_eq!(shape, Shape { m: 16, n: 8, k: 8 });
            assert_eq!((d.len(), a.len(), b.len(), c.len()), (4, 4, 2, 4));
            assert_eq!((d[3], a[2], b[1], c[2]), (reg("%f4"), src("%r3"), src("%r6"), Operand::Immediate(0)));
        }
        other => panic!("{other:?}"),
    }
    let registers: Vec<String> = (0..64).map(|i| format!("%f{i}")).collect();
    let registers = registers.join(",");
    let line = format!(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{{registers}}}, {{%r1,%r2,%r3,%r4}}, %rd2, !%p1, -1, 1, 1;"
    );
    match op(&line) {
        Op::Wgmma { shape, d, a, scale_d, negate_a, negate_b, trans_a, trans_b, .. } => {
            assert_eq!((shape, d.len()), (Shape { m: 64, n: 128, k: 16 }, 64));
            assert_eq!(a, WgmmaA::Registers(vec![reg("%r1"), reg("%r2"), reg("%r3"), reg("%r4")]));
            assert_eq!(scale_d, pred("%p1", true));
            assert_eq!((negate_a, negate_b, trans_a, trans_b), (true, false, false, true));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        op("ldmatrix.sync.aligned.x2.trans.m8n8.shared.b16 {%r1,%r2}, [sm+32];"),
        Op::Ldmatrix {
            trans: true,
            d: vec![reg("%r1"), reg("%r2")],
            address: Address { base: Operand::Symbol(Symbol::Module(0), 0), offset: 32 },
        }
    );
}
