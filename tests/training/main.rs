//! Methods in training: that nets learn, and that penalties and balances do what they are for.

#[path = "../common/executors.rs"]
mod executors;

mod autoencoder;
mod draws;
mod methods;
mod penalty;
