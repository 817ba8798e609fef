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
use crate::device::{Accelerator, Backend, DeviceMemory, In, Launch, Launcher, Out, Recording};
use crate::ops::layers::conv2d::{Conv2d, Conv2dOp};
use crate::ops::layers::linear::{Linear, LinearOp};

/// The kernels that compute something else than the plain ones on the device of `be`. It takes milliseconds on a GPU.
///
/// # Errors
/// Those of the device.
pub fn self_check(be: &Accelerator<f32>) -> Result<Vec<Kernel>> {
    let (plain, mut wrong) = (be.plain(), Vec::new());
    for product in products() {
        let (expected, trusted) = product.computed(&plain)?;
        for size in TileSize::ALL {
            let (found, launched) = product.computed(&be.clone().with_tiles(size))?;
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

type Device = Accelerator<f32>;

/// Elements of the workspace that these products need at most.
const WORKSPACE: usize = 1 << 14;

/// A product of two operands: the elements of both and of the result, and how it runs.
struct Product {
    lens: [usize; 3],
    run: Box<dyn Fn(&Device, In<'_, Device>, In<'_, Device>, Out<'_, Device>) -> Result<()>>,
}

impl Product {
    /// The bits of the result, and the kernels that were launched for it.
    fn computed(&self, be: &Device) -> Result<(Vec<u32>, Vec<Kernel>)> {
        let noted = Arc::new(Mutex::new(Vec::new()));
        let be = be.on(|launcher| Noting { launcher, noted: noted.clone() });
        let [left, right, result] = [0, 1, 2].map(|which| be.buffer_of(&whole_numbers(self.lens[which], which)));
        let (left, right, mut result) = (left?, right?, result?);
        // What another kernel left in the workspace must not pass for this one's.
        be.with_workspace(WORKSPACE, |workspace| be.upload(&[f32::NAN; WORKSPACE], workspace))?;
        (self.run)(&be, be.view(&left), be.view(&right), be.view_mut(&mut result))?;
        let bits = be.read(be.view(&result))?.into_iter().map(f32::to_bits).collect();
        let launched = noted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((bits, launched))
    }
}

/// Numbers in -4 ..= 4, another sequence for each operand.
fn whole_numbers(len: usize, which: usize) -> Vec<f32> {
    let number = |i: usize| (i * i * (which + 3) + i * 7 + which * 5) % 9;
    (0..len).map(|i| number(i) as f32 - 4.0).collect()
}

/// Every pass of every product: with rows of whole vectors and without, with tails in every direction, with one column.
fn products() -> Vec<Product> {
    let conv = |n, side, c, k, r, stride, padding| Conv2d { n, h: side, w: side + 1, c, k, r, s: r, stride, padding };
    let linear = [Linear { n: 9, c: 35, k: 7 }, Linear { n: 36, c: 72, k: 132 }, Linear { n: 5, c: 68, k: 1 }];
    let convs = [conv(2, 5, 5, 7, 3, 2, 1), conv(2, 6, 8, 68, 4, 2, 1), conv(1, 4, 36, 12, 3, 1, 1)];
    linear.into_iter().flat_map(of_linear).chain(convs.into_iter().flat_map(of_conv2d)).collect()
}

fn of_linear(d: Linear) -> [Product; 3] {
    let [x, w, y] = [d.n * d.c, d.c * d.k, d.n * d.k];
    [
        Product { lens: [x, w, y], run: Box::new(move |be, x, w, y| be.linear_forward(&d, x, w, None, y)) },
        Product { lens: [y, w, x], run: Box::new(move |be, dy, w, dx| be.linear_backward_input(&d, dy, w, dx)) },
        Product { lens: [x, y, w], run: Box::new(move |be, x, dy, dw| be.linear_backward_weight(&d, x, dy, dw, None)) },
    ]
}

fn of_conv2d(d: Conv2d) -> [Product; 3] {
    let [x, w, y] = [d.x_len(), d.w_len(), d.y_len()];
    [
        Product { lens: [x, w, y], run: Box::new(move |be, x, w, y| be.conv2d_forward(&d, x, w, None, y)) },
        Product { lens: [y, w, x], run: Box::new(move |be, dy, w, dx| be.conv2d_backward_input(&d, dy, w, dx)) },
        Product { lens: [x, y, w], run: Box::new(move |be, x, dy, dw| be.conv2d_backward_weight(&d, x, dy, dw, None)) },
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
