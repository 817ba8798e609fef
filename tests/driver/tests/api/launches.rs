//! Modules and launches.

use std::ffi::c_void;
use std::ptr::null_mut;

use sys::CUfunction_attribute as Attribute;

use crate::child::{on_driver, run_and_read};
use crate::cuda::{
    ADD, alloc, begin, call, event, free_stream, function, launch, launch_add, load, nothing, now, ready, record, sys,
    wait,
};

/// A module of kernels that do nothing but what their names say.
const OTHERS: &str = "
.version 8.0
.target sm_70
.address_size 64

.visible .global .align 4 .u32 answer = 42;

.visible .entry bounded() .maxntid 64, 1, 1
{
    ret;
}

.visible .entry shares()
{
    .shared .align 4 .b8 kept[1024];
    ret;
}

.visible .entry store(.param .u64 address)
{
    .reg .b64 %rd<2>;
    .reg .b32 %r<2>;
    ld.param.u64 %rd1, [address];
    mov.u32 %r1, 1;
    st.global.u32 [%rd1], %r1;
    ret;
}

.visible .entry traps()
{
    trap;
}
";

/// Numbers of 32 bits on the device.
fn numbers(address: u64, count: usize) -> Vec<u32> {
    now(address, 4 * count).chunks(4).map(|bytes| u32::from_le_bytes(bytes.try_into().expect("4 bytes"))).collect()
}

