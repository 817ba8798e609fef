//! When work is done: as late as the documentation allows, or at once.

use std::ptr::null_mut;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, call, event, fetch, fill, free_stream, now, pinned, wait};

on_driver! {
    fn late_a_copy_to_the_host_arrives_when_it_is_waited_for() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        fill(address, 7, 4, stream);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, stream);
        assert_eq!(bytes, [0; 4]);
        wait(stream);
        assert_eq!(bytes, [7; 4]);
    }
}

on_driver! {
    fn eagerly_it_arrives_at_once(ORDER = "eager") {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        fill(address, 7, 4, stream);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, stream);
        assert_eq!(bytes, [7; 4]);
    }
}

on_driver! {
    fn staged_it_arrives_at_once_in_pageable_memory_alone(ORDER = "staged") {
        begin();
        let (stream, address, host) = (free_stream(), alloc(4), pinned(4, 0));
        fill(address, 7, 4, stream);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, stream);
        assert_eq!(bytes, [7; 4]);
        // SAFETY: the allocation holds 4 bytes, which nothing else uses.
        let locked = unsafe { std::slice::from_raw_parts_mut(host, 4) };
        fetch(locked, address, stream);
        assert_eq!(locked, [0; 4]);
        wait(stream);
        assert_eq!(locked, [7; 4]);
    }
}

on_driver! {
    fn late_page_locked_memory_is_read_when_the_copy_is_made() {
        begin();
        let (stream, address, host) = (free_stream(), alloc(4), pinned(4, 1));
        assert_eq!(call!(cuMemcpyHtoDAsync_v2(address, host.cast(), 4, stream)), 0);
        // SAFETY: the allocation holds 4 bytes.
        unsafe { host.write_bytes(2, 4) };
        wait(stream);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn eagerly_it_is_read_at_once(ORDER = "eager") {
        begin();
        let (stream, address, host) = (free_stream(), alloc(4), pinned(4, 1));
        assert_eq!(call!(cuMemcpyHtoDAsync_v2(address, host.cast(), 4, stream)), 0);
        // SAFETY: the allocation holds 4 bytes.
        unsafe { host.write_bytes(2, 4) };
        wait(stream);
        assert_eq!(now(address, 4), [1; 4]);
    }
}

on_driver! {
    fn pageable_memory_is_read_at_once() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        let mut bytes = [1u8; 4];
        assert_eq!(call!(cuMemcpyHtoDAsync_v2(address, bytes.as_ptr().cast(), 4, stream)), 0);
        bytes.fill(2);
        wait(stream);
        assert_eq!(now(address, 4), [1; 4]);
    }
}

on_driver! {
    /// "the DMA to final destination may not have completed": a stream that does not wait for the default one may come first.
    fn a_plain_copy_from_pageable_memory_may_arrive_after_the_call() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        fill(address, 9, 4, stream);
        wait(stream);
        let bytes = [1u8; 4];
        assert_eq!(call!(cuMemcpyHtoD_v2(address, bytes.as_ptr().cast(), 4)), 0);
        let mut seen = [0; 4];
        fetch(&mut seen, address, stream);
        wait(stream);
        assert_eq!(seen, [9; 4]);
        assert_eq!(now(address, 4), [1; 4]);
    }
}

on_driver! {
    fn a_plain_copy_from_page_locked_memory_is_done_when_the_call_returns() {
        begin();
        let (stream, address, host) = (free_stream(), alloc(4), pinned(4, 1));
        assert_eq!(call!(cuMemcpyHtoD_v2(address, host.cast(), 4)), 0);
        let mut seen = [0; 4];
        fetch(&mut seen, address, stream);
        wait(stream);
        assert_eq!(seen, [1; 4]);
    }
}

on_driver! {
    fn a_stream_that_is_not_waited_for_is_not_carried_out() {
        begin();
        let (one, other, address) = (free_stream(), free_stream(), alloc(4));
        fill(address, 1, 4, one);
        wait(one);
        fill(address, 2, 4, one);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, other);
        wait(other);
        assert_eq!(bytes, [1; 4]);
        wait(one);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn an_event_orders_two_streams() {
        begin();
        let (one, other, event, address) = (free_stream(), free_stream(), event(), alloc(4));
        fill(address, 2, 4, one);
        assert_eq!(call!(cuEventRecord(event, one)), 0);
        fill(address, 3, 4, one);
        assert_eq!(call!(cuStreamWaitEvent(other, event, 0)), 0);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, other);
        wait(other);
        // What came after the record is not waited for.
        assert_eq!(bytes, [2; 4]);
    }
}

