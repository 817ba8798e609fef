//! A [`Launcher`] over the PTX machine: the launches of a training step are recorded as they are for a GPU, and the embedded
//! PTX runs on the CPU, with its work counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ptx_machine::gpus::Gpu;
use ptx_machine::machine::{self, Checks, Machine, Module, Options};
use ptx_machine::memory::{Kind, Memory};

use super::work::Work;
use crate::device::kernels::{BINARIES, Kernel};
use crate::device::{Argument, DeviceMemory, Launch, Launcher, Recording};
use crate::{Error, Result};

/// Blocks of a launch up to which all of them are counted; of more, at least half as many and at most all these.
pub(super) const COUNTED_BLOCKS: u64 = 64;

/// The blocks of a launch that run, and those that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Running {
    /// All run but those of a product that are not counted, whose part of the output is zeros. A product's way through its code
    /// depends on sizes alone; whoever uses its output does not care, as long as it is finite (but for the sign of a logit in a loss).
    Sample,
    /// All run, and the same are counted.
    Whole,
    /// All run and are counted.
    #[cfg(test)]
    Everything,
}

impl Running {
    /// Of how many blocks of a launch one is counted.
    ///
    /// A number that has no divisor in common with the grid's: whatever repeats along a side of the grid (the edge of an image, a
    /// class of positions) is met as often as it is there.
    fn count_every(self, blocks: u64) -> u64 {
        #[cfg(test)]
        if self == Running::Everything {
            return 1;
        }
        let least = blocks.div_ceil(COUNTED_BLOCKS);
        (least..).find(|&every| gcd(every, blocks) == 1 || every == 1).unwrap_or(1)
    }

    /// Whether blocks of this kernel that are not counted need not run.
    fn leaves_out(self, kernel: Kernel) -> bool {
        let name = kernel.name();
        let joins = name.ends_with("_add") || name.ends_with("_join_parts");
        self == Running::Sample && !joins && (name.starts_with("linear_") || name.starts_with("conv2d_"))
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A launcher's treatment of a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing: only the host's calls are counted.
    Noting,
    /// It runs, and its work is counted.
    Counting,
}

/// The PTX machine as a device.
#[derive(Clone)]
pub(super) struct Planned(Arc<Inner>);

struct Inner {
    gpu: &'static Gpu,
    running: Running,
    memory: Arc<Memory>,
    state: Mutex<State>,
}

struct State {
    doing: Doing,
    modules: HashMap<(&'static str, &'static str), Module>,
    /// The work that is being recorded, while some is.
    recording: Option<Vec<Piece>>,
    done: Vec<Done>,
    host: HostCalls,
}

/// The host's requests to the device, beside single pieces of work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct HostCalls {
    /// Calls that wait for the device.
    pub(super) synchronisations: u64,
    /// Allocations.
    pub(super) allocations: u64,
    /// Recordings that were replayed.
    pub(super) replays: u64,
    /// Launches, copies and zeroing that were asked for one by one.
    pub(super) single: u64,
}

/// A piece of work on the device.
#[derive(Debug, Clone)]
pub(super) enum Piece {
    /// A kernel.
    Launch(Box<Launched>),
    /// A copy on the device.
    Copy { source: u64, target: u64, bytes: usize },
    /// Bytes that are set to zero.
    Zero { target: u64, bytes: usize },
}

/// A launch as it was asked for.
#[derive(Debug, Clone)]
pub(super) struct Launched {
    pub(super) kernel: Kernel,
    pub(super) form: &'static str,
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) arguments: Vec<Argument>,
}

impl Launched {
    /// Blocks of the grid.
    pub(super) fn blocks(&self) -> u64 {
        self.grid.map(u64::from).iter().product()
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Address and bytes of every window of device memory among the arguments.
    pub(super) fn windows(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.arguments.iter().filter_map(|argument| {
            let address = u64::from_le_bytes(argument.bytes().try_into().ok()?);
            argument.window().map(|bytes| (address, bytes as u64))
        })
    }
}

/// A piece of work that was done, and what it took.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub(super) piece: Piece,
    pub(super) work: Work,
}

/// Memory of the machine.
pub(super) struct PlannedMemory {
    address: u64,
    memory: Arc<Memory>,
}

impl Drop for PlannedMemory {
    fn drop(&mut self) {
        self.memory.free(self.address);
    }
}

fn failed(what: impl std::fmt::Display) -> Error {
    Error::Device(format!("the PTX machine: {what}"))
}

