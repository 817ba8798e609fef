//! Recording streams: CUDA C++ Programming Guide, "Creating a Graph Using Stream Capture".

use std::ptr::null_mut;

use sys::CUstreamCaptureMode::{
    CU_STREAM_CAPTURE_MODE_GLOBAL as GLOBAL, CU_STREAM_CAPTURE_MODE_RELAXED as RELAXED,
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL as THREAD_LOCAL,
};

use crate::child::on_driver;
use crate::cuda::{
    alloc, begin, blocking_stream, call, event, fetch, fill, free_stream, now, ready, record, sys, wait,
};

const UNSUPPORTED: u32 = 900;
const INVALIDATED: u32 = 901;

/// Ends a recording; whether there is a graph.
fn end(stream: sys::CUstream) -> (u32, bool) {
    let mut graph = null_mut();
    let code = call!(cuStreamEndCapture(stream, &mut graph));
    (code, !graph.is_null())
}

fn begin_recording(stream: sys::CUstream, mode: sys::CUstreamCaptureMode) {
    assert_eq!(call!(cuStreamBeginCapture_v2(stream, mode)), 0);
}

on_driver! {
    fn what_is_recorded_is_done_when_it_is_launched() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        fill(address, 9, 4, stream);
        wait(stream);
        let graph = record(stream, || fill(address, 1, 4, stream));
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(now(address, 4), [9; 4]);
        let exec = ready(graph);
        assert_eq!(call!(cuGraphDestroy(graph)), 0);
        for _ in 0..2 {
            fill(address, 9, 4, stream);
            assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
            wait(stream);
            assert_eq!(now(address, 4), [1; 4]);
        }
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        assert_eq!(call!(cuGraphExecDestroy(exec)), 0);
        wait(stream);
    }
}

on_driver! {
    fn a_launch_of_a_graph_keeps_its_place_in_the_stream() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        let exec = ready(record(stream, || fill(address, 1, 4, stream)));
        let mut bytes = [0; 4];
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        fetch(&mut bytes, address, stream);
        fill(address, 2, 4, stream);
        assert_eq!(bytes, [0; 4]);
        wait(stream);
        assert_eq!(bytes, [1; 4]);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn the_state_of_a_stream_is_told() {
        begin();
        let stream = free_stream();
        let status = || {
            let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
            assert_eq!(call!(cuStreamIsCapturing(stream, &mut status)), 0);
            status as u32
        };
        assert_eq!(status(), 0);
        begin_recording(stream, THREAD_LOCAL);
        assert_eq!(status(), 1);
        assert_eq!(call!(cuStreamSynchronize(stream)), UNSUPPORTED);
        assert_eq!(status(), 2);
        assert_eq!(end(stream), (INVALIDATED, false));
        assert_eq!(status(), 0);
    }
}

on_driver! {
    /// "It is invalid to synchronize or query the execution status of a stream which is being captured or a captured event […] It
    /// is also invalid to query or synchronize a broader handle".
    fn a_recording_stream_can_not_be_waited_for() {
        begin();
        let (stream, event) = (free_stream(), event());
        let refused: [(u32, &dyn Fn() -> u32); 6] = [
            (900, &|| call!(cuStreamSynchronize(stream))),
            (900, &|| call!(cuStreamQuery(stream))),
            (900, &|| call!(cuCtxSynchronize())),
            (900, &|| call!(cuStreamDestroy_v2(stream))),
            (907, &|| call!(cuEventQuery(event))),
            (907, &|| call!(cuEventSynchronize(event))),
        ];
        for (index, (code, work)) in refused.iter().enumerate() {
            begin_recording(stream, RELAXED);
            assert_eq!(call!(cuEventRecord(event, stream)), 0);
            assert_eq!(work(), *code, "{index}");
            assert_eq!(call!(cuMemsetD8Async(alloc(4), 0, 4, stream)), INVALIDATED);
            assert_eq!(end(stream), (INVALIDATED, false), "{index}");
        }
        // The stream is as good as before.
        let address = alloc(4);
        fill(address, 3, 4, stream);
        wait(stream);
        assert_eq!(now(address, 4), [3; 4]);
    }
}

on_driver! {
    fn unsafe_calls_are_refused_in_the_recording_thread() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        let (mut new, mut host, mut bytes) = (0, null_mut(), [0u8; 4]);
        for mode in [GLOBAL, THREAD_LOCAL] {
            begin_recording(stream, mode);
            assert_eq!(call!(cuMemAlloc_v2(&mut new, 4)), UNSUPPORTED);
            assert_eq!(end(stream), (INVALIDATED, false));
            begin_recording(stream, mode);
            assert_eq!(call!(cuMemHostAlloc(&mut host, 4, 0)), UNSUPPORTED);
            assert_eq!(call!(cuMemFree_v2(address)), UNSUPPORTED);
            assert_eq!(call!(cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, 4)), UNSUPPORTED);
            assert_eq!(end(stream), (INVALIDATED, false));
        }
        begin_recording(stream, RELAXED);
        assert_eq!(call!(cuMemAlloc_v2(&mut new, 4)), 0);
        assert_eq!(end(stream), (0, true));
    }
}

on_driver! {
    fn another_thread_is_hindered_by_a_global_recording_alone() {
        let context = begin() as usize;
        let stream = free_stream();
        let allocates = |mode: Option<sys::CUstreamCaptureMode>| {
            let work = move || {
                assert_eq!(call!(cuCtxSetCurrent(context as _)), 0);
                if let Some(mut mode) = mode {
                    assert_eq!(call!(cuThreadExchangeStreamCaptureMode(&mut mode)), 0);
                    assert_eq!(mode as u32, GLOBAL as u32);
                }
                let mut address = 0;
                call!(cuMemAlloc_v2(&mut address, 4))
            };
            std::thread::spawn(work).join().expect("no panic")
        };
        begin_recording(stream, THREAD_LOCAL);
        assert_eq!(allocates(None), 0);
        assert_eq!(end(stream), (0, true));
        begin_recording(stream, GLOBAL);
        assert_eq!(allocates(Some(THREAD_LOCAL)), 0);
        assert_eq!(allocates(Some(RELAXED)), 0);
        assert_eq!(allocates(None), UNSUPPORTED);
        assert_eq!(end(stream), (INVALIDATED, false));
    }
}

