//! The CPU as a backend: a buffer is a `Vec`, a window is a slice, and threads come from a pool of its own.
//!
//! Every operation splits its work by its shape alone and sums in a fixed order, so the bits of a result do not depend
//! on the number of threads.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::huge_pages::huge_pages;
use super::ranks::exchange::Exchange;
use super::ranks::{Communicator, RankOf};
use super::{Backend, Element, Precision, Real, Storage};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::{Error, Result};

/// The CPU, computing in `T`: f32 to train, f64 to check gradients.
#[derive(Debug)]
pub struct Cpu<T, S = T> {
    pool: Arc<rayon::ThreadPool>,
    scratch: Arc<Scratch<T>>,
    allocated: Arc<AtomicU64>,
    precision: Precision,
    ranks: Option<Arc<Exchange>>,
    stored: PhantomData<S>,
}

impl<T, S> Clone for Cpu<T, S> {
    fn clone(&self) -> Self {
        Cpu {
            pool: self.pool.clone(),
            scratch: self.scratch.clone(),
            allocated: self.allocated.clone(),
            precision: self.precision,
            ranks: self.ranks.clone(),
            stored: PhantomData,
        }
    }
}

/// Memory that operations borrow for the length of a call, so that a step allocates nothing once it is warm.
#[derive(Debug)]
struct Scratch<T> {
    /// One a worker thread.
    local: Vec<Mutex<Vec<T>>>,
    /// One for the operation that is under way.
    shared: Mutex<Vec<T>>,
}

impl Cpu<f32> {
    /// The same, where linear layers and convolutions round their operands to tf32: as the kernels do, and in the same places.
    ///
    /// # Errors
    /// As [`Cpu::new`].
    pub fn in_tf32(threads: Option<usize>) -> Result<Self> {
        Ok(Cpu { precision: Precision::Tf32, ..Cpu::new(threads)? })
    }
}

impl<T: Real, S: Storage<T>> Cpu<T, S> {
    /// A CPU backend with `threads` threads; `None` takes every core.
    ///
    /// # Errors
    /// If the system refuses to start the threads.
    pub fn new(threads: Option<usize>) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|index| format!("worker-{index}"))
            .build()
            .map_err(|error| Error::Device(format!("can't start the CPU's worker threads: {error}")))?;
        let local = (0..pool.current_num_threads()).map(|_| Mutex::default()).collect();
        let scratch = Arc::new(Scratch { local, shared: Mutex::default() });
        Ok(Cpu {
            pool: Arc::new(pool),
            scratch,
            allocated: Arc::default(),
            precision: S::PRECISION,
            ranks: None,
            stored: PhantomData,
        })
    }

    /// The same, as one of several ranks that train one model together.
    #[must_use]
    pub fn with_ranks(self, communicator: Arc<dyn Communicator>) -> Self {
        let ranks = (!communicator.place().is_alone()).then(|| Arc::new(Exchange::new(communicator)));
        Cpu { ranks, ..self }
    }

    /// The number of threads that compute.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Bytes that [`Backend::alloc`] has handed out so far, freed or not.
    pub fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    /// Lends the calling worker `len` elements of unspecified content. `work` must not start parallel work: a stolen
    /// task could ask for the same memory.
    pub(crate) fn with_local<R>(&self, len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
        let worker = rayon::current_thread_index().unwrap_or(0) % self.scratch.local.len();
        lend(&self.scratch.local[worker], len, work)
    }

    /// Lends the operation under way `len` elements of unspecified content, to share between its threads. Not to be
    /// nested.
    pub(crate) fn with_shared<R>(&self, len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
        lend(&self.scratch.shared, len, work)
    }
}

/// Works on the threads of the pool. Of one type, so that rayon's way into its pool is compiled once.
fn install(pool: &rayon::ThreadPool, work: &mut (dyn FnMut() + Send)) {
    pool.install(work);
}

/// Elements of one part where memory is copied or zeroed.
const CHUNK: usize = 1 << 18;

fn lend<T: Real, R>(memory: &Mutex<Vec<T>>, len: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    // The content is scratch: whatever a panicking thread left behind is as good as anything.
    let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
    if memory.len() < len {
        let more = len - memory.len();
        memory.reserve_exact(more);
        huge_pages(&memory);
        memory.resize(len, T::ZERO);
    }
    work(&mut memory[..len])
}

