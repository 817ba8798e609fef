//! Every kernel beyond each of its limits: work that is longer than a grid, than a block, than a part of a sum.
//!
//! The emulator is slow, so the limits are made small instead of the work large. The kernels are compiled once more with
//! blocks of few threads (a copy of `lib/launch.h` with other numbers stands before the real one), and a launcher gives no
//! launch that strides more than two blocks. Then nearly every case of every operation is longer than a block and longer
//! than a grid. Limits that the host counts with too, rows of a column sum and parts of a product, can't be made small in
//! the kernels alone: cases of this file pass them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use crate::executors::{Emulated, chosen_operations, differences, emulator, emulator_of, results, sources};
use simt::{Options, Program};
use vgan_cuda::Result;
use vgan_cuda::device::kernels::{Kernel, size};
use vgan_cuda::device::product::TileSize;
use vgan_cuda::device::{Accelerator, Buffer, Cpu, DeviceMemory, Launch, Launcher, Recording, StepState, StoredOut};
use vgan_cuda::ops::layers::activation::Activation;
use vgan_cuda::ops::layers::affine;
use vgan_cuda::ops::layers::batch_norm::BatchNorm;
use vgan_cuda::ops::layers::conv2d::Conv2d;
use vgan_cuda::ops::layers::linear::Linear;
use vgan_cuda::ops::layers::minibatch_discrimination::MinibatchDiscrimination;
use vgan_cuda::ops::layers::spectral_norm::SpectralNorm;
use vgan_cuda::ops::optimizers::schedule::Decay;
use vgan_cuda::ops::{self, Case, CaseIn, Executor, Fill};

/// Threads of a block in the kernels with small limits; a power of two, for sums over a block.
const FEW: u32 = 4;
/// The constants of `launch.h` that are made so small: threads of blocks whose size the kernels alone count with.
const SMALL: [&str; 5] = ["ELEMENT_THREADS", "LOSS_THREADS", "KL_THREADS", "IMAGE_THREADS", "SPECTRAL_THREADS"];

/// What launches a kernel was given: the most blocks, in x, y and z.
type Grids = BTreeMap<&'static str, [u32; 3]>;

/// Runs kernels on few blocks, or of few threads, and notes the grids.
#[derive(Clone)]
pub(crate) struct Limited {
    inner: Emulated,
    /// Blocks at most of a launch that strides.
    blocks: u32,
    /// Whether the kernels were compiled with the constants of [`SMALL`] at [`FEW`].
    small: bool,
    seen: Arc<Mutex<Grids>>,
}

impl Limited {
    /// The kernels of `inner`, of which those that stride have `blocks` blocks at most.
    pub(crate) fn new(inner: Emulated, blocks: u32, small: bool) -> Self {
        Limited { inner, blocks, small, seen: Arc::default() }
    }

    fn grids(&self) -> Grids {
        self.seen.lock().expect("no panics").clone()
    }
}

impl Launcher for Limited {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn free_memory(&self) -> Option<u64> {
        self.inner.free_memory()
    }
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.inner.alloc(bytes)
    }
    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.inner.upload(source, target)
    }
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.inner.download(source, target)
    }
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.inner.copy(source, target, bytes)
    }
    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.inner.zero(target, bytes)
    }
    fn synchronize(&self) -> Result<()> {
        self.inner.synchronize()
    }
    fn stride_blocks(&self) -> u32 {
        self.blocks
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let mut seen = self.seen.lock().expect("no panics");
        let most = seen.entry(launch.kernel.name()).or_default();
        *most = std::array::from_fn(|i| most[i].max(launch.grid[i]));
        drop(seen);
        let is_small = self.small && small_blocks().contains(launch.kernel.name());
        let block = if is_small { launch.block.map(|threads| threads.min(FEW)) } else { launch.block };
        self.inner.launch(&Launch { block, ..*launch })
    }
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.inner.record(work)
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels")
}

