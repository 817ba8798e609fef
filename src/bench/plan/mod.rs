//! The work of a training step on a GPU, counted without one: every launch in its order, its work as the PTX machine counts it, and a time
//! that is predicted from that work by [`model`].
//!
//! A trainer is built on a [`Launcher`](crate::device::Launcher) that runs the embedded PTX on the CPU. Its first step is only
//! noted: it lets the workspace grow. The second is recorded, as it is for a GPU, and runs once with its work counted. Of a third
//! the host's calls are counted.

mod device;
mod fidelity;
pub mod model;
pub mod network;
pub mod occupancy;
pub mod ranks;
mod table;
pub mod work;

use std::collections::BTreeMap;

use ptx_machine::gpus::{self, Gpu};

use half::bf16;

use crate::config::Settings;
use crate::data::Extent;
use crate::device::kernels::BINARIES;
use crate::device::{Accelerator, Precision, Storage};
use crate::image::ImageShape;
use crate::ops::Executor;
use crate::train::Trainer;
use crate::train::batch::Batch;
use crate::train::predict::{self, predict};
use crate::train::session::gather;
use crate::{Error, Result};
use device::{Doing, Done, HostCalls, Launched, Piece, Planned, Running};
use model::{LAUNCH_SECONDS, Predicted, Shape};
use occupancy::{Resources, blocks_at_once, resources};
use work::{Work, product_flops};

/// The compute capability of the oldest GPU that kernels are compiled for.
const OLDEST: (u32, u32) = (8, 0);

/// A piece of work of a step, and what is known of it.
#[derive(Debug, Clone)]
pub struct Node {
    /// The kernel's name, `memset` or `memcpy`.
    pub name: &'static str,
    /// Blocks; of no kernel 0.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub block: [u32; 3],
    /// Multiplications and additions of the products that the operation asks for.
    pub flops: u64,
    /// Bytes of all operands, each once.
    pub bytes: u64,
    /// The counted work.
    pub work: Work,
    /// Registers and shared memory; `None` of no kernel, and where nothing was compiled for the GPU.
    pub resources: Option<Resources>,
    /// Blocks that a multiprocessor holds at once.
    pub at_once: u32,
    /// The predicted time.
    pub predicted: Predicted,
    /// Seconds below which no kernel can do this: its products at the best rate, or its bytes at the memory's bandwidth.
    pub floor: f64,
}

/// A training step, taken apart.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The GPU that it is predicted for.
    pub gpu: &'static Gpu,
    /// To what products round their operands.
    pub precision: Precision,
    /// Every launch, copy and zeroing, in its order: the nodes of the graph.
    pub nodes: Vec<Node>,
    /// Bytes of the device's memory that the step touches, each once.
    pub touched: u64,
    /// The whole step's work as a dry run counts it.
    pub dry_run: predict::Work,
    /// Calls of the host that wait for the device, in one step.
    pub synchronisations: u64,
    /// Graphs that the host launches in one step.
    pub replays: u64,
}

/// The GPU of this name.
///
/// # Errors
/// [`Error::Usage`] where there is none, or the program's kernels do not run on it.
pub fn find_gpu(key: &str) -> Result<&'static Gpu> {
    let known = || gpus::GPUS.iter().filter(|gpu| gpu.capability >= OLDEST);
    known().find(|gpu| gpu.key == key).ok_or_else(|| {
        let keys: Vec<&str> = known().map(|gpu| gpu.key).collect();
        Error::Usage(format!("bench --plan knows no GPU `{key}` that runs these kernels; it knows {}", keys.join(", ")))
    })
}

/// Takes a training step apart.
///
/// # Errors
/// If the program has no kernels, none runs on this GPU, the model does not fit into it, or the widths do not fit the images.
pub fn plan(settings: &Settings, image: ImageShape, gpu: &'static Gpu) -> Result<Plan> {
    plan_of(settings, image, gpu, Running::Sample)
}

fn plan_of(settings: &Settings, image: ImageShape, gpu: &'static Gpu, running: Running) -> Result<Plan> {
    if BINARIES.is_empty() {
        return Err(Error::Usage(
            "bench --plan needs the GPU's kernels, and this program was built without nvcc".into(),
        ));
    }
    let precision = settings.train.dtype;
    let images = Extent { count: settings.train.batch, shape: image };
    let dry_run = predict(settings, &images)?.work;
    let mut recorded = record(settings, &images, gpu, running)?;
    if !recorded.finite && running == Running::Sample {
        // What was left out of products has made a number that is not finite, and kernels that look for those went another way.
        recorded = record(settings, &images, gpu, Running::Whole)?;
    }
    let Recorded { done, host: HostCalls { synchronisations, replays, .. }, .. } = recorded;
    let touched = touched(&done);
    let nodes = done.iter().map(|done| node(gpu, precision, done)).collect();
    Ok(Plan { gpu, precision, nodes, touched, dry_run, synchronisations, replays })
}

