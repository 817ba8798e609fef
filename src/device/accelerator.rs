//! The backend of the kernels, on whatever runs them: a GPU or an emulator.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::kernels::{Kernel, TileSize, size};
use super::launch::{Argument, AsArgument, DeviceMemory, Launch, Launcher, Recording};
use super::ranks::nccl::NcclId;
use super::ranks::{RankOf, Summed};
use super::trial::Trial;
use super::{Backend, Element, Precision, Real, Storage};
use crate::Result;

/// Kernels in type `T` (f32 to train, f64 to check gradients) on a [`Launcher`], with activations stored as `S`.
pub struct Accelerator<T, S = T> {
    launcher: Arc<dyn Launcher>,
    precision: Precision,
    tile_size: Option<TileSize>,
    trial: Option<Arc<Trial>>,
    wrong: Arc<[Kernel]>,
    lent: Arc<Mutex<Lent>>,
    real: PhantomData<(T, S)>,
}

/// Memory that operations borrow while they run. It grows in the first step and then stays as it is, so that a step which is
/// recorded, the second or a later one, allocates nothing.
#[derive(Default)]
struct Lent {
    /// Scratch memory of unspecified content.
    workspace: Option<Allocation>,
    /// The counters by which blocks learn which of them comes last: 0 before every launch, and after it.
    counters: Option<Allocation>,
}

/// An allocation of its own, so that an emulator which checks bounds by allocations finds an access beyond it.
#[derive(Clone)]
struct Allocation {
    memory: Arc<dyn DeviceMemory>,
    bytes: usize,
}

impl<T, S> Clone for Accelerator<T, S> {
    fn clone(&self) -> Self {
        Accelerator {
            launcher: self.launcher.clone(),
            precision: self.precision,
            tile_size: self.tile_size,
            trial: self.trial.clone(),
            wrong: self.wrong.clone(),
            lent: self.lent.clone(),
            real: PhantomData,
        }
    }
}

/// Owned device memory of `len` elements: an allocation of its own, so that an emulator which checks bounds by allocations
/// finds an access beyond a buffer.
pub struct DeviceBuffer<E> {
    memory: Box<dyn DeviceMemory>,
    len: usize,
    element: PhantomData<E>,
}

/// The replay state of work that is repeated: not yet run, run once, or recorded.
#[derive(Default)]
pub enum Repeated {
    /// Not yet.
    #[default]
    Never,
    /// Once, launch by launch.
    Once,
    /// More often, and from then on by replaying this.
    Recorded {
        /// The work that was done.
        recording: Box<dyn Recording>,
        /// The workspace and the counters that it was done with, which must not go where another operation has needed larger
        /// ones since.
        lent: [Option<Arc<dyn DeviceMemory>>; 2],
    },
}

/// A window to read.
#[derive(Debug)]
pub struct DeviceView<'a, E> {
    address: u64,
    len: usize,
    element: PhantomData<&'a [E]>,
}

impl<E> Clone for DeviceView<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<E> Copy for DeviceView<'_, E> {}

/// A window to write.
#[derive(Debug)]
pub struct DeviceViewMut<'a, E> {
    address: u64,
    len: usize,
    element: PhantomData<&'a mut [E]>,
}

impl<E> DeviceView<'_, E> {
    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<E> DeviceViewMut<'_, E> {
    /// Elements.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<E> AsArgument for DeviceView<'_, E> {
    fn argument(&self) -> Argument {
        Argument::of_window(self.address, self.len * size_of::<E>())
    }
}

impl<E> AsArgument for DeviceViewMut<'_, E> {
    fn argument(&self) -> Argument {
        Argument::of_window(self.address, self.len * size_of::<E>())
    }
}

impl Accelerator<f32> {
    /// The kernels on `launcher`; those of linear layers and convolutions round their operands to tf32.
    pub fn in_tf32(launcher: impl Launcher) -> Self {
        Accelerator { precision: Precision::Tf32, ..Accelerator::new(launcher) }
    }
}

