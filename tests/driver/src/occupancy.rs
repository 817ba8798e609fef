//! Occupancy: CUDA Driver API, "Occupancy". Registers are not known here, so that answers are upper bounds.

use crate::abi::{In, Out, driver_api};
use crate::code::{Code, Result};
use crate::gpus::{self, Limits};
use crate::handle::{FunctionKind, Handle};
use crate::launch::Config;
use crate::module::Function;
use crate::state::Driver;

/// A function of the program's: bytes of dynamic shared memory for a size of a block.
pub(crate) type SharedOfBlock = Option<unsafe extern "C" fn(i32) -> usize>;

fn blocks(driver: &mut Driver, function: Handle<FunctionKind>, threads: i32, dynamic: usize) -> Result<u32> {
    let context = driver.current()?;
    let function = driver.function_or_kernel(function, context)?;
    let Function { device, kernel, .. } = driver.functions.get(function)?;
    let limits = gpus::limits(driver.devices[*device].gpu.capability);
    let threads = u32::try_from(threads).ok().filter(|threads| *threads > 0).ok_or(Code::INVALID_VALUE)?;
    if threads > kernel.max_threads || threads > gpus::THREADS_PER_BLOCK {
        return Ok(0);
    }
    Ok(resident(&limits, threads, u64::from(kernel.static_shared) + dynamic as u64))
}

/// Blocks of a multiprocessor: by threads in whole warps, by shared memory in steps of 128 bytes, and by their number.
fn resident(limits: &Limits, threads: u32, shared: u64) -> u32 {
    let by_threads = limits.threads_per_multiprocessor / threads.next_multiple_of(32);
    let of_block = (shared + u64::from(limits.shared_reserved)).next_multiple_of(128);
    if shared > limits.shared_per_block_optin.into() {
        return 0;
    }
    let by_shared = u64::from(limits.shared_per_multiprocessor).checked_div(of_block).unwrap_or(u64::MAX);
    by_threads.min(limits.blocks_per_multiprocessor).min(u32::try_from(by_shared).unwrap_or(u32::MAX))
}

fn potential(
    driver: &mut Driver,
    grid: Out<i32>,
    block: Out<i32>,
    function: Handle<FunctionKind>,
    shared_of: SharedOfBlock,
    dynamic: usize,
    limit: i32,
) -> Result {
    let context = driver.current()?;
    let handle = driver.function_or_kernel(function, context)?;
    let Function { device, kernel, .. } = driver.functions.get(handle)?;
    let multiprocessors = driver.devices[*device].gpu.multiprocessors as i32;
    let most = kernel.max_threads.min(gpus::THREADS_PER_BLOCK) as i32;
    let most = if limit > 0 { most.min(limit) } else { most };
    let mut best = (0, 0);
    // The largest block wins where several fill a multiprocessor alike.
    for threads in (1..=most / 32).rev().map(|warps| warps * 32) {
        let bytes = match shared_of {
            // SAFETY: the program gave the function to be called with a size of a block.
            Some(shared_of) => unsafe { shared_of(threads) },
            None => dynamic,
        };
        let resident = blocks(driver, handle, threads, bytes)? as i32;
        if resident * threads > best.0 * best.1 {
            best = (resident, threads);
        }
    }
    grid.set(best.0 * multiprocessors)?;
    block.set(best.1)
}

