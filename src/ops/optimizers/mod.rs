//! Optimizers, and what else moves or averages weights.

pub mod adam;
pub mod clip;
pub mod ema;
pub mod rmsprop;

operations! {
    Optimizers:
    adam: AdamOp,
    clip: ClipOp,
    ema: EmaOp,
    rmsprop: RmspropOp,
}