impl<T: Real, S: Storage<T>> Accelerator<T, S> {
    /// The kernels on `launcher`; products are of what is stored.
    pub fn new(launcher: impl Launcher) -> Self {
        let launcher = Arc::new(launcher);
        let (precision, tile_size, trial, wrong) = (S::PRECISION, None, None, Arc::default());
        Accelerator { launcher, precision, tile_size, trial, wrong, lent: Arc::default(), real: PhantomData }
    }

    /// The same with products in tiles of one size, whatever theirs: what small products need to see every kernel.
    #[must_use]
    pub fn with_tiles(self, size: TileSize) -> Self {
        Accelerator { tile_size: Some(size), ..self }
    }

    /// The same with the plain kernels of matrix products alone, which round no operands.
    pub(crate) fn plain(&self) -> Self {
        Accelerator { precision: Precision::F32, tile_size: Some(TileSize::Narrow), ..self.clone() }
    }

    /// The same without these kernels of matrix products: the plain ones take their place.
    #[must_use]
    pub fn without(self, kernels: Vec<Kernel>) -> Self {
        Accelerator { wrong: kernels.into(), ..self }
    }

    /// True where a kernel computes what it should, as far as is known.
    pub(crate) fn trusts(&self, kernel: Kernel) -> bool {
        !self.wrong.contains(&kernel)
    }

    /// Joins the ranks that were given the same id, as [`Launcher::join`] says.
    ///
    /// # Errors
    /// As there.
    pub fn join(&self, id: &NcclId, place: RankOf, patience: Duration) -> Result<()> {
        self.launcher.join(id, place, patience)
    }

    /// The same on a launcher around this one's.
    pub(crate) fn on<L: Launcher>(&self, around: impl FnOnce(Arc<dyn Launcher>) -> L) -> Self {
        Accelerator { launcher: Arc::new(around(self.launcher.clone())), ..self.clone() }
    }

    /// The same with products on trial.
    pub(super) fn with_trial(self, trial: Arc<Trial>) -> Self {
        Accelerator { trial: Some(trial), ..self }
    }

    /// The trial that products are on, if there is one.
    pub(super) fn trial(&self) -> Option<&Trial> {
        self.trial.as_deref()
    }

    /// The only size of tiles, if there is one.
    pub(super) fn tile_size(&self) -> Option<TileSize> {
        self.tile_size
    }

