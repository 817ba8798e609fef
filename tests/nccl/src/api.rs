//! The edge to C: NCCL user guide, "NCCL API". Each function names the errors that it returns.

use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::arithmetic::{Reduction, size_of_element};
use crate::code::{Code, Failure, Result, last, note};
use crate::collective::{Kind, Operation};
use crate::communicator::{abort, destroy, find, make};
use crate::group;
use crate::meeting::{ID_BYTES, new_id};
use crate::settings::{Point, settings};

/// Defines functions of NCCL's interface. What a body does is traced, what fails is noted for `ncclGetLastError`, and no panic leaves it.
macro_rules! nccl_api {
    ($($(#[$doc:meta])* fn $name:ident($($argument:ident: $type:ty),* $(,)?) $body:block)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Safety
            /// As the interface of C has it: each pointer is null, or is valid for what the documentation says of it.
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> Code {
                let arguments = || -> Vec<String> { vec![$(format!("{:?}", $argument)),*] };
                call(stringify!($name), arguments, || -> Result<Code> { $body })
            }
        )*
    };
}

fn call(name: &str, arguments: impl Fn() -> Vec<String>, body: impl FnOnce() -> Result<Code>) -> Code {
    let code = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(code)) => code,
        Ok(Err(failure)) => {
            note(&failure);
            failure.code
        }
        // A panic is a fault of the stand-in; its message went to stderr.
        Err(_) => Code::INTERNAL_ERROR,
    };
    // A program asks for the state again and again.
    if name != "ncclCommGetAsyncError"
        && let Ok(settings) = settings()
    {
        settings.trace(|| format!("{name}({}) -> {}", arguments().join(", "), code.0));
    }
    code
}

/// Writes a result: ncclInvalidArgument where there is no place for it.
fn set<T>(out: *mut T, value: T) -> Result<Code> {
    if out.is_null() {
        return Err(Failure::new(Code::INVALID_ARGUMENT, "a result's place is a null pointer"));
    }
    // SAFETY: the program gave it as the place of a result of this type.
    unsafe { out.write_unaligned(value) };
    Ok(Code::SUCCESS)
}

/// `ncclUniqueId`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct UniqueId([u8; ID_BYTES]);

impl std::fmt::Debug for UniqueId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}", String::from_utf8_lossy(&self.0).trim_end_matches('\0'))
    }
}

/// The first fields of `ncclConfig_t` in all versions since 2.14.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: i32,
}

/// `NCCL_API_MAGIC`, and `NCCL_CONFIG_UNDEF_INT`.
const MAGIC: u32 = 0xCAFE_BEEF;
const UNDEFINED: i32 = i32::MIN;

/// Makes a communicator. In a group, where several of one thread would be made, it is not supported.
fn init(out: *mut usize, ranks: i32, id: UniqueId, rank: i32, blocking: bool) -> Result<Code> {
    if out.is_null() {
        return Err(Failure::new(Code::INVALID_ARGUMENT, "CommInitRank : the communicator's place is a null pointer"));
    }
    if group::is_open() {
        return Err(Failure::new(Code::INVALID_USAGE, "this stand-in makes no communicators in a group"));
    }
    // SAFETY: the program gave it as the place of the handle.
    make(id.0, rank, ranks, blocking, |handle| unsafe { out.write_unaligned(handle) })
}

fn collective(comm: usize, stream: usize, operation: Operation) -> Result<Code> {
    let communicator = find(comm)?;
    communicator.ready()?;
    settings()?.pass(Point::Enqueue, Some(communicator.rank))?;
    size_of_element(operation.data_type)?;
    operation.check(communicator.rank, communicator.ranks)?;
    // NCCL discards empty collectives.
    if operation.count == 0 {
        return Ok(Code::SUCCESS);
    }
    group::ask(communicator, stream, operation)
}

