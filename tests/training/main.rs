//! Methods in training: that nets learn, and that penalties and balances do what they are for.

#[path = "../common/narrow_models.rs"]
mod narrow_models;
#[path = "../common/needs.rs"]
mod needs;

mod accumulate;
mod autoencoder;
mod examples;
mod methods;
mod overwritten;
mod own_nets;
mod penalty;
mod ranks;

#[test]
fn a_what_this_part_needs() {
    let mpi = needs::other(
        "ranks of MPI (--features mpi, and mpirun)",
        cfg!(feature = "mpi") && needs::program("mpirun").is_found(),
    );
    needs::say("training", 30, &[mpi]);
}
