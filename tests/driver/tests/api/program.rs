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
