//! Layers, and what runs between them: activations, normalisations, the bottleneck.

pub mod activation;
pub mod affine;
pub mod avg_pool2d;
pub mod batch_norm;
pub mod bottleneck;
pub mod class_concat;
pub mod class_projection;
mod column_sums;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod epilogue;
pub mod linear;
pub mod minibatch_discrimination;
pub mod place2d;
pub mod pool2d;
pub mod scaled_add;
pub mod spectral_norm;
pub mod upsample2d;

use crate::ops::case::Case;

operations! {
    Layers:
    activation: ActivationOp,
    avg_pool2d: AvgPool2dOp,
    batch_norm: BatchNormOp,
    bottleneck: BottleneckOp,
    class_concat: ClassConcatOp,
    class_projection: ClassProjectionOp,
    conv2d: Conv2dOp,
    conv_transpose2d: ConvTranspose2dOp,
    linear: LinearOp,
    minibatch_discrimination: MinibatchDiscriminationOp,
    place2d: Place2dOp,
    pool2d: Pool2dOp,
    scaled_add: ScaledAddOp,
    spectral_norm: SpectralNormOp,
    upsample2d: Upsample2dOp,
}

/// The convolutions, transposed convolutions and linear layers of the models, as cases.
pub fn model_cases<B: Layers>() -> Vec<Case<B>> {
    let mut cases = affine::cases(conv2d::model_sizes());
    cases.extend(affine::cases(conv_transpose2d::model_sizes()));
    cases.extend(affine::cases(linear::model_sizes()));
    cases
}
