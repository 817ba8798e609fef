//! What the tests of several executors share: the kernels under the emulator, and what a case computes.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use simt::{Emulator, Options, Program, Sources};
use vgan_cuda::device::kernels::{GENERATED_HEADERS, Kernel};
use vgan_cuda::device::{Accelerator, Backend, DeviceMemory, Launch, Launcher, Precision, Real, Recording};
use vgan_cuda::ops::case::fill;
use vgan_cuda::ops::{Case, Tensor};
use vgan_cuda::{Error, Result};

/// The kernels' files, as the emulator runs them, in one type of numbers.
#[derive(Clone)]
pub struct Emulated {
    emulator: Arc<Emulator>,
    real: &'static str,
    // What is being recorded, while something is.
    recorded: Arc<Mutex<Option<Vec<Recorded>>>>,
    // What was allocated so far, in order.
    allocations: Arc<Mutex<Vec<Allocation>>>,
}

/// One allocation, freed or not: its bytes, by the kind of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocation {
    Device(u64),
    Pinned(u64),
}

/// One piece of recorded work, with the arguments of the moment when it was asked for: if anything of a step depended on
/// the host, the replay would show it.
#[derive(Clone)]
pub enum Recorded {
    Launch { kernel: Kernel, grid: [u32; 3], block: [u32; 3], arguments: Vec<Vec<u8>> },
    Copy { source: u64, target: u64, bytes: usize },
    Zero { target: u64, bytes: usize },
}

impl Emulated {
    /// All allocations so far.
    pub fn allocations(&self) -> Vec<Allocation> {
        self.allocations.lock().expect("no panics").clone()
    }

    /// What a recorded step may not do: a stream that is captured into a graph refuses it.
    fn refuse_while_recording(&self, doing: &str) {
        assert!(self.recorded.lock().expect("no panics").is_none(), "a recorded step {doing}");
    }

    fn allocate(&self, allocation: Allocation) -> Result<EmulatedMemory> {
        self.refuse_while_recording("asks for memory");
        let (Allocation::Device(bytes) | Allocation::Pinned(bytes)) = allocation;
        let address = self.emulator.alloc(bytes as usize).map_err(device_error)?;
        self.allocations.lock().expect("no panics").push(allocation);
        Ok(EmulatedMemory { address, emulator: self.emulator.clone() })
    }

    /// Does a piece of work, or writes it down.
    fn work(&self, piece: Recorded) -> Result<()> {
        if let Some(recorded) = &mut *self.recorded.lock().expect("no panics") {
            recorded.push(piece);
            return Ok(());
        }
        match &piece {
            Recorded::Launch { kernel, grid, block, arguments } => {
                let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
                self.emulator.launch(kernel.name(), *grid, *block, 0, &arguments).map_err(device_error)
            }
            Recorded::Copy { source, target, bytes } => {
                self.emulator.copy(*source, *target, *bytes).map_err(device_error)
            }
            Recorded::Zero { target, bytes } => self.emulator.fill_zero(*target, *bytes).map_err(device_error),
        }
    }
}

/// Memory of an emulator.
struct EmulatedMemory {
    address: u64,
    emulator: Arc<Emulator>,
}

impl Drop for EmulatedMemory {
    fn drop(&mut self) {
        self.emulator.free(self.address).expect("memory that was allocated");
    }
}

