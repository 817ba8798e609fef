//! The driver that the program under test uses: the stand-in of `tests/driver`, found under the names by which programs find a driver.

use std::ffi::{c_char, c_void};
use std::sync::OnceLock;

use libloading::Library;

use crate::code::{Code, Failure, Result};

/// Copies from device memory, and to it: what `cuStandinEnqueue` gives to the work that it calls.
pub(crate) type Read = unsafe extern "C" fn(*mut c_void, u64, *mut u8, usize) -> u32;
pub(crate) type Write = unsafe extern "C" fn(*mut c_void, u64, *const u8, usize) -> u32;
/// Work in a stream: 0 when it is done, 600 when it must be asked again, else why it failed.
pub(crate) type Work = unsafe extern "C" fn(*mut c_void, *mut c_void, Read, Write) -> u32;

/// Told once work is in no stream and in no graph any more.
pub(crate) type Release = unsafe extern "C" fn(*mut c_void);

/// `CUDA_ERROR_NOT_READY` and `CUDA_ERROR_LAUNCH_TIMEOUT`.
pub(crate) const NOT_READY: u32 = 600;
pub(crate) const TIMED_OUT: u32 = 702;

/// Functions of the driver's.
pub(crate) struct Driver {
    enqueue: unsafe extern "C" fn(*mut c_void, Work, Release, *mut c_void, *mut bool) -> u32,
    current_device: unsafe extern "C" fn(*mut i32) -> u32,
    bus: unsafe extern "C" fn(*mut c_char, i32, i32) -> u32,
    allocate: unsafe extern "C" fn(*mut u64, usize) -> u32,
    free: unsafe extern "C" fn(u64) -> u32,
}

fn failed(what: &str, code: u32) -> Failure {
    let name = match code {
        2 => " 'out of memory'",
        201 => " 'invalid device context'",
        _ => "",
    };
    Failure::new(Code::UNHANDLED_CUDA_ERROR, format!("Cuda failure {code}{name}: {what}"))
}

fn checked(what: &str, code: u32) -> Result {
    if code == 0 { Ok(()) } else { Err(failed(what, code)) }
}

/// The driver; ncclUnhandledCudaError where there is none, or a real one, for which this library can do nothing.
pub(crate) fn driver() -> Result<&'static Driver> {
    static DRIVER: OnceLock<std::result::Result<Driver, String>> = OnceLock::new();
    let found = DRIVER.get_or_init(find);
    found.as_ref().map_err(|text| Failure::new(Code::UNHANDLED_CUDA_ERROR, text.clone()))
}

fn find() -> std::result::Result<Driver, String> {
    // SAFETY: the program under test has loaded the driver; its initialisers run once.
    let open = |name: &str| unsafe { Library::new(name) };
    let library =
        open("libcuda.so.1").or_else(|_| open("libcuda.so")).map_err(|error| format!("no driver: {error}"))?;
    let library: &'static Library = Box::leak(Box::new(library));
    /// A function of the driver's.
    fn symbol<T: Copy>(library: &'static Library, name: &str) -> std::result::Result<T, String> {
        // SAFETY: the types of the fields are those of cuda.h and of the stand-in's own function.
        let found = unsafe { library.get::<T>(name.as_bytes()) };
        found
            .map(|found| *found)
            .map_err(|_| format!("the driver has no {name}: this stand-in for NCCL needs that for the driver"))
    }
    Ok(Driver {
        enqueue: symbol(library, "cuStandinEnqueue")?,
        current_device: symbol(library, "cuCtxGetDevice")?,
        bus: symbol(library, "cuDeviceGetPCIBusId")?,
        allocate: symbol(library, "cuMemAlloc_v2")?,
        free: symbol(library, "cuMemFree_v2")?,
    })
}

impl Driver {
    /// Puts work into a stream, or into the graph that it records, and notes which in `recorded`. `release` is called in any case.
    ///
    /// # Safety
    /// `data` and `recorded` must live until `release` is called, which may be before this returns.
    pub(crate) unsafe fn enqueue(
        &self,
        stream: usize,
        work: Work,
        release: Release,
        data: *mut c_void,
        recorded: *mut bool,
    ) -> Result {
        // SAFETY: the stream is the program's, which the driver looks up; the rest is the caller's.
        let code = unsafe { (self.enqueue)(stream as *mut c_void, work, release, data, recorded) };
        checked("a collective was put into a stream", code)
    }

    /// The device of the calling thread's context, and its address on the bus.
    pub(crate) fn device(&self) -> Result<(i32, String)> {
        let mut device = 0;
        // SAFETY: writes one integer, which lives until the call returns.
        checked("the current device was asked for", unsafe { (self.current_device)(&raw mut device) })?;
        let mut bus = [0u8; 64];
        // SAFETY: writes at most so many bytes, with a zero at their end.
        let code = unsafe { (self.bus)(bus.as_mut_ptr().cast(), bus.len() as i32, device) };
        checked("a device's address was asked for", code)?;
        let end = bus.iter().position(|byte| *byte == 0).unwrap_or(bus.len());
        Ok((device, String::from_utf8_lossy(&bus[..end]).into_owned()))
    }

    pub(crate) fn allocate(&self, bytes: usize) -> Result<u64> {
        let mut address = 0;
        // SAFETY: writes one address, which lives until the call returns.
        checked("memory of a communicator was allocated", unsafe { (self.allocate)(&raw mut address, bytes) })?;
        Ok(address)
    }

    /// Frees what [`Driver::allocate`] gave; a context that is broken or gone has nothing left to free.
    pub(crate) fn free(&self, address: u64) {
        // SAFETY: the address is one that the driver gave, and is freed once.
        let _ = unsafe { (self.free)(address) };
    }
}
