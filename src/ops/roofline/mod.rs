//! The best that a device does: the ceilings that benchmarks are held against.

pub mod ceiling;

operations! {
    Roofline:
    ceiling: CeilingOp,
}
