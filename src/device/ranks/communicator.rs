//! One GPU among those that train one model together: what it asks of NCCL, and how it waits for the others.
//!
//! NCCL's work goes into the GPU's stream like a kernel, and is recorded with the rest of a step. A kernel of NCCL's ends when all ranks
//! have come to theirs, so that waiting for the stream may take for ever once one of them has died. So the stream is asked again and
//! again, and NCCL beside it (NCCL user guide, "Asynchronous errors and error handling").

use std::ffi::c_int;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use cudarc::driver::{CudaContext, CudaStream, sys};
use cudarc::nccl::sys::{ncclComm_t, ncclDataType_t, ncclRedOp_t, ncclUniqueId};

use super::RankOf;
use super::nccl::{CUDA_ERROR, Functions, IN_PROGRESS, NcclId, SUCCESS, functions};
use crate::{Error, Result, units};

/// While it waits, a thread looks again without a pause for so long, and then with pauses: a step takes longer, and what waits for the
/// host in between is short.
const BUSY: Duration = Duration::from_micros(200);
/// The pause, at most.
const PAUSE: Duration = Duration::from_micros(200);
/// The interval at which NCCL is asked for errors.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// NCCL's search for ways between GPUs "may temporarily require more than 2 MB of thread stack during communicator creation", and 8 MB is
/// "known to be sufficient" (NCCL user guide, "Stack size"). A thread of Rust's has 2.
const JOINING_STACK: usize = 8 << 20;

/// The time that pending work has to end when the other ranks are lost, or when memory is freed.
pub(crate) const LAST_WORK: Duration = Duration::from_secs(10);

/// The type of what is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summed {
    /// 32 bits.
    F32,
    /// 64 bits.
    F64,
}

impl Summed {
    fn data_type(self) -> ncclDataType_t {
        match self {
            Summed::F32 => ncclDataType_t::ncclFloat32,
            Summed::F64 => ncclDataType_t::ncclFloat64,
        }
    }
}

/// A rank's communicator (`ncclComm_t`).
pub(crate) struct NcclRank {
    functions: &'static Functions,
    communicator: Handle,
    place: RankOf,
    /// The first error. After it, NCCL is not called any more.
    failure: OnceLock<String>,
    asked: Mutex<Instant>,
}

#[derive(Clone, Copy)]
struct Handle(ncclComm_t);

// SAFETY: NCCL's handle is used by one thread at a time: a step is asked for by one, and what ends it (`Drop`, and an abort, after which
// nothing else is asked) comes after.
#[expect(unsafe_code)]
unsafe impl Send for Handle {}
// SAFETY: as above.
#[expect(unsafe_code)]
unsafe impl Sync for Handle {}

impl std::fmt::Debug for NcclRank {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.place)
    }
}

impl NcclRank {
    /// Joins the ranks that were given the same id, with the GPU of this context, and waits for them for as long as `patience`.
    ///
    /// # Errors
    /// [`Error::Device`] where there is no usable NCCL, where its memory does not fit, or where it refuses, as for two ranks on one GPU;
    /// [`Error::Ranks`] where not all ranks have come in time.
    pub(crate) fn join(context: &Arc<CudaContext>, id: &NcclId, place: RankOf, patience: Duration) -> Result<Self> {
        let functions = functions()?;
        // In a thread of its own, since NCCL waits for ever. Where it does, this program ends, and the thread with it.
        let (done, result) = mpsc::channel();
        let (context, id) = (context.clone(), ncclUniqueId { internal: bytemuck::cast(*id) });
        let joining = std::thread::Builder::new().stack_size(JOINING_STACK).spawn(move || {
            let joined = context.bind_to_thread().map_err(|error| format!("its context was not made current: {error}"));
            let _ = done.send(joined.and_then(|()| init(functions, id, place)));
        });
        joining.map_err(|error| Error::Device(format!("no thread to join the ranks in: {error}")))?;
        let RankOf { rank, world } = place;
        let communicator = match result.recv_timeout(patience) {
            Ok(Ok(communicator)) => communicator,
            Ok(Err(error)) => {
                return Err(Error::Device(format!("rank {rank} of {world} can't join the others by NCCL: {error}")));
            }
            Err(_) => {
                return Err(Error::Ranks(format!(
                    "the {world} ranks have not all joined by NCCL after {}, as rank {rank} sees it: did all start, with the same number \
                     of ranks, and can they reach each other? NCCL_DEBUG=INFO shows how it connects, and NCCL_SOCKET_IFNAME chooses the \
                     network's interface",
                    units::duration(patience.as_secs_f64())
                )));
            }
        };
        let (failure, asked) = (OnceLock::new(), Mutex::new(Instant::now()));
        Ok(NcclRank { functions, communicator, place, failure, asked })
    }

