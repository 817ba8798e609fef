//! Contexts and devices.

use std::ffi::{CStr, CString};
use std::ptr::null_mut;

use sys::CUdevice_attribute as Attribute;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, begin_on, call, code, event, fill, free_stream, now, sys, wait};

fn attribute(which: Attribute) -> i32 {
    let mut value = -1;
    assert_eq!(call!(cuDeviceGetAttribute(&mut value, which, 0)), 0);
    value
}

fn name(device: i32) -> String {
    let mut name = [0; 64];
    assert_eq!(call!(cuDeviceGetName(name.as_mut_ptr(), 64, device)), 0);
    // SAFETY: the driver wrote a text that ends with a zero.
    unsafe { CStr::from_ptr(name.as_ptr()) }.to_str().expect("ASCII").to_string()
}

fn current() -> sys::CUcontext {
    let mut context = null_mut();
    assert_eq!(call!(cuCtxGetCurrent(&mut context)), 0);
    context
}

on_driver! {
    fn a_device_is_that_of_its_data_sheet(GPU = "a100") {
        begin();
        assert_eq!(name(0), "NVIDIA A100-SXM4-80GB (stand-in, no GPU)");
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR), 8);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR), 0);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT), 108);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN), 163 * 1024);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X), i32::MAX);
        assert_eq!(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE), 40 << 20);
        let mut bytes = 0;
        assert_eq!((call!(cuDeviceTotalMem_v2(&mut bytes, 0)), bytes), (0, 80 << 30));
    }
}

on_driver! {
    fn several_devices_have_their_own_memory(DEVICES = "2") {
        let mut count = 0;
        let first = begin_on(0);
        let one = alloc(4);
        let second = begin_on(1);
        let other = alloc(4);
        assert_eq!((call!(cuDeviceGetCount(&mut count)), count), (0, 2));
        assert_ne!(first, second);
        let free = || {
            let (mut free, mut total) = (0, 0);
            assert_eq!(call!(cuMemGetInfo_v2(&mut free, &mut total)), 0);
            total - free
        };
        assert_eq!(free(), 512);
        assert_eq!(call!(cuMemsetD8_v2(one, 1, 4)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 0);
        assert_eq!(call!(cuMemcpyPeer(other, second, one, first, 4)), 0);
        assert_eq!(now(other, 4), [1; 4]);
        // Streams and events of different devices: an event orders them, and can't be recorded there.
        let stream = free_stream();
        let event = event();
        assert_eq!(call!(cuCtxSetCurrent(first)), 0);
        let elsewhere = free_stream();
        assert_eq!(call!(cuEventRecord(event, elsewhere)), 400);
        fill(other, 2, 4, stream);
        assert_eq!(call!(cuEventRecord(event, stream)), 0);
        assert_eq!(call!(cuStreamWaitEvent(elsewhere, event, 0)), 0);
        assert_eq!(call!(cuMemcpyDtoDAsync_v2(one, other, 4, elsewhere)), 0);
        wait(elsewhere);
        assert_eq!(now(one, 4), [2; 4]);
        let uuid = |device: i32| {
            let mut uuid = sys::CUuuid { bytes: [0; 16] };
            assert_eq!(call!(cuDeviceGetUuid_v2(&mut uuid, device)), 0);
            uuid.bytes
        };
        assert_ne!(uuid(0), uuid(1));
    }
}

on_driver! {
    fn a_program_sees_the_devices_that_it_is_to_see(DEVICES = "3", CUDA_VISIBLE_DEVICES = "2,0") {
        let mut count = 0;
        assert_eq!(call!(cuInit(0)), 0);
        assert_eq!((call!(cuDeviceGetCount(&mut count)), count), (0, 2));
        let bus = |device: i32| {
            let mut text = [0; 16];
            assert_eq!(call!(cuDeviceGetPCIBusId(text.as_mut_ptr(), 16, device)), 0);
            // SAFETY: the driver wrote a text that ends with a zero.
            unsafe { CStr::from_ptr(text.as_ptr()) }.to_owned()
        };
        assert_eq!([bus(0), bus(1)], [c"0000:03:00.0", c"0000:01:00.0"].map(CString::from));
    }
}

on_driver! {
    fn without_devices_the_driver_does_not_start(DEVICES = "0") {
        assert_eq!(call!(cuInit(0)), 100);
    }
}

on_driver! {
    fn a_variable_that_is_not_known_keeps_the_driver_from_starting(GPU = "h300") {
        assert_eq!(call!(cuInit(0)), 1);
    }
}

on_driver! {
    fn the_version_is_that_of_the_environment(DRIVER = "12.4") {
        let mut version = 0;
        assert_eq!((call!(cuDriverGetVersion(&mut version)), version), (0, 12_040));
    }
}

on_driver! {
    fn each_thread_has_a_stack_of_contexts() {
        let first = begin();
        let mut second = null_mut();
        assert_eq!(call!(cuCtxCreate_v4(&mut second, null_mut(), 0, 0)), 0);
        assert_eq!(current(), second);
        assert_eq!(call!(cuCtxPushCurrent_v2(first)), 0);
        assert_eq!(current(), first);
        let mut popped = null_mut();
        assert_eq!(call!(cuCtxPopCurrent_v2(&mut popped)), 0);
        assert_eq!((popped, current()), (first, second));
        let elsewhere = std::thread::spawn(|| current() as usize).join().expect("no panic");
        assert_eq!(elsewhere, 0);
        assert_eq!(call!(cuCtxDestroy_v2(second)), 0);
        assert_eq!(current(), first);
        assert_eq!(call!(cuCtxDestroy_v2(second)), 201);
        assert_eq!(call!(cuCtxSetCurrent(null_mut())), 0);
        assert!(current().is_null());
    }
}

on_driver! {
    fn a_context_ends_with_its_last_user_and_takes_all_along() {
        let context = begin();
        assert_eq!(begin(), context);
        let (stream, event, address) = (free_stream(), event(), alloc(4));
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 0);
        fill(address, 1, 4, stream);
        wait(stream);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 0);
        assert_eq!(call!(cuCtxSynchronize()), 709);
        assert_eq!(call!(cuStreamSynchronize(stream)), 400);
        assert_eq!(call!(cuEventQuery(event)), 400);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 201);
        begin();
        assert_eq!(call!(cuMemFree_v2(address)), 1);
        let (mut free, mut total) = (0, 0);
        assert_eq!(call!(cuMemGetInfo_v2(&mut free, &mut total)), 0);
        assert_eq!(free, total);
    }
}

