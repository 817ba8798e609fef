//! Reads and writes of bulk copies and `wgmma` beside ordinary accesses: planted bugs with their twins.

use crate::common::hopper::{buggy, clean, in_all_orders, text, wait};
use crate::common::planted::{line_of, planted};
use crate::common::{all_checks, download, machine, orders, run, shape};
use ptx_machine::machine::{Finding, Options};
use ptx_machine::memory::Kind;

/// 64 threads write the tile, and thread 0 stores it by a bulk copy.
fn bulk_store(before: &str, behind: &str) -> String {
    text(
        256,
        1,
        &format!(
            "st.shared.u32 [%r21], %r5;\n{before}\n@!%p1 bra END;\n\
             cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 256; // COPY\n\
             cp.async.bulk.commit_group;\n{behind}\nEND:"
        ),
    )
}

const FENCE: &str = "fence.proxy.async.shared::cta;\nbar.sync 0;";
const WAIT: &str = "cp.async.bulk.wait_group 0;";
/// Thread 0 reads what the copy wrote last, and writes behind it.
const READ: &str = "ld.global.u32 %r9, [%rd1+252]; // BUG\nst.global.u32 [%rd1+256], %r9;";

/// Checks the findings in a kernel whose buffer nothing has written, in all orders.
fn on_fresh_memory(text: &str, check: impl Fn(&Options, &[Finding], Vec<u32>)) {
    for options in orders() {
        let options = Options { checks: all_checks().checks, ..options };
        let machine = machine(options.clone());
        let address = machine.memory.allocate(4 * 65, Kind::Device).expect("memory");
        let outcome = run(&machine, text, &shape(1, 64, &[address])).unwrap_or_else(|fault| panic!("{fault:?}"));
        check(&options, &outcome.findings, download(&machine, address, 65));
    }
}

fn stored() -> Vec<u32> {
    (0..64).chain([63]).collect()
}

#[test]
fn memory_that_only_a_bulk_store_wrote_is_written() {
    on_fresh_memory(&bulk_store(FENCE, &format!("{WAIT}\n{READ}")), |options, findings, found| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
        assert_eq!(found, stored());
    });
    // One word fewer is stored than read.
    let short = bulk_store(FENCE, &format!("{WAIT}\n{READ}")).replace("[%r20], 256;", "[%r20], 240;");
    let line = line_of(&short, "// BUG");
    on_fresh_memory(&short, |options, findings, _| {
        let found = |finding: &Finding| {
            finding.what.contains("a read of global memory that nothing has written")
                && finding.sites[0].ptx_line == line
        };
        assert!(findings.iter().any(found), "{options:?} {findings:#?}");
    });
}

#[test]
fn a_bulk_store_is_read_after_it_was_waited_for() {
    let start = [7; 65];
    clean(64, &bulk_store(FENCE, &format!("{WAIT}\n{READ}")), &start, &stored());
    let words = "global memory that an asynchronous copy may still be writing";
    buggy(64, &bulk_store(FENCE, READ), &start, words);
    buggy(64, &bulk_store(FENCE, &format!("cp.async.bulk.wait_group.read 0;\n{READ}")), &start, words);
    buggy(64, &bulk_store(FENCE, &format!("cp.async.bulk.wait_group 1;\n{READ}")), &start, words);
}

#[test]
fn other_threads_read_a_bulk_store_behind_a_barrier() {
    let read = |barrier: &str| {
        let behind = format!("{WAIT}\nEND:\n{barrier}\nld.global.u32 %r9, [%rd3]; // BUG\nst.shared.u32 [%r21], %r9;");
        bulk_store(FENCE, &behind).replace("st.shared.u32 [%r21], %r9;\nEND:", "st.shared.u32 [%r21], %r9;")
    };
    let mut expected = stored();
    expected[64] = 7;
    clean(64, &read("bar.sync 0;"), &[7; 65], &expected);
    buggy(64, &read(""), &[7; 65], "global memory");
}

