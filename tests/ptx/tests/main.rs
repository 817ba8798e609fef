//! The machine: from fatbins to findings. One program, which links once and whose tests share all cores.

mod asynchronous;
mod bugs;
mod common;
mod control;
mod counters;
mod faults;
mod findings;
mod front;
mod instructions;
mod memory;
mod proxies;
mod random;
mod report;
mod tensor;
mod twins;
mod warp;

/// Past the capture of test output, as the other parts of the suite say it.
#[test]
fn a_what_this_part_needs() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the PTX machine: about 10 s on two cores.");
}