/// The declaration of a kernel and its body.
fn text(kernel: Kernel) -> String {
    let file = fs::read_to_string(folder().join(kernel.file()).with_extension("cu")).expect("the kernel's file");
    let begins = |line: &str| {
        line.starts_with(&format!("KERNEL({},", kernel.name()))
            || line.starts_with("KERNEL_BOUNDED(") && line.contains(&format!(", {},", kernel.name()))
    };
    let lines: Vec<&str> = file.lines().collect();
    let from = lines.iter().position(|line| begins(line)).unwrap_or_else(|| panic!("no {}", kernel.name()));
    let to = from + lines[from..].iter().position(|line| line.starts_with('}')).expect("an end");
    lines[from..to].join("\n")
}

/// The kernels whose blocks have one of the sizes of [`SMALL`]: those of a single thread are smaller still.
fn small_blocks() -> &'static BTreeSet<&'static str> {
    static FOUND: OnceLock<BTreeSet<&'static str>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let is_small = |kernel: &&Kernel| {
            let text = text(**kernel);
            text.starts_with("KERNEL(") || SMALL.iter().any(|name| text.starts_with(&format!("KERNEL_BOUNDED({name},")))
        };
        Kernel::ALL.iter().filter(is_small).map(|kernel| kernel.name()).collect()
    })
}

/// The kernels in f32 with blocks of few threads.
fn small_program() -> Program {
    let mut header = fs::read_to_string(folder().join("lib/launch.h")).expect("lib/launch.h");
    for (name, threads) in SMALL.iter().zip([
        size::ELEMENT_THREADS,
        size::LOSS_THREADS,
        size::KL_THREADS,
        size::IMAGE_THREADS,
        size::SPECTRAL_THREADS,
    ]) {
        let declared = format!("constexpr int {name} = {threads};");
        assert!(header.contains(&declared), "{declared}");
        header = header.replace(&declared, &format!("constexpr int {name} = {FEW};"));
    }
    // Always the same file, so that what was compiled once is found again.
    let own = Path::new(env!("CARGO_TARGET_TMPDIR")).join("few-threads");
    fs::create_dir_all(own.join("lib")).expect("a folder");
    let target = own.join("lib/launch.h");
    if fs::read_to_string(&target).map_or(true, |found| found != header) {
        fs::write(&target, header).expect("a file");
    }
    // Whole warps multiply on tensor cores: their tiles have tests of their own.
    let mut sources = sources("f32", |file| !file.contains("_tensor"));
    sources.include_dirs.insert(0, own);
    Program::compile(&sources).unwrap_or_else(|error| panic!("{error}"))
}

/// Cases beyond the limits that the host counts with too.
fn long_cases<B: Executor>() -> Vec<Case<B>> {
    let image = |n, h, w, c, k| Conv2d { n, h, w, c, k, r: 1, s: 1, stride: 1, padding: 0 };
    // Parts of a weight gradient, and three of the column sums of the bias, the last of them short.
    let mut cases = affine::cases([image(1, 33, 33, 5, 6), image(1, 3, 3, 70, 67)]);
    // Tiles in both directions, and parts of the depth; column sums with scales, for k = 1; more columns than a block sums.
    let linear = |n, c, k| Linear { n, c, k };
    cases.extend(affine::cases([linear(150, 300, 310), linear(1100, 3, 1), linear(2, 3, 300)]));
    cases.extend(batch_norms().map(batch_norm));
    cases.extend([direct_weight(image(1, 131, 126, 1, 1)), direct_weight(image(3, 9, 9, 2, 70)), spectral()]);
    cases.push(vanishing());
    cases.extend(affine::cases([Conv2d { r: 3, s: 3, ..image(1, 6, 13, 2, 35) }]));
    let wide = [(40, 140), (140, 40)].map(|(c, k)| Conv2d { r: 3, s: 3, padding: 1, ..image(2, 9, 9, c, k) });
    cases.extend(affine::cases(wide));
    // Tiles in both directions, filters of two groups and depths of several chunks, of the convolutions with few channels whose
    // shapes are fixed; the last one is to few.
    let halved = |c| Conv2d { r: 4, s: 4, stride: 2, padding: 1, ..image(1, 20, 37, c, 35) };
    let same = |c, k| Conv2d { r: 3, s: 3, padding: 1, ..image(2, 19, 18, c, k) };
    cases.extend(affine::cases([halved(1), halved(3), same(3, 35), same(35, 3)]));
    cases.extend([activation(1100), curvature(1100), minibatch(), ema(1100)]);
    cases
}

