//! Short forms of the calls, which the tests make on a device whose context is current.

use std::ffi::c_void;
use std::ptr::null_mut;

pub(crate) use cudarc::driver::sys;
use sys::{CUcontext, CUdeviceptr, CUevent, CUgraph, CUgraphExec, CUresult, CUstream};

/// A call's code.
pub(crate) fn code(result: CUresult) -> u32 {
    result as u32
}

/// Calls the driver and gives its code.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {
        crate::cuda::code({
            #[allow(unused_unsafe)]
            // SAFETY: the arguments are those of the test, which the stand-in checks.
            unsafe { cudarc::driver::sys::$function($($argument),*) }
        })
    };
}
pub(crate) use call;

/// Initialises, and makes the primary context of a device current.
#[track_caller]
pub(crate) fn begin_on(device: i32) -> CUcontext {
    assert_eq!(call!(cuInit(0)), 0);
    let mut context = null_mut();
    assert_eq!(call!(cuDevicePrimaryCtxRetain(&mut context, device)), 0);
    assert_eq!(call!(cuCtxSetCurrent(context)), 0);
    context
}

/// The same on the first device.
#[track_caller]
pub(crate) fn begin() -> CUcontext {
    begin_on(0)
}

#[track_caller]
pub(crate) fn alloc(bytes: usize) -> CUdeviceptr {
    let mut address = 0;
    assert_eq!(call!(cuMemAlloc_v2(&mut address, bytes)), 0);
    address
}

/// Page-locked memory, filled with a value.
#[track_caller]
pub(crate) fn pinned(bytes: usize, value: u8) -> *mut u8 {
    let mut address = null_mut();
    assert_eq!(call!(cuMemHostAlloc(&mut address, bytes, 0)), 0);
    // SAFETY: the driver gave so many bytes.
    unsafe { address.cast::<u8>().write_bytes(value, bytes) };
    address.cast()
}

#[track_caller]
fn stream_of(flags: u32) -> CUstream {
    let mut stream = null_mut();
    assert_eq!(call!(cuStreamCreate(&mut stream, flags)), 0);
    stream
}

/// A stream that the legacy default stream does not wait for.
#[track_caller]
pub(crate) fn free_stream() -> CUstream {
    stream_of(1)
}

/// One that it waits for.
#[track_caller]
pub(crate) fn blocking_stream() -> CUstream {
    stream_of(0)
}

#[track_caller]
pub(crate) fn event() -> CUevent {
    let mut event = null_mut();
    assert_eq!(call!(cuEventCreate(&mut event, 0)), 0);
    event
}

/// Fills memory in a stream's order.
#[track_caller]
pub(crate) fn fill(address: CUdeviceptr, value: u8, bytes: usize, stream: CUstream) {
    assert_eq!(call!(cuMemsetD8Async(address, value, bytes, stream)), 0);
}

/// Copies to the host in a stream's order.
#[track_caller]
pub(crate) fn fetch(target: &mut [u8], address: CUdeviceptr, stream: CUstream) {
    assert_eq!(call!(cuMemcpyDtoHAsync_v2(target.as_mut_ptr().cast(), address, target.len(), stream)), 0);
}

/// The content of device memory, by a copy that waits for the default stream and the streams that it orders.
#[track_caller]
pub(crate) fn now(address: CUdeviceptr, bytes: usize) -> Vec<u8> {
    let mut target = vec![0xEE; bytes];
    assert_eq!(call!(cuMemcpyDtoH_v2(target.as_mut_ptr().cast(), address, bytes)), 0);
    target
}

#[track_caller]
pub(crate) fn wait(stream: CUstream) {
    assert_eq!(call!(cuStreamSynchronize(stream)), 0);
}

/// The work that `work` puts into a stream, as a graph.
#[track_caller]
pub(crate) fn record(stream: CUstream, work: impl FnOnce()) -> CUgraph {
    assert_eq!(
        call!(cuStreamBeginCapture_v2(stream, sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)),
        0
    );
    work();
    let mut graph = null_mut();
    assert_eq!(call!(cuStreamEndCapture(stream, &mut graph)), 0);
    graph
}

#[track_caller]
pub(crate) fn ready(graph: CUgraph) -> CUgraphExec {
    let mut exec = null_mut();
    assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 0)), 0);
    exec
}

/// A module from PTX.
#[track_caller]
pub(crate) fn load(ptx: &str) -> sys::CUmodule {
    let text = std::ffi::CString::new(ptx).expect("no zero");
    let mut module = null_mut();
    assert_eq!(call!(cuModuleLoadData(&mut module, text.as_ptr().cast())), 0);
    module
}

#[track_caller]
pub(crate) fn function(module: sys::CUmodule, name: &str) -> sys::CUfunction {
    let name = std::ffi::CString::new(name).expect("no zero");
    let mut function = null_mut();
    assert_eq!(call!(cuModuleGetFunction(&mut function, module, name.as_ptr())), 0);
    function
}

/// Launches; the arguments are given by their addresses.
pub(crate) fn launch(
    function: sys::CUfunction,
    grid: u32,
    block: u32,
    stream: CUstream,
    arguments: &mut [*mut c_void],
) -> u32 {
    call!(cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, stream, arguments.as_mut_ptr(), null_mut()))
}

/// A kernel that adds `value` to each of `count` numbers of 32 bits.
pub(crate) const ADD: &str = "
.version 8.0
.target sm_70
.address_size 64

.visible .entry add(.param .u64 numbers, .param .u32 count, .param .u32 value)
{
    .reg .pred %p<2>;
    .reg .b32 %r<8>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [numbers];
    ld.param.u32 %r1, [count];
    ld.param.u32 %r2, [value];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r6, %r3, %r4, %r5;
    setp.ge.u32 %p1, %r6, %r1;
    @%p1 bra DONE;
    cvta.to.global.u64 %rd2, %rd1;
    mul.wide.u32 %rd3, %r6, 4;
    add.s64 %rd4, %rd2, %rd3;
    ld.global.u32 %r7, [%rd4];
    add.s32 %r7, %r7, %r2;
    st.global.u32 [%rd4], %r7;
DONE:
    ret;
}
";

/// Launches [`ADD`] on `count` numbers.
pub(crate) fn launch_add(
    function: sys::CUfunction,
    address: CUdeviceptr,
    count: u32,
    value: u32,
    stream: CUstream,
) -> u32 {
    let (mut address, mut count, mut value) = (address, count, value);
    let mut arguments: [*mut c_void; 3] = [(&raw mut address).cast(), (&raw mut count).cast(), (&raw mut value).cast()];
    launch(function, count.div_ceil(64).max(1), 64, stream, &mut arguments)
}

/// A pointer to nothing, in the type that the call wants.
pub(crate) fn nothing<T>() -> *mut T {
    null_mut()
}
