//! Slices in parts, worked on by all threads of the pool: the few forms of rayon's parallel iterators that operations need.
//!
//! rayon schedules them. It sees one type of loop, a number of parts and a function of the part's number: its own iterators are
//! compiled anew for each combination of slices and closure, and were a fifth of the functions of this crate.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

/// Calls `work` with each number below `count`, on all threads of the pool.
fn each(count: usize, work: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().for_each(work);
}

/// Parts that threads take: of one slice, or of several side by side.
#[expect(unsafe_code, reason = "a part that can be written is handed out once")]
pub(crate) trait Parts: Sync + Sized {
    /// The part that a thread gets.
    type Part;

    /// The number of parts.
    fn count(&self) -> usize;

    /// The part of this number.
    ///
    /// # Safety
    /// `index` is below the count, and no part is asked for twice.
    unsafe fn part(&self, index: usize) -> Self::Part;

    /// Parts of both, side by side, as many as the shorter has.
    fn zip<O: IntoParts>(self, other: O) -> Zip<Self, O::Parts> {
        Zip(self, other.into_parts())
    }

    /// Each part with its number.
    fn enumerate(self) -> Enumerate<Self> {
        Enumerate(self)
    }

    /// Works on all parts, in any order.
    fn for_each(self, work: impl Fn(Self::Part) + Sync) {
        // SAFETY: each index below the count comes once, and `self` ends here.
        each(self.count(), &|index| work(unsafe { self.part(index) }));
    }

    /// Whether all parts are found good. Parts that come after a bad one need not be looked at.
    fn all(self, good: impl Fn(Self::Part) -> bool + Sync) -> bool {
        let all = AtomicBool::new(true);
        self.for_each(|part| {
            if all.load(Ordering::Relaxed) && !good(part) {
                all.store(false, Ordering::Relaxed);
            }
        });
        all.into_inner()
    }
}

/// Everything that has parts: [`Parts`] themselves, and slices, whose parts are their elements.
pub(crate) trait IntoParts {
    /// The parts.
    type Parts: Parts;
    /// Itself in parts.
    fn into_parts(self) -> Self::Parts;
}

impl<P: Parts> IntoParts for P {
    type Parts = P;
    fn into_parts(self) -> P {
        self
    }
}

impl<'a, T: Sync> IntoParts for &'a [T] {
    type Parts = Elements<'a, T>;
    fn into_parts(self) -> Elements<'a, T> {
        self.par_iter()
    }
}

impl<'a, T: Send> IntoParts for &'a mut [T] {
    type Parts = ElementsMut<'a, T>;
    fn into_parts(self) -> ElementsMut<'a, T> {
        self.par_iter_mut()
    }
}

/// A slice that threads read in parts.
pub(crate) trait ParallelSlice<T> {
    /// Runs of `size` elements; the last one may be shorter.
    fn par_chunks(&self, size: usize) -> Chunks<'_, T>;
    /// Runs of `size` elements; a shorter rest is left out.
    fn par_chunks_exact(&self, size: usize) -> Chunks<'_, T>;
    /// The elements.
    fn par_iter(&self) -> Elements<'_, T>;
}

/// A slice that threads write in parts.
pub(crate) trait ParallelSliceMut<T> {
    /// Runs of `size` elements; the last one may be shorter.
    fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T>;
    /// Runs of `size` elements; a shorter rest is left out.
    fn par_chunks_exact_mut(&mut self, size: usize) -> ChunksMut<'_, T>;
    /// The elements.
    fn par_iter_mut(&mut self) -> ElementsMut<'_, T>;
}

impl<T> ParallelSlice<T> for [T] {
    fn par_chunks(&self, size: usize) -> Chunks<'_, T> {
        Chunks { slice: self, size }
    }
    fn par_chunks_exact(&self, size: usize) -> Chunks<'_, T> {
        Chunks { slice: &self[..self.len() / size * size], size }
    }
    fn par_iter(&self) -> Elements<'_, T> {
        Elements(self)
    }
}

impl<T> ParallelSliceMut<T> for [T] {
    fn par_chunks_mut(&mut self, size: usize) -> ChunksMut<'_, T> {
        ChunksMut { start: self.as_mut_ptr(), len: self.len(), size, slice: PhantomData }
    }
    fn par_chunks_exact_mut(&mut self, size: usize) -> ChunksMut<'_, T> {
        let whole = self.len() / size * size;
        self[..whole].par_chunks_mut(size)
    }
    fn par_iter_mut(&mut self) -> ElementsMut<'_, T> {
        ElementsMut(self.par_chunks_mut(1))
    }
}

/// Runs of a slice.
pub(crate) struct Chunks<'a, T> {
    slice: &'a [T],
    size: usize,
}

