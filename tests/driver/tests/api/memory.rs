//! Memory: sizes, kinds, and what is done in a stream's order.

use std::ptr::null_mut;

use sys::CUpointer_attribute as Attribute;

use crate::child::on_driver;
use crate::cuda::{
    ADD, alloc, begin, call, fetch, fill, free_stream, function, launch_add, load, now, pinned, sys, wait,
};

const OUT_OF_MEMORY: u32 = 2;

on_driver! {
    fn a_device_has_as_much_memory_as_was_asked_for(MEMORY = "1048576") {
        begin();
        let (mut address, mut free, mut total) = (0, 0, 0);
        assert_eq!(call!(cuMemGetInfo_v2(&mut free, &mut total)), 0);
        assert_eq!((free, total), (1 << 20, 1 << 20));
        assert_eq!(call!(cuMemAlloc_v2(&mut address, (1 << 20) + 1)), OUT_OF_MEMORY);
        let first = alloc(1 << 19);
        let _second = alloc(1 << 19);
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 1)), OUT_OF_MEMORY);
        // An error of this kind does not last.
        assert_eq!(call!(cuMemFree_v2(first)), 0);
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 1 << 19)), 0);
        // The host's memory is another matter.
        pinned(1 << 20, 0);
    }
}

on_driver! {
    fn pointers_are_told_apart() {
        begin();
        let (address, host) = (alloc(100), pinned(100, 0) as u64);
        let kind = |address: u64| {
            let mut kind = 0u32;
            let which = Attribute::CU_POINTER_ATTRIBUTE_MEMORY_TYPE;
            (call!(cuPointerGetAttribute((&raw mut kind).cast(), which, address)), kind)
        };
        assert_eq!(kind(address + 50), (0, 2));
        assert_eq!(kind(host), (0, 1));
        assert_eq!(kind(address + 100), (1, 0));
        assert_eq!(kind((&raw const address) as u64), (1, 0));
        let (mut base, mut bytes) = (0, 0);
        assert_eq!(call!(cuMemGetAddressRange_v2(&mut base, &mut bytes, address + 99)), 0);
        assert_eq!((base, bytes), (address, 100));
        assert_eq!(call!(cuMemGetAddressRange_v2(&mut base, &mut bytes, address + 100)), 500);
        let (mut device, mut flags) = (0, 0);
        assert_eq!(call!(cuMemHostGetDevicePointer_v2(&mut device, host as _, 0)), 0);
        assert_eq!(device, host);
        assert_eq!((call!(cuMemHostGetFlags(&mut flags, host as _)), flags), (0, 2));
    }
}

on_driver! {
    fn fills_have_elements_and_rows() {
        begin();
        let address = alloc(24);
        assert_eq!(call!(cuMemsetD32_v2(address, 0x0403_0201, 6)), 0);
        assert_eq!(now(address, 24), [1, 2, 3, 4].repeat(6));
        assert_eq!(call!(cuMemsetD16_v2(address + 2, 0x0605, 2)), 0);
        assert_eq!(now(address, 8), [1, 2, 5, 6, 5, 6, 3, 4]);
        assert_eq!(call!(cuMemsetD2D8_v2(address, 12, 9, 2, 2)), 0);
        let bytes = now(address, 24);
        assert_eq!((&bytes[..3], &bytes[11..15]), (&[9, 9, 5][..], &[4, 9, 9, 3][..]));
    }
}

on_driver! {
    fn rows_are_copied_with_their_pitch() {
        begin();
        let (mut address, mut pitch) = (0, 0);
        assert_eq!(call!(cuMemAllocPitch_v2(&mut address, &mut pitch, 3, 2, 4)), 0);
        assert!(pitch >= 3 && pitch % 512 == 0);
        let source = [1u8, 2, 3, 4, 5, 6];
        let mut copy = sys::CUDA_MEMCPY2D {
            srcXInBytes: 0,
            srcY: 0,
            srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
            srcHost: source.as_ptr().cast(),
            srcDevice: 0,
            srcArray: null_mut(),
            srcPitch: 3,
            dstXInBytes: 0,
            dstY: 0,
            dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
            dstHost: null_mut(),
            dstDevice: address,
            dstArray: null_mut(),
            dstPitch: pitch,
            WidthInBytes: 3,
            Height: 2,
        };
        assert_eq!(call!(cuMemcpy2D_v2(&copy)), 0);
        assert_eq!(now(address, 3), [1, 2, 3]);
        assert_eq!(now(address + pitch as u64, 3), [4, 5, 6]);
        copy.Height = 3;
        assert_eq!(call!(cuMemcpy2D_v2(&copy)), 1);
    }
}

on_driver! {
    fn what_is_freed_in_order_is_free_once_the_stream_has_come_so_far(MEMORY = "4096") {
        begin();
        let stream = free_stream();
        let mut address = 0;
        assert_eq!(call!(cuMemAllocAsync(&mut address, 4096, stream)), 0);
        fill(address, 1, 4096, stream);
        let mut bytes = [0; 4];
        fetch(&mut bytes, address, stream);
        assert_eq!(call!(cuMemFreeAsync(address, stream)), 0);
        // There is no room but what that gives.
        assert_eq!(call!(cuMemAllocAsync(&mut address, 4096, stream)), 0);
        wait(stream);
        assert_eq!(bytes, [1; 4]);
        assert_eq!(call!(cuMemFreeAsync(address + 1, stream)), 1);
    }
}

