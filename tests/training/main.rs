//! Methods in training: that nets learn, and that penalties and balances do what they are for.

mod autoencoder;
mod methods;
mod penalty;
