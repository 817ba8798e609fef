//! Launches: CUDA Driver API, "Execution Control". What a launch is checked for, and how its kernel runs.

use std::sync::Arc;

use ptx_machine::machine::{Counters, FaultKind, Kernel, Launch, Outcome};

use crate::abi::{Host, In, driver_api, host_bytes};
use crate::code::{Code, Result};
use crate::faults::Point;
use crate::gpus::{self, Gpu};
use crate::handle::{ContextKind, FunctionKind, Handle, StreamKind};
use crate::module::Function;
use crate::queue::Work;
use crate::settings::Clock;
use crate::state::Driver;
use crate::trace::{counts, describe};

/// A launch with its parameters, which were copied when it was asked for.
#[derive(Debug)]
pub(crate) struct Prepared {
    kernel: Arc<Kernel>,
    launch: Launch,
}

/// The grid of a launch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) cluster: [u32; 3],
    pub(crate) dynamic_shared: u32,
}

/// Blocks of a cluster that every GPU of 9.0 and later can run ("a maximum of 8 thread blocks in a cluster is supported as a
/// portable cluster size in CUDA").
const PORTABLE_CLUSTER: u32 = 8;
/// The most, where the function allows a size that is not portable.
const LARGEST_CLUSTER: u32 = 16;

/// Checks a launch and copies its parameters.
pub(crate) fn prepare(
    driver: &mut Driver,
    function: Handle<FunctionKind>,
    context: Handle<ContextKind>,
    mut shape: Shape,
    parameters: In<Host>,
    extra: In<Host>,
) -> Result<Prepared> {
    let function = driver.function_or_kernel(function, context)?;
    let known = driver.functions.get(function)?;
    // "The CUDA context associated with this stream must match that associated with function f."
    if known.context != context {
        return Err(Code::INVALID_HANDLE);
    }
    if let Some(required) = known.attributes.required_cluster() {
        match shape.cluster {
            [1, 1, 1] => shape.cluster = required,
            given if given == required => {}
            _ => return Err(Code::INVALID_CLUSTER_SIZE),
        }
    }
    check(driver, known, &shape)?;
    let kernel = known.kernel.clone();
    let parameters = block_of(&kernel, parameters, extra)?;
    let Shape { grid, block, cluster, dynamic_shared } = shape;
    Ok(Prepared { kernel, launch: Launch { grid, block, cluster, dynamic_shared, parameters } })
}

/// 1 for sizes that no launch may have; 701 for more threads than the kernel was compiled for ("a launch did not occur because it
/// did not have appropriate resources"); 912 for clusters that do not fit.
fn check(driver: &Driver, function: &Function, shape: &Shape) -> Result {
    let Function { device, kernel, attributes, .. } = function;
    let capability = driver.devices[*device].gpu.capability;
    let within = |sizes: [u32; 3], most: [u32; 3]| (0..3).all(|axis| (1..=most[axis]).contains(&sizes[axis]));
    let threads = shape.block.iter().map(|size| u64::from(*size)).product::<u64>();
    if !within(shape.grid, gpus::GRID) || !within(shape.block, gpus::BLOCK) || threads > gpus::THREADS_PER_BLOCK.into()
    {
        return Err(Code::INVALID_VALUE);
    }
    if threads > kernel.max_threads.into() {
        return Err(Code::LAUNCH_OUT_OF_RESOURCES);
    }
    if shape.dynamic_shared > attributes.dynamic_shared {
        return Err(Code::INVALID_VALUE);
    }
    if shape.cluster != [1, 1, 1] {
        let blocks = shape.cluster.iter().map(|size| u64::from(*size)).product::<u64>();
        let most = if attributes.get(driver, *device, kernel, 14)? != 0 { LARGEST_CLUSTER } else { PORTABLE_CLUSTER };
        let divides =
            (0..3).all(|axis| shape.cluster[axis] > 0 && shape.grid[axis].is_multiple_of(shape.cluster[axis]));
        if capability < (9, 0) {
            return Err(Code::NOT_SUPPORTED);
        }
        if !divides || !(1..=most.into()).contains(&blocks) {
            return Err(Code::INVALID_CLUSTER_SIZE);
        }
    }
    Ok(())
}

