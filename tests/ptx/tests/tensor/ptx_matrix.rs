//! `ldmatrix` and `stmatrix` run as PTX: what lies in registers and in shared memory, by the figures of §9.7.15.5.15 and .16.

use crate::common::planted::text;
use crate::common::{all_checks, download, machine, options, run, shape, upload};
use ptx_machine::machine::Options;

const BLOCKS: u32 = 2;
const WARPS: u32 = 2;
/// What shared memory holds before anything else.
const OLD: u32 = 0xABCD_ABCD;
/// What the registers beyond those of the instruction hold.
const UNUSED: u32 = 7;

/// The place of the row that an address lane names: rows lie in an order of their own in each tile, so that no address is taken for
/// another's.
fn place(tile: u32, lane: u32) -> u32 {
    [5 * lane + 3, 7 * lane + 1][tile as usize] % 32
}

/// Each warp fills a tile of 512 bytes with halves that are their own number, loads `count` matrices of it, stores them into a second
/// tile, and gives away the registers and the second tile. Lanes whose addresses are not to be used have a misaligned one.
fn kernel(count: u32, load: &str, store: &str) -> String {
    let address = |register: &str, tile: u32, factor: u32, first: u32| {
        format!(
            "mad.lo.u32 {register}, %r40, {factor}, {first};\nand.b32 {register}, {register}, 31;\nshl.b32 {register}, {register}, 4;\n\
             add.u32 {register}, {register}, %r42;\nadd.u32 {register}, {register}, {};\n@%p2 mov.u32 {register}, 1;\n",
            512 * tile
        )
    };
    let registers: Vec<String> = (50..50 + count).map(|at| format!("%r{at}")).collect();
    let list = registers.join(", ");
    let unused: String = (50 + count..54).map(|at| format!("mov.u32 %r{at}, {UNUSED};\n")).collect();
    let halves: String = (0..4)
        .map(|at| format!("add.u32 %r60, %r44, {};\nmad.lo.u32 %r{}, %r60, 65537, 65536;\n", 2 * at, 61 + at))
        .collect();
    text(
        2048,
        &format!(
            "mov.u32 %r40, %laneid;\nshr.u32 %r41, %r5, 5;\nmad.lo.u32 %r42, %r41, 1024, %r20;\nsetp.ge.u32 %p2, %r40, {lanes};\n\
             mad.lo.u32 %r43, %r6, {WARPS}, %r41;\nshl.b32 %r44, %r43, 8;\nmad.lo.u32 %r44, %r40, 8, %r44;\n{halves}\
             mad.lo.u32 %r45, %r40, 16, %r42;\nst.shared.v4.u32 [%r45], {{%r61, %r62, %r63, %r64}};\nmov.u32 %r65, {OLD};\n\
             st.shared.v4.u32 [%r45+512], {{%r65, %r65, %r65, %r65}};\n{unused}{from}{to}bar.warp.sync -1;\n\
             ldmatrix.sync.aligned.m8n8.x{count}{load}.shared.b16 {{{list}}}, [%r46];\n\
             stmatrix.sync.aligned.m8n8.x{count}{store}.shared.b16 [%r47], {{{list}}};\nbar.warp.sync -1;\n\
             ld.shared.v4.u32 {{%r66, %r67, %r68, %r69}}, [%r45+512];\nmad.lo.u32 %r48, %r43, 32, %r40;\n\
             mul.wide.u32 %rd4, %r48, 32;\nadd.s64 %rd4, %rd4, %rd1;\nst.global.v4.u32 [%rd4], {{%r50, %r51, %r52, %r53}};\n\
             st.global.v4.u32 [%rd4+16], {{%r66, %r67, %r68, %r69}};\n",
            lanes = 8 * count,
            from = address("%r46", 0, 5, 3),
            to = address("%r47", 1, 7, 1),
        ),
    )
}

/// The lane and the half of its register that hold an element of a matrix, by the figures of `ldmatrix`: threads 0 to 3 hold row 0, two
/// neighbours each; with `.trans` they hold column 0.
fn holder(transposed: bool, row: u32, column: u32) -> (u32, u32) {
    let (along, across) = if transposed { (column, row) } else { (row, column) };
    (4 * along + across / 2, across % 2)
}

/// What a warp gives away: for each lane four registers and four words of the second tile.
fn expected(warp: u32, count: u32, load: bool, store: bool) -> Vec<u32> {
    let mut registers = vec![[UNUSED; 4]; 32];
    let mut tile = [OLD; 128];
    for (matrix, row, column) in (0..64 * count).map(|n| (n / 64, n / 8 % 8, n % 8)) {
        let element = 256 * warp + 8 * place(0, 8 * matrix + row) + column;
        let (lane, half) = holder(load, row, column);
        let register = &mut registers[lane as usize][matrix as usize];
        *register = *register & !(0xFFFF << (16 * half)) | element << (16 * half);
    }
    for (matrix, row, column) in (0..64 * count).map(|n| (n / 64, n / 8 % 8, n % 8)) {
        let (lane, half) = holder(store, row, column);
        let element = registers[lane as usize][matrix as usize] >> (16 * half) & 0xFFFF;
        let at = 8 * place(1, 8 * matrix + row) + column;
        let word = &mut tile[at as usize / 2];
        *word = *word & !(0xFFFF << (16 * (at % 2))) | element << (16 * (at % 2));
    }
    registers.iter().zip(tile.chunks(4)).flat_map(|(registers, words)| [registers, words].concat()).collect()
}

#[test]
fn a_round_trip_by_way_of_registers() {
    for (count, load, store) in [1, 2, 4].into_iter().flat_map(|count| {
        [(false, false), (true, false), (false, true), (true, true)].map(|(load, store)| (count, load, store))
    }) {
        let modifier = |transposed: bool| if transposed { ".trans" } else { "" };
        let text = kernel(count, modifier(load), modifier(store));
        let expected: Vec<u32> = (0..BLOCKS * WARPS).flat_map(|warp| expected(warp, count, load, store)).collect();
        for options in [options(), all_checks(), Options { count_every: 1, ..options() }] {
            let machine = machine(options);
            let address = upload(&machine, &vec![0; expected.len()]);
            let outcome = run(&machine, &text, &shape(BLOCKS, 32 * WARPS, &[address]));
            let outcome = outcome.unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
            assert!(outcome.findings.is_empty(), "{:#?}", outcome.findings);
            let found = download(&machine, address, expected.len());
            assert_eq!(found, expected, "x{count}, load {load}, store {store}");
            if let Some(counters) = outcome.counters {
                // Each matrix is 128 bytes, once read and once written, beside the 16 bytes of each thread's own accesses.
                let warps = u64::from(BLOCKS * WARPS);
                assert_eq!(counters.shared_loads.bytes, warps * (512 + 128 * u64::from(count)));
                assert_eq!(counters.shared_stores.bytes, warps * (1024 + 128 * u64::from(count)));
            }
        }
    }
}