on_driver! {
    fn memory_that_is_used_after_it_was_freed_in_order_is_an_illegal_address() {
        begin();
        let stream = free_stream();
        let mut address = 0;
        assert_eq!(call!(cuMemAllocAsync(&mut address, 64, stream)), 0);
        assert_eq!(call!(cuMemFreeAsync(address, stream)), 0);
        assert_eq!(call!(cuMemsetD8Async(address, 1, 64, stream)), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 700);
        assert_eq!(call!(cuCtxSynchronize()), 700);
    }
}

on_driver! {
    /// `cuMemFreeHost` promises no waiting: work that is still to come must not use the memory.
    fn page_locked_memory_that_is_freed_too_early_is_found() {
        begin();
        let (stream, address, host) = (free_stream(), alloc(64), pinned(64, 1));
        assert_eq!(call!(cuMemcpyHtoDAsync_v2(address, host.cast(), 64, stream)), 0);
        assert_eq!(call!(cuMemFreeHost(host.cast())), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 700);
    }
}

on_driver! {
    /// `cuMemFree` "may perform implicit synchronization", and here it does.
    fn device_memory_is_freed_after_the_work_on_it() {
        begin();
        let (stream, address) = (free_stream(), alloc(64));
        fill(address, 1, 64, stream);
        assert_eq!(call!(cuMemFree_v2(address)), 0);
        wait(stream);
    }
}

on_driver! {
    fn pools_are_a_devices() {
        begin();
        let (mut pool, mut own) = (null_mut(), null_mut());
        assert_eq!(call!(cuDeviceGetDefaultMemPool(&mut pool, 0)), 0);
        assert_eq!(call!(cuDeviceGetMemPool(&mut own, 0)), 0);
        assert_eq!(pool, own);
        let mut bytes = 5u64;
        let which = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        assert_eq!(call!(cuMemPoolSetAttribute(pool, which, (&raw mut bytes).cast())), 0);
        bytes = 0;
        assert_eq!(call!(cuMemPoolGetAttribute(pool, which, (&raw mut bytes).cast())), 0);
        assert_eq!(bytes, 5);
        assert_eq!(call!(cuMemPoolDestroy(pool)), 1);
    }
}

/// A buffer from each function that allocates, the last by a copy of the host's.
fn fresh(bytes: usize) -> Vec<Vec<u8>> {
    let stream = free_stream();
    let (mut pitched, mut in_order, mut pooled, mut pitch, mut pool) = (0, 0, 0, 0, null_mut());
    assert_eq!(call!(cuMemAllocPitch_v2(&mut pitched, &mut pitch, bytes, 1, 4)), 0);
    assert_eq!(call!(cuMemAllocAsync(&mut in_order, bytes, stream)), 0);
    assert_eq!(call!(cuDeviceGetDefaultMemPool(&mut pool, 0)), 0);
    assert_eq!(call!(cuMemAllocFromPoolAsync(&mut pooled, bytes, pool, stream)), 0);
    let mut host = null_mut();
    assert_eq!(call!(cuMemHostAlloc(&mut host, bytes, 0)), 0);
    // SAFETY: the driver gave so many bytes.
    let host = unsafe { std::slice::from_raw_parts(host.cast::<u8>(), bytes) }.to_vec();
    let mut all: Vec<_> = [alloc(bytes), pitched, in_order, pooled].map(|address| now(address, bytes)).into();
    all.push(host);
    all
}

on_driver! {
    /// "The memory is not cleared." What was written and freed does not come back either, where an address is handed out again.
    fn memory_that_nothing_wrote_holds_no_zeros() {
        begin();
        for bytes in [1, 4, 1000, 65_536, 100_000] {
            assert_eq!(fresh(bytes), vec![vec![0xFF; bytes]; 5]);
        }
        let stream = free_stream();
        let mut address = 0;
        for _ in 0..2 {
            assert_eq!(call!(cuMemAllocAsync(&mut address, 4096, stream)), 0);
            wait(stream);
            assert_eq!(now(address, 4096), [0xFF; 4096]);
            fill(address, 0, 4096, stream);
            assert_eq!(call!(cuMemFreeAsync(address, stream)), 0);
        }
        let number = |bytes: Vec<u8>| f32::from_le_bytes(bytes.try_into().expect("4 bytes"));
        assert!(number(now(alloc(4), 4)).is_nan());
    }
}

on_driver! {
    /// Both ends of a large allocation, and no more of it: the host has no memory for the rest before the program writes it.
    fn large_allocations_are_poisoned_at_their_ends() {
        begin();
        const END: u64 = 32 << 20;
        for bytes in [2 * END - 1, 2 * END, 2 * END + 2, 1 << 34] {
            let address = alloc(bytes as usize);
            let at = |offset: u64| now(address + offset, 1)[0];
            assert_eq!([0, END - 1, bytes - END, bytes - 1].map(at), [0xFF; 4], "{bytes}");
            let middle = [END, bytes - END - 1].map(at);
            assert_eq!(middle, if bytes > 2 * END { [0; 2] } else { [0xFF; 2] }, "{bytes}");
            assert_eq!(call!(cuMemFree_v2(address)), 0);
        }
    }
}

on_driver! {
    fn memory_may_be_asked_to_be_zero(FRESH = "zero") {
        begin();
        assert_eq!(fresh(1000), vec![vec![0; 1000]; 5]);
    }
}

on_driver! {
    /// Poison is not what the program wrote: a kernel that reads it is found.
    fn poison_counts_as_unwritten(CHECKS = "unwritten") {
        begin();
        let (stream, address) = (free_stream(), alloc(16));
        let add = function(load(ADD), "add");
        assert_eq!(launch_add(add, address, 4, 1, stream), 0);
        assert_eq!(call!(cuStreamSynchronize(stream)), 719);
    }
}