/// Compiles the kernels once a process for each type of numbers.
fn program(real: &'static str) -> &'static Program {
    static PROGRAMS: [OnceLock<Program>; 2] = [OnceLock::new(), OnceLock::new()];
    let (which, ctype) = if real == "f32" { (0, "float") } else { (1, "double") };
    PROGRAMS[which].get_or_init(|| {
        // Tensor cores know no f64, and the registers hold no wide tile of it.
        let f32_alone = |file: &str| file.ends_with("_tensor") || file.ends_with("_wide");
        let sources = sources(ctype, |file| real == "f32" || !f32_alone(file));
        Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Where the kernels' headers are, those that the build writes too.
pub fn include_folders() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels"), GENERATED_HEADERS.into()]
}

/// The kernels' files that `takes` says yes to, by their path below kernels/ without the ending, in a C type of numbers.
pub fn sources(ctype: &str, takes: impl Fn(&str) -> bool) -> Sources {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let mut files: Vec<_> = Kernel::ALL.iter().map(|kernel| kernel.file()).filter(|file| takes(file)).collect();
    files.dedup();
    let files = files.into_iter().map(|file| folder.join(file).with_extension("cu")).collect();
    Sources { files, include_dirs: include_folders(), defines: vec![format!("REAL={ctype}")], ..Sources::default() }
}

/// An emulator of the kernels in the type `real`.
pub fn emulator(real: &'static str, options: Options) -> Emulated {
    emulator_of(program(real), real, options)
}

/// An emulator of a program that was compiled in the type `real`.
pub fn emulator_of(program: &Program, real: &'static str, options: Options) -> Emulated {
    let emulator = Emulator::new(program, options).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Arc::new(emulator);
    Emulated { emulator, real, recorded: Arc::default(), allocations: Arc::default() }
}

/// The kernels in type `T` under the emulator. Each buffer is an allocation, so that an access beyond its bounds is found.
pub fn emulated<T: Real>(options: Options) -> Accelerator<T> {
    Accelerator::new(emulator(T::NAME, options))
}

/// The kernels in f32 under the emulator, products in `precision`.
pub fn emulated_in(precision: Precision, options: Options) -> Accelerator<f32> {
    Accelerator::with_precision(emulator("f32", options), precision)
}

fn device_error(text: impl ToString) -> Error {
    Error::Device(text.to_string())
}

impl DeviceMemory for EmulatedMemory {
    fn address(&self) -> u64 {
        self.address
    }
}

/// A step that was recorded.
struct EmulatedStep {
    launcher: Emulated,
    pieces: Vec<Recorded>,
}

impl Recording for EmulatedStep {
    fn replay(&self) -> Result<()> {
        self.pieces.iter().try_for_each(|piece| self.launcher.work(piece.clone()))
    }
}

impl Launcher for Emulated {
    fn describe(&self) -> String {
        "the emulator".into()
    }
    fn free_memory(&self) -> Option<u64> {
        None
    }
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        Ok(Box::new(self.allocate(Allocation::Device(bytes as u64))?))
    }
    fn alloc_pinned(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        let memory = self.allocate(Allocation::Pinned(bytes as u64))?;
        self.emulator.fill_zero(memory.address, bytes).map_err(device_error)?;
        Ok(Box::new(memory))
    }
    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.refuse_while_recording("waits for the host");
        self.emulator.upload(source, target).map_err(device_error)
    }
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.refuse_while_recording("waits for the host");
        self.emulator.download(source, target).map_err(device_error)
    }
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.work(Recorded::Copy { source, target, bytes })
    }
    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.work(Recorded::Zero { target, bytes })
    }
    fn synchronize(&self) -> Result<()> {
        self.refuse_while_recording("waits for the device");
        Ok(())
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        assert_eq!(launch.real, self.real, "the kernels were compiled for the other type");
        let Launch { kernel, grid, block, arguments, .. } = *launch;
        let arguments = arguments.iter().map(|argument| argument.bytes().to_vec()).collect();
        self.work(Recorded::Launch { kernel, grid, block, arguments })
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        *self.recorded.lock().expect("no panics") = Some(Vec::new());
        let done = work();
        let pieces = self.recorded.lock().expect("no panics").take().unwrap_or_default();
        done.map(|()| Box::new(EmulatedStep { launcher: self.clone(), pieces }) as Box<dyn Recording>)
    }
}

/// Outputs, gradients and the tangent of a case, by name. All executors start from what f32 can hold.
pub fn results<B: Backend>(backend: &B, case: &Case<B>) -> Vec<(String, Vec<f64>)> {
    results_from(backend, case, Precision::F32)
}