/// Bytes of memory that a program could still get, as far as the system tells.
pub fn free_memory() -> Option<u64> {
    let information = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Runs `work` compiled for the widest vectors that this processor has: a structure whose [`pulp::NullaryFnOnce`] has
/// `#[inline(always)]`. [`vectorised!`] takes an expression.
#[inline(always)]
pub(crate) fn dispatched<R>(work: impl pulp::NullaryFnOnce<Output = R>) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A closure that is dispatched. It is called as what it is: the adapter that makes a closure callable once would not be inlined.
pub(crate) struct Inlined<F>(pub(crate) F);

impl<R, F: FnMut() -> R> pulp::NullaryFnOnce for Inlined<F> {
    type Output = R;
    #[inline(always)]
    fn call(mut self) -> R {
        (self.0)()
    }
}

/// An expression, compiled for the widest vectors that this processor has. What it calls must be inlined too: functions and
/// closures with `#[inline(always)]`. What is not is compiled for the oldest processor, and nothing says so.
macro_rules! vectorised {
    ($work:expr) => {
        $crate::device::cpu::dispatched($crate::device::cpu::Inlined(
            #[inline(always)]
            || $work,
        ))
    };
}
pub(crate) use vectorised;

impl<T: Real, S: Storage<T>> Backend for Cpu<T, S> {
    type Real = T;
    type Storage = S;
    type Buffer<E: Element> = Vec<E>;
    type View<'a, E: Element> = &'a [E];
    type ViewMut<'a, E: Element> = &'a mut [E];

    fn describe(&self) -> String {
        let threads = self.threads();
        let numbers = if self.precision == Precision::F32 { T::NAME } else { self.precision.word() };
        format!("CPU, {threads} thread{}, {numbers}", if threads == 1 { "" } else { "s" })
    }

    fn alloc<E: Element>(&self, len: usize) -> Result<Vec<E>> {
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(len).map_err(|_| {
            Error::Device(format!("can't allocate {} bytes of memory; use a smaller batch", len * size_of::<E>()))
        })?;
        huge_pages(&buffer);
        buffer.resize(len, E::zeroed());
        self.allocated.fetch_add((len * size_of::<E>()) as u64, Ordering::Relaxed);
        Ok(buffer)
    }

    fn view<'a, E: Element>(&self, buffer: &'a Vec<E>) -> &'a [E] {
        buffer
    }
    fn view_mut<'a, E: Element>(&self, buffer: &'a mut Vec<E>) -> &'a mut [E] {
        buffer
    }
    fn len<E: Element>(&self, view: &[E]) -> usize {
        view.len()
    }
    fn as_stored<'a>(&self, view: Self::View<'a, T>) -> Option<Self::View<'a, S>> {
        S::of_reals(view)
    }
    fn slice<'long: 'short, 'short, E: Element>(
        &self,
        view: Self::View<'long, E>,
        range: Range<usize>,
    ) -> Self::View<'short, E> {
        &view[range]
    }
    fn slice_mut<'a, E: Element>(&self, view: Self::ViewMut<'a, E>, range: Range<usize>) -> Self::ViewMut<'a, E> {
        &mut view[range]
    }
    fn split_mut<'a, E: Element>(
        &self,
        view: Self::ViewMut<'a, E>,
        at: usize,
    ) -> (Self::ViewMut<'a, E>, Self::ViewMut<'a, E>) {
        view.split_at_mut(at)
    }
    fn reborrow<'a, E: Element>(&self, view: &'a mut &mut [E]) -> &'a mut [E] {
        view
    }

    fn freeze<'a, E: Element>(&self, view: Self::ViewMut<'a, E>) -> Self::View<'a, E> {
        view
    }

    fn upload<E: Element>(&self, source: &[E], target: &mut [E]) -> Result<()> {
        target.copy_from_slice(source);
        Ok(())
    }
    fn download<E: Element>(&self, source: &[E], target: &mut [E]) -> Result<()> {
        target.copy_from_slice(source);
        Ok(())
    }
    fn copy<E: Element>(&self, source: &[E], target: &mut [E]) -> Result<()> {
        assert_eq!(source.len(), target.len(), "lengths");
        let parts = target.par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        parts.for_each(|(target, source)| target.copy_from_slice(source));
        Ok(())
    }
    fn zero<E: Element>(&self, target: &mut [E]) -> Result<()> {
        target.par_chunks_mut(CHUNK).for_each(|part| part.fill(E::zeroed()));
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

    fn precision(&self) -> Precision {
        self.precision
    }

    fn ranks(&self) -> RankOf {
        self.ranks.as_ref().map_or(RankOf::ALONE, |ranks| ranks.place())
    }
    fn sum_over_ranks(&self, x: &mut [T]) -> Result<()> {
        self.ranks.as_ref().map_or(Ok(()), |ranks| ranks.sum(x))
    }
    fn sum_block_over_ranks(&self, x: &mut [T]) -> Result<()> {
        self.ranks.as_ref().map_or(Ok(()), |ranks| ranks.sum_block(x))
    }
    fn gather_blocks_from_ranks<E: Element>(&self, x: &mut [E]) -> Result<()> {
        self.ranks.as_ref().map_or(Ok(()), |ranks| ranks.gather_blocks(x))
    }
    fn gather_from_ranks<E: Element>(&self, part: &[E], whole: &mut [E]) -> Result<()> {
        match &self.ranks {
            Some(ranks) => ranks.gather(part, whole),
            None => self.copy(part, whole),
        }
    }

    fn run<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        let (mut work, mut result) = (Some(work), None);
        install(&self.pool, &mut || result = work.take().map(|work| work()));
        result.expect("the pool has worked")
    }
}
