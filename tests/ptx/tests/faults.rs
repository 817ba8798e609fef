//! Planted bugs that end a launch, as on hardware, and their clean twins: addresses, alignment, waits that have no end.

use crate::common::planted::ends;
use ptx_machine::machine::FaultKind::{Deadlock, IllegalAddress, IllegalInstruction, MisalignedAddress, Trap};

#[test]
fn a_guard_that_lets_one_thread_too_many_read() {
    let body = |count: u32| format!("setp.lt.u32 %p1, %r5, {count};\n@%p1 ld.global.u32 %r9, [%rd3+16256]; // BUG");
    ends(64, 256, &body(33), &body(32), IllegalAddress, "outside of all allocations");
}

#[test]
fn a_write_below_the_buffer() {
    let body = |at: i32| format!("st.global.u32 [%rd3+{at}], %r5; // BUG");
    ends(64, 256, &body(-4), &body(0), IllegalAddress, "outside of all allocations");
}

#[test]
fn a_vector_behind_the_end() {
    let body = |at: u32| format!("ld.global.v4.u32 {{%r9, %r10, %r11, %r12}}, [%rd1+{at}]; // BUG");
    ends(32, 256, &body(16384), &body(16368), IllegalAddress, "outside of all allocations");
}

#[test]
fn an_atomic_of_a_null_pointer() {
    let body = |base: &str| format!("mov.u64 %rd5, {base};\natom.global.add.u32 %r9, [%rd5], 1; // BUG");
    ends(32, 256, &body("0"), &body("%rd1"), IllegalAddress, "outside of all allocations");
}

#[test]
fn a_generic_address_of_nothing() {
    let body = |base: &str| format!("mov.u64 %rd5, {base};\nld.u32 %r9, [%rd5]; // BUG");
    ends(32, 256, &body("16"), &body("%rd1"), IllegalAddress, "outside of all allocations");
}

#[test]
fn shared_memory_read_and_written_beyond_its_end() {
    let read = |at: u32| format!("st.shared.u32 [%r21], %r5;\nld.shared.u32 %r9, [%r21+{at}]; // BUG");
    ends(64, 256, &read(256), &read(0), IllegalAddress, "outside of the block's 256 bytes");
    let write = |at: u32| format!("st.shared.u32 [%r21+{at}], %r5; // BUG");
    ends(64, 256, &write(4), &write(0), IllegalAddress, "outside of the block's 256 bytes");
}

#[test]
fn local_memory_beyond_its_end() {
    let body = |at: u32| {
        format!(".local .align 16 .b8 stack[64];\nmov.u64 %rd5, stack;\nst.local.u32 [%rd5+{at}], %r5; // BUG")
    };
    ends(32, 256, &body(64), &body(60), IllegalAddress, "");
}

#[test]
fn a_copy_from_or_to_what_is_not_there() {
    let body = |to: u32, from: u32| {
        format!("cp.async.ca.shared.global [%r21+{to}], [%rd3+{from}], 4; // BUG\ncp.async.wait_all;")
    };
    ends(64, 256, &body(0, 20000), &body(0, 0), IllegalAddress, "outside of all allocations");
    ends(64, 256, &body(256, 0), &body(0, 0), IllegalAddress, "outside of its 256 bytes");
}

#[test]
fn a_word_between_two_words() {
    let body = |at: u32| format!("st.global.u32 [%rd3+{at}], %r5; // BUG");
    ends(64, 256, &body(2), &body(4), MisalignedAddress, "no multiple of 4");
}

#[test]
fn a_vector_that_is_aligned_to_half_its_size() {
    let body = |at: u32| format!("ld.global.v4.u32 {{%r9, %r10, %r11, %r12}}, [%rd1+{at}]; // BUG");
    ends(32, 256, &body(8), &body(16), MisalignedAddress, "no multiple of 16");
}

#[test]
fn pairs_at_a_pitch_of_one_word() {
    let body =
        |pitch: u32| format!("mad.lo.u32 %r22, %r5, {pitch}, %r20;\nst.shared.v2.u32 [%r22], {{%r5, %r5}}; // BUG");
    ends(64, 512, &body(4), &body(8), MisalignedAddress, "no multiple of 8");
}

#[test]
fn an_atomic_of_eight_bytes_between_two() {
    let body = |at: u32| format!("mov.u64 %rd5, 1;\natom.global.add.u64 %rd6, [%rd1+{at}], %rd5; // BUG");
    ends(32, 256, &body(4), &body(8), MisalignedAddress, "");
}

#[test]
fn a_copy_of_sixteen_bytes_to_each_word() {
    let body = |pitch: u32| {
        format!(
            "mad.lo.u32 %r22, %r5, {pitch}, %r20;\nmul.wide.u32 %rd4, %r5, 16;\nadd.s64 %rd5, %rd1, %rd4;\n\
             cp.async.cg.shared.global [%r22], [%rd5], 16; // BUG\ncp.async.wait_all;"
        )
    };
    ends(32, 512, &body(4), &body(16), MisalignedAddress, "");
}

#[test]
fn rows_of_a_matrix_at_odd_places() {
    let body = |at: u32| {
        format!(
            "mad.lo.u32 %r22, %r5, 16, %r20;\nst.shared.v4.u32 [%r22], {{%r5, %r5, %r5, %r5}};\nbar.sync 0;\n\
             ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r9}}, [%r22+{at}]; // BUG"
        )
    };
    ends(32, 1024, &body(4), &body(0), MisalignedAddress, "");
}