/// The same, with everything that goes in rounded before.
pub fn results_from<B: Backend>(backend: &B, case: &Case<B>, rounded: Precision) -> Vec<(String, Vec<f64>)> {
    backend.run(|| {
        let filled = |tensors: &[Tensor], first: u32| -> Vec<_> {
            let values = (first..).zip(tensors).map(|(number, tensor)| fill(tensor, number));
            let round = |value: f64| B::Real::of_f32(rounded.round(value as f32));
            let real = |values: Vec<f64>| values.into_iter().map(round).collect::<Vec<_>>();
            values.map(|values| backend.buffer_of(&real(values)).expect("memory")).collect()
        };
        let zeros = |tensors: &[Tensor]| -> Vec<_> {
            tensors.iter().map(|tensor| backend.alloc(tensor.len).expect("memory")).collect()
        };
        let (inputs, outputs) = (case.inputs(), case.outputs());
        let (x, u) = (filled(inputs, 0), filled(outputs, 1000));
        let (mut y, mut dx) = (zeros(outputs), zeros(inputs));
        let named = |error: Error| panic!("{} {}: {error}", case.op(), case.name());
        case.run_forward(backend, &x, &mut y).unwrap_or_else(named);
        if case.differentiable() {
            case.run_backward(backend, &x, &y, &u, &mut dx).unwrap_or_else(named);
        }
        let names = outputs.iter().map(|t| t.name.to_string()).chain(inputs.iter().map(|t| format!("d {}", t.name)));
        let read =
            |buffer| backend.read(backend.view(buffer)).expect("a copy").iter().map(|v: &B::Real| v.to_f64()).collect();
        let mut results: Vec<_> = names.zip(y.iter().chain(&dx).map(read)).collect();
        if let Some(input) = inputs.first() {
            let v = filled(&[Tensor::new("v", input.len)], 2000);
            let mut vy = zeros(outputs);
            if let Some(done) = case.run_tangent(backend, &x, &y, &v[0], &mut vy) {
                done.unwrap_or_else(named);
                results.push(("tangent".into(), read(&vy[0])));
            }
        }
        results
    })
}

/// Holds an executor in f32 against the CPU in f64, case by case; a line for each tensor that is off.
pub fn differences<B: Backend<Real = f32>>(
    backend: &B,
    cases: Vec<Case<B>>,
    exact: &[Vec<(String, Vec<f64>)>],
) -> Vec<String> {
    differences_from(backend, cases, exact, Precision::F32)
}

/// The same for inputs that were rounded before, as those of `exact` were.
///
/// Tolerance: f32 rounds each input once (2⁻²⁴) and each of up to a thousand sums again, in parts that are joined in
/// f64; that stays below 1e-5 of a tensor's largest value.
pub fn differences_from<B: Backend<Real = f32>>(
    backend: &B,
    cases: Vec<Case<B>>,
    exact: &[Vec<(String, Vec<f64>)>],
    rounded: Precision,
) -> Vec<String> {
    differences_within(1e-5, backend, cases, exact, rounded)
}

/// The same with a tolerance, as a part of a tensor's largest value. What has no arithmetic in it (draws, picks) is
/// bit-equal once widened.
pub fn differences_within<B: Backend<Real = f32>>(
    tolerance: f64,
    backend: &B,
    cases: Vec<Case<B>>,
    exact: &[Vec<(String, Vec<f64>)>],
    rounded: Precision,
) -> Vec<String> {
    assert_eq!(cases.len(), exact.len());
    let mut failed = Vec::new();
    for (case, exact) in cases.iter().zip(exact) {
        let tolerance = if case.inputs().is_empty() { 2f64.powi(-24) } else { tolerance };
        for ((name, ours), (_, exact)) in results_from(backend, case, rounded).into_iter().zip(exact) {
            let scale = exact.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
            let errors = ours.iter().zip(exact).map(|(a, b)| (a - b).abs() / scale);
            let (at, worst) = errors.enumerate().fold((0, 0.0), |m, e| if e.1 > m.1 || e.1.is_nan() { e } else { m });
            if worst.is_nan() || worst > tolerance {
                let (op, case, a, b) = (case.op(), case.name(), ours[at], exact[at]);
                failed.push(format!("{op} {case}: {name}[{at}] is {a}, exactly {b}: {worst:.2e}"));
            }
        }
    }
    failed
}
