//! Arithmetic for its own sake: chains of multiply-adds, and of products on tensor cores, that stay in registers. How fast
//! they run is the ceiling that benchmarks hold the other operations against.

use crate::Result;
use crate::device::bf16::product_of_packed;
use crate::device::blocks::Unit;
use crate::device::cpu::dispatched;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::matrix::MatrixMut;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::tiles::{Packed, Side};
use crate::device::{Accelerator, Backend, Cpu, DryRun, Out, Precision, Real, Storage, Window};
use crate::ops::Case;
use crate::ops::pass::Pass;

/// Chains that run side by side, so that none waits for another's result.
const CHAINS: usize = 16;

/// The chains.
pub trait CeilingOp: Backend {
    /// y`[i]` = the sum of 16 numbers x, each begun as (i mod 7) + its index and then replaced `rounds` times by
    /// x · 0.75 + 0.25; overwrites. Twice 16 · rounds · len multiplications and additions.
    fn multiply_add_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()>;

    /// y`[i]` = the sum of 16 numbers, each begun as (i mod 7) + its index and then raised `rounds` times by 1, which is a
    /// product of depth 16 of ¼ and ¼; overwrites. Twice 16 · 16 · rounds · len multiplications and additions, and exact
    /// up to 2¹⁶ rounds, in any order of the sums.
    ///
    /// If linear layers and convolutions run on tensor cores or in bf16 on the CPU ([`Backend::precision`]), these chains do
    /// too: it is their ceiling. Elsewhere they are [`CeilingOp::multiply_add_chains`] of 16 · rounds links x · 1 + ¼ · ¼.
    fn product_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()>;
}

/// One link of a chain: x · factor + addend.
#[derive(Debug, Clone, Copy)]
struct Link {
    factor: f64,
    addend: f64,
}

/// Chains of their own: x stays below its beginning.
const MULTIPLY_ADD: Link = Link { factor: 0.75, addend: 0.25 };
/// Both operands of a product on tensor cores, which tf32 and bf16 hold exactly.
const OPERAND: f64 = 0.25;
/// Depth of the product that a round adds.
const DEPTH: usize = 16;
/// A step along the depth of that product.
const PRODUCT: Link = Link { factor: 1.0, addend: OPERAND * OPERAND };

/// The chains of one vector of elements, which begin at element `first`.
#[inline(always)]
#[allow(clippy::needless_range_loop)]
fn chains<T: Real, const LANES: usize>(links: usize, link: Link, first: usize, y: &mut [T]) {
    let (factor, addend) = (T::of(link.factor), T::of(link.addend));
    let mut x = [[T::ZERO; LANES]; CHAINS];
    // Loops over numbers, not closures: only so does the compiler keep the array in registers.
    for chain in 0..CHAINS {
        for lane in 0..LANES {
            x[chain][lane] = T::of(((first + lane) % 7 + chain) as f64);
        }
    }
    for _ in 0..links {
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
    links: usize,
    link: Link,
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
            let Part { links, link, .. } = self;
            if lanes == 8 { chains::<T, 8>(links, link, first, y) } else { chains::<T, 4>(links, link, first, y) }
        }
    }
}

/// Chains of `links` links, a few elements a thread.
fn all_chains<T: Real>(links: usize, link: Link, y: &mut [T]) {
    const CHUNK: usize = 256;
    let parts = y.par_chunks_mut(CHUNK).enumerate();
    parts.for_each(|(chunk, y)| dispatched(Part { links, link, first: chunk * CHUNK, y }));
}

impl<T: Real, S: Storage<T>> CeilingOp for Cpu<T, S> {
    fn multiply_add_chains(&self, rounds: usize, y: &mut [T]) -> Result<()> {
        all_chains(rounds, MULTIPLY_ADD, y);
        Ok(())
    }
    fn product_chains(&self, rounds: usize, y: &mut [T]) -> Result<()> {
        match Unit::best() {
            // A CPU that rounds computes in f32.
            Some(unit) if self.precision() == Precision::Bf16 => tile_chains(unit, rounds, bytemuck::cast_slice_mut(y)),
            _ => all_chains(rounds * DEPTH, PRODUCT, y),
        }
        Ok(())
    }
}

