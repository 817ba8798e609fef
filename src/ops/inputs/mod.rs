//! Inputs of a step: images, latents, noise, augmentation.

pub mod augment;
pub mod gather;
pub mod instance_noise;
pub mod prior;

operations! {
    Inputs:
    augment: AugmentOp,
    gather: GatherOp,
    instance_noise: InstanceNoiseOp,
    prior: PriorOp,
}
