//! What the tests of several executors share: the kernels under the emulator, and what a case computes.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use std::cell::Cell;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use sha2::{Digest, Sha256};
use simt::{Emulator, Options, Program, Sources};
use vgan_cuda::device::kernels::{GENERATED_HEADERS, Kernel};
use vgan_cuda::device::{Accelerator, Backend, DeviceMemory, Launch, Launcher, Precision, Real, Recording, Storage};
use vgan_cuda::ops::case::fill;
use vgan_cuda::ops::{Case, CaseBuffer, Fill, Tensor};
use vgan_cuda::{Error, Result};

/// The kernels' files, as the emulator runs them, in one form.
#[derive(Clone)]
pub struct Emulated {
    emulator: Arc<Emulator>,
    form: &'static str,
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

/// The forms that kernels are compiled in, with what is defined in each: as build.rs has them.
const FORMS: [(&str, &[&str]); 3] =
    [("f32", &["REAL=float"]), ("bf16", &["REAL=float", "STORED_BF16"]), ("f64", &["REAL=double"])];

/// What is defined in a form.
pub fn defines(form: &str) -> Vec<String> {
    let found = FORMS.iter().find(|(name, _)| *name == form).unwrap_or_else(|| panic!("no form {form}"));
    found.1.iter().map(|define| (*define).into()).collect()
}

/// Compiles the kernels once a process in each form.
fn program(form: &'static str) -> &'static Program {
    static PROGRAMS: [OnceLock<Program>; FORMS.len()] = [const { OnceLock::new() }; FORMS.len()];
    let which = FORMS.iter().position(|(name, _)| *name == form).unwrap_or_else(|| panic!("no form {form}"));
    PROGRAMS[which].get_or_init(|| {
        // As build.rs has them: tensor cores know no f64, wide tiles are of f32 alone, and what is for bf16 says so.
        let sources = sources(form, |file| match file.rsplit('_').next() {
            Some("wide") => form == "f32",
            Some("tensor") => form != "f64",
            Some("bf16") => form == "bf16",
            _ => true,
        });
        Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"))
    })
}

/// Where the kernels' headers are, those that the build writes too.
pub fn include_folders() -> Vec<PathBuf> {
    vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels"), GENERATED_HEADERS.into()]
}

/// The kernels' files that `takes` says yes to, by their path below kernels/ without the ending, in a form.
pub fn sources(form: &str, takes: impl Fn(&str) -> bool) -> Sources {
    let mut files: Vec<_> = Kernel::ALL.iter().map(|kernel| kernel.file()).filter(|file| takes(file)).collect();
    files.dedup();
    let files = files.into_iter().map(kernel_file).collect();
    Sources { files, include_dirs: include_folders(), defines: defines(form), ..Sources::default() }
}

/// The file of kernels at this path below kernels/. tests/mutation_kernels/ puts mutated ones in their place: those that lie in the
/// folder `$VGAN_TEST_KERNELS`.
fn kernel_file(file: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(file).with_extension("cu");
    let mutated =
        std::env::var_os("VGAN_TEST_KERNELS").map(|folder| Path::new(&folder).join(file).with_extension("cu"));
    mutated.filter(|path| path.is_file()).unwrap_or(own)
}

/// Where programs find the kernels' headers that ask these alone who does what: mutated ones first, where there are such.
pub fn header_folders() -> Vec<PathBuf> {
    let mutated = std::env::var_os("VGAN_TEST_KERNELS").map(|folder| Path::new(&folder).join("headers"));
    mutated.into_iter().filter(|path| path.is_dir()).chain(include_folders()).collect()
}

/// The kernels on tensor cores.
pub fn on_tensor_cores() -> Vec<Kernel> {
    Kernel::ALL.iter().copied().filter(|kernel| kernel.file().contains("_tensor")).collect()
}

/// The operations that tests of cases are to run, by `$VGAN_TEST_CASES` and commas; `None` for all.
pub fn chosen_operations() -> Option<&'static [String]> {
    static CHOSEN: OnceLock<Option<Vec<String>>> = OnceLock::new();
    let chosen = || Some(std::env::var("VGAN_TEST_CASES").ok()?.split(',').map(String::from).collect());
    CHOSEN.get_or_init(chosen).as_deref()
}

/// Appends a line to the file `$VGAN_TEST_REACHED`, where it is asked for: the running test, the case and the kernel.
fn note_reached(kernel: &str) {
    static FILE: OnceLock<Option<Mutex<File>>> = OnceLock::new();
    let open = || {
        let path = std::env::var_os("VGAN_TEST_REACHED")?;
        Some(Mutex::new(File::options().append(true).create(true).open(path).expect("a file that can be written")))
    };
    if let Some(file) = FILE.get_or_init(open) {
        let (thread, case) = (std::thread::current(), CASE.get().unwrap_or("-"));
        let line = format!("{} {case} {kernel}\n", thread.name().unwrap_or("-"));
        file.lock().expect("no panics").write_all(line.as_bytes()).expect("a disk with room");
    }
}

thread_local! {
    /// The operation whose case runs.
    static CASE: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// An emulator of the kernels in a form.
pub fn emulator(form: &'static str, options: Options) -> Emulated {
    emulator_of(program(form), form, options)
}

/// An emulator of a program that was compiled in a form.
pub fn emulator_of(program: &Program, form: &'static str, options: Options) -> Emulated {
    let emulator = Emulator::new(program, options).unwrap_or_else(|error| panic!("{error}"));
    let emulator = Arc::new(emulator);
    Emulated { emulator, form, recorded: Arc::default(), allocations: Arc::default() }
}

/// The kernels in type `T` under the emulator. Each buffer is an allocation, so that an access beyond its bounds is found.
pub fn emulated<T: Real>(options: Options) -> Accelerator<T> {
    emulated_as(options)
}

/// The same with activations stored as `S`.
pub fn emulated_as<T: Real, S: Storage<T>>(options: Options) -> Accelerator<T, S> {
    Accelerator::new(emulator(S::NAME, options))
}

/// The kernels in f32 under the emulator, products in tf32.
pub fn emulated_in_tf32(options: Options) -> Accelerator<f32> {
    Accelerator::in_tf32(emulator("f32", options))
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
        assert_eq!(launch.form, self.form, "the kernels were compiled in another form");
        let Launch { kernel, grid, block, arguments, .. } = *launch;
        note_reached(kernel.name());
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

/// What a case computes: outputs, gradients and the tangent, by name.
pub type Results = Vec<(String, Vec<f64>)>;

/// The results of a case. All executors start from what f32 can hold.
pub fn results<B: Backend>(backend: &B, case: &Case<B>) -> Results {
    results_from(backend, case, Precision::F32)
}

/// The same, with everything that goes in rounded before.
pub fn results_from<B: Backend>(backend: &B, case: &Case<B>, rounded: Precision) -> Results {
    results_at(backend, case, rounded, None)
}

/// The same, where the derivatives are taken at these outputs in place of the backend's own: how those of two executors are
/// compared that do not store the same outputs.
pub fn results_at<B: Backend>(
    backend: &B,
    case: &Case<B>,
    rounded: Precision,
    outputs: Option<&[(String, Vec<f64>)]>,
) -> Results {
    let filled = |tensor: &Tensor, number| tensor.buffer(backend, &filling(tensor, number, rounded)).expect("memory");
    let all = |tensors: &[Tensor], first| -> Vec<_> { (first..).zip(tensors).map(|(i, t)| filled(t, i)).collect() };
    let zeros = |tensors: &[Tensor]| -> Vec<_> { tensors.iter().map(|t| t.zeros(backend).expect("memory")).collect() };
    let read = |buffer: &CaseBuffer<B>| buffer.values(backend).expect("a copy");
    let named = |error: Error| panic!("{} {}: {error}", case.op(), case.name());
    if chosen_operations().is_some_and(|chosen| chosen.iter().all(|op| op != case.op())) {
        return case.outputs().iter().map(|tensor| (tensor.name.to_string(), Vec::new())).collect();
    }
    CASE.set(Some(case.op()));
    backend.run(|| {
        let (x, u) = (all(case.inputs(), 0), all(case.outputs(), 1000));
        let gradients: Vec<_> = case.inputs().iter().map(Tensor::of_gradient).collect();
        let (mut y, mut dx) = (zeros(case.outputs()), zeros(&gradients));
        case.run_forward(backend, &x, &mut y).unwrap_or_else(named);
        let outputs_of = |y: &[CaseBuffer<B>]| -> Vec<_> {
            case.outputs().iter().zip(y).map(|(t, buffer)| (t.name.to_string(), read(buffer))).collect()
        };
        let mut results = outputs_of(&y);
        if let Some(outputs) = outputs {
            let held = case.outputs().iter().zip(outputs).map(|(t, (_, values))| t.buffer(backend, values));
            y = held.collect::<Result<_>>().expect("memory");
        }
        if case.differentiable() {
            case.run_backward(backend, &x, &y, &u, &mut dx).unwrap_or_else(named);
        }
        results.extend(case.inputs().iter().zip(&dx).map(|(t, buffer)| (format!("d {}", t.name), read(buffer))));
        if let Some(input) = case.inputs().first() {
            let v = filled(&input.clone().filled(Fill::Normal), 2000);
            let mut vy = zeros(case.outputs());
            if let Some(done) = case.run_tangent(backend, &x, &y, &v, &mut vy) {
                done.unwrap_or_else(named);
                results.push(("tangent".into(), read(&vy[0])));
            }
        }
        results
    })
}

/// The values of a tensor of this number before a case runs: what f32 can hold, rounded.
pub fn filling(tensor: &Tensor, number: u32, rounded: Precision) -> Vec<f64> {
    fill(tensor, number).into_iter().map(|value| f64::from(rounded.round(value as f32))).collect()
}

/// Holds an executor in f32 against the CPU in f64, case by case; a line for each tensor that is off.
pub fn differences<B: Backend<Real = f32>>(backend: &B, cases: Vec<Case<B>>, exact: &[Results]) -> Vec<String> {
    differences_from(backend, cases, exact, Precision::F32)
}

/// The same for inputs that were rounded before, as those of `exact` were.
///
/// Tolerance: f32 rounds each input once (2⁻²⁴) and each of up to a thousand sums again, in parts that are joined in
/// f64; that stays below 1e-5 of a tensor's largest value.
pub fn differences_from<B: Backend<Real = f32>>(
    backend: &B,
    cases: Vec<Case<B>>,
    exact: &[Results],
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
    exact: &[Results],
    rounded: Precision,
) -> Vec<String> {
    let ours: Vec<_> = cases.iter().map(|case| results_from(backend, case, rounded)).collect();
    differences_of(tolerance, &cases, &ours, exact)
}

/// The same of results that are there already.
pub fn differences_of<B: Backend>(
    tolerance: f64,
    cases: &[Case<B>],
    ours: &[Results],
    exact: &[Results],
) -> Vec<String> {
    assert_eq!((cases.len(), ours.len()), (exact.len(), exact.len()));
    let mut failed = Vec::new();
    for ((case, ours), exact) in cases.iter().zip(ours).zip(exact) {
        let tolerance = if case.inputs().is_empty() { 2f64.powi(-24) } else { tolerance };
        for ((name, ours), (_, exact)) in ours.iter().zip(exact) {
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

/// Writes the SHA-256 of all bits of what a GPU computed, so that a run in another order can be held against it.
pub fn say_digest(of: &str, results: &[Results]) {
    let mut digest = Sha256::new();
    let values = results.iter().flatten().flat_map(|(_, values)| values);
    values.for_each(|value| digest.update(value.to_bits().to_ne_bytes()));
    let hex: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    eprintln!("{DIGEST}{of} {hex}");
}

/// How the line of a digest begins.
pub const DIGEST: &str = "digest of ";
