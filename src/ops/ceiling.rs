//! Arithmetic for its own sake: chains of multiply-adds that stay in registers. How fast they run is the ceiling that
//! benchmarks hold the other operations against.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, DryRun, Launcher, Out, Real};
use crate::ops::{Case, Executor, Tensor};

/// Chains that run side by side, so that none waits for another's result.
const CHAINS: usize = 16;

/// The chains.
pub trait CeilingOp: Backend {
    /// y`[i]` = the sum of 16 numbers x, each begun as (i mod 7) + its index and then replaced `rounds` times by
    /// x · 0.75 + 0.25; overwrites. Twice 16 · rounds · len multiplications and additions.
    fn multiply_add_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()>;
}

const FACTOR: f64 = 0.75;
const ADDEND: f64 = 0.25;

/// The chains of one vector of elements, which begin at element `first`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn chains<T: Real, const LANES: usize>(rounds: usize, first: usize, y: &mut [T]) {
    let (factor, addend) = (T::of(FACTOR), T::of(ADDEND));
    let mut x = [[T::ZERO; LANES]; CHAINS];
    // Loops over numbers, not closures: only so does the compiler keep the array in registers.
    for chain in 0..CHAINS {
        for lane in 0..LANES {
            x[chain][lane] = T::of(((first + lane) % 7 + chain) as f64);
        }
    }
    for _ in 0..rounds {
        for chain in 0..CHAINS {
            for lane in 0..LANES {
                x[chain][lane] = x[chain][lane].mul_add(factor, addend);
            }
        }
    }
    for (lane, y) in y.iter_mut().enumerate() {
        let mut sum = T::ZERO;
        for chain in &x {
            sum += chain[lane];
        }
        *y = sum;
    }
}

/// The chains of some elements, of which the first is element `first`.
struct Part<'a, T> {
    rounds: usize,
    first: usize,
    y: &'a mut [T],
}

impl<T: Real> pulp::NullaryFnOnce for Part<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        // 32 bytes in either type: with more the compiler gives up on registers.
        let lanes = 32 / size_of::<T>();
        for (part, y) in self.y.chunks_mut(lanes).enumerate() {
            let first = self.first + part * lanes;
            if lanes == 8 { chains::<T, 8>(self.rounds, first, y) } else { chains::<T, 4>(self.rounds, first, y) }
        }
    }
}

impl<T: Real> CeilingOp for Cpu<T> {
    fn multiply_add_chains(&self, rounds: usize, y: &mut [T]) -> Result<()> {
        const CHUNK: usize = 256;
        let parts = y.par_chunks_mut(CHUNK).enumerate();
        parts.for_each(|(chunk, y)| vectorised(Part { rounds, first: chunk * CHUNK, y }));
        Ok(())
    }
}

impl<L: Launcher, T: Real> CeilingOp for Accelerator<L, T> {
    fn multiply_add_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()> {
        let rounds = Argument::new(crate::device::accelerator::int(rounds));
        let [factor, addend] = [FACTOR, ADDEND].map(|value| Argument::new(T::of(value)));
        let arguments = [rounds, factor, addend, y.argument(), Argument::new(y.len() as u64)];
        self.launch_elements(Kernel::MultiplyAddChains, y.len(), &arguments)
    }
}

impl<T: Real> CeilingOp for DryRun<T> {
    fn multiply_add_chains(&self, rounds: usize, y: usize) -> Result<()> {
        self.multiplies(&[CHAINS, rounds, y]);
        Ok(())
    }
}

struct CeilingCase {
    rounds: usize,
    len: usize,
}

/// No round, few and many; lengths below and above a vector.
pub fn cases<B: Executor>() -> Vec<Box<dyn Case<B>>> {
    let size = |rounds, len| Box::new(CeilingCase { rounds, len }) as Box<dyn Case<B>>;
    vec![size(0, 3), size(1, 17), size(5, 33), size(40, 300)]
}

impl<B: Executor> Case<B> for CeilingCase {
    fn op(&self) -> &'static str {
        "ceiling"
    }
    fn name(&self) -> String {
        format!("rounds{} len{}", self.rounds, self.len)
    }
    fn inputs(&self) -> Vec<Tensor> {
        // A case without inputs is held to one rounding, and these chains round many times.
        vec![Tensor::new("unused", 1)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.len)]
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, _inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        be.multiply_add_chains(self.rounds, be.view_mut(&mut outputs[0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut y = [0.0; 10];
        cpu.multiply_add_chains(2, &mut y).expect("chains");
        // Two rounds give x · 9/16 + 7/16; the sixteen begin at (i mod 7) + 0 … 15.
        for (i, y) in y.into_iter().enumerate() {
            let begun: f64 = (0..16).map(|chain| (i % 7 + chain) as f64).sum();
            assert_eq!(y, begun * 9.0 / 16.0 + 7.0);
        }
    }
}
