//! A GPU as a launcher, through the CUDA driver.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, result, sys};

use super::kernels::{BINARIES, Kernel};
use super::launch::{DeviceMemory, Launch, Launcher, Recording};
use super::ranks::communicator::{LAST_WORK, NcclRank};
use super::ranks::nccl::NcclId;
use super::ranks::{RankOf, Summed};
use crate::{Error, Result, units};

/// One GPU: its context, one stream that all work goes through, and every kernel in the types of numbers that it has.
#[derive(Debug, Clone)]
pub struct Gpu(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// The kernels of the forms that have been used.
    functions: Mutex<HashMap<(&'static str, Kernel), Function>>,
    name: String,
    /// The way to the other ranks, once it has joined them.
    ranks: OnceLock<NcclRank>,
}

impl Opened {
    /// Waits for all work of the stream: for good where the others may be gone.
    fn wait(&self, doing: &str) -> Result<()> {
        match self.ranks.get() {
            Some(ranks) => ranks.wait(&self.stream, None),
            None => self.stream.synchronize().map_err(failed(doing)),
        }
    }
}

/// A kernel that was loaded. Modules stay loaded for as long as the process lives.
#[derive(Debug, Clone, Copy)]
struct Function(sys::CUfunction);

// SAFETY: a handle of the driver's, which may be used from any thread that has the context current.
#[expect(unsafe_code)]
unsafe impl Send for Function {}
// SAFETY: as above; the handle is never written through.
#[expect(unsafe_code)]
unsafe impl Sync for Function {}

/// A CUDA graph, and the GPU: NCCL's communicator must outlive the graphs that it has work in.
struct GpuGraph {
    graph: CudaGraph,
    _gpu: Gpu,
}

// SAFETY: the graph is launched through a shared reference from one thread at a time, since a recording is not Sync, and
// each launch makes the context current first.
#[expect(unsafe_code)]
unsafe impl Send for GpuGraph {}

/// Memory that the GPU's kernels work in.
#[derive(Debug)]
struct GpuMemory {
    /// Its address for kernels.
    address: sys::CUdeviceptr,
    kind: Kind,
    gpu: Gpu,
}

#[derive(Debug)]
enum Kind {
    /// On the GPU.
    Device,
    /// The host's, page-locked and mapped into the GPU's addresses.
    Pinned(Pinned),
}

/// The host's address of pinned memory, and its bytes.
#[derive(Debug)]
struct Pinned {
    host: *mut u8,
    bytes: usize,
}

// SAFETY: the pointer is read through only in GpuMemory::read_by_host, after all work that writes there is done, and freed once.
#[expect(unsafe_code)]
unsafe impl Send for Pinned {}
// SAFETY: as above; the host never writes through it once it is shared.
#[expect(unsafe_code)]
unsafe impl Sync for Pinned {}

impl Drop for GpuMemory {
    fn drop(&mut self) {
        let Opened { context, stream, ranks, .. } = &*self.gpu.0;
        if context.bind_to_thread().is_err() {
            return;
        }
        if let Some(ranks) = ranks.get() {
            // The driver would wait for ever, where work waits for a rank that has gone another way.
            let _ = ranks.wait(stream, Some(LAST_WORK));
        }
        // A context that is broken has no memory left to give back.
        let _ = match &self.kind {
            // SAFETY: the address came from malloc_sync and is freed once; freeing waits for work that is under way.
            #[expect(unsafe_code)]
            Kind::Device => unsafe { result::free_sync(self.address) },
            // cuMemFreeHost promises no such waiting.
            Kind::Pinned(pinned) => context.synchronize().and_then(|()| {
                // SAFETY: the pointer came from malloc_host and is freed once; no work is under way that knows it.
                #[expect(unsafe_code)]
                unsafe {
                    result::free_host(pinned.host.cast())
                }
            }),
        };
    }
}

impl DeviceMemory for GpuMemory {
    fn address(&self) -> u64 {
        self.address
    }

    /// Pinned memory is read where it lies. What a kernel wrote to mapped memory is there for the host once the stream is
    /// synchronised (CUDA C++ Programming Guide, "Mapped Memory": the application must synchronise by streams or events).
    fn read_by_host(&self, target: &mut [u8]) -> bool {
        let Kind::Pinned(Pinned { host, bytes }) = self.kind else { return false };
        assert!(target.len() <= bytes, "{} bytes of {bytes}", target.len());
        // SAFETY: the allocation is live and at least that long; all work that may write there is done, which the caller
        // answers for, and none begins in this copy, since the work of a buffer that is borrowed to be read is asked for by
        // nobody.
        #[expect(unsafe_code)]
        unsafe {
            host.copy_to_nonoverlapping(target.as_mut_ptr(), target.len());
        }
        true
    }
}

impl Recording for GpuGraph {
    fn replay(&self) -> Result<()> {
        self.graph.launch().map_err(failed("a training step was replayed"))
    }
}

fn failed(doing: &str) -> impl Fn(DriverError) -> Error + '_ {
    move |error| {
        let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Error::Device(format!("the GPU failed while {doing}: {name} (error {})", error.0 as u32))
    }
}

