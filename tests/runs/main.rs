//! Whole runs and what happens to them: resumes, signals, kills, full disks, values that are not finite.

#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/rank_kills.rs"]
mod rank_kills;
#[path = "../common/whole_runs.rs"]
mod whole_runs;

mod conditional;
mod divergence;
mod failing_disk;
mod faults;
mod kill;
mod mpi;
mod ranks;
mod repeated;
mod restart;
mod resume;
mod signals;

#[test]
fn a_what_this_part_needs() {
    let mpi = needs::other(
        "ranks of MPI (--features mpi, and mpirun)",
        cfg!(feature = "mpi") && needs::program("mpirun").is_found(),
    );
    needs::say("runs", 25, &[mpi]);
}
