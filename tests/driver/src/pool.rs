//! Memory pools: CUDA Driver API, "Stream Ordered Memory Allocator". A pool keeps nothing back: what is freed is free.

use crate::abi::{In, Out, driver_api};
use crate::code::Code;
use crate::handle::{Handle, PoolKind};

/// A pool.
#[derive(Debug)]
pub(crate) struct Pool {
    device: usize,
    /// Bytes that it may keep; kept for being asked.
    threshold: u64,
    reuse: [i32; 3],
}

impl Pool {
    pub(crate) fn new(device: usize) -> Pool {
        Pool { device, threshold: 0, reuse: [1; 3] }
    }
}

/// The beginning of `CUmemPoolProps`: kind of allocation, of handles, and the place.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Properties {
    allocation: u32,
    handles: u32,
    location: u32,
    device: i32,
}

driver_api! { SYMBOLS;
    /// `cuDeviceGetDefaultMemPool`: 1, 101.
    fn cuDeviceGetDefaultMemPool(driver, pool: Out<Handle<PoolKind>>, device: i32) {
        pool.set(driver.device(device)?.default_pool)
    }

    /// `cuDeviceGetMemPool`: 1, 101.
    fn cuDeviceGetMemPool(driver, pool: Out<Handle<PoolKind>>, device: i32) {
        pool.set(driver.device(device)?.pool)
    }

    /// `cuDeviceSetMemPool`: 1, 101.
    fn cuDeviceSetMemPool(driver, device: i32, pool: Handle<PoolKind>) {
        let known = driver.pools.get(pool).map_err(|_| Code::INVALID_VALUE)?.device;
        driver.device(device)?;
        if known != device as usize {
            return Err(Code::INVALID_VALUE);
        }
        driver.device_mut(device)?.pool = pool;
        Ok(())
    }

    /// `cuMemPoolCreate`: 1, 801 for pools that are not a device's or that other processes are to open.
    fn cuMemPoolCreate(driver, pool: Out<Handle<PoolKind>>, properties: In<Properties>) {
        pool.check()?;
        let Properties { allocation, handles, location, device } = properties.get()?;
        // Pinned allocations (1), no handles (0), on a device (1).
        if (allocation, handles, location) != (1, 0, 1) {
            return Err(Code::NOT_SUPPORTED);
        }
        driver.device(device).map_err(|_| Code::INVALID_VALUE)?;
        pool.set(driver.pools.insert(Pool::new(device as usize)))
    }

    /// `cuMemPoolDestroy`: 1, also for a default pool. What was allocated stays until it is freed.
    fn cuMemPoolDestroy(driver, pool: Handle<PoolKind>) {
        if driver.devices.iter().any(|device| device.default_pool == pool) {
            return Err(Code::INVALID_VALUE);
        }
        driver.pools.remove(pool).map_err(|_| Code::INVALID_VALUE)?;
        // "the current memory pool of a device is reset to the default pool when it is destroyed"
        driver.devices.iter_mut().filter(|device| device.pool == pool).for_each(|device| device.pool = device.default_pool);
        Ok(())
    }

    /// `cuMemPoolTrimTo`: 1.
    fn cuMemPoolTrimTo(driver, pool: Handle<PoolKind>, bytes: usize) {
        driver.pools.get(pool).map(drop).map_err(|_| Code::INVALID_VALUE)
    }

    /// `cuMemPoolSetAttribute`: 1.
    fn cuMemPoolSetAttribute(driver, pool: Handle<PoolKind>, which: u32, value: Out<u64>) {
        value.check()?;
        let pool = driver.pools.get_mut(pool).map_err(|_| Code::INVALID_VALUE)?;
        match which {
            1..=3 => pool.reuse[which as usize - 1] = In(value.0.cast::<i32>()).get()?,
            4 => pool.threshold = value.get()?,
            // High-water marks can be set to 0.
            6 | 8 => {}
            _ => return Err(Code::INVALID_VALUE),
        }
        Ok(())
    }

    /// `cuMemPoolGetAttribute`: 1. Reserved memory is what is used.
    fn cuMemPoolGetAttribute(driver, pool: Handle<PoolKind>, which: u32, value: Out<u64>) {
        value.check()?;
        let known = driver.pools.get(pool).map_err(|_| Code::INVALID_VALUE)?;
        match which {
            1..=3 => Out(value.0.cast::<i32>()).set(known.reuse[which as usize - 1]),
            4 => value.set(known.threshold),
            5..=8 => value.set(driver.allocations.values().filter(|owned| owned.pool == Some(pool)).map(|owned| owned.bytes).sum()),
            _ => Err(Code::INVALID_VALUE),
        }
    }
}
