//! Optimizers, what else moves or averages weights, and what a step's updates begin and end with.

pub mod adam;
pub mod agree;
pub mod clip;
pub mod ema;
pub mod finish_step;
pub mod finite_gradients;
pub mod rmsprop;
pub mod round_weights;
pub mod schedule;

operations! {
    Optimizers:
    finite_gradients: FiniteGradientsOp,
    agree: AgreeOp,
    adam: AdamOp,
    clip: ClipOp,
    ema: EmaOp,
    rmsprop: RmspropOp,
    round_weights: RoundWeightsOp,
    finish_step: FinishStepOp,
}
