//! The operations, one a file: its dims struct, its contract (one small trait), the CPU code, its cases.
//!
//! Names: `<op>_forward`, `<op>_backward_input`, `<op>_backward_weight`, `<op>_tangent`. Gradients of activations
//! overwrite, gradients of parameters accumulate. Activations are NHWC, filters KRSC, everything contiguous.
//!
//! A new operation joins [`Executor`] and [`cases`], and needs its lines in `dry_run.rs`, which say what it counts;
//! without them the crate does not compile.

pub mod activation;
pub mod adam;
pub mod affine;
pub mod article;
mod autoencoder_passes;
pub mod avg_pool2d;
pub mod batch_norm;
mod batch_norm_case;
mod batch_norm_kernels;
pub mod bottleneck;
mod bottleneck_case;
pub mod case;
pub mod ceiling;
pub mod clip;
pub mod conv2d;
mod conv2d_direct;
mod conv2d_kernels;
pub mod conv_transpose2d;
mod dry_run;
pub mod ema;
pub mod energy;
pub mod feature_matching;
pub mod gather;
pub mod gradient_check;
pub mod historical_averaging;
mod im2col;
pub mod instance_noise;
pub mod linear;
pub mod loss;
pub mod measure;
pub mod minibatch_discrimination;
pub mod objective;
mod paper;
pub mod passes;
pub mod penalty;
pub mod prior;
pub mod reconstruction;
pub mod repelling;
pub mod rmsprop;
pub mod scaled_add;
pub mod spectral_norm;
pub mod upsample2d;

use crate::device::{Accelerator, Backend, Cpu, Launcher, Real};

pub use article::article_cases;
pub use case::{Case, Fill, Tensor};

/// A backend that has every operation: what networks and training are written against.
pub trait Executor:
    Backend
    + activation::ActivationOp
    + adam::AdamOp
    + avg_pool2d::AvgPool2dOp
    + batch_norm::BatchNormOp
    + bottleneck::BottleneckOp
    + ceiling::CeilingOp
    + clip::ClipOp
    + conv2d::Conv2dOp
    + conv_transpose2d::ConvTranspose2dOp
    + ema::EmaOp
    + energy::EnergyOp
    + feature_matching::FeatureMatchingOp
    + gather::GatherOp
    + historical_averaging::HistoricalAveragingOp
    + instance_noise::InstanceNoiseOp
    + linear::LinearOp
    + loss::LossOp
    + minibatch_discrimination::MinibatchDiscriminationOp
    + penalty::PenaltyOp
    + prior::PriorOp
    + reconstruction::ReconstructionOp
    + repelling::RepellingOp
    + rmsprop::RmspropOp
    + scaled_add::ScaledAddOp
    + spectral_norm::SpectralNormOp
    + upsample2d::Upsample2dOp
{
}

impl<T: Real> Executor for Cpu<T> {}
impl<L: Launcher, T: Real> Executor for Accelerator<L, T> {}

/// Every case of every operation.
pub fn cases<B: Executor>() -> Vec<Box<dyn Case<B>>> {
    [
        activation::cases(),
        adam::cases(),
        avg_pool2d::cases(),
        batch_norm_case::cases(),
        bottleneck_case::cases(),
        ceiling::cases(),
        clip::cases(),
        conv2d::cases(),
        conv_transpose2d::cases(),
        ema::cases(),
        energy::cases(),
        feature_matching::cases(),
        gather::cases(),
        historical_averaging::cases(),
        instance_noise::cases(),
        linear::cases(),
        loss::cases(),
        minibatch_discrimination::cases(),
        penalty::cases(),
        prior::cases(),
        reconstruction::cases(),
        repelling::cases(),
        rmsprop::cases(),
        scaled_add::cases(),
        spectral_norm::cases(),
        upsample2d::cases(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
