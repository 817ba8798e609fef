//! mbarriers, bulk copies, tensor maps, `wgmma`, clusters: results in all orders, and planted bugs with their twins.

use crate::common::hopper::{buggy, clean, in_all_orders, text, wait};
use crate::common::{all_checks, download, load, machine, module_text, orders, run, shape, upload};
use ptx_machine::machine::{FaultKind, Finding, Launch, Machine, Options};
use ptx_machine::tensor::swizzle::Swizzle;
use ptx_machine::tensor::tensor_map::{Access, DataType, Fill, Interleave, TensorMap};

#[test]
fn a_warp_hands_over_by_an_mbarrier() {
    // Warp 0 writes and arrives, warp 1 waits and reads; twice, by both phases.
    let body = |first: &str, second: &str| {
        format!(
            "setp.ge.u32 %p2, %r5, 32;\n@%p2 bra READS;\nst.shared.u32 [%r21], %r5;\n\
             mbarrier.arrive.shared::cta.b64 %rd9, [%r30];\nbra.uni JOIN;\nREADS:\n{first}\
             ld.shared.u32 %r9, [%r21+-128]; // BUG\nst.global.u32 [%rd3], %r9;\nJOIN:\nbar.sync 0;\n\
             @%p2 bra READS2;\nadd.u32 %r8, %r5, 100;\nst.shared.u32 [%r21], %r8;\n\
             mbarrier.arrive.shared::cta.b64 %rd9, [%r30];\nbra.uni END;\nREADS2:\n{second}\
             ld.shared.u32 %r9, [%r21+-128];\nst.global.u32 [%rd3+-128], %r9;\nEND:"
        )
    };
    let expected: Vec<u32> = (0..64).map(|i| if i < 32 { 100 + i } else { i - 32 }).collect();
    clean(64, &text(256, 32, &body(&wait("W0", 0), &wait("W1", 1))), &[0; 64], &expected);
    buggy(64, &text(256, 32, &body("", &wait("W1", 1))), &[0; 64], "a race in shared memory");
}

#[test]
fn a_bulk_copy_is_waited_for() {
    let body = |wait: &str| {
        format!(
            "@!%p1 bra WAIT;\nmbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 256;\n\
             cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20], [%rd1], 256, [%r30];\nWAIT:\n{wait}\
             sub.u32 %r8, %r20, %r7;\nld.shared.u32 %r9, [%r8+252]; // BUG\nst.global.u32 [%rd3+256], %r9;"
        )
    };
    let start: Vec<u32> = (0..128).map(|i| i * i).collect();
    let mut expected = start.clone();
    for i in 0..64 {
        expected[64 + i] = start[63 - i];
    }
    clean(64, &text(256, 1, &body(&wait("W", 0))), &start, &expected);
    buggy(64, &text(256, 1, &body("")), &start, "");
}

#[test]
fn a_bulk_store_comes_by_the_time_its_group_is_waited_for() {
    let body = "
        st.shared.u32 [%r21], %r5;
        fence.proxy.async.shared::cta;
        bar.sync 0;
        @!%p1 bra END;
        cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 256;
        cp.async.bulk.commit_group;
        cp.async.bulk.wait_group 0;
        ld.global.u32 %r9, [%rd1+252];
        add.u32 %r9, %r9, 1000;
        st.global.u32 [%rd1+256], %r9;
    END:";
    let mut expected: Vec<u32> = (0..64).collect();
    expected.push(1063);
    clean(64, &text(256, 1, body), &[7; 65], &expected);
}

/// A map of 16 × 8 words, boxes of 8 × 4.
fn map(address: u64, swizzle: Swizzle) -> [u8; 128] {
    let map = TensorMap {
        data_type: DataType::U32,
        rank: 2,
        global_address: address,
        global_dims: [16, 8, 1, 1, 1],
        global_strides: [64, 0, 0, 0],
        element_strides: [1; 5],
        interleave: Interleave::None,
        swizzle,
        l2_promotion: 0,
        fill: Fill::Zero,
        access: Access::Tiled { box_dims: [8, 4, 1, 1, 1] },
    };
    map.encode().expect("a valid map")
}