driver_api! { SYMBOLS;
    /// `cuOccupancyMaxActiveBlocksPerMultiprocessor`: 1, 201, 400.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
        driver, count: Out<i32>, function: Handle<FunctionKind>, threads: i32, dynamic: usize,
    ) {
        count.set(blocks(driver, function, threads, dynamic)? as i32)
    }

    /// `cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags`: likewise.
    fn cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(
        driver, count: Out<i32>, function: Handle<FunctionKind>, threads: i32, dynamic: usize, flags: u32,
    ) {
        count.set(blocks(driver, function, threads, dynamic)? as i32)
    }

    /// `cuOccupancyMaxPotentialBlockSize`: 1, 201, 400.
    fn cuOccupancyMaxPotentialBlockSize(
        driver, grid: Out<i32>, block: Out<i32>, function: Handle<FunctionKind>, shared_of: SharedOfBlock, dynamic: usize,
        limit: i32,
    ) {
        potential(driver, grid, block, function, shared_of, dynamic, limit)
    }

    /// `cuOccupancyMaxPotentialBlockSizeWithFlags`: likewise.
    fn cuOccupancyMaxPotentialBlockSizeWithFlags(
        driver, grid: Out<i32>, block: Out<i32>, function: Handle<FunctionKind>, shared_of: SharedOfBlock, dynamic: usize,
        limit: i32, flags: u32,
    ) {
        potential(driver, grid, block, function, shared_of, dynamic, limit)
    }

    /// `cuOccupancyAvailableDynamicSMemPerBlock`: 1, 201, 400.
    fn cuOccupancyAvailableDynamicSMemPerBlock(
        driver, bytes: Out<usize>, function: Handle<FunctionKind>, count: i32, threads: i32,
    ) {
        bytes.check()?;
        let wanted = u32::try_from(count).ok().filter(|count| *count > 0).ok_or(Code::INVALID_VALUE)?;
        if blocks(driver, function, threads, 0)? < wanted {
            return Err(Code::INVALID_VALUE);
        }
        let context = driver.current()?;
        let function = driver.function_or_kernel(function, context)?;
        let Function { device, kernel, .. } = driver.functions.get(function)?;
        let limits = gpus::limits(driver.devices[*device].gpu.capability);
        let of_block = limits.shared_per_multiprocessor / wanted / 128 * 128;
        let free = of_block.saturating_sub(limits.shared_reserved).min(limits.shared_per_block_optin);
        bytes.set(free.saturating_sub(kernel.static_shared) as usize)
    }

    /// `cuOccupancyMaxPotentialClusterSize`: 1, 201, 400; 801 before 9.0.
    fn cuOccupancyMaxPotentialClusterSize(driver, size: Out<i32>, function: Handle<FunctionKind>, config: In<Config>) {
        config.get()?;
        clusters(driver, function)?;
        size.set(8)
    }

    /// `cuOccupancyMaxActiveClusters`: 1, 201, 400; 801 before 9.0.
    fn cuOccupancyMaxActiveClusters(driver, count: Out<i32>, function: Handle<FunctionKind>, config: In<Config>) {
        let config = config.get()?;
        let multiprocessors = clusters(driver, function)?;
        let shape = config.shape()?;
        let threads = config.block.iter().product::<u32>() as i32;
        let resident = blocks(driver, function, threads, config.shared as usize)?;
        let of_cluster = shape.cluster.iter().product::<u32>().max(1);
        count.set((resident * multiprocessors / of_cluster) as i32)
    }
}

/// The multiprocessors of a device that runs clusters.
fn clusters(driver: &mut Driver, function: Handle<FunctionKind>) -> Result<u32> {
    let context = driver.current()?;
    driver.function_or_kernel(function, context)?;
    let gpu = driver.devices[driver.contexts.get(context)?.device].gpu;
    if gpu.capability >= (9, 0) { Ok(gpu.multiprocessors) } else { Err(Code::NOT_SUPPORTED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_multiprocessor_are_those_of_the_occupancy_calculator() {
        // By hand, from the table of the programming guide.
        let h100 = gpus::limits((9, 0));
        assert_eq!(resident(&h100, 256, 0), 8);
        assert_eq!(resident(&h100, 32, 0), 32);
        assert_eq!(resident(&h100, 33, 0), 32);
        assert_eq!(resident(&h100, 128, 48 * 1024), 4);
        assert_eq!(resident(&h100, 128, 227 * 1024), 1);
        assert_eq!(resident(&h100, 128, 227 * 1024 + 1), 0);
        let ada = gpus::limits((8, 9));
        assert_eq!(resident(&ada, 1024, 0), 1);
        assert_eq!(resident(&ada, 256, 0), 6);
        assert_eq!(resident(&gpus::limits((7, 5)), 256, 0), 4);
    }
}