    /// Runs a kernel on a grid of blocks. Nothing happens where a grid is empty.
    pub(crate) fn launch(&self, kernel: Kernel, grid: [u32; 3], block: [u32; 3], arguments: &[Argument]) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        self.launcher.launch(&Launch { kernel, form: S::NAME, grid, block, arguments })
    }

    /// Runs a kernel whose grid strides over `count` elements.
    pub(crate) fn launch_elements(&self, kernel: Kernel, count: usize, arguments: &[Argument]) -> Result<()> {
        self.launch(kernel, [self.element_blocks(count), 1, 1], [size::ELEMENT_THREADS, 1, 1], arguments)
    }

    /// Runs a kernel whose threads stride over `count` elements of what is stored, in runs of 16 bytes (kernels/lib/runs.cuh).
    pub(crate) fn launch_runs(&self, kernel: Kernel, count: usize, arguments: &[Argument]) -> Result<()> {
        self.launch_elements(kernel, count.div_ceil(Self::STORED_RUN), arguments)
    }

    /// The same for `count` elements of each of some groups, which have a row of the grid each: 65,535 of them at most.
    pub(crate) fn launch_runs_of_groups(
        &self,
        kernel: Kernel,
        count: usize,
        groups: usize,
        arguments: &[Argument],
    ) -> Result<()> {
        let most = (self.launcher.stride_blocks() as usize / groups).max(1);
        let blocks = count.div_ceil(Self::STORED_RUN * size::ELEMENT_THREADS as usize).min(most);
        self.launch(
            kernel,
            [int(blocks).unsigned_abs(), int(groups).unsigned_abs(), 1],
            [size::ELEMENT_THREADS, 1, 1],
            arguments,
        )
    }

    /// Blocks of a launch that strides over `count` elements in runs.
    pub(crate) fn run_blocks(&self, count: usize) -> u32 {
        self.element_blocks(count.div_ceil(Self::STORED_RUN))
    }

    /// Elements in 16 bytes of what is stored.
    const STORED_RUN: usize = 16 / size_of::<S>();

    /// Runs a kernel whose blocks stride over `rows` rows of an image and whose threads stride over a row's elements.
    pub(crate) fn launch_rows(&self, kernel: Kernel, rows: usize, arguments: &[Argument]) -> Result<()> {
        let blocks = int(rows).unsigned_abs().min(self.launcher.stride_blocks());
        self.launch(kernel, [blocks, 1, 1], [size::ELEMENT_THREADS, 1, 1], arguments)
    }

    /// Runs a kernel with a block for each of `n` images, or of what else there is so many of.
    pub(crate) fn launch_images(&self, kernel: Kernel, n: usize, arguments: &[Argument]) -> Result<()> {
        self.launch(kernel, [int(n).unsigned_abs(), 1, 1], [size::IMAGE_THREADS, 1, 1], arguments)
    }

    /// Blocks of a launch that strides over `count` elements.
    pub(crate) fn element_blocks(&self, count: usize) -> u32 {
        let blocks = count.div_ceil(size::ELEMENT_THREADS as usize);
        u32::try_from(blocks).unwrap_or(u32::MAX).min(self.launcher.stride_blocks())
    }

    /// Lends the operation under way `len` elements of unspecified content. Not to be nested.
    pub(crate) fn with_workspace<E: Element, R>(
        &self,
        len: usize,
        work: impl FnOnce(DeviceViewMut<'_, E>) -> Result<R>,
    ) -> Result<R> {
        self.with_counted_workspace(len, 0, |workspace, _| work(workspace))
    }

    /// The same, with `counters` counters that are 0: a kernel's blocks find out by them which comes last
    /// (kernels/lib/last_block.cuh), and leave them at 0.
    pub(crate) fn with_counted_workspace<E: Element, R>(
        &self,
        len: usize,
        counters: usize,
        work: impl FnOnce(DeviceViewMut<'_, E>, DeviceViewMut<'_, u32>) -> Result<R>,
    ) -> Result<R> {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = [len.max(1) * size_of::<E>(), counters * size_of::<u32>()];
        let workspace = self.grown(&mut lent.workspace, bytes[0], false)?;
        let count = if counters == 0 { 0 } else { self.grown(&mut lent.counters, bytes[1], true)? };
        work(
            DeviceViewMut { address: workspace, len, element: PhantomData },
            DeviceViewMut { address: count, len: counters, element: PhantomData },
        )
    }

    /// The address of an allocation of at least `bytes` bytes; of zeros where it is a new one and they are asked for.
    fn grown(&self, allocation: &mut Option<Allocation>, bytes: usize, zeroed: bool) -> Result<u64> {
        if let Some(found) = allocation.as_ref().filter(|found| found.bytes >= bytes) {
            return Ok(found.memory.address());
        }
        *allocation = None;
        let memory: Arc<dyn DeviceMemory> = self.launcher.alloc(bytes)?.into();
        if zeroed {
            self.launcher.zero(memory.address(), bytes)?;
        }
        Ok(allocation.insert(Allocation { memory, bytes }).memory.address())
    }

    /// The workspace and the counters as they are now.
    fn lent(&self) -> [Option<Arc<dyn DeviceMemory>>; 2] {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        [&lent.workspace, &lent.counters].map(|found| found.as_ref().map(|found| found.memory.clone()))
    }
}

/// A size as kernels count: 32 bits.
///
/// # Panics
/// If it is larger; no tensor dimension of a network that fits a GPU is.
pub(crate) fn int(value: usize) -> i32 {
    i32::try_from(value).expect("a dimension beyond 2^31")
}