    pub(crate) fn place(&self) -> RankOf {
        self.place
    }

    /// x ← its sum over all ranks: `len` reals at `x`, in the stream's order.
    pub(crate) fn sum(&self, x: u64, len: usize, summed: Summed, stream: &CudaStream) -> Result<()> {
        let [send, receive] = [x, x].map(|address| address as *mut u8);
        let sum = ncclRedOp_t::ncclSum;
        // SAFETY: the addresses are memory of live buffers of that length, which are freed only after all work.
        #[expect(unsafe_code)]
        self.asked(|functions, communicator| unsafe {
            (functions.all_reduce)(send, receive, len, summed.data_type(), sum, communicator, stream.cu_stream().cast())
        })
    }

    /// Block `rank` of x ← its sum over all ranks, where each rank's block is `len` reals. In place, as NCCL defines it: what is received
    /// lies where the rank's own block does.
    pub(crate) fn sum_block(&self, x: u64, len: usize, summed: Summed, stream: &CudaStream) -> Result<()> {
        let bytes = match summed {
            Summed::F32 => 4 * len,
            Summed::F64 => 8 * len,
        };
        let (send, receive) = (x as *mut u8, (x + (self.place.rank * bytes) as u64) as *mut u8);
        let sum = ncclRedOp_t::ncclSum;
        // SAFETY: as above, for as many blocks as there are ranks.
        #[expect(unsafe_code)]
        self.asked(|functions, communicator| unsafe {
            (functions.reduce_scatter)(
                send,
                receive,
                len,
                summed.data_type(),
                sum,
                communicator,
                stream.cu_stream().cast(),
            )
        })
    }

    /// `whole[r · bytes ..][.. bytes]` ← what rank r has at `part`, which may be its own place in `whole`.
    pub(crate) fn gather(&self, part: u64, whole: u64, bytes: usize, stream: &CudaStream) -> Result<()> {
        let (part, whole) = (part as *const u8, whole as *mut u8);
        // SAFETY: as above.
        #[expect(unsafe_code)]
        self.asked(|functions, communicator| unsafe {
            let bytes_of = ncclDataType_t::ncclUint8;
            (functions.all_gather)(part, whole, bytes, bytes_of, communicator, stream.cu_stream().cast())
        })
    }

    /// Asks NCCL for something, unless it has failed before.
    fn asked(&self, ask: impl FnOnce(&Functions, ncclComm_t) -> u32) -> Result<()> {
        self.unbroken()?;
        match ask(self.functions, self.communicator.0) {
            SUCCESS => Ok(()),
            code => self.fail(self.functions.describe(code)),
        }
    }

    fn unbroken(&self) -> Result<()> {
        self.failure.get().map_or(Ok(()), |failure| Err(Error::Ranks(failure.clone())))
    }

    /// Ends what is under way on this GPU, and says why.
    fn fail(&self, what: String) -> Result<()> {
        let RankOf { rank, world } = self.place;
        let mut first = false;
        let failure = self.failure.get_or_init(|| {
            first = true;
            format!("rank {rank} of {world} has lost the others: {what}")
        });
        if first {
            // NCCL asks its kernels to end, then waits until no graph has any of its operations. Those go when this thread does, so
            // another one waits.
            let (functions, communicator) = (self.functions, self.communicator);
            std::thread::spawn(move || {
                let Handle(communicator) = { communicator };
                // SAFETY: nothing else is asked of the communicator, since `failure` is set.
                #[expect(unsafe_code)]
                unsafe {
                    (functions.abort)(communicator)
                }
            });
        }
        Err(Error::Ranks(failure.clone()))
    }