on_driver! {
    /// "Uses of hStream after this call do not modify hEvent"; "Other APIs such as cuStreamWaitEvent() use the most recently
    /// captured state at the time of the API call, and are not affected by later calls to cuEventRecord()".
    fn a_wait_is_for_the_record_before_it() {
        begin();
        let (one, other, event, address) = (free_stream(), free_stream(), event(), alloc(4));
        fill(address, 1, 4, one);
        assert_eq!(call!(cuEventRecord(event, one)), 0);
        assert_eq!(call!(cuStreamWaitEvent(other, event, 0)), 0);
        fill(address, 2, 4, one);
        assert_eq!(call!(cuEventRecord(event, one)), 0);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, other);
        wait(other);
        assert_eq!(bytes, [1; 4]);
        assert_eq!(call!(cuEventSynchronize(event)), 0);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn a_query_finds_work_undone_and_polling_ends() {
        begin();
        let (stream, event, address) = (free_stream(), event(), alloc(4));
        assert_eq!(call!(cuEventQuery(event)), 0);
        fill(address, 1, 4, stream);
        assert_eq!(call!(cuEventRecord(event, stream)), 0);
        assert_eq!(call!(cuEventQuery(event)), 600);
        assert_eq!(call!(cuEventQuery(event)), 0);
        fill(address, 2, 4, stream);
        assert_eq!(call!(cuStreamQuery(stream)), 600);
        assert_eq!(call!(cuStreamQuery(stream)), 0);
        assert_eq!(call!(cuStreamQuery(stream)), 0);
        assert_eq!(now(address, 4), [2; 4]);
    }
}

on_driver! {
    fn times_are_there_once_both_events_are_reached() {
        begin();
        let (stream, start, end, address) = (free_stream(), event(), event(), alloc(1 << 20));
        let mut milliseconds = -1.0;
        assert_eq!(call!(cuEventElapsedTime_v2(&mut milliseconds, start, end)), 400);
        assert_eq!(call!(cuEventRecord(start, stream)), 0);
        fill(address, 1, 1 << 20, stream);
        assert_eq!(call!(cuEventRecord(end, stream)), 0);
        assert_eq!(call!(cuEventElapsedTime_v2(&mut milliseconds, start, end)), 600);
        wait(stream);
        assert_eq!(call!(cuEventElapsedTime_v2(&mut milliseconds, start, end)), 0);
        assert!(milliseconds >= 0.0, "{milliseconds}");
        let mut plain = null_mut();
        assert_eq!(call!(cuEventCreate(&mut plain, 2)), 0);
        assert_eq!(call!(cuEventRecord(plain, stream)), 0);
        wait(stream);
        assert_eq!(call!(cuEventElapsedTime_v2(&mut milliseconds, start, plain)), 400);
    }
}

on_driver! {
    fn the_context_waits_for_all_of_its_streams() {
        begin();
        let (one, other, address) = (free_stream(), free_stream(), alloc(8));
        fill(address, 1, 4, one);
        fill(address + 4, 2, 4, other);
        let mut bytes = [0; 8];
        assert_eq!(call!(cuCtxSynchronize()), 0);
        fetch(&mut bytes, address, one);
        wait(one);
        assert_eq!(bytes, [1, 1, 1, 1, 2, 2, 2, 2]);
    }
}

on_driver! {
    /// "the function will return immediately and the resources […] will be released automatically once the device has completed
    /// all work".
    fn work_outlives_its_stream() {
        begin();
        let (stream, address) = (free_stream(), alloc(4));
        fill(address, 5, 4, stream);
        assert_eq!(call!(cuStreamDestroy_v2(stream)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(now(address, 4), [5; 4]);
    }
}

on_driver! {
    fn host_functions_run_in_order_and_may_make_no_calls() {
        unsafe extern "C" fn note(data: *mut std::ffi::c_void) {
            // SAFETY: the test gave the address of its own numbers, which live until the stream was waited for.
            let seen = unsafe { &mut *data.cast::<[u32; 2]>() };
            seen[0] += 1;
            seen[1] = call!(cuCtxSynchronize());
        }
        begin();
        let stream = free_stream();
        let mut seen = [0u32; 2];
        assert_eq!(call!(cuLaunchHostFunc(stream, Some(note), (&raw mut seen).cast())), 0);
        assert_eq!(seen, [0, 0]);
        wait(stream);
        assert_eq!(seen, [1, 800]);
        assert_eq!(call!(cuCtxSynchronize()), 0);
    }
}
