//! NCCL's interface as programs see it: each test runs in a process of its own, which loads the two stand-ins under the names that the
//! real libraries have. Ranks are threads there, or processes where one dies.

mod child;
mod collectives;
mod failures;
mod nccl;
mod order;

/// Past the capture of test output, as the other parts of the suite say it.
#[test]
fn a_what_this_part_needs() {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "the stand-in for NCCL: about 2 s on two cores.");
}
