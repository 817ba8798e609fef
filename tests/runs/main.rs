//! Whole runs and what happens to them: resumes, signals, kills, full disks, values that are not finite.

#[path = "../common/needs.rs"]
mod needs;
#[path = "../common/whole_runs.rs"]
mod whole_runs;

mod conditional;
mod divergence;
mod faults;
mod kill;
mod ranks;
mod resume;
mod signals;

#[test]
fn a_what_this_part_needs() {
    needs::say("runs", 15, &[]);
}