#[test]
fn a_tensor_map_as_a_parameter_gives_boxes() {
    // A box that begins at column 12: its second half lies outside of the tensor and is zero.
    let text = module_text(
        ".param .u64 k_param_0, .param .align 64 .b8 k_param_1[128]",
        &format!(
            ".shared .align 128 .b8 tile[256];\n.shared .align 8 .b8 bar[8];\nld.param.u64 %rd1, [k_param_0];\nmov.b64 %rd4, k_param_1;\n\
             cvta.param.u64 %rd5, %rd4;\nmov.u32 %r5, %tid.x;\nmov.u32 %r20, tile;\nmov.u32 %r30, bar;\nshl.b32 %r7, %r5, 2;\n\
             add.u32 %r21, %r20, %r7;\nmul.wide.u32 %rd2, %r7, 1;\nadd.s64 %rd3, %rd1, %rd2;\nsetp.eq.u32 %p1, %r5, 0;\n\
             @%p1 mbarrier.init.shared::cta.b64 [%r30], 1;\nbar.sync 0;\n@!%p1 bra WAIT;\n\
             mbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 128;\nmov.u32 %r10, 12;\nmov.u32 %r11, 2;\n\
             cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%r20], [%rd5, {{%r10, %r11}}], [%r30];\n\
             WAIT:\n{}ld.shared.u32 %r9, [%r21];\nst.global.u32 [%rd3+512], %r9;\nret;",
            wait("W", 0)
        ),
    );
    for options in orders() {
        let machine = machine(Options { checks: all_checks().checks, ..options });
        let start: Vec<u32> = (0..256).map(|i| 1000 + i).collect();
        let address = upload(&machine, &start);
        let mut launch = shape(1, 32, &[address]);
        launch.parameters.resize(64, 0);
        launch.parameters.extend(map(address, Swizzle::None));
        let outcome = run(&machine, &text, &launch).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
        let found = download(&machine, address, 256);
        let expected: Vec<u32> = (0..32u32)
            .map(|i| {
                let (row, column) = (2 + i / 8, 12 + i % 8);
                if column < 16 { 1000 + row * 16 + column } else { 0 }
            })
            .collect();
        assert_eq!(&found[128..160], expected);
    }
}

/// Small whole numbers that bf16 holds, packed in pairs.
fn bf16(value: i32) -> u16 {
    ((value as f32).to_bits() >> 16) as u16
}

#[test]
fn four_warps_multiply() {
    // D (64 × 8) = A (64 × 16) B (16 × 8) of bf16, both K-major without swizzling: 8 × 8 cores of 128 bytes, one behind the other along
    // m or n (stride 256) and along k (leading 128).
    let body = |wait: &str| {
        let zeros: String = (1..5).map(|at| format!("mov.f32 %f{at}, 0f00000000;\n")).collect();
        format!(
            "mov.u32 %r8, 0;\nCOPY:\nshl.b32 %r9, %r8, 9;\nadd.u32 %r10, %r21, %r9;\nmul.wide.u32 %rd5, %r9, 1;\nadd.s64 %rd6, %rd3, %rd5;\n\
             ld.global.u32 %r11, [%rd6];\nst.shared.u32 [%r10], %r11;\nadd.u32 %r8, %r8, 1;\nsetp.lt.u32 %p2, %r8, 5;\n@%p2 bra COPY;\n\
             fence.proxy.async.shared::cta;\nbar.sync 0;\n{zeros}cvt.u64.u32 %rd7, %r20;\nshr.u64 %rd7, %rd7, 4;\n\
             or.b64 %rd7, %rd7, 0x0000001000080000;\nadd.s64 %rd8, %rd7, 128;\nwgmma.fence.sync.aligned;\n\
             wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, %rd7, %rd8, 0, 1, 1, 0, 0;\n\
             wgmma.commit_group.sync.aligned;\n{wait}\
             shr.u32 %r12, %r5, 2;\nand.b32 %r13, %r12, 7;\nshr.u32 %r14, %r5, 5;\nmad.lo.u32 %r13, %r14, 16, %r13;\nand.b32 %r15, %r5, 3;\n\
             shl.b32 %r15, %r15, 1;\nmad.lo.u32 %r16, %r13, 8, %r15;\nmul.wide.u32 %rd9, %r16, 4;\nadd.s64 %rd9, %rd9, %rd1;\n\
             st.global.v2.f32 [%rd9+4096], {{%f1, %f2}};\nst.global.v2.f32 [%rd9+4352], {{%f3, %f4}};"
        )
    };
    let (a, b) = (
        |m: usize, k: usize| (m as i32 * 3 + k as i32) % 11 - 5,
        |k: usize, n: usize| (k as i32 + 2 * n as i32) % 7 - 3,
    );
    let mut halves = vec![0u16; 2560 / 2];
    // Element (x, k): core x / 8, k / 8; in it row x % 8, column k % 8.
    let place = |x: usize, k: usize| x / 8 * 128 + k / 8 * 64 + x % 8 * 8 + k % 8;
    for k in 0..16 {
        (0..64).for_each(|m| halves[place(m, k)] = bf16(a(m, k)));
        (0..8).for_each(|n| halves[1024 + place(n, k)] = bf16(b(k, n)));
    }
    let mut start: Vec<u32> = halves.chunks(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 16).collect();
    start.resize(1024 + 512, 0);
    let mut expected = start.clone();
    for m in 0..64 {
        for n in 0..8 {
            let sum: i32 = (0..16).map(|k| a(m, k) * b(k, n)).sum();
            expected[1024 + 8 * m + n] = (sum as f32).to_bits();
        }
    }
    clean(128, &text(4096, 1, &body("wgmma.wait_group.sync.aligned 0;\n")), &start, &expected);
}

