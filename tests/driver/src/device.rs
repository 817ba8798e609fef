//! Devices and the driver itself: CUDA Driver API, "Initialization", "Version Management", "Device Management".

use std::ffi::c_char;

use crate::abi::{Out, Text, driver_api};
use crate::code::{Code, Result};
use crate::gpus::{self, Gpu};
use crate::settings;
use crate::state::Driver;

/// The registered end of the process, once.
static AT_EXIT: std::sync::Once = std::sync::Once::new();

unsafe extern "C" {
    fn atexit(function: extern "C" fn()) -> i32;
}

/// Puts the objects that are left at the process's end into the report.
extern "C" fn at_exit() {
    let _ = std::panic::catch_unwind(|| {
        let Some(mut driver) = crate::state::lock_if_free() else { return };
        driver.report_leaks(None);
        let pending = driver.queue.len();
        if pending > 0 {
            driver
                .report
                .line(&format!("cuda-standin: {pending} pieces of work were never waited for, and never done"));
        }
    });
}

driver_api! { SYMBOLS;
    /// `cuInit`: 1 where flags are not 0 or a variable of the environment holds what it may not, 100 where there is no device.
    fn cuInit(driver, flags: u32) {
        if flags != 0 {
            return Err(Code::INVALID_VALUE);
        }
        if let Some(error) = &driver.broken {
            eprintln!("cuda-standin: {error}");
            return Err(Code::INVALID_VALUE);
        }
        if driver.devices.is_empty() {
            return Err(Code::NO_DEVICE);
        }
        driver.initialised = true;
        if driver.report.wanted() {
            // SAFETY: registers a function that takes nothing and lives as long as this library, which is never unloaded
            // while the driver is in use; the C library runs it before it unmaps the library.
            AT_EXIT.call_once(|| _ = unsafe { atexit(at_exit) });
        }
        Ok(())
    }

    /// `cuDriverGetVersion`: 1.
    fn cuDriverGetVersion(driver, version: Out<i32>) {
        version.set(driver.settings.version)
    }

    /// `cuDeviceGet`: 1, 101.
    fn cuDeviceGet(driver, device: Out<i32>, ordinal: i32) {
        device.check()?;
        driver.device(ordinal)?;
        device.set(ordinal)
    }

    /// `cuDeviceGetCount`: 1.
    fn cuDeviceGetCount(driver, count: Out<i32>) {
        count.set(driver.devices.len() as i32)
    }

    /// `cuDeviceGetName`: 1, 101. The name says that no GPU is there.
    fn cuDeviceGetName(driver, name: Out<c_char>, room: i32, device: i32) {
        let text = format!("{} (stand-in, no GPU)", driver.device(device)?.gpu.name);
        name.set_text(&text, room)
    }

    /// `cuDeviceGetUuid`: 1, 101.
    fn cuDeviceGetUuid(driver, uuid: Out<[u8; 16]>, device: i32) {
        uuid.set(settings::uuid(driver.device(device)?.physical))
    }

    /// `cuDeviceGetUuid_v2`: 1, 101.
    fn cuDeviceGetUuid_v2(driver, uuid: Out<[u8; 16]>, device: i32) {
        uuid.set(settings::uuid(driver.device(device)?.physical))
    }

    /// `cuDeviceTotalMem`: 1, 101.
    fn cuDeviceTotalMem_v2(driver, bytes: Out<usize>, device: i32) {
        bytes.set(driver.device(device)?.memory().capacity() as usize)
    }

    /// `cuDeviceGetAttribute`: 1, 101.
    fn cuDeviceGetAttribute(driver, value: Out<i32>, which: u32, device: i32) {
        value.check()?;
        let known = driver.device(device)?;
        value.set(attribute(known.gpu, known.physical, which).ok_or(Code::INVALID_VALUE)?)
    }

    /// `cuDeviceComputeCapability`, which is deprecated: 1, 101.
    fn cuDeviceComputeCapability(driver, major: Out<i32>, minor: Out<i32>, device: i32) {
        let (one, other) = driver.device(device)?.gpu.capability;
        major.set(one as i32)?;
        minor.set(other as i32)
    }

    /// `cuDeviceGetPCIBusId`: 1, 101.
    fn cuDeviceGetPCIBusId(driver, text: Out<c_char>, room: i32, device: i32) {
        text.set_text(&bus(driver.device(device)?.physical), room)
    }

    /// `cuDeviceGetByPCIBusId`: 1, 101.
    fn cuDeviceGetByPCIBusId(driver, device: Out<i32>, text: Text) {
        let text = text.get()?.to_uppercase();
        let found = driver.devices.iter().position(|device| bus(device.physical) == text).ok_or(Code::INVALID_DEVICE)?;
        device.set(found as i32)
    }

    /// `cuDeviceGetP2PAttribute`: 1, 101. Nothing is supported between devices but copies.
    fn cuDeviceGetP2PAttribute(driver, value: Out<i32>, which: u32, from: i32, to: i32) {
        driver.device(from)?;
        driver.device(to)?;
        if from == to || !(1..=5).contains(&which) {
            return Err(Code::INVALID_VALUE);
        }
        value.set(0)
    }

    /// `cuGetErrorName`: 1 for an unknown code, with null in place of the text.
    fn cuGetErrorName(driver, code: u32, text: Out<*const c_char>) {
        let texts = Code(code).texts();
        text.set(texts.map_or(std::ptr::null(), |(name, _)| name.as_ptr()))?;
        texts.map(drop).ok_or(Code::INVALID_VALUE)
    }

    /// `cuGetErrorString`: likewise.
    fn cuGetErrorString(driver, code: u32, text: Out<*const c_char>) {
        let texts = Code(code).texts();
        text.set(texts.map_or(std::ptr::null(), |(_, meaning)| meaning.as_ptr()))?;
        texts.map(drop).ok_or(Code::INVALID_VALUE)
    }

    /// `cuGetProcAddress` (version 2): 1 where the version is beyond the driver's. An unknown name is no error: the address is
    /// null, and the status says why.
    fn cuGetProcAddress_v2(driver, name: Text, address: Out<*const ()>, version: i32, flags: u64, status: Out<u32>) {
        find_symbol(driver, name, address, version, status)
    }

    /// `cuGetProcAddress` (before 12.0): likewise, without a status.
    fn cuGetProcAddress(driver, name: Text, address: Out<*const ()>, version: i32, flags: u64) {
        find_symbol(driver, name, address, version, Out(std::ptr::null_mut()))
    }
}