/// A step that was recorded and ran.
struct Recorded {
    done: Vec<Done>,
    host: HostCalls,
    /// Whether the step found all losses, gradients and weights finite.
    finite: bool,
}

fn record(settings: &Settings, images: &Extent, gpu: &'static Gpu, running: Running) -> Result<Recorded> {
    let device = Planned::new(gpu, running)?;
    match settings.train.dtype {
        Precision::F32 => record_on(&Accelerator::<f32>::new(device.clone()), &device, settings, images),
        Precision::Tf32 => record_on(&Accelerator::in_tf32(device.clone()), &device, settings, images),
        Precision::Bf16 => record_on(&Accelerator::<f32, bf16>::new(device.clone()), &device, settings, images),
    }
}

fn record_on<S: Storage<f32>>(
    backend: &Accelerator<f32, S>,
    device: &Planned,
    settings: &Settings,
    images: &Extent,
) -> Result<Recorded> {
    let mut trainer = Trainer::new(backend.clone(), settings.clone(), images.shape)?;
    let batch = scattered(backend, settings, images)?;
    trainer.step(&batch)?;
    device.begin(Doing::Counting);
    trainer.step(&batch)?;
    let (done, _) = device.end();
    let finite = trainer.read_state()?.non_finite == 0;
    device.begin(Doing::Noting);
    trainer.step(&batch)?;
    let (_, host) = device.end();
    if (host.replays, host.single, host.allocations) != (1, 0, 0) {
        return Err(Error::Internal(format!("a step is not one graph without allocations: {host:?}")));
    }
    Ok(Recorded { done, host, finite })
}

/// As many images as a batch has, of bytes without a pattern.
fn scattered<B: Executor>(backend: &B, settings: &Settings, images: &Extent) -> Result<Batch<B>> {
    let bytes = usize::try_from(images.bytes()).map_err(|_| Error::Usage("a batch beyond memory".into()))?;
    let pixels: Vec<u8> = (0..bytes).map(|i| ((i as u32).wrapping_mul(0x9E37_79B1) >> 24) as u8).collect();
    let labels = settings.nets.is_conditional().then(|| backend.alloc(images.count)).transpose()?;
    Ok(Batch::Drawn { gather: gather(settings, images), images: backend.buffer_of(&pixels)?, labels })
}

/// Bytes of memory that any work reads or writes, each once.
fn touched(done: &[Done]) -> u64 {
    let mut ranges: Vec<(u64, u64)> = done.iter().flat_map(|done| operands(&done.piece)).collect();
    ranges.sort_unstable();
    let (mut end, mut sum) = (0, 0);
    for (address, bytes) in ranges {
        let from = address.max(end);
        end = end.max(address + bytes);
        sum += end - from.min(end);
    }
    sum
}

/// Address and bytes of what a piece of work reads or writes.
fn operands(piece: &Piece) -> Vec<(u64, u64)> {
    match piece {
        Piece::Launch(launched) => launched.windows().collect(),
        Piece::Copy { source, target, bytes } => vec![(*source, *bytes as u64), (*target, *bytes as u64)],
        Piece::Zero { target, bytes } => vec![(*target, *bytes as u64)],
    }
}

/// Multiplications and additions a second of products.
pub(super) fn product_rate(gpu: &Gpu, precision: Precision) -> f64 {
    let tensor = f64::from(gpu.tensor_fmas);
    let fmas = match precision {
        Precision::F32 => f64::from(gpu.float_fmas()),
        Precision::Tf32 => tensor / 2.0,
        Precision::Bf16 => tensor,
    };
    2.0 * fmas * gpu.clocks_per_second()
}