fn range_bytes<E>(len: usize, range: &Range<usize>) -> u64 {
    assert!(range.start <= range.end && range.end <= len, "{range:?} is not inside a window of {len} elements");
    (range.start * size_of::<E>()) as u64
}

/// The type of what is summed.
fn summed<T: Real>() -> Summed {
    if size_of::<T>() == 4 { Summed::F32 } else { Summed::F64 }
}

/// Elements of each rank's block; `None` where there are no others.
fn block(len: usize, place: RankOf) -> Option<usize> {
    assert!(len.is_multiple_of(place.world), "{len} elements are no {} blocks", place.world);
    (!place.is_alone()).then_some(len / place.world)
}

impl<T: Real, S: Storage<T>> Backend for Accelerator<T, S> {
    type Real = T;
    type Storage = S;
    type Buffer<E: Element> = DeviceBuffer<E>;
    type View<'a, E: Element> = DeviceView<'a, E>;
    type ViewMut<'a, E: Element> = DeviceViewMut<'a, E>;

    fn describe(&self) -> String {
        let numbers = if self.precision == Precision::F32 { T::NAME } else { self.precision.word() };
        format!("{}, {numbers}", self.launcher.describe())
    }

    fn alloc<E: Element>(&self, len: usize) -> Result<DeviceBuffer<E>> {
        // An empty buffer has an address all the same.
        let bytes = len.max(1) * size_of::<E>();
        let memory = self.launcher.alloc(bytes)?;
        self.launcher.zero(memory.address(), bytes)?;
        Ok(DeviceBuffer { memory, len, element: PhantomData })
    }
    fn alloc_pinned<E: Element>(&self, len: usize) -> Result<DeviceBuffer<E>> {
        let memory = self.launcher.alloc_pinned(len.max(1) * size_of::<E>())?;
        Ok(DeviceBuffer { memory, len, element: PhantomData })
    }
    fn read_pinned<E: Element>(&self, buffer: &DeviceBuffer<E>) -> Result<Vec<E>> {
        let mut values = vec![E::zeroed(); buffer.len];
        let bytes = bytemuck::cast_slice_mut(&mut values);
        self.launcher.synchronize()?;
        if !buffer.memory.read_by_host(bytes) {
            self.launcher.download(buffer.memory.address(), bytes)?;
        }
        Ok(values)
    }