impl Planned {
    /// A machine in the place of this GPU.
    ///
    /// # Errors
    /// If the host has not the address space.
    pub(super) fn new(gpu: &'static Gpu, running: Running) -> Result<Planned> {
        let memory = Memory::new(gpu.memory_mib << 20).map_err(failed)?;
        let (recording, done) = (None, Vec::new());
        let state =
            State { doing: Doing::Noting, modules: HashMap::new(), recording, done, host: HostCalls::default() };
        Ok(Planned(Arc::new(Inner { gpu, running, memory: Arc::new(memory), state: Mutex::new(state) })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this is done with pieces of work; what was counted so far is forgotten.
    pub(super) fn begin(&self, doing: Doing) {
        let mut state = self.state();
        state.doing = doing;
        state.done.clear();
        state.host = HostCalls::default();
    }

    /// The work that was done since [`Planned::begin`], in its order, and what the host asked for.
    pub(super) fn end(&self) -> (Vec<Done>, HostCalls) {
        let mut state = self.state();
        (std::mem::take(&mut state.done), state.host)
    }

    fn host(&self, note: impl FnOnce(&mut HostCalls)) {
        note(&mut self.state().host);
    }

    /// A kernel of the embedded code; its file is loaded when it is needed first.
    fn kernel(&self, kernel: Kernel, form: &'static str) -> Result<Arc<machine::Kernel>> {
        let mut state = self.state();
        let module = match state.modules.entry((kernel.file(), form)) {
            Entry::Occupied(loaded) => loaded.into_mut(),
            Entry::Vacant(place) => place.insert(self.load(kernel.file(), form)?),
        };
        module.kernel(kernel.name()).ok_or_else(|| failed(format!("{} is missing", kernel.name())))
    }

    /// The embedded code of a file of kernels.
    fn load(&self, file: &'static str, form: &'static str) -> Result<Module> {
        let found = BINARIES.iter().find(|(name, type_, _)| (*name, *type_) == (file, form));
        let (.., code) = found.ok_or_else(|| failed(format!("{file} in {form} is not embedded in this program")))?;
        let module = machine(&self.0.memory, 0, false).load(code, self.0.gpu.capability);
        module.map_err(|error| failed(format!("{file}: {error}")))
    }

    /// Records a piece of work, or does it.
    fn work(&self, piece: Piece) -> Result<()> {
        let doing = {
            let mut state = self.state();
            if let Some(recording) = &mut state.recording {
                recording.push(piece);
                return Ok(());
            }
            state.host.single += 1;
            state.doing
        };
        self.carry_out(piece, doing)
    }

    fn carry_out(&self, piece: Piece, doing: Doing) -> Result<()> {
        if doing == Doing::Noting {
            return Ok(());
        }
        let memory = &self.0.memory;
        let work = match &piece {
            Piece::Launch(launched) => self.run(launched)?,
            Piece::Copy { source, target, bytes } => {
                memory.copy(*source, *target, *bytes as u64).map_err(failed)?;
                Work::default()
            }
            Piece::Zero { target, bytes } => {
                memory.fill(*target, 0, *bytes as u64).map_err(failed)?;
                Work::default()
            }
        };
        self.state().done.push(Done { piece, work });
        Ok(())
    }

    fn run(&self, launched: &Launched) -> Result<Work> {
        let kernel = self.kernel(launched.kernel, launched.form)?;
        let parameters = parameter_block(&kernel, &launched.arguments)?;
        let Launched { grid, block, .. } = *launched;
        let launch = machine::Launch { grid, block, cluster: [1; 3], dynamic_shared: 0, parameters };
        let running = self.0.running;
        let every = running.count_every(launched.blocks());
        let left_out = running.leaves_out(launched.kernel);
        if left_out {
            self.clear_output(launched)?;
        }
        let machine = machine(&self.0.memory, every, left_out);
        let outcome = machine
            .launch(&kernel, &launch)
            .map_err(|fault| failed(format!("{} ended by {:?}: {}", kernel.name, fault.kind, fault.finding.what)))?;
        Ok(outcome.counters.as_ref().map(Work::of).unwrap_or_default())
    }

    /// Sets the last window of a product's arguments, its output, to zero: where that is memory that operations share, anything
    /// may lie there.
    fn clear_output(&self, launched: &Launched) -> Result<()> {
        let mut windows = launched.arguments.iter().filter_map(|argument| Some((argument, argument.window()?)));
        let Some((output, bytes)) = windows.next_back() else { return Ok(()) };
        let address = output.bytes().try_into().map_or(0, u64::from_ne_bytes);
        self.0.memory.fill(address, 0, bytes as u64).map_err(failed)
    }
}

/// A machine that counts every so many-th block. Where all blocks run, they do so one after the other: the one that comes last may have
/// the sum over all blocks to itself, and whether it is counted must not be a matter of chance.
fn machine(memory: &Arc<Memory>, count_every: u64, counted_only: bool) -> Machine {
    let threads = if counted_only { Options::default().threads } else { 1 };
    let options = Options { threads, checks: Checks::NONE, count_every, counted_only, ..Options::default() };
    Machine::new(memory.clone(), options)
}

/// The arguments, each at the offset of its parameter.
fn parameter_block(kernel: &machine::Kernel, arguments: &[Argument]) -> Result<Vec<u8>> {
    let sizes: Vec<usize> = arguments.iter().map(|argument| argument.bytes().len()).collect();
    let expected: Vec<usize> = kernel.parameters.iter().map(|&(_, bytes)| bytes as usize).collect();
    if sizes != expected {
        return Err(failed(format!("{} takes parameters of {expected:?} bytes, and was given {sizes:?}", kernel.name)));
    }
    let end = kernel.parameters.last().map_or(0, |&(offset, bytes)| offset + bytes);
    let mut block = vec![0; end as usize];
    for (&(offset, _), argument) in kernel.parameters.iter().zip(arguments) {
        block[offset as usize..][..argument.bytes().len()].copy_from_slice(argument.bytes());
    }
    Ok(block)
}

impl DeviceMemory for PlannedMemory {
    fn address(&self) -> u64 {
        self.address
    }
}

/// The pieces of work of a step.
struct PlannedStep {
    device: Planned,
    pieces: Vec<Piece>,
}

impl Recording for PlannedStep {
    fn replay(&self) -> Result<()> {
        self.device.host(|host| host.replays += 1);
        let doing = self.device.state().doing;
        self.pieces.iter().try_for_each(|piece| self.device.carry_out(piece.clone(), doing))
    }
}

impl Launcher for Planned {
    fn describe(&self) -> String {
        format!("the PTX machine in the place of an {}", self.0.gpu.name)
    }
    fn free_memory(&self) -> Option<u64> {
        None
    }
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.host(|host| host.allocations += 1);
        let memory = self.0.memory.clone();
        let address = memory.allocate(bytes as u64, Kind::Device);
        let full = || failed(format!("{bytes} bytes do not fit into the {} MiB of the GPU", self.0.gpu.memory_mib));
        Ok(Box::new(PlannedMemory { address: address.ok_or_else(full)?, memory }))
    }
    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.host(|host| host.synchronisations += 1);
        self.0.memory.write(target, source).map_err(failed)
    }
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.host(|host| host.synchronisations += 1);
        self.0.memory.read(source, target).map_err(failed)
    }
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.work(Piece::Copy { source, target, bytes })
    }
    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.work(Piece::Zero { target, bytes })
    }
    fn synchronize(&self) -> Result<()> {
        self.host(|host| host.synchronisations += 1);
        Ok(())
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let Launch { kernel, form, grid, block, arguments } = *launch;
        let launched = Launched { kernel, form, grid, block, arguments: arguments.to_vec() };
        self.work(Piece::Launch(Box::new(launched)))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.state().recording = Some(Vec::new());
        let done = work();
        let pieces = self.state().recording.take().unwrap_or_default();
        done.map(|()| Box::new(PlannedStep { device: self.clone(), pieces }) as Box<dyn Recording>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_meets_every_place_of_a_grid() {
        for blocks in [1, 64, 65, 98, 6272, 50_176, 1 << 20, 3 * 5 * 7 * 11] {
            let every = Running::Sample.count_every(blocks);
            let counted = blocks.div_ceil(every);
            assert!(counted >= blocks.min(COUNTED_BLOCKS / 2) && counted <= COUNTED_BLOCKS, "{blocks}: {counted}");
            assert!(every == 1 || gcd(every, blocks) == 1, "{blocks}: every {every}");
        }
        assert!(Running::Sample.leaves_out(Kernel::Conv2dForwardTensor));
        assert!(Running::Sample.leaves_out(Kernel::Conv2dBackwardWeightPartial));
        assert!(!Running::Sample.leaves_out(Kernel::WeightGradientAdd));
        assert!(!Running::Sample.leaves_out(Kernel::LinearJoinParts));
        assert!(!Running::Sample.leaves_out(Kernel::AdamUpdate));
        assert!(!Running::Whole.leaves_out(Kernel::LinearForward));
    }
}
