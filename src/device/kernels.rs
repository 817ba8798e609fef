//! What build.rs found in kernels/: a variant of [`Kernel`] for each kernel, the sizes of kernels/launch.h, and the code
//! compiled for GPUs, if nvcc was there.

#![allow(clippy::match_same_arms)]

include!(concat!(env!("OUT_DIR"), "/kernels.rs"));

// The threads' shares cover a tile, and a block is not larger than CUDA allows.
const _: () = {
    use size::{COLUMN_THREADS_X, COLUMN_THREADS_Y, THREAD_M, THREAD_N, TILE_M, TILE_N, TILE_THREADS};
    assert!(TILE_THREADS * THREAD_M * THREAD_N == TILE_M * TILE_N);
    assert!(COLUMN_THREADS_X * COLUMN_THREADS_Y <= 1024);
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_those_of_the_files() {
        assert_eq!(Kernel::AdamUpdate.name(), "adam_update");
        assert_eq!(Kernel::AdamUpdate.file(), "adam");
        let names: BTreeSet<_> = Kernel::ALL.iter().map(|kernel| kernel.name()).collect();
        assert_eq!(names.len(), Kernel::ALL.len(), "a name stands for two kernels");
    }

    #[test]
    fn every_file_is_compiled_for_both_types_or_none_is() {
        let files: BTreeSet<_> = Kernel::ALL.iter().map(|kernel| kernel.file()).collect();
        assert!(BINARIES.is_empty() || BINARIES.len() == 2 * files.len());
        assert_eq!(BINARIES.is_empty(), ARCHITECTURES.is_empty());
        for (file, real, bytes) in BINARIES {
            // The magic number of a fatbin.
            assert_eq!(bytes[..4], [0x50, 0xed, 0x55, 0xba], "{file} {real}");
        }
    }
}
