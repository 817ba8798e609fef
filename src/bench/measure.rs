//! Times passes and the ceilings that they are held against; `vgan-cuda bench` and benches/operations.rs share it.

use std::time::Duration;

use crate::device::{Backend, DryRun, Out, Precision, Real, Window};
use crate::ops::pass::{Counts, Work, counted, filled};
use crate::ops::roofline::ceiling::CeilingOp;
use crate::ops::{self, Executor, pass};
use crate::{Error, Result};

/// Samples that a median is taken of.
const SAMPLES: u32 = 7;

/// The dry run that counts what a backend computes, in its own numbers.
pub type Twin<B> = DryRun<<B as Backend>::Real, <B as Backend>::Storage>;

/// The best rates of the device, measured on itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ceilings {
    /// Bytes a second of a copy within the device's memory, read and written.
    pub bytes_per_second: f64,
    /// Multiplications and additions a second that stay in registers, on the ordinary units.
    pub fma_flops_per_second: f64,
    /// The same on tensor cores, where linear layers and convolutions run on them.
    pub mma_flops_per_second: Option<f64>,
}

/// One pass, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The median of the samples, for one run.
    pub seconds: f64,
    /// The arithmetic of one run, and the bytes that it moves.
    pub counts: Counts,
}

/// The ceiling that a pass lies under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// It moves more than it computes.
    Memory,
    /// It computes more than it moves, on the ordinary units.
    Arithmetic,
    /// It computes more than it moves, where products run on tensor cores.
    TensorCores,
}

impl Measured {
    /// The time that the ceilings allow as a part of the time that it took, and which of them it is.
    ///
    /// Only products (linear layers and convolutions) are counted as arithmetic, so the ceiling of tensor cores,
    /// where there is one, is that of all arithmetic. Convolutions of few channels that have no kernel on tensor cores are held
    /// against it too: it is what could be had.
    pub fn of_ceiling(&self, ceilings: &Ceilings) -> (f64, Bound) {
        let moving = self.counts.bytes as f64 / ceilings.bytes_per_second;
        let (unit, flops_per_second) = match ceilings.mma_flops_per_second {
            Some(mma) => (Bound::TensorCores, mma),
            None => (Bound::Arithmetic, ceilings.fma_flops_per_second),
        };
        let computing = self.counts.flops as f64 / flops_per_second;
        let bound = if computing > moving { unit } else { Bound::Memory };
        (moving.max(computing) / self.seconds, bound)
    }
}

