//! Describes the machine's NVIDIA GPUs, and opens one. Nothing here panics, whatever the driver is like.

use cudarc::driver::sys::CUdevice_attribute::{
    CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
};
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, result};

use super::gpu::Gpu;
use super::kernels::{ARCHITECTURES, COMPILER};
use crate::{Error, Result, units};

/// The driver's answers.
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
        result::init().map_err(|error| error.0 as u32)?;
        result::device::get_count().map_err(|error| error.0 as u32)
    });
    match probed {
        Some(Ok(count)) => Driver::Working(usize::try_from(count).unwrap_or(0)),
        // What cuInit returns where the driver finds no GPU (CUDA Driver API, "Initialization").
        Some(Err(code)) if code == CUresult::CUDA_ERROR_NO_DEVICE as u32 => Driver::Working(0),
        Some(Err(code)) => Driver::Broken(code),
        None => Driver::Incomplete,
    }
}

/// Returns the result of `work`, or `None` if it panics; the panic is not printed.
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

/// The GPU code in this program, in words.
pub fn describe_kernels() -> String {
    if ARCHITECTURES.is_empty() {
        return "none: this program was built without nvcc (the build's warning says how to install it)".into();
    }
    format!("compiled for sm_{}, and PTX for later ones, by {COMPILER}", ARCHITECTURES.join(", sm_"))
}

/// The version of CUDA that the driver serves, such as `13.0`, where there is a driver that answers.
pub fn driver_version() -> Option<String> {
    if !matches!(driver(), Driver::Working(_) | Driver::Broken(_)) {
        return None;
    }
    let version = quietly(|| {
        let mut version = 0;
        // SAFETY: writes one integer, which lives until the call returns.
        #[expect(unsafe_code)]
        unsafe { cudarc::driver::sys::cuDriverGetVersion(&raw mut version) }.result().ok().map(|()| version)
    });
    version.flatten().map(|version| format!("{}.{}", version / 1000, version % 1000 / 10))
}

/// One line a GPU: number, name, architecture, memory, and which of the embedded code would run on it.
pub fn describe_gpus() -> Vec<String> {
    let Driver::Working(count) = driver() else { return Vec::new() };
    let describe = |ordinal: usize| quietly(move || describe_gpu(ordinal)).flatten();
    let unknown = |ordinal| format!("cuda:{ordinal} does not answer");
    (0..count).map(|ordinal| describe(ordinal).unwrap_or_else(|| unknown(ordinal))).collect()
}

/// Compute capability of GPU number `ordinal`. It needs no context, which would cost a start of its own.
fn capability(ordinal: usize) -> Option<(u32, u32)> {
    let device = result::device::get(i32::try_from(ordinal).ok()?).ok()?;
    let attribute = |which| {
        // SAFETY: the driver has just given the device.
        #[expect(unsafe_code)]
        let value = unsafe { result::device::get_attribute(device, which) };
        u32::try_from(value.ok()?).ok()
    };
    Some((
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// The reason against GPU number `ordinal`, if none of the embedded code runs on it.
fn too_old(ordinal: usize) -> Option<String> {
    let capability = quietly(move || capability(ordinal)).flatten()?;
    let (major, minor) = capability;
    let oldest = ARCHITECTURES.first()?;
    code_for(capability, ARCHITECTURES)
        .is_none()
        .then(|| format!("it is sm_{major}{minor}, and the kernels are compiled for sm_{oldest} and later"))
}

fn describe_gpu(ordinal: usize) -> Option<String> {
    let context = CudaContext::new(ordinal).ok()?;
    let capability = capability(ordinal)?;
    let (free, total) = result::mem_get_info().ok()?;
    let code = code_for(capability, ARCHITECTURES).unwrap_or_else(|| "no embedded code runs on it".into());
    Some(format!(
        "cuda:{ordinal} {}, sm_{}{}, {}, of which free {}; runs {code}",
        context.name().ok()?,
        capability.0,
        capability.1,
        units::bytes(total as u64),
        units::bytes(free as u64)
    ))
}

/// The code of these architectures that a GPU of this compute capability runs: compiled code of its own major number and at
/// most its minor one, the latest there is; with an `a` behind it only on exactly that GPU (CUDA C++ Programming Guide,
/// "Binary compatibility"). Else the PTX of 8.0, which the driver compiles for any later GPU; `None` for an earlier one.
fn code_for((major, minor): (u32, u32), architectures: &[&str]) -> Option<String> {
    let fits = |architecture: &&&str| {
        let specific = architecture.ends_with('a');
        let number: u32 = architecture.trim_end_matches('a').parse().unwrap_or(0);
        number / 10 == major && (if specific { number % 10 == minor } else { number % 10 <= minor })
    };
    let number = |architecture: &&&str| architecture.trim_end_matches('a').parse::<u32>().unwrap_or(0);
    match architectures.iter().filter(fits).max_by_key(number) {
        Some(architecture) => Some(format!("sm_{architecture}")),
        None if (major, minor) >= (8, 0) && !architectures.is_empty() => Some("PTX, compiled by the driver".into()),
        None => None,
    }
}

/// The reason that GPU number `ordinal` can't be used, or `None` if nothing is known against it.
pub fn obstacle(ordinal: usize) -> Option<String> {
    if ARCHITECTURES.is_empty() {
        let how = "install nvcc as the build's warning says, and build again";
        return Some(format!("this program was built without the kernels ({how})"));
    }
    match driver() {
        Driver::Working(count) if ordinal < count => too_old(ordinal),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_chosen_as_cuda_chooses_it() {
        let all = ["80", "86", "89", "90a", "100", "120"];
        let ptx = Some("PTX, compiled by the driver".to_string());
        let compiled = |name: &str| Some(name.to_string());
        // A100, A40, L4, Orin, H100, B200, B300, RTX 5090, and what comes after them.
        assert_eq!(code_for((8, 0), &all), compiled("sm_80"));
        assert_eq!(code_for((8, 6), &all), compiled("sm_86"));
        assert_eq!(code_for((8, 9), &all), compiled("sm_89"));
        assert_eq!(code_for((8, 7), &all), compiled("sm_86"));
        assert_eq!(code_for((9, 0), &all), compiled("sm_90a"));
        assert_eq!(code_for((10, 0), &all), compiled("sm_100"));
        assert_eq!(code_for((10, 3), &all), compiled("sm_100"));
        assert_eq!(code_for((12, 0), &all), compiled("sm_120"));
        assert_eq!(code_for((13, 0), &all), ptx);
        // `a` code runs nowhere else; what is older than the PTX runs nothing.
        assert_eq!(code_for((9, 1), &all), ptx);
        assert_eq!(code_for((7, 5), &all), None);
        assert_eq!(code_for((9, 0), &[]), None);
    }
}
