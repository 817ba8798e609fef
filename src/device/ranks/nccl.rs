//! NCCL, the library by which GPUs sum and gather: found when it is needed, and no part of the build.
//!
//! cudarc declares NCCL's types, and they are used here. The library is loaded here all the same: cudarc looks for `libnccl.so` and for
//! names that end in a version of CUDA, while packages that only run programs install `libnccl.so.2`; and it panics where a function is
//! missing.

use std::ffi::{CStr, c_char, c_int};
use std::sync::OnceLock;

use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};
use libloading::Library;

use crate::{Error, Result};

/// The names of the library, in this order: the one in packages for running programs, and the one in packages for building them.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// The oldest version that is used: those before it know no CUDA 12.
const OLDEST: Version = Version(21_800);

/// The id that one process makes and all ranks are given (`ncclUniqueId`).
pub type NcclId = [u8; 128];

/// A version as `NCCL_VERSION_CODE` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub c_int);

impl std::fmt::Display for Version {
    /// Until 2.8 it counts in thousands, since then in ten thousands (`NCCL_VERSION` in nccl.h).
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let unit = if self.0 < 10_000 { 1000 } else { 10_000 };
        write!(text, "{}.{}.{}", self.0 / unit, self.0 % unit / 100, self.0 % 100)
    }
}

/// `ncclResult_t` as a number: a later library may return one that no declaration has.
type Code = u32;
/// `ncclSuccess`, `ncclUnhandledCudaError` and `ncclInProgress`.
pub(super) const SUCCESS: Code = 0;
pub(super) const CUDA_ERROR: Code = 1;
pub(super) const IN_PROGRESS: Code = 7;

/// Declares the functions of NCCL that are called, with their types, and how they are looked up.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions of NCCL that are called. What they return is a `ncclResult_t`, where nothing else is said.
        pub(super) struct Functions {
            $(pub(super) $field: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Functions {
            fn look_up(library: &'static Library) -> std::result::Result<Functions, &'static str> {
                // SAFETY: the types are those of nccl.h.
                #[expect(unsafe_code)]
                unsafe {
                    Ok(Functions { $($field: *library.get($name.as_bytes()).map_err(|_| $name)?,)* })
                }
            }
        }
    };
}

functions! {
    version = "ncclGetVersion": fn(*mut c_int) -> Code;
    unique_id = "ncclGetUniqueId": fn(*mut ncclUniqueId) -> Code;
    error_string = "ncclGetErrorString": fn(Code) -> *const c_char;
    last_error = "ncclGetLastError": fn(ncclComm_t) -> *const c_char;
    init_rank = "ncclCommInitRank": fn(*mut ncclComm_t, c_int, ncclUniqueId, c_int) -> Code;
    destroy = "ncclCommDestroy": fn(ncclComm_t) -> Code;
    abort = "ncclCommAbort": fn(ncclComm_t) -> Code;
    async_error = "ncclCommGetAsyncError": fn(ncclComm_t, *mut Code) -> Code;
    all_reduce = "ncclAllReduce":
        fn(*const u8, *mut u8, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, Stream) -> Code;
    reduce_scatter = "ncclReduceScatter":
        fn(*const u8, *mut u8, usize, ncclDataType_t, ncclRedOp_t, ncclComm_t, Stream) -> Code;
    all_gather = "ncclAllGather": fn(*const u8, *mut u8, usize, ncclDataType_t, ncclComm_t, Stream) -> Code;
}

/// `cudaStream_t`, which is a `CUstream`.
pub(super) type Stream = cudarc::nccl::sys::cudaStream_t;

/// The library, looked for once.
enum Found {
    /// There is none.
    Missing(String),
    /// It lacks this function.
    Incomplete(&'static str),
    /// It does not tell its version.
    Broken(String),
    /// It is there.
    Here(Functions, Version),
}

fn find() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut reason = String::new();
        for name in NAMES {
            // SAFETY: NCCL's initialisers may run at any time, and it is never unloaded.
            #[expect(unsafe_code)]
            match unsafe { Library::new(name) } {
                Ok(library) => return of_library(Box::leak(Box::new(library))),
                // Of the first name: what a system without NCCL says of the second is no news.
                Err(error) if reason.is_empty() => reason = said_by_loader(&error),
                Err(_) => {}
            }
        }
        Found::Missing(reason)
    })
}

