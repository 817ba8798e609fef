//! From an image to kernels that can be launched.

use std::sync::{Arc, Mutex};

use super::{Checks, Fault, FaultKind, Finding, Kernel, Launch, LoadError, Module, Options, Outcome, counters, report};
use crate::exec::block::{Context, RawFault};
use crate::exec::checks::findings::RawFinding;
use crate::exec::checks::global::GlobalShadow;
use crate::exec::{Level, Program, launch};
use crate::lower::{self, Layout, Setting};
use crate::memory::{Kind, Memory};
use crate::text::ast::{self, Space};
use crate::text::parse;
use crate::{fatbin, gpus};

/// The most threads of a block of any device.
const MAX_THREADS: u32 = 1024;
/// The most blocks of a cluster, where its size is not a portable one (CUDA C++ Programming Guide, "Thread Block Clusters").
const MAX_CLUSTER: u32 = 16;
/// The most shared memory of a block of any device.
const MAX_SHARED: u32 = 227 << 10;
/// The most bytes of a kernel's parameters (PTX ISA, "Kernel Function Parameters").
const MAX_PARAMETERS: u32 = 32_764;
/// The most local memory of a thread (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability").
const MAX_LOCAL: u32 = 512 << 10;

/// A module's text, and the memory of its variables.
pub(super) struct Source {
    pub(super) module: ast::Module,
    /// The address of each variable in global memory; 0 of others.
    addresses: Vec<u64>,
    memory: Arc<Memory>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("target", &self.module.target).field("addresses", &self.addresses).finish()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        for &address in self.addresses.iter().filter(|&&address| address != 0) {
            self.memory.free(address);
        }
    }
}

impl Source {
    /// Gives the variables memory, with their initial bytes.
    fn new(module: ast::Module, memory: &Arc<Memory>) -> Result<Source, LoadError> {
        let mut source = Source { module, addresses: Vec::new(), memory: memory.clone() };
        for variable in &source.module.variables {
            let global = matches!(variable.space, Space::Global | Space::Const) && variable.bytes > 0;
            if !global {
                source.addresses.push(0);
                continue;
            }
            let full =
                || LoadError::InvalidPtx(format!("no memory for the {} bytes of {}", variable.bytes, variable.name));
            let address = memory.allocate(variable.bytes, Kind::Device).ok_or_else(full)?;
            source.addresses.push(address);
            // A variable without initial values is zero, as the allocation is.
            memory.fill(address, 0, variable.bytes).map_err(|_| full())?;
            if !variable.initial.is_empty() {
                memory.write(address, &variable.initial).map_err(|_| full())?;
            }
        }
        Ok(source)
    }

    pub(super) fn global(&self, name: &str) -> Option<(u64, u64)> {
        let at = self.module.variables.iter().position(|variable| variable.name == name)?;
        let address = self.addresses[at];
        (address != 0).then(|| (address, self.module.variables[at].bytes))
    }
}

/// The checks that a program was lowered for.
type Key = (Checks, bool);

/// The code that a kernel is run from.
pub(super) struct Code {
    source: Arc<Source>,
    /// Its index in the module.
    index: usize,
    level: Level,
    programs: Mutex<Vec<(Key, Arc<Program>)>>,
}

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code").field("source", &self.source).field("index", &self.index).finish()
    }
}

impl Code {
    fn kernel(&self) -> &ast::Kernel {
        &self.source.module.kernels[self.index]
    }

    /// The program for these options: lowered once.
    fn program(&self, key: Key) -> Result<Arc<Program>, lower::Refusal> {
        let mut programs = self.programs.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, program)) = programs.iter().find(|(found, _)| *found == key) {
            return Ok(program.clone());
        }
        let setting = Setting {
            kernel: self.kernel(),
            variables: &self.source.module.variables,
            addresses: &self.source.addresses,
            level: self.level,
            checks: key.0,
            counts: key.1,
        };
        let program = Arc::new(lower::lower(&setting)?);
        programs.push((key, program.clone()));
        Ok(program)
    }

    /// Runs the kernel.
    pub(super) fn launch(
        &self,
        kernel: &Kernel,
        launch: &Launch,
        memory: &Memory,
        options: &Options,
        shadow: &GlobalShadow,
    ) -> Result<Outcome, Fault> {
        let illegal = |what: String| Fault {
            kind: FaultKind::IllegalInstruction,
            finding: Finding { kernel: kernel.name.clone(), what, address: None, sites: Vec::new() },
        };
        check_launch(kernel, launch).map_err(illegal)?;
        let program = |counts| {
            let program = self.program((options.checks, counts));
            program.map_err(|refusal| illegal(format!("line {}: {}", refusal.line, refusal.what)))
        };
        let counted = if options.count_every != 0 { Some(program(true)?) } else { None };
        let program = program(false)?;
        if options.checks.unwritten {
            memory.track_writes();
        } else {
            // What this launch writes is not recorded.
            memory.mark_all_written();
        }
        let blocks = launch.grid.iter().map(|&size| u64::from(size)).product();
        let first_tag = if options.checks.global_races { shadow.begin(blocks) } else { 0 };
        let context =
            Context { program: &program, counted: counted.as_deref(), memory, launch, options, shadow, first_tag };
        let result = launch::run(&context);
        let put = |raw| report::finding(&self.source.module, self.kernel(), launch, raw);
        match result.fault {
            None => Ok(Outcome {
                findings: result.findings.into_list().into_iter().map(put).collect(),
                counters: counted.map(|counted| counters::counters(self.kernel(), &counted, blocks, &result.counts)),
            }),
            Some(RawFault { kind, what, address, sites }) => {
                Err(Fault { kind, finding: put(RawFinding { what, address, sites, count: 1 }) })
            }
        }
    }
}

