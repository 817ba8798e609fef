//! GPUs by name: what the driver says of each, and what its units do in a clock. The stand-in for the driver and predictions of
//! time share it.

/// A GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    /// Its name in an option or a variable (`CUDA_STANDIN_GPU`).
    pub key: &'static str,
    /// Its name.
    pub name: &'static str,
    /// Compute capability.
    pub capability: (u32, u32),
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The highest clock, in MHz.
    pub clock_mhz: u32,
    /// The memory's clock, in MHz.
    pub memory_clock_mhz: u32,
    /// Width of the memory's bus, in bits.
    pub bus_bits: u32,
    /// Level 2 cache in KiB.
    pub l2_kib: u32,
    /// Rate of f32 to f64 operations.
    pub double_ratio: u32,
    /// Fused multiplications and additions of bf16 with sums in f32 that the tensor cores of a multiprocessor do in a clock,
    /// without sparsity; 0 where they know no bf16. Of tf32 it is half as many.
    pub tensor_fmas: u32,
}

impl Gpu {
    /// Bytes a second of its memory: twice the memory's clock times the width of the bus.
    pub fn bytes_per_second(&self) -> f64 {
        f64::from(self.memory_clock_mhz) * 2e6 * f64::from(self.bus_bits) / 8.0
    }

    /// Clocks a second of all multiprocessors together, at the highest clock.
    pub fn clocks_per_second(&self) -> f64 {
        f64::from(self.multiprocessors) * f64::from(self.clock_mhz) * 1e6
    }

    /// f32 fused multiplications and additions that a multiprocessor does in a clock (CUDA C++ Programming Guide, "Throughput of
    /// Native Arithmetic Instructions").
    pub fn float_fmas(&self) -> u32 {
        match self.capability {
            (7, _) | (8, 0) => 64,
            _ => 128,
        }
    }
}

/// The limits of every GPU of a compute capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
    /// The most that a block can ask for, in bytes.
    pub shared_per_block_optin: u32,
    /// The part of a block's shared memory that the system keeps, in bytes.
    pub shared_reserved: u32,
    /// Threads of a multiprocessor.
    pub threads_per_multiprocessor: u32,
    /// Blocks of a multiprocessor.
    pub blocks_per_multiprocessor: u32,
}

/// Shared memory of a block that has not asked for more, in bytes; the same everywhere.
pub const SHARED_PER_BLOCK: u32 = 48 * 1024;
/// Registers of a multiprocessor, and of a block; the same from 6.x on but for 6.2.
pub const REGISTERS: u32 = 65_536;
/// Threads of a block.
pub const THREADS_PER_BLOCK: u32 = 1024;
/// The most blocks in x, y and z.
pub const GRID: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
/// The most threads in x, y and z.
pub const BLOCK: [u32; 3] = [1024, 1024, 64];

/// The table, by the technical specifications per compute capability in the CUDA C++ Programming Guide ("Compute
/// Capabilities", "Technical Specifications per Compute Capability"). Shared memory: 228 KB on 9.0 and 10.0, 164 KB on 8.0,
/// 100 KB on 8.6, 8.9 and 12.0, 64 KB on 7.5, 96 KB on 7.0; a block can have all but 1 KB, which the system keeps from 8.0 on.
pub fn limits((major, minor): (u32, u32)) -> Limits {
    let (kib, threads, blocks) = match (major, minor) {
        (7, 0) => (96, 2048, 32),
        (7, 5) => (64, 1024, 16),
        (8, 0) => (164, 2048, 32),
        (8, 6) => (100, 1536, 16),
        (8, 7) => (164, 1536, 16),
        (8, 9) => (100, 1536, 24),
        (9 | 10, _) => (228, 2048, 32),
        _ => (100, 1536, 24),
    };
    let reserved = if major >= 8 { 1024 } else { 0 };
    Limits {
        shared_per_multiprocessor: kib * 1024,
        shared_per_block_optin: kib * 1024 - reserved,
        shared_reserved: reserved,
        threads_per_multiprocessor: threads,
        blocks_per_multiprocessor: blocks,
    }
}

