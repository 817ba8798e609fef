//! The predicted time of a launch, by a model of few terms. Nothing here was measured on the GPU that it is for; how far off the
//! model is on kernels whose times were published stands in docs/results/plan-model.md.
//!
//! The busiest multiprocessor has ⌈blocks / multiprocessors⌉ blocks. Its clocks are the largest of
//!
//! - issue: warp instructions / 4, and no fewer than the instructions of one warp in each wave of blocks;
//! - float: lanes of fused multiplications and additions / those of a clock;
//! - memory pipe: passes of shared memory, and of global memory the requests of 128 bytes, one a clock;
//! - tensor: multiplications and additions of tensor cores / those of a clock; of `mma.sync` on compute capability 9.0 at
//!   [`MMA_ON_HOPPER`] of what `wgmma` reaches;
//! - latency: in each wave of blocks [`BARRIER_CLOCKS`] a barrier and [`LOAD_CLOCKS`] a load of global memory by a warp.
//!
//! The time is the larger of these clocks and of the bytes of all operands, each once, at the memory's bandwidth; and
//! [`LAUNCH_SECONDS`].

use ptx_machine::gpus::Gpu;
use serde::Serialize;

use super::work::Work;

/// Warp instructions that a multiprocessor issues in a clock: one by each of four schedulers.
const ISSUE: f64 = 4.0;
/// The part of a Hopper GPU's tensor rate that `mma.sync` reaches (Luo et al., arXiv 2402.13499).
pub const MMA_ON_HOPPER: f64 = 0.629;
/// Clocks from one barrier to the next in a loop that loads a tile: half an iteration with two barriers, in which a load of global
/// memory takes about 400 clocks.
pub const BARRIER_CLOCKS: f64 = 200.0;
/// Clocks of a load that hits the first cache (Luo et al., arXiv 2402.13499).
pub const LOAD_CLOCKS: f64 = 33.0;
/// A node of a graph: from one kernel's end to the next one's beginning (CUDA.jl's documentation, "CUDA graphs").
pub const LAUNCH_SECONDS: f64 = 0.9e-6;

/// The prediction for a launch.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Predicted {
    /// Seconds, the launch itself included.
    pub seconds: f64,
    /// The term that decides.
    pub by: &'static str,
}

/// A launch as the model sees it.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Blocks of the grid.
    pub blocks: u64,
    /// Warps of a block.
    pub warps: u64,
    /// Blocks that a multiprocessor holds at once.
    pub at_once: u64,
    /// Bytes of all operands, each once.
    pub bytes: u64,
}

/// Predicts a launch.
pub fn predict(gpu: &Gpu, shape: &Shape, work: &Work) -> Predicted {
    let Shape { blocks, warps, at_once, bytes } = *shape;
    let busiest = blocks.div_ceil(u64::from(gpu.multiprocessors));
    let waves = busiest.div_ceil(at_once.max(1)) as f64;
    // Of what all blocks do, the busiest multiprocessor's part; and what one warp does.
    let part = |count: u64| count as f64 * busiest as f64 / blocks.max(1) as f64;
    let of_a_warp = |count: u64| count as f64 / (blocks * warps).max(1) as f64;
    let tensor_rate = f64::from(gpu.tensor_fmas) * if gpu.capability.0 == 9 { MMA_ON_HOPPER } else { 1.0 };
    let requests = work.sectors.div_ceil(4).max(work.global_loads);
    let [float, ..] = work.classes;
    // All warps of a block come to a barrier.
    let barriers = of_a_warp(work.warp_barriers);
    let terms = [
        ("issue", (part(work.instructions()) / ISSUE).max(of_a_warp(work.instructions()) * waves)),
        ("float", part(float) * 32.0 / f64::from(gpu.float_fmas())),
        ("memory pipe", part(work.shared_passes) + part(requests)),
        ("tensor", if work.tensor_operations == 0 { 0.0 } else { part(work.tensor_operations) / 2.0 / tensor_rate }),
        ("latency", waves * (barriers * BARRIER_CLOCKS + of_a_warp(work.global_loads) * LOAD_CLOCKS)),
    ];
    let clock = f64::from(gpu.clock_mhz) * 1e6;
    let on_chip = terms.map(|(name, clocks)| (name, clocks / clock));
    let memory = ("bytes", bytes as f64 / gpu.bytes_per_second());
    let (by, seconds) = on_chip.into_iter().fold(memory, |most, term| if term.1 > most.1 { term } else { most });
    Predicted { seconds: seconds + LAUNCH_SECONDS, by }
}

#[cfg(test)]
mod tests {
    use ptx_machine::gpus;

    use super::*;

    /// Each term alone, by hand: an H200 has 132 multiprocessors at 1.98 GHz.
    #[test]
    fn the_longest_term_decides() {
        let h200 = gpus::find("h200").expect("known");
        let shape = Shape { blocks: 264, warps: 8, at_once: 8, bytes: 0 };
        let predicted = |shape: &Shape, work: Work| predict(h200, shape, &work);
        let microseconds = |clocks: f64| (clocks / 1.98e9 + LAUNCH_SECONDS) * 1e6;
        let near = |found: Predicted, clocks: f64, by: &str| {
            assert_eq!(found.by, by);
            let expected = microseconds(clocks);
            assert!((found.seconds * 1e6 - expected).abs() < 1e-6, "{} µs, not {expected}", found.seconds * 1e6);
        };
        let of_class = |class: usize, count: u64| {
            let mut work = Work::default();
            work.classes[class] = count;
            work
        };
        // 1,000 instructions a warp: 16 warps a multiprocessor, four instructions a clock.
        near(predicted(&shape, of_class(2, 264 * 8 * 1000)), 4000.0, "issue");
        // One warp alone cannot issue four a clock.
        near(predicted(&Shape { blocks: 1, warps: 1, ..shape }, of_class(2, 1000)), 1000.0, "issue");
        near(predicted(&shape, Work { shared_passes: 264 * 700, ..Work::default() }), 1400.0, "memory pipe");
        near(predicted(&shape, Work { sectors: 264 * 400, ..Work::default() }), 200.0, "memory pipe");
        // 10 barriers of each of 8 warps: two blocks at once are one wave, one at once two.
        let barriers = Work { warp_barriers: 264 * 8 * 10, ..Work::default() };
        near(predicted(&shape, barriers), 2000.0, "latency");
        near(predicted(&Shape { at_once: 1, ..shape }, barriers), 4000.0, "latency");
        // 2,048 multiplications and additions a clock, at 0.629 of it.
        let tensor = Work { tensor_operations: 264 * 4096 * 500, ..Work::default() };
        near(predicted(&shape, tensor), 1000.0 / MMA_ON_HOPPER, "tensor");
        let bytes = h200.bytes_per_second() as u64;
        let moved = predicted(&Shape { bytes, ..shape }, Work::default());
        assert!((moved.seconds - 1.0).abs() < 1e-5 && moved.by == "bytes", "{moved:?}");
    }
}