on_driver! {
    fn a_recording_ends_in_its_own_thread_unless_it_is_relaxed() {
        let context = begin() as usize;
        let stream = free_stream();
        let end_elsewhere = |stream: sys::CUstream| {
            let stream = stream as usize;
            let work = move || {
                assert_eq!(call!(cuCtxSetCurrent(context as _)), 0);
                end(stream as _)
            };
            std::thread::spawn(work).join().expect("no panic")
        };
        for mode in [GLOBAL, THREAD_LOCAL] {
            begin_recording(stream, mode);
            assert_eq!(end_elsewhere(stream), (908, false));
            assert_eq!(end(stream), (0, true));
        }
        begin_recording(stream, RELAXED);
        assert_eq!(end_elsewhere(stream), (0, true));
    }
}

on_driver! {
    fn the_legacy_stream_and_recordings_do_not_mix() {
        begin();
        let (blocking, free, address) = (blocking_stream(), free_stream(), alloc(4));
        assert_eq!(call!(cuStreamBeginCapture_v2(null_mut(), RELAXED)), UNSUPPORTED);
        // "cudaStreamLegacy is an implicit dependency": of blocking streams alone.
        begin_recording(free, RELAXED);
        assert_eq!(call!(cuMemsetD8Async(address, 0, 4, null_mut())), 0);
        assert_eq!(end(free), (0, true));
        begin_recording(blocking, RELAXED);
        let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        assert_eq!(call!(cuStreamIsCapturing(null_mut(), &mut status)), 906);
        assert_eq!(call!(cuMemsetD8Async(address, 0, 4, null_mut())), 906);
        assert_eq!(end(blocking), (INVALIDATED, false));
        begin_recording(blocking, RELAXED);
        let mut bytes = [0u8; 4];
        assert_eq!(call!(cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, 4)), 906);
        assert_eq!(end(blocking), (INVALIDATED, false));
    }
}

on_driver! {
    fn a_stream_joins_by_an_event_and_must_be_joined_again() {
        begin();
        let (one, other, fork, join) = (free_stream(), free_stream(), event(), event());
        let address = alloc(8);
        let record_both = |joined: bool| {
            begin_recording(one, THREAD_LOCAL);
            fill(address, 1, 4, one);
            assert_eq!(call!(cuEventRecord(fork, one)), 0);
            assert_eq!(call!(cuStreamWaitEvent(other, fork, 0)), 0);
            assert_eq!(call!(cuMemcpyDtoDAsync_v2(address + 4, address, 4, other)), 0);
            assert_eq!(call!(cuEventRecord(join, other)), 0);
            if joined {
                assert_eq!(call!(cuStreamWaitEvent(one, join, 0)), 0);
            }
        };
        record_both(false);
        assert_eq!(end(one), (904, false));
        record_both(true);
        // "The capture was not initiated in this stream"
        assert_eq!(end(other), (903, false));
        assert_eq!(end(one), (INVALIDATED, false));
        record_both(true);
        let mut graph = null_mut();
        assert_eq!(call!(cuStreamEndCapture(one, &mut graph)), 0);
        let exec = ready(graph);
        fill(address, 0, 8, one);
        assert_eq!(call!(cuGraphLaunch(exec, one)), 0);
        wait(one);
        assert_eq!(now(address, 8), [1; 8]);
        // Both streams are as before.
        fill(address, 2, 4, other);
        wait(other);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn dependencies_do_not_cross_the_edge_of_a_recording() {
        begin();
        let (one, other, plain, captured) = (free_stream(), free_stream(), event(), event());
        assert_eq!(call!(cuEventRecord(plain, other)), 0);
        begin_recording(one, THREAD_LOCAL);
        assert_eq!(call!(cuStreamWaitEvent(one, plain, 0)), 905);
        assert_eq!(end(one), (INVALIDATED, false));
        // Two recordings can't become one.
        begin_recording(one, THREAD_LOCAL);
        begin_recording(other, THREAD_LOCAL);
        assert_eq!(call!(cuEventRecord(captured, one)), 0);
        assert_eq!(call!(cuStreamWaitEvent(other, captured, 0)), 902);
        assert_eq!(end(one), (INVALIDATED, false));
        assert_eq!(end(other), (INVALIDATED, false));
        // An event of a recording that is over orders nothing that was done.
        begin_recording(one, THREAD_LOCAL);
        assert_eq!(call!(cuEventRecord(captured, one)), 0);
        assert_eq!(end(one), (0, true));
        assert_eq!(call!(cuStreamWaitEvent(other, captured, 0)), 905);
        assert_eq!(call!(cuEventQuery(captured)), 907);
        assert_eq!(call!(cuEventRecord(captured, one)), 0);
        assert_eq!(call!(cuEventSynchronize(captured)), 0);
    }
}

on_driver! {
    fn a_recording_is_begun_once_and_ended_once() {
        begin();
        let stream = free_stream();
        assert_eq!(end(stream), (401, false));
        begin_recording(stream, THREAD_LOCAL);
        assert_eq!(call!(cuStreamBeginCapture_v2(stream, THREAD_LOCAL)), 401);
        assert_eq!(end(stream), (0, true));
    }
}
