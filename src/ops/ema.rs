//! Exponential moving average of weights: average ← decay · average + (1 − decay) · weights.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::{Backend, Cpu, In, Out, Real};

/// The average's update.
pub trait EmaOp: Backend {
    /// Updates `average` in place; both are of the same length, and `decay` is in `[0, 1)`.
    fn ema_update(&self, decay: f64, weights: In<'_, Self>, average: Out<'_, Self>) -> Result<()>;
}

impl<T: Real> EmaOp for Cpu<T> {
    fn ema_update(&self, decay: f64, weights: &[T], average: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        let (keep, take) = (T::of(decay), T::of(1.0 - decay));
        average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(average, weights)| {
            vectorised(|| average.iter_mut().zip(weights).for_each(|(a, &w)| *a = keep * *a + take * w));
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut average = vec![1.0, -1.0];
        cpu.ema_update(0.75, &[5.0, 3.0], &mut average).expect("update");
        assert_eq!(average, [2.0, 0.0]);
    }
}