/// The parameter block: from a pointer for each parameter, or from a buffer that `extra` names.
fn block_of(kernel: &Kernel, parameters: In<Host>, extra: In<Host>) -> Result<Vec<u8>> {
    let bytes = kernel.parameters.iter().map(|(offset, size)| offset + size).max().unwrap_or(0) as usize;
    let mut block = vec![0; bytes];
    if !extra.is_null() {
        // "it is an error to specify both"
        if !parameters.is_null() {
            return Err(Code::INVALID_VALUE);
        }
        let (address, given) = packed(extra)?;
        if given < bytes || address == 0 {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: the program says that its buffer lies here and holds so many bytes.
        block.copy_from_slice(unsafe { host_bytes(address, bytes) });
        return Ok(block);
    }
    for (index, (offset, size)) in kernel.parameters.iter().enumerate() {
        let Host(address) = parameters.at(index)?;
        if address == 0 {
            return Err(Code::INVALID_VALUE);
        }
        // SAFETY: "Each of kernelParams[0] through kernelParams[N-1] must point to a region of memory from which the actual
        // kernel parameter will be copied."
        let value = unsafe { host_bytes(address, *size as usize) };
        block[*offset as usize..(offset + size) as usize].copy_from_slice(value);
    }
    Ok(block)
}

/// The buffer that a list of `CU_LAUNCH_PARAM_BUFFER_POINTER` (1), `CU_LAUNCH_PARAM_BUFFER_SIZE` (2) and `CU_LAUNCH_PARAM_END` (0)
/// gives.
fn packed(extra: In<Host>) -> Result<(u64, usize)> {
    let (mut address, mut bytes) = (0, 0);
    for index in (0..).step_by(2) {
        match extra.at(index)?.0 {
            0 => break,
            1 => address = extra.at(index + 1)?.0,
            2 => bytes = In(extra.at(index + 1)?.0 as *const usize).get()?,
            _ => return Err(Code::INVALID_VALUE),
        }
    }
    Ok((address, bytes))
}

/// Puts a launch into a stream.
fn submit(
    driver: &mut Driver,
    function: Handle<FunctionKind>,
    shape: Shape,
    stream: Handle<StreamKind>,
    parameters: In<Host>,
    extra: In<Host>,
) -> Result {
    driver.current()?;
    let stream = driver.stream(stream)?;
    let context = driver.streams.get(stream)?.context;
    let prepared = prepare(driver, function, context, shape, parameters, extra)?;
    if driver.trace.wanted() {
        let line = prepared.line("launch");
        driver.trace.line(&format!("{line} stream {stream:?}"));
    }
    driver.submit(stream, Work::Kernel(Arc::new(prepared)))
}

impl Prepared {
    fn line(&self, word: &str) -> String {
        let Launch { grid: [gx, gy, gz], block: [bx, by, bz], cluster: [cx, cy, cz], dynamic_shared, .. } = self.launch;
        let name = &self.kernel.name;
        let cluster = if self.launch.cluster == [1; 3] { String::new() } else { format!(" cluster {cx}x{cy}x{cz}") };
        format!("{word} {name} grid {gx}x{gy}x{gz} block {bx}x{by}x{bz}{cluster} shared {dynamic_shared}")
    }
}

/// The least time that a kernel's counted work takes on a GPU: that of the unit which is busiest, with nothing in the way. Each of a
/// multiprocessor's four schedulers gives out one warp instruction a clock (CUDA C++ Programming Guide, "Hardware Multithreading"); memory
/// moves the sectors that were asked for at its full width; tensor cores multiply at their full rate, which is half as high for tf32, and
/// here all are taken for bf16. A GPU takes longer: caches, waits, blocks that do not fill it and the launch itself are not in it.
fn least_seconds(gpu: &Gpu, counters: &Counters) -> f64 {
    const SCHEDULERS: f64 = 4.0;
    const SECTOR: f64 = 32.0;
    let instructions = counters.warp_instructions.values().sum::<u64>() as f64;
    let sectors = (counters.global_loads.parts + counters.global_stores.parts) as f64;
    let products = counters.tensor_operations as f64 / 2.0;
    let clocks =
        [instructions / SCHEDULERS, products / f64::from(gpu.tensor_fmas.max(1))].into_iter().fold(0.0, f64::max);
    (clocks / gpu.clocks_per_second()).max(SECTOR * sectors / gpu.bytes_per_second())
}

/// Runs a kernel. What hardware would report, and what the checks find, ends the work of the device.
pub(crate) fn run(driver: &mut Driver, device: usize, prepared: &Prepared) -> Result {
    driver.pass(Point::DeviceLost, device)?;
    driver.pass(Point::Launch, device)?;
    let outcome = driver.devices[device].machine.launch(&prepared.kernel, &prepared.launch);
    if driver.trace.wanted() {
        let counted = outcome.as_ref().ok().and_then(|outcome| outcome.counters.as_ref()).map(counts);
        driver.trace.line(&(prepared.line("run") + &counted.unwrap_or_default()));
    }
    if let (Clock::Counted, Ok(Outcome { counters: Some(counters), .. })) = (driver.settings.clock, &outcome) {
        let device = &mut driver.devices[device];
        device.counted += least_seconds(device.gpu, counters);
    }
    match outcome {
        Ok(outcome) if outcome.findings.is_empty() => Ok(()),
        Ok(outcome) => {
            outcome.findings.iter().for_each(|finding| driver.say(&describe(finding)));
            Err(Code::LAUNCH_FAILED)
        }
        Err(fault) => {
            driver.say(&describe(&fault.finding));
            Err(match fault.kind {
                FaultKind::IllegalAddress => Code::ILLEGAL_ADDRESS,
                FaultKind::MisalignedAddress => Code::MISALIGNED_ADDRESS,
                FaultKind::IllegalInstruction => Code::ILLEGAL_INSTRUCTION,
                FaultKind::Trap => Code::LAUNCH_FAILED,
                FaultKind::Deadlock => Code::LAUNCH_TIMEOUT,
            })
        }
    }
}

/// `CUlaunchConfig`.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Config {
    pub(crate) grid: [u32; 3],
    pub(crate) block: [u32; 3],
    pub(crate) shared: u32,
    stream: Handle<StreamKind>,
    attributes: In<Attribute>,
    count: u32,
}