/// The checks of a driver before it launches; here they keep the machine from reading parameters that are not there, and sizes from
/// being more than the host can hold.
fn check_launch(kernel: &Kernel, launch: &Launch) -> Result<(), String> {
    let threads = launch.block.iter().fold(1u64, |threads, &size| threads.saturating_mul(size.into()));
    if launch.grid.contains(&0) || threads == 0 {
        return Err(format!(
            "a grid of {:?} blocks of {:?} threads: all sizes must be at least 1",
            launch.grid, launch.block
        ));
    }
    if (0..3).any(|axis| launch.grid[axis] > gpus::GRID[axis]) {
        return Err(format!("a grid of {:?} blocks, more than {:?}", launch.grid, gpus::GRID));
    }
    if threads > u64::from(kernel.max_threads) {
        return Err(format!("{threads} threads a block; the kernel takes at most {}", kernel.max_threads));
    }
    let needed = kernel.parameters.last().map_or(0, |&(offset, bytes)| offset + bytes);
    if launch.parameters.len() < needed as usize {
        return Err(format!("{} bytes of parameters; the kernel takes {needed}", launch.parameters.len()));
    }
    let cluster_fits =
        (0..3).all(|axis| launch.cluster[axis] != 0 && launch.grid[axis].is_multiple_of(launch.cluster[axis]));
    if !cluster_fits {
        return Err(format!("clusters of {:?} blocks in a grid of {:?}", launch.cluster, launch.grid));
    }
    let blocks = launch.cluster.iter().fold(1u32, |blocks, &size| blocks.saturating_mul(size));
    if blocks > MAX_CLUSTER {
        return Err(format!("clusters of {:?} blocks, more than {MAX_CLUSTER}", launch.cluster));
    }
    let (own, asked, most) = (kernel.static_shared, launch.dynamic_shared, MAX_SHARED);
    if own.saturating_add(asked) > most {
        return Err(format!(
            "{own} bytes of shared memory and {asked} more for the launch; a block has at most {most}"
        ));
    }
    Ok(())
}

/// Loads a fatbin or PTX text.
pub(super) fn load(memory: &Arc<Memory>, image: &[u8], capability: (u32, u32)) -> Result<Module, LoadError> {
    let images = fatbin::ptx_images(image).map_err(|error| LoadError::InvalidImage(error.to_string()))?;
    let chosen = fatbin::choose(&images, capability);
    let chosen = chosen.ok_or(LoadError::NoBinaryForDevice(capability.0, capability.1))?;
    let text = std::str::from_utf8(&chosen.bytes)
        .map_err(|error| LoadError::InvalidPtx(format!("the PTX is no text: {error}")))?;
    let module = parse(text).map_err(|error| LoadError::InvalidPtx(error.to_string()))?;
    let source = Arc::new(Source::new(module, memory)?);
    let level = Level::detect();
    let mut kernels = Vec::new();
    for (index, kernel) in source.module.kernels.iter().enumerate() {
        let layout = Layout::new(kernel, &source.module.variables, false);
        let parameters = layout.parameters.last().map_or(0, |&(offset, bytes)| offset.saturating_add(bytes));
        for (bytes, most, what) in [
            (layout.shared, gpus::SHARED_PER_BLOCK, "shared memory"),
            (layout.local, MAX_LOCAL, "local memory"),
            (parameters, MAX_PARAMETERS, "parameters"),
        ] {
            if bytes > most {
                let name = &kernel.name;
                return Err(LoadError::InvalidPtx(format!(
                    "kernel {name} declares {bytes} bytes of {what}, more than {most}"
                )));
            }
        }
        let most = kernel.required_threads.or(kernel.max_threads);
        let code = Code { source: source.clone(), index, level, programs: Mutex::new(Vec::new()) };
        // What can't be lowered is refused now and not at the first launch.
        code.program((Checks::NONE, false)).map_err(|refusal| {
            LoadError::InvalidPtx(format!("kernel {}, line {} of the PTX: {}", kernel.name, refusal.line, refusal.what))
        })?;
        kernels.push(Arc::new(Kernel {
            name: kernel.name.clone(),
            parameters: layout.parameters,
            max_threads: most.map_or(MAX_THREADS, |[x, y, z]| x.saturating_mul(y).saturating_mul(z).min(MAX_THREADS)),
            static_shared: layout.shared,
            local: layout.local,
            code,
        }));
    }
    Ok(Module { kernels, source })
}
