//! Inputs of a step: images, latents, noise.

pub mod classes;
pub mod gather;
pub mod instance_noise;
pub mod prior;

operations! {
    Inputs:
    classes: ClassesOp,
    gather: GatherOp,
    instance_noise: InstanceNoiseOp,
    prior: PriorOp,
}