fn node(gpu: &Gpu, precision: Precision, done: &Done) -> Node {
    let bytes = operands(&done.piece).iter().map(|(_, bytes)| bytes).sum();
    let memory = bytes as f64 / gpu.bytes_per_second();
    match &done.piece {
        Piece::Launch(launched) => kernel_node(gpu, precision, launched, bytes, &done.work),
        Piece::Copy { .. } | Piece::Zero { .. } => Node {
            name: if matches!(done.piece, Piece::Zero { .. }) { "memset" } else { "memcpy" },
            grid: [0; 3],
            block: [0; 3],
            flops: 0,
            bytes,
            work: Work::default(),
            resources: None,
            at_once: 0,
            predicted: Predicted { seconds: memory + LAUNCH_SECONDS, by: "bytes" },
            floor: memory,
        },
    }
}

fn kernel_node(gpu: &Gpu, precision: Precision, launched: &Launched, bytes: u64, work: &Work) -> Node {
    let Launched { kernel, form, grid, block, .. } = *launched;
    let flops = product_flops(kernel, &launched.arguments);
    let resources = resources(kernel.file(), form, kernel.name(), gpu);
    // A kernel that was not compiled for the GPU is taken for one that needs little.
    let assumed = resources.unwrap_or(Resources { registers: 32, shared: 0 });
    let at_once = blocks_at_once(gpu, launched.threads(), assumed);
    let warps = u64::from(launched.threads().div_ceil(32));
    let shape = Shape { blocks: launched.blocks(), warps, at_once: u64::from(at_once), bytes };
    let floor = (flops as f64 / product_rate(gpu, precision)).max(bytes as f64 / gpu.bytes_per_second());
    let predicted = model::predict(gpu, &shape, work);
    Node { name: kernel.name(), grid, block, flops, bytes, work: *work, resources, at_once, predicted, floor }
}

/// The sum over some nodes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sum {
    /// Their number.
    pub nodes: usize,
    /// As in [`Node`].
    pub flops: u64,
    /// As in [`Node`].
    pub bytes: u64,
    /// As in [`Node`].
    pub work: Work,
    /// Predicted seconds.
    pub seconds: f64,
    /// As in [`Node`].
    pub floor: f64,
}

impl Sum {
    fn of<'a>(nodes: impl Iterator<Item = &'a Node>) -> Sum {
        nodes.fold(Sum::default(), |sum, node| Sum {
            nodes: sum.nodes + 1,
            flops: sum.flops + node.flops,
            bytes: sum.bytes + node.bytes,
            work: sum.work.and(&node.work),
            seconds: sum.seconds + node.predicted.seconds,
            floor: sum.floor + node.floor,
        })
    }
}

impl Plan {
    /// The sum of all nodes.
    pub fn total(&self) -> Sum {
        Sum::of(self.nodes.iter())
    }

    /// The sum of each kernel's nodes, the longest first.
    pub fn by_kernel(&self) -> Vec<(&'static str, Sum)> {
        let mut groups: BTreeMap<&'static str, Vec<&Node>> = BTreeMap::new();
        for node in &self.nodes {
            groups.entry(node.name).or_default().push(node);
        }
        let mut sums: Vec<_> = groups.into_iter().map(|(name, nodes)| (name, Sum::of(nodes.into_iter()))).collect();
        sums.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
        sums
    }