/// Four warps bring tiles and give registers away, four others take registers and add the tiles up: `setmaxnreg` and `griddepcontrol`
/// are accepted where they may stand, and change no result.
#[test]
fn warps_that_give_registers_to_each_other() {
    let body = "
        .shared .align 8 .b8 done[8];
        mov.u32 %r31, done;
        @%p1 mbarrier.init.shared::cta.b64 [%r31], 128;
        fence.mbarrier_init.release.cluster;
        bar.sync 0;
        griddepcontrol.wait;
        mov.u32 %r8, 0;
        setp.ge.u32 %p2, %r5, 128;
        @%p2 bra ADD;
        setmaxnreg.dec.sync.aligned.u32 40;
        @!%p1 bra END;
    BRING:
        and.b32 %r9, %r8, 1;
        xor.b32 %r9, %r9, 1;
    FREE:
        mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r31], %r9;
        @!%p9 bra FREE;
        mbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 512;
        mul.wide.u32 %rd4, %r8, 512;
        add.s64 %rd4, %rd4, %rd1;
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20], [%rd4], 512, [%r30];
        add.u32 %r8, %r8, 1;
        setp.lt.u32 %p3, %r8, 5;
        @%p3 bra BRING;
        bra.uni END;
    ADD:
        setmaxnreg.inc.sync.aligned.u32 232;
        mov.u32 %r10, 0;
    TILE:
        and.b32 %r9, %r8, 1;
    FULL:
        mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r30], %r9;
        @!%p9 bra FULL;
        ld.shared.u32 %r11, [%r21+-512];
        add.u32 %r10, %r10, %r11;
        mbarrier.arrive.shared::cta.b64 %rd9, [%r31];
        add.u32 %r8, %r8, 1;
        setp.lt.u32 %p3, %r8, 5;
        @%p3 bra TILE;
        griddepcontrol.launch_dependents;
        st.global.u32 [%rd3+2048], %r10;
    END:";
    let start: Vec<u32> = (0..768).map(|i| i * i + 3).collect();
    let mut expected = start.clone();
    for i in 0..128 {
        expected[640 + i] = (0..5).map(|tile| start[128 * tile + i]).sum();
    }
    clean(256, &text(512, 1, body), &start, &expected);
}

#[test]
fn a_wgmma_of_three_warps_is_a_deadlock_or_refused() {
    let body = "setp.ge.u32 %p2, %r5, 96;\n@%p2 bra END;\nmov.u64 %rd7, 0;\nwgmma.fence.sync.aligned;\n\
                wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%f1, %f2, %f3, %f4}, %rd7, %rd7, 0, 1, 1, 0, 0;\n\
                wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nEND:";
    for (threads, kind) in [(128, FaultKind::Deadlock), (96, FaultKind::IllegalInstruction)] {
        let machine = machine(all_checks());
        let address = upload(&machine, &[0; 64]);
        let fault = run(&machine, &text(256, 1, body), &shape(1, threads, &[address])).expect_err("a fault");
        assert_eq!(fault.kind, kind, "{fault:?}");
    }
}

