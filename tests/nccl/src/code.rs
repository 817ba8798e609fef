//! The codes of errors (`ncclResult_t` in `nccl.h`), with their texts, and failures with what is known of them.

use std::ffi::{CStr, CString};
use std::sync::{Mutex, PoisonError};

/// The result of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const SUCCESS: Code = Code(0);
    pub(crate) const UNHANDLED_CUDA_ERROR: Code = Code(1);
    pub(crate) const SYSTEM_ERROR: Code = Code(2);
    pub(crate) const INTERNAL_ERROR: Code = Code(3);
    pub(crate) const INVALID_ARGUMENT: Code = Code(4);
    pub(crate) const INVALID_USAGE: Code = Code(5);
    pub(crate) const REMOTE_ERROR: Code = Code(6);
    pub(crate) const IN_PROGRESS: Code = Code(7);

    /// The text that `ncclGetErrorString` gives.
    pub(crate) fn text(self) -> &'static CStr {
        match self {
            Code::SUCCESS => c"no error",
            Code::UNHANDLED_CUDA_ERROR => c"unhandled cuda error (run with NCCL_DEBUG=INFO for details)",
            Code::SYSTEM_ERROR => c"unhandled system error (run with NCCL_DEBUG=INFO for details)",
            Code::INTERNAL_ERROR => c"internal error",
            Code::INVALID_ARGUMENT => c"invalid argument (run with NCCL_DEBUG=WARN for details)",
            Code::INVALID_USAGE => c"invalid usage (run with NCCL_DEBUG=WARN for details)",
            Code::REMOTE_ERROR => c"remote process exited or there was a network error",
            Code::IN_PROGRESS => c"NCCL operation in progress",
            _ => c"unknown result code",
        }
    }
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) text: String,
}

/// A result, or why there is none.
pub(crate) type Result<T = ()> = std::result::Result<T, Failure>;

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }
}

/// The last failure of the process, which `ncclGetLastError` tells. It is kept for as long as the process lives, since the caller holds
/// its address.
static LAST: Mutex<&CStr> = Mutex::new(c"");

/// Notes a failure; where `NCCL_DEBUG` asks for warnings, it is written to stderr as well.
pub(crate) fn note(failure: &Failure) {
    if std::env::var("NCCL_DEBUG").is_ok_and(|level| ["WARN", "INFO", "TRACE"].contains(&level.to_uppercase().as_str()))
    {
        eprintln!("nccl-standin: NCCL WARN {}", failure.text);
    }
    if let Ok(text) = CString::new(failure.text.as_str()) {
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Box::leak(text.into_boxed_c_str());
    }
}

/// The message that was noted last.
pub(crate) fn last() -> &'static CStr {
    *LAST.lock().unwrap_or_else(PoisonError::into_inner)
}