    /// Seconds below which no step of this model can be: all products at the best rate, or every byte of memory that it touches
    /// once at the memory's bandwidth.
    pub fn floor(&self) -> f64 {
        let products = self.dry_run.flops as f64 / product_rate(self.gpu, self.precision);
        products.max(self.touched as f64 / self.gpu.bytes_per_second())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{image_shape, preset};
    use crate::device::Backend;
    use crate::device::kernels::size;
    use crate::ops::layers::linear::{Linear, LinearOp};
    use crate::ops::layers::scaled_add::ScaledAddOp;

    /// Whether there are kernels to count.
    fn built_without_kernels() -> bool {
        if BINARIES.is_empty() {
            eprintln!("SKIPPED: built without nvcc, so there are no kernels to count");
        }
        BINARIES.is_empty()
    }

    type Device<S> = Accelerator<f32, S>;

    /// The counted work of the launches of `work`, on the backend that `on` makes.
    fn counted<S>(on: impl FnOnce(Planned) -> Device<S>, work: impl FnOnce(&Device<S>)) -> Vec<Work> {
        let device = Planned::new(find_gpu("h200").expect("a GPU"), Running::Everything).expect("address space");
        let backend = on(device.clone());
        device.begin(Doing::Counting);
        work(&backend);
        let (done, _) = device.end();
        let launches = |done: &&Done| matches!(done.piece, Piece::Launch(_));
        done.iter().filter(launches).map(|done| done.work).collect()
    }

    /// y = a + s b of 1,024 numbers: two loads and a store of 128 sectors each, an fma for each number, 8 warps of four numbers a lane.
    #[test]
    fn an_elementwise_kernel_is_counted_exactly() {
        if built_without_kernels() {
            return;
        }
        const LEN: usize = 1024;
        let works = counted(Device::<f32>::new, |be| {
            let (a, b) = (be.alloc::<f32>(LEN).expect("memory"), be.alloc::<f32>(LEN).expect("memory"));
            let mut y = be.alloc::<f32>(LEN).expect("memory");
            be.scaled_add_forward(0.5, be.view(&a), be.view(&b), be.view_mut(&mut y)).expect("a launch");
        });
        let [work] = works[..] else { panic!("{works:?}") };
        let sectors_of_a_tensor = (LEN * 4 / 32) as u64;
        assert_eq!(work.sectors, 3 * sectors_of_a_tensor);
        assert_eq!(work.global_loads, 2 * LEN as u64 / 128);
        assert_eq!(work.float_operations, 2 * LEN as u64);
        assert_eq!(
            (work.shared_passes, work.conflict_passes, work.warp_barriers, work.tensor_operations),
            (0, 0, 0, 0)
        );
        // Two loads and a store a warp.
        assert_eq!(work.classes[4], 3 * LEN as u64 / 128);
        assert!(work.instructions() > work.classes[4] + work.classes[0]);
    }

    /// A product whose sizes are those of whole tiles: as many multiplications and additions as its definition has.
    fn check_product<S: Storage<f32>>(on: impl FnOnce(Planned) -> Device<S>, precision: Precision) {
        let [m, n, k] = match precision {
            Precision::F32 => [size::NARROW_M, size::NARROW_N, 2 * size::TILE_K],
            _ => [size::NARROW_M, size::NARROW_N, size::SPLIT_STEP],
        };
        let [m, n, k] = [m, n, k].map(|size| 2 * size as usize);
        let d = Linear { n: m, c: k, k: n };
        let works = counted(on, |be| {
            assert_eq!(be.precision(), precision);
            let (x, w) = (be.alloc::<S>(m * k).expect("memory"), be.alloc::<S>(n * k).expect("memory"));
            let mut y = be.alloc::<S>(m * n).expect("memory");
            be.linear_forward(&d, be.view(&x), be.view(&w), None, be.view_mut(&mut y)).expect("a launch");
        });
        let [work] = works[..] else { panic!("{works:?}") };
        let flops = 2 * (m * n * k) as u64;
        // A sum on plain units gets the bias, which is 0 where there is none.
        let (found, expected) = match precision {
            Precision::F32 => (work.float_operations, flops + (m * n) as u64),
            _ => (work.tensor_operations, flops),
        };
        assert_eq!(found, expected, "{}", precision.word());
        // Every operand is read at least once, and the result written.
        let bytes = (m * k + m * n) * size_of::<S>() + n * k * size_of::<f32>();
        assert!(work.sectors >= bytes as u64 / 32, "{work:?}");
        assert!(work.warp_barriers > 0 && work.shared_passes > 0, "{work:?}");
    }

    #[test]
    fn a_product_is_counted_exactly_on_either_units() {
        if built_without_kernels() {
            return;
        }
        check_product(Device::<f32>::new, Precision::F32);
        check_product(Accelerator::in_tf32, Precision::Tf32);
        check_product(Device::<bf16>::new, Precision::Bf16);
    }

    /// Kernels whose last block ends the work of all (kernels/lib/last_block.cuh).
    const LAST_BLOCKS: [&str; 8] = [
        "bottleneck_forward",
        "batch_norm_forward",
        "batch_norm_statistics",
        "batch_norm_backward",
        "batch_norm_backward_sums",
        "column_sums",
        "weight_gradient_add",
        "check_gradients",
    ];

    /// A step in which some launches have more blocks than are counted.
    fn quick_64(running: Running) -> Plan {
        let settings = preset("quick").expect("a preset");
        assert_eq!(settings.train.batch, 64);
        let gpu = find_gpu("h200").expect("a GPU");
        plan_of(&settings, image_shape("quick").expect("a shape"), gpu, running).expect("a plan")
    }

    /// Blocks that are left out change no count of those that run, and those that are counted stand for all.
    #[test]
    fn a_sample_of_blocks_is_counted_as_the_whole() {
        if built_without_kernels() {
            return;
        }
        let [sample, whole, all] = [Running::Sample, Running::Whole, Running::Everything].map(quick_64);
        assert!(all.nodes.iter().any(|node| node.grid.iter().product::<u32>() > 256), "no launch is sampled");
        assert_eq!(sample.nodes.len(), whole.nodes.len());
        for (number, (sample, whole)) in sample.nodes.iter().zip(&whole.nodes).enumerate() {
            // Of blocks that join the parts of all, the last one does: another one where some are left out, and it does more than
            // the others where these have few rows. Warps of a loss take
            // branches by the signs of its logits, which are others where products are not whole.
            let limit = match sample.name {
                name if name.ends_with("_loss") || LAST_BLOCKS.contains(&name) => 0.05,
                _ => {
                    assert_eq!((sample.name, sample.work), (whole.name, whole.work), "node {number}");
                    continue;
                }
            };
            assert_eq!(sample.name, whole.name, "node {number}");
            let (ours, theirs) = (sample.work.instructions() as f64, whole.work.instructions() as f64);
            assert!((ours / theirs - 1.0).abs() < limit, "node {number}, {}: {ours} and {theirs}", sample.name);
        }
        // A sample of 32 blocks or more differs from the whole by edges that do not repeat: 3 % of a launch, 1 % of a step. Where a last
        // block ends the work of all, its work is scaled like the others': at 196 blocks of 64 rows that is 6 %.
        let apart = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs();
        for (sample, all) in sample.nodes.iter().zip(&all.nodes).filter(|(_, all)| all.grid != [0; 3]) {
            let (ours, theirs) = (sample.work.instructions(), all.work.instructions());
            let limit = if LAST_BLOCKS.contains(&all.name) { 0.08 } else { 0.03 };
            assert!(apart(ours, theirs) < limit, "{} {:?}: {ours} and {theirs}", all.name, all.grid);
        }
        let (ours, theirs) = (sample.total().work, all.total().work);
        assert!(apart(ours.instructions(), theirs.instructions()) < 0.01, "{ours:?} and {theirs:?}");
        assert!(apart(ours.sectors, theirs.sectors) < 0.01, "{ours:?} and {theirs:?}");
    }

    fn quick(precision: Precision) -> Plan {
        let mut settings = preset("quick").expect("a preset");
        settings.train.batch = 4;
        settings.train.dtype = precision;
        plan(&settings, image_shape("quick").expect("a shape"), find_gpu("h200").expect("a GPU")).expect("a plan")
    }

    #[test]
    fn a_step_is_the_sum_of_its_launches() {
        if built_without_kernels() {
            return;
        }
        let plan = quick(Precision::F32);
        let (total, kernels) = (plan.total(), plan.by_kernel());
        let of_kernels = |count: fn(&Sum) -> u64| kernels.iter().map(|(_, sum)| count(sum)).sum::<u64>();
        assert_eq!(total.nodes, plan.nodes.len());
        assert_eq!(of_kernels(|sum| sum.nodes as u64), total.nodes as u64);
        assert_eq!(of_kernels(|sum| sum.work.instructions()), total.work.instructions());
        assert_eq!(of_kernels(|sum| sum.work.sectors), total.work.sectors);
        assert_eq!(of_kernels(|sum| sum.bytes), total.bytes);
        // The sizes that kernels are given are those that the dry run multiplies.
        assert_eq!(total.flops, plan.dry_run.flops);
        // What is computed is at least what is asked for, and a whole product's tiles are more.
        assert!(total.work.float_operations >= total.flops, "{} {}", total.work.float_operations, total.flops);
        assert_eq!((plan.replays, plan.synchronisations), (1, 0));
        // A step touches weights, gradients and both moments of both nets at least.
        assert!(plan.touched < total.bytes && plan.floor() < total.floor && total.floor < total.seconds);
        assert!(plan.nodes.iter().all(|node| node.grid == [0; 3] || node.resources.is_some() && node.at_once > 0));
    }

    /// Nothing of the host's clock, and nothing by chance, is in it.
    #[test]
    fn a_plan_is_the_same_each_time() {
        if built_without_kernels() {
            return;
        }
        let (first, second) = (quick(Precision::Bf16), quick(Precision::Bf16));
        assert_eq!(first.text(), second.text());
        assert_eq!(first.json().expect("JSON"), second.json().expect("JSON"));
        assert!(first.total().work.tensor_operations > 0);
        let text = first.text();
        assert!(text.contains("nothing here was measured on a GPU") && text.contains("the model's error"), "{text}");
        for line in first.json().expect("JSON").lines() {
            serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON");
        }
    }
}
