//! The check of fast kernels before a start: it finds nothing where they are right, and names those that are wrong.

use std::time::Duration;

use crate::executors::{Emulated, emulator};
use half::bf16;
use simt::Options;
use vgan_cuda::Result;
use vgan_cuda::device::kernels::Kernel;
use vgan_cuda::device::{Accelerator, Backend, DeviceMemory, Launch, Launcher, Precision, Recording, Storage};
use vgan_cuda::ops::layers::linear::{Linear, LinearOp};
use vgan_cuda::ops::self_check::self_check;

/// An emulator on which one kernel leaves its output as it was.
struct Faulty {
    emulated: Emulated,
    idle: Option<Kernel>,
}

impl Launcher for Faulty {
    fn describe(&self) -> String {
        self.emulated.describe()
    }
    fn free_memory(&self) -> Option<u64> {
        self.emulated.free_memory()
    }
    fn alloc(&self, bytes: usize) -> Result<Box<dyn DeviceMemory>> {
        self.emulated.alloc(bytes)
    }
    fn upload(&self, source: &[u8], target: u64) -> Result<()> {
        self.emulated.upload(source, target)
    }
    fn download(&self, source: u64, target: &mut [u8]) -> Result<()> {
        self.emulated.download(source, target)
    }
    fn copy(&self, source: u64, target: u64, bytes: usize) -> Result<()> {
        self.emulated.copy(source, target, bytes)
    }
    fn zero(&self, target: u64, bytes: usize) -> Result<()> {
        self.emulated.zero(target, bytes)
    }
    fn synchronize(&self) -> Result<()> {
        self.emulated.synchronize()
    }
    fn timed(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Duration> {
        self.emulated.timed(work)
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        if Some(launch.kernel) == self.idle { Ok(()) } else { self.emulated.launch(launch) }
    }
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        self.emulated.record(work)
    }
}

fn accelerator(precision: Precision, idle: Option<Kernel>) -> Accelerator<f32> {
    let launcher = Faulty { emulated: emulator("f32", Options::default()), idle };
    if precision == Precision::Tf32 { Accelerator::in_tf32(launcher) } else { Accelerator::new(launcher) }
}

/// With activations in bf16, and products of them.
fn in_bf16(idle: Option<Kernel>) -> Accelerator<f32, bf16> {
    Accelerator::new(Faulty { emulated: emulator("bf16", Options::default()), idle })
}

#[test]
fn nothing_is_found_where_kernels_are_right() {
    for precision in [Precision::F32, Precision::Tf32] {
        assert_eq!(self_check(&accelerator(precision, None)).expect("no findings"), [], "{precision:?}");
    }
    assert_eq!(self_check(&in_bf16(None)).expect("no findings"), [], "bf16");
}

/// Each kernel that only the fast path launches is named, alone, and without it the results are those of the plain one.
#[test]
fn a_wrong_kernel_is_named_and_the_plain_one_takes_its_place() {
    fn check<S: Storage<f32>>(be: Accelerator<f32, S>, kernel: Kernel) {
        let (precision, found) = (be.precision(), self_check(&be).expect("no findings"));
        assert_eq!(found, [kernel], "{precision:?}");
        let without = be.without(found);
        assert_eq!(self_check(&without).expect("no findings"), [], "{precision:?} without {kernel:?}");
    }
    for (precision, kernel) in [
        (Precision::F32, Kernel::LinearForwardWide),
        (Precision::F32, Kernel::Conv2dBackwardInputWide),
        (Precision::Tf32, Kernel::Conv2dForwardTensor),
    ] {
        check(accelerator(precision, Some(kernel)), kernel);
    }
    for kernel in [
        Kernel::LinearForwardTensor,
        Kernel::LinearBackwardWeightTensor,
        Kernel::Conv2dBackwardWeightPartialTensor,
        Kernel::Conv2dBackwardInputWideTensor,
    ] {
        check(in_bf16(Some(kernel)), kernel);
    }
}

#[test]
fn the_plain_kernel_computes_what_the_fast_one_should() {
    let d = Linear { n: 9, c: 35, k: 7 };
    let forward = |be: &Accelerator<f32, bf16>| {
        let [x, w] = [d.n * d.c, d.c * d.k].map(|len| (0..len).map(|i| (i % 5) as f32 - 2.0).collect::<Vec<_>>());
        let (x, w) = (be.stored_of(&x).expect("memory"), be.stored_of(&w).expect("memory"));
        let mut y = be.alloc(d.n * d.k).expect("memory");
        be.linear_forward(&d, be.view(&x), be.view(&w), None, be.view_mut(&mut y)).expect("no findings");
        be.read_stored(be.view(&y)).expect("a copy")
    };
    let right = forward(&in_bf16(None));
    let faulty = in_bf16(Some(Kernel::LinearForwardTensor));
    assert_ne!(forward(&faulty), right);
    assert_eq!(forward(&faulty.without(vec![Kernel::LinearForwardTensor])), right);
}
