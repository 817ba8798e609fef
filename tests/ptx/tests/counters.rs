//! Counters against what a small kernel's text says.

use crate::common::hopper::{text, wait};
use crate::common::{machine, module_text, options, run, shape, upload};
use ptx_machine::machine::{Accesses, AsyncCopies, Class, Options};

#[test]
fn a_kernel_s_work_is_counted() {
    // 3 rounds of a loop; thread 0 of each block alone runs the guarded addition.
    let text = module_text(
        ".param .u64 k_param_0",
        ".shared .align 16 .b8 tile[4096];
        ld.param.u64 %rd1, [k_param_0];
        mov.u32 %r5, %tid.x;
        shl.b32 %r7, %r5, 2;
        mul.wide.u32 %rd2, %r7, 1;
        add.s64 %rd3, %rd1, %rd2;
        mov.u32 %r20, tile;
        mov.u32 %r1, 0;
        shl.b32 %r8, %r5, 3;
        add.u32 %r8, %r8, %r20;
    LOOP:
        ld.global.f32 %f1, [%rd3];
        fma.rn.f32 %f1, %f1, %f1, %f1;
        st.shared.f32 [%r8], %f1;
        bar.sync 0;
        add.u32 %r1, %r1, 1;
        setp.lt.u32 %p1, %r1, 3;
        @%p1 bra LOOP;
        setp.eq.u32 %p2, %r5, 0;
        @!%p2 bra END;
        add.f64 %fd1, %fd1, %fd1;
    END:
        st.global.v4.f32 [%rd1], {%f1, %f1, %f1, %f1};
        ret;",
    );
    for every in [1, 4] {
        let machine = machine(Options { count_every: every, ..options() });
        let address = upload(&machine, &[0; 64]);
        let outcome = run(&machine, &text, &shape(8, 64, &[address])).expect("a launch");
        let counters = outcome.counters.expect("counters");
        assert_eq!((counters.blocks, counters.sampled), (8, 8 / every));
        // 8 blocks of 2 warps, 3 rounds.
        let class = |class: Class| counters.warp_instructions.get(&class).copied().unwrap_or(0);
        assert_eq!(class(Class::F32), 48);
        assert_eq!(class(Class::Barrier), 48);
        assert_eq!(counters.barriers, 48);
        assert_eq!(class(Class::F64), 8);
        assert_eq!(class(Class::Shared), 48);
        assert_eq!(class(Class::Global), 64);
        // A warp's 128 bytes are 4 sectors; all lanes' 16 bytes at one address are one.
        assert_eq!(counters.global_loads.requests, 48);
        assert_eq!(counters.global_loads.parts, 4 * 48);
        assert_eq!(counters.global_loads.bytes, 128 * 48);
        assert_eq!(counters.global_stores.requests, 16);
        assert_eq!(counters.global_stores.parts, 16);
        // Every second bank: two passes.
        assert_eq!(counters.shared_stores.parts, 2 * 48);
        let line = counters.lines.iter().find(|line| line.class == Class::F64).expect("the addition");
        assert_eq!((line.warps, line.threads), (8 / every, 8 / every));
        // All threads: 9 + 3 × 7 + 2 + 2; one more in each block.
        assert_eq!(counters.thread_instructions, 8 * (64 * (9 + 3 * 7 + 4) + 1));
    }
}

/// A bulk copy is one request of global and one of shared memory, of all its bytes: thread 0 of each block brings 256 bytes in and
/// stores 64 of them.
#[test]
fn bulk_copies_are_counted_with_their_bytes() {
    let body = format!(
        "@!%p1 bra END;
        mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r30], 256;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20], [%rd1], 256, [%r30];
        {}fence.proxy.async.shared::cta;
        cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 64;
        cp.async.bulk.commit_group;
        cp.async.bulk.wait_group 0;
    END:",
        wait("WAIT", 0)
    );
    for async_copies in [AsyncCopies::Earliest, AsyncCopies::Latest] {
        let machine = machine(Options { count_every: 1, async_copies, threads: 1, ..options() });
        let address = upload(&machine, &[7; 64]);
        let counters = run(&machine, &text(256, 1, &body), &shape(3, 64, &[address])).expect("a launch").counters;
        let counters = counters.expect("counters");
        let of = |accesses: Accesses| (accesses.requests, accesses.parts, accesses.bytes);
        assert_eq!(of(counters.global_loads), (3, 3 * 8, 3 * 256));
        assert_eq!(of(counters.global_stores), (3, 3 * 2, 3 * 64));
        assert_eq!(of(counters.shared_stores), (3, 3 * 2, 3 * 256));
        assert_eq!(of(counters.shared_loads), (3, 3, 3 * 64));
        assert_eq!(counters.warp_instructions.get(&Class::Copy), Some(&6));
    }
}

/// Two operations for each product and its sum, m n k of them in each instruction of a warp; `wgmma` is one of four warps together.
#[test]
fn the_work_of_tensor_cores_is_counted() {
    let counters = |body: &str, blocks: u32, threads: u32| {
        let machine = machine(Options { count_every: 1, ..options() });
        let address = upload(&machine, &[0; 64]);
        let outcome = run(&machine, &text(4096, 1, body), &shape(blocks, threads, &[address])).expect("a launch");
        let counters = outcome.counters.expect("counters");
        (counters.tensor_operations, counters.warp_instructions.get(&Class::Tensor).copied(), counters.float_operations)
    };
    // Three rounds of bf16, then one product each of tf32, s8 and f64.
    let products = "mov.u32 %r1, 0;
    LOOP:
        mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1,%f2,%f3,%f4}, {%r1,%r1,%r1,%r1}, {%r1,%r1}, {%f1,%f2,%f3,%f4};
        add.u32 %r1, %r1, 1;
        setp.lt.u32 %p2, %r1, 3;
        @%p2 bra LOOP;
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1,%f2,%f3,%f4}, {%r1,%r1,%r1,%r1}, {%r1,%r1}, {%f1,%f2,%f3,%f4};
        mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%r1,%r2,%r3,%r4}, {%r5,%r5,%r5,%r5}, {%r5,%r5}, {%r5,%r5,%r5,%r5};
        mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%fd1,%fd2}, {%fd3}, {%fd4}, {%fd1,%fd2};";
    let each = 2 * (3 * 16 * 8 * 16 + 16 * 8 * 8 + 16 * 8 * 32 + 8 * 8 * 4);
    assert_eq!(counters(products, 5, 96), (15 * each, Some(15 * 6), 0));
    let registers = (0..32).map(|at| format!("%f{at}")).collect::<Vec<_>>().join(", ");
    let product = format!(
        "mov.u64 %rd7, 0;\nwgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {{{registers}}}, %rd7, %rd7, 0, 1, 1, 0, 0;\n\
         wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;"
    );
    // Two groups of four warps in each of three blocks.
    assert_eq!(counters(&product, 3, 256), (3 * 2 * 2 * 64 * 64 * 16, Some(3 * 8), 0));
}

#[test]
fn nothing_is_counted_where_it_is_not_asked_for() {
    let machine = machine(options());
    let text = module_text("", "ret;");
    let outcome = run(&machine, &text, &shape(1, 32, &[])).expect("a launch");
    assert!(outcome.counters.is_none());
}
