//! The driver's interface as programs see it: each test runs in a process of its own, which loads the library under the name
//! that a real driver has, through cudarc.

mod capture;
mod child;
mod contexts;
mod cuda;
mod documented;
mod faults;
mod graphs;
mod launches;
mod memory;
mod misuse;
mod order;
mod program;
mod streams;
mod tensor_maps;
mod written;

/// Past the capture of test output, as the other parts of the suite say it.
#[test]
fn a_what_this_part_needs() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the stand-in driver: about 1 s on two cores.");
}