fn bus(physical: usize) -> String {
    format!("0000:{:02X}:00.0", physical + 1)
}

/// A function by its base name, in the newest form that the asked version of CUDA has.
fn find_symbol(driver: &Driver, name: Text, address: Out<*const ()>, version: i32, status: Out<u32>) -> Result {
    /// Forms that came with a later version than their suffix tells: before it, the form without a suffix or with a smaller
    /// one is meant (release notes of the header, `__CUDA_API_VERSION` in cuda.h).
    const SINCE: [(&str, i32); 8] = [
        ("cuCtxCreate_v4", 12_050),
        ("cuCtxCreate_v3", 11_040),
        ("cuEventElapsedTime_v2", 12_080),
        ("cuGetProcAddress_v2", 12_000),
        ("cuStreamGetCaptureInfo_v3", 12_030),
        ("cuStreamGetCaptureInfo_v2", 11_030),
        ("cuCtxGetDevice_v2", 13_000),
        ("cuCtxSynchronize_v2", 13_000),
    ];
    const FOUND: u32 = 0;
    const UNKNOWN: u32 = 1;
    const TOO_OLD: u32 = 2;
    address.check()?;
    let base = name.get()?;
    if version > driver.settings.version {
        return Err(Code::INVALID_VALUE);
    }
    let since = |form: &str| SINCE.iter().find(|entry| entry.0 == form).map_or(0, |entry| entry.1);
    let forms = ["_v4", "_v3", "_v2", ""].map(|suffix| format!("{base}{suffix}"));
    let symbol = |form: &String| crate::symbols().find(|symbol| symbol.name == form.as_str());
    let known: Vec<_> = forms.iter().filter_map(symbol).collect();
    // `cuCtxGetDevice_v2` and `cuCtxSynchronize_v2` have other arguments and go by their own names alone.
    let own_name = |found: &str| found != base && since(found) == 13_000;
    let found = known.iter().find(|symbol| since(symbol.name) <= version && !own_name(symbol.name));
    address.set(found.map_or(std::ptr::null(), |symbol| symbol.address))?;
    status.set_if_wanted(match (found, known.is_empty()) {
        (Some(_), _) => FOUND,
        (None, true) => UNKNOWN,
        (None, false) => TOO_OLD,
    });
    Ok(())
}

/// An attribute of a device by its number in `CUdevice_attribute`; those of textures and surfaces are 0, since there are none.
fn attribute(gpu: &Gpu, physical: usize, which: u32) -> Option<i32> {
    let limits = gpus::limits(gpu.capability);
    let since = |capability: (u32, u32)| u32::from(gpu.capability >= capability);
    let value = match which {
        1 => gpus::THREADS_PER_BLOCK,
        2..=4 => gpus::BLOCK[which as usize - 2],
        5..=7 => gpus::GRID[which as usize - 5],
        8 => gpus::SHARED_PER_BLOCK,
        // Constant memory, warps, pitch.
        9 => 65_536,
        10 => 32,
        11 => i32::MAX as u32,
        12 | 82 => gpus::REGISTERS,
        13 => gpu.clock_mhz * 1000,
        // Alignment of textures and surfaces.
        14 | 30 => 512,
        51 => 32,
        // Copies beside kernels, mapped host memory, kernels side by side, unified addressing, priorities, caches.
        15 | 19 | 31 | 41 | 78 | 79 | 80 => 1,
        16 => gpu.multiprocessors,
        33 => physical as u32 + 1,
        36 => gpu.memory_clock_mhz * 1000,
        37 => gpu.bus_bits,
        38 => gpu.l2_kib * 1024,
        39 => limits.threads_per_multiprocessor,
        40 => 2,
        75 => gpu.capability.0,
        76 => gpu.capability.1,
        81 => limits.shared_per_multiprocessor,
        87 => gpu.double_ratio,
        97 => limits.shared_per_block_optin,
        106 => limits.blocks_per_multiprocessor,
        111 => limits.shared_reserved,
        // Cooperative launches ask that all blocks of a grid run at once, which is refused: 95 stays 0.
        115 => 1,
        // Clusters and tensor maps.
        120 | 127 => since((9, 0)),
        0 | 17..=160 => 0,
        _ => return None,
    };
    (which > 0).then(|| i32::try_from(value).unwrap_or(i32::MAX))
}
