//! What a finding says, to the letter: kernel, lines of the .cu file, block, threads, address, and both accesses, the later one first.

use crate::common::planted::line_of;
use crate::common::{load, machine, options, upload};
use ptx_machine::machine::{Checks, Fault, FaultKind, Finding, Launch, Machine, Options, Outcome, Site};
use ptx_machine::memory::Kind;

/// `row_sums` and `choose`, as nvcc made them with `-lineinfo`.
const REDUCE: &str = include_str!("samples/reduce.ptx");
const ROWS: u32 = 3;
const COLUMNS: u32 = 300;

/// One thread of the host, and all in order, so that there is one answer.
fn checked(checks: Checks) -> Machine {
    machine(Options { threads: 1, checks, ..options() })
}

/// Runs `row_sums` on rows of 300 columns.
fn row_sums(machine: &Machine, text: &str, input: u64, output: u64) -> Result<Outcome, Fault> {
    let mut parameters: Vec<u8> = [input, output].iter().flat_map(|address| address.to_le_bytes()).collect();
    parameters.extend([COLUMNS, 1].iter().flat_map(|number| number.to_le_bytes()));
    let launch =
        Launch { grid: [ROWS, 1, 1], block: [256, 1, 1], cluster: [1; 3], dynamic_shared: 4 * COLUMNS, parameters };
    machine.launch(&load(machine, text).kernel("row_sums").expect("the kernel"), &launch)
}

fn site(places: &[(&str, u32)], ptx_line: u32, instruction: &str, block: [u32; 3], threads: &[u32]) -> Site {
    Site {
        places: places.iter().map(|(file, line)| ((*file).into(), *line)).collect(),
        ptx_line,
        instruction: instruction.into(),
        block,
        threads: threads.to_vec(),
    }
}

fn finding(kernel: &str, what: &str, address: u64, sites: &[Site]) -> Finding {
    Finding { kernel: kernel.into(), what: what.into(), address: Some(address), sites: sites.to_vec() }
}

#[track_caller]
fn same(found: &[Finding], expected: &[Finding]) {
    assert_eq!(format!("{found:#?}"), format!("{expected:#?}"));
}

/// The second barrier of row_sums hands sums from warp to warp, and block 1 goes past it: warp 0 reads all eight before most
/// warps have written theirs.
#[test]
fn a_race_in_shared_memory() {
    let at = REDUCE.rfind("bar.sync").expect("a barrier");
    let only_others = "mov.u32 %r40, %ctaid.x;\nsetp.ne.u32 %p0, %r40, 1;\n@%p0 ";
    let text = format!("{}{only_others}{}", &REDUCE[..at], &REDUCE[at..]);
    let machine = checked(Checks { shared_races: true, ..Checks::NONE });
    let (input, output) = (upload(&machine, &[0; (ROWS * COLUMNS) as usize]), upload(&machine, &[0; ROWS as usize]));
    let found = row_sums(&machine, &text, input, output).expect("no fault").findings;
    let block = [1, 0, 0];
    let write =
        |thread| site(&[("reduce.cu", 21)], line_of(&text, "st.shared.f32 \t[%r46], %f5"), "st", block, &[thread]);
    let read =
        |thread| site(&[("reduce.cu", 24)], line_of(&text, "ld.shared.f32 \t%f34, [%r52]"), "ld", block, &[thread]);
    let order = "with nothing between that orders them";
    let early = format!("a race in shared memory: one thread writes what another read, {order} (seen 6 times)");
    let late = format!("a race in shared memory: one thread reads what another wrote, {order}");
    // The sums are at the beginning of shared memory, four bytes a warp. Warp 7 came to the first barrier last, and has gone on first.
    let expected = [
        finding("row_sums", &early, 4, &[write(32), read(1)]),
        finding("row_sums", &late, 4 * 7, &[read(7), write(32 * 7)]),
    ];
    same(&found, &expected);
}

/// In the second of two warps and in one block of twelve. The comments are the lines of the .cu file.
const EXCHANGE: &str = "
.version 8.0
.target sm_80
.address_size 64
.visible .entry exchange(.param .u64 exchange_param_0)
{
    .reg .pred %p<2>;
    .reg .b32 %r<20>;
    .reg .b64 %rd<6>;
    .loc 1 3 0 // __global__ void exchange(unsigned *all) {
    ld.param.u64 %rd1, [exchange_param_0];
    cvta.to.global.u64 %rd1, %rd1;
    .loc 1 4 5 // unsigned thread = threadIdx.y * 32 + threadIdx.x;
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %tid.y;
    mad.lo.u32 %r3, %r2, 32, %r1;
    .loc 1 5 5 // unsigned block = (blockIdx.z * 3 + blockIdx.y) * 2 + blockIdx.x;
    mov.u32 %r4, %ctaid.x;
    mov.u32 %r5, %ctaid.y;
    mov.u32 %r6, %ctaid.z;
    mad.lo.u32 %r7, %r6, 3, %r5;
    mad.lo.u32 %r8, %r7, 2, %r4;
    mul.wide.u32 %rd2, %r8, 256;
    add.s64 %rd3, %rd1, %rd2;
    .loc 1 6 5 // all[block * 64 + thread] = thread;
    mul.wide.u32 %rd4, %r3, 4;
    add.s64 %rd4, %rd4, %rd3;
    st.global.u32 [%rd4], %r3;
    .loc 1 7 5 // unsigned other = thread ^ (block == 5 ? 32 : 0);
    setp.eq.u32 %p1, %r8, 5;
    selp.u32 %r9, 32, 0, %p1;
    xor.b32 %r10, %r3, %r9;
    mul.wide.u32 %rd5, %r10, 4;
    add.s64 %rd5, %rd5, %rd3;
    .loc 1 2 5, function_name $L__name, inlined_at 1 8 5 // return *from;
    ld.global.u32 %r11, [%rd5];
    .loc 1 9 1
    ret;
}
    .file 1 \"exchange.cu\"
    .section .debug_str
    {
$L__name:
.b8 102,101,116,99,104,0
    }
