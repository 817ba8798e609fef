//! Launches of matrix products: which tile a block computes, and into how many parts a product is split along its depth, so
//! that a GPU is full. Sizes alone decide, and so the order of every sum is fixed.

use std::sync::Arc;

use super::accelerator::int;
pub use super::kernels::TileSize;
use super::kernels::{Kernel, size};
use super::launch::{Argument, arguments};
use super::trial::{Plan, Trial};
use super::{Accelerator, Backend, In, Out, Precision, Real, Storage, StoredOut};
use crate::Result;

/// A product as kernels compute it, `times` of them side by side.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Product {
    /// The kernels in narrow tiles: on plain units, on tensor cores.
    pub narrow: [Kernel; 2],
    /// The same in wide tiles.
    pub wide: [Kernel; 2],
    /// Rows of the output, M.
    pub rows: usize,
    /// Columns of the output, N.
    pub columns: usize,
    /// Terms of each sum, K: those of the deepest, where `times` products differ.
    pub depth: usize,
    /// Products side by side.
    pub times: usize,
}

/// The tile that a block computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    size: TileSize,
    rows: u32,
    columns: u32,
    /// Threads of its block, in the order of [`Precision::ALL`].
    threads: [u32; 3],
    /// Multiplications and additions of a multiprocessor in a clock, in the order of [`Precision::ALL`].
    rates: [u64; 3],
}

// What the rates come from, for a stage of 64 × 64 and of 128 × 128 sums:
//
// | units | a stage | bound by | narrow | wide |
// |---|---|---|---|---|
// | f32 | 16 deep | instructions when the table was made, of which 256 multiply and add at 128 a clock | 366 → 90 | 316 → 103 |
// | tf32 | 16 deep | passes of shared memory to load and store, and of 128 bytes to fetch | 256 → 256 | 640 → 410 |
// | bf16 | 32 deep | the same | 256 → 512 | 512 → 1024 |
//
// The wide tile loads less for each sum; the narrow one leaves less empty where rows or columns are few, and fills a GPU
// sooner. f64 has the narrow tile alone: the registers do not hold the wide one.
const NARROW: Tile = Tile {
    size: TileSize::Narrow,
    rows: size::NARROW_M,
    columns: size::NARROW_N,
    threads: [size::NARROW_THREADS; 3],
    rates: [90, 256, 512],
};
const WIDE: Tile = Tile {
    size: TileSize::Wide,
    rows: size::WIDE_M,
    columns: size::WIDE_N,
    threads: [size::WIDE_THREADS, size::WIDE_THREADS, size::WIDE_BF16_THREADS],
    rates: [103, 410, 1024],
};

/// Arguments of a kernel that say what is done to each number v of its output before it is stored: the slope of the negative side
/// of a function f, values of f by whose slope v is multiplied or null, which is f(v), scale, and base or null: base + scale · v.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End(pub(crate) [Argument; 4]);

impl End {
    /// v as it is.
    pub(crate) fn none<T: Real>() -> End {
        let null = Argument::new(0u64);
        End([T::ONE.argument(), null, T::ONE.argument(), null])
    }
}

/// Clocks of one more launch: 0.9 µs.
const LAUNCH_CLOCKS: u64 = 1_800;
/// Bytes of the memory of an H200 in a clock of its multiprocessors.
const BYTES_A_CLOCK: u64 = 2_424;

/// The one of three in the order of [`Precision::ALL`].
fn of_precision<V>(precision: Precision, [plain, tf32, bf16]: [V; 3]) -> V {
    match precision {
        Precision::F32 => plain,
        Precision::Tf32 => tf32,
        Precision::Bf16 => bf16,
    }
}

/// The division of a product: `parts` of its depth, `length` each, the last one shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Split {
    tile: Tile,
    /// Parts.
    pub parts: usize,
    /// Depth of a part.
    pub length: usize,
}

impl Tile {
    /// Blocks that compute an output, whatever their number along the depth.
    fn blocks(&self, [rows, columns, _]: [usize; 3], times: usize) -> usize {
        rows.div_ceil(self.rows as usize) * columns.div_ceil(self.columns as usize) * times
    }

    /// `depth` in so many parts, or fewer: each is whole stages.
    fn split(self, depth: usize, parts: usize) -> Split {
        if parts == 1 {
            return Split { tile: self, parts, length: depth };
        }
        let length = depth.div_ceil(parts).next_multiple_of(size::SPLIT_STEP as usize);
        Split { tile: self, parts: depth.div_ceil(length), length }
    }
}

