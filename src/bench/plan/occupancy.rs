//! The number of blocks of a kernel that a multiprocessor holds at once, from ptxas's report of registers and shared memory.

use ptx_machine::gpus::{self, Gpu};

use crate::device::kernels::REPORTS;

/// The resources of a kernel, as ptxas reports them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resources {
    /// Registers of a thread.
    pub registers: u32,
    /// Bytes of shared memory of a block.
    pub shared: u32,
}

/// The architecture that the embedded code has for a GPU, as ptxas names it.
fn architecture(gpu: &Gpu) -> String {
    // The code that runs is the latest for the same major version.
    format!("sm_{}0", gpu.capability.0)
}

/// The first number that stands before `unit`.
fn number_before(line: &str, unit: &str) -> Option<u32> {
    line.split(unit).next().filter(|before| before.len() < line.len())?.trim().rsplit(' ').next()?.parse().ok()
}

/// The resources that a report gives for a kernel on an architecture.
fn read(report: &str, kernel: &str, architecture: &str) -> Option<Resources> {
    let heading = format!("Compiling entry function '{kernel}' for '{architecture}'");
    let mut behind = report.lines().skip_while(|line| !line.contains(&heading)).skip(1);
    let mut own = behind.by_ref().take_while(|line| !line.contains("Compiling entry function"));
    own.find_map(|line| {
        let shared = number_before(line, " bytes smem").unwrap_or(0);
        number_before(line, " registers").map(|registers| Resources { registers, shared })
    })
}

/// The resources that the kernel takes on this GPU in this form; `None` where nothing was compiled for it.
pub fn resources(file: &str, form: &str, kernel: &str, gpu: &Gpu) -> Option<Resources> {
    let (.., report) = REPORTS.iter().find(|found| (found.0, found.1) == (file, form))?;
    read(report, kernel, &architecture(gpu))
}

/// Blocks of so many threads that a multiprocessor holds at once.
///
/// Registers are handed out to a warp in portions of 256, shared memory to a block in portions of 128 bytes, beside what the system
/// keeps of it (CUDA Occupancy Calculator, "Warp allocation granularity", "Register allocation unit size"; CUDA C++ Programming
/// Guide, "Compute Capability 8.x" and "9.0", for the shared memory that is kept).
pub fn blocks_at_once(gpu: &Gpu, threads: u32, resources: Resources) -> u32 {
    let limits = gpus::limits(gpu.capability);
    let warps = threads.div_ceil(32).max(1);
    let registers = warps * (resources.registers.max(1) * 32).next_multiple_of(256);
    let shared = (resources.shared + limits.shared_reserved).next_multiple_of(128);
    let by_warps = limits.threads_per_multiprocessor / 32 / warps;
    let by_shared = limits.shared_per_multiprocessor.checked_div(shared).unwrap_or(u32::MAX);
    let by_registers = gpus::REGISTERS / registers;
    by_warps.min(by_shared).min(by_registers).min(limits.blocks_per_multiprocessor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read() {
        let report = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'one' for 'sm_80'
ptxas info    : Function properties for one
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 31 registers, used 0 barriers, 376 bytes cmem[0]
ptxas info    : Compiling entry function 'one' for 'sm_90'
ptxas info    : Used 34 registers, used 1 barriers, 2048 bytes smem, 384 bytes cmem[0]
ptxas info    : Compiling entry function 'two' for 'sm_90'
ptxas info    : Used 40 registers, used 0 barriers";
        assert_eq!(read(report, "one", "sm_80"), Some(Resources { registers: 31, shared: 0 }));
        assert_eq!(read(report, "one", "sm_90"), Some(Resources { registers: 34, shared: 2048 }));
        assert_eq!(read(report, "two", "sm_80"), None);
    }

    /// By the limits of compute capability 9.0: 64 warps, 65,536 registers, 228 KiB, 32 blocks.
    #[test]
    fn the_scarcest_resource_decides() {
        let h200 = gpus::find("h200").expect("known");
        let at_once = |threads, registers, shared| blocks_at_once(h200, threads, Resources { registers, shared });
        assert_eq!(at_once(256, 32, 0), 8, "64 warps");
        assert_eq!(at_once(32, 16, 0), 32, "blocks");
        assert_eq!(at_once(256, 64, 0), 4, "65,536 / (256 * 64)");
        assert_eq!(at_once(256, 65, 0), 3, "registers come in portions: 65 are 72");
        assert_eq!(at_once(128, 32, 48 * 1024), 4, "228 KiB / 49 KiB");
        assert_eq!(at_once(1024, 64, 0), 1);
    }
}
