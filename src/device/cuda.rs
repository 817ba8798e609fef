//! What can be said of the machine's NVIDIA GPUs. The kernels themselves are not part of this version yet.

/// Says in one line whether a driver and GPUs are there. Never fails and never panics.
pub fn probe() -> String {
    // SAFETY: only asks the dynamic loader whether the driver's library can be opened.
    #[expect(unsafe_code)]
    let present = unsafe { cudarc::driver::sys::is_culib_present() };
    if !present {
        return "no CUDA driver found (libcuda is not on the library path)".into();
    }
    // A stub libcuda lacks symbols, and cudarc panics on a missing one: no news for the user, so nothing is printed.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let probed = std::panic::catch_unwind(|| {
        cudarc::driver::result::init().map_err(|error| error.0 as u32)?;
        cudarc::driver::result::device::get_count().map_err(|error| error.0 as u32)
    });
    std::panic::set_hook(hook);
    match probed {
        Ok(Ok(count)) => {
            format!("a CUDA driver and {count} GPU(s); this version has no kernels yet, so they are not used")
        }
        Ok(Err(code)) => format!("a CUDA driver that does not work (error {code})"),
        Err(_) => "a CUDA driver library without the functions of CUDA 13 (a stub, or too old)".into(),
    }
}
