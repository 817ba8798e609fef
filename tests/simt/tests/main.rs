//! The emulator: compiling, memory, launches, findings.

mod basic;
mod bugs;
mod intrinsics;
mod mutants;
mod programs;
mod random;

/// Past the capture of test output, as the other parts of the suite say it.
#[test]
fn a_what_this_part_needs() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the emulator: about 7 s on two cores.");
}
