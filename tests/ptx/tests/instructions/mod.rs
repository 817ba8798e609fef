//! Instructions against the ISA's text: expectations are computed here, by other means than the machine's.

mod apply;
mod conversions;
mod floats;
mod halves;
mod integers;

#[test]
fn older_processors_give_the_same() {
    crate::common::again_with_each_level("instructions::", "older_processors");
}
