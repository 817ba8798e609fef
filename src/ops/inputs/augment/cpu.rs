//! Augmentation on the CPU: an image a task.

use super::{Augment, AugmentOp, AugmentPolicy, DRAWS};
use crate::Result;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::philox::{draw, uniform};
use crate::device::{Cpu, Real, StepState, Storage};

impl<T: Real, S: Storage<T>> AugmentOp for Cpu<T, S> {
    fn augment_forward(
        &self,
        d: &Augment<'_>,
        x: &[S],
        given: Option<&[T]>,
        state: &[StepState],
        y: &mut [S],
    ) -> Result<()> {
        let middle = S::of_real(T::of(d.middle));
        each_image(d, x, given, &state[0], y, |by, x, y| {
            let constant = by.image * d.sum(x, |_| true) + by.brightness;
            for (pixel, y) in y.chunks_exact_mut(d.c).enumerate() {
                match by.shown_at(d, pixel) {
                    Some(source) => by.mix(d, &x[source * d.c..][..d.c], constant, y),
                    None => y.fill(middle),
                }
            }
        });
        Ok(())
    }

    fn augment_backward_input(
        &self,
        d: &Augment<'_>,
        dy: &[S],
        given: Option<&[T]>,
        state: &[StepState],
        dx: &mut [S],
    ) -> Result<()> {
        each_image(d, dy, given, &state[0], dx, |by, dy, dx| {
            let constant = by.image * d.sum(dy, |pixel| by.shown_at(d, pixel).is_some());
            for (pixel, dx) in dx.chunks_exact_mut(d.c).enumerate() {
                match by.place_of(d, pixel) {
                    Some(place) => by.mix(d, &dy[place * d.c..][..d.c], constant, dx),
                    // Nothing but the image's mean comes down to a pixel that is not shown.
                    None => dx.fill(S::of_real(constant)),
                }
            }
        });
        Ok(())
    }
}

/// Calls `work` with what is drawn for each image, with the image, and with its target.
fn each_image<T: Real, S: Storage<T>>(
    d: &Augment<'_>,
    source: &[S],
    given: Option<&[T]>,
    state: &StepState,
    target: &mut [S],
    work: impl Fn(&Changes<T>, &[S], &mut [S]) + Sync,
) {
    let images = target.par_chunks_mut(d.image()).zip(source.par_chunks(d.image()));
    images.enumerate().for_each(|(image, (target, source))| {
        let u = match given {
            Some(given) => std::array::from_fn(|i| given[image * DRAWS + i]),
            None => d.drawn(image, state),
        };
        work(&Changes::new(d, u), source, target);
    });
}

impl Augment<'_> {
    /// u of an image.
    fn drawn<T: Real>(&self, image: usize, state: &StepState) -> [T; DRAWS] {
        let group = self.n / self.streams.len();
        let (stream, sample) = (self.streams[image / group], self.draws.sample(image % group));
        let four = |block| draw(state.seed, stream, self.draws.of(state.step), sample, block).map(uniform);
        let (first, second) = (four(0), four(1));
        std::array::from_fn(|i| T::of_f32(if i < 4 { first[i] } else { second[i - 4] }))
    }

    /// The sum of an image whose pixels count as 0 where `counts` says no; 0 without colours, which have no use for it.
    fn sum<T: Real, S: Storage<T>>(&self, image: &[S], counts: impl Fn(usize) -> bool) -> T {
        if !self.policy.color {
            return T::ZERO;
        }
        let pixels = image.chunks_exact(self.c).enumerate().filter(|&(pixel, _)| counts(pixel));
        T::of(pixels.flat_map(|(_, channels)| channels).map(|value| value.real().to_f64()).sum())
    }
}

