//! Losses, penalties and regularisers: what a step minimises, with its gradients.

pub mod energy;
pub mod feature_matching;
pub mod historical_averaging;
pub mod loss;
pub mod objective;
pub mod penalty;
pub mod reconstruction;
pub mod repelling;

operations! {
    Losses:
    energy: EnergyOp,
    feature_matching: FeatureMatchingOp,
    historical_averaging: HistoricalAveragingOp,
    loss: LossOp,
    penalty: PenaltyOp,
    reconstruction: ReconstructionOp,
    repelling: RepellingOp,
}
