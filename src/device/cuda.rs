//! What can be said of the machine's NVIDIA GPUs, and opening one. Nothing here panics, whatever the driver is like.

use super::gpu::Gpu;
use super::kernels::ARCHITECTURES;
use crate::{Error, Result};

/// What a look at the driver gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// There is no libcuda.
    Missing,
    /// It lacks functions of CUDA 13: a stub, or too old.
    Incomplete,
    /// It answers with an error of this number.
    Broken(u32),
    /// It works, and knows this many GPUs.
    Working(usize),
}

/// Looks for a driver and GPUs.
pub fn driver() -> Driver {
    // SAFETY: only asks the dynamic loader whether the driver's library can be opened.
    #[expect(unsafe_code)]
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    if !present {
        return Driver::Missing;
    }
    // A stub libcuda lacks symbols, and cudarc panics on a missing one: no news for the user, so nothing is printed.
    let probed = quietly(|| {
        cudarc::driver::result::init().map_err(|error| error.0 as u32)?;
        cudarc::driver::result::device::get_count().map_err(|error| error.0 as u32)
    });
    match probed {
        Some(Ok(count)) => Driver::Working(usize::try_from(count).unwrap_or(0)),
        Some(Err(code)) => Driver::Broken(code),
        None => Driver::Incomplete,
    }
}

/// What `work` gives, or `None` if it panics; the panic is not printed.
fn quietly<R>(work: impl FnOnce() -> R + std::panic::UnwindSafe) -> Option<R> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(work);
    std::panic::set_hook(hook);
    result.ok()
}

/// The driver, in words.
pub fn describe(driver: Driver) -> String {
    match driver {
        Driver::Missing => "no CUDA driver found (libcuda is not on the library path)".into(),
        Driver::Incomplete => "a CUDA driver library without the functions of CUDA 13 (a stub, or too old)".into(),
        Driver::Broken(code) => format!("a CUDA driver that does not work (error {code})"),
        Driver::Working(0) => "a CUDA driver, and no GPU".into(),
        Driver::Working(count) => format!("a CUDA driver and {count} GPU{}", if count == 1 { "" } else { "s" }),
    }
}

/// What this program holds for GPUs, in words.
pub fn describe_kernels() -> String {
    if ARCHITECTURES.is_empty() {
        return "none: this program was built without nvcc (the build's warning says how to install it)".into();
    }
    format!("compiled for sm_{}, and PTX for later ones", ARCHITECTURES.join(", sm_"))
}

/// Why GPU number `ordinal` can't be used, or `None` if nothing is known against it.
pub fn obstacle(ordinal: usize) -> Option<String> {
    if ARCHITECTURES.is_empty() {
        let how = "install nvcc as the build's warning says, and build again";
        return Some(format!("this program was built without the kernels ({how})"));
    }
    match driver() {
        Driver::Working(count) if ordinal < count => None,
        found => Some(format!("there is {}", describe(found))),
    }
}

/// GPU number `ordinal`, ready to run kernels.
///
/// # Errors
/// [`Error::Device`], saying what is missing: the kernels, the driver, the GPU, or code for it.
pub fn open(ordinal: usize) -> Result<Gpu> {
    match obstacle(ordinal) {
        None => Gpu::open(ordinal),
        Some(reason) => {
            Err(Error::Device(format!("device cuda:{ordinal} was asked for, but {reason}: pass --device cpu")))
        }
    }
}
