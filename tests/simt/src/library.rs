//! The loaded program: its functions and the structs that both sides share (`include/simt/abi.h`, `runtime/runtime.h`).

use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

use libloading::Library;

use crate::report::{Kind, Role};

/// The largest number of findings that one launch reports.
pub(crate) const MOST_FINDINGS: usize = 20;

#[repr(C)]
pub(crate) struct RawKernel {
    name: *const c_char,
    parameters: *const c_char,
    file: *const c_char,
    line: u32,
    max_threads: u32,
    parameter_count: u32,
    parameter_sizes: *const u32,
    call: *const c_void,
    body: *const c_void,
    next: *const RawKernel,
}

#[repr(C)]
pub(crate) struct RawLaunch {
    pub(crate) kernel: u32,
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) thread_order: u32,
    pub(crate) block_order: u32,
    pub(crate) late_copies: u32,
    pub(crate) seed: u64,
    pub(crate) dynamic_shared: u64,
    pub(crate) time_limit: u64,
    pub(crate) arguments: *mut *mut c_void,
    pub(crate) barrier_pairs: u32,
    pub(crate) barrier_pcs: [u64; 32],
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawSite {
    pub(crate) pc: u64,
    pub(crate) role: u32,
    pub(crate) block: u32,
    pub(crate) threads: [u32; 32],
    text: [u8; 40],
}

#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RawFinding {
    pub(crate) kind: u32,
    pub(crate) count: u32,
    pub(crate) address: u64,
    pub(crate) bytes: u32,
    pub(crate) site_count: u32,
    sites: [RawSite; 6],
    text: [u8; 200],
}

impl RawFinding {
    pub(crate) const EMPTY: RawFinding = RawFinding {
        kind: 0,
        count: 0,
        address: 0,
        bytes: 0,
        site_count: 0,
        sites: [RawSite { pc: 0, role: 0, block: 0, threads: [0; 32], text: [0; 40] }; 6],
        text: [0; 200],
    };

    pub(crate) fn kind(&self) -> Kind {
        Kind::ALL[self.kind as usize]
    }

    pub(crate) fn sites(&self) -> &[RawSite] {
        &self.sites[..self.site_count as usize]
    }

    pub(crate) fn text(&self) -> String {
        text(&self.text)
    }
}

impl RawSite {
    pub(crate) fn role(&self) -> Role {
        Role::ALL[self.role as usize]
    }

    pub(crate) fn text(&self) -> String {
        text(&self.text)
    }
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A kernel of a program.
#[derive(Debug, Clone)]
pub(crate) struct KernelEntry {
    pub(crate) name: String,
    /// As the source has them.
    pub(crate) parameters: String,
    pub(crate) file: PathBuf,
    pub(crate) line: u32,
    pub(crate) sizes: Vec<usize>,
    raw: *const RawKernel,
}

// SAFETY: `raw` points to a constant of the loaded library, which is never unloaded.
unsafe impl Send for KernelEntry {}
// SAFETY: as above; nobody writes to it once the library is loaded.
unsafe impl Sync for KernelEntry {}

type NewDevice = unsafe extern "C" fn(u64) -> *mut c_void;
type FreeDevice = unsafe extern "C" fn(*mut c_void);
type Base = unsafe extern "C" fn(*const c_void) -> u64;
type Map = unsafe extern "C" fn(*mut c_void, u64, u64, u64, u64) -> i32;
type Unmap = unsafe extern "C" fn(*mut c_void, u64, u64, u64, u64);
type Written = unsafe extern "C" fn(*mut c_void, u64, u64);
type Copy = unsafe extern "C" fn(*mut c_void, u64, u64, u64);
type Launch = unsafe extern "C" fn(*mut c_void, *const RawKernel, *mut RawLaunch, *mut RawFinding, u32) -> u32;

/// The functions of one loaded program.
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) kernels: Vec<KernelEntry>,
    pub(crate) new_device: NewDevice,
    pub(crate) free_device: FreeDevice,
    pub(crate) base: Base,
    pub(crate) map: Map,
    pub(crate) unmap: Unmap,
    pub(crate) written: Written,
    pub(crate) copy: Copy,
    launch: Launch,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded").field("path", &self.path).field("kernels", &self.kernels).finish_non_exhaustive()
    }
}

