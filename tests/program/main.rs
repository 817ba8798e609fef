//! The program as its users meet it: commands, experiments, and cases from the field.

#[path = "../common/data_samples/mod.rs"]
mod data_samples;
#[path = "../common/whole_runs.rs"]
mod whole_runs;

mod cases;
mod cli;
mod compare;
mod experiment;