/// The message of the system's loader; libloading keeps it behind words of its own.
fn said_by_loader(error: &libloading::Error) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), ToString::to_string)
}

fn of_library(library: &'static Library) -> Found {
    let functions = match Functions::look_up(library) {
        Ok(functions) => functions,
        Err(name) => return Found::Incomplete(name),
    };
    let mut version = 0;
    // SAFETY: writes one integer, which lives until the call returns.
    #[expect(unsafe_code)]
    let code = unsafe { (functions.version)(&raw mut version) };
    match code {
        SUCCESS => Found::Here(functions, Version(version)),
        code => Found::Broken(functions.describe(code)),
    }
}

/// The NCCL that is found on this machine, in words.
pub fn describe() -> String {
    match find() {
        Found::Missing(_) => "no NCCL found (libnccl.so.2 is not on the library path): one GPU a run".into(),
        Found::Incomplete(name) => {
            format!("an NCCL library without {name}, too old to be used: {OLDEST} or later is needed")
        }
        Found::Broken(error) => format!("an NCCL library that does not work ({error})"),
        Found::Here(_, version) if *version < OLDEST => {
            format!("{version}, too old to be used: {OLDEST} or later is needed")
        }
        Found::Here(_, version) => version.to_string(),
    }
}

/// NCCL.
///
/// # Errors
/// [`Error::Device`], saying what is missing and how it is installed.
pub(super) fn functions() -> Result<&'static Functions> {
    let how = format!(
        "install NCCL {OLDEST} or later for the driver's version of CUDA (the package libnccl2, or the Python package \
         nvidia-nccl-cu13 or nvidia-nccl-cu12) and see that libnccl.so.2 is found: LD_LIBRARY_PATH names folders that the system does not \
         look in; or train on one GPU"
    );
    let reason = match find() {
        Found::Here(functions, version) if *version >= OLDEST => return Ok(functions),
        Found::Here(_, version) => format!("the NCCL that is found is {version}"),
        Found::Missing(error) => format!("NCCL is not found ({error})"),
        Found::Incomplete(name) => format!("the NCCL that is found has no function {name}"),
        Found::Broken(error) => format!("the NCCL that is found does not work ({error})"),
    };
    Err(Error::Device(format!("GPUs that train together need NCCL, but {reason}: {how}")))
}

/// Looks whether there is a usable NCCL.
///
/// # Errors
/// [`Error::Device`], saying what is missing and how it is installed.
pub fn check() -> Result<()> {
    functions().map(drop)
}

/// A new id, for one group of ranks. Whoever starts the ranks hands it to all of them.
///
/// # Errors
/// [`Error::Device`] where there is no usable NCCL, or it finds no interface of a network.
pub fn new_id() -> Result<NcclId> {
    let functions = functions()?;
    let mut id = ncclUniqueId { internal: [0; 128] };
    // SAFETY: writes one id, which lives until the call returns.
    #[expect(unsafe_code)]
    let code = unsafe { (functions.unique_id)(&raw mut id) };
    match code {
        SUCCESS => Ok(bytemuck::cast(id.internal)),
        code => Err(Error::Device(format!("NCCL made no id for the ranks: {}", functions.describe(code)))),
    }
}

impl Functions {
    /// The meaning of a code, with the library's message about its last failure.
    pub(super) fn describe(&self, code: Code) -> String {
        let text = |pointer: *const c_char| {
            if pointer.is_null() {
                return String::new();
            }
            // SAFETY: NCCL gives texts that stay and end with a zero.
            #[expect(unsafe_code)]
            unsafe { CStr::from_ptr(pointer) }.to_string_lossy().trim().to_string()
        };
        // SAFETY: takes a number. NCCL knows one that it does not know, too.
        #[expect(unsafe_code)]
        let meaning = text(unsafe { (self.error_string)(code) });
        // SAFETY: "The comm argument is currently unused and can be set to NULL."
        #[expect(unsafe_code)]
        let last = text(unsafe { (self.last_error)(std::ptr::null_mut()) });
        if last.is_empty() { format!("{meaning} (error {code})") } else { format!("{meaning} (error {code}): {last}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_the_header_codes_them() {
        let texts = [2708, 20_805, 21_800, 22_803, 23_007].map(|code| Version(code).to_string());
        assert_eq!(texts, ["2.7.8", "2.8.5", "2.18.0", "2.28.3", "2.30.7"]);
        assert!(Version(2708) < OLDEST && Version(21_805) >= OLDEST);
    }
}
