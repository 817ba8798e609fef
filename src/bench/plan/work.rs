//! The work of a launch: what the PTX machine counted, and what the operation asks for.

use ptx_machine::machine::{Class, Counters};
use serde::Serialize;

use crate::device::Argument;
use crate::device::kernels::Kernel;

/// Words for groups of the machine's classes of instructions.
pub const CLASSES: [&str; 8] = ["float", "tensor", "integer", "move", "global", "shared", "local", "control"];

/// The group of a class: a place in [`CLASSES`].
fn group(class: Class) -> usize {
    match class {
        Class::F32 | Class::F64 | Class::Half | Class::Special => 0,
        Class::Tensor => 1,
        Class::Integer => 2,
        Class::Move | Class::Convert | Class::Constant => 3,
        Class::Global | Class::Atomic | Class::Copy => 4,
        Class::Shared => 5,
        Class::Local => 6,
        Class::Branch | Class::Barrier | Class::Warp => 7,
    }
}

/// The work of a launch, as it was counted on the PTX machine; where a sample of the blocks was counted, scaled to all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Work {
    /// Warp instructions of PTX, in the order of [`CLASSES`].
    #[serde(skip)]
    pub classes: [u64; CLASSES.len()],
    /// Blocks that were counted.
    pub counted_blocks: u64,
    /// Additions and multiplications of floating-point numbers, but for tensor cores.
    pub float_operations: u64,
    /// Those of tensor cores.
    pub tensor_operations: u64,
    /// Warp instructions that load from global memory.
    pub global_loads: u64,
    /// Sectors of 32 bytes of global memory that warp instructions ask for.
    pub sectors: u64,
    /// Passes of the banks of shared memory.
    pub shared_passes: u64,
    /// Of these, those that bank conflicts cost.
    pub conflict_passes: u64,
    /// Barriers, by warps.
    pub warp_barriers: u64,
}

impl Work {
    pub(super) fn of(counters: &Counters) -> Work {
        let Counters { global_loads, global_stores, shared_loads, shared_stores, .. } = counters;
        let passes = shared_loads.parts + shared_stores.parts;
        let mut work = Work {
            classes: [0; CLASSES.len()],
            counted_blocks: counters.sampled,
            float_operations: counters.float_operations,
            tensor_operations: counters.tensor_operations,
            global_loads: global_loads.requests,
            sectors: global_loads.parts + global_stores.parts,
            shared_passes: passes,
            conflict_passes: passes.saturating_sub(shared_loads.least + shared_stores.least),
            warp_barriers: counters.barriers,
        };
        for (&class, count) in &counters.warp_instructions {
            work.classes[group(class)] += count;
        }
        work
    }

    /// Warp instructions of all classes.
    pub fn instructions(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// The sum of two.
    #[must_use]
    pub fn and(&self, other: &Work) -> Work {
        Work {
            classes: std::array::from_fn(|class| self.classes[class] + other.classes[class]),
            counted_blocks: self.counted_blocks + other.counted_blocks,
            float_operations: self.float_operations + other.float_operations,
            tensor_operations: self.tensor_operations + other.tensor_operations,
            global_loads: self.global_loads + other.global_loads,
            sectors: self.sectors + other.sectors,
            shared_passes: self.shared_passes + other.shared_passes,
            conflict_passes: self.conflict_passes + other.conflict_passes,
            warp_barriers: self.warp_barriers + other.warp_barriers,
        }
    }
}

/// The sizes of an operation, as its first argument has them: 32 bits each.
fn sizes(argument: &Argument) -> Vec<u64> {
    let words = argument.bytes().chunks_exact(4);
    words.map(|word| u64::from(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))).collect()
}

/// Multiplications and additions of a linear layer's or a convolution's product, as its definition has them, whatever the kernel
/// really does; 0 of other kernels. They are those that a dry run counts.
pub fn product_flops(kernel: Kernel, arguments: &[Argument]) -> u64 {
    let first = arguments.first().map(sizes).unwrap_or_default();
    match (kernel.name(), first[..].as_ref()) {
        (name, [n, c, k]) if name.starts_with("linear_") => 2 * n * c * k,
        // n h w c k r s stride padding oh ow. The kernel that adds up partial sums multiplies nothing.
        (name, [n, _, _, c, k, r, s, _, _, oh, ow]) if name.starts_with("conv2d_") => 2 * n * oh * ow * k * r * s * c,
        // The gradient of a weight with one output: rows that are scaled and added up. Without a scale it is that of a bias.
        ("column_sums", [rows]) => {
            let scaled = arguments.get(3).is_some_and(|scales| scales.window().is_some());
            let columns = arguments.get(1).map(sizes).unwrap_or_default();
            if scaled { 2 * rows * columns.first().copied().unwrap_or_default() } else { 0 }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::launch::AsArgument;

    #[test]
    fn products_are_counted_by_their_sizes() {
        let linear = Argument::new([64i32, 62, 1024]);
        assert_eq!(product_flops(Kernel::LinearForward, &[linear]), 2 * 64 * 62 * 1024);
        let convolution = Argument::new([8i32, 28, 28, 1, 64, 4, 4, 2, 1, 14, 14]);
        let flops = 2 * 8 * 14 * 14 * 64 * 16;
        assert_eq!(product_flops(Kernel::Conv2dDirectForward, &[convolution]), flops);
        assert_eq!(product_flops(Kernel::BatchNormNormalise, &[convolution]), 0);
        let (number, window, none) = (|n: usize| n.argument(), Argument::of_window(4096, 8), Argument::new(0u64));
        let sums = |scales| product_flops(Kernel::ColumnSums, &[number(64), number(1024), window, scales]);
        assert_eq!((sums(window), sums(none)), (2 * 64 * 1024, 0));
    }
}
