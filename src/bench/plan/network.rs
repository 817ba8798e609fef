//! The predicted time of a collective, as NCCL's own tuner predicts it: a base, a latency for each step of the algorithm, and the bytes at
//! the bus bandwidth (NVIDIA/nccl, `src/graph/tuning.cc`, whose constants these are). The fastest of its rings and trees counts, in its
//! protocols LL, LL128 and Simple. Nothing here was measured; newer versions of NCCL sum in the switch (NVLink SHARP), which is faster.
//!
//! An all-reduce over n ranks in a ring takes 2 (n − 1) steps, and each rank's link carries 2 (n − 1) / n times the bytes; an all-gather
//! or a reduce-scatter takes half of both (nccl-tests, `doc/PERFORMANCE.md`).

use crate::device::ranks::{Collective, Kind};

/// GPUs of a machine that NVLink joins: HGX and DGX H100 and H200.
pub const GPUS_OF_A_MACHINE: usize = 8;
/// Bytes a second, in one direction, that NCCL gets out of a Hopper GPU's NVLink. The line has 450 GB/s (NVIDIA/nccl-tests, issue 212).
pub const NVLINK: f64 = 370e9;
/// The same of an InfiniBand adapter of 400 Gbit/s, of which each GPU has one: 46 to 48 GB/s (NVIDIA/nccl-tests, issue 290).
pub const INFINIBAND: f64 = 47e9;

/// Turns of a ring: with an all-reduce once to sum and once to gather.
fn turns(kind: Kind) -> f64 {
    if kind == Kind::AllReduce { 2.0 } else { 1.0 }
}

/// One way to do it: microseconds of the start, of a step over NVLink, of a step between machines, and the part of the bandwidth.
struct Way(f64, f64, f64, f64);

const RINGS: [Way; 3] = [Way(3.6, 0.47, 2.7, 0.25), Way(10.0, 1.9, 4.0, 0.92), Way(8.4, 3.4, 9.6, 1.0)];
/// A tree carries the bytes up and down, at 0.9 of the bandwidth.
const TREES: [Way; 2] = [Way(4.4, 0.52, 5.0, 0.9 / 3.8), Way(4.4, 1.2, 8.5, 0.9 * 0.92)];
/// Steps of LL within a machine are slower where there are others.
const LL_AMONG_MACHINES: f64 = 1.8;

/// GPUs that train together, on as few machines as hold them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Ranks, one a GPU.
    pub world: usize,
}

impl Network {
    /// Machines.
    pub fn machines(self) -> usize {
        self.world.div_ceil(GPUS_OF_A_MACHINE)
    }

    /// Bytes a second that each rank sends and receives at best: over NVLink, and between machines over all adapters of one.
    fn bandwidth(self) -> f64 {
        let adapters = INFINIBAND * self.world.div_ceil(self.machines()) as f64;
        if self.machines() == 1 { NVLINK } else { NVLINK.min(adapters) }
    }

    /// Bytes that each rank sends for it, and receives.
    pub fn sent(self, Collective { kind, bytes }: Collective) -> f64 {
        bytes as f64 * turns(kind) * (self.world as f64 - 1.0) / self.world as f64
    }

    /// Seconds of a collective.
    pub fn seconds(self, collective: Collective) -> f64 {
        let Collective { kind, bytes } = collective;
        if self.world == 1 {
            return 0.0;
        }
        let (world, machines, bytes) = (self.world as f64, self.machines() as f64, bytes as f64);
        let within =
            |way: &Way, first: bool| way.1 * if first && self.machines() > 1 { LL_AMONG_MACHINES } else { 1.0 };
        let ring = |(index, way): (usize, &Way)| {
            let (steps, between) = (turns(kind) * (world - 1.0), turns(kind) * (machines - 1.0));
            let latency = way.0 + (steps - between) * within(way, index == 0) + between * way.2;
            latency * 1e-6 + self.sent(collective) / (self.bandwidth() * way.3)
        };
        let tree = |(index, way): (usize, &Way)| {
            let steps = (world / machines - 1.0) * within(way, index == 0) + machines.log2().floor() * way.2;
            (way.0 + 2.0 * steps) * 1e-6 + 2.0 * bytes / (self.bandwidth() * way.3)
        };
        let rings = RINGS.iter().enumerate().map(ring);
        let trees = TREES.iter().enumerate().map(tree).filter(|_| kind == Kind::AllReduce);
        rings.chain(trees).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn microseconds(world: usize, kind: Kind, bytes: u64) -> f64 {
        Network { world }.seconds(Collective { kind, bytes }) * 1e6
    }

    fn near(found: f64, expected: f64) {
        assert!((found / expected - 1.0).abs() < 1e-9, "{found}, not {expected}");
    }

    /// Each by hand, from the tables.
    #[test]
    fn a_collective_takes_what_its_fastest_way_takes() {
        near(microseconds(1, Kind::AllReduce, 1 << 30) + 1.0, 1.0);
        // Few bytes: latency. A ring of LL on one machine: 14 steps; a tree of LL among machines: 7 steps and three levels, twice.
        near(microseconds(8, Kind::AllReduce, 0), 3.6 + 14.0 * 0.47);
        near(microseconds(64, Kind::AllReduce, 0), 4.4 + 2.0 * (7.0 * 0.52 * 1.8 + 3.0 * 5.0));
        near(microseconds(64, Kind::AllGather, 0), 3.6 + 56.0 * 0.47 * 1.8 + 7.0 * 2.7);
        // Many: the bandwidth, and 14/8 or 7/8 of the bytes.
        let bytes = 37_000_000_000;
        near(microseconds(8, Kind::AllReduce, bytes), 8.4 + 14.0 * 3.4 + 1e5 * 14.0 / 8.0);
        near(microseconds(8, Kind::ReduceScatter, bytes), 8.4 + 7.0 * 3.4 + 1e5 * 7.0 / 8.0);
        near(microseconds(16, Kind::AllReduce, bytes), 8.4 + 28.0 * 3.4 + 2.0 * 9.6 + 1e5 * 30.0 / 16.0);
    }

    #[test]
    fn more_ranks_and_more_bytes_take_no_less_time() {
        for kind in [Kind::AllReduce, Kind::AllGather, Kind::ReduceScatter] {
            for bytes in [4, 1 << 12, 1 << 20, 1 << 26] {
                let by_world = [1, 2, 4, 8, 16, 64].map(|world| microseconds(world, kind, bytes));
                assert!(by_world.is_sorted(), "{kind:?} of {bytes}: {by_world:?}");
                assert!(microseconds(8, kind, bytes) <= microseconds(8, kind, 2 * bytes), "{kind:?} of {bytes}");
            }
        }
    }

    /// Two machines of one GPU each have one adapter each, as 9 GPUs on two machines have five.
    #[test]
    fn a_machine_has_an_adapter_for_each_of_its_gpus() {
        near(Network { world: 8 }.bandwidth(), NVLINK);
        near(Network { world: 9 }.bandwidth(), 5.0 * INFINIBAND);
        near(Network { world: 64 }.bandwidth(), NVLINK);
    }
}