#[expect(unsafe_code)]
impl<'a, T: Sync> Parts for Chunks<'a, T> {
    type Part = &'a [T];
    fn count(&self) -> usize {
        self.slice.len().div_ceil(self.size)
    }
    unsafe fn part(&self, index: usize) -> &'a [T] {
        let start = index * self.size;
        &self.slice[start..self.slice.len().min(start + self.size)]
    }
}

/// Elements of a slice.
pub(crate) struct Elements<'a, T>(&'a [T]);

#[expect(unsafe_code)]
impl<'a, T: Sync> Parts for Elements<'a, T> {
    type Part = &'a T;
    fn count(&self) -> usize {
        self.0.len()
    }
    unsafe fn part(&self, index: usize) -> &'a T {
        &self.0[index]
    }
}

/// Runs of a slice that can be written.
pub(crate) struct ChunksMut<'a, T> {
    start: *mut T,
    len: usize,
    size: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: it stands for a slice that is borrowed for writing; threads get parts of it that do not overlap, and elements that may be
// sent to them.
#[expect(unsafe_code)]
unsafe impl<T: Send> Sync for ChunksMut<'_, T> {}

#[expect(unsafe_code)]
impl<'a, T: Send> Parts for ChunksMut<'a, T> {
    type Part = &'a mut [T];
    fn count(&self) -> usize {
        self.len.div_ceil(self.size)
    }
    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let start = index * self.size;
        assert!(start < self.len, "part {index} of {}", self.count());
        // SAFETY: the run lies within the slice, which is borrowed for 'a; the caller asks for no run twice, and runs of different
        // numbers do not overlap.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), self.size.min(self.len - start)) }
    }
}

/// Elements of a slice that can be written.
pub(crate) struct ElementsMut<'a, T>(ChunksMut<'a, T>);

#[expect(unsafe_code)]
impl<'a, T: Send> Parts for ElementsMut<'a, T> {
    type Part = &'a mut T;
    fn count(&self) -> usize {
        self.0.len
    }
    unsafe fn part(&self, index: usize) -> &'a mut T {
        // SAFETY: the caller's promise; the runs are of one element.
        unsafe { &mut self.0.part(index)[0] }
    }
}

/// Parts of two, side by side.
pub(crate) struct Zip<A, B>(A, B);

#[expect(unsafe_code)]
impl<A: Parts, B: Parts> Parts for Zip<A, B> {
    type Part = (A::Part, B::Part);
    fn count(&self) -> usize {
        self.0.count().min(self.1.count())
    }
    unsafe fn part(&self, index: usize) -> (A::Part, B::Part) {
        // SAFETY: the caller's promise, of both: the count is the lower one.
        unsafe { (self.0.part(index), self.1.part(index)) }
    }
}

/// Parts with their numbers.
pub(crate) struct Enumerate<A>(A);

#[expect(unsafe_code)]
impl<A: Parts> Parts for Enumerate<A> {
    type Part = (usize, A::Part);
    fn count(&self) -> usize {
        self.0.count()
    }
    unsafe fn part(&self, index: usize) -> (usize, A::Part) {
        // SAFETY: the caller's promise.
        (index, unsafe { self.0.part(index) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{ParallelSlice, ParallelSliceMut, Parts};

    proptest! {
        /// Parts are those of the standard library's iterators, each worked on once.
        #[test]
        fn parts_are_those_of_slices(len in 0usize..200, size in 1usize..40) {
            let source: Vec<usize> = (0..len).collect();
            let (mut found, mut expected) = (vec![0; len], vec![0; len]);
            found.par_chunks_mut(size).zip(source.par_chunks(size)).enumerate().for_each(|(i, (to, from))| {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from + 1000 * i);
            });
            for (i, (to, from)) in expected.chunks_mut(size).zip(source.chunks(size)).enumerate() {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from + 1000 * i);
            }
            prop_assert_eq!(&found, &expected);
            found.par_chunks_exact_mut(size).zip(source.par_chunks_exact(size)).for_each(|(to, from)| to[0] = from[size - 1]);
            expected.chunks_exact_mut(size).zip(source.chunks_exact(size)).for_each(|(to, from)| to[0] = from[size - 1]);
            prop_assert_eq!(&found, &expected);
        }

        /// The shorter one says how many there are; a slice beside parts stands for its elements.
        #[test]
        fn the_shorter_ends_first(longer in 0usize..50, shorter in 0usize..50) {
            let (mut sums, ones) = (vec![0; longer], vec![1; shorter]);
            sums.par_iter_mut().zip(&ones[..]).for_each(|(sum, one)| *sum += one);
            prop_assert_eq!(sums.iter().sum::<usize>(), longer.min(shorter));
        }

        /// One bad part among many is found wherever it is.
        #[test]
        fn one_bad_part_is_found(len in 1usize..300, at in 0usize..300, size in 1usize..9) {
            let numbers: Vec<usize> = (0..len).collect();
            let good = numbers.par_chunks(size).all(|part| part.iter().all(|&number| number != at));
            prop_assert_eq!(good, at >= len);
        }
    }
}