nccl_api! {
    /// `ncclGetVersion`: ncclInvalidArgument.
    fn ncclGetVersion(version: *mut i32) {
        set(version, settings()?.version)
    }

    /// `ncclGetUniqueId`: ncclInvalidArgument, ncclSystemError.
    fn ncclGetUniqueId(id: *mut UniqueId) {
        settings()?.pass(Point::Id, None)?;
        set(id, UniqueId(new_id()?))
    }

    /// `ncclCommInitRank`: ncclInvalidArgument for a rank that there can't be or an id that is none, ncclUnhandledCudaError where no
    /// device is current or its memory is used up, ncclInvalidUsage for two ranks on one GPU or ranks of two versions, ncclInternalError
    /// where a rank comes twice or ranks were told of different numbers.
    fn ncclCommInitRank(comm: *mut usize, ranks: i32, id: UniqueId, rank: i32) {
        init(comm, ranks, id, rank, true)
    }

    /// `ncclCommInitRankConfig`: likewise, at once or, where it does not block, as the communicator's state; ncclInvalidArgument for a
    /// configuration that is none.
    fn ncclCommInitRankConfig(comm: *mut usize, ranks: i32, id: UniqueId, rank: i32, config: *const Config) {
        if config.is_null() {
            return init(comm, ranks, id, rank, true);
        }
        // SAFETY: the program gave a configuration of some version, which all begin so.
        let Config { size, magic, version, blocking } = unsafe { config.read_unaligned() };
        if magic != MAGIC || size < size_of::<Config>() || version < 21_400 {
            return Err(Failure::new(Code::INVALID_ARGUMENT, "ncclConfig_t argument not initialized via NCCL_CONFIG_INITIALIZER"));
        }
        match blocking {
            0 => init(comm, ranks, id, rank, false),
            1 | UNDEFINED => init(comm, ranks, id, rank, true),
            _ => Err(Failure::new(Code::INVALID_ARGUMENT, format!("Invalid config blocking attribute value {blocking}"))),
        }
    }

    /// `ncclCommDestroy`: ncclInvalidArgument, and while something is in progress; its error where it has failed.
    fn ncclCommDestroy(comm: usize) {
        destroy(comm).map(|()| Code::SUCCESS)
    }

    /// `ncclCommAbort`: ncclInvalidArgument. From any thread and in any state.
    fn ncclCommAbort(comm: usize) {
        abort(comm).map(|()| Code::SUCCESS)
    }

    /// `ncclCommGetAsyncError`: ncclInvalidArgument.
    fn ncclCommGetAsyncError(comm: usize, state: *mut u32) {
        set(state, find(comm)?.state().0)
    }

    /// `ncclCommCount`: ncclInvalidArgument.
    fn ncclCommCount(comm: usize, count: *mut i32) {
        set(count, find(comm)?.ranks as i32)
    }

    /// `ncclCommCuDevice`: ncclInvalidArgument.
    fn ncclCommCuDevice(comm: usize, device: *mut i32) {
        set(device, find(comm)?.device)
    }

    /// `ncclCommUserRank`: ncclInvalidArgument.
    fn ncclCommUserRank(comm: usize, rank: *mut i32) {
        set(rank, find(comm)?.rank as i32)
    }

    /// `ncclAllReduce`: ncclInvalidArgument; what a communicator in progress or failed returns; ncclUnhandledCudaError for a stream that
    /// is none.
    fn ncclAllReduce(send: u64, receive: u64, count: usize, data_type: u32, op: u32, comm: usize, stream: usize) {
        let kind = Kind::AllReduce(Reduction::new(op)?);
        collective(comm, stream, Operation { kind, send, receive, count, data_type })
    }

    /// `ncclReduceScatter`: likewise. `count` is that of what a rank receives.
    fn ncclReduceScatter(send: u64, receive: u64, count: usize, data_type: u32, op: u32, comm: usize, stream: usize) {
        let kind = Kind::ReduceScatter(Reduction::new(op)?);
        collective(comm, stream, Operation { kind, send, receive, count, data_type })
    }

    /// `ncclAllGather`: likewise. `count` is that of what a rank gives.
    fn ncclAllGather(send: u64, receive: u64, count: usize, data_type: u32, comm: usize, stream: usize) {
        collective(comm, stream, Operation { kind: Kind::AllGather, send, receive, count, data_type })
    }

    /// `ncclBroadcast`: likewise.
    fn ncclBroadcast(send: u64, receive: u64, count: usize, data_type: u32, root: i32, comm: usize, stream: usize) {
        let root = usize::try_from(root).unwrap_or(usize::MAX);
        collective(comm, stream, Operation { kind: Kind::Broadcast(root), send, receive, count, data_type })
    }

    /// `ncclGroupStart`.
    fn ncclGroupStart() {
        group::start();
        Ok(Code::SUCCESS)
    }

    /// `ncclGroupEnd`: ncclInvalidUsage where none was started; ncclInProgress where communicators do not block.
    fn ncclGroupEnd() {
        group::end()
    }
}

/// `ncclGetErrorString`.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub(crate) extern "C" fn ncclGetErrorString(result: u32) -> *const c_char {
    Code(result).text().as_ptr()
}

/// `ncclGetLastError`. "The comm argument is currently unused and can be set to NULL."
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub(crate) extern "C" fn ncclGetLastError(_comm: *const c_void) -> *const c_char {
    last().as_ptr()
}