/// The changes of one image, from its draws.
struct Changes<T> {
    /// The factors of a value, of the sum of its pixel and of the sum of its image.
    own: T,
    pixel: T,
    image: T,
    /// The number that is added.
    brightness: T,
    /// Pixel (i, j) shows pixel (i + rows, j + columns).
    rows: isize,
    columns: isize,
    /// The first row and column that are cut out, and those behind the last.
    cut_rows: [usize; 2],
    cut_columns: [usize; 2],
}

impl<T: Real> Changes<T> {
    fn new(d: &Augment<'_>, u: [T; DRAWS]) -> Self {
        let AugmentPolicy { color, translation, cutout } = d.policy;
        let half = T::of(0.5);
        let (saturation, contrast) = (T::of(2.0) * u[1], u[2] + half);
        let own = contrast * saturation;
        Changes {
            own: if color { own } else { T::ONE },
            pixel: if color { (contrast - own) * T::of(d.per_pixel()) } else { T::ZERO },
            image: if color { (T::ONE - contrast) * T::of(d.per_image()) } else { T::ZERO },
            brightness: if color { T::of(d.half_range) * (u[0] - half) } else { T::ZERO },
            rows: if translation { shift(d.h, u[3]) } else { 0 },
            columns: if translation { shift(d.w, u[4]) } else { 0 },
            cut_rows: if cutout { cut(d.h, u[5]) } else { [0; 2] },
            cut_columns: if cutout { cut(d.w, u[6]) } else { [0; 2] },
        }
    }

    /// The pixel of x that pixel `place` of T(x) shows; `None` where it is grey.
    fn shown_at(&self, d: &Augment<'_>, place: usize) -> Option<usize> {
        let (row, column) = (place / d.w, place % d.w);
        let row_shown = row.checked_add_signed(self.rows).filter(|&row| row < d.h)?;
        let column_shown = column.checked_add_signed(self.columns).filter(|&column| column < d.w)?;
        (!self.cuts(row, column)).then_some(row_shown * d.w + column_shown)
    }

    /// The pixel of T(x) that shows pixel `shown` of x; `None` where none does.
    fn place_of(&self, d: &Augment<'_>, shown: usize) -> Option<usize> {
        let (row, column) = (shown / d.w, shown % d.w);
        let row = row.checked_add_signed(-self.rows).filter(|&row| row < d.h)?;
        let column = column.checked_add_signed(-self.columns).filter(|&column| column < d.w)?;
        (!self.cuts(row, column)).then_some(row * d.w + column)
    }

    fn cuts(&self, row: usize, column: usize) -> bool {
        let within = |[first, end]: [usize; 2], at| first <= at && at < end;
        within(self.cut_rows, row) && within(self.cut_columns, column)
    }

    /// Writes the colours of one pixel.
    fn mix<S: Storage<T>>(&self, d: &Augment<'_>, x: &[S], constant: T, y: &mut [S]) {
        if !d.policy.color {
            return y.copy_from_slice(x);
        }
        let sum = x.iter().fold(T::ZERO, |sum, x| sum + x.real());
        let rest = self.pixel * sum + constant;
        y.iter_mut().zip(x).for_each(|(y, x)| *y = S::of_real(self.own * x.real() + rest));
    }
}

/// One of `count` numbers from 0 on, by u in [0, 1).
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn choose<T: Real>(u: T, count: usize) -> usize {
    // The product is exact in f64. What is negative or no number becomes 0.
    ((u.to_f64() * count as f64) as usize).min(count - 1)
}

/// Rows or columns that an image is shifted by, of `side`.
fn shift<T: Real>(side: usize, u: T) -> isize {
    let most = (side + 4) / 8;
    choose(u, 2 * most + 1).cast_signed() - most.cast_signed()
}

/// The first row or column that is cut out, of `side`, and the one behind the last.
fn cut<T: Real>(side: usize, u: T) -> [usize; 2] {
    let size = side.div_ceil(2);
    // An even number of rows has its centre between two: one place more, so that both edges are alike.
    let centre = choose(u, side + 1 - size % 2);
    [centre.saturating_sub(size / 2), (centre + size - size / 2).min(side)]
}