#[test]
fn two_blocks_store_to_one_place() {
    let body = |apart: &str| {
        bulk_store(FENCE, WAIT).replace("@!%p1 bra END;", &format!("@!%p1 bra END;\nmov.u32 %r10, %ctaid.x;\n{apart}"))
    };
    let good = body("mul.wide.u32 %rd5, %r10, 256;\nadd.s64 %rd1, %rd1, %rd5;");
    let launch = |address| shape(2, 64, &[address]);
    in_all_orders(&launch, &good, &[7; 128], |options, findings, found| {
        assert!(findings.is_empty(), "{options:?} {findings:#?}");
        assert_eq!(found, (0..64).chain(0..64).collect::<Vec<u32>>());
    });
    let bad = body("");
    let line = line_of(&bad, "// COPY");
    in_all_orders(&launch, &bad, &[7; 128], |options, findings, _| {
        let found = |finding: &Finding| {
            finding.what.contains("a thread of one block writes what a thread of another block wrote")
                && finding.sites.iter().all(|site| site.ptx_line == line)
        };
        assert!(findings.iter().any(found), "{options:?} {findings:#?}");
    });
}

#[test]
fn the_source_of_a_bulk_store_is_kept_until_it_was_read() {
    let over = "st.shared.u32 [%r21], 9; // BUG";
    let mut expected: Vec<u32> = (0..64).collect();
    expected.push(7);
    for wait in [WAIT, "cp.async.bulk.wait_group.read 0;"] {
        clean(64, &bulk_store(FENCE, &format!("{wait}\n{over}")), &[7; 65], &expected);
        // Every thread writes again, behind a barrier.
        let all = bulk_store(FENCE, &format!("{wait}\nEND:\nbar.sync 0;\n{over}")).replace("// BUG\nEND:", "// BUG");
        clean(64, &all, &[7; 65], &expected);
        buggy(64, &all.replace("END:\nbar.sync 0;", "END:"), &[7; 65], "shared memory");
    }
    let words = "a write to shared memory that a bulk copy may still be reading";
    buggy(64, &bulk_store(FENCE, over), &[7; 65], words);
    buggy(64, &bulk_store(FENCE, &format!("cp.async.bulk.wait_group.read 1;\n{over}")), &[7; 65], words);
}

#[test]
fn a_bulk_copy_reads_what_is_written_and_ordered() {
    // Thread 40 writes what thread 0 then copies.
    let body = |order: &str| {
        format!(
            "setp.eq.u32 %p2, %r5, 40;\n@%p2 st.global.u32 [%rd1], %r5;\n{order}\n@!%p1 bra WAIT;\n\
             mbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 256;\n\
             cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20], [%rd1], 256, [%r30]; // BUG\n\
             WAIT:\n{}ld.shared.u32 %r9, [%r21];\nst.global.u32 [%rd3+256], %r9;",
            wait("W", 0)
        )
    };
    let start: Vec<u32> = (0..128).collect();
    let expected: Vec<u32> = (0..128).map(|i| if i % 64 == 0 { 40 } else { i % 64 }).collect();
    clean(64, &text(256, 1, &body("fence.proxy.async;\nbar.sync 0;")), &start, &expected);
    buggy(64, &text(256, 1, &body("fence.proxy.async;")), &start, "a race in global memory");
    // The second half of what is copied was never written.
    let fresh = text(256, 1, &body("fence.proxy.async;\nbar.sync 0;"));
    let line = line_of(&fresh, "// BUG");
    for options in orders() {
        let machine = machine(Options { checks: all_checks().checks, ..options });
        let address = machine.memory.allocate(512, Kind::Device).expect("memory");
        machine.memory.fill(address, 0, 128).expect("the allocation");
        let outcome = run(&machine, &fresh, &shape(1, 64, &[address])).expect("a launch");
        let found =
            |finding: &Finding| finding.what.contains("nothing has written") && finding.sites[0].ptx_line == line;
        assert!(outcome.findings.iter().any(found), "{:#?}", outcome.findings);
    }
}

const NO_FENCE: &str = "ordinary stores wrote, with no fence.proxy.async in between";

/// The finding names the copy or product; it is the only one.
fn unfenced(threads: u32, text: &str, marker: &str) {
    let line = line_of(text, marker);
    in_all_orders(&|address| shape(1, threads, &[address]), text, &[7; 128], |options, findings, _| {
        let found = |finding: &Finding| finding.what.contains(NO_FENCE) && finding.sites[0].ptx_line == line;
        assert!(!findings.is_empty() && findings.iter().all(found), "{options:?} {findings:#?}");
    });
}

