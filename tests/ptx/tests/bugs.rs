//! Planted bugs and their clean twins: each bug is found, on its line, in every order; no twin raises anything.

use crate::common::planted::{findings, line_of, planted, text};
use crate::common::{self, machine, orders, run, shape, upload};
use ptx_machine::machine::{Checks, Options};

#[test]
fn a_barrier_left_out_between_write_and_read() {
    let body = |barrier: &str| {
        format!(
            "st.shared.u32 [%r21], %r5;\n{barrier}\nxor.b32 %r8, %r7, 128;\nadd.u32 %r22, %r20, %r8;\n\
             ld.shared.u32 %r9, [%r22]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in shared memory");
}

#[test]
fn a_barrier_left_out_between_read_and_write() {
    let body = |barrier: &str| {
        format!(
            "st.shared.u32 [%r21], %r5;\nbar.sync 0;\nxor.b32 %r8, %r7, 128;\nadd.u32 %r22, %r20, %r8;\n\
             ld.shared.u32 %r9, [%r22];\n{barrier}\nst.shared.u32 [%r21], %r9; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in shared memory");
}

#[test]
fn two_warps_write_one_word() {
    let body = |address: &str| format!("st.shared.u32 [{address}], %r5; // BUG\n");
    let bug = "and.b32 %r8, %r7, 127;\nadd.u32 %r22, %r20, %r8;\n".to_owned() + &body("%r22");
    planted(1, 64, 256, &bug, &body("%r21"), "writes what another wrote");
}

#[test]
fn two_lanes_write_different_values_by_one_instruction() {
    let body = |value: &str| format!("setp.lt.u32 %p1, %r5, 2;\n@%p1 st.shared.u32 [%r20], {value}; // BUG\n");
    planted(1, 32, 256, &body("%r5"), &body("7"), "two lanes write different values");
}

#[test]
fn lanes_of_one_warp_without_a_warp_barrier() {
    let body = |sync: &str| {
        format!(
            "st.shared.u32 [%r21], %r5;\n{sync}\nxor.b32 %r8, %r7, 4;\nadd.u32 %r22, %r20, %r8;\n\
             ld.shared.u32 %r9, [%r22]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 32, 256, &body(""), &body("bar.warp.sync -1;"), "a race in shared memory");
    planted(1, 32, 256, &body(""), &body("shfl.sync.idx.b32 %r10|%p1, %r5, 0, 31, -1;"), "a race in shared memory");
}

#[test]
fn a_warp_barrier_of_the_wrong_lanes() {
    let body = |mask: &str| {
        format!(
            "st.shared.u32 [%r21], %r5;\nsetp.lt.u32 %p1, %r5, 16;\n@!%p1 bra HIGH;\nbar.warp.sync {mask};\nbra.uni JOIN;\n\
             HIGH:\nbar.warp.sync 0xffff0000;\nJOIN:\nxor.b32 %r8, %r7, 4;\nadd.u32 %r22, %r20, %r8;\n\
             ld.shared.u32 %r9, [%r22]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    // Neighbours read each other's words. Of the upper half each lane waits for itself alone in the bug.
    let bug = body("0x0000ffff").replace("0xffff0000", "%r11");
    let bug = format!("mov.u32 %r12, 1;\nshl.b32 %r11, %r12, %r5;\n{bug}");
    planted(1, 32, 256, &bug, &body("0x0000ffff"), "a race in shared memory");
}

#[test]
fn shared_memory_read_before_it_is_written() {
    let body = |bytes: u32| {
        format!(
            "st.shared.u32 [%r21], %r5;\nbar.sync 0;\nld.shared.u32 %r9, [%r21+{bytes}]; // BUG\n\
             mul.wide.u32 %rd4, %r6, 256;\nadd.s64 %rd4, %rd4, %rd3;\nst.global.u32 [%rd4], %r9;"
        )
    };
    planted(1, 64, 512, &body(4), &body(0), "no thread of the block has written");
    // What an earlier block wrote does not count.
    planted(4, 64, 512, &body(4), &body(0), "no thread of the block has written");
}

#[test]
fn one_byte_unwritten() {
    let body = |bytes: u32| {
        format!(
            "shl.b32 %r8, %r5, 2;\nadd.u32 %r22, %r20, %r8;\ncvt.u16.u32 %h1, %r5;\nst.shared.u8 [%r22], %h1;\n\
             st.shared.u16 [%r22+2], %h1;\nbar.sync 0;\nld.shared.u8 %h2, [%r22+{bytes}]; // BUG\ncvt.u32.u16 %r9, %h2;\n\
             st.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 32, 512, &body(1), &body(3), "no thread of the block has written");
}

#[test]
fn a_copy_that_is_not_waited_for() {
    let body = |wait: &str| {
        format!(
            "cp.async.ca.shared.global [%r21], [%rd3], 4;\ncp.async.commit_group;\n{wait}\nbar.sync 0;\n\
             ld.shared.u32 %r9, [%r21]; // BUG\nst.global.u32 [%rd3+4096], %r9;"
        )
    };
    planted(1, 64, 512, &body(""), &body("cp.async.wait_group 0;"), "asynchronous copy");
    planted(1, 64, 512, &body("cp.async.wait_group 1;"), &body("cp.async.wait_all;"), "asynchronous copy");
}

/// A block may end while its copies are under way. The next one in its place has nothing to do with them.
#[test]
fn copies_of_a_block_that_has_ended() {
    let first = "setp.eq.u32 %p1, %r6, 0;\n@%p1 cp.async.ca.shared.global [%r21], [%rd3], 4;\n@%p1 exit;";
    let then = "st.shared.u32 [%r21], %r5;\nbar.sync 0;\nld.shared.u32 %r9, [%r21];\nst.global.u32 [%rd3+4096], %r9;";
    let found = findings(2, 64, &text(512, &format!("{first}\n{then}")));
    assert!(found.iter().all(Vec::is_empty), "{found:#?}");
}

#[test]
fn a_copy_that_only_its_own_thread_waited_for() {
    // The wait makes the bytes visible to the thread itself: others need a barrier behind it.
    let body = |first: &str, second: &str| {
        format!(
            "cp.async.ca.shared.global [%r21], [%rd3], 4;\n{first}\n{second}\nxor.b32 %r8, %r7, 128;\n\
             add.u32 %r22, %r20, %r8;\nld.shared.u32 %r9, [%r22]; // BUG\nst.global.u32 [%rd3+4096], %r9;"
        )
    };
    let (wait, barrier) = ("cp.async.wait_all;", "bar.sync 0;");
    planted(1, 64, 512, &body(barrier, wait), &body(wait, barrier), "");
}

#[test]
fn a_named_barrier_orders_those_who_use_it_alone() {
    // Warps 0 and 1 exchange by barrier 1; warp 2 reads what warp 0 wrote, which has told nothing to it.
    let body = |threads: u32| {
        format!(
            "st.shared.u32 [%r21], %r5;\nsetp.ge.u32 %p1, %r5, {threads};\n@%p1 bra JOIN;\nbar.sync 1, {threads};\nJOIN:\n\
             setp.lt.u32 %p2, %r5, 64;\n@%p2 bra END;\nld.shared.u32 %r9, [%r20]; // BUG\nst.global.u32 [%rd3], %r9;\nEND:"
        )
    };
    planted(1, 96, 512, &body(64), &body(96), "a race in shared memory");
}

#[test]
fn arriving_tells_and_does_not_learn() {
    // Warp 0 writes and arrives, warp 1 waits and reads: in order. The other way round it is not.
    let body = |reader: u32| {
        format!(
            "setp.lt.u32 %p1, %r5, 32;\n@!%p1 bra WAITS;\nst.shared.u32 [%r21], %r5;\nbar.arrive 2, 64;\nbra.uni JOIN;\n\
             WAITS:\nst.shared.u32 [%r21], %r5;\nbar.sync 2, 64;\nJOIN:\nshr.u32 %r8, %r5, 5;\nsetp.ne.u32 %p2, %r8, {reader};\n\
             @%p2 bra END;\nxor.b32 %r8, %r7, 128;\nadd.u32 %r22, %r20, %r8;\nld.shared.u32 %r9, [%r22]; // BUG\n\
             st.global.u32 [%rd3], %r9;\nEND:"
        )
    };
    planted(1, 64, 512, &body(0), &body(1), "a race in shared memory");
}

#[test]
fn atomics_do_not_race_with_each_other() {
    let body = |op: &str| {
        format!(
            "setp.eq.u32 %p1, %r5, 0;\n@%p1 st.shared.u32 [%r20], 0;\nbar.sync 0;\n{op}\nbar.sync 0;\n\
             ld.shared.u32 %r9, [%r20];\nst.global.u32 [%rd3], %r9;"
        )
    };
    let bug = body("ld.shared.u32 %r8, [%r20];\nadd.u32 %r8, %r8, 1;\nst.shared.u32 [%r20], %r8; // BUG");
    planted(1, 64, 512, &bug, &body("atom.shared.add.u32 %r8, [%r20], 1;"), "a race in shared memory");
}

#[test]
fn threads_of_a_block_race_in_global_memory() {
    let body = |barrier: &str| {
        format!(
            "st.global.u32 [%rd3], %r5;\n{barrier}\nxor.b32 %r8, %r7, 128;\nmul.wide.u32 %rd4, %r8, 1;\nadd.s64 %rd5, %rd1, %rd4;\n\
             ld.global.u32 %r9, [%rd5]; // BUG\nst.shared.u32 [%r21], %r9;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in global memory");
}

#[test]
fn a_write_after_a_read_in_global_memory() {
    let body = |barrier: &str| {
        format!(
            "xor.b32 %r8, %r7, 128;\nmul.wide.u32 %rd4, %r8, 1;\nadd.s64 %rd5, %rd1, %rd4;\nld.global.u32 %r9, [%rd5];\n\
             {barrier}\nst.global.u32 [%rd3], %r9; // BUG"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in global memory");
}

#[test]
fn blocks_write_the_same_word() {
    let body = |offset: &str| {
        format!(
            "mul.lo.u32 %r8, %r6, {offset};\nmul.wide.u32 %rd4, %r8, 1;\nadd.s64 %rd5, %rd3, %rd4;\nst.global.u32 [%rd5], 1; // BUG"
        )
    };
    planted(4, 64, 256, &body("252"), &body("256"), "a thread of another block");
}

#[test]
fn a_block_reads_what_another_writes() {
    let body = |offset: u32| {
        format!(
            "mul.wide.u32 %rd4, %r6, 256;\nadd.s64 %rd5, %rd3, %rd4;\nst.global.u32 [%rd5], %r5;\n\
             bar.sync 0;\nld.global.u32 %r9, [%rd5+{offset}]; // BUG\nst.shared.u32 [%r21], %r9;"
        )
    };
    // Which of both comes first depends on the order of blocks: the line is a site of the finding in any case.
    planted(2, 64, 256, &body(4), &body(0), "a race in global memory");
}

#[test]
fn a_word_written_byte_by_byte_is_no_race() {
    let body = |scale: u32| {
        format!(
            "mul.wide.u32 %rd4, %r5, {scale};\nadd.s64 %rd5, %rd1, %rd4;\ncvt.u16.u32 %h1, %r5;\nst.global.u8 [%rd5], %h1; // BUG\n\
             add.s64 %rd5, %rd5, 1;\nst.global.u8 [%rd5], %h1;"
        )
    };
    planted(1, 64, 256, &body(1), &body(2), "a race in global memory");
}

/// The last block to arrive sums what the others wrote: `fence` before the atomic releases it.
fn last_block(fence: &str) -> String {
    format!(
        "add.s64 %rd4, %rd1, 64;\nmul.wide.u32 %rd5, %r6, 4;\nadd.s64 %rd6, %rd4, %rd5;\nsetp.ne.u32 %p1, %r5, 0;\n\
         @%p1 bra END;\nst.global.u32 [%rd6], %r6;\n{fence}\natom.global.add.u32 %r8, [%rd1], 1;\nsetp.ne.u32 %p2, %r8, 10;\n\
         @%p2 bra END;\n{fence}\nld.global.v4.u32 {{%r9, %r10, %r11, %r12}}, [%rd4]; // BUG\n\
         add.u32 %r9, %r9, %r10;\nadd.u32 %r9, %r9, %r11;\nst.global.u32 [%rd4+64], %r9;\nEND:"
    )
}

#[test]
fn the_last_block_reads_what_was_released() {
    // The buffer holds 7: the fourth of four blocks sees 7 + 3.
    planted(4, 32, 256, &last_block(""), &last_block("membar.gl;"), "a race in global memory");
    planted(4, 32, 256, &last_block("membar.cta;"), &last_block("fence.acq_rel.gpu;"), "a race in global memory");
    let atomic = |scope: &str| last_block("").replace("atom.global", &format!("atom.acq_rel.{scope}.global"));
    planted(4, 32, 256, &atomic("cta"), &atomic("gpu"), "a race in global memory");
}

#[test]
fn global_memory_read_before_it_is_written() {
    let body = |offset: u32| format!("ld.global.u32 %r9, [%rd3+{offset}]; // BUG\nst.shared.u32 [%r21], %r9;");
    let clean = text(256, &body(0));
    let bug = text(256, &body(128));
    for options in orders() {
        let machine = machine(Options { checks: Checks::ALL, ..options });
        let address = machine.memory.allocate(512, ptx_machine::memory::Kind::Device).expect("memory");
        let module = common::load(&machine, &clean);
        // Only the first 256 bytes are written.
        let launch = |text: &str| run(&machine, text, &shape(1, 64, &[address])).expect("a launch").findings;
        assert!(launch(&clean)[0].what.contains("nothing has written"));
        machine.memory.fill(address, 0, 256).expect("the allocation");
        assert!(launch(&clean).is_empty());
        let found = launch(&bug);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].address, Some(address + 256));
        assert_eq!(found[0].sites[0].threads, (32..64).collect::<Vec<_>>());
        drop(module);
    }
}

#[test]
fn accesses_outside_and_misaligned_ones_end_the_launch() {
    use ptx_machine::machine::FaultKind;
    let cases = [
        (
            "add.s64 %rd4, %rd3, 16384;\nsetp.eq.u32 %p1, %r5, 9;\n@%p1 ld.global.u32 %r9, [%rd4]; // BUG",
            FaultKind::IllegalAddress,
            9,
        ),
        ("setp.ge.u32 %p1, %r5, 40;\n@%p1 ld.global.u32 %r9, [%rd3+16220]; // BUG", FaultKind::IllegalAddress, 41),
        ("setp.eq.u32 %p1, %r5, 3;\n@%p1 st.global.u32 [%rd3+2], %r5; // BUG", FaultKind::MisalignedAddress, 3),
        ("setp.eq.u32 %p1, %r5, 33;\n@%p1 ld.shared.u32 %r9, [%r21+256]; // BUG", FaultKind::IllegalAddress, 33),
        ("setp.eq.u32 %p1, %r5, 7;\n@%p1 st.shared.v2.u32 [%r21], {%r5, %r5}; // BUG", FaultKind::MisalignedAddress, 7),
        (
            "setp.eq.u32 %p1, %r5, 7;\nmov.u64 %rd5, 0;\n@%p1 atom.global.add.u32 %r9, [%rd5], 1; // BUG",
            FaultKind::IllegalAddress,
            7,
        ),
        ("setp.eq.u32 %p1, %r5, 2;\nmov.u64 %rd5, 16;\n@%p1 ld.u32 %r9, [%rd5]; // BUG", FaultKind::IllegalAddress, 2),
        (
            "setp.eq.u32 %p1, %r5, 4;\n@%p1 cp.async.ca.shared.global [%r21], [%rd3+20000], 4; // BUG",
            FaultKind::IllegalAddress,
            4,
        ),
    ];
    for (body, kind, thread) in cases {
        let text = text(256, body);
        for options in orders() {
            for checks in [Checks::NONE, Checks::ALL] {
                let machine = machine(Options { checks, ..options.clone() });
                let address = upload(&machine, &[7; 4096]);
                let fault = run(&machine, &text, &shape(1, 64, &[address])).expect_err("a fault");
                assert_eq!(fault.kind, kind, "{body}: {fault:?}");
                assert_eq!(fault.finding.sites[0].ptx_line, line_of(&text, "// BUG"), "{body}");
                assert_eq!(fault.finding.sites[0].threads[0], thread, "{body}: {fault:?}");
            }
        }
    }
}

#[test]
fn a_thread_may_change_its_own_words() {
    // Each thread reads and writes its own, next to those of its neighbours: no race, in shared and in global memory.
    let body = |other: u32| {
        format!(
            "st.shared.u32 [%r21], %r5;\nld.shared.u32 %r9, [%r21];\nadd.u32 %r9, %r9, 1;\nst.shared.u32 [%r21], %r9;\n\
             ld.global.u32 %r9, [%rd3];\nadd.u32 %r9, %r9, 1;\nst.global.u32 [%rd3], %r9;\nxor.b32 %r8, %r7, {other};\n\
             add.u32 %r22, %r20, %r8;\nld.shared.u32 %r9, [%r22];\nadd.u32 %r9, %r9, 1;\nst.shared.u32 [%r22], %r9; // BUG"
        )
    };
    planted(1, 64, 256, &body(4), &body(0), "a race in shared memory");
}

#[test]
fn a_lane_s_neighbour_reads_before_it_writes() {
    // Lane i reads word i + 1, which lane i + 1 then writes, without a warp barrier between; in global memory.
    let body = |sync: &str| format!("ld.global.u32 %r9, [%rd3+4];\n{sync}\nst.global.u32 [%rd3], %r9; // BUG");
    planted(1, 32, 256, &body(""), &body("bar.warp.sync -1;"), "a race in global memory");
}

#[test]
fn a_register_that_some_lanes_have_not_written() {
    let body = |p: &str| {
        format!(
            "setp.lt.u32 %p1, %r5, {p};\n@!%p1 bra JOIN;\nmov.u32 %r40, 5;\nJOIN:\nadd.u32 %r41, %r40, 1; // BUG\n\
             st.global.u32 [%rd3], %r41;"
        )
    };
    planted(1, 32, 256, &body("20"), &body("32"), "%r40");
    // Under a predicate that holds where it was written, the read is right.
    let body = |guard: &str| {
        format!("setp.lt.u32 %p1, %r5, 20;\n@%p1 mov.u32 %r40, 5;\n{guard} st.global.u32 [%rd3], %r40; // BUG")
    };
    planted(1, 32, 256, &body(""), &body("@%p1"), "%r40");
}

#[test]
fn local_memory_that_the_thread_has_not_written() {
    let body = |at: u32| {
        format!(
            ".local .align 16 .b8 stack[64];\nmov.u64 %rd5, stack;\nst.local.v2.u32 [%rd5+16], {{%r5, %r5}};\n\
             ld.local.u32 %r9, [%rd5+{at}]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 32, 256, &body(24), &body(20), "local memory that the thread has not written");
}

#[test]
fn a_mask_that_names_lanes_which_have_exited() {
    let body = |mask: &str| {
        format!(
            "setp.ge.u32 %p1, %r5, 16;\n@%p1 bra END;\nshfl.sync.bfly.b32 %r9|%p2, %r5, 1, 31, {mask}; // BUG\n\
             st.global.u32 [%rd3], %r9;\nEND:"
        )
    };
    // The lanes that jump to the end exit while the others wait for them.
    planted(1, 32, 256, &body("0xffffffff"), &body("0x0000ffff"), "have exited");
}

#[test]
fn a_shuffle_from_a_lane_outside_of_the_mask() {
    let body = |distance: u32| {
        format!(
            "setp.ge.u32 %p1, %r5, 16;\n@%p1 bra END;\nshfl.sync.bfly.b32 %r9|%p2, %r5, {distance}, 31, 0xffff; // BUG\n\
             st.global.u32 [%rd3], %r9;\nEND:"
        )
    };
    planted(1, 32, 256, &body(16), &body(8), "a shuffle from lanes");
}

#[test]
fn a_lane_that_its_own_mask_does_not_name() {
    let body = |mask: &str| format!("vote.sync.ballot.b32 %r9, %p0, {mask}; // BUG\nst.global.u32 [%rd3], %r9;");
    let with = |mask: &str| format!("setp.lt.u32 %p0, %r5, 7;\n{}", body(mask));
    planted(1, 32, 256, &with("0x7fffffff"), &with("0xffffffff"), "does not name");
}

#[test]
fn a_barrier_that_some_threads_never_reach() {
    let body = |threads: u32| {
        format!("setp.ge.u32 %p1, %r5, {threads};\n@%p1 bra END;\nbar.sync 0; // BUG\nst.global.u32 [%rd3], %r5;\nEND:")
    };
    planted(1, 96, 512, &body(64), &body(96), "have exited");
    planted(1, 96, 512, &body(90), &body(96), "have exited");
}

#[test]
fn two_lanes_write_different_values_to_one_word_of_global_memory() {
    let body = |value: &str| format!("setp.lt.u32 %p1, %r5, 2;\n@%p1 st.global.u32 [%rd1], {value}; // BUG");
    planted(1, 32, 256, &body("%r5"), &body("7"), "two lanes write different values");
}

#[test]
fn a_block_writes_what_another_reads() {
    // All blocks read; block 0 writes where they read, or behind it.
    let body = |at: u32| {
        format!("ld.global.u32 %r9, [%rd3];\nsetp.eq.u32 %p1, %r6, 0;\n@%p1 st.global.u32 [%rd3+{at}], %r9; // BUG")
    };
    planted(3, 64, 256, &body(0), &body(2048), "another block");
}

#[test]
fn a_plain_read_beside_the_atomics_of_other_blocks() {
    let body = |load: &str| format!("atom.global.add.u32 %r8, [%rd1], 1;\n{load}.u32 %r9, [%rd1]; // BUG");
    planted(2, 32, 256, &body("ld.global"), &body("ld.relaxed.gpu.global"), "a race in global memory");
}

#[test]
fn a_copy_of_what_another_thread_has_just_written() {
    let body = |barrier: &str| {
        format!(
            "st.global.u32 [%rd3], %r5;\n{barrier}\nxor.b32 %r8, %r7, 128;\nmul.wide.u32 %rd4, %r8, 1;\n\
             add.s64 %rd5, %rd1, %rd4;\ncp.async.ca.shared.global [%r21], [%rd5], 4; // BUG\ncp.async.wait_all;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in global memory");
}

#[test]
fn a_write_to_the_target_of_a_copy_that_is_under_way() {
    let body = |first: &str, second: &str| {
        format!("cp.async.ca.shared.global [%r21], [%rd3], 4;\n{first}\nst.shared.u32 [%r21], %r5; // BUG\n{second}")
    };
    let wait = "cp.async.wait_all;";
    planted(1, 64, 256, &body("", wait), &body(wait, ""), "a write to shared memory that an asynchronous copy");
}

#[test]
fn a_copy_into_a_stage_that_others_still_read() {
    let body = |barrier: &str| {
        format!(
            "st.shared.u32 [%r21], %r5;\nbar.sync 0;\nxor.b32 %r8, %r7, 128;\nadd.u32 %r22, %r20, %r8;\n\
             ld.shared.u32 %r9, [%r22];\n{barrier}\ncp.async.ca.shared.global [%r21], [%rd3], 4; // BUG\ncp.async.wait_all;"
        )
    };
    planted(1, 64, 256, &body(""), &body("bar.sync 0;"), "a race in shared memory");
}

#[test]
fn rows_of_a_matrix_that_another_warp_writes() {
    // Each warp loads the rows that the other one wrote.
    let body = |barrier: &str| {
        format!(
            "mad.lo.u32 %r22, %r5, 16, %r20;\nst.shared.v4.u32 [%r22], {{%r5, %r5, %r5, %r5}};\n{barrier}\n\
             shl.b32 %r8, %r5, 4;\nxor.b32 %r8, %r8, 512;\nadd.u32 %r23, %r20, %r8;\n\
             ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{%r9, %r10, %r11, %r12}}, [%r23]; // BUG\nst.global.u32 [%rd3], %r9;"
        )
    };
    planted(1, 64, 1024, &body(""), &body("bar.sync 0;"), "a race in shared memory");
}

/// Launches of one machine use the same record of accesses: none sees what another left in it, whatever its pieces are.
#[test]
fn what_an_earlier_launch_did_counts_as_nothing() {
    let words = |read: u32| {
        format!(
            "st.shared.u32 [%r21], %r5;\nbar.sync 0;\nld.shared.u32 %r9, [%r21+{read}];\nst.global.u32 [%rd3], %r9;"
        )
    };
    let bytes = |read: u32| {
        format!(
            "cvt.u16.u32 %h1, %r5;\nadd.u32 %r22, %r20, %r5;\nst.shared.u8 [%r22], %h1;\nbar.sync 0;\n\
             ld.shared.u8 %h2, [%r22+{read}];\ncvt.u32.u16 %r9, %h2;\nst.global.u32 [%rd3], %r9;"
        )
    };
    let copied = "cp.async.ca.shared.global [%r21+128], [%rd3], 4;\ncp.async.commit_group;".to_owned();
    let race = "and.b32 %r8, %r7, 127;\nadd.u32 %r22, %r20, %r8;\nst.shared.u32 [%r22], %r5;".to_owned();
    // Each is launched after each other one, and finds what it finds alone.
    let all = [
        (words(0), ""),
        (words(4), "no thread of the block has written"),
        (bytes(0), ""),
        (bytes(1), "no thread of the block has written"),
        (copied, ""),
        (race, "a race in shared memory"),
    ];
    for options in orders() {
        let machine = machine(Options { checks: Checks::ALL, ..options });
        let address = upload(&machine, &[7; 4096]);
        for at in (0..all.len()).flat_map(|first| (0..all.len()).flat_map(move |second| [first, second])) {
            let (body, words) = &all[at];
            let text = text(512, body);
            let found = run(&machine, &text, &shape(1, 64, &[address])).expect("no fault").findings;
            let about = |word: &str| found.iter().any(|finding| finding.what.contains(word));
            assert!(words.is_empty() || about(words), "{found:#?}\n{body}");
            assert!(words.contains("has written") || !about("has written"), "{found:#?}\n{body}");
            assert!(words.contains("race") || !about("race in shared"), "{found:#?}\n{body}");
            assert!(!about("asynchronous"), "{found:#?}\n{body}");
        }
    }
}
