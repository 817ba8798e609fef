//! Tests against the ISA's formulas, typed in here in their own form, and against naive arithmetic.

mod copies;
mod matrix;
mod mbarrier;
mod mma;
mod numbers;
mod ptx_copies;
mod ptx_matrix;
mod ptx_wgmma;
mod swizzle;
mod tensor_map;
mod wgmma;

/// Pseudo-random numbers (a linear congruence, upper bits): the same on every machine, with no dependency.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as u32
    }

    /// 0 to `n` - 1.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }

    /// -1 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from(self.next()) / f64::from(1u32 << 30) - 1.0
    }
}