#[test]
fn a_bulk_store_needs_a_fence_between_proxies() {
    let mut expected = stored();
    expected[64] = 7;
    // In the threads that wrote, in the thread that copies, and of all spaces.
    let one = "bar.sync 0;\n@%p1 fence.proxy.async;";
    for before in [FENCE, "fence.proxy.async;\nbar.sync 0;", "bar.sync 0;\nfence.proxy.async.shared::cta;", one] {
        clean(64, &bulk_store(before, WAIT), &[7; 65], &expected);
    }
    unfenced(64, &bulk_store("bar.sync 0;", WAIT), "// COPY");
    unfenced(64, &bulk_store("fence.acq_rel.cta;\nbar.sync 0;", WAIT), "// COPY");
    unfenced(64, &bulk_store("fence.proxy.async.global;\nbar.sync 0;", WAIT), "// COPY");
    // Too early, too late, and by one thread for itself alone.
    let early = bulk_store("bar.sync 0;", WAIT).replace("st.shared", "fence.proxy.async.shared::cta;\nst.shared");
    unfenced(64, &early, "// COPY");
    unfenced(64, &bulk_store("bar.sync 0;", &format!("fence.proxy.async;\n{WAIT}")), "// COPY");
    unfenced(64, &bulk_store("@%p1 fence.proxy.async;\nbar.sync 0;", WAIT), "// COPY");
}

#[test]
fn lanes_of_one_warp_fence_for_themselves() {
    let mut expected: Vec<u32> = (0..32).collect();
    expected.extend([7; 33]);
    let text = |before: &str| bulk_store(before, WAIT).replace("[%r20], 256;", "[%r20], 128;");
    let met = "bar.warp.sync 0xFFFFFFFF;\n@%p1 fence.proxy.async.shared::cta;";
    for before in ["fence.proxy.async.shared::cta;\nbar.warp.sync 0xFFFFFFFF;", met] {
        clean(32, &text(before), &[7; 65], &expected);
    }
    unfenced(32, &text("@%p1 fence.proxy.async.shared::cta;\nbar.warp.sync 0xFFFFFFFF;"), "// COPY");
}

#[test]
fn a_fence_is_handed_over_by_an_mbarrier() {
    // Warp 1 writes and arrives; thread 0 waits and copies. Phase 0 is complete with the 32 arrivals of warp 1.
    let body = |fence: &str| {
        let copy = "cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r20], 128; // COPY";
        format!(
            "setp.lt.u32 %p2, %r5, 32;\n@%p2 bra COPIES;\nst.shared.u32 [%r21+-128], %r5;\n{fence}\n\
             mbarrier.arrive.shared::cta.b64 %rd9, [%r30];\nbra.uni END;\nCOPIES:\n@!%p1 bra END;\n{}{copy}\n\
             cp.async.bulk.commit_group;\n{WAIT}\nEND:",
            wait("W", 0)
        )
    };
    let expected: Vec<u32> = (32..64).collect();
    clean(64, &text(256, 32, &body("fence.proxy.async.shared::cta;")), &[7; 32], &expected);
    unfenced(64, &text(256, 32, &body("")), "// COPY");
}

#[test]
fn what_bulk_copies_brought_needs_no_fence() {
    // From global to shared memory and back.
    let body = format!(
        "@!%p1 bra END;\nmbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], 256;\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20], [%rd1], 256, [%r30];\n{}\
         cp.async.bulk.global.shared::cta.bulk_group [%rd1+256], [%r20], 256;\ncp.async.bulk.commit_group;\n{WAIT}\nEND:",
        wait("W", 0)
    );
    let start: Vec<u32> = (0..128).collect();
    let expected: Vec<u32> = (0..128).map(|i| i % 64).collect();
    clean(64, &text(256, 1, &body), &start, &expected);
}

