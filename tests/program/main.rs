//! The program as its users meet it: commands, experiments, and cases from the field.

#[path = "../common/data_samples/mod.rs"]
mod data_samples;
#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/whole_runs.rs"]
mod whole_runs;

mod cases;
mod cli;
mod compare;
mod dataset;
mod eval;
mod exchange;
mod experiment;
mod looking;

#[test]
fn a_what_this_part_needs() {
    needs::say(
        "program",
        50,
        &[
            needs::program("bash"),
            needs::program("zsh"),
            needs::program("fish"),
            needs::program("tmux"),
            needs::program("script"),
        ],
    );
}
