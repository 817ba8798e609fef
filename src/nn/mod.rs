//! Networks: the table of an arena, layers, generator, discriminator = encoder → bottleneck → head or decoder, and the encoder
//! of mode regularisation, a network of its own; and the classifier that samples are measured with.

mod autoencoder;
mod class_layers;
pub mod classifier;
mod decoder;
pub mod discriminator;
mod discriminator_layers;
pub mod generator;
pub mod image_encoder;
pub mod inception;
mod init;
pub mod layer;
pub mod layers;
mod minibatch;
pub mod network;
pub mod operation;
pub mod resampling;
pub mod residual;
mod resnet;
mod rounded;
pub mod sequential;
mod spectral_norm;
pub mod stack;
pub mod table;
pub mod tensors;

pub use crate::image::ImageShape;
pub use classifier::Classifier;
pub use discriminator::{Discriminator, DiscriminatorParts, Verdict, VerdictGradient};
pub use generator::Generator;
pub use image_encoder::ImageEncoder;
pub use layer::{Layer, Mode, Pass};
pub use network::{Division, NetworkMemory, Sharing, TrainedNetwork};
pub use operation::Operation;
pub use rounded::Rounded;
pub use sequential::Sequential;
pub use stack::Stack;
pub use table::{Entry, Init, Table};

/// The tables that building a network fills in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Parts {
    /// Parameters.
    pub params: Table,
    /// Running statistics of batch normalisation.
    pub stats: Table,
}