#[test]
fn operands_of_a_product_need_a_fence_between_proxies() {
    let product = |before: &str| {
        text(
            2560,
            1,
            &format!(
                "mov.u32 %r8, 0;\nFILL:\nshl.b32 %r9, %r8, 9;\nadd.u32 %r10, %r21, %r9;\nst.shared.u32 [%r10], %r8;\n\
                 add.u32 %r8, %r8, 1;\nsetp.lt.u32 %p2, %r8, 5;\n@%p2 bra FILL;\n{before}\n\
                 cvt.u64.u32 %rd7, %r20;\nshr.u64 %rd7, %rd7, 4;\nor.b64 %rd7, %rd7, 0x0000001000080000;\nadd.s64 %rd8, %rd7, 128;\n\
                 mov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\nmov.f32 %f3, %f1;\nmov.f32 %f4, %f1;\nwgmma.fence.sync.aligned;\n\
                 wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {{%f1, %f2, %f3, %f4}}, %rd7, %rd8, 1, 1, 1, 0, 0; // PRODUCT\n\
                 wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\nst.global.f32 [%rd3], %f1;"
            ),
        )
    };
    let launch = |address| shape(1, 128, &[address]);
    for before in [FENCE, "bar.sync 0;\nfence.proxy.async.shared::cta;"] {
        in_all_orders(&launch, &product(before), &[7; 128], |options, findings, _| {
            assert!(findings.is_empty(), "{options:?} {findings:#?}");
        });
    }
    unfenced(128, &product("bar.sync 0;"), "// PRODUCT");
    // The fence of half of the block.
    unfenced(128, &product("setp.lt.u32 %p3, %r5, 64;\n@%p3 fence.proxy.async;\nbar.sync 0;"), "// PRODUCT");
}

#[test]
fn an_access_between_two_arrays() {
    let arrays = |index: u32| {
        format!(
            ".shared .align 4 .b8 first[128];\n.shared .align 4 .b8 second[128];\nmov.u32 %r22, first;\nmov.u32 %r23, second;\n\
             add.u32 %r24, %r22, %r7;\nadd.u32 %r25, %r23, %r7;\nst.shared.u32 [%r24], %r5;\nst.shared.u32 [%r25], %r5;\nbar.sync 0;\n\
             ld.shared.u32 %r9, [%r24+{index}]; // BUG\nadd.u32 %r9, %r9, %r5;\nst.global.u32 [%rd3], %r9;"
        )
    };
    let words = "an access of shared memory outside of every variable";
    planted(1, 32, 64, &arrays(4), &arrays(0), words);
    let writes = |index: u32| {
        arrays(0).replace("[%r25], %r5;", &format!("[%r24+{index}], %r5; // BUG")).replacen("// BUG\nadd", "\nadd", 1)
    };
    let text = writes(128);
    assert_eq!(text.matches("// BUG").count(), 1, "{text}");
    planted(1, 32, 64, &text, &writes(0), words);
}

#[test]
fn an_atomic_of_what_nothing_wrote() {
    let sum = |first: &str| {
        format!(
            "setp.eq.u32 %p1, %r5, 0;\n{first}\nbar.sync 0;\natom.shared.add.u32 %r9, [%r20], 1; // BUG\nbar.sync 0;\n\
             ld.shared.u32 %r9, [%r20];\nst.global.u32 [%rd3], %r9;"
        )
    };
    let words = "a read of shared memory that no thread of the block has written";
    planted(1, 64, 64, &sum(""), &sum("@%p1 st.shared.u32 [%r20], 0;"), words);
    // An exchange whose result is not used sets a value; one whose result is used reads.
    let exchange = |used: &str| {
        format!(
            "setp.eq.u32 %p1, %r5, 0;\nmov.u32 %r9, 0;\n@%p1 atom.shared.exch.b32 %r9, [%r20], 5; // BUG\nbar.sync 0;\n\
             ld.shared.u32 %r10, [%r20];\nst.global.u32 [%rd3], {used};"
        )
    };
    planted(1, 64, 64, &exchange("%r9"), &exchange("%r10"), words);
}

#[test]
fn a_volatile_store_reads_nothing() {
    on_fresh_memory(
        &text(
            256,
            1,
            "st.volatile.global.u32 [%rd3], %r5;\nld.volatile.global.u32 %r9, [%rd3];\n@%p1 st.global.u32 [%rd1+256], 63;",
        ),
        |options, findings, found| {
            assert!(findings.is_empty(), "{options:?} {findings:#?}");
            assert_eq!(found, stored());
        },
    );
}

#[test]
fn the_own_block_s_memory_by_a_cluster_s_address() {
    let body = |barrier: &str| {
        format!(
            "mov.u32 %r10, 0;\nmapa.shared::cluster.u32 %r11, %r20, %r10;\nsub.u32 %r12, 252, %r7;\nadd.u32 %r12, %r12, %r11;\n\
             st.shared.u32 [%r21], %r5;\n{barrier}\nld.shared::cluster.u32 %r9, [%r12]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in shared memory");
}
