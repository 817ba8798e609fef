//! The machine: modules are loaded into it, and kernels run on it.

mod counters;
mod load;
mod report;

use std::sync::Arc;

use crate::exec::checks::global::GlobalShadow;
use crate::memory::Memory;
pub use counters::{Accesses, Class, Counters, LineCount};
use load::{Code, Source};

/// The way in which kernels are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads of the host; blocks are shared among them.
    pub threads: usize,
    /// The checks in addition to those of hardware.
    pub checks: Checks,
    /// In which order blocks are begun.
    pub blocks: Order,
    /// In which order the warps of a block take turns.
    pub warps: Order,
    /// When the bytes of `cp.async` and bulk copies arrive.
    pub async_copies: AsyncCopies,
    /// Count the work of every n-th block; 0: of none.
    pub count_every: u64,
    /// Runs the blocks that are counted and no others: what the launch computes is not whole then.
    pub counted_only: bool,
}

/// The checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Two accesses of shared memory by different threads without a barrier between them, one of them a write.
    pub shared_races: bool,
    /// The same in global memory, within one launch.
    pub global_races: bool,
    /// Reads of shared memory, global memory and registers that nothing wrote.
    pub unwritten: bool,
    /// Barriers, wgmma's fences and groups, async copies: how they must be used.
    pub protocols: bool,
}

impl Checks {
    /// All of them.
    pub const ALL: Checks = Checks { shared_races: true, global_races: true, unwritten: true, protocols: true };
    /// None: only what hardware would report ends a launch.
    pub const NONE: Checks = Checks { shared_races: false, global_races: false, unwritten: false, protocols: false };
}

/// An order in which equals are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By number.
    Forward,
    /// By number, the last first.
    Backward,
    /// Shuffled, as the seed says; a warp's turn ends after a few instructions and not only where it waits.
    Shuffled(u64),
}

/// When asynchronous copies are carried out: results must be the same with both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsyncCopies {
    /// When they are asked for.
    Earliest,
    /// When they are waited for.
    Latest,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            checks: Checks::NONE,
            blocks: Order::Forward,
            warps: Order::Forward,
            async_copies: AsyncCopies::Latest,
            count_every: 0,
            counted_only: false,
        }
    }
}

/// A launch.
#[derive(Debug, Clone)]
pub struct Launch {
    /// Blocks.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Blocks of a cluster; `[1, 1, 1]` without one.
    pub cluster: [u32; 3],
    /// Bytes of `.extern .shared` variables.
    pub dynamic_shared: u32,
    /// The kernel's parameter block: parameter i lies at its offset.
    pub parameters: Vec<u8>,
}

/// A device without a driver: its memory and how it runs.
pub struct Machine {
    /// The memory that kernels see.
    pub memory: Arc<Memory>,
    /// The way in which kernels are run.
    pub options: Options,
    /// Who accessed global memory, for the checks.
    shadow: GlobalShadow,
}

/// A module as it is loaded into a machine's memory.
#[derive(Debug)]
pub struct Module {
    kernels: Vec<Arc<Kernel>>,
    source: Arc<Source>,
}

impl Module {
    /// A kernel by its name.
    pub fn kernel(&self, name: &str) -> Option<Arc<Kernel>> {
        self.kernels.iter().find(|kernel| kernel.name == name).cloned()
    }

    /// All kernels, in the order of the text.
    pub fn kernels(&self) -> &[Arc<Kernel>] {
        &self.kernels
    }

    /// The address and size of a variable at module scope (`.global`, `.const`), by its name.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.source.global(name)
    }
}

/// A kernel, ready to run.
#[derive(Debug)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Offset and bytes of each parameter in the parameter block.
    pub parameters: Vec<(u32, u32)>,
    /// The most threads of a block.
    pub max_threads: u32,
    /// Bytes of shared memory that it declares.
    pub static_shared: u32,
    /// Bytes of local memory of a thread.
    pub local: u32,
    code: Code,
}

/// Why an image can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is neither a fatbin nor PTX, or it is cut off.
    #[error("the image is neither a fatbin nor PTX: {0}")]
    InvalidImage(String),
    /// No PTX in it can run on this device.
    #[error("no PTX in the image can run on a device of compute capability {0}.{1}")]
    NoBinaryForDevice(u32, u32),
    /// The PTX says something that this machine does not know; the text names it.
    #[error("{0}")]
    InvalidPtx(String),
}

/// The fault that ends a launch, as hardware would report it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// An access outside of all allocations.
    IllegalAddress,
    /// An access at an address that is no multiple of its size.
    MisalignedAddress,
    /// An instruction that is not allowed as it is used.
    IllegalInstruction,
    /// `trap`.
    Trap,
    /// No warp can go on.
    Deadlock,
}

/// One access or instruction that a finding is about.
#[derive(Debug, Clone)]
pub struct Site {
    /// File and line of the kernel's source, with what it was inlined into, innermost first.
    pub places: Vec<(String, u32)>,
    /// The line of the PTX text.
    pub ptx_line: u32,
    /// The instruction, as the PTX has it or nearly so.
    pub instruction: String,
    /// Block and threads of the block.
    pub block: [u32; 3],
    /// Threads of the block, by number; not all where there are many.
    pub threads: Vec<u32>,
}

/// A fault, or what the checks found.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The kernel.
    pub kernel: String,
    /// The fault, in a sentence.
    pub what: String,
    /// The address, where it is about one.
    pub address: Option<u64>,
    /// The sites: for a race both accesses.
    pub sites: Vec<Site>,
}

/// Why a launch ended early.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The kind that hardware would report.
    pub kind: FaultKind,
    /// The details.
    pub finding: Finding,
}

/// The results of a launch that ended.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The findings of the checks.
    pub findings: Vec<Finding>,
    /// The counted work, if [`Options::count_every`] asks for it.
    pub counters: Option<Counters>,
}

impl Machine {
    /// A machine with this memory.
    pub fn new(memory: Arc<Memory>, options: Options) -> Machine {
        if options.checks.unwritten {
            memory.track_writes();
        }
        Machine { memory, options, shadow: GlobalShadow::default() }
    }

    /// Loads a fatbin or PTX text, choosing the newest PTX that a device of this compute capability runs. Variables at module scope
    /// get memory, which is freed with the module and its kernels.
    pub fn load(&self, image: &[u8], capability: (u32, u32)) -> Result<Module, LoadError> {
        load::load(&self.memory, image, capability)
    }

    /// Runs a kernel to its end.
    pub fn launch(&self, kernel: &Kernel, launch: &Launch) -> Result<Outcome, Fault> {
        kernel.code.launch(kernel, launch, &self.memory, &self.options, &self.shadow)
    }
}
