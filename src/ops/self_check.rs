//! A check before the first step on a GPU: every fast kernel of a matrix product against the plain one.
//!
//! A fast kernel rests on what the hardware does with fragments, swizzles and asynchronous copies. Where that is not as this
//! program takes it to be, a run should lose speed and not its results. So small products are computed by both. Their operands are
//! small whole numbers, which no precision rounds, and of which every sum is exact in any order: the results are the same bits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::Result;
use crate::device::kernels::Kernel;
use crate::device::product::TileSize;
use crate::device::{Accelerator, Backend, DeviceMemory, Launch, Launcher, Recording, Storage};
use crate::ops::layers::affine::Affine;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::linear::Linear;

/// The kernels that compute something else than the plain ones on the device of `be`. It takes milliseconds on a GPU.
///
/// # Errors
/// Those of the device.
pub fn self_check<S: Storage<f32>>(be: &Accelerator<f32, S>) -> Result<Vec<Kernel>> {
    let (plain, mut wrong) = (be.plain(), Vec::new());
    for product in products() {
        let (expected, trusted) = computed(&product, &plain)?;
        for size in TileSize::ALL {
            let (found, launched) = computed(&product, &be.clone().with_tiles(size))?;
            if found != expected {
                wrong.extend(launched.into_iter().filter(|kernel| !trusted.contains(kernel)));
            }
        }
    }
    let mut once = Vec::new();
    wrong.into_iter().for_each(|kernel| {
        if !once.contains(&kernel) {
            once.push(kernel)
        }
    });
    Ok(once)
}

/// Elements of the workspace that these products need at most.
const WORKSPACE: usize = 1 << 14;

/// A pass of a layer with one weight, on whole numbers; its result.
type Product<S> = Box<dyn Fn(&Accelerator<f32, S>) -> Result<Vec<f32>>>;

/// The bits of the result of a product, and the kernels that were launched for it.
fn computed<S: Storage<f32>>(product: &Product<S>, be: &Accelerator<f32, S>) -> Result<(Vec<u32>, Vec<Kernel>)> {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let be = be.on(|launcher| Noting { launcher, noted: noted.clone() });
    // What another kernel left in the workspace must not pass for this one's.
    be.with_workspace(WORKSPACE, |workspace| be.upload(&[f32::NAN; WORKSPACE], workspace))?;
    let bits = product(&be)?.into_iter().map(f32::to_bits).collect();
    let launched = noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((bits, launched))
}

/// Numbers in -4 ..= 4, another sequence for each operand.
fn whole_numbers(len: usize, which: usize) -> Vec<f32> {
    let number = |i: usize| (i * i * (which + 3) + i * 7 + which * 5) % 9;
    (0..len).map(|i| number(i) as f32 - 4.0).collect()
}

/// Every pass of every product: with rows of whole vectors and without, with tails in every direction, with one column.
fn products<S: Storage<f32>>() -> Vec<Product<S>> {
    let conv = |n, side, c, k, r, stride, padding| Conv2d { n, h: side, w: side + 1, c, k, r, s: r, stride, padding };
    let linear = [Linear { n: 9, c: 35, k: 7 }, Linear { n: 36, c: 72, k: 132 }, Linear { n: 5, c: 68, k: 1 }];
    let convs = [conv(2, 5, 5, 7, 3, 2, 1), conv(2, 6, 8, 68, 4, 2, 1), conv(1, 4, 36, 12, 3, 1, 1)];
    // Of few channels, and to few: in bf16 some shapes have kernels on tensor cores.
    // The first four have whole runs of filters.
    let few = [
        conv(2, 6, 1, 16, 4, 2, 1),
        conv(1, 7, 3, 40, 4, 2, 1),
        conv(2, 5, 3, 40, 3, 1, 1),
        conv(1, 6, 40, 3, 3, 1, 1),
        conv(1, 5, 3, 10, 3, 1, 1),
        conv(1, 4, 1, 12, 4, 2, 1),
    ];
    linear.into_iter().flat_map(passes).chain(convs.into_iter().chain(few).flat_map(passes)).collect()
}

fn passes<S: Storage<f32>, M: Affine<Accelerator<f32, S>>>(d: M) -> [Product<S>; 3] {
    let [x_len, w_len, y_len] = [d.x_len(), d.w_len(), d.y_len()];
    type Device<S> = Accelerator<f32, S>;
    [
        Box::new(move |be: &Device<S>| {
            let (x, w) = (be.stored_of(&whole_numbers(x_len, 0))?, be.stored_of(&whole_numbers(w_len, 1))?);
            let mut y = be.stored_of(&whole_numbers(y_len, 2))?;
            d.forward(be, be.view(&x), be.view(&w), None, be.view_mut(&mut y))?;
            be.read_stored(be.view(&y))
        }),
        Box::new(move |be: &Device<S>| {
            let (dy, w) = (be.stored_of(&whole_numbers(y_len, 0))?, be.stored_of(&whole_numbers(w_len, 1))?);
            let mut dx = be.stored_of(&whole_numbers(x_len, 2))?;
            d.backward_input(be, be.view(&dy), be.view(&w), be.view_mut(&mut dx))?;
            be.read_stored(be.view(&dx))
        }),
        Box::new(move |be: &Device<S>| {
            let (x, dy) = (be.stored_of(&whole_numbers(x_len, 0))?, be.stored_of(&whole_numbers(y_len, 1))?);
            let mut dw = be.buffer_of(&whole_numbers(w_len, 2))?;
            d.backward_weight(be, be.view(&x), be.view(&dy), be.view_mut(&mut dw), None, false)?;
            be.read(be.view(&dw))
        }),
    ]
}

/// A launcher that notes which kernels it is asked for.
struct Noting {
    launcher: Arc<dyn Launcher>,
    noted: Arc<Mutex<Vec<Kernel>>>,
}

impl Launcher for Noting {
    fn describe(&self) -> String {
        self.launcher.describe()
    }
    fn free_memory(&self) -> Option<u64> {
        self.launcher.free_memory()
    }
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.launcher.alloc(bytes)
    }
    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.launcher.upload(source, target)
    }
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.launcher.download(source, target)
    }
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.launcher.copy(source, target, bytes)
    }
    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.launcher.zero(target, bytes)
    }
    fn synchronize(&self) -> Result<()> {
        self.launcher.synchronize()
    }
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.launcher.timed(work)
    }
    fn stride_blocks(&self) -> u32 {
        self.launcher.stride_blocks()
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).push(launch.kernel);
        self.launcher.launch(launch)
    }
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.launcher.record(work)
    }
}
