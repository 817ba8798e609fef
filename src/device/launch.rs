//! Launchers run kernels. The host code of every kernel is written against [`Launcher`], so that grids, argument order and whole
//! training steps are the same on a GPU and in an emulator of one.

use std::time::{Duration, Instant};

use super::kernels::{Kernel, size};
use super::ranks::nccl::NcclId;
use super::ranks::{RankOf, Summed};
use crate::{Error, Result};

/// Owned device memory, freed when it goes.
pub trait DeviceMemory: Send + Sync {
    /// Its first address, for kernels.
    fn address(&self) -> u64;
    /// Copies its first bytes from where the host has them; false where it has them not. All work that writes there is done.
    fn read_by_host(&self, _target: &mut [u8]) -> bool {
        false
    }
}

/// Work that can be done again as a whole.
pub trait Recording: Send {
    /// Does it.
    ///
    /// # Errors
    /// If the device fails.
    fn replay(&self) -> Result<()>;
}

/// Device memory by address, and kernels that work in it.
///
/// Addresses are the device's and mean nothing to the host. Work is done in the order in which it is asked for.
pub trait Launcher: Send + Sync + 'static {
    /// One line for people: which device this is.
    fn describe(&self) -> String;

    /// Bytes that could still be allocated, as far as the device tells.
    fn free_memory(&self) -> Option<u64>;
    /// Allocates `bytes` bytes of unspecified content, at a multiple of [`super::ALIGNMENT`] bytes. Not while work is
    /// recorded.
    ///
    /// # Errors
    /// When the device's memory is used up.
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>>;
    /// Allocates `bytes` zeroed bytes of the host's memory that kernels can write; on a device that shares no memory
    /// with the host, of its own. Not while work is recorded.
    ///
    /// # Errors
    /// When the memory is used up.
    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        let memory = self.alloc(bytes)?;
        self.zero(memory.address(), bytes)?;
        Ok(memory)
    }
    /// Host → device.
    fn upload(&self, source: &[u8], target: u64) -> Result<()>;
    /// Device → host; waits for all work before.
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()>;
    /// Device → device, of memory that does not overlap.
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()>;
    /// Sets bytes to zero.
    fn zero(&self, target: u64, bytes: usize) -> Result<()>;
    /// Waits for all work that was asked for.
    fn synchronize(&self) -> Result<()>;
    /// Measures how long `work` takes on the device, until all that it asked for is done. Nothing else is under way
    /// meanwhile. By the device's clock, if it has one.
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        wall_clock(|| self.synchronize(), work)
    }
    /// Blocks at most of a launch that strides: beyond them a block or a thread takes several pieces of the work. Tests make
    /// them few, so that small work is longer than one grid.
    fn stride_blocks(&self) -> u32 {
        size::ELEMENT_BLOCKS
    }
    /// Runs one kernel.
    fn launch(&self, launch: &Launch<'_>) -> Result<()>;
    /// Records what `work` asks for (launches, copies, zeroing on the device, and what goes over ranks) instead of doing it.
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>>;

    /// Joins the ranks that were given the same id, and from now on sums and gathers over them. Each waits as long as `patience` for all
    /// to come.
    ///
    /// # Errors
    /// [`Error::Device`] where the device can't be joined with others; [`Error::Ranks`] where not all have come in time.
    fn join(&self, _id: &NcclId, place: RankOf, _patience: Duration) -> Result<()> {
        match place.is_alone() {
            true => Ok(()),
            false => Err(Error::Device(format!("{} can't be joined with others", self.describe()))),
        }
    }
    /// The place of this process among those that train one model together. What follows is called where there are others.
    fn ranks(&self) -> RankOf {
        RankOf::ALONE
    }
    /// `len` reals at `x` ← their sum over all ranks.
    fn sum_over_ranks(&self, _x: u64, _len: usize, _summed: Summed) -> Result<()> {
        Ok(())
    }
    /// At `x` lie as many blocks of `len` reals as there are ranks. That of this one ← its sum over all ranks.
    fn sum_block_over_ranks(&self, _x: u64, _len: usize, _summed: Summed) -> Result<()> {
        Ok(())
    }
    /// Block r of `bytes` bytes at `whole` ← what rank r has at `part`, which may be its own place there.
    fn gather_from_ranks(&self, _part: u64, _whole: u64, _bytes: usize) -> Result<()> {
        Ok(())
    }
}

