//! Misuse, and the code that the documentation has for it.

use std::ptr::null_mut;

use crate::child::on_driver;
use crate::cuda::{alloc, begin, call, event, free_stream, nothing, pinned, sys};

const INVALID_VALUE: u32 = 1;
const NOT_INITIALIZED: u32 = 3;
const INVALID_DEVICE: u32 = 101;
const INVALID_CONTEXT: u32 = 201;
const INVALID_HANDLE: u32 = 400;

on_driver! {
    fn nothing_works_before_the_driver_is_initialised() {
        let mut count = 0;
        assert_eq!(call!(cuDeviceGetCount(&mut count)), NOT_INITIALIZED);
        assert_eq!(call!(cuCtxSynchronize()), NOT_INITIALIZED);
        let mut version = 0;
        assert_eq!(call!(cuDriverGetVersion(&mut version)), 0);
        assert_eq!(version, 13_000);
        assert_eq!(call!(cuInit(1)), INVALID_VALUE);
        assert_eq!(call!(cuInit(0)), 0);
        assert_eq!((call!(cuDeviceGetCount(&mut count)), count), (0, 1));
    }
}

on_driver! {
    fn without_a_context_nothing_is_done() {
        assert_eq!(call!(cuInit(0)), 0);
        let (mut address, mut stream, mut event) = (0, null_mut(), null_mut());
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 8)), INVALID_CONTEXT);
        assert_eq!(call!(cuStreamCreate(&mut stream, 0)), INVALID_CONTEXT);
        assert_eq!(call!(cuEventCreate(&mut event, 0)), INVALID_CONTEXT);
        assert_eq!(call!(cuCtxSynchronize()), INVALID_CONTEXT);
        assert_eq!(call!(cuMemFree_v2(8)), INVALID_CONTEXT);
        let mut context = null_mut();
        assert_eq!(call!(cuCtxGetCurrent(&mut context)), 0);
        assert!(context.is_null());
        assert_eq!(call!(cuCtxPopCurrent_v2(&mut context)), INVALID_CONTEXT);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), INVALID_CONTEXT);
    }
}

on_driver! {
    fn null_pointers_are_invalid_values() {
        begin();
        assert_eq!(call!(cuDeviceGet(nothing(), 0)), INVALID_VALUE);
        assert_eq!(call!(cuDeviceGetCount(nothing())), INVALID_VALUE);
        assert_eq!(call!(cuDeviceGetName(nothing(), 8, 0)), INVALID_VALUE);
        assert_eq!(call!(cuMemAlloc_v2(nothing(), 8)), INVALID_VALUE);
        assert_eq!(call!(cuMemHostAlloc(nothing(), 8, 0)), INVALID_VALUE);
        assert_eq!(call!(cuStreamCreate(nothing(), 0)), INVALID_VALUE);
        assert_eq!(call!(cuEventCreate(nothing(), 0)), INVALID_VALUE);
        assert_eq!(call!(cuModuleLoadData(nothing(), nothing())), INVALID_VALUE);
        let mut module = null_mut();
        assert_eq!(call!(cuModuleLoadData(&mut module, nothing())), INVALID_VALUE);
        let address = alloc(8);
        assert_eq!(call!(cuMemcpyHtoD_v2(address, nothing(), 8)), INVALID_VALUE);
        assert_eq!(call!(cuMemcpyDtoH_v2(nothing(), address, 8)), INVALID_VALUE);
        assert_eq!(call!(cuDevicePrimaryCtxRetain(nothing(), 0)), INVALID_VALUE);
        assert_eq!(call!(cuGraphInstantiateWithFlags(nothing(), nothing(), 0)), INVALID_VALUE);
    }
}

on_driver! {
    fn devices_that_are_not_there_are_refused() {
        assert_eq!(call!(cuInit(0)), 0);
        let (mut device, mut context, mut value) = (0, null_mut(), 0);
        assert_eq!(call!(cuDeviceGet(&mut device, 1)), INVALID_DEVICE);
        assert_eq!(call!(cuDeviceGet(&mut device, -1)), INVALID_DEVICE);
        assert_eq!(call!(cuDevicePrimaryCtxRetain(&mut context, 1)), INVALID_DEVICE);
        let which = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_WARP_SIZE;
        assert_eq!(call!(cuDeviceGetAttribute(&mut value, which, 1)), INVALID_DEVICE);
        assert_eq!((call!(cuDeviceGetAttribute(&mut value, which, 0)), value), (0, 32));
    }
}

