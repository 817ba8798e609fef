//! Operations of several lanes together, and atomics, against the ISA's text.

use crate::common::{self, machine, module_text, options, orders, run, shape, upload, words};
use ptx_machine::machine::{Checks, Options};

/// A kernel of threads that each have a word: `%r1` is the thread's number in the grid, `%r5` in the block, `%r2` its word, which
/// `%r3` replaces; `%rd1` is the buffer.
fn text(body: &str) -> String {
    module_text(
        ".param .u64 k_param_0",
        &format!(
            "ld.param.u64 %rd1, [k_param_0];\nmov.u32 %r5, %tid.x;\nmov.u32 %r6, %ctaid.x;\nmov.u32 %r7, %ntid.x;\n\
             mad.lo.u32 %r1, %r6, %r7, %r5;\nmul.wide.u32 %rd2, %r1, 4;\nadd.s64 %rd3, %rd1, %rd2;\n\
             ld.global.u32 %r2, [%rd3];\n{body}\nst.global.u32 [%rd3], %r3;\nret;"
        ),
    )
}

/// Values without a pattern.
fn values(count: u32) -> Vec<u32> {
    (0..count).map(|i| i.wrapping_mul(0x9E37_79B9) ^ i << 7).collect()
}

fn check(threads: u32, body: &str, expected: impl Fn(&[u32], usize) -> u32) {
    let start = values(threads);
    let found = words(options(), &text(body), 1, threads, &start).unwrap_or_else(|fault| panic!("{fault:?}"));
    for (lane, found) in found.iter().enumerate() {
        assert_eq!(*found, expected(&start, lane), "lane {lane}: {body}");
    }
}

#[test]
fn shuffles() {
    // §9.7.9.6, with whole warps: the clamp is 31 but for up, where it is 0.
    for distance in [0u32, 1, 5, 16, 31] {
        let n = distance as usize;
        check(32, &format!("shfl.sync.up.b32 %r3, %r2, {distance}, 0, -1;"), |v, l| v[if l >= n { l - n } else { l }]);
        check(32, &format!("shfl.sync.down.b32 %r3, %r2, {distance}, 31, -1;"), |v, l| {
            v[if l + n < 32 { l + n } else { l }]
        });
        check(32, &format!("shfl.sync.bfly.b32 %r3, %r2, {distance}, 31, -1;"), |v, l| v[l ^ n]);
        check(32, &format!("shfl.sync.idx.b32 %r3, %r2, {distance}, 31, -1;"), |v, _| v[n]);
    }
    // Segments of eight lanes, as CUDA's width gives them: c = (32 - 8) << 8 | 31; for up without the 31.
    let segment = |l: usize| l / 8 * 8;
    check(32, "shfl.sync.idx.b32 %r3, %r2, 11, 0x181f, -1;", |v, l| v[segment(l) + 3]);
    check(32, "shfl.sync.down.b32 %r3, %r2, 3, 0x181f, -1;", |v, l| v[if l % 8 + 3 < 8 { l + 3 } else { l }]);
    check(32, "shfl.sync.up.b32 %r3, %r2, 3, 0x1800, -1;", |v, l| v[if l % 8 >= 3 { l - 3 } else { l }]);
    // Whether the source lies inside; and distances that lanes give themselves.
    check(32, "shfl.sync.down.b32 %r3|%p1, %r2, 30, 31, -1;\nselp.u32 %r3, 1, 0, %p1;", |_, l| u32::from(l < 2));
    check(32, "and.b32 %r9, %r2, 31;\nshfl.sync.idx.b32 %r3, %r5, %r9, 31, -1;", |v, l| v[l] & 31);
}