    /// Waits until all work of the stream is done, for as long as `limit` where there is one. What tells that another rank is gone where
    /// NCCL does not, as between GPUs of one machine, is not here: the signs of life of the ranks end the process then.
    ///
    /// # Errors
    /// [`Error::Ranks`] where NCCL finds that another rank is gone, or the time is over; [`Error::Device`] where the GPU fails.
    pub(crate) fn wait(&self, stream: &CudaStream, limit: Option<Duration>) -> Result<()> {
        let waited = self.unbroken().and_then(|()| self.waited(stream, limit));
        if matches!(waited, Err(Error::Ranks(_))) {
            // NCCL's kernels end now, and what comes after them may still write to memory of the host, which is the caller's again.
            let start = Instant::now();
            while start.elapsed() < LAST_WORK && is_busy(stream)? {
                std::thread::sleep(PAUSE);
            }
        }
        waited
    }

    fn waited(&self, stream: &CudaStream, limit: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        while is_busy(stream)? {
            self.ask()?;
            if limit.is_some_and(|limit| start.elapsed() > limit) {
                return self.fail("its work comes to no end".into());
            }
            if start.elapsed() < BUSY {
                std::thread::yield_now();
            } else {
                std::thread::sleep(PAUSE);
            }
        }
        Ok(())
    }

    /// Asks NCCL whether something went wrong meanwhile, now and then.
    fn ask(&self) -> Result<()> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.elapsed() < ASK_EVERY {
            return Ok(());
        }
        *asked = Instant::now();
        let mut state = SUCCESS;
        // SAFETY: writes one code, which lives until the call returns.
        #[expect(unsafe_code)]
        let code = unsafe { (self.functions.async_error)(self.communicator.0, &raw mut state) };
        match if code == SUCCESS { state } else { code } {
            SUCCESS | IN_PROGRESS => Ok(()),
            code => self.fail(self.functions.describe(code)),
        }
    }
}

/// Whether a stream has work that is not done.
fn is_busy(stream: &CudaStream) -> Result<bool> {
    // SAFETY: the stream is live.
    #[expect(unsafe_code)]
    match unsafe { sys::cuStreamQuery(stream.cu_stream()) } {
        sys::CUresult::CUDA_SUCCESS => Ok(false),
        sys::CUresult::CUDA_ERROR_NOT_READY => Ok(true),
        code => Err(Error::Device(format!("the GPU failed while its kernels ran: {code:?} (error {})", code as u32))),
    }
}

fn int(value: usize) -> c_int {
    c_int::try_from(value).unwrap_or(c_int::MAX)
}

/// `ncclCommInitRank` on this thread's device.
fn init(
    functions: &Functions,
    id: ncclUniqueId,
    RankOf { rank, world }: RankOf,
) -> std::result::Result<Handle, String> {
    let mut communicator = std::ptr::null_mut();
    // SAFETY: writes one handle, which lives until the call returns; a device is current.
    #[expect(unsafe_code)]
    let code = unsafe { (functions.init_rank)(&raw mut communicator, int(world), id, int(rank)) };
    match code {
        SUCCESS => Ok(Handle(communicator)),
        code => {
            let what = functions.describe(code);
            let hint = if what.contains("Duplicate GPU") || what.contains("using the same GPU") {
                "; each rank needs a GPU of its own: start no more ranks on a machine than it has GPUs"
            } else if code == CUDA_ERROR && what.contains("out of memory") {
                "; NCCL needs memory on the GPU beside the model's: use a smaller batch"
            } else {
                "; NCCL_DEBUG=WARN makes NCCL say more"
            };
            Err(what + hint)
        }
    }
}

impl Drop for NcclRank {
    /// The recorded step is gone by now: NCCL waits for it.
    fn drop(&mut self) {
        if self.failure.get().is_none() {
            // SAFETY: the last use of the communicator.
            #[expect(unsafe_code)]
            let _ = unsafe { (self.functions.destroy)(self.communicator.0) };
        }
    }
}
