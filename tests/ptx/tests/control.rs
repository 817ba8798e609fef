//! Branches, loops, barriers, orders.

use crate::common::{module_text, options, orders, words};
use ptx_machine::machine::FaultKind;

/// `x[i] = f(i)` as a body: `%r1` is the thread's number in the grid, `%rd2` the address of its word, `%r2` what it stores.
fn each(body: &str) -> String {
    module_text(
        ".param .u64 k_param_0",
        &format!(
            "ld.param.u64 %rd1, [k_param_0];\ncvta.to.global.u64 %rd1, %rd1;\n\
             mov.u32 %r3, %ctaid.x;\nmov.u32 %r4, %ntid.x;\nmov.u32 %r5, %tid.x;\nmad.lo.s32 %r1, %r3, %r4, %r5;\n\
             mul.wide.s32 %rd3, %r1, 4;\nadd.s64 %rd2, %rd1, %rd3;\n{body}\nst.global.u32 [%rd2], %r2;\nret;"
        ),
    )
}

fn same_in_all_orders(text: &str, blocks: u32, threads: u32, start: &[u32], expected: &[u32]) {
    for options in orders() {
        let found = words(options.clone(), text, blocks, threads, start);
        let found = found.unwrap_or_else(|fault| panic!("{options:?}: {fault:?}"));
        assert_eq!(found, expected, "{options:?}");
    }
}

#[test]
fn a_thread_knows_its_number() {
    let expected: Vec<u32> = (0..300).collect();
    same_in_all_orders(&each("mov.u32 %r2, %r1;"), 3, 100, &[0; 300], &expected);
}

#[test]
fn nested_branches_meet_again() {
    let body = "
        mov.u32 %r2, 0;
        and.b32 %r10, %r1, 1;
        setp.eq.u32 %p1, %r10, 0;
        @%p1 bra EVEN;
        and.b32 %r11, %r1, 2;
        setp.eq.u32 %p2, %r11, 0;
        @%p2 bra ODD0;
        add.u32 %r2, %r2, 1000;
        bra.uni ODDJOIN;
    ODD0:
        add.u32 %r2, %r2, 2000;
    ODDJOIN:
        add.u32 %r2, %r2, 10;
        bra.uni JOIN;
    EVEN:
        add.u32 %r2, %r2, 3000;
    JOIN:
        activemask.b32 %r12;
        popc.b32 %r12, %r12;
        add.u32 %r2, %r2, %r12;";
    let expected: Vec<u32> = (0..64)
        .map(|i: u32| match (i % 2, i & 2) {
            (0, _) => 3032,
            (_, 0) => 2042,
            _ => 1042,
        })
        .collect();
    same_in_all_orders(&each(body), 1, 64, &[0; 64], &expected);
}

#[test]
fn loops_run_as_often_as_each_lane_says() {
    // The sum of 1..=i by a loop, left early by `break` where it exceeds 100.
    let body = "
        mov.u32 %r2, 0;
        mov.u32 %r10, 0;
    HEAD:
        setp.ge.u32 %p1, %r10, %r1;
        @%p1 bra DONE;
        add.u32 %r10, %r10, 1;
        add.u32 %r2, %r2, %r10;
        setp.gt.u32 %p2, %r2, 100;
        @%p2 bra DONE;
        bra.uni HEAD;
    DONE:
        activemask.b32 %r12;
        setp.ne.u32 %p3, %r12, -1;
        @%p3 add.u32 %r2, %r2, 100000;";
    let expected: Vec<u32> = (0..96)
        .map(|i: u32| {
            let mut sum = 0;
            for k in 1..=i {
                sum += k;
                if sum > 100 {
                    break;
                }
            }
            sum
        })
        .collect();
    same_in_all_orders(&each(body), 3, 32, &[0; 96], &expected);
}

#[test]
fn lanes_that_exit_early_are_not_waited_for() {
    let body = "
        mov.u32 %r2, 7;
        setp.lt.u32 %p1, %r1, 5;
        @%p1 ret;
        setp.gt.u32 %p2, %r1, 20;
        @%p2 bra OUT;
        mov.u32 %r2, 9;
        setp.eq.u32 %p3, %r1, 11;
        @%p3 exit;
    OUT:";
    let expected: Vec<u32> = (0..32)
        .map(|i: u32| {
            if i < 5 || i == 11 {
                0
            } else if i > 20 {
                7
            } else {
                9
            }
        })
        .collect();
    same_in_all_orders(&each(body), 1, 32, &[0; 32], &expected);
}

#[test]
fn a_barrier_separates_writes_from_reads() {
    let body = "
        .shared .align 4 .b8 tile[512];
        mov.u32 %r20, tile;
        shl.b32 %r21, %r5, 2;
        add.u32 %r22, %r20, %r21;
        st.shared.u32 [%r22], %r1;
        bar.sync 0;
        sub.u32 %r23, 127, %r5;
        shl.b32 %r23, %r23, 2;
        add.u32 %r24, %r20, %r23;
        ld.shared.u32 %r2, [%r24];";
    let expected: Vec<u32> = (0..256).map(|i: u32| i / 128 * 128 + (127 - i % 128)).collect();
    same_in_all_orders(&each(body), 2, 128, &[0; 256], &expected);
}