/// Returns the time of `repetitions` runs on the device, one behind the other, by its own clock if it has one.
///
/// # Errors
/// If the device fails.
pub fn time<B: Backend>(backend: &B, work: &mut Work, repetitions: u64) -> Result<Duration> {
    backend.run(|| backend.timed(&mut || (0..repetitions).try_for_each(|_| work())))
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

/// Measures all ceilings.
///
/// # Errors
/// If the device fails or has not the memory.
pub fn ceilings<B: Executor>(backend: &B, budget: Duration) -> Result<Ceilings> {
    // Larger than the caches of any device that is meant.
    const COPIED: usize = 1 << 26;
    let copied = COPIED / size_of::<B::Real>();
    let (be, source, mut target) = (backend.clone(), filled(backend, copied)?, backend.alloc(copied)?);
    let mut copy: Work = Box::new(move || be.copy(be.view(&source), be.view_mut(&mut target)));
    let bytes_per_second = 2.0 * COPIED as f64 / seconds(backend, &mut copy, budget)?;
    drop(copy);
    let fma = chains_per_second(backend, budget, B::multiply_add_chains, DryRun::multiply_add_chains)?;
    let mma = match backend.precision() {
        Precision::F32 => None,
        _ => Some(chains_per_second(backend, budget, B::product_chains, DryRun::product_chains)?),
    };
    Ok(Ceilings { bytes_per_second, fma_flops_per_second: fma, mma_flops_per_second: mma })
}

/// Multiplications and additions a second of chains that stay in registers; `counted` are the same on a dry run.
fn chains_per_second<B: Executor>(
    backend: &B,
    budget: Duration,
    chains: impl Fn(&B, usize, Out<'_, B>) -> Result<()> + Send + 'static,
    counted: impl Fn(&DryRun, usize, Window) -> Result<()>,
) -> Result<f64> {
    const SUMS: usize = 1 << 19;
    const ROUNDS: usize = 256;
    let (be, mut sums) = (backend.clone(), backend.alloc(SUMS)?);
    let mut work: Work = Box::new(move || chains(&be, ROUNDS, be.view_mut(&mut sums)));
    let dry = DryRun::<f32>::default();
    counted(&dry, ROUNDS, dry.view::<f32>(&SUMS))?;
    Ok(dry.flops() as f64 / seconds(backend, &mut work, budget)?)
}

/// Each pass beside its twin that counts: those whose operation, size or name contains a text.
///
/// # Errors
/// [`Error::Usage`] where the text is in none.
pub fn chosen<B: Executor>(filter: Option<&str>) -> Result<Vec<(pass::Pass<B>, pass::Pass<Twin<B>>)>> {
    let mut passes: Vec<_> = ops::passes::<B>().into_iter().zip(ops::passes::<Twin<B>>()).collect();
    let mut names: Vec<&str> = passes.iter().map(|(pass, _)| pass.op).collect();
    names.sort_unstable();
    names.dedup();
    if let Some(text) = filter {
        passes.retain(|(pass, _)| pass.op.contains(text) || pass.shape.contains(text) || pass.pass.contains(text));
        if passes.is_empty() {
            let names = names.join(", ");
            return Err(Error::Usage(format!("--filter {text} matches no pass; the operations are {names}")));
        }
    }
    Ok(passes)
}

/// Measures one pass.
///
/// # Errors
/// If the device fails or has not the memory.
pub fn measure<B: Executor>(
    backend: &B,
    pass: &pass::Pass<B>,
    twin: &pass::Pass<Twin<B>>,
    budget: Duration,
) -> Result<Measured> {
    let mut work = pass.prepare(backend)?;
    Ok(Measured { seconds: seconds(backend, &mut work, budget)?, counts: counted(twin)? })
}

/// The name of what a backend computes with: its type of numbers, or what the operands of its products are rounded to.
pub fn type_name<B: Backend>(backend: &B) -> &'static str {
    match backend.precision() {
        Precision::F32 => B::Real::NAME,
        rounded => rounded.word(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_are_of_the_nearer_ceiling() {
        let fma = Ceilings { bytes_per_second: 100.0, fma_flops_per_second: 1000.0, mma_flops_per_second: None };
        let mma = Ceilings { mma_flops_per_second: Some(8000.0), ..fma };
        let of = |ceilings: &Ceilings, flops, bytes| {
            Measured { seconds: 2.0, counts: Counts { flops, bytes } }.of_ceiling(ceilings)
        };
        assert_eq!(of(&fma, 0, 100), (0.5, Bound::Memory));
        assert_eq!(of(&fma, 500, 100), (0.5, Bound::Memory));
        assert_eq!(of(&fma, 2000, 100), (1.0, Bound::Arithmetic));
        assert_eq!(of(&mma, 0, 100), (0.5, Bound::Memory));
        assert_eq!(of(&mma, 2000, 100), (0.5, Bound::Memory), "what fma bounds, tensor cores may not");
        assert_eq!(of(&mma, 16_000, 100), (1.0, Bound::TensorCores));
    }

    #[test]
    fn the_host_times_work_once_and_hands_on_its_errors() {
        let cpu = crate::device::Cpu::<f32>::new(Some(1)).expect("threads");
        let mut runs = 0;
        let took = cpu
            .timed(&mut || {
                runs += 1;
                std::thread::sleep(Duration::from_millis(2));
                Ok(())
            })
            .expect("a time");
        assert!(runs == 1 && took >= Duration::from_millis(2), "{runs} runs in {took:?}");
        let failing = cpu.timed(&mut || Err(crate::Error::Internal("on purpose".into())));
        assert!(failing.is_err());
    }
}