/// More rows in a group than a block sums, one and several groups; more channels than a block has threads.
fn batch_norms() -> impl Iterator<Item = BatchNorm> {
    let activation = Activation::LeakyRelu(0.2);
    let size = |rows, c, groups| BatchNorm { rows, c, groups, ranks: 1, epsilon: 1e-5, momentum: 0.1, activation };
    [size(1030, 3, 1), size(1040, 3, 2), size(1040, 40, 2), size(4, 300, 1)].into_iter()
}

/// y, and the statistics that it was normalised with.
fn normalised<B: Executor>(
    be: &B,
    d: &BatchNorm,
    [x, gamma, beta]: [CaseIn<'_, B>; 3],
    y: StoredOut<'_, B>,
) -> Result<Buffer<B>> {
    let (mut running, mut saved) = (be.alloc(2 * d.c)?, be.alloc(2 * d.groups * d.c)?);
    let (x, gamma, beta) = (x.stored(), gamma.real(), beta.real());
    be.batch_norm_forward(d, x, gamma, beta, be.view_mut(&mut running), be.view_mut(&mut saved), y)?;
    Ok(saved)
}

fn batch_norm<B: Executor>(d: BatchNorm) -> Case<B> {
    let BatchNorm { rows, c, groups, .. } = d;
    Case::new("batch_norm", format!("rows{rows} c{c} groups{groups}"))
        .input("x", rows * c)
        .real_input("gamma", c)
        .real_input("beta", c)
        .output("y", rows * c)
        .forward(move |be: &B, inputs, [y]| normalised(be, &d, inputs, y.stored()).map(drop))
        .backward(move |be, [x, gamma, beta], [y], [dy], [dx, dgamma, dbeta]| {
            let (mut again, mut sums) = (be.alloc(rows * c)?, be.alloc(2 * groups * c)?);
            let saved = normalised(be, &d, [x, gamma, beta], be.view_mut(&mut again))?;
            let (saved, sums, weight) = (be.view(&saved), be.view_mut(&mut sums), [dgamma.real(), dbeta.real()]);
            let (x, y, dy, gamma) = (x.stored(), y.stored(), dy.stored(), gamma.real());
            be.batch_norm_backward(&d, x, y, dy, gamma, saved, sums, Some(dx.stored()), Some(weight), true)
        })
}

fn activation<B: Executor>(len: usize) -> Case<B> {
    let f = Activation::Tanh;
    Case::new("activation", format!("len{len}"))
        .input("x", len)
        .output("y", len)
        .forward(move |be: &B, [x], [y]| be.activation_forward(f, x.stored(), y.stored()))
        .backward(move |be, _, [y], [dy], [dx]| be.activation_backward_input(f, y.stored(), dy.stored(), dx.stored()))
}

fn curvature<B: Executor>(len: usize) -> Case<B> {
    Case::new("activation", format!("curvature len{len}"))
        .filled_input("y", len, Fill::Uniform(0.1, 0.9))
        .input("vx", len)
        .input("dy", len)
        .input("before", len)
        .output("dx", len)
        .forward(move |be: &B, inputs, [dx]| {
            let ([y, vx, dy, before], mut dx) = (inputs.map(CaseIn::stored), dx.stored());
            // It adds to what came down already.
            be.copy(before, be.reborrow(&mut dx))?;
            be.activation_curvature(Activation::Sigmoid, y, vx, dy, dx)
        })
}

fn minibatch<B: Executor>() -> Case<B> {
    let d = MinibatchDiscrimination { n: 12, groups: 2, c: 50, kernels: 10, dims: 3 };
    Case::new("minibatch_discrimination", "n12")
        .input("x", d.n * d.c)
        .input("m", d.n * d.m_len())
        .output("y", d.n * d.y_len())
        .forward(move |be: &B, [x, m], [y]| be.minibatch_discrimination_forward(&d, x.stored(), m.stored(), y.stored()))
        .backward(move |be, [_, m], _, [dy], [dx, dm]| {
            be.minibatch_discrimination_backward_input(&d, m.stored(), dy.stored(), dm.stored())?;
            be.minibatch_discrimination_backward_features(&d, dy.stored(), dx.stored())
        })
}

fn ema<B: Executor>(len: usize) -> Case<B> {
    Case::new("ema", format!("len{len}"))
        .real_input("weights", len)
        .real_input("average", len)
        .real_output("average", len)
        .forward(move |be: &B, [weights, before], [average]| {
            let mut average = average.real();
            be.copy(before.real(), be.reborrow(&mut average))?;
            let state = be.buffer_of(&[StepState::new(0, 0.0)])?;
            be.ema_update(&Decay::constant(0.9), weights.real(), average, be.view(&state))
        })
}

/// The weight gradient alone, by which dy is an input.
fn direct_weight<B: Executor>(d: Conv2d) -> Case<B> {
    Case::new("conv2d", format!("direct weight gradient of {} pixels, {} filters", d.n * d.h * d.w, d.k))
        .input("x", d.x_len())
        .input("dy", d.y_len())
        .real_output("dw", d.w_len())
        .forward(move |be: &B, [x, dy], [dw]| {
            be.conv2d_backward_weight(&d, x.stored(), dy.stored(), dw.real(), None, true)
        })
}

/// A weight gradient whose inner product with ŵ comes in more parts than a block has threads.
fn spectral<B: Executor>() -> Case<B> {
    let d = SpectralNorm { k: 5, c: 300, iterates: false };
    Case::new("spectral_norm", "more parts than threads")
        .filled_real_input("w", d.k * d.c, Fill::Uniform(0.5, 1.5))
        .filled_real_input("u", d.k, Fill::Uniform(0.2, 1.0))
        .filled_real_input("v", d.c, Fill::Uniform(0.2, 1.0))
        .real_input("d w_hat", d.k * d.c)
        .real_output("dw", d.k * d.c)
        .forward(move |be: &B, inputs, [dw]| {
            let ([w, u, v, d_w_hat], mut dw) = (inputs.map(CaseIn::real), dw.real());
            let ([mut u_, mut v_], mut sigma) = ([be.alloc(d.k)?, be.alloc(d.c)?], be.alloc(1)?);
            let mut w_hat = be.alloc(d.k * d.c)?;
            be.copy(u, be.view_mut(&mut u_))?;
            be.copy(v, be.view_mut(&mut v_))?;
            let [u, v, sigma_] = [&mut u_, &mut v_, &mut sigma].map(|buffer| be.view_mut(buffer));
            be.spectral_norm_forward(&d, w, u, v, sigma_, be.view_mut(&mut w_hat))?;
            be.copy(d_w_hat, be.reborrow(&mut dw))?;
            let [w_hat, u, v, sigma] = [&w_hat, &u_, &v_, &sigma].map(|buffer| be.view(buffer));
            be.spectral_norm_backward(&d, w_hat, u, v, sigma, dw)
        })
}

/// A weight that is nearly nothing: all norms are below the least divisor.
fn vanishing<B: Executor>() -> Case<B> {
    let d = SpectralNorm { k: 5, c: 7, iterates: true };
    let nearly_nothing = Fill::Uniform(1e-14, 2e-14);
    Case::new("spectral_norm", "norms below the least divisor")
        .filled_real_input("w", d.k * d.c, nearly_nothing)
        .filled_real_input("u", d.k, Fill::Uniform(0.2, 1.0))
        .real_output("v", d.c)
        .real_output("w_hat", d.k * d.c)
        .forward(move |be: &B, [w, u], [v, w_hat]| {
            let ([mut u_, mut sigma], mut v) = ([be.alloc(d.k)?, be.alloc(1)?], v.real());
            be.copy(u.real(), be.view_mut(&mut u_))?;
            let (u, v) = (be.view_mut(&mut u_), be.reborrow(&mut v));
            be.spectral_norm_forward(&d, w.real(), u, v, be.view_mut(&mut sigma), w_hat.real())
        })
}

/// What the CPU computes in f64.
fn exact(cases: Vec<Case<Cpu<f64>>>) -> Vec<Vec<(String, Vec<f64>)>> {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    cases.iter().map(|case| results(&cpu, case)).collect()
}

fn all_cases<B: Executor>() -> Vec<Case<B>> {
    ops::cases().into_iter().chain(long_cases()).collect()
}

/// Two blocks of four threads stride over all of each case; then as many blocks as there are, of four threads.
#[test]
fn blocks_of_few_threads_stride_over_all_of_every_case() {
    let (program, exact) = (small_program(), exact(all_cases()));
    for blocks in [2, size::ELEMENT_BLOCKS] {
        let be = Accelerator::<f32>::new(Limited::new(emulator_of(&program, "f32", unchecked()), blocks, true));
        let failed = differences(&be, all_cases(), &exact);
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

/// What is longer than a part of a sum, with blocks as they ship. And each kernel has had a case with more than one block
/// in every direction that it counts blocks in: no case would see a wrong place of the second otherwise.
#[test]
fn parts_and_tiles_are_joined_and_no_kernel_has_only_one() {
    let launcher = Limited::new(emulator("f32", unchecked()), size::ELEMENT_BLOCKS, false);
    let be = Accelerator::<f32>::new(launcher.clone());
    let exact = exact(long_cases());
    for be in [&be, &be.clone().with_tiles(TileSize::Wide)] {
        let failed = differences(be, long_cases(), &exact);
        assert!(failed.is_empty(), "{failed:#?}");
    }
    for case in ops::cases() {
        results(&be, &case);
    }
    if chosen_operations().is_some() {
        return;
    }
    let grids = launcher.grids();
    let missing: Vec<_> = Kernel::ALL.iter().flat_map(|kernel| missing(*kernel, &grids)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

/// What walks over a grid's threads.
const LOOPS: [&str; 3] = ["FOR_EACH_ELEMENT", "for_each_run", "for_each_dimension("];

/// The directions in which a kernel counts blocks and no case has had two.
fn missing(kernel: Kernel, grids: &Grids) -> Vec<String> {
    // Those on tensor cores run the tiles of the others, where a device rounds to bf16 or tf32; the end of a step is one
    // thread, which non_finite.rs has.
    if kernel.file().contains("_tensor") || kernel == Kernel::FinishStep {
        return Vec::new();
    }
    let Some(most) = grids.get(kernel.name()) else { return vec![format!("{}: no case", kernel.name())] };
    let body = with_called(&text(kernel), kernel);
    let counts = |axis: char| {
        body.contains(&format!("blockIdx.{axis}")) || axis == 'x' && LOOPS.iter().any(|l| body.contains(l))
    };
    let axes = ['x', 'y', 'z'].into_iter().zip(most);
    axes.filter(|&(axis, &most)| counts(axis) && most < 2)
        .map(|(axis, _)| format!("{}: one block in {axis}", kernel.name()))
        .collect()
}

/// The body of a kernel with those of the `…_tile` functions that it calls, which stand in the headers of its room.
fn with_called(body: &str, kernel: Kernel) -> String {
    let mut whole = body.to_string();
    let folder = folder().join(kernel.file());
    let headers =
        fs::read_dir(folder.parent().expect("a room")).expect("a room").map(|entry| entry.expect("a file").path());
    for header in headers.filter(|path| path.extension().is_some_and(|found| found == "cuh")) {
        for function in fs::read_to_string(&header).expect("a header").split("\n}\n") {
            let name = function.split("_tile(").next().and_then(|before| before.rsplit(' ').next()).unwrap_or_default();
            if function.contains("_tile(") && body.contains(&format!("{name}_tile<")) {
                whole.push_str(function);
            }
        }
    }
    whole
}

/// Without the detector, which other tests of the same kernels have: here values are compared.
pub(crate) fn unchecked() -> Options {
    Options { detection: false, ..Options::default() }
}