    fn view<'a, E: Element>(&self, buffer: &'a DeviceBuffer<E>) -> Self::View<'a, E> {
        DeviceView { address: buffer.memory.address(), len: buffer.len, element: PhantomData }
    }
    fn view_mut<'a, E: Element>(&self, buffer: &'a mut DeviceBuffer<E>) -> Self::ViewMut<'a, E> {
        DeviceViewMut { address: buffer.memory.address(), len: buffer.len, element: PhantomData }
    }
    fn len<E: Element>(&self, view: DeviceView<'_, E>) -> usize {
        view.len
    }
    fn as_stored<'a>(&self, view: Self::View<'a, T>) -> Option<Self::View<'a, S>> {
        let DeviceView { address, len, .. } = view;
        (S::NAME == T::NAME).then_some(DeviceView { address, len, element: PhantomData })
    }
    fn slice<'long: 'short, 'short, E: Element>(
        &self,
        view: Self::View<'long, E>,
        range: Range<usize>,
    ) -> Self::View<'short, E> {
        let address = view.address + range_bytes::<E>(view.len, &range);
        DeviceView { address, len: range.len(), element: PhantomData }
    }
    fn slice_mut<'a, E: Element>(&self, view: Self::ViewMut<'a, E>, range: Range<usize>) -> Self::ViewMut<'a, E> {
        let address = view.address + range_bytes::<E>(view.len, &range);
        DeviceViewMut { address, len: range.len(), element: PhantomData }
    }
    fn split_mut<'a, E: Element>(
        &self,
        view: Self::ViewMut<'a, E>,
        at: usize,
    ) -> (Self::ViewMut<'a, E>, Self::ViewMut<'a, E>) {
        let address = view.address + range_bytes::<E>(view.len, &(at..view.len));
        (
            DeviceViewMut { address: view.address, len: at, element: PhantomData },
            DeviceViewMut { address, len: view.len - at, element: PhantomData },
        )
    }
    fn reborrow<'a, E: Element>(&self, view: &'a mut DeviceViewMut<'_, E>) -> Self::ViewMut<'a, E> {
        DeviceViewMut { address: view.address, len: view.len, element: PhantomData }
    }
    fn freeze<'a, E: Element>(&self, view: Self::ViewMut<'a, E>) -> Self::View<'a, E> {
        DeviceView { address: view.address, len: view.len, element: PhantomData }
    }

    fn upload<E: Element>(&self, source: &[E], target: DeviceViewMut<'_, E>) -> Result<()> {
        assert_eq!(source.len(), target.len, "lengths");
        self.launcher.upload(bytemuck::cast_slice(source), target.address)
    }
    fn download<E: Element>(&self, source: DeviceView<'_, E>, target: &mut [E]) -> Result<()> {
        assert_eq!(source.len, target.len(), "lengths");
        self.launcher.download(source.address, bytemuck::cast_slice_mut(target))
    }
    fn copy<E: Element>(&self, source: DeviceView<'_, E>, target: DeviceViewMut<'_, E>) -> Result<()> {
        assert_eq!(source.len, target.len, "lengths");
        self.launcher.copy(source.address, target.address, source.len * size_of::<E>())
    }
    fn zero<E: Element>(&self, target: DeviceViewMut<'_, E>) -> Result<()> {
        self.launcher.zero(target.address, target.len * size_of::<E>())
    }

    fn ranks(&self) -> RankOf {
        self.launcher.ranks()
    }
    fn sum_over_ranks(&self, x: DeviceViewMut<'_, T>) -> Result<()> {
        if self.ranks().is_alone() { Ok(()) } else { self.launcher.sum_over_ranks(x.address, x.len, summed::<T>()) }
    }
    fn sum_block_over_ranks(&self, x: DeviceViewMut<'_, T>) -> Result<()> {
        let block = block(x.len, self.ranks());
        block.map_or(Ok(()), |len| self.launcher.sum_block_over_ranks(x.address, len, summed::<T>()))
    }
    fn gather_blocks_from_ranks<E: Element>(&self, x: DeviceViewMut<'_, E>) -> Result<()> {
        let place = self.ranks();
        block(x.len, place).map_or(Ok(()), |len| {
            let bytes = len * size_of::<E>();
            self.launcher.gather_from_ranks(x.address + (place.rank * bytes) as u64, x.address, bytes)
        })
    }
    fn gather_from_ranks<E: Element>(&self, part: DeviceView<'_, E>, whole: DeviceViewMut<'_, E>) -> Result<()> {
        let place = self.ranks();
        assert_eq!(whole.len, place.world * part.len, "lengths");
        if place.is_alone() {
            return self.copy(part, whole);
        }
        self.launcher.gather_from_ranks(part.address, whole.address, part.len * size_of::<E>())
    }

    type Repeated = Repeated;
    fn repeat(&self, repeated: &mut Repeated, mut work: impl FnMut() -> Result<()>) -> Result<()> {
        match repeated {
            // Only when the workspace has grown to its size do all launches go to where they will always go.
            Repeated::Never => {
                work()?;
                *repeated = Repeated::Once;
                Ok(())
            }
            Repeated::Once => {
                let recording = self.launcher.record(&mut work)?;
                recording.replay()?;
                *repeated = Repeated::Recorded { recording, lent: self.lent() };
                Ok(())
            }
            Repeated::Recorded { recording, .. } => recording.replay(),
        }
    }
    fn own_memory(&self) -> Option<u64> {
        self.launcher.free_memory()
    }
    fn steps_per_readback(&self) -> u64 {
        u64::MAX
    }

    fn synchronize(&self) -> Result<()> {
        self.launcher.synchronize()
    }
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.launcher.timed(work)
    }
    fn precision(&self) -> Precision {
        self.precision
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
}
