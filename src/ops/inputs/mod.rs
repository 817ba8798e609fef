//! Inputs of a step: images, latents, noise, augmentation.

pub mod augment;
pub mod classes;
pub mod gather;
pub mod instance_noise;
pub mod prior;

operations! {
    Inputs:
    augment: AugmentOp,
    classes: ClassesOp,
    gather: GatherOp,
    instance_noise: InstanceNoiseOp,
    prior: PriorOp,
}