#[test]
fn a_warp_that_leaves_before_a_wgmma() {
    let (fence, wait) = ("wgmma.fence.sync.aligned;", "wgmma.wait_group.sync.aligned 0; // BUG");
    // Those from thread 96 on jump behind the product; or none does.
    let body = |threads: u32| {
        let leave = format!("setp.ge.u32 %p2, %r5, {threads};\n@%p2 bra END;\n{fence}");
        products(&leave, "", wait).replace("st.global.f32 [%rd3], %f5;", "st.global.f32 [%rd3], %f5;\nEND:")
    };
    for options in orders() {
        let launch = |text: &str| {
            let machine = machine(Options { checks: all_checks().checks, ..options.clone() });
            let address = upload(&machine, &[0; 128]);
            run(&machine, text, &shape(1, 128, &[address]))
        };
        let fault = launch(&body(96)).expect_err("a fault");
        let line = body(96).lines().position(|line| line.contains("// BUG")).expect("the marker") as u32 + 1;
        assert_eq!(fault.kind, FaultKind::Deadlock, "{fault:?}");
        assert!(fault.finding.sites.iter().all(|site| site.ptx_line == line), "{fault:?}");
        assert!(launch(&body(128)).expect("a launch").findings.is_empty());
    }
}

#[test]
fn blocks_of_a_cluster_read_each_other_s_memory() {
    let body = "
        mov.u32 %r10, %cluster_ctarank;
        shl.b32 %r11, %r10, 8;
        add.u32 %r11, %r11, %r5;
        st.shared.u32 [%r21], %r11;
        barrier.cluster.arrive.release.aligned;
        barrier.cluster.wait.acquire.aligned;
        xor.b32 %r12, %r10, 1;
        mapa.shared::cluster.u32 %r13, %r21, %r12;
        ld.shared::cluster.u32 %r14, [%r13];
        getctarank.shared::cluster.u32 %r15, %r13;
        shl.b32 %r15, %r15, 16;
        add.u32 %r14, %r14, %r15;
        mov.u32 %r16, %ctaid.x;
        mul.wide.u32 %rd5, %r16, 128;
        add.s64 %rd5, %rd5, %rd3;
        st.global.u32 [%rd5], %r14;
        barrier.cluster.arrive.aligned;
        barrier.cluster.wait.aligned;";
    let expected: Vec<u32> = (0..128u32)
        .map(|i| {
            let other = (i / 32 % 2) ^ 1;
            other << 16 | other << 8 | (i % 32)
        })
        .collect();
    let launch = |address| Launch { cluster: [2, 1, 1], ..shape(4, 32, &[address]) };
    in_all_orders(&launch, &text(256, 1, body), &[0; 128], |options, findings, found| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
        assert_eq!(found, expected, "{options:?}");
    });
}

#[test]
fn a_copy_goes_to_all_blocks_of_a_mask() {
    let body = format!(
        "mov.u32 %r10, %cluster_ctarank;\n@%p1 mbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 128;\n\
         barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;\nsetp.eq.and.u32 %p2, %r10, 1, %p1;\nmov.b16 %h1, 3;\n\
         @%p2 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%r20], [%rd1], 128, [%r30], %h1;\n\
         {}ld.shared.u32 %r9, [%r21];\nmad.lo.u32 %r11, %r10, 1000, %r9;\nmul.wide.u32 %rd5, %r10, 128;\nadd.s64 %rd5, %rd5, %rd3;\n\
         st.global.u32 [%rd5+128], %r11;\nbarrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;",
        wait("W", 0)
    );
    let start: Vec<u32> = (0..96).map(|i| i + 5).collect();
    let mut expected = start.clone();
    for i in 0..32 {
        expected[32 + i] = start[i];
        expected[64 + i] = 1000 + start[i];
    }
    let launch = |address| Launch { cluster: [2, 1, 1], ..shape(2, 32, &[address]) };
    in_all_orders(&launch, &text(256, 1, &body), &start, |options, findings, found| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
        assert_eq!(found, expected, "{options:?}");
    });
}

#[test]
fn an_mbarrier_that_nobody_arrives_at_is_a_deadlock() {
    for options in orders() {
        let machine = machine(options);
        let address = upload(&machine, &[0; 64]);
        let fault = run(&machine, &text(256, 5, &wait("W", 0)), &shape(1, 64, &[address])).expect_err("a deadlock");
        assert_eq!(fault.kind, FaultKind::Deadlock);
        assert!(fault.finding.what.contains("mbarrier"), "{fault:?}");
    }
}