#[test]
fn a_trap_on_a_condition() {
    let body = |thread: u32| format!("setp.eq.u32 %p1, %r5, {thread};\n@%p1 trap; // BUG");
    ends(64, 256, &body(41), &body(64), Trap, "ended itself");
}

#[test]
fn two_warps_wait_at_different_barriers() {
    let body = |second: u32| {
        format!(
            "setp.ge.u32 %p1, %r5, 32;\n@%p1 bra OTHER;\nbar.sync 1, 64; // BUG\nbra.uni JOIN;\nOTHER:\n\
             bar.sync {second}, 64;\nJOIN:\nst.global.u32 [%rd3], %r5;"
        )
    };
    ends(64, 256, &body(2), &body(1), Deadlock, "barrier 1");
}

#[test]
fn a_barrier_of_more_threads_than_there_are() {
    let body = |count: u32| format!("bar.sync 1, {count}; // BUG\nst.global.u32 [%rd3], %r5;");
    ends(64, 256, &body(96), &body(64), Deadlock, "barrier 1");
}

#[test]
fn a_barrier_of_half_warps() {
    let body = |count: u32| format!("mov.u32 %r10, {count};\nbar.sync 1, %r10; // BUG");
    ends(64, 256, &body(48), &body(64), IllegalInstruction, "must be a multiple of 32");
}

#[test]
fn warps_that_disagree_on_a_barrier_s_count() {
    let body =
        |other: u32| format!("setp.lt.u32 %p1, %r5, 32;\nselp.u32 %r10, 64, {other}, %p1;\nbar.sync 1, %r10; // BUG");
    ends(64, 256, &body(96), &body(64), IllegalInstruction, "barrier 1 waits for");
}

#[test]
fn a_barrier_that_blocks_do_not_have() {
    let body = |number: u32| format!("mov.u32 %r10, {number};\nbar.sync %r10, 64; // BUG");
    ends(64, 256, &body(16), &body(15), IllegalInstruction, "a block has barriers 0 to 15");
}

/// An mbarrier `bar` at `%r30`, which thread 0 (`%p1`) initialises by `init`; then `body`, then all wait for its first phase.
fn mbarrier(init: &str, body: &str, wait: &str) -> String {
    format!(
        ".shared .align 8 .b8 bar[8];\nmov.u32 %r30, bar;\nsetp.eq.u32 %p1, %r5, 0;\n{init}\nbar.sync 0;\n{body}\nWAIT:\n\
         mbarrier.try_wait.parity.shared::cta.b64 %p9, [%r30], 0;\n@!%p9 bra WAIT;{wait}"
    )
}

/// `@%p1 mbarrier.init` for so many arrivals.
fn init(count: u32) -> String {
    format!("@%p1 mbarrier.init.shared::cta.b64 [%r30], {count};")
}

#[test]
fn an_mbarrier_for_one_arrival_too_many() {
    let body = |count: u32| mbarrier(&init(count), "@%p1 mbarrier.arrive.shared::cta.b64 %rd9, [%r30];", " // BUG");
    ends(64, 256, &body(2), &body(1), Deadlock, "an mbarrier");
}

#[test]
fn an_mbarrier_that_nothing_initialised() {
    // One warp, so that the arrival comes first in every order.
    let body = |init: &str| mbarrier(init, "@%p1 mbarrier.arrive.shared::cta.b64 %rd9, [%r30]; // BUG", "");
    let zero = "@%p1 mov.u64 %rd8, 0;\n@%p1 st.shared.u64 [%r30], %rd8;";
    ends(32, 256, &body(zero), &body(&init(1)), IllegalInstruction, "mbarrier.init must come first");
}

#[test]
fn an_arrival_that_counts_for_two() {
    let body = |count: u32| {
        mbarrier(&init(1), &format!("@%p1 mbarrier.arrive.shared::cta.b64 %rd9, [%r30], {count}; // BUG"), "")
    };
    ends(64, 256, &body(2), &body(1), IllegalInstruction, "where the current phase waits for");
}

/// A bulk copy of 256 bytes, of which `expected` are announced, that all wait for.
fn bulk(expected: u32, to: u32, from: u32, marks: [&str; 2]) -> String {
    let body = format!(
        "@!%p1 bra WAIT;\nmbarrier.arrive.expect_tx.shared::cta.b64 %rd9, [%r30], {expected};\n\
         cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r20+{to}], [%rd1+{from}], 256, [%r30];{}",
        marks[0]
    );
    mbarrier(&init(1), &body, marks[1])
}

#[test]
fn more_bytes_are_announced_than_come() {
    let body = |expected: u32| bulk(expected, 0, 0, ["", " // BUG"]);
    ends(64, 512, &body(272), &body(256), Deadlock, "an mbarrier");
}

#[test]
fn a_bulk_copy_from_behind_the_buffer() {
    let body = |from: u32| bulk(256, 0, from, [" // BUG", ""]);
    ends(64, 512, &body(16256), &body(16128), IllegalAddress, "");
}

#[test]
fn a_bulk_copy_to_half_a_row() {
    let body = |to: u32| bulk(256, to, 0, [" // BUG", ""]);
    ends(64, 512, &body(8), &body(16), MisalignedAddress, "");
}
