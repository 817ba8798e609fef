//! A backend that computes nothing and counts everything: bytes of memory, arithmetic, bytes moved. The same networks
//! and the same training step run on it as on the others, so what it predicts is what they do.

use std::marker::PhantomData;
use std::ops::{Add, Div, Mul, Range};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::ranks::{Collective, Kind};
use super::{ALIGNMENT, Backend, Element, RankOf, Real, Storage};
use crate::Result;

/// Counts instead of computing, for reals of type `T` and activations stored as `S`. A buffer is its length.
#[derive(Debug, Clone)]
pub struct DryRun<T = f32, S = T> {
    counts: Arc<Counts>,
    ranks: RankOf,
    real: PhantomData<(T, S)>,
}

/// A window of a dry run: its bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Window(usize);

impl Window {
    fn of<E>(len: usize) -> Self {
        Window(len.saturating_mul(size_of::<E>()))
    }
}

impl Add for Window {
    type Output = Window;
    fn add(self, other: Window) -> Window {
        Window(self.0.saturating_add(other.0))
    }
}

impl Mul<Window> for usize {
    type Output = Window;
    fn mul(self, window: Window) -> Window {
        Window(window.0.saturating_mul(self))
    }
}

impl Div<usize> for Window {
    type Output = Window;
    fn div(self, parts: usize) -> Window {
        Window(self.0 / parts)
    }
}

impl<T, S> Default for DryRun<T, S> {
    fn default() -> Self {
        DryRun { counts: Arc::default(), ranks: RankOf::ALONE, real: PhantomData }
    }
}

#[derive(Debug, Default)]
struct Counts {
    allocated: AtomicU64,
    on_device: AtomicU64,
    scratch: AtomicU64,
    flops: AtomicU64,
    moved: AtomicU64,
    collectives: Mutex<Vec<Collective>>,
}

impl<T: Real, S: Storage<T>> DryRun<T, S> {
    /// The first of so many ranks, which need the same.
    #[must_use]
    pub fn with_ranks(self, world: usize) -> Self {
        DryRun { ranks: RankOf { rank: 0, world }, ..self }
    }

    /// Bytes allocated so far, pinned ones too.
    pub fn allocated(&self) -> u64 {
        self.counts.allocated.load(Ordering::Relaxed)
    }

    /// Bytes that all that was allocated so far, but for what is pinned, takes in a device's own memory: every buffer is an
    /// allocation, which takes whole multiples of [`ALIGNMENT`] bytes.
    pub fn allocated_on_device(&self) -> u64 {
        self.counts.on_device.load(Ordering::Relaxed)
    }

    /// Bytes that the operation which borrows most has borrowed from the CPU's scratch memory for whole tensors.
    pub fn scratch(&self) -> u64 {
        self.counts.scratch.load(Ordering::Relaxed)
    }

    /// Multiplications and additions of all matrix products and convolutions so far.
    pub fn flops(&self) -> u64 {
        self.counts.flops.load(Ordering::Relaxed)
    }

    /// Bytes that all operations so far had to read and write.
    pub fn moved(&self) -> u64 {
        self.counts.moved.load(Ordering::Relaxed)
    }

