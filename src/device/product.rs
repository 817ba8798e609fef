//! Launches of matrix products: which tile a block computes, and into how many parts a product with few tiles is split along
//! its depth, so that a GPU is full. Sizes alone decide, and so the order of every sum is fixed.

use super::accelerator::int;
use super::kernels::{Kernel, size};
use super::launch::{Argument, arguments};
use super::{Accelerator, Backend, In, Out, Precision, Real};
use crate::Result;

/// A product as kernels compute it, `times` of them side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// The kernels, in the order of [`Precision::ALL`].
    pub kernels: [Kernel; 3],
    /// Rows of the output, M.
    pub rows: usize,
    /// Columns of the output, N.
    pub columns: usize,
    /// Terms of each sum, K: those of the deepest, where `times` products differ.
    pub depth: usize,
    /// Products side by side.
    pub times: usize,
}

/// What a block computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    rows: u32,
    columns: u32,
    threads: u32,
}

/// How a product is split along its depth: `parts` of `length`, the last one shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    /// Parts.
    pub parts: usize,
    /// Depth of a part.
    pub length: usize,
}

/// The kernel of a precision, and its tile.
fn kernel_of(precision: Precision, [plain, tf32, bf16]: [Kernel; 3]) -> (Kernel, Tile) {
    let scalar = Tile { rows: size::TILE_M, columns: size::TILE_N, threads: size::TILE_THREADS };
    let tensor = Tile { rows: size::TENSOR_M, columns: size::TENSOR_N, threads: size::TENSOR_THREADS };
    match precision {
        Precision::F32 => (plain, scalar),
        Precision::Tf32 => (tf32, tensor),
        Precision::Bf16 => (bf16, tensor),
    }
}

/// How to split a product of `tiles` tiles, `depth` deep.
///
/// With p parts the busiest of [`size::MULTIPROCESSORS`] does ⌈tiles p / multiprocessors⌉ / p of a tile's work. The p that
/// makes this least is taken, the larger one of equals, among those that give no multiprocessor more than
/// [`size::SPLIT_WAVES`] blocks. A split costs a launch, and every part is written and read: it must save a quarter.
pub(crate) fn split(tiles: usize, depth: usize) -> Split {
    let multiprocessors = size::MULTIPROCESSORS as usize;
    let most = (size::SPLIT_WAVES as usize * multiprocessors / tiles.max(1)).min(depth / size::SPLIT_LEAST as usize);
    let blocks = |parts: usize| (tiles * parts).div_ceil(multiprocessors);
    // blocks(p) / p, compared without a division.
    let better = |best: usize, p: usize| if blocks(p) * best <= blocks(best) * p { p } else { best };
    let best = (1..=most).fold(1, better);
    if blocks(best) * 4 > blocks(1) * best * 3 {
        return Split { parts: 1, length: depth };
    }
    let length = depth.div_ceil(best).next_multiple_of(size::SPLIT_STEP as usize);
    Split { parts: depth.div_ceil(length), length }
}

impl<T: Real> Accelerator<T> {
    /// How this product is split.
    pub(crate) fn split_of(&self, product: &Product) -> Split {
        let (_, tile) = kernel_of(self.precision(), product.kernels);
        let tiles = product.rows.div_ceil(tile.rows as usize) * product.columns.div_ceil(tile.columns as usize);
        split(tiles * product.times, product.depth)
    }

    /// Runs a product in `parts` parts: a block a tile, x walking the rows' tiles (which may be more than y can count), y
    /// the columns', and z the products of one part, then of the next.
    pub(crate) fn launch_product(&self, product: &Product, parts: usize, arguments: &[Argument]) -> Result<()> {
        let (kernel, tile) = kernel_of(self.precision(), product.kernels);
        let [rows, columns, times] =
            [product.rows, product.columns, product.times * parts].map(|count| int(count).unsigned_abs());
        let grid = [rows.div_ceil(tile.rows), columns.div_ceil(tile.columns), times];
        self.launch(kernel, grid, [tile.threads, 1, 1], arguments)
    }

    /// Runs a product with one column: the kernel of the chosen precision, a block a row.
    pub(crate) fn launch_product_rows(&self, kernels: [Kernel; 3], rows: usize, arguments: &[Argument]) -> Result<()> {
        let (kernel, _) = kernel_of(self.precision(), kernels);
        self.launch(kernel, [int(rows).unsigned_abs(), 1, 1], [size::ROW_THREADS, 1, 1], arguments)
    }

    /// Runs a product whose output `y` is a matrix of `bias.1` columns, to which a bias of as many numbers is added if
    /// there is one: as one, or in parts that are joined then. `arguments` are those of the kernel for a part's length, the
    /// bias that it adds and the output that it writes.
    pub(crate) fn launch_split<const N: usize>(
        &self,
        product: &Product,
        (b, columns): (Option<In<'_, Self>>, usize),
        y: Out<'_, Self>,
        arguments: impl Fn(usize, Option<In<'_, Self>>, &Out<'_, Self>) -> [Argument; N],
    ) -> Result<()> {
        let Split { parts, length } = self.split_of(product);
        if parts == 1 {
            return self.launch_product(product, 1, &arguments(length, b, &y));
        }
        self.with_workspace(parts * y.len(), |partial: Out<'_, Self>| {
            self.launch_product(product, parts, &arguments(length, None, &partial))?;
            let joined = arguments![parts, columns, y.len() as u64, partial, b, y];
            self.launch_elements(Kernel::LinearJoinParts, y.len(), &joined)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_tiles_are_split_and_many_are_not() {
        let parts = |tiles, depth| split(tiles, depth).parts;
        // The linear layers of vgan-mnist at a batch of 64: 6272 → 1024 and 1024 → 6272, of which two fill no GPU better.
        assert_eq!(split(16, 6272), Split { parts: 16, length: 416 });
        assert_eq!(parts(98, 1024), 1);
        assert_eq!(parts(32, 6272), 8);
        // One tile: as many parts as there is depth for.
        assert_eq!(split(1, 1024), Split { parts: 16, length: 64 });
        assert_eq!(split(1, 62), Split { parts: 1, length: 62 });
        assert_eq!(split(1, 130), Split { parts: 2, length: 96 });
        assert_eq!([132, 196, 264, 1000].map(|tiles| parts(tiles, 1 << 20)), [1; 4]);
        assert_eq!((parts(0, 1000), parts(5, 0)), (15, 1));
    }

    /// Parts cover the depth, none is empty, each begins at a whole stage, and no multiprocessor has more than two blocks.
    #[test]
    fn parts_are_whole_stages_and_cover_the_depth() {
        for tiles in 1..300 {
            for depth in [1, 31, 32, 63, 64, 65, 100, 127, 128, 129, 1000, 1024, 4095, 6272, 100_000] {
                let Split { parts, length } = split(tiles, depth);
                assert!(parts * length >= depth && (parts - 1) * length < depth, "{tiles} tiles, {depth} deep");
                if parts > 1 {
                    assert!(length.is_multiple_of(size::SPLIT_STEP as usize), "{tiles} tiles, {depth} deep");
                    assert!(tiles * parts <= (size::SPLIT_WAVES * size::MULTIPROCESSORS) as usize);
                }
            }
        }
    }
}
