//! What a device does at best: the ceilings that benchmarks are held against.

pub mod ceiling;

operations! {
    Roofline:
    ceiling: CeilingOp,
}