/// `CUlaunchAttribute`: a number, and a value of 64 bytes at a multiple of 8.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct Attribute {
    which: u32,
    padding: u32,
    value: [u32; 16],
}

impl Config {
    /// Grid and cluster as the attributes say; 801 for attributes that would change what a launch does and are not supported.
    pub(crate) fn shape(&self) -> Result<Shape> {
        let mut cluster = [1; 3];
        for attribute in self.attributes_list()? {
            let [x, y, z, ..] = attribute.value;
            match attribute.which {
                4 => cluster = [x, y, z],
                2 if x != 0 => return Err(Code::NOT_SUPPORTED),
                // Hints that order or change nothing: window of a cache, policies, priorities, domains. A kernel that may
                // begin before the one before it in the stream has ended (6) begins after it, which is always allowed.
                0..=3 | 5 | 6 | 8..=11 => {}
                _ => return Err(Code::NOT_SUPPORTED),
            }
        }
        Ok(Shape { grid: self.grid, block: self.block, cluster, dynamic_shared: self.shared })
    }

    fn attributes_list(&self) -> Result<Vec<Attribute>> {
        if self.count == 0 { Ok(Vec::new()) } else { self.attributes.list(self.count as usize) }
    }
}

driver_api! { SYMBOLS;
    /// `cuLaunchKernel`: 1, 201, 400, 701, 912; what goes wrong as the kernel runs, a later call says.
    fn cuLaunchKernel(
        driver, function: Handle<FunctionKind>, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: Handle<StreamKind>, parameters: In<Host>, extra: In<Host>,
    ) {
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let shape = Shape { grid, block, cluster: [1; 3], dynamic_shared: shared };
        submit(driver, function, shape, stream, parameters, extra)
    }

    /// `cuLaunchKernelEx`: likewise; 801 for attributes that are not supported.
    fn cuLaunchKernelEx(driver, config: In<Config>, function: Handle<FunctionKind>, parameters: In<Host>, extra: In<Host>) {
        let config = config.get()?;
        submit(driver, function, config.shape()?, config.stream, parameters, extra)
    }

    /// `cuLaunchCooperativeKernel`: 201, 400; 801, as the device's attribute says: blocks of a grid do not all run at once.
    fn cuLaunchCooperativeKernel(
        driver, function: Handle<FunctionKind>, grid_x: u32, grid_y: u32, grid_z: u32, block_x: u32, block_y: u32, block_z: u32,
        shared: u32, stream: Handle<StreamKind>, parameters: In<Host>,
    ) {
        driver.current()?;
        driver.functions.get(function)?;
        Err(Code::NOT_SUPPORTED)
    }
}
