//! A program that uses cudarc's safe interface. That reads what a copy brought into pageable memory without waiting for it,
//! which today's documentation does not promise (`CUDA_STANDIN_ORDER=staged` is for such programs).

use cudarc::driver::{CudaContext, sys};

use crate::child::on_driver;

on_driver! {
    fn memory_goes_there_and_back(ORDER = "staged") {
        let context = CudaContext::new(0).expect("a context");
        assert_eq!(context.name().expect("a name"), "NVIDIA H200 (stand-in, no GPU)");
        let stream = context.new_stream().expect("a stream");
        let there = stream.clone_htod(&[1.5f32, 2.5, 3.5]).expect("a copy");
        let copy = stream.clone_dtod(&there).expect("a copy");
        assert_eq!(stream.clone_dtoh(&copy).expect("a copy"), [1.5, 2.5, 3.5]);
        let zeros = stream.alloc_zeros::<u64>(5).expect("memory");
        assert_eq!(stream.clone_dtoh(&zeros).expect("a copy"), [0; 5]);
    }
}

on_driver! {
    fn streams_fork_and_join(ORDER = "staged") {
        let context = CudaContext::new(0).expect("a context");
        let stream = context.new_stream().expect("a stream");
        let data = stream.clone_htod(&[7u8; 16]).expect("a copy");
        let other = stream.fork().expect("a stream");
        let copy = other.clone_dtod(&data).expect("a copy");
        stream.join(&other).expect("joined");
        assert_eq!(stream.clone_dtoh(&copy).expect("a copy"), [7; 16]);
        assert!(context.mem_get_info().is_ok());
    }
}

on_driver! {
    fn a_step_is_recorded_and_replayed(ORDER = "staged") {
        let context = CudaContext::new(0).expect("a context");
        // SAFETY: all work goes through one stream.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().expect("a stream");
        let mut data = stream.clone_htod(&[1u32; 4]).expect("a copy");
        stream.synchronize().expect("done");
        stream.begin_capture(sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).expect("a recording");
        stream.memset_zeros(&mut data).expect("recorded");
        let graph = stream.end_capture(sys::CUgraphInstantiate_flags(0)).expect("a graph").expect("work");
        assert_eq!(stream.clone_dtoh(&data).expect("a copy"), [1; 4]);
        graph.upload().expect("uploaded");
        graph.launch().expect("launched");
        assert_eq!(stream.clone_dtoh(&data).expect("a copy"), [0; 4]);
        stream.memcpy_htod(&[2u32; 4], &mut data).expect("a copy");
        graph.launch().expect("launched");
        assert_eq!(stream.clone_dtoh(&data).expect("a copy"), [0; 4]);
    }
}

on_driver! {
    fn eagerly_all_is_done_at_once(ORDER = "eager") {
        let context = CudaContext::new(0).expect("a context");
        let stream = context.new_stream().expect("a stream");
        let data = stream.clone_htod(&[7u8; 16]).expect("a copy");
        assert_eq!(stream.clone_dtoh(&data).expect("a copy"), [7; 16]);
    }
}

on_driver! {
    fn events_keep_times() {
        let context = CudaContext::new(0).expect("a context");
        let stream = context.new_stream().expect("a stream");
        let flags = Some(sys::CUevent_flags::CU_EVENT_DEFAULT);
        let start = stream.record_event(flags).expect("an event");
        let _zeros = stream.alloc_zeros::<u8>(1 << 20).expect("memory");
        let end = stream.record_event(flags).expect("an event");
        assert!(start.elapsed_ms(&end).expect("a time") >= 0.0);
        assert!(end.is_complete());
    }
}

/// Every function that cudarc's `result` and safe modules call: it looks them up as they are called, and panics where one is
/// missing.
const CALLED: &[&str] = &[
    "cuCtxCreate_v3",
    "cuCtxCreate_v4",
    "cuCtxDestroy_v2",
    "cuCtxGetCacheConfig",
    "cuCtxGetCurrent",
    "cuCtxGetLimit",
    "cuCtxGetStreamPriorityRange",
    "cuCtxSetCacheConfig",
    "cuCtxSetCurrent",
    "cuCtxSetFlags",
    "cuCtxSetLimit",
    "cuCtxSynchronize",
    "cuDestroyExternalMemory",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDeviceGetCount",
    "cuDeviceGetDefaultMemPool",
    "cuDeviceGetMemPool",
    "cuDeviceGetName",
    "cuDeviceGetUuid",
    "cuDeviceGetUuid_v2",
    "cuDevicePrimaryCtxRelease_v2",
    "cuDevicePrimaryCtxRetain",
    "cuDeviceSetMemPool",
    "cuDeviceTotalMem_v2",
    "cuEventCreate",
    "cuEventDestroy_v2",
    "cuEventElapsedTime_v2",
    "cuEventQuery",
    "cuEventRecord",
    "cuEventSynchronize",
    "cuExternalMemoryGetMappedBuffer",
    "cuFuncGetAttribute",
    "cuFuncSetAttribute",
    "cuFuncSetCacheConfig",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuGraphDestroy",
    "cuGraphExecDestroy",
    "cuGraphInstantiateWithFlags",
    "cuGraphLaunch",
    "cuGraphUpload",
    "cuImportExternalMemory",
    "cuInit",
    "cuLaunchCooperativeKernel",
    "cuLaunchHostFunc",
    "cuLaunchKernel",
    "cuMemAdvise_v2",
    "cuMemAllocAsync",
    "cuMemAllocFromPoolAsync",
    "cuMemAllocManaged",
    "cuMemAlloc_v2",
    "cuMemFreeAsync",
    "cuMemFreeHost",
    "cuMemFree_v2",
    "cuMemGetInfo_v2",
    "cuMemHostAlloc",
    "cuMemPoolCreate",
    "cuMemPoolDestroy",
    "cuMemPoolGetAttribute",
    "cuMemPoolSetAttribute",
    "cuMemPoolTrimTo",
    "cuMemPrefetchAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuMemcpyDtoD_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoH_v2",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyHtoD_v2",
    "cuMemcpyPeerAsync",
    "cuMemsetD8Async",
    "cuMemsetD8_v2",
    "cuModuleGetFunction",
    "cuModuleGetGlobal_v2",
    "cuModuleLoad",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuOccupancyAvailableDynamicSMemPerBlock",
    "cuOccupancyMaxActiveBlocksPerMultiprocessor",
    "cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags",
    "cuOccupancyMaxActiveClusters",
    "cuOccupancyMaxPotentialBlockSize",
    "cuOccupancyMaxPotentialBlockSizeWithFlags",
    "cuOccupancyMaxPotentialClusterSize",
    "cuProfilerStart",
    "cuProfilerStop",
    "cuStreamAttachMemAsync",
    "cuStreamBeginCapture_v2",
    "cuStreamCreate",
    "cuStreamCreateWithPriority",
    "cuStreamDestroy_v2",
    "cuStreamEndCapture",
    "cuStreamIsCapturing",
    "cuStreamSynchronize",
    "cuStreamWaitEvent",
];

on_driver! {
    fn every_function_that_cudarc_calls_is_there() {
        let missing = |name: &&&str| {
            // SAFETY: the symbol is only looked for.
            unsafe { sys::culib().get::<*const ()>(name.as_bytes()) }.is_err()
        };
        let missing: Vec<_> = CALLED.iter().filter(missing).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

on_driver! {
    fn what_is_not_supported_says_so() {
        let _context = CudaContext::new(0).expect("a context");
        assert_eq!(crate::cuda::call!(cuMemUnmap(0, 0)), 801);
    }
}