/// Measures how long `work` takes by the host's clock, between two waits for the device.
pub(super) fn wall_clock(
    synchronize: impl Fn() -> Result<()>,
    work: &mut dyn FnMut() -> Result<()>,
) -> Result<Duration> {
    synchronize()?;
    let start = Instant::now();
    work()?;
    synchronize()?;
    Ok(start.elapsed())
}

/// One launch of a kernel.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// The kernel.
    pub kernel: Kernel,
    /// The form that the kernel was compiled in: `f32`, `bf16` or `f64`.
    pub form: &'static str,
    /// Blocks, in x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block, in x, y and z.
    pub block: [u32; 3],
    /// The arguments in the kernel's order.
    pub arguments: &'a [Argument],
}

/// One argument of a kernel: its bytes, as the kernel's parameter has them.
#[derive(Debug, Clone, Copy)]
pub struct Argument {
    bytes: [u64; Argument::WORDS],
    len: usize,
    window: Option<usize>,
}

impl Argument {
    const WORDS: usize = 16;

    /// From plain data of at most 128 bytes.
    ///
    /// # Panics
    /// If it is larger: a mistake of this program's.
    pub fn new<P: bytemuck::NoUninit>(value: P) -> Self {
        let mut argument = Argument { bytes: [0; Self::WORDS], len: size_of::<P>(), window: None };
        bytemuck::bytes_of_mut(&mut argument.bytes)[..size_of::<P>()].copy_from_slice(bytemuck::bytes_of(&value));
        argument
    }

    /// A structure of two fields, the second aligned to its size, as C lays it out.
    pub fn pair<P: bytemuck::NoUninit, Q: bytemuck::NoUninit>(first: P, second: Q) -> Self {
        let at = size_of::<P>().next_multiple_of(align_of::<Q>());
        let mut argument = Argument { bytes: [0; Self::WORDS], len: at + size_of::<Q>(), window: None };
        let bytes = bytemuck::bytes_of_mut(&mut argument.bytes);
        bytes[..size_of::<P>()].copy_from_slice(bytemuck::bytes_of(&first));
        bytes[at..at + size_of::<Q>()].copy_from_slice(bytemuck::bytes_of(&second));
        argument
    }

    /// The address of a window of device memory that is `bytes` long.
    pub fn of_window(address: u64, bytes: usize) -> Self {
        Argument { window: Some(bytes), ..Argument::new(address) }
    }

    /// The number of bytes, if it is a window of device memory. Kernels do not see it; it is for counting the bytes that they move.
    pub fn window(&self) -> Option<usize> {
        self.window
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::bytes_of(&self.bytes)[..self.len]
    }
}

/// A value as a kernel's parameter: a window is its address, a length or a dimension is 32 bits.
pub trait AsArgument {
    /// The parameter.
    fn argument(&self) -> Argument;
}

impl AsArgument for Argument {
    fn argument(&self) -> Argument {
        *self
    }
}

impl<A: AsArgument> AsArgument for &A {
    fn argument(&self) -> Argument {
        (*self).argument()
    }
}

macro_rules! plain_arguments {
    ($($plain:ty)+) => {
        $(impl AsArgument for $plain {
            fn argument(&self) -> Argument {
                Argument::new(*self)
            }
        })+
    };
}
plain_arguments! { i32 u32 u64 f32 f64 }

/// A size as kernels count. A kernel that counts elements in 64 bits is given `len as u64`.
///
/// # Panics
/// If it does not fit; no tensor dimension of a network that fits a GPU is that large.
impl AsArgument for usize {
    fn argument(&self) -> Argument {
        Argument::new(i32::try_from(*self).expect("a dimension beyond 2^31"))
    }
}

/// The pointer of an operand that may be missing.
impl<A: AsArgument> AsArgument for Option<A> {
    fn argument(&self) -> Argument {
        self.as_ref().map_or(Argument::new(0u64), AsArgument::argument)
    }
}

/// The arguments of a kernel, an array of [`Argument`]s in its order, from windows and plain values.
macro_rules! arguments {
    ($($value:expr),+ $(,)?) => { [$($crate::device::launch::AsArgument::argument(&$value)),+] };
}
pub(crate) use arguments;