#[test]
fn an_mbarrier_that_is_none_is_refused() {
    let machine: Machine = machine(all_checks());
    let address = upload(&machine, &[0; 64]);
    let body = "mov.u32 %r30, tile;\n@%p1 st.shared.u64 [%r20], 12345;\nbar.sync 0;\nmbarrier.arrive.shared::cta.b64 %rd9, [%r30];";
    let module = load(&machine, &text(256, 1, body).replace("12345", "%rd1"));
    let fault =
        machine.launch(&module.kernel("k").expect("the kernel"), &shape(1, 32, &[address])).expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::IllegalInstruction);
}

/// Two products, one behind the other; what stands between is given.
fn products(fence: &str, between: &str, wait: &str) -> String {
    text(
        2560,
        1,
        &format!(
            "mov.u32 %r8, 0;\nFILL:\nshl.b32 %r9, %r8, 9;\nadd.u32 %r10, %r21, %r9;\nst.shared.u32 [%r10], %r8;\nadd.u32 %r8, %r8, 1;\n\
             setp.lt.u32 %p2, %r8, 5;\n@%p2 bra FILL;\nfence.proxy.async.shared::cta;\nbar.sync 0;\nmov.f32 %f1, 0f00000000;\n\
             mov.f32 %f2, %f1;\nmov.f32 %f3, %f1;\nmov.f32 %f4, %f1;\ncvt.u64.u32 %rd7, %r20;\nshr.u64 %rd7, %rd7, 4;\n\
             or.b64 %rd7, %rd7, 0x0000001000080000;\nadd.s64 %rd8, %rd7, 128;\n{fence}\n\
             wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, %rd7, %rd8, 1, 1, 1, 0, 0; // FIRST\n\
             wgmma.commit_group.sync.aligned;\n{between}\n\
             wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, %rd7, %rd8, 1, 1, 1, 0, 0;\n\
             wgmma.commit_group.sync.aligned;\n{wait}\nadd.f32 %f5, %f1, %f2; // LAST\nst.global.f32 [%rd3], %f5;"
        ),
    )
}

#[test]
fn registers_of_a_product_are_fenced_and_waited_for() {
    let (fence, wait) = ("wgmma.fence.sync.aligned;", "wgmma.wait_group.sync.aligned 0;");
    let launch = |address| shape(1, 128, &[address]);
    // The accumulators may be used by the next product of the same shape without a fence.
    in_all_orders(&launch, &products(fence, "", wait), &[0; 128], |options, findings, _| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
    });
    let touch = "add.f32 %f2, %f2, %f2; // BETWEEN";
    let bugs = [
        (products("", "", wait), "FIRST", "wgmma.fence"),
        (products(fence, "", "wgmma.wait_group.sync.aligned 1;"), "LAST", "a read of %f1"),
        (products(fence, touch, wait), "BETWEEN", "a read of %f2"),
    ];
    for (text, marker, words) in bugs {
        let line = text.lines().position(|line| line.contains(marker)).expect("the marker") as u32 + 1;
        in_all_orders(&launch, &text, &[0; 128], |options, findings, _| {
            let found = |finding: &Finding| finding.what.contains(words) && finding.sites[0].ptx_line == line;
            assert!(findings.iter().any(found), "{options:?} {marker} {findings:#?}");
        });
    }
}

#[test]
fn operands_of_a_product_are_written_before_and_kept_until_it_was_waited_for() {
    let (fence, wait) = ("wgmma.fence.sync.aligned;", "wgmma.wait_group.sync.aligned 0;");
    let over = "st.shared.u32 [%r21], 9; // OVER";
    let good = products(fence, "", &format!("{wait}\nbar.sync 0;\n{over}"));
    let launch = |address| shape(1, 128, &[address]);
    in_all_orders(&launch, &good, &[0; 128], |options, findings, _| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
    });
    let bugs = [
        (good.replace("bar.sync 0;\nmov.f32", "mov.f32"), "FIRST"),
        (products(fence, "", &format!("{over}\n{wait}")), "OVER"),
    ];
    for (text, marker) in bugs {
        let line = text.lines().position(|line| line.contains(marker)).expect("the marker") as u32 + 1;
        in_all_orders(&launch, &text, &[0; 128], |options, findings, _| {
            let there = |finding: &Finding| finding.sites.iter().any(|site| site.ptx_line == line);
            let found = |finding: &Finding| finding.what.contains("a race in shared memory") && there(finding);
            assert!(findings.iter().any(found), "{options:?} {marker} {findings:#?}");
        });
    }
}