    /// The collectives of this rank since the last call, in order.
    pub fn take_collectives(&self) -> Vec<Collective> {
        std::mem::take(&mut self.counts.collectives.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a collective on a buffer, where there are other ranks.
    pub(crate) fn tells(&self, kind: Kind, Window(bytes): Window) {
        if !self.ranks.is_alone() && bytes > 0 {
            let mut collectives = self.counts.collectives.lock().unwrap_or_else(PoisonError::into_inner);
            collectives.push(Collective { kind, bytes: bytes as u64 });
        }
    }

    /// The same where the buffer is read and written.
    fn tells_in_place(&self, kind: Kind, x: Window) -> Result<()> {
        self.tells(kind, x);
        self.moves(if self.ranks.is_alone() { Window::default() } else { 2 * x });
        Ok(())
    }

    /// Notes a matrix product or a convolution: twice the product of `sizes`.
    pub(crate) fn multiplies(&self, sizes: &[usize]) {
        add(&self.counts.flops, sizes.iter().fold(2, |product, &size| product.saturating_mul(size as u64)));
    }

    /// Notes that so much is read or written.
    pub(crate) fn moves(&self, window: Window) {
        add(&self.counts.moved, window.0 as u64);
    }

    /// Notes that so much is borrowed for the length of an operation.
    pub(crate) fn borrows(&self, window: Window) {
        self.counts.scratch.fetch_max(window.0 as u64, Ordering::Relaxed);
    }
}

fn bytes<E>(len: usize) -> u64 {
    (len as u64).saturating_mul(size_of::<E>() as u64)
}

/// Bytes that a buffer of `len` elements takes in a device's own memory. An empty buffer has an address too, and takes
/// [`ALIGNMENT`].
fn device_bytes<E>(len: usize) -> u64 {
    bytes::<E>(len.max(1)).checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}

fn add(count: &AtomicU64, amount: u64) {
    // One thread counts, so that reading and writing in turn loses nothing.
    count.store(count.load(Ordering::Relaxed).saturating_add(amount), Ordering::Relaxed);
}

impl<T: Real, S: Storage<T>> Backend for DryRun<T, S> {
    type Real = T;
    type Storage = S;
    type Buffer<E: Element> = usize;
    type View<'a, E: Element> = Window;
    type ViewMut<'a, E: Element> = Window;

    fn describe(&self) -> String {
        "a dry run".into()
    }

    fn alloc<E: Element>(&self, len: usize) -> Result<usize> {
        add(&self.counts.on_device, device_bytes::<E>(len));
        add(&self.counts.allocated, bytes::<E>(len));
        Ok(len)
    }
    fn alloc_pinned<E: Element>(&self, len: usize) -> Result<usize> {
        add(&self.counts.allocated, bytes::<E>(len));
        Ok(len)
    }
    fn buffer_from<E: Element>(&self, len: usize, _content: impl FnOnce() -> Vec<E>) -> Result<usize> {
        self.alloc::<E>(len)
    }

    fn view<E: Element>(&self, buffer: &usize) -> Window {
        Window::of::<E>(*buffer)
    }
    fn view_mut<E: Element>(&self, buffer: &mut usize) -> Window {
        Window::of::<E>(*buffer)
    }
    fn len<E: Element>(&self, view: Window) -> usize {
        view.0 / size_of::<E>()
    }
    fn as_stored<'a>(&self, view: Self::View<'a, T>) -> Option<Self::View<'a, S>> {
        (S::NAME == T::NAME).then_some(view)
    }
    fn slice<'long: 'short, 'short, E: Element>(&self, view: Window, range: Range<usize>) -> Window {
        debug_assert!(range.end <= self.len::<E>(view), "{range:?} of {}", self.len::<E>(view));
        Window::of::<E>(range.len())
    }
    fn slice_mut<'a, E: Element>(&self, view: Self::ViewMut<'a, E>, range: Range<usize>) -> Self::ViewMut<'a, E> {
        self.slice::<E>(view, range)
    }
    fn split_mut<'a, E: Element>(
        &self,
        view: Self::ViewMut<'a, E>,
        at: usize,
    ) -> (Self::ViewMut<'a, E>, Self::ViewMut<'a, E>) {
        (Window::of::<E>(at), Window::of::<E>(self.len::<E>(view) - at))
    }
    fn reborrow<E: Element>(&self, view: &mut Window) -> Window {
        *view
    }
    fn freeze<'a, E: Element>(&self, view: Self::ViewMut<'a, E>) -> Self::View<'a, E> {
        view
    }

    fn upload<E: Element>(&self, _source: &[E], _target: Window) -> Result<()> {
        Ok(())
    }
    fn download<E: Element>(&self, _source: Window, _target: &mut [E]) -> Result<()> {
        Ok(())
    }
    fn copy<E: Element>(&self, source: Window, target: Window) -> Result<()> {
        self.moves(source + target);
        Ok(())
    }
    fn zero<E: Element>(&self, target: Window) -> Result<()> {
        self.moves(target);
        Ok(())
    }

    fn ranks(&self) -> RankOf {
        self.ranks
    }
    fn sum_over_ranks(&self, x: Window) -> Result<()> {
        self.tells_in_place(Kind::AllReduce, x)
    }
    fn sum_block_over_ranks(&self, x: Window) -> Result<()> {
        self.tells_in_place(Kind::ReduceScatter, x)
    }
    fn gather_blocks_from_ranks<E: Element>(&self, x: Window) -> Result<()> {
        self.tells_in_place(Kind::AllGather, x)
    }
    fn gather_from_ranks<E: Element>(&self, part: Window, whole: Window) -> Result<()> {
        self.tells(Kind::AllGather, whole);
        self.moves(part + whole);
        Ok(())
    }

    type Repeated = ();
    fn repeat(&self, (): &mut (), mut work: impl FnMut() -> Result<()>) -> Result<()> {
        work()
    }
    fn steps_per_readback(&self) -> u64 {
        1
    }

    fn synchronize(&self) -> Result<()> {
        Ok(())
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_takes_whole_multiples_of_256_bytes() {
        assert_eq!([0, 1, 64, 65].map(device_bytes::<f32>), [256, 256, 256, 512]);
        assert_eq!([0, 32, 33].map(device_bytes::<f64>), [256, 256, 512]);
        assert_eq!(device_bytes::<f64>(usize::MAX), u64::MAX);
    }
}
