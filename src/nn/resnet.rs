//! The layers of the residual nets, under the names of the paper's code (`gan_training/models/resnet.py`, which builds on
//! Mescheder et al. 2018). How often an image is doubled and halved, and how wide each resolution is, follows from the
//! image: src/config/resnet.rs. No batch normalisation, so there are no running statistics.

use super::ImageShape;
use super::class_layers::{self, class_beside};
use super::init::{initialisation, last_activation, same};
use super::layer::Layer;
use super::layers::{ActivationLayer, AffineLayer};
use super::resampling::{AvgPoolLayer, UpsampleLayer};
use super::residual::ResidualBlock;
use super::table::{Flattened, Table};
use crate::Result;
use crate::config::Settings;
use crate::config::resnet::{check, halvings, widths};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::avg_pool2d::AvgPool2d;
use crate::ops::layers::upsample2d::Upsample2d;

type Layers<B> = Vec<Box<dyn Layer<B>>>;

/// The slope of the generator's leaky ReLUs; the discriminator's is a setting.
const GENERATOR_LEAK: Activation = Activation::LeakyRelu(0.2);

/// z → linear layer to the smallest image → at each resolution a residual block and a doubling → a last block, leaky
/// ReLU, convolution 3×3 to the picture, tanh or sigmoid. Beside the layers, the table of their parameters.
///
/// # Errors
/// If the image can't be reached by doubling, or memory is used up.
pub(super) fn generator<B: Executor>(
    backend: &B,
    settings: &Settings,
    image: ImageShape,
    capacity: usize,
) -> Result<(Layers<B>, Table)> {
    check(image.h, image.w)?;
    let mut params = Table::default();
    let (mut layers, inputs): (Layers<B>, _) = class_beside(settings, settings.generator.latent, &mut params)?;
    let doublings = halvings(image.h, image.w);
    let widths = widths(settings.generator.width, settings.generator.max_width, doublings);
    let init = initialisation(settings);
    let mut last = Flattened { h: image.h >> doublings, w: image.w >> doublings, c: widths[doublings] };
    layers.push(Box::new(AffineLayer::linear(&mut params, "fc", inputs, last, init)));
    for doubling in 0..=doublings {
        // The last block is at the picture's own resolution and keeps its width.
        let width = widths[doublings.saturating_sub(doubling + 1)];
        let name = format!("resnet.{}", 2 * doubling);
        let block = ResidualBlock::new(backend, &mut params, &name, last, width, GENERATOR_LEAK, init, capacity)?;
        layers.push(Box::new(block));
        last.c = width;
        if doubling < doublings {
            layers.push(Box::new(UpsampleLayer(Upsample2d { n: 0, h: last.h, w: last.w, c: last.c })));
            (last.h, last.w) = (2 * last.h, 2 * last.w);
        }
    }
    layers.push(Box::new(ActivationLayer { f: GENERATOR_LEAK, len: last.len() }));
    layers.push(Box::new(AffineLayer::conv2d(&mut params, "conv_img", same(last, image.c, 3), init)));
    layers.push(Box::new(ActivationLayer { f: last_activation(settings), len: image.len() }));
    Ok((layers, params))
}

/// Convolution 3×3 → residual block → at each further resolution a pooling and a residual block; up to what the
/// bottleneck is given, and how that lies.
///
/// # Errors
/// If the image can't be halved, or memory is used up.
pub(super) fn encoder<B: Executor>(
    backend: &B,
    settings: &Settings,
    image: ImageShape,
    capacity: usize,
    params: &mut Table,
) -> Result<(Layers<B>, Flattened)> {
    check(image.h, image.w)?;
    let mut layers: Layers<B> = Vec::new();
    let halvings = halvings(image.h, image.w);
    let widths = widths(settings.discriminator.width, settings.discriminator.max_width, halvings);
    let (init, leak) = (initialisation(settings), leak(settings));
    let mut last = Flattened { h: image.h, w: image.w, c: image.c };
    layers.push(Box::new(AffineLayer::conv2d(params, "conv_img", same(last, widths[0], 3), init)));
    last.c = widths[0];
    for (halving, &width) in widths.iter().enumerate() {
        if halving > 0 {
            let d = AvgPool2d { n: 0, h: last.h, w: last.w, c: last.c };
            layers.push(Box::new(AvgPoolLayer(d)));
            (last.h, last.w) = (d.oh(), d.ow());
        }
        let name = format!("resnet.{}", 2 * halving);
        layers.push(Box::new(ResidualBlock::new(backend, params, &name, last, width, leak, init, capacity)?));
        last.c = width;
    }
    Ok((layers, last))
}

/// Leaky ReLU, then the logit.
///
/// # Errors
/// Those of [`class_layers::logit`].
pub(super) fn head<B: Executor>(settings: &Settings, code: Flattened, params: &mut Table) -> Result<Layers<B>> {
    Ok(vec![Box::new(leaky_relu(settings, code)), class_layers::logit(settings, "fc", code, params)?])
}

/// The discriminator's activation.
pub(super) fn leaky_relu(settings: &Settings, features: Flattened) -> ActivationLayer {
    ActivationLayer { f: leak(settings), len: features.len() }
}

fn leak(settings: &Settings) -> Activation {
    Activation::LeakyRelu(settings.discriminator.leak)
}
