//! The kernels under the emulator and the CPU path, against each other, against central differences and against PyTorch.

#[path = "../common/executors.rs"]
mod executors;
#[path = "../common/narrow_models.rs"]
mod narrow_models;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../pytorch/mod.rs"]
mod pytorch;
#[path = "../common/standin.rs"]
mod standin;

mod cancellation;
mod draws;
mod gradients;
mod limits;
mod non_finite;
mod on_the_standin;
mod parity;
mod parts;
mod philox;
mod products;
mod rounding;
mod self_check;
mod steps;
mod steps_on_a_gpu;
mod storage;
mod tensor_cores;
mod tile_access;
mod two_gpus;

#[test]
fn a_what_this_part_needs() {
    let nvcc = !vgan_cuda::device::kernels::BINARIES.is_empty();
    let gpu = vgan_cuda::device::cuda::open(0).is_ok();
    let needs = [
        needs::other("nvcc when the program was built (for the stand-in for a GPU)", nvcc),
        needs::other("a GPU", gpu),
    ];
    needs::say("kernels", 105, &needs);
}
