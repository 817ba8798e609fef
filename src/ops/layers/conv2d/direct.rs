//! The weight gradient of convolutions with few channels, without a matrix product: that product would be thin (16 rows
//! for a 4×4 window of one channel), and packing the windows costs more than multiplying them.
//!
//! Each task copies an image once into a frame of zeros, so that no tap asks for the border, and then works on [`LANES`]
//! filters and [`TAPS`] taps at a time, whose sums stay in registers for the whole image. The forward pass has no such
//! form: written the same way it took 1.2 times as long as packing a block and multiplying it.

use super::{Conv2d, im2col};
use crate::device::cpu::dispatched;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Cpu, Real, Storage};

/// Channels up to which this form is the faster one.
pub(super) const CHANNELS: usize = 4;
/// Filters that are computed together: a vector register or two of them.
const LANES: usize = 16;
/// Taps whose sums stand in registers at once.
const TAPS: usize = 8;
/// Images whose weight gradient one task sums.
const IMAGES: usize = 4;

/// The places of a window's taps in an image with a border of zeros.
#[derive(Clone, Copy)]
struct Frame {
    d: Conv2d,
    /// Elements of a row of the framed image.
    row: usize,
}

impl Frame {
    fn new(d: &Conv2d) -> Self {
        Frame { d: *d, row: (d.w + 2 * d.padding) * d.c }
    }
    /// Elements of the framed image.
    fn len(&self) -> usize {
        (self.d.h + 2 * self.d.padding) * self.row
    }
    /// Elements of a window.
    fn width(&self) -> usize {
        self.d.r * self.d.s * self.d.c
    }
    /// Blocks of filters.
    fn blocks(&self) -> usize {
        self.d.k.div_ceil(LANES)
    }
    /// The distance of tap `tap` of a window, in the order R·S·C, from the window's first element.
    fn offset(&self, tap: usize) -> usize {
        let run = self.d.s * self.d.c;
        tap / run * self.row + tap % run
    }

    /// Copies `image` `[H, W, C]` into the frame.
    fn fill<T: Real, S: Storage<T>>(&self, image: &[S], framed: &mut [T]) {
        let Conv2d { w, c, padding, .. } = self.d;
        framed.fill(T::ZERO);
        let inner = framed.chunks_exact_mut(self.row).skip(padding);
        for (target, line) in inner.zip(image.chunks_exact(w * c)) {
            im2col::to_reals(line, &mut target[padding * c..][..w * c]);
        }
    }
}

/// The filters of block `block` that exist.
fn lanes(d: &Conv2d, block: usize) -> std::ops::Range<usize> {
    block * LANES..d.k.min((block + 1) * LANES)
}

/// dw = dyᵀ · windows(x), or added to what is there: a task sums [`IMAGES`] images, and the tasks' sums are added in order.
pub(super) fn backward_weight<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    x: &[S],
    dy: &[S],
    dw: &mut [T],
    accumulate: bool,
) {
    let frame = Frame::new(d);
    let width = frame.width();
    // [blocks, taps, LANES]; taps beyond the window's are computed for nothing and dropped.
    let block_len = width.next_multiple_of(TAPS) * LANES;
    let part_len = frame.blocks() * block_len;
    let (image, pixels) = (d.h * d.w * d.c, d.oh() * d.ow());
    cpu.with_shared(d.n.div_ceil(IMAGES) * part_len, |parts| {
        parts.par_chunks_exact_mut(part_len).enumerate().for_each(|(task, part)| {
            part.fill(T::ZERO);
            for n in task * IMAGES..d.n.min((task + 1) * IMAGES) {
                cpu.with_local(frame.len(), |framed| {
                    frame.fill(&x[n * image..][..image], framed);
                    for (block, part) in part.chunks_exact_mut(block_len).enumerate() {
                        let dy = &dy[n * pixels * d.k..][..pixels * d.k];
                        dispatched(Block { frame: &frame, framed, dy, lanes: lanes(d, block), part });
                    }
                });
            }
        });
        if !accumulate {
            dw[..d.w_len()].fill(T::ZERO);
        }
        for part in parts.chunks_exact(part_len) {
            for (block, part) in part.chunks_exact(block_len).enumerate() {
                for (lane, k) in lanes(d, block).enumerate() {
                    for (tap, dw) in dw[k * width..][..width].iter_mut().enumerate() {
                        *dw += part[tap * LANES + lane];
                    }
                }
            }
        }
    });
}

/// One block of filters over one image, [`TAPS`] taps at a time.
struct Block<'a, T, S> {
    frame: &'a Frame,
    framed: &'a [T],
    dy: &'a [S],
    lanes: std::ops::Range<usize>,
    part: &'a mut [T],
}

// No closure: the compiler leaves one of this size out of the code that it vectorises, and then it is fifty times slower.
impl<T: Real, S: Storage<T>> pulp::NullaryFnOnce for Block<'_, T, S> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Block { frame, framed, dy, lanes, part } = self;
        let d = &frame.d;
        let last = frame.width() - 1;
        let (ow, step, reach) = (d.ow(), d.stride * d.c, frame.offset(last) + 1);
        let (part, _) = part.as_chunks_mut::<LANES>();
        for (group, part) in part.chunks_exact_mut(TAPS).enumerate() {
            let offsets: [usize; TAPS] = std::array::from_fn(|t| frame.offset((group * TAPS + t).min(last)));
            let mut sums = [[T::ZERO; LANES]; TAPS];
            for (i, dy) in dy.chunks_exact(ow * d.k).enumerate() {
                let line = &framed[i * d.stride * frame.row..];
                for (j, dy) in dy.chunks_exact(d.k).enumerate() {
                    let gradient = load(&dy[lanes.clone()]);
                    let window = &line[j * step..][..reach];
                    for (sum, &offset) in sums.iter_mut().zip(&offsets) {
                        let value = window[offset];
                        for (sum, &gradient) in sum.iter_mut().zip(&gradient) {
                            *sum += value * gradient;
                        }
                    }
                }
            }
            for (part, sums) in part.iter_mut().zip(&sums) {
                part.iter_mut().zip(sums).for_each(|(part, &sum)| *part += sum);
            }
        }
    }
}

/// Up to [`LANES`] elements as a whole vector, zeros behind them.
#[inline(always)]
fn load<T: Real, S: Storage<T>>(values: &[S]) -> [T; LANES] {
    match <[S; LANES]>::try_from(values) {
        Ok(values) => values.map(Storage::real),
        Err(_) => std::array::from_fn(|lane| values.get(lane).map_or(T::ZERO, |value| value.real())),
    }
}