";

#[test]
fn a_race_in_global_memory() {
    let machine = checked(Checks { global_races: true, ..Checks::NONE });
    let all = upload(&machine, &[0; 12 * 64]);
    let parameters = all.to_le_bytes().to_vec();
    let launch = Launch { grid: [2, 3, 2], block: [32, 2, 1], cluster: [1; 3], dynamic_shared: 0, parameters };
    let kernel = load(&machine, EXCHANGE).kernel("exchange").expect("the kernel");
    let found = machine.launch(&kernel, &launch).expect("no fault").findings;
    let block = [1, 2, 0];
    let store = |threads: &[u32]| site(&[("exchange.cu", 6)], line_of(EXCHANGE, "st.global"), "st", block, threads);
    let load = |threads: &[u32]| {
        let places = [("exchange.cu", 2), ("exchange.cu", 8)];
        site(&places, line_of(EXCHANGE, "ld.global"), "ld", block, threads)
    };
    // Warp 0 writes its half and reads the other, and then comes warp 1.
    let (upper, order): (Vec<u32>, _) = ((32..64).collect(), "with nothing between that orders them (seen 32 times)");
    let written = format!("a race in global memory: one thread writes what another read, {order}");
    let read = format!("a race in global memory: one thread reads what another wrote, {order}");
    let first = all + 5 * 256;
    let expected = [
        finding("exchange", &written, first + 4 * 32, &[store(&upper), load(&[0])]),
        finding("exchange", &read, first, &[load(&upper), store(&[0])]),
    ];
    same(&found, &expected);
}

/// The last ten numbers of the last row: threads 34 to 43 of its block read them, in their second turn.
#[test]
fn a_read_of_what_nothing_wrote() {
    let machine = checked(Checks { unwritten: true, ..Checks::NONE });
    let (all, written) = (u64::from(4 * ROWS * COLUMNS), u64::from(4 * (ROWS * COLUMNS - 10)));
    let input = machine.memory.allocate(all, Kind::Device).expect("memory");
    machine.memory.fill(input, 0, written).expect("the allocation");
    let output = upload(&machine, &[0; ROWS as usize]);
    let found = row_sums(&machine, REDUCE, input, output).expect("no fault").findings;
    let threads: Vec<u32> = (34..44).collect();
    let line = line_of(REDUCE, "ld.global.f32 \t%f12");
    let sites = [site(&[("reduce.cu", 19)], line, "ld", [2, 0, 0], &threads)];
    let what = "a read of global memory that nothing has written since it was allocated";
    same(&found, &[finding("row_sums", what, input + written, &sites)]);
}

/// Room for two results of three, and an atomic operation on an address that is none, by way of an inlined function.
#[test]
fn accesses_outside_of_every_allocation() {
    let machine = checked(Checks::NONE);
    let (input, output) = (upload(&machine, &[0; (ROWS * COLUMNS) as usize]), upload(&machine, &[0; 2]));
    let fault = row_sums(&machine, REDUCE, input, output).expect_err("a fault");
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
    let line = line_of(REDUCE, "st.global.f32 \t[%rd12], %f8");
    let what = "an access of 4 bytes of global memory outside of all allocations; the allocation before it begins 8 bytes \
                below and has 8 bytes";
    let sites = [site(&[("reduce.cu", 26)], line, "st", [2, 0, 0], &[0])];
    same(&[fault.finding], &[finding("row_sums", what, output + 8, &sites)]);

    let text = REDUCE.replace("mov.u64 \t%rd13, finished", "mov.u64 \t%rd13, 4096");
    let output = upload(&machine, &[0; ROWS as usize]);
    let fault = row_sums(&machine, &text, input, output).expect_err("a fault");
    let places = [("include/device_atomic_functions.hpp", 112), ("reduce.cu", 27)];
    let sites = [site(&places, line_of(&text, "atom.global.add.u32"), "atom", [0, 0, 0], &[0])];
    let what = "an access of 4 bytes of global memory outside of all allocations";
    same(&[fault.finding], &[finding("row_sums", what, 4096, &sites)]);
}
