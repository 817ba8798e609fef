//! The program with `--device cuda` on the stand-in for a GPU: the binary is the one that is shipped, it talks to a driver through
//! cudarc, and what runs is the PTX that it embeds.

#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/rank_kills.rs"]
mod rank_kills;
#[path = "../common/standin.rs"]
mod standin;
#[path = "../common/whole_runs.rs"]
mod whole_runs;

mod devices;
mod failures;
mod lost_ranks;
mod ranks;
mod runs;

#[test]
fn a_what_this_part_needs() {
    let found = !vgan_cuda::device::kernels::BINARIES.is_empty();
    needs::say("cuda", 60, &[needs::other("nvcc when the program was built", found)]);
}