impl Gpu {
    /// Opens GPU number `ordinal`. The kernels of a form are loaded when the first of them is launched.
    ///
    /// # Errors
    /// If the driver refuses.
    pub(super) fn open(ordinal: usize) -> Result<Self> {
        let context = CudaContext::new(ordinal).map_err(failed("it was opened"))?;
        // SAFETY: all work goes through the one stream below, in order; there is nothing for events to keep apart.
        #[expect(unsafe_code)]
        unsafe {
            context.disable_event_tracking();
        }
        let stream = context.new_stream().map_err(failed("a stream was made"))?;
        let name = context.name().map_err(failed("its name was asked for"))?;
        let name = format!("cuda:{ordinal} {name}");
        Ok(Gpu(Arc::new(Opened { context, stream, functions: Mutex::default(), name, ranks: OnceLock::new() })))
    }

    /// A kernel in a form. Where it is the first of its form, all kernels of the form are loaded: that is before any step is recorded, since a
    /// step is computed once before.
    fn function(&self, form: &'static str, kernel: Kernel) -> Result<Function> {
        let mut functions = self.0.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(function) = functions.get(&(form, kernel)) {
            return Ok(*function);
        }
        for (file, _, bytes) in BINARIES.iter().filter(|(_, of, _)| *of == form) {
            // SAFETY: the bytes are a whole fatbin, embedded at build time, and live for ever.
            #[expect(unsafe_code)]
            let module = unsafe { result::module::load_data(bytes.as_ptr().cast::<c_void>()) }
                .map_err(failed("its kernels were loaded; was this program built for its architecture?"))?;
            for kernel in Kernel::ALL.iter().filter(|kernel| kernel.file() == *file) {
                let name = CString::new(kernel.name()).map_err(|error| Error::Device(error.to_string()))?;
                // SAFETY: the module was just loaded and is never unloaded.
                #[expect(unsafe_code)]
                let function =
                    unsafe { result::module::get_function(module, name) }.map_err(failed("a kernel was looked up"))?;
                functions.insert((form, *kernel), Function(function));
            }
        }
        functions.get(&(form, kernel)).copied().ok_or_else(|| {
            Error::Device(format!("kernel {} in {form} is not among those that were embedded", kernel.name()))
        })
    }

    fn over_ranks(&self, work: impl FnOnce(&NcclRank, &CudaStream) -> Result<()>) -> Result<()> {
        self.bind()?;
        self.0.ranks.get().map_or(Ok(()), |ranks| work(ranks, &self.0.stream))
    }

    fn bind(&self) -> Result<()> {
        self.0.context.bind_to_thread().map_err(failed("its context was made current"))
    }
}

impl Launcher for Gpu {
    fn describe(&self) -> String {
        self.0.name.clone()
    }

    fn free_memory(&self) -> Option<u64> {
        self.bind().ok()?;
        result::mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.bind()?;
        // SAFETY: only kernels and copies see the memory, and they take any bytes.
        #[expect(unsafe_code)]
        let address = unsafe { result::malloc_sync(bytes) }.map_err(|error| {
            // Work that failed before shows in whatever call comes next.
            if error.0 != sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY {
                return failed("memory was allocated on it")(error);
            }
            let free = result::mem_get_info().map_or(0, |(free, _)| free);
            let name = error.error_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let [needed, free] = units::bytes_apart(bytes as u64, free as u64);
            Error::Device(format!(
                "can't allocate {needed} on the GPU, where {free} are free ({name}): use a smaller batch"
            ))
        })?;
        Ok(Box::new(GpuMemory { address, kind: Kind::Device, gpu: self.clone() }))
    }