impl Split {
    /// Clocks, estimated: those of the multiprocessor with the most blocks; of a split also another launch, and the parts,
    /// which are written and read.
    fn clocks(&self, precision: Precision, sizes: [usize; 3], times: usize) -> u64 {
        let [rows, columns, _] = sizes.map(|len| len as u64);
        let blocks = (self.tile.blocks(sizes, times) * self.parts).div_ceil(size::MULTIPROCESSORS as usize) as u64;
        let area = u64::from(self.tile.rows * self.tile.columns);
        let rate = of_precision(precision, self.tile.rates);
        let sums = blocks * area * self.length as u64 / rate;
        if self.parts == 1 {
            return sums;
        }
        sums + LAUNCH_CLOCKS + self.parts as u64 * rows * columns * times as u64 * 8 / BYTES_A_CLOCK
    }
}

/// The tile and the split of `times` products of sizes M, N and K, the fastest by estimate. No multiprocessor gets more than
/// [`size::SPLIT_WAVES`] blocks by a split, and no part is shorter than [`size::SPLIT_LEAST`].
fn choose(tiles: &[Tile], precision: Precision, sizes: [usize; 3], times: usize) -> Split {
    let depth = sizes[2];
    let splits = tiles.iter().flat_map(|tile| {
        let room = (size::SPLIT_WAVES * size::MULTIPROCESSORS) as usize / tile.blocks(sizes, times).max(1);
        let most = room.min(depth / size::SPLIT_LEAST as usize).max(1);
        (1..=most).map(|parts| tile.split(depth, parts))
    });
    splits.min_by_key(|split| split.clocks(precision, sizes, times)).unwrap_or(NARROW.split(depth, 1))
}

