//! The kernels that build.rs found in kernels/: a variant of [`Kernel`] for each kernel, the sizes of
//! kernels/lib/launch.h, and the code compiled for GPUs, if nvcc was there.

#![allow(clippy::match_same_arms)]

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

/// The size of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TileSize {
    /// For few rows or columns, and for f64.
    Narrow,
    /// For large products.
    Wide,
}

impl TileSize {
    /// Both.
    pub const ALL: [TileSize; 2] = [TileSize::Narrow, TileSize::Wide];
}

// The shares of threads and warps cover a tile, and a block is not larger than CUDA allows.
const _: () = {
    use size::{COLUMN_THREADS_X, COLUMN_THREADS_Y, SPLIT_STEP, TILE_K};
    // Parts of a product are whole stages, and so only the last one has a stage with zeros; product_tensor.cuh holds its own
    // against it, and both files the shares of threads and warps against their tile.
    assert!(SPLIT_STEP.is_multiple_of(TILE_K));
    assert!(COLUMN_THREADS_X * COLUMN_THREADS_Y <= 1024);
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        assert_eq!(Kernel::AdamUpdate.name(), "adam_update");
        assert_eq!(Kernel::AdamUpdate.file(), "optimizers/adam");
        let names: BTreeSet<_> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
        assert_eq!(names.len(), Kernel::ALL.len(), "a name stands for two kernels");
    }

    /// Tensor cores know no f64, wide tiles are of f32 alone, and what ends in `_bf16` of bf16.
    #[test]
    fn every_file_is_compiled_in_its_forms_or_none_is() {
        let files: BTreeSet<_> = Kernel::ALL.iter().map(|kernel| kernel.file()).collect();
        let types = |file: &str| match file.rsplit('_').next() {
            Some("wide") => vec!["f32"],
            Some("tensor") => vec!["f32", "bf16"],
            Some("bf16") => vec!["bf16"],
            _ => vec!["f32", "bf16", "f64"],
        };
        let expected: BTreeSet<_> =
            files.iter().flat_map(|file| types(file).into_iter().map(move |t| (*file, t))).collect();
        let compiled: BTreeSet<_> = BINARIES.iter().map(|(file, real, _)| (*file, *real)).collect();
        assert!(BINARIES.is_empty() || compiled == expected, "{compiled:?}");
        assert_eq!(BINARIES.is_empty(), ARCHITECTURES.is_empty());
        for (file, real, bytes) in BINARIES {
            // The magic number of a fatbin.
            assert_eq!(bytes[..4], [0x50, 0xed, 0x55, 0xba], "{file} {real}");
        }
    }
}
