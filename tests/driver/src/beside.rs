//! Work of another library that stands in beside this one: the stand-in for NCCL (`tests/nccl`) puts its collectives into streams here.
//!
//! A real driver has no such function. A library of its kind would launch kernels; a stand-in does the same work on the host, which
//! reaches the memory of a device by the two functions that it is given.

use std::ffi::c_void;
use std::sync::Arc;

use crate::abi::{Host, Out, driver_api, host_bytes, host_bytes_mut};
use crate::code::{Code, Result};
use crate::handle::{Handle, StreamKind};
use crate::queue::Work;
use crate::state::Driver;

/// Copies `bytes` bytes of device memory at `address` to the host; 0, or 700 where no allocation holds them.
pub(crate) type Read = unsafe extern "C" fn(reach: *mut c_void, address: u64, target: *mut u8, bytes: usize) -> Code;
/// Copies `bytes` bytes of the host's to device memory at `address`; 0, or 700 where no allocation holds them.
pub(crate) type Write = unsafe extern "C" fn(reach: *mut c_void, address: u64, source: *const u8, bytes: usize) -> Code;
/// Does a piece of work as far as it can be done now: 0 when it is done, 600 when it must be asked again, else why it failed, which
/// ends the work of the device. It is called with no other call of the driver under way, and makes none.
pub(crate) type Function =
    unsafe extern "C" fn(data: *mut c_void, reach: *mut c_void, read: Read, write: Write) -> Code;

/// Told once a piece of work is in no stream and in no graph any more. It makes no call of the driver.
pub(crate) type Release = unsafe extern "C" fn(data: *mut c_void);

/// Work of another library's.
#[derive(Debug)]
pub(crate) struct Beside {
    function: Function,
    release: Release,
    data: u64,
}

impl Drop for Beside {
    fn drop(&mut self) {
        // SAFETY: the library gave the function with this pointer, to be called once, here.
        unsafe { (self.release)(self.data as *mut c_void) };
    }
}

/// The context of the functions that copy.
struct Reach<'a> {
    driver: &'a Driver,
    device: usize,
}

unsafe extern "C" fn read(reach: *mut c_void, address: u64, target: *mut u8, bytes: usize) -> Code {
    // SAFETY: `carry_out` below made it, and waits for the function that was given it.
    let reach = unsafe { &*reach.cast::<Reach<'_>>() };
    // SAFETY: the library gave a place of so many bytes.
    let target = unsafe { host_bytes_mut(target as u64, bytes) };
    code(reach.driver.devices[reach.device].memory().read(address, target))
}

unsafe extern "C" fn write(reach: *mut c_void, address: u64, source: *const u8, bytes: usize) -> Code {
    // SAFETY: as above.
    let reach = unsafe { &*reach.cast::<Reach<'_>>() };
    // SAFETY: the library gave so many bytes.
    let source = unsafe { host_bytes(source as u64, bytes) };
    code(reach.driver.devices[reach.device].memory().write(address, source))
}

fn code<E>(done: std::result::Result<(), E>) -> Code {
    if done.is_ok() { Code::SUCCESS } else { Code::ILLEGAL_ADDRESS }
}

/// Carries it out, or finds that it has to wait for what other processes or threads do.
pub(crate) fn carry_out(driver: &mut Driver, device: usize, work: &Beside) -> Result {
    let mut reach = Reach { driver, device };
    // SAFETY: the library gave the function with this pointer, for as often as its work is asked for.
    match unsafe { (work.function)(work.data as *mut c_void, (&raw mut reach).cast(), read, write) } {
        Code::SUCCESS => Ok(()),
        Code::NOT_READY => Err(Code::LATER),
        code => Err(code),
    }
}

driver_api! { SYMBOLS;
    /// `cuStandinEnqueue`: 1, 201, 400. Puts work of another library's into a stream, or into the graph that it records, and says
    /// which. `release` is called in any case, unless it is null.
    fn cuStandinEnqueue(
        driver, stream: Handle<StreamKind>, function: Option<Function>, release: Option<Release>, data: Host, recorded: Out<bool>,
    ) {
        let (function, release) = (function.ok_or(Code::INVALID_VALUE)?, release.ok_or(Code::INVALID_VALUE)?);
        let work = Work::Beside(Arc::new(Beside { function, release, data: data.0 }));
        let stream = driver.stream(stream)?;
        recorded.set(driver.recording(stream)?.is_some())?;
        driver.submit(stream, work)
    }
}