impl<T: Real, S: Storage<T>> Accelerator<T, S> {
    /// The tiles to choose from.
    fn tiles(&self) -> &'static [Tile] {
        match self.tile_size() {
            _ if size_of::<T>() > 4 => &[NARROW],
            None => &[NARROW, WIDE],
            Some(TileSize::Narrow) => &[NARROW],
            Some(TileSize::Wide) => &[WIDE],
        }
    }

    /// The same with products that run by `wanted`, or by the table, and that are noted.
    #[must_use]
    pub fn on_trial(&self, wanted: Option<Plan>) -> (Self, Arc<Trial>) {
        let trial = Arc::new(Trial::of(wanted));
        (self.clone().with_trial(trial.clone()), trial)
    }

    /// The division of this product.
    pub(crate) fn split_of(&self, product: &Product) -> Split {
        let sizes = [product.rows, product.columns, product.depth];
        self.tried(product, |plan| plan.parts, || choose(self.tiles(), self.precision(), sizes, product.times))
    }

    /// The division of this product if it can't be split.
    fn whole_of(&self, product: &Product) -> Split {
        let sizes = [product.rows, product.columns, product.depth];
        let whole = |tile: &Tile| tile.split(product.depth, 1);
        let clocks = |split: &Split| split.clocks(self.precision(), sizes, product.times);
        let by_table = || self.tiles().iter().map(whole).min_by_key(clocks).unwrap_or(NARROW.split(product.depth, 1));
        self.tried(product, |_| 1, by_table)
    }

    /// The division that a trial wants, in so many parts, or the table's choice; notes it.
    fn tried(&self, product: &Product, parts: impl Fn(Plan) -> usize, by_table: impl Fn() -> Split) -> Split {
        let Some(trial) = self.trial() else { return by_table() };
        let found =
            trial.wanted().and_then(|plan| Some((plan, self.tiles().iter().find(|tile| tile.size == plan.tile)?)));
        let split = found.map_or_else(by_table, |(plan, tile)| tile.split(product.depth, parts(plan)));
        trial.note(Plan { tile: split.tile.size, parts: split.parts });
        split
    }

    /// Of a kernel on plain units and its twin on tensor cores, the one for this precision.
    fn fast(&self, [plain, tensor]: [Kernel; 2]) -> Kernel {
        if self.precision() == Precision::F32 { plain } else { tensor }
    }

    /// Runs a product: a block a tile, x walking the rows' tiles (which may be more than y can count), y the columns', and z
    /// the products of one part, then of the next.
    pub(crate) fn launch_product(&self, product: &Product, split: &Split, arguments: &[Argument]) -> Result<()> {
        let kernels = if split.tile.size == TileSize::Wide { product.wide } else { product.narrow };
        let fast = self.fast(kernels);
        let (kernel, tile) = if self.trusts(fast) { (fast, split.tile) } else { (product.narrow[0], NARROW) };
        let [rows, columns, times] =
            [product.rows, product.columns, product.times * split.parts].map(|count| int(count).unsigned_abs());
        let grid = [rows.div_ceil(tile.rows), columns.div_ceil(tile.columns), times];
        self.launch(kernel, grid, [of_precision(self.precision(), tile.threads), 1, 1], arguments)
    }

    /// Runs a product that is not split.
    pub(crate) fn launch_whole(&self, product: &Product, arguments: &[Argument]) -> Result<()> {
        self.launch_product(product, &self.whole_of(product), arguments)
    }

    /// Runs a product with one column: the kernel of the chosen precision, a block a row.
    pub(crate) fn launch_product_rows(&self, kernels: [Kernel; 2], rows: usize, arguments: &[Argument]) -> Result<()> {
        let fast = self.fast(kernels);
        let kernel = if self.trusts(fast) { fast } else { kernels[0] };
        self.launch(kernel, [int(rows).unsigned_abs(), 1, 1], [size::ROW_THREADS, 1, 1], arguments)
    }

    /// Runs a product whose output `y` is a matrix of so many columns, to each of which a number of `b` is added if there is
    /// one, and then ended by `end`: as one, or in parts that are joined then. `arguments` are those of the kernel for a part's length,
    /// the bias that it adds, the end's arguments, the parts that it writes, if it does, and the output that it writes otherwise.
    pub(crate) fn launch_split<const N: usize>(
        &self,
        product: &Product,
        (b, columns): (Option<In<'_, Self>>, usize),
        end: End,
        y: StoredOut<'_, Self>,
        arguments: impl Fn(usize, Option<In<'_, Self>>, End, Option<&Out<'_, Self>>, &StoredOut<'_, Self>) -> [Argument; N],
    ) -> Result<()> {
        let split = self.split_of(product);
        let Split { parts, length, .. } = split;
        if parts == 1 {
            return self.launch_product(product, &split, &arguments(length, b, end, None, &y));
        }
        self.with_workspace(parts * y.len(), |partial: Out<'_, Self>| {
            self.launch_product(product, &split, &arguments(length, None, End::none::<T>(), Some(&partial), &y))?;
            let [negative, of, scale, base] = end.0;
            let joined = arguments![parts, columns, y.len() as u64, partial, b, negative, of, scale, base, y];
            self.launch_elements(Kernel::LinearJoinParts, y.len(), &joined)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Tile; 2] = [NARROW, WIDE];

    /// (wide, parts) of a product.
    fn chosen(precision: Precision, sizes: [usize; 3], times: usize) -> (bool, usize) {
        let split = choose(&BOTH, precision, sizes, times);
        (split.tile.size == TileSize::Wide, split.parts)
    }

    #[test]
    fn few_tiles_are_split_and_large_products_have_wide_ones() {
        // The linear layers of vgan-mnist at a batch of 64: 6272 → 1024 has 16 tiles; 1024 → 6272 has 98, of which two parts
        // each would fill a GPU no better.
        assert_eq!(chosen(Precision::F32, [64, 1024, 6272], 1), (false, 8));
        assert_eq!(chosen(Precision::F32, [64, 6272, 1024], 1), (false, 1));
        // A convolution of vgan-cifar10 at a batch of 512.
        assert_eq!(chosen(Precision::F32, [131_072, 128, 1024], 1), (true, 1));
        // One tile: as many parts as there is depth for.
        assert_eq!(chosen(Precision::F32, [64, 64, 1024], 1), (false, 16));
        assert_eq!(chosen(Precision::F32, [64, 64, 62], 1), (false, 1));
        // Tensor cores are so fast that another launch costs more than half of 128 depths.
        assert_eq!(chosen(Precision::Bf16, [64, 64, 128], 1), (false, 1));
        assert_eq!(chosen(Precision::Bf16, [64, 1024, 6272], 1), (false, 8));
        assert_eq!((chosen(Precision::F32, [0, 5, 7], 1).1, chosen(Precision::F32, [5, 7, 0], 1).1), (1, 1));
    }

    /// Parts cover the depth, none is empty, each begins at a whole stage, and no multiprocessor has more than two blocks.
    #[test]
    fn parts_are_whole_stages_and_cover_the_depth() {
        for side in (1..40).map(|side| side * side) {
            for depth in [1, 31, 32, 63, 64, 65, 100, 127, 128, 129, 1000, 1024, 4095, 6272, 100_000] {
                let Split { tile, parts, length } = choose(&BOTH, Precision::F32, [side, 64, depth], 1);
                assert!(parts * length >= depth && (parts - 1) * length < depth, "{side} rows, {depth} deep");
                if parts > 1 {
                    assert!(length.is_multiple_of(size::SPLIT_STEP as usize), "{side} rows, {depth} deep");
                    let blocks = tile.blocks([side, 64, depth], 1) * parts;
                    assert!(blocks <= (size::SPLIT_WAVES * size::MULTIPROCESSORS) as usize, "{side} rows");
                }
            }
        }
    }
}