#[test]
fn votes_and_matches() {
    let odd = "and.b32 %r9, %r2, 1;\nsetp.ne.u32 %p1, %r9, 0;\n";
    let ballot = |v: &[u32]| (0..32).fold(0, |mask, l| mask | (v[l] & 1) << l);
    check(32, &format!("{odd}vote.sync.ballot.b32 %r3, %p1, -1;"), |v, _| ballot(v));
    check(32, &format!("{odd}vote.sync.ballot.b32 %r3, !%p1, -1;"), |v, _| !ballot(v));
    let vote =
        |mode: &str, mask: &str| format!("{odd}vote.sync.{mode}.pred %p2, %p1, {mask};\nselp.u32 %r3, 1, 0, %p2;");
    check(32, &vote("any", "-1"), |v, _| u32::from(ballot(v) != 0));
    check(32, &vote("all", "-1"), |v, _| u32::from(ballot(v) == u32::MAX));
    check(32, &vote("uni", "-1"), |v, _| u32::from(ballot(v) == u32::MAX || ballot(v) == 0));
    let group = "and.b32 %r9, %r2, 3;\n";
    let same = |v: &[u32], l: usize| (0..32).filter(|&m| v[m] & 3 == v[l] & 3).fold(0, |mask, m| mask | 1 << m);
    check(32, &format!("{group}match.any.sync.b32 %r3, %r9, -1;"), same);
    check(32, &format!("{group}match.all.sync.b32 %r3|%p1, %r9, -1;"), |_, _| 0);
    check(32, "mov.u32 %r9, 5;\nmatch.all.sync.b32 %r3|%p1, %r9, -1;\n@!%p1 mov.u32 %r3, 1;", |_, _| u32::MAX);
}

#[test]
fn reductions_and_elections() {
    let all = |v: &[u32]| v.to_vec();
    check(32, "redux.sync.add.u32 %r3, %r2, -1;", |v, _| all(v).iter().fold(0, |sum, &x| sum.wrapping_add(x)));
    check(32, "redux.sync.min.s32 %r3, %r2, -1;", |v, _| v.iter().map(|&x| x as i32).min().expect("lanes") as u32);
    check(32, "redux.sync.max.u32 %r3, %r2, -1;", |v, _| *v.iter().max().expect("lanes"));
    check(32, "redux.sync.xor.b32 %r3, %r2, -1;", |v, _| v.iter().fold(0, |x, y| x ^ y));
    check(32, "redux.sync.and.b32 %r3, %r2, -1;", |v, _| v.iter().fold(u32::MAX, |x, y| x & y));
    // One lane is elected, the same for all.
    check(32, "elect.sync %r3|%p1, -1;\n@%p1 add.u32 %r3, %r3, 100;", |_, l| if l == 0 { 100 } else { 0 });
    check(20, "activemask.b32 %r3;", |_, _| (1 << 20) - 1);
}

/// Runs a kernel of one warp's threads in all orders with all checks, which find nothing.
fn check_in_all_orders(threads: u32, body: &str, expected: impl Fn(&[u32], usize) -> u32) {
    let start = values(threads);
    for options in orders() {
        let machine = machine(Options { checks: Checks::ALL, ..options });
        let address = upload(&machine, &start);
        let outcome = run(&machine, &text(body), &shape(1, threads, &[address]));
        let outcome = outcome.unwrap_or_else(|fault| panic!("{fault:?}\n{body}"));
        assert!(outcome.findings.is_empty(), "{:#?}\n{body}", outcome.findings);
        let expected: Vec<u32> = (0..start.len()).map(|lane| expected(&start, lane)).collect();
        assert_eq!(common::download(&machine, address, start.len()), expected, "{body}");
    }
}