    /// Not write-combined: the host reads it, and reads of write-combined memory are slow.
    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.bind()?;
        let doing = "pinned memory was allocated for it";
        // With unified addressing, which every GPU has that these kernels are built for, the driver maps such memory
        // whatever flags its context was made with (CUDA Driver API, "Unified Addressing", "Automatic Mapping of Host
        // Allocated Host Memory").
        // SAFETY: the content is unset and is written below, before anyone reads it.
        #[expect(unsafe_code)]
        let host = unsafe { result::malloc_host(bytes, sys::CU_MEMHOSTALLOC_DEVICEMAP) }.map_err(failed(doing))?.cast();
        // Owned from here on, so that it is freed where the driver gives no address for it.
        let pinned = Kind::Pinned(Pinned { host, bytes });
        let mut memory = GpuMemory { address: 0, kind: pinned, gpu: self.clone() };
        // SAFETY: the allocation is that long, and no kernel knows of it yet. What the host wrote before a launch is what
        // the kernel sees.
        #[expect(unsafe_code)]
        unsafe {
            host.write_bytes(0, bytes);
        }
        // SAFETY: the pointer is one that malloc_host gave for mapped memory; the flags are 0, as the driver demands.
        #[expect(unsafe_code)]
        unsafe { sys::cuMemHostGetDevicePointer_v2(&raw mut memory.address, host.cast(), 0) }
            .result()
            .map_err(failed(doing))?;
        Ok(Box::new(memory))
    }

    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.bind()?;
        // On the stream, in its order: a copy on the default stream may still be under way when the call returns, and this
        // stream does not wait for that one.
        // SAFETY: the target is memory of a live buffer, at least as long as the source, which lives until all is done.
        #[expect(unsafe_code)]
        unsafe { result::memcpy_htod_async(target, source, self.0.stream.cu_stream()) }
            .map_err(failed("data was sent to it"))?;
        self.0.wait("data was sent to it")
    }

    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: the source is memory of a live buffer, at least as long as the target, which lives until all is done.
        #[expect(unsafe_code)]
        unsafe { result::memcpy_dtoh_async(target, source, self.0.stream.cu_stream()) }
            .map_err(failed("data was fetched from it"))?;
        self.0.wait("its kernels ran")
    }

    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: both are memory of live buffers of at least that length; a buffer is freed only after all work.
        #[expect(unsafe_code)]
        unsafe { result::memcpy_dtod_async(target, source, bytes, self.0.stream.cu_stream()) }
            .map_err(failed("data was copied on it"))
    }

    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: the target is memory of a live buffer of at least that length.
        #[expect(unsafe_code)]
        unsafe { result::memset_d8_async(target, 0, bytes, self.0.stream.cu_stream()) }
            .map_err(failed("memory was zeroed on it"))
    }

    fn synchronize(&self) -> Result<()> {
        self.bind()?;
        self.0.wait("its kernels ran")
    }

    /// Between two events of the stream, by the GPU's own clock (to about half a microsecond): what the host does before
    /// the first launch and after the last is not in it. A queue that runs dry between them is.
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.synchronize()?;
        let note_the_time = || {
            // Events that keep the time; those that disable_event_tracking switched off are others.
            let event = self.0.stream.record_event(Some(sys::CUevent_flags::CU_EVENT_DEFAULT));
            event.map_err(failed("an event was recorded"))
        };
        let start = note_the_time()?;
        work()?;
        let end = note_the_time()?;
        self.synchronize()?;
        let milliseconds = start.elapsed_ms(&end).map_err(failed("its kernels ran"))?;
        Duration::try_from_secs_f64(f64::from(milliseconds) / 1e3)
            .map_err(|error| Error::Device(format!("the GPU took {milliseconds} ms between two events: {error}")))
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        const MOST: usize = 16;
        let Launch { kernel, form, grid: [gx, gy, gz], block: [bx, by, bz], arguments } = *launch;
        self.bind()?;
        let function = self.function(form, kernel)?;
        assert!(arguments.len() <= MOST, "{} has {} arguments", kernel.name(), arguments.len());
        let mut pointers = [std::ptr::null_mut::<c_void>(); MOST];
        for (pointer, argument) in pointers.iter_mut().zip(arguments) {
            *pointer = argument.bytes().as_ptr().cast_mut().cast();
        }
        // SAFETY: the function is loaded; the arguments are those of its declaration (the emulator checks their number and
        // sizes in the tests), copied by the driver before this returns; addresses among them are windows of live buffers.
        #[expect(unsafe_code)]
        unsafe {
            result::launch_kernel(
                function.0,
                (gx, gy, gz),
                (bx, by, bz),
                0,
                self.0.stream.cu_stream(),
                &mut pointers[..arguments.len()],
            )
        }
        .map_err(failed(kernel.name()))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.0.stream.begin_capture(mode).map_err(failed("a recording was begun"))?;
        let done = work();
        // Ended in any case: a stream that is left recording takes no other work.
        let graph = self.0.stream.end_capture(sys::CUgraphInstantiate_flags(0));
        done?;
        let graph = graph.map_err(failed("a recording was ended"))?;
        let graph = graph.ok_or_else(|| Error::Device("the GPU recorded nothing of a training step".into()))?;
        Ok(Box::new(GpuGraph { graph, _gpu: self.clone() }))
    }

    fn join(&self, id: &NcclId, place: RankOf, patience: Duration) -> Result<()> {
        if place.is_alone() {
            return Ok(());
        }
        let ranks = NcclRank::join(&self.0.context, id, place, patience)?;
        self.0.ranks.set(ranks).map_err(|_| Error::Internal(format!("{} has joined ranks before", self.0.name)))
    }
    fn ranks(&self) -> RankOf {
        self.0.ranks.get().map_or(RankOf::ALONE, NcclRank::place)
    }
    fn sum_over_ranks(&self, x: u64, len: usize, summed: Summed) -> Result<()> {
        self.over_ranks(|ranks, stream| ranks.sum(x, len, summed, stream))
    }
    fn sum_block_over_ranks(&self, x: u64, len: usize, summed: Summed) -> Result<()> {
        self.over_ranks(|ranks, stream| ranks.sum_block(x, len, summed, stream))
    }
    fn gather_from_ranks(&self, part: u64, whole: u64, bytes: usize) -> Result<()> {
        self.over_ranks(|ranks, stream| ranks.gather(part, whole, bytes, stream))
    }
}
