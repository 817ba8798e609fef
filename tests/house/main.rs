//! The rules of the source tree and its imports, the documents, and what the compiler makes of each kernel.

#[path = "../common/needs.rs"]
mod needs;

mod imports;
mod licences;
mod readme;
mod resources;
mod rules;

#[test]
fn a_what_this_part_needs() {
    let nvcc = needs::other("nvcc at the build", !vgan_cuda::device::kernels::BINARIES.is_empty());
    needs::say("house", 10, &[nvcc, needs::other("cuobjdump", resources::find_disassembler().is_some())]);
}