impl Loaded {
    pub(crate) fn open(path: &Path) -> Result<Loaded, String> {
        let wrong = |error: libloading::Error| format!("cannot load {}: {error}", path.display());
        // SAFETY: the library is what `program` has just built from this crate's runtime and the caller's kernels; its
        // constructors only fill a list.
        let library = unsafe { Library::new(path) }.map_err(wrong)?;
        // Its signal handlers and kernels may be in use for as long as the process lives.
        let library: &'static Library = Box::leak(Box::new(library));
        // SAFETY: the types are those that the runtime declares for these names; the sizes of all structs that pass are
        // compared before anything is called with one.
        let loaded = unsafe {
            let struct_size: unsafe extern "C" fn(u32) -> u64 = *library.get(b"simt_struct_size").map_err(wrong)?;
            let ours = [size_of::<RawKernel>(), size_of::<RawLaunch>(), size_of::<RawSite>(), size_of::<RawFinding>()];
            for (which, size) in (0u32..).zip(ours) {
                let theirs = struct_size(which);
                if theirs != size as u64 {
                    return Err(format!("struct {which} of {} has {theirs} bytes, {size} here", path.display()));
                }
            }
            let first: unsafe extern "C" fn() -> *const RawKernel = *library.get(b"simt_kernels").map_err(wrong)?;
            Loaded {
                path: path.to_path_buf(),
                kernels: kernels(first()),
                new_device: *library.get(b"simt_device_new").map_err(wrong)?,
                free_device: *library.get(b"simt_device_free").map_err(wrong)?,
                base: *library.get(b"simt_device_base").map_err(wrong)?,
                map: *library.get(b"simt_map").map_err(wrong)?,
                unmap: *library.get(b"simt_unmap").map_err(wrong)?,
                written: *library.get(b"simt_written").map_err(wrong)?,
                copy: *library.get(b"simt_copy").map_err(wrong)?,
                launch: *library.get(b"simt_launch").map_err(wrong)?,
            }
        };
        Ok(loaded)
    }

    /// Runs a kernel whose arguments the caller has checked. Returns how many findings there are.
    ///
    /// # Safety
    ///
    /// `device` is a live device of this program, and `launch.arguments` points to as many pointers as the kernel has
    /// parameters, each to as many bytes as that parameter has.
    pub(crate) unsafe fn launch(
        &self,
        device: *mut c_void,
        kernel: &KernelEntry,
        launch: &mut RawLaunch,
        findings: &mut [RawFinding; MOST_FINDINGS],
    ) -> usize {
        // SAFETY: the caller vouches for device and arguments; the array has as many elements as we say.
        unsafe { (self.launch)(device, kernel.raw, launch, findings.as_mut_ptr(), MOST_FINDINGS as u32) as usize }
    }
}

/// The list of kernels, which the library's constructors have linked.
///
/// # Safety
///
/// `first` is null or heads a list of kernels with valid strings and sizes, all of static lifetime.
unsafe fn kernels(first: *const RawKernel) -> Vec<KernelEntry> {
    let mut entries = Vec::new();
    let mut next = first;
    // SAFETY: the caller vouches for the list.
    while let Some(kernel) = unsafe { next.as_ref() } {
        // SAFETY: the strings and the array of sizes are constants of the library.
        let (name, parameters, file, sizes) = unsafe {
            let string = |pointer| CStr::from_ptr(pointer).to_string_lossy().into_owned();
            let sizes = std::slice::from_raw_parts(kernel.parameter_sizes, kernel.parameter_count as usize);
            (string(kernel.name), string(kernel.parameters), string(kernel.file), sizes)
        };
        entries.push(KernelEntry {
            name,
            parameters,
            file: file.into(),
            line: kernel.line,
            sizes: sizes.iter().map(|&size| size as usize).collect(),
            raw: next,
        });
        next = kernel.next;
    }
    entries
}
