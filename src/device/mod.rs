//! Memory and launch: the only room with `unsafe` in it.
//!
//! A [`Backend`] is memory. What can be computed in that memory is said by one small trait an operation, each in its
//! file under [`crate::ops`].

pub mod accelerator;
#[cfg(target_arch = "x86_64")]
mod amx;
pub mod bf16;
pub mod blocks;
pub mod cpu;
pub mod cuda;
mod dry_run;
pub mod exponential;
pub mod gemm;
pub mod gpu;
mod huge_pages;
pub mod kernels;
pub mod launch;
pub mod matrix;
pub mod normal;
pub mod packable;
pub(crate) mod parallel;
pub mod philox;
mod precision;
pub mod product;
pub mod ranks;
mod real;
pub mod state;
pub mod tiles;
pub mod trial;
pub mod words;

use std::ops::Range;
use std::time::Duration;

pub use accelerator::Accelerator;
pub use cpu::Cpu;
pub use dry_run::{DryRun, Window};
pub use launch::{Argument, DeviceMemory, Launch, Launcher, Recording};
pub use precision::Precision;
pub use ranks::RankOf;
pub use real::{Element, Real, Storage};
pub use state::{Metrics, Network, StepState};

use crate::Result;

/// Device memory begins at a multiple of this many bytes (CUDA C++ Programming Guide, "Device Memory Accesses": at least
/// 256 bytes), so a buffer takes whole multiples of it.
pub const ALIGNMENT: u64 = 256;