/// `redux.sync` ("Parallel Synchronization and Communication Instructions"): over the lanes that the mask names.
#[test]
fn reductions_of_some_lanes() {
    type Reduction = fn(u32, u32) -> u32;
    let all: [(&str, Reduction); 8] = [
        ("add.u32", |x, y| x.wrapping_add(y)),
        ("add.s32", |x, y| x.wrapping_add(y)),
        ("min.u32", |x, y| x.min(y)),
        ("min.s32", |x, y| (x as i32).min(y as i32) as u32),
        ("max.s32", |x, y| (x as i32).max(y as i32) as u32),
        ("and.b32", |x, y| x & y),
        ("or.b32", |x, y| x | y),
        ("xor.b32", |x, y| x ^ y),
    ];
    // Bits that are common to all are rare among the values: some are set in all lanes, so that `and` is not simply 0.
    let same = "or.b32 %r2, %r2, 0x10400;\n";
    for (op, reduce) in all {
        let over = |values: &[u32], mask: u32| {
            let named = (0..32).filter(|&lane| mask >> lane & 1 != 0).map(|lane| values[lane] | 0x10400);
            named.reduce(reduce).expect("a lane")
        };
        // Lanes below 20 and the others take two ways, each with its own mask.
        let parted = format!(
            "{same}setp.lt.u32 %p1, %r5, 20;\n@%p1 bra LOW;\nredux.sync.{op} %r3, %r2, 0xfff00000;\nbra.uni JOIN;\nLOW:\n\
             redux.sync.{op} %r3, %r2, 0x000fffff;\nJOIN:"
        );
        check_in_all_orders(32, &parted, |v, l| over(v, if l < 20 { 0x000F_FFFF } else { 0xFFF0_0000 }));
        // Odd lanes alone, by a predicate and with a mask in a register; even lanes keep their own value.
        let odd = format!(
            "{same}and.b32 %r9, %r5, 1;\nsetp.eq.u32 %p1, %r9, 1;\nmov.u32 %r3, %r2;\nvote.sync.ballot.b32 %r10, %p1, -1;\n\
             @%p1 redux.sync.{op} %r3, %r2, %r10;"
        );
        check_in_all_orders(32, &odd, |v, l| if l % 2 == 1 { over(v, 0xAAAA_AAAA) } else { v[l] | 0x10400 });
        // A warp that is not whole, and a lane alone.
        check_in_all_orders(13, &format!("{same}redux.sync.{op} %r3, %r2, 0x1fff;"), |v, _| over(v, 0x1FFF));
        let alone = format!("{same}setp.eq.u32 %p1, %r5, 9;\nmov.u32 %r3, 1;\n@%p1 redux.sync.{op} %r3, %r2, 0x200;");
        check_in_all_orders(32, &alone, |v, l| if l == 9 { v[9] | 0x10400 } else { 1 });
    }
}

#[test]
fn special_registers() {
    check(64, "mov.u32 %r3, %laneid;", |_, l| l as u32 % 32);
    check(64, "mov.u32 %r3, %warpid;", |_, l| l as u32 / 32);
    check(64, "mov.u32 %r3, %lanemask_lt;", |_, l| (1 << (l % 32)) - 1);
    check(64, "mov.u32 %r3, %lanemask_ge;", |_, l| u32::MAX << (l % 32));
    check(64, "mov.u32 %r3, %nwarpid;", |_, _| 2);
    // Three dimensions.
    let machine = machine(options());
    let address = upload(&machine, &[0; 2 * 3 * 4 * 5]);
    let body = module_text(
        ".param .u64 k_param_0",
        "ld.param.u64 %rd1, [k_param_0];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %tid.y;\nmov.u32 %r3, %tid.z;\nmov.u32 %r4, %ctaid.y;\n\
         mad.lo.u32 %r5, %r3, 3, %r2;\nmad.lo.u32 %r5, %r5, 2, %r1;\nmad.lo.u32 %r5, %r4, 24, %r5;\nmul.wide.u32 %rd2, %r5, 4;\n\
         add.s64 %rd1, %rd1, %rd2;\nmov.u32 %r6, %ntid.z;\nmov.u32 %r7, %nctaid.y;\nmad.lo.u32 %r6, %r6, 100, %r7;\n\
         mad.lo.u32 %r6, %r5, 1000, %r6;\nst.global.u32 [%rd1], %r6;\nret;",
    );
    let launch = ptx_machine::machine::Launch { grid: [1, 5, 1], block: [2, 3, 4], ..shape(1, 1, &[address]) };
    run(&machine, &body, &launch).expect("a launch");
    let expected: Vec<u32> = (0..120).map(|i| 1000 * i + 405).collect();
    assert_eq!(common::download(&machine, address, 120), expected);
}