/// Chains as a block of sums of a product in bf16, all of whose operands are ¼ and stay in the caches.
fn tile_chains(unit: Unit, rounds: usize, y: &mut [f32]) {
    const SIDE: usize = 32;
    const STEPS: usize = 512;
    let operands = |depth: usize| {
        let run = [OPERAND as f32; SIDE];
        [Side::Left, Side::Right].map(|side| {
            let mut packed = Packed::default();
            packed.fill_along(side, (SIDE, depth), |_| |_| Some(&run[..]));
            packed
        })
    };
    let depth = rounds * DEPTH;
    let (whole, rest) = (operands(STEPS), operands(depth % STEPS));
    let parts = y.par_chunks_mut(SIDE * SIDE / CHAINS).enumerate();
    parts.for_each(|(part, y)| {
        let first = part * SIDE * SIDE / CHAINS;
        let mut x: Vec<f32> = (0..SIDE * SIDE).map(|i| ((first + i / CHAINS) % 7 + i % CHAINS) as f32).collect();
        let mut target = MatrixMut::dense(&mut x, SIDE, SIDE);
        for [left, right] in std::iter::repeat_n(&whole, depth / STEPS).chain([&rest]) {
            product_of_packed(unit, &mut target, true, left, right);
        }
        for (y, chains) in y.iter_mut().zip(x.chunks_exact(CHAINS)) {
            *y = chains.iter().sum();
        }
    });
}

impl<T: Real, S: Storage<T>> Accelerator<T, S> {
    /// Any of the kernels: they all take a count, two numbers and y.
    fn launch_chains(&self, kernel: Kernel, count: usize, numbers: [f64; 2], y: Out<'_, Self>) -> Result<()> {
        let [first, second] = numbers.map(T::of);
        self.launch_elements(kernel, y.len(), &arguments![count, first, second, y, y.len() as u64])
    }
}

impl<T: Real, S: Storage<T>> CeilingOp for Accelerator<T, S> {
    fn multiply_add_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()> {
        let Link { factor, addend } = MULTIPLY_ADD;
        self.launch_chains(Kernel::MultiplyAddChains, rounds, [factor, addend], y)
    }
    fn product_chains(&self, rounds: usize, y: Out<'_, Self>) -> Result<()> {
        let Link { factor, addend } = PRODUCT;
        match self.precision() {
            Precision::F32 => self.launch_chains(Kernel::MultiplyAddChains, rounds * DEPTH, [factor, addend], y),
            Precision::Tf32 | Precision::Bf16 => {
                self.launch_chains(Kernel::ProductChainsTensor, rounds, [OPERAND; 2], y)
            }
        }
    }
}

impl<T: Real, S: Storage<T>> CeilingOp for DryRun<T, S> {
    fn multiply_add_chains(&self, rounds: usize, y: Window) -> Result<()> {
        self.multiplies(&[CHAINS, rounds, self.len::<T>(y)]);
        Ok(())
    }
    fn product_chains(&self, rounds: usize, y: Window) -> Result<()> {
        self.multiplies(&[CHAINS, DEPTH, rounds, self.len::<T>(y)]);
        Ok(())
    }
}

/// No round, few and many; lengths below and above a vector, a warp and a block.
pub fn cases<B: CeilingOp>() -> Vec<Case<B>> {
    let sizes = [(0, 3), (1, 17), (5, 33), (40, 300)];
    let plain = sizes.map(|(rounds, len)| {
        case("MultiplyAdd", rounds, len).forward(move |be: &B, [_], [y]| be.multiply_add_chains(rounds, y.real()))
    });
    let products = sizes.map(|(rounds, len)| {
        case("Product", rounds, len).forward(move |be: &B, [_], [y]| be.product_chains(rounds, y.real()))
    });
    plain.into_iter().chain(products).collect()
}

fn case<B: CeilingOp>(chains: &str, rounds: usize, len: usize) -> Case<B> {
    // A case without inputs is held to one rounding, and these chains round many times.
    Case::new("ceiling", format!("{chains} rounds{rounds} len{len}")).real_input("unused", 1).real_output("y", len)
}

/// None: the ceilings are measured by themselves, before every pass.
pub(super) fn passes<B: CeilingOp>() -> [Pass<B>; 0] {
    []
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

    /// Every round adds 1 to each of the sixteen, in either type and however often.
    #[test]
    fn products_by_hand() {
        fn check<T: Real, S: Storage<T>>(cpu: &Cpu<T, S>) {
            let mut y = [T::ZERO; 150];
            cpu.product_chains(1000, &mut y).expect("chains");
            for (i, y) in y.into_iter().enumerate() {
                let begun: usize = (0..16).map(|chain| i % 7 + chain).sum();
                assert_eq!(y.to_f64(), (begun + 16 * 1000) as f64);
            }
        }
        check(&Cpu::<f64>::new(Some(1)).expect("a thread"));
        check(&Cpu::<f32>::new(Some(1)).expect("a thread"));
        check(&Cpu::in_tf32(Some(1)).expect("a thread"));
        check(&Cpu::<f32, half::bf16>::new(Some(1)).expect("a thread"));
    }

    /// A round of 32 lanes on tensor cores is four products of 16 × 8 × 16.
    #[test]
    fn products_are_counted() {
        let dry = DryRun::<f32>::default();
        dry.product_chains(3, dry.view::<f32>(&64)).expect("a count");
        assert_eq!(dry.flops(), 2 * 3 * 4 * (16 * 8 * 16) * 2);
    }
}