/// Multiprocessors, clocks, bus and caches are those of NVIDIA's architecture white papers and data sheets (Volta, Turing,
/// A100, GA102, Ada, H100, Blackwell; H200, L4, L40S data sheets); memory is the total that `nvidia-smi` prints for the board
/// in public logs, of which a real driver keeps some hundred MiB.
pub const GPUS: &[Gpu] = &[
    gpu("h200", "NVIDIA H200", (9, 0), [132, 61_440, 2, 2048], 143_771, (1980, 3201, 6144)),
    gpu("h100", "NVIDIA H100 80GB HBM3", (9, 0), [132, 51_200, 2, 2048], 81_559, (1980, 2619, 5120)),
    gpu("a100", "NVIDIA A100-SXM4-80GB", (8, 0), [108, 40_960, 2, 1024], 81_920, (1410, 1593, 5120)),
    gpu("b200", "NVIDIA B200", (10, 0), [148, 129_024, 2, 4096], 183_359, (1965, 3996, 8192)),
    gpu("rtx5090", "NVIDIA GeForce RTX 5090", (12, 0), [170, 98_304, 64, 256], 32_607, (2407, 14_001, 512)),
    gpu("rtx4090", "NVIDIA GeForce RTX 4090", (8, 9), [128, 73_728, 64, 256], 24_564, (2520, 10_501, 384)),
    gpu("rtx3090", "NVIDIA GeForce RTX 3090", (8, 6), [82, 6144, 64, 256], 24_576, (1695, 9751, 384)),
    gpu("l40s", "NVIDIA L40S", (8, 9), [142, 98_304, 64, 512], 46_068, (2520, 9001, 384)),
    gpu("l4", "NVIDIA L4", (8, 9), [58, 49_152, 64, 512], 23_034, (2040, 6251, 192)),
    gpu("a40", "NVIDIA A40", (8, 6), [84, 6144, 64, 512], 46_068, (1740, 7251, 384)),
    gpu("rtxa6000", "NVIDIA RTX A6000", (8, 6), [84, 6144, 64, 512], 49_140, (1800, 8001, 384)),
    gpu("t4", "Tesla T4", (7, 5), [40, 4096, 32, 0], 15_360, (1590, 5001, 256)),
    gpu("v100", "Tesla V100-SXM2-32GB", (7, 0), [80, 6144, 2, 0], 32_768, (1530, 877, 4096)),
];

const fn gpu(
    key: &'static str,
    name: &'static str,
    capability: (u32, u32),
    [multiprocessors, l2_kib, double_ratio, tensor_fmas]: [u32; 4],
    memory_mib: u64,
    (clock_mhz, memory_clock_mhz, bus_bits): (u32, u32, u32),
) -> Gpu {
    Gpu {
        key,
        name,
        capability,
        multiprocessors,
        memory_mib,
        clock_mhz,
        memory_clock_mhz,
        bus_bits,
        l2_kib,
        double_ratio,
        tensor_fmas,
    }
}

/// The GPU of this key.
pub fn find(key: &str) -> Option<&'static Gpu> {
    GPUS.iter().find(|gpu| gpu.key == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_no_block_has_more_than_its_multiprocessor() {
        for (index, gpu) in GPUS.iter().enumerate() {
            assert_eq!(GPUS.iter().position(|other| other.key == gpu.key), Some(index), "{}", gpu.key);
            let limits = limits(gpu.capability);
            assert!(limits.shared_per_block_optin <= limits.shared_per_multiprocessor, "{}", gpu.key);
            assert!(limits.threads_per_multiprocessor >= THREADS_PER_BLOCK, "{}", gpu.key);
        }
    }

    #[test]
    fn bandwidth_is_that_of_the_data_sheets() {
        // Twice the clock times the bus, in GB/s: the data sheets say 4.8 TB/s, 3.35, 2.04, and 1008, 936, 300, 320 GB/s.
        let bandwidth = |key: &str| find(key).expect("known").bytes_per_second() / 1e9;
        for (key, stated) in [
            ("h200", 4900.0),
            ("h100", 3350.0),
            ("a100", 2039.0),
            ("rtx4090", 1008.0),
            ("rtx3090", 936.0),
            ("l4", 300.0),
            ("t4", 320.0),
        ] {
            assert!((bandwidth(key) / stated - 1.0).abs() < 0.03, "{key}: {} and {stated}", bandwidth(key));
        }
    }

    #[test]
    fn arithmetic_is_that_of_the_data_sheets() {
        // TFLOP/s of f32 and of bf16 without sparsity, as the data sheets and white papers state them: H200 67 and 989, A100 19.5 and
        // 312, RTX 4090 82.6 and 165.2, RTX 3090 35.6 and 71, A40 37.4 and 149.7, L4 30.3 and 121. The sheets of the H100 and H200
        // take another clock (1830 MHz) for tensor cores than for f32, which is 8 % less.
        let of = |key: &str, fmas: fn(&Gpu) -> u32| {
            let gpu = find(key).expect("known");
            2.0 * f64::from(fmas(gpu)) * gpu.clocks_per_second() / 1e12
        };
        for (key, float, tensor) in [
            ("h200", 67.0, 989.0),
            ("a100", 19.5, 312.0),
            ("rtx4090", 82.6, 165.2),
            ("rtx3090", 35.6, 71.0),
            ("a40", 37.4, 149.7),
            ("l4", 30.3, 121.0),
        ] {
            let (ours, theirs) = (of(key, Gpu::float_fmas), of(key, |gpu| gpu.tensor_fmas));
            assert!((ours / float - 1.0).abs() < 0.03, "{key}: {ours} TFLOP/s of f32, the sheet says {float}");
            assert!((theirs / tensor - 1.0).abs() < 0.09, "{key}: {theirs} TFLOP/s of bf16, the sheet says {tensor}");
        }
    }
}
