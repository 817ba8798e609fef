//! Faults that are asked for, and errors that last.

use std::ptr::null_mut;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, begin_on, call, fill, free_stream, ready, record, wait};

on_driver! {
    fn the_third_allocation_fails_and_no_other(FAIL = "alloc:3") {
        begin();
        let mut address = 0;
        let codes: Vec<u32> = (0..5).map(|_| call!(cuMemAlloc_v2(&mut address, 8))).collect();
        assert_eq!(codes, [0, 0, 2, 0, 0]);
    }
}

on_driver! {
    fn page_locked_memory_is_counted_by_itself(FAIL = "malloc-host:2") {
        begin();
        let mut host = null_mut();
        alloc(8);
        alloc(8);
        assert_eq!(call!(cuMemHostAlloc(&mut host, 8, 0)), 0);
        assert_eq!(call!(cuMemHostAlloc(&mut host, 8, 0)), 2);
        assert_eq!(call!(cuMemHostAlloc(&mut host, 8, 0)), 0);
    }
}

on_driver! {
    fn a_copy_that_fails_ends_all_work_of_the_device(FAIL = "copy:2") {
        begin();
        let (stream, address) = (free_stream(), alloc(8));
        fill(address, 1, 8, stream);
        wait(stream);
        // The call itself has nothing to say; what waits has, and everything after it.
        assert_eq!(call!(cuMemsetD8Async(address, 2, 8, stream)), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
        let (mut bytes, mut new, mut event, mut module) = ([0u8; 8], 0, null_mut(), null_mut());
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
        assert_eq!(call!(cuCtxSynchronize()), 719);
        assert_eq!(call!(cuMemAlloc_v2(&mut new, 8)), 719);
        assert_eq!(call!(cuMemFree_v2(address)), 719);
        assert_eq!(call!(cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address, 8)), 719);
        assert_eq!(call!(cuMemsetD8Async(address, 0, 8, stream)), 719);
        assert_eq!(call!(cuEventCreate(&mut event, 0)), 719);
        assert_eq!(call!(cuModuleLoadData(&mut module, c"no module".as_ptr().cast())), 719);
        assert_eq!(call!(cuStreamDestroy_v2(stream)), 719);
        // What asks nothing of the device goes on.
        let mut count = 0;
        assert_eq!((call!(cuDeviceGetCount(&mut count)), count), (0, 1));
        let mut context = null_mut();
        assert_eq!(call!(cuCtxGetCurrent(&mut context)), 0);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 0);
    }
}

on_driver! {
    fn a_code_can_be_given(FAIL = "copy:1=702") {
        begin();
        fill(alloc(8), 1, 8, null_mut());
        assert_eq!(call!(cuCtxSynchronize()), 702);
    }
}

on_driver! {
    fn eagerly_the_next_call_says_so(FAIL = "copy:1", ORDER = "eager") {
        begin();
        let address = alloc(8);
        assert_eq!(call!(cuMemsetD8Async(address, 1, 8, null_mut())), 0);
        assert_eq!(call!(cuMemsetD8Async(address, 1, 8, null_mut())), 719);
    }
}

on_driver! {
    fn the_work_of_a_graph_is_counted_one_by_one(FAIL = "copy:3") {
        begin();
        let (stream, address) = (free_stream(), alloc(8));
        let exec = ready(record(stream, || {
            fill(address, 1, 8, stream);
            fill(address, 2, 8, stream);
        }));
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        wait(stream);
        assert_eq!(call!(cuGraphLaunch(exec, stream)), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
    }
}

on_driver! {
    fn waiting_can_fail(FAIL = "sync:2") {
        begin();
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(call!(cuStreamSynchronize(null_mut())), 719);
        assert_eq!(call!(cuCtxSynchronize()), 719);
    }
}

on_driver! {
    fn a_graph_can_fail_to_become_ready(FAIL = "instantiate:1") {
        begin();
        let (stream, address) = (free_stream(), alloc(8));
        let graph = record(stream, || fill(address, 1, 8, stream));
        let mut exec = null_mut();
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 0)), 2);
        assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, graph, 0)), 0);
    }
}

on_driver! {
    fn a_device_that_is_lost_stays_lost_and_others_do_not_care(FAIL = "device-lost:2", DEVICES = "2") {
        begin_on(1);
        let (stream, address) = (free_stream(), alloc(8));
        fill(address, 1, 8, stream);
        wait(stream);
        begin_on(0);
        fill(alloc(8), 1, 8, null_mut());
        assert_eq!(call!(cuCtxSynchronize()), 999);
        let mut address = 0;
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 8)), 999);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 0);
        let mut context = null_mut();
        assert_eq!(call!(cuDevicePrimaryCtxRetain(&mut context, 0)), 46);
        wait(stream);
        begin_on(1);
        fill(alloc(8), 1, 8, stream);
        wait(stream);
    }
}
