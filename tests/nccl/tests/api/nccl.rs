//! Short forms of the calls.

use std::ffi::CStr;
use std::sync::OnceLock;

use cudarc::driver::sys;
use libloading::Library;

pub(crate) const UINT8: u32 = 1;
pub(crate) const FLOAT: u32 = 7;
pub(crate) const DOUBLE: u32 = 8;
pub(crate) const SUM: u32 = 0;
pub(crate) const IN_PROGRESS: u32 = 7;

/// `ncclUniqueId`.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Id(pub(crate) [u8; 128]);

/// `ncclConfig_t` of 2.14.
#[repr(C)]
pub(crate) struct Config {
    pub(crate) size: usize,
    pub(crate) magic: u32,
    pub(crate) version: u32,
    pub(crate) blocking: i32,
}

impl Config {
    pub(crate) fn blocking(blocking: i32) -> Config {
        Config { size: size_of::<Config>(), magic: 0xCAFE_BEEF, version: 21_400, blocking }
    }
}

/// A function of the library under test.
pub(crate) fn function<T: Copy>(name: &str) -> T {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    // SAFETY: the library under test has no initialisers of its own.
    let library = LIBRARY.get_or_init(|| unsafe { Library::new("libnccl.so.2") }.expect("the library"));
    // SAFETY: the types at the calls below are those of nccl.h.
    *unsafe { library.get::<T>(name.as_bytes()) }.expect("a function")
}

/// Calls the library under test: name, types, arguments.
macro_rules! nccl {
    ($name:ident($($argument:expr => $type:ty),* $(,)?)) => {{
        let function: unsafe extern "C" fn($($type),*) -> u32 = crate::nccl::function(stringify!($name));
        // SAFETY: the arguments are the test's, which the stand-in checks.
        unsafe { function($($argument),*) }
    }};
}
pub(crate) use nccl;

/// Calls the driver and expects success.
macro_rules! cuda {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: the arguments are the test's, which the stand-in checks.
        let code = unsafe { cudarc::driver::sys::$function($($argument),*) };
        assert_eq!(code as u32, 0, stringify!($function));
    }};
}
pub(crate) use cuda;

pub(crate) fn last_error() -> String {
    let function: unsafe extern "C" fn(usize) -> *const std::ffi::c_char = function("ncclGetLastError");
    // SAFETY: it gives a text that stays.
    unsafe { CStr::from_ptr(function(0)) }.to_string_lossy().into_owned()
}

#[track_caller]
pub(crate) fn new_id() -> Id {
    let mut id = Id([0; 128]);
    assert_eq!(nccl!(ncclGetUniqueId(&raw mut id => *mut Id)), 0);
    id
}

/// A rank on its device.
pub(crate) struct Rank {
    pub(crate) comm: usize,
    pub(crate) stream: sys::CUstream,
}

/// Makes a device's context current, and a stream on it.
#[track_caller]
pub(crate) fn begin(device: i32) -> sys::CUstream {
    let (mut context, mut stream) = (std::ptr::null_mut(), std::ptr::null_mut());
    cuda!(cuInit(0));
    cuda!(cuDevicePrimaryCtxRetain(&mut context, device));
    cuda!(cuCtxSetCurrent(context));
    cuda!(cuStreamCreate(&mut stream, 1));
    stream
}

/// The code with which a rank on a device joins, and its handle.
pub(crate) fn join(id: Id, rank: i32, ranks: i32, blocking: i32) -> (u32, usize) {
    let mut comm = 0usize;
    let config = Config::blocking(blocking);
    let code = nccl!(ncclCommInitRankConfig(
        &raw mut comm => *mut usize, ranks => i32, id => Id, rank => i32, &raw const config => *const Config
    ));
    (code, comm)
}

/// Runs `work` on each of so many ranks, which are threads with a device each.
pub(crate) fn on_ranks<T: Send>(ranks: usize, work: impl Fn(usize, &Rank) -> T + Sync) -> Vec<T> {
    let id = new_id();
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..ranks)
            .map(|rank| {
                scope.spawn(move || {
                    let stream = begin(rank as i32);
                    let (code, comm) = join(id, rank as i32, ranks as i32, 1);
                    assert_eq!(code, 0, "{}", last_error());
                    work(rank, &Rank { comm, stream })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a rank")).collect()
    })
}

/// The state that a communicator tells.
pub(crate) fn state(comm: usize) -> u32 {
    let mut state = 99;
    assert_eq!(nccl!(ncclCommGetAsyncError(comm => usize, &raw mut state => *mut u32)), 0);
    state
}

/// Waits until nothing is in progress.
pub(crate) fn settled(comm: usize) -> u32 {
    loop {
        match state(comm) {
            IN_PROGRESS => std::thread::sleep(std::time::Duration::from_micros(100)),
            state => return state,
        }
    }
}

impl Rank {
    /// Device memory that holds these bytes.
    pub(crate) fn memory(&self, bytes: &[u8]) -> u64 {
        let mut address = 0;
        cuda!(cuMemAlloc_v2(&mut address, bytes.len()));
        cuda!(cuMemcpyHtoDAsync_v2(address, bytes.as_ptr().cast(), bytes.len(), self.stream));
        address
    }

    /// The content of device memory once all work is done.
    pub(crate) fn fetch(&self, address: u64, bytes: usize) -> Vec<u8> {
        let mut target = vec![0xEE; bytes];
        cuda!(cuMemcpyDtoHAsync_v2(target.as_mut_ptr().cast(), address, bytes, self.stream));
        self.wait();
        target
    }

    pub(crate) fn wait(&self) {
        cuda!(cuStreamSynchronize(self.stream));
    }

    pub(crate) fn query(&self) -> u32 {
        // SAFETY: the stream is the test's.
        unsafe { sys::cuStreamQuery(self.stream) as u32 }
    }

    pub(crate) fn all_reduce(&self, send: u64, receive: u64, count: usize, data_type: u32) -> u32 {
        nccl!(ncclAllReduce(
            send => u64, receive => u64, count => usize, data_type => u32, SUM => u32, self.comm => usize,
            self.stream as usize => usize
        ))
    }
}
