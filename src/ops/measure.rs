//! Times passes and the ceilings that they are held against; `vgan-cuda bench` and benches/operations.rs share it.

use std::time::{Duration, Instant};

use super::passes::{Counts, Work, counted, filled};
use super::{Executor, passes};
use crate::Result;
use crate::device::{Backend, DryRun, Real};

/// Samples that a median is taken of.
const SAMPLES: u32 = 7;

/// What the device does at best, measured on itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes a second of a copy within the device's memory, read and written.
    pub bytes_per_second: f64,
    /// Multiplications and additions a second that stay in registers.
    pub flops_per_second: f64,
}

/// One pass, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The median of the samples, for one run.
    pub seconds: f64,
    /// What one run computes and moves.
    pub counts: Counts,
}

/// Which ceiling a pass lies under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It moves more than it computes.
    Memory,
    /// It computes more than it moves.
    Arithmetic,
}

impl Measured {
    /// The time that the ceilings allow as a part of the time that it took, and which of them it is.
    pub fn of_ceiling(&self, ceilings: &Ceilings) -> (f64, Bound) {
        let moving = self.counts.bytes as f64 / ceilings.bytes_per_second;
        let computing = self.counts.flops as f64 / ceilings.flops_per_second;
        let bound = if computing > moving { Bound::Arithmetic } else { Bound::Memory };
        (moving.max(computing) / self.seconds, bound)
    }
}

/// How long `repetitions` runs take, until the device has done them.
///
/// # Errors
/// If the device fails.
pub fn time<B: Backend>(backend: &B, work: &mut Work, repetitions: u64) -> Result<Duration> {
    backend.run(|| {
        backend.synchronize()?;
        let start = Instant::now();
        for _ in 0..repetitions {
            work()?;
        }
        backend.synchronize()?;
        Ok(start.elapsed())
    })
}

/// The median of several samples that together take about `budget`, after a warm-up, in seconds for one run.
///
/// # Errors
/// If the device fails.
pub fn seconds<B: Backend>(backend: &B, work: &mut Work, budget: Duration) -> Result<f64> {
    time(backend, work, 2)?;
    let once = time(backend, work, 1)?.as_secs_f64().max(1e-9);
    // A device that works on its own is timed with a full queue: many runs between two waits.
    let repetitions = (budget.as_secs_f64() / f64::from(SAMPLES) / once).clamp(1.0, 1e5) as u64;
    let sample = |_| Ok(time(backend, work, repetitions)?.as_secs_f64() / repetitions as f64);
    let mut samples = (0..SAMPLES).map(sample).collect::<Result<Vec<_>>>()?;
    samples.sort_by(f64::total_cmp);
    Ok(samples[samples.len() / 2])
}

/// Measures both ceilings.
///
/// # Errors
/// If the device fails or has not the memory.
pub fn ceilings<B: Executor>(backend: &B, budget: Duration) -> Result<Ceilings> {
    // Larger than the caches of any device that is meant.
    const COPIED: usize = 1 << 26;
    const SUMS: usize = 1 << 19;
    const ROUNDS: usize = 256;
    let copied = COPIED / size_of::<B::Real>();
    let (be, source, mut target) = (backend.clone(), filled(backend, copied)?, backend.alloc(copied)?);
    let mut copy: Work = Box::new(move || be.copy(be.view(&source), be.view_mut(&mut target)));
    let bytes_per_second = 2.0 * COPIED as f64 / seconds(backend, &mut copy, budget)?;
    drop(copy);
    let (be, mut sums) = (backend.clone(), backend.alloc(SUMS)?);
    let mut chains: Work = Box::new(move || be.multiply_add_chains(ROUNDS, be.view_mut(&mut sums)));
    let dry = DryRun::<f32>::default();
    super::ceiling::CeilingOp::multiply_add_chains(&dry, ROUNDS, SUMS)?;
    let flops_per_second = dry.flops() as f64 / seconds(backend, &mut chains, budget)?;
    Ok(Ceilings { bytes_per_second, flops_per_second })
}

/// Measures one pass.
///
/// # Errors
/// If the device fails or has not the memory.
pub fn measure<B: Executor>(
    backend: &B,
    pass: &passes::Pass<B>,
    twin: &passes::Pass<DryRun>,
    budget: Duration,
) -> Result<Measured> {
    let mut work = pass.prepare(backend)?;
    let Counts { flops, bytes } = counted(twin)?;
    // The dry run counts numbers as f32.
    let bytes = bytes * size_of::<B::Real>() as u64 / 4;
    Ok(Measured { seconds: seconds(backend, &mut work, budget)?, counts: Counts { flops, bytes } })
}

/// The name of a backend's type of numbers.
pub fn type_name<B: Backend>() -> &'static str {
    B::Real::NAME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_the_nearer_ceiling() {
        let ceilings = Ceilings { bytes_per_second: 100.0, flops_per_second: 1000.0 };
        let measured = |flops, bytes| Measured { seconds: 2.0, counts: Counts { flops, bytes } }.of_ceiling(&ceilings);
        assert_eq!(measured(0, 100), (0.5, Bound::Memory));
        assert_eq!(measured(500, 100), (0.5, Bound::Memory));
        assert_eq!(measured(2000, 100), (1.0, Bound::Arithmetic));
    }
}
