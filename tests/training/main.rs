//! Methods in training: that nets learn, and that penalties and balances do what they are for.

#[path = "../common/executors.rs"]
mod executors;
#[path = "../common/needs.rs"]
mod needs;

mod autoencoder;
mod draws;
mod methods;
mod penalty;

#[test]
fn a_what_this_part_needs() {
    needs::say("training", 0, &[]);
}