on_driver! {
    /// Handles are looked up, and never followed: a wrong one may point anywhere.
    fn handles_that_are_none_are_refused() {
        begin();
        let (mut milliseconds, mut function, mut exec) = (0.0, null_mut(), null_mut());
        for wrong in [8usize, 0xDEAD_BEEF, usize::MAX] {
            assert_eq!(call!(cuStreamSynchronize(wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuStreamDestroy_v2(wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuEventSynchronize(wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuEventDestroy_v2(wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuEventElapsedTime_v2(&mut milliseconds, wrong as _, wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuModuleGetFunction(&mut function, wrong as _, c"add".as_ptr())), INVALID_HANDLE);
            assert_eq!(call!(cuModuleUnload(wrong as _)), INVALID_HANDLE);
            assert_eq!(call!(cuGraphLaunch(wrong as _, null_mut())), INVALID_VALUE);
            assert_eq!(call!(cuGraphInstantiateWithFlags(&mut exec, wrong as _, 0)), INVALID_VALUE);
            assert_eq!(call!(cuCtxSetCurrent(wrong as _)), INVALID_CONTEXT);
            assert_eq!(
                call!(cuLaunchKernel(wrong as _, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut())),
                INVALID_HANDLE
            );
        }
        // One of another kind, and one that was destroyed.
        let (stream, event) = (free_stream(), event());
        assert_eq!(call!(cuStreamSynchronize(event.cast())), INVALID_HANDLE);
        assert_eq!(call!(cuStreamDestroy_v2(stream)), 0);
        assert_eq!(call!(cuStreamDestroy_v2(stream)), INVALID_HANDLE);
        assert_eq!(call!(cuMemsetD8Async(alloc(8), 0, 8, stream)), INVALID_HANDLE);
    }
}

on_driver! {
    fn addresses_that_are_none_are_refused() {
        begin();
        let address = alloc(100);
        let mut bytes = [0u8; 101];
        assert_eq!(call!(cuMemcpyHtoD_v2(address, bytes.as_ptr().cast(), 101)), INVALID_VALUE);
        assert_eq!(call!(cuMemcpyDtoH_v2(bytes.as_mut_ptr().cast(), address + 1, 100)), INVALID_VALUE);
        assert_eq!(call!(cuMemcpyDtoD_v2(address, address + 50, 51)), INVALID_VALUE);
        assert_eq!(call!(cuMemsetD8_v2(address, 0, 101)), INVALID_VALUE);
        assert_eq!(call!(cuMemsetD8_v2(0, 0, 1)), INVALID_VALUE);
        assert_eq!(call!(cuMemsetD32_v2(address + 2, 0, 1)), INVALID_VALUE);
        // The host's address in place of the device's, and the other way round.
        assert_eq!(call!(cuMemcpyHtoD_v2(bytes.as_ptr() as u64, bytes.as_ptr().cast(), 8)), INVALID_VALUE);
        assert_eq!(call!(cuMemcpyHtoD_v2(address, address as _, 8)), INVALID_VALUE);
        // Freed inside, freed twice, freed as the other kind.
        assert_eq!(call!(cuMemFree_v2(address + 1)), INVALID_VALUE);
        assert_eq!(call!(cuMemFreeHost(address as _)), INVALID_VALUE);
        assert_eq!(call!(cuMemFree_v2(address)), 0);
        assert_eq!(call!(cuMemFree_v2(address)), INVALID_VALUE);
        assert_eq!(call!(cuMemcpyHtoD_v2(address, bytes.as_ptr().cast(), 8)), INVALID_VALUE);
        let host = pinned(8, 0);
        assert_eq!(call!(cuMemFree_v2(host as u64)), INVALID_VALUE);
        assert_eq!(call!(cuMemFreeHost(host.cast())), 0);
        assert_eq!(call!(cuMemFreeHost(host.cast())), INVALID_VALUE);
    }
}

on_driver! {
    fn sizes_and_flags_that_are_none_are_refused() {
        begin();
        let (mut address, mut host, mut stream, mut event) = (0, null_mut(), null_mut(), null_mut());
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 0)), INVALID_VALUE);
        assert_eq!(call!(cuMemHostAlloc(&mut host, 8, 8)), INVALID_VALUE);
        assert_eq!(call!(cuStreamCreate(&mut stream, 2)), INVALID_VALUE);
        assert_eq!(call!(cuEventCreate(&mut event, 8)), INVALID_VALUE);
        // "Interprocess events must be created with CU_EVENT_DISABLE_TIMING."
        assert_eq!(call!(cuEventCreate(&mut event, 4)), INVALID_VALUE);
        assert_eq!(call!(cuEventCreate(&mut event, 6)), 0);
    }
}

on_driver! {
    fn images_that_are_none_are_refused() {
        begin();
        let mut module = null_mut();
        assert_eq!(call!(cuModuleLoadData(&mut module, c"\x7fELF and more".as_ptr().cast())), 200);
        assert_eq!(call!(cuModuleLoad(&mut module, c"/no/such/file".as_ptr())), 301);
    }
}

on_driver! {
    fn errors_have_names() {
        let text = |code: u32| {
            let mut text = std::ptr::null();
            // SAFETY: a number of the enumeration, which is one of 32 bits.
            let result = call!(cuGetErrorName(std::mem::transmute::<u32, sys::CUresult>(code), &mut text));
            // SAFETY: the driver gave a text that ends with a zero, or null.
            (result, (!text.is_null()).then(|| unsafe { std::ffi::CStr::from_ptr(text) }.to_str().expect("ASCII")))
        };
        assert_eq!(text(0), (0, Some("CUDA_SUCCESS")));
        assert_eq!(text(2), (0, Some("CUDA_ERROR_OUT_OF_MEMORY")));
        assert_eq!(text(906), (0, Some("CUDA_ERROR_STREAM_CAPTURE_IMPLICIT")));
        assert_eq!(text(999), (0, Some("CUDA_ERROR_UNKNOWN")));
    }
}