/// Memory of one device, holding reals of one type.
///
/// A [`Backend::Buffer`] owns memory, [`In`] is a window to read, [`Out`] a window to write. Reading and writing
/// windows never overlap: that is the borrow checker's business here as on the host. Lengths count elements. A range
/// that is not inside its window, or lengths that differ where they must be equal, are mistakes of this program's, and
/// panic.
pub trait Backend: Clone + Send + Sync + 'static {
    /// The type that is computed with, and in which parameters, their gradients, statistics and losses lie in memory.
    type Real: Real;
    /// The type in which images, activations, their gradients, and the weights that products read lie in memory.
    type Storage: Storage<Self::Real>;
    /// Owned memory.
    type Buffer<E: Element>: Send + Sync;
    /// A window to read.
    type View<'a, E: Element>: Copy + Send + Sync;
    /// A window to write.
    type ViewMut<'a, E: Element>: Send + Sync;

    /// One line for people: which device this is.
    fn describe(&self) -> String;

    /// Allocates `len` zeroed elements.
    ///
    /// # Errors
    /// When the device's memory is used up.
    fn alloc<E: Element>(&self, len: usize) -> Result<Self::Buffer<E>>;

    /// Allocates `len` zeroed elements in the host's memory, pinned where this backend's device is not the host: kernels
    /// write them like any others, and [`Backend::read_pinned`] needs no copy from the device. For little that is written
    /// seldom and read often: each access of a kernel's goes through the bus.
    ///
    /// # Errors
    /// When the host's memory is used up.
    fn alloc_pinned<E: Element>(&self, len: usize) -> Result<Self::Buffer<E>> {
        self.alloc(len)
    }
    /// The elements of a buffer that came from [`Backend::alloc_pinned`], once all work before is done.
    fn read_pinned<E: Element>(&self, buffer: &Self::Buffer<E>) -> Result<Vec<E>> {
        self.read(self.view(buffer))
    }

    /// The whole buffer, to read.
    fn view<'a, E: Element>(&self, buffer: &'a Self::Buffer<E>) -> Self::View<'a, E>;
    /// The whole buffer, to write.
    fn view_mut<'a, E: Element>(&self, buffer: &'a mut Self::Buffer<E>) -> Self::ViewMut<'a, E>;
    /// The number of elements of a window.
    fn len<E: Element>(&self, view: Self::View<'_, E>) -> usize;
    /// The same memory as one of what is stored; `None` where activations are stored in another type than reals.
    fn as_stored<'a>(&self, view: Self::View<'a, Self::Real>) -> Option<Self::View<'a, Self::Storage>>;
    /// A part of a buffer, to read.
    fn part<'a, E: Element>(&self, buffer: &'a Self::Buffer<E>, range: Range<usize>) -> Self::View<'a, E> {
        self.slice(self.view(buffer), range)
    }
    /// A part of a buffer, to write.
    fn part_mut<'a, E: Element>(&self, buffer: &'a mut Self::Buffer<E>, range: Range<usize>) -> Self::ViewMut<'a, E> {
        self.slice_mut(self.view_mut(buffer), range)
    }
    /// A part of a window, for as long as the window lives or shorter.
    fn slice<'long: 'short, 'short, E: Element>(
        &self,
        view: Self::View<'long, E>,
        range: Range<usize>,
    ) -> Self::View<'short, E>;
    /// A part of a window, to write.
    fn slice_mut<'a, E: Element>(&self, view: Self::ViewMut<'a, E>, range: Range<usize>) -> Self::ViewMut<'a, E>;
    /// Two neighbouring windows, the first of `at` elements.
    fn split_mut<'a, E: Element>(
        &self,
        view: Self::ViewMut<'a, E>,
        at: usize,
    ) -> (Self::ViewMut<'a, E>, Self::ViewMut<'a, E>);
    /// The same window, lent on for a shorter time.
    fn reborrow<'a, E: Element>(&self, view: &'a mut Self::ViewMut<'_, E>) -> Self::ViewMut<'a, E>;

    /// The window, to read from now on.
    fn freeze<'a, E: Element>(&self, view: Self::ViewMut<'a, E>) -> Self::View<'a, E>;

    /// Host → device; the lengths are equal.
    fn upload<E: Element>(&self, source: &[E], target: Self::ViewMut<'_, E>) -> Result<()>;
    /// Device → host; the lengths are equal.
    fn download<E: Element>(&self, source: Self::View<'_, E>, target: &mut [E]) -> Result<()>;
    /// Device → device; the lengths are equal.
    fn copy<E: Element>(&self, source: Self::View<'_, E>, target: Self::ViewMut<'_, E>) -> Result<()>;
    /// Sets every byte to zero.
    fn zero<E: Element>(&self, target: Self::ViewMut<'_, E>) -> Result<()>;

    /// Waits until all work that was asked for is done. Operations may return before; reading always waits.
    fn synchronize(&self) -> Result<()>;

    /// Measures how long `work` takes on the device, until all that it asked for is done. Nothing else is under way
    /// meanwhile.
    ///
    /// # Errors
    /// Those of `work`, and if the device fails.
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        launch::wall_clock(|| self.synchronize(), work)
    }

    /// To what the operands of linear layers and convolutions are rounded on their way in. With [`Precision::F32`] they
    /// are not; with the others these products run on tensor cores.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// The place of this process among those that train one model together. The functions below are collective: each of them calls
    /// the same ones in the same order, with the same lengths.
    fn ranks(&self) -> RankOf {
        RankOf::ALONE
    }
    /// x ← its sum over all ranks. All get the same bits; on the CPU they depend on nothing but the terms and the number of ranks.
    ///
    /// # Errors
    /// [`Error::Ranks`](crate::Error::Ranks), here and below, where another rank has ended or does not answer.
    fn sum_over_ranks(&self, _x: Self::ViewMut<'_, Self::Real>) -> Result<()> {
        Ok(())
    }
    /// x has a block for each rank, all of one length. That of this one ← its sum over all ranks, with the bits of
    /// [`Backend::sum_over_ranks`]; the others stay as they are.
    fn sum_block_over_ranks(&self, _x: Self::ViewMut<'_, Self::Real>) -> Result<()> {
        Ok(())
    }
    /// x has a block for each rank, all of one length. That of rank r ← what rank r has there, for every r.
    fn gather_blocks_from_ranks<E: Element>(&self, _x: Self::ViewMut<'_, E>) -> Result<()> {
        Ok(())
    }
    /// `whole[r · n ..][.. n]` ← the part of rank r, of n elements.
    fn gather_from_ranks<E: Element>(&self, part: Self::View<'_, E>, whole: Self::ViewMut<'_, E>) -> Result<()> {
        self.copy(part, whole)
    }

    /// Runs `work` where this backend's operations run best (the CPU: inside its thread pool).
    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R;

    /// The memory of [`Backend::repeat`] for the work that it repeats.
    type Repeated: Default + Send;
    /// Does `work`, which is the same at every call with this `repeated`: the same operations on the same memory, whose
    /// content alone has changed. A backend may do from memory what it has seen before, without calling `work`.
    fn repeat(&self, repeated: &mut Self::Repeated, work: impl FnMut() -> Result<()>) -> Result<()>;

    /// Bytes that are free in the device's own memory; `None` where it has none and lives in the host's.
    fn own_memory(&self) -> Option<u64> {
        None
    }

    /// The steps of training that may pass before the host reads the state back: 1 where reading costs nothing.
    fn steps_per_readback(&self) -> u64;

    /// A window's elements, on the host.
    fn read<E: Element>(&self, view: Self::View<'_, E>) -> Result<Vec<E>> {
        let mut values = vec![E::zeroed(); self.len(view)];
        self.download(view, &mut values)?;
        Ok(values)
    }

    /// A window's activations, on the host, as reals.
    fn read_stored(&self, view: Stored<'_, Self>) -> Result<Vec<Self::Real>> {
        Ok(self.read(view)?.into_iter().map(Storage::real).collect())
    }

    /// A new buffer that holds these numbers as activations are stored.
    fn stored_of(&self, source: &[Self::Real]) -> Result<StoredBuffer<Self>> {
        self.buffer_of(&source.iter().map(|&value| Storage::of_real(value)).collect::<Vec<_>>())
    }

    /// A new buffer that holds `source`.
    fn buffer_of<E: Element>(&self, source: &[E]) -> Result<Self::Buffer<E>> {
        let mut buffer = self.alloc(source.len())?;
        self.upload(source, self.view_mut(&mut buffer))?;
        Ok(buffer)
    }

    /// A new buffer that holds what `content` gives, which is `len` elements. A backend that computes nothing does not
    /// ask for it.
    fn buffer_from<E: Element>(&self, len: usize, content: impl FnOnce() -> Vec<E>) -> Result<Self::Buffer<E>> {
        let content = content();
        debug_assert_eq!(content.len(), len);
        self.buffer_of(&content)
    }
}

/// A window to read, of a backend's reals unless another element is named.
pub type In<'a, B, E = <B as Backend>::Real> = <B as Backend>::View<'a, E>;
/// A window to write, of a backend's reals unless another element is named.
pub type Out<'a, B, E = <B as Backend>::Real> = <B as Backend>::ViewMut<'a, E>;
/// A window to read on images, activations or their gradients.
pub type Stored<'a, B> = <B as Backend>::View<'a, <B as Backend>::Storage>;
/// A window to write on images, activations or their gradients.
pub type StoredOut<'a, B> = <B as Backend>::ViewMut<'a, <B as Backend>::Storage>;
/// Owned memory of images, activations or their gradients.
pub type StoredBuffer<B> = <B as Backend>::Buffer<<B as Backend>::Storage>;
/// Owned memory, of a backend's reals unless another element is named.
pub type Buffer<B, E = <B as Backend>::Real> = <B as Backend>::Buffer<E>;
