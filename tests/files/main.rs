//! Files that come in and go out: data sets, settings, checkpoints, downloads; well-formed and malformed.

#[path = "../common/data_samples/mod.rs"]
mod data_samples;
#[path = "../common/fuzz_inputs.rs"]
mod fuzz_inputs;
#[path = "../common/needs.rs"]
mod needs;

mod checkpoint;
mod config_round_trip;
mod data;
#[cfg(feature = "download")]
mod fetch;
mod inception;
mod labels;
mod malformed;
mod metrics;
mod restored;
mod weights;

#[test]
fn a_what_this_part_needs() {
    needs::say(
        "files",
        5,
        &[
            needs::program("strace"),
            needs::data_set("mnist"),
            needs::data_set("fashion-mnist"),
            needs::data_set("cifar10"),
        ],
    );
}
