//! A backend that computes nothing and counts everything: bytes of memory, arithmetic, bytes moved. The same networks
//! and the same training step run on it as on the others, so what it predicts is what they do.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{ALIGNMENT, Backend, Element, Real, Storage};
use crate::Result;

/// Counts instead of computing, for reals of type `T`. A buffer is its length, and so is a window.
#[derive(Debug, Clone)]
pub struct DryRun<T = f32, S = T> {
    counts: Arc<Counts>,
    real: PhantomData<(T, S)>,
}

impl<T, S> Default for DryRun<T, S> {
    fn default() -> Self {
        DryRun { counts: Arc::default(), real: PhantomData }
    }
}

#[derive(Debug, Default)]
struct Counts {
    allocated: AtomicU64,
    on_device: AtomicU64,
    scratch: AtomicU64,
    flops: AtomicU64,
    moved: AtomicU64,
}

impl<T: Real, S: Storage<T>> DryRun<T, S> {
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

    /// Notes a matrix product or a convolution: twice the product of `sizes`.
    pub(crate) fn multiplies(&self, sizes: &[usize]) {
        add(&self.counts.flops, sizes.iter().fold(2, |product, &size| product.saturating_mul(size as u64)));
    }

    /// Notes that this many reals are read or written.
    pub(crate) fn moves(&self, reals: usize) {
        add(&self.counts.moved, bytes::<T>(reals));
    }

    /// Notes that this many reals are borrowed for the length of an operation.
    pub(crate) fn borrows(&self, reals: usize) {
        self.counts.scratch.fetch_max(bytes::<T>(reals), Ordering::Relaxed);
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
    type View<'a, E: Element> = usize;
    type ViewMut<'a, E: Element> = usize;

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

    fn view<E: Element>(&self, buffer: &usize) -> usize {
        *buffer
    }
    fn view_mut<E: Element>(&self, buffer: &mut usize) -> usize {
        *buffer
    }
    fn len<E: Element>(&self, view: usize) -> usize {
        view
    }
    fn slice<'long: 'short, 'short, E: Element>(&self, view: usize, range: Range<usize>) -> usize {
        debug_assert!(range.end <= view, "{range:?} of {view}");
        range.len()
    }
    fn slice_mut<'a, E: Element>(&self, view: Self::ViewMut<'a, E>, range: Range<usize>) -> Self::ViewMut<'a, E> {
        debug_assert!(range.end <= view, "{range:?} of {view}");
        range.len()
    }
    fn split_mut<'a, E: Element>(
        &self,
        view: Self::ViewMut<'a, E>,
        at: usize,
    ) -> (Self::ViewMut<'a, E>, Self::ViewMut<'a, E>) {
        (at, view - at)
    }
    fn reborrow<E: Element>(&self, view: &mut usize) -> usize {
        *view
    }
    fn freeze<'a, E: Element>(&self, view: Self::ViewMut<'a, E>) -> Self::View<'a, E> {
        view
    }

    fn upload<E: Element>(&self, _source: &[E], _target: usize) -> Result<()> {
        Ok(())
    }
    fn download<E: Element>(&self, _source: usize, _target: &mut [E]) -> Result<()> {
        Ok(())
    }
    fn copy<E: Element>(&self, source: usize, target: usize) -> Result<()> {
        add(&self.counts.moved, bytes::<E>(source).saturating_add(bytes::<E>(target)));
        Ok(())
    }
    fn zero<E: Element>(&self, target: usize) -> Result<()> {
        add(&self.counts.moved, bytes::<E>(target));
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