/// Each thread does `op` on the first word of the buffer, in all orders; what the word is afterwards.
fn atomic(op: &str, start: u32, expected: u32) {
    let body = format!("{op}\nmov.u32 %r3, %r2;\nsetp.eq.u32 %p3, %r1, 0;\n@%p3 bra END;\n");
    let text = text(&body).replace("ret;", "END:\nret;");
    for options in orders() {
        let mut start: Vec<u32> = [vec![start], values(255)].concat();
        start[0] = start[0].to_owned();
        let found = words(options, &text, 4, 64, &start).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(found[0], expected, "{op}");
    }
}

#[test]
fn atomics_of_global_memory() {
    // 256 threads; thread 0 does not store its word, which is the one that all change.
    atomic("atom.global.add.u32 %r9, [%rd1], %r1;", 5, 5 + 255 * 256 / 2);
    atomic("red.global.add.u32 [%rd1], 3;", 5, 5 + 3 * 256);
    atomic("atom.global.max.s32 %r9, [%rd1], %r1;", 7, 255);
    atomic("atom.global.min.u32 %r9, [%rd1], %r1;", 7, 0);
    atomic("red.global.or.b32 [%rd1], %r1;", 0, 255);
    atomic("red.global.xor.b32 [%rd1], %r1;", 9, 9);
    // inc: 0 again after 100; dec: from 0 to the bound.
    atomic("atom.global.inc.u32 %r9, [%rd1], 99;", 0, 256 % 100);
    atomic("atom.global.dec.u32 %r9, [%rd1], 99;", 0, 100 - 256 % 100);
    atomic("mov.f32 %f1, 0f3F800000;\nred.global.add.f32 [%rd1], %f1;", 0, 256f32.to_bits());
    // A sum by compare and swap.
    atomic(
        "ld.volatile.global.u32 %r10, [%rd1];\nAGAIN:\nadd.u32 %r11, %r10, 2;\natom.global.cas.b32 %r12, [%rd1], %r10, %r11;\n\
         setp.ne.u32 %p1, %r12, %r10;\nmov.u32 %r10, %r12;\n@%p1 bra AGAIN;",
        1,
        513,
    );
}

#[test]
fn atomics_give_the_old_value_once_to_each() {
    let body = "setp.ne.u32 %p1, %r1, 0;\natom.global.add.u32 %r3, [%rd1+1024], 1;";
    for options in orders() {
        let mut found = words(options, &text(body), 4, 64, &[0; 257]).unwrap_or_else(|fault| panic!("{fault:?}"));
        assert_eq!(found.pop(), Some(256));
        found.sort_unstable();
        assert_eq!(found, (0..256).collect::<Vec<_>>());
    }
}

#[test]
fn generic_addresses_reach_all_memories() {
    let body = ".shared .align 8 .b8 tile[256];\n.local .align 8 .b8 stack[16];\nmov.u64 %rd5, tile;\ncvta.shared.u64 %rd5, %rd5;\n\
                mov.u64 %rd6, stack;\ncvta.local.u64 %rd6, %rd6;\nmul.wide.u32 %rd7, %r5, 4;\nadd.s64 %rd5, %rd5, %rd7;\n\
                st.u32 [%rd5], %r2;\nadd.u32 %r9, %r2, 1;\nst.u32 [%rd6+4], %r9;\nld.u32 %r10, [%rd3];\nld.u32 %r11, [%rd5];\n\
                ld.u32 %r12, [%rd6+4];\nadd.u32 %r3, %r10, %r11;\nadd.u32 %r3, %r3, %r12;\nisspacep.shared %p1, %rd5;\n\
                isspacep.local %p2, %rd5;\nisspacep.global %p3, %rd3;\nand.pred %p1, %p1, %p3;\n@!%p1 mov.u32 %r3, 0;\n@%p2 mov.u32 %r3, 0;";
    check(64, body, |v, l| v[l].wrapping_mul(3).wrapping_add(1));
}

#[test]
fn older_processors_give_the_same() {
    common::again_with_each_level("warp::", "older_processors");
}