#[test]
fn a_barrier_counts_votes_and_knows_its_threads() {
    // 96 threads vote; then warps 0 and 1 meet at barrier 3, for which warp 2 arrives without waiting.
    let body = "
        setp.lt.u32 %p1, %r5, 70;
        barrier.cta.red.popc.aligned.u32 %r10, 1, %p1;
        barrier.cta.red.and.aligned.pred %p2, 1, %p1;
        barrier.cta.red.or.aligned.pred %p3, 1, !%p1;
        selp.u32 %r11, 1000, 0, %p2;
        selp.u32 %r12, 2000, 0, %p3;
        add.u32 %r2, %r10, %r11;
        add.u32 %r2, %r2, %r12;
        setp.ge.u32 %p4, %r5, 64;
        @%p4 bar.arrive 3, 96;
        @!%p4 bar.sync 3, 96;";
    same_in_all_orders(&each(body), 1, 96, &[0; 96], &[2070; 96]);
}

#[test]
fn a_deadlock_is_found() {
    // Warp 1 waits at another barrier than warp 0.
    let body = "
        setp.ge.u32 %p1, %r5, 32;
        @%p1 bra OTHER;
        bar.sync 1, 64;
        bra.uni JOIN;
    OTHER:
        bar.sync 2, 64;
    JOIN:
        mov.u32 %r2, 1;";
    for options in orders() {
        let fault = words(options, &each(body), 1, 64, &[0; 64]).expect_err("a deadlock");
        assert_eq!(fault.kind, FaultKind::Deadlock);
        assert!(fault.finding.what.contains("barrier 1, barrier 2"), "{}", fault.finding.what);
        assert_eq!(fault.finding.sites.len(), 2);
    }
}

#[test]
fn an_index_chooses_among_branches() {
    let body = "
        .branchtargets;
    ";
    let _ = body;
    let table = "
    TABLE: .branchtargets A, B, C;
        rem.u32 %r10, %r1, 3;
        brx.idx %r10, TABLE;
    A:
        mov.u32 %r2, 10;
        bra.uni JOIN;
    B:
        mov.u32 %r2, 20;
        bra.uni JOIN;
    C:
        mov.u32 %r2, 30;
    JOIN:
        activemask.b32 %r11;
        popc.b32 %r11, %r11;
        add.u32 %r2, %r2, %r11;";
    let expected: Vec<u32> = (0..32).map(|i: u32| 10 * (i % 3 + 1) + 32).collect();
    same_in_all_orders(&each(table), 1, 32, &[0; 32], &expected);
}

#[test]
fn a_warp_that_spins_lets_the_others_run() {
    // Thread 0 waits in a loop for what the last thread writes.
    let body = "
        .shared .align 4 .b8 flag[4];
        mov.u32 %r20, flag;
        mov.u32 %r2, 1;
        setp.eq.u32 %p1, %r5, 0;
        @%p1 st.volatile.shared.u32 [%r20], 0;
        bar.sync 0;
        @!%p1 bra WRITE;
    SPIN:
        ld.volatile.shared.u32 %r21, [%r20];
        setp.eq.u32 %p2, %r21, 0;
        @%p2 bra SPIN;
        mov.u32 %r2, %r21;
        bra.uni JOIN;
    WRITE:
        setp.eq.u32 %p3, %r5, 63;
        @%p3 st.volatile.shared.u32 [%r20], 5;
    JOIN:";
    let mut expected = [1; 64];
    expected[0] = 5;
    same_in_all_orders(&each(body), 1, 64, &[0; 64], &expected);
}

#[test]
fn lanes_of_one_warp_may_hand_over_in_a_loop() {
    // Each lane waits for its turn, in a loop: lanes in lockstep alone would never get through.
    let body = "
        .shared .align 4 .b8 turn[4];
        mov.u32 %r20, turn;
        setp.eq.u32 %p1, %r5, 0;
        @%p1 st.volatile.shared.u32 [%r20], 0;
        bar.warp.sync -1;
        sub.u32 %r22, 31, %r5;
    SPIN:
        ld.volatile.shared.u32 %r21, [%r20];
        setp.ne.u32 %p2, %r21, %r22;
        @%p2 bra SPIN;
        add.u32 %r2, %r21, 100;
        add.u32 %r21, %r21, 1;
        st.volatile.shared.u32 [%r20], %r21;";
    let expected: Vec<u32> = (0..32).map(|i| 131 - i).collect();
    same_in_all_orders(&each(body), 1, 32, &[0; 32], &expected);
}

#[test]
fn trap_ends_the_launch_and_says_where() {
    let body = "
        mov.u32 %r2, 1;
        setp.eq.u32 %p1, %r1, 41;
        @%p1 trap;";
    let fault = words(options(), &each(body), 1, 64, &[0; 64]).expect_err("the trap");
    assert_eq!(fault.kind, FaultKind::Trap);
    assert_eq!(fault.finding.sites[0].threads, [41]);
}

#[test]
fn lanes_of_a_shuffle_may_come_one_after_the_other() {
    // Lanes branch apart and meet at a shuffle that names all of them, on their different ways to it.
    let body = "
        setp.lt.u32 %p1, %r1, 16;
        mov.u32 %r10, 1;
        @%p1 bra LOW;
        bar.warp.sync -1;
        mov.u32 %r10, 2;
        bra.uni JOIN;
    LOW:
        bar.warp.sync 0xffffffff;
        mov.u32 %r10, 3;
    JOIN:
        shfl.sync.bfly.b32 %r2|%p2, %r10, 16, 31, -1;";
    let expected: Vec<u32> = (0..32).map(|i| if i < 16 { 2 } else { 3 }).collect();
    same_in_all_orders(&each(body), 1, 32, &[0; 32], &expected);
}