on_driver! {
    fn a_kernel_runs_when_it_is_waited_for() {
        begin();
        let (stream, address) = (free_stream(), alloc(400));
        let add = function(load(ADD), "add");
        assert_eq!(call!(cuMemsetD32_v2(address, 5, 100)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(launch_add(add, address, 100, 3, stream), 0);
        assert_eq!(numbers(address, 100), [5; 100]);
        wait(stream);
        assert_eq!(numbers(address, 100), [8; 100]);
    }
}

on_driver! {
    fn parameters_are_those_of_the_recording() {
        begin();
        let (stream, address) = (free_stream(), alloc(400));
        let add = function(load(ADD), "add");
        assert_eq!(call!(cuMemsetD32_v2(address, 0, 100)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        let mut parts = (address, 100u32, 3u32);
        let graph = record(stream, || {
            let mut arguments: [*mut c_void; 3] =
                [(&raw mut parts.0).cast(), (&raw mut parts.1).cast(), (&raw mut parts.2).cast()];
            assert_eq!(launch(add, 2, 64, stream, &mut arguments), 0);
        });
        parts = std::hint::black_box((0, 0, 0));
        let exec = ready(graph);
        assert_eq!(parts, (0, 0, 0));
        for _ in 0..3 {
            assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        }
        wait(stream);
        assert_eq!(numbers(address, 100), [9; 100]);
    }
}

on_driver! {
    fn parameters_may_come_in_one_buffer() {
        begin();
        let address = alloc(16);
        let add = function(load(ADD), "add");
        assert_eq!(call!(cuMemsetD32_v2(address, 1, 4)), 0);
        let mut buffer = address.to_le_bytes().to_vec();
        buffer.extend(4u32.to_le_bytes());
        buffer.extend(2u32.to_le_bytes());
        let (mut bytes, mut too_few) = (buffer.len(), 12usize);
        let mut extra: [*mut c_void; 5] = [1 as _, buffer.as_mut_ptr().cast(), 2 as _, (&raw mut bytes).cast(), null_mut()];
        let stream = null_mut();
        assert_eq!(call!(cuLaunchKernel(add, 1, 1, 1, 4, 1, 1, 0, stream, null_mut(), extra.as_mut_ptr())), 0);
        assert_eq!(numbers(address, 4), [3; 4]);
        extra[3] = (&raw mut too_few).cast();
        assert_eq!(call!(cuLaunchKernel(add, 1, 1, 1, 4, 1, 1, 0, stream, null_mut(), extra.as_mut_ptr())), 1);
        let mut sizes = [(0, 0); 3];
        for (index, (offset, size)) in sizes.iter_mut().enumerate() {
            assert_eq!(call!(cuFuncGetParamInfo(add, index, offset, size)), 0);
        }
        assert_eq!(sizes, [(0, 8), (8, 4), (12, 4)]);
        assert_eq!(call!(cuFuncGetParamInfo(add, 3, &mut 0, &mut 0)), 1);
    }
}

on_driver! {
    fn launches_that_can_not_be_are_refused() {
        begin();
        let others = load(OTHERS);
        let (bounded, shares) = (function(others, "bounded"), function(others, "shares"));
        let shaped = |function: sys::CUfunction, [grid, block]: [[u32; 3]; 2], shared: u32| {
            let ([gx, gy, gz], [bx, by, bz]) = (grid, block);
            call!(cuLaunchKernel(function, gx, gy, gz, bx, by, bz, shared, null_mut(), null_mut(), null_mut()))
        };
        assert_eq!(shaped(shares, [[1, 1, 1], [1, 1, 1]], 0), 0);
        assert_eq!(shaped(shares, [[0, 1, 1], [1, 1, 1]], 0), 1);
        assert_eq!(shaped(shares, [[1, 65_536, 1], [1, 1, 1]], 0), 1);
        assert_eq!(shaped(shares, [[1, 1, 1], [1, 1, 65]], 0), 1);
        assert_eq!(shaped(shares, [[1, 1, 1], [1025, 1, 1]], 0), 1);
        assert_eq!(shaped(shares, [[1, 1, 1], [32, 33, 1]], 0), 1);
        assert_eq!(shaped(bounded, [[1, 1, 1], [64, 1, 1]], 0), 0);
        assert_eq!(shaped(bounded, [[1, 1, 1], [65, 1, 1]], 0), 701);
        // 48 KiB with the kernel's own, and more once it was asked for: 227 KiB on this GPU.
        assert_eq!(shaped(shares, [[1, 1, 1], [1, 1, 1]], 47 * 1024), 0);
        assert_eq!(shaped(shares, [[1, 1, 1], [1, 1, 1]], 47 * 1024 + 1), 1);
        let dynamic = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(call!(cuFuncSetAttribute(shares, dynamic, 226 * 1024 + 1)), 1);
        assert_eq!(call!(cuFuncSetAttribute(shares, dynamic, 226 * 1024)), 0);
        assert_eq!(shaped(shares, [[1, 1, 1], [1, 1, 1]], 226 * 1024), 0);
        let mut value = 0;
        assert_eq!(call!(cuFuncGetAttribute(&mut value, Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, shares)), 0);
        assert_eq!(value, 1024);
        assert_eq!(call!(cuFuncGetAttribute(&mut value, Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, bounded)), 0);
        assert_eq!(value, 64);
        let store = function(others, "store");
        assert_eq!(shaped(store, [[1, 1, 1], [1, 1, 1]], 0), 1);
        assert_eq!(call!(cuCtxSynchronize()), 0);
    }
}

on_driver! {
    fn functions_and_variables_have_names() {
        begin();
        let others = load(OTHERS);
        let mut found = null_mut();
        assert_eq!(call!(cuModuleGetFunction(&mut found, others, c"absent".as_ptr())), 500);
        assert_eq!(function(others, "store"), function(others, "store"));
        let (mut address, mut bytes) = (0, 0);
        assert_eq!(call!(cuModuleGetGlobal_v2(&mut address, &mut bytes, others, c"answer".as_ptr())), 0);
        assert_eq!((bytes, numbers(address, 1)), (4, vec![42]));
        assert_eq!(call!(cuModuleGetGlobal_v2(&mut address, &mut bytes, others, c"absent".as_ptr())), 500);
        assert_eq!(call!(cuModuleUnload(others)), 0);
        assert_eq!(call!(cuModuleUnload(others)), 400);
    }
}

on_driver! {
    fn text_that_is_no_ptx_is_refused() {
        begin();
        let mut module = null_mut();
        let wrong = c".version 8.0\n.target sm_70\n.address_size 64\n.visible .entry a() { frobnicate; }";
        assert_eq!(call!(cuModuleLoadData(&mut module, wrong.as_ptr().cast())), 218);
    }
}

on_driver! {
    /// A foreign stream: "The CUDA context associated with this stream must match that associated with function f."
    fn a_kernel_runs_in_streams_of_its_own_context() {
        begin();
        let bounded = function(load(OTHERS), "bounded");
        let mut second = null_mut();
        assert_eq!(call!(cuCtxCreate_v4(&mut second, null_mut(), 0, 0)), 0);
        assert_eq!(launch(bounded, 1, 1, free_stream(), &mut []), 400);
    }
}

on_driver! {
    fn an_illegal_address_is_reported_late_and_lasts() {
        begin();
        let store = function(load(OTHERS), "store");
        let address = alloc(16);
        let mut last = address + 12;
        assert_eq!(launch(store, 1, 1, null_mut(), &mut [(&raw mut last).cast()]), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        let mut beyond = address + 16;
        assert_eq!(launch(store, 1, 1, null_mut(), &mut [(&raw mut beyond).cast()]), 0);
        assert_eq!(call!(cuCtxSynchronize()), 700);
        assert_eq!(launch(store, 1, 1, null_mut(), &mut [(&raw mut last).cast()]), 700);
        assert_eq!(call!(cuMemFree_v2(address)), 700);
    }
}

on_driver! {
    fn a_misaligned_address_is_told_apart() {
        begin();
        let store = function(load(OTHERS), "store");
        let mut odd = alloc(16) + 2;
        assert_eq!(launch(store, 1, 1, null_mut(), &mut [(&raw mut odd).cast()]), 0);
        assert_eq!(call!(cuCtxSynchronize()), 716);
    }
}

on_driver! {
    fn a_trap_ends_the_work() {
        begin();
        assert_eq!(launch(function(load(OTHERS), "traps"), 1, 1, null_mut(), &mut []), 0);
        assert_eq!(call!(cuCtxSynchronize()), 719);
    }
}

on_driver! {
    fn the_second_kernel_fails_where_that_was_asked_for(FAIL = "launch:2") {
        begin();
        let (stream, address) = (free_stream(), alloc(16));
        let add = function(load(ADD), "add");
        assert_eq!(launch_add(add, address, 4, 1, stream), 0);
        wait(stream);
        assert_eq!(launch_add(add, address, 4, 1, stream), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
    }
}

on_driver! {
    fn a_library_serves_every_context() {
        begin();
        let text = std::ffi::CString::new(ADD).expect("no zero");
        let (mut library, mut kernel, mut absent) = (null_mut(), null_mut(), null_mut());
        let loaded = call!(cuLibraryLoadData(
            &mut library,
            text.as_ptr().cast(),
            nothing(),
            nothing(),
            0,
            nothing(),
            nothing(),
            0
        ));
        assert_eq!(loaded, 0);
        assert_eq!(call!(cuLibraryGetKernel(&mut kernel, library, c"add".as_ptr())), 0);
        assert_eq!(call!(cuLibraryGetKernel(&mut absent, library, c"absent".as_ptr())), 500);
        let address = alloc(16);
        assert_eq!(call!(cuMemsetD32_v2(address, 1, 4)), 0);
        // A kernel is launched in place of a function.
        assert_eq!(launch_add(kernel.cast(), address, 4, 1, null_mut()), 0);
        let mut function = null_mut();
        assert_eq!(call!(cuKernelGetFunction(&mut function, kernel)), 0);
        assert_eq!(launch_add(function, address, 4, 1, null_mut()), 0);
        assert_eq!(numbers(address, 4), [3; 4]);
        assert_eq!(call!(cuLibraryUnload(library)), 0);
        assert_eq!(launch_add(kernel.cast(), address, 4, 1, null_mut()), 400);
    }
}

on_driver! {
    fn attributes_of_a_launch_are_heeded() {
        begin();
        let (stream, address) = (free_stream(), alloc(16));
        let add = function(load(ADD), "add");
        let attribute = |id, value: [u32; 3]| {
            let mut bytes = [0; 64];
            value.iter().zip(bytes.chunks_mut(4)).for_each(|(number, place)| {
                number.to_le_bytes().iter().zip(place).for_each(|(byte, place)| *place = *byte as _);
            });
            sys::CUlaunchAttribute { id, pad: [0; 4], value: sys::CUlaunchAttributeValue { pad: bytes } }
        };
        let with = |attribute: sys::CUlaunchAttribute, grid: u32| {
            let (mut address, mut count, mut value) = (address, 4u32, 1u32);
            let mut arguments: [*mut c_void; 3] =
                [(&raw mut address).cast(), (&raw mut count).cast(), (&raw mut value).cast()];
            let mut attribute = attribute;
            let config = sys::CUlaunchConfig {
                gridDimX: grid,
                gridDimY: 1,
                gridDimZ: 1,
                blockDimX: 32,
                blockDimY: 1,
                blockDimZ: 1,
                sharedMemBytes: 0,
                hStream: stream,
                attrs: &mut attribute,
                numAttrs: 1,
            };
            call!(cuLaunchKernelEx(&config, add, arguments.as_mut_ptr(), null_mut()))
        };
        use sys::CUlaunchAttributeID as Id;
        let cluster = Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        assert_eq!(call!(cuMemsetD32_v2(address, 0, 4)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(with(attribute(Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, [1, 0, 0]), 1), 0);
        assert_eq!(with(attribute(cluster, [2, 1, 1]), 3), 912);
        assert_eq!(with(attribute(cluster, [16, 1, 1]), 16), 912);
        assert_eq!(with(attribute(Id::CU_LAUNCH_ATTRIBUTE_COOPERATIVE, [1, 0, 0]), 1), 801);
        wait(stream);
        assert_eq!(numbers(address, 4), [1; 4]);
    }
}

on_driver! {
    fn occupancy_is_a_bound() {
        begin();
        let bounded = function(load(OTHERS), "bounded");
        let (mut blocks, mut grid, mut block) = (0, 0, 0);
        assert_eq!(call!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, bounded, 64, 0)), 0);
        assert_eq!(blocks, 32);
        assert_eq!(call!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, bounded, 96, 0)), 0);
        assert_eq!(blocks, 0);
        assert_eq!(call!(cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, bounded, None, 0, 0)), 0);
        assert_eq!((grid, block), (32 * 132, 64));
    }
}

#[test]
fn launches_and_runs_are_traced() {
    let test = concat!(module_path!(), "::launches_and_runs_are_traced");
    let written = run_and_read(test, &[], "TRACE", || {
        begin();
        let (stream, address) = (free_stream(), alloc(400));
        let add = function(load(ADD), "add");
        assert_eq!(launch_add(add, address, 100, 3, stream), 0);
        let exec = ready(record(stream, || assert_eq!(launch_add(add, address, 100, 3, stream), 0)));
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        wait(stream);
        let _ = event();
    });
    let Some([_, trace]) = written else { return };
    let count = |text: &str| trace.lines().filter(|line| line.starts_with(text)).count();
    assert_eq!(count("launch add grid 2x1x1 block 64x1x1 shared 0 stream "), 2, "{trace}");
    assert_eq!(count("run add grid 2x1x1 block 64x1x1 shared 0"), 3, "{trace}");
    assert_eq!(count("cuLaunchKernel("), 2, "{trace}");
}

#[test]
fn work_is_counted_where_that_is_asked_for() {
    let test = concat!(module_path!(), "::work_is_counted_where_that_is_asked_for");
    let written = run_and_read(test, &[("COUNT", "1")], "TRACE", || {
        begin();
        let (stream, address) = (free_stream(), alloc(512));
        assert_eq!(launch_add(function(load(ADD), "add"), address, 128, 3, stream), 0);
        wait(stream);
    });
    let Some([_, trace]) = written else { return };
    let line = trace.lines().find(|line| line.starts_with("run add")).expect("a run");
    // Two blocks of two warps, each of which carries out 16 instructions; each thread loads and stores 4 bytes, a warp 4 sectors.
    assert!(line.contains(" counted 2/2 warp-instructions=64 thread-instructions=2048 "), "{line}");
    assert!(line.contains(" global-loads=4/16/512 global-stores=4/16/512 "), "{line}");
}

on_driver! {
    fn checks_find_nothing_in_a_kernel_that_is_right(CHECKS = "all") {
        begin();
        let (stream, address) = (free_stream(), alloc(400));
        assert_eq!(call!(cuMemsetD32Async(address, 5, 100, stream)), 0);
        assert_eq!(launch_add(function(load(ADD), "add"), address, 100, 3, stream), 0);
        wait(stream);
        assert_eq!(numbers(address, 100), [8; 100]);
    }
}

#[test]
fn a_finding_ends_the_launch_and_is_written() {
    let test = concat!(module_path!(), "::a_finding_ends_the_launch_and_is_written");
    let written = run_and_read(test, &[("CHECKS", "unwritten")], "REPORT", || {
        begin();
        let (stream, address) = (free_stream(), alloc(400));
        // Adds to numbers that nothing wrote.
        assert_eq!(launch_add(function(load(ADD), "add"), address, 100, 3, stream), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
    });
    let Some([stderr, report]) = written else { return };
    for text in [stderr, report] {
        assert!(text.contains("cuda-standin: kernel add: "), "{text}");
    }
}

/// Warp 1 of the second block reads what warp 0 wrote, with no barrier between. The comments are the lines of the .cu file.
const RACES: &str = "
.version 8.0
.target sm_70
.address_size 64
.visible .entry races()
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .shared .align 4 .b8 kept[64];
    .loc 1 12 5 // if (blockIdx.y == 1 && threadIdx.x < 2) kept[8 + threadIdx.x] = threadIdx.x;
    mov.u32 %r1, %tid.x;
    mov.u32 %r2, %ctaid.y;
    setp.ne.u32 %p1, %r2, 1;
    @%p1 bra DONE;
    setp.ge.u32 %p1, %r1, 2;
    @%p1 bra READ;
    shl.b32 %r3, %r1, 2;
    mov.u32 %r4, kept;
    add.u32 %r5, %r4, %r3;
    st.shared.u32 [%r5+32], %r1;
READ:
    .loc 1 7 12, function_name $L__name, inlined_at 1 13 5 // if (threadIdx.x == 40) return kept[9];
    setp.ne.u32 %p1, %r1, 40;
    @%p1 bra DONE;
    ld.shared.u32 %r6, [kept+36];
DONE:
    ret;
}
    .file 1 \"races.cu\"
    .section .debug_str
    {
$L__name:
.b8 102,101,116,99,104,0
    }
";

/// Every word of it, as a person reads it on stderr and in the report.
#[test]
fn a_race_is_told_with_both_accesses() {
    let test = concat!(module_path!(), "::a_race_is_told_with_both_accesses");
    let written = run_and_read(test, &[("CHECKS", "races")], "REPORT", || {
        begin();
        let races = function(load(RACES), "races");
        let (stream, nothing) = (null_mut(), null_mut());
        assert_eq!(call!(cuLaunchKernel(races, 1, 2, 1, 64, 1, 1, 0, stream, nothing, null_mut())), 0);
        assert_eq!(call!(cuCtxSynchronize()), 719);
    });
    let Some(texts) = written else { return };
    let line = |text: &str| RACES.lines().position(|line| line.contains(text)).expect("the line") + 1;
    let expected = format!(
        "cuda-standin: kernel races: a race in shared memory: one thread reads what another wrote, with nothing between that \
         orders them at 0x24\n  races.cu:7, inlined into races.cu:13, PTX line {}: ld, block (0, 1, 0), threads 40\n  \
         races.cu:12, PTX line {}: st, block (0, 1, 0), threads 1\n",
        line("ld.shared"),
        line("st.shared")
    );
    for text in texts {
        assert!(text.contains(&expected), "{text}\ndoes not have\n{expected}");
    }
}

on_driver! {
    /// `add` reads and writes four bytes an element and has little else to do, so that memory is what it waits for. Copies take no time.
    fn a_counted_time_is_that_of_the_busiest_unit(TIME = "counted") {
        begin();
        let count = 1 << 16;
        let (stream, address) = (free_stream(), alloc(4 * count));
        let add = function(load(ADD), "add");
        let record = || {
            let event = event();
            assert_eq!(call!(cuEventRecord(event, stream)), 0);
            event
        };
        let start = record();
        assert_eq!(call!(cuMemsetD32Async(address, 0, count, stream)), 0);
        let filled = record();
        assert_eq!(launch_add(add, address, count as u32, 3, stream), 0);
        let once = record();
        assert_eq!(launch_add(add, address, count as u32, 3, stream), 0);
        let twice = record();
        wait(stream);
        let between = |first, last| {
            let mut milliseconds = f32::NAN;
            assert_eq!(call!(cuEventElapsedTime_v2(&raw mut milliseconds, first, last)), 0);
            f64::from(milliseconds) / 1e3
        };
        let expected = 8.0 * count as f64 / ptx_machine::gpus::find("h200").expect("known").bytes_per_second();
        assert_eq!(between(start, filled), 0.0);
        for (found, expected) in [(between(filled, once), expected), (between(start, twice), 2.0 * expected)] {
            assert!((found / expected - 1.0).abs() < 1e-3, "{found:e}, expected {expected:e}");
        }
    }
}