on_driver! {
    fn objects_of_another_context_are_refused() {
        let first = begin();
        let (stream, of_first) = (free_stream(), event());
        let mut second = null_mut();
        assert_eq!(call!(cuCtxCreate_v4(&mut second, null_mut(), 0, 0)), 0);
        let own = free_stream();
        assert_eq!(call!(cuEventRecord(of_first, own)), 400);
        // A stream may be waited for from anywhere.
        wait(stream);
        assert_eq!(call!(cuCtxSetCurrent(first)), 0);
        assert_eq!(call!(cuEventRecord(of_first, stream)), 0);
    }
}

on_driver! {
    fn functions_are_found_by_name_and_version() {
        assert_eq!(call!(cuInit(0)), 0);
        let find = |name: &CStr, version: i32| {
            let (mut address, mut status) = (null_mut(), sys::CUdriverProcAddressQueryResult::CU_GET_PROC_ADDRESS_SUCCESS);
            let result = call!(cuGetProcAddress_v2(name.as_ptr(), &mut address, version, 0, &mut status));
            (result, address, status as u32)
        };
        let (result, address, status) = find(c"cuMemAlloc", 12_000);
        assert_eq!((result, status), (0, 0));
        // SAFETY: the address is that of a function of this type.
        let alloc: unsafe extern "C" fn(*mut u64, usize) -> sys::CUresult = unsafe { std::mem::transmute(address) };
        // SAFETY: a null pointer is refused.
        assert_eq!(code(unsafe { alloc(null_mut(), 4) }), 1);
        assert_ne!(find(c"cuCtxCreate", 12_000).1, find(c"cuCtxCreate", 13_000).1);
        let (result, address, status) = find(c"cuNoSuchFunction", 12_000);
        assert!((result, status) == (0, 1) && address.is_null());
        assert_eq!(find(c"cuMemAlloc", 99_000).0, 1);
    }
}
