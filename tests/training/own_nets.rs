//! Nets that are built layer by layer through the public items: they are the library's own where the layers are, and what does not fit is
//! refused.

use vgan_cuda::config::{Settings, preset};
use vgan_cuda::data::glyphs;
use vgan_cuda::device::{Backend, Cpu};
use vgan_cuda::nn::stack::{Stack, Window};
use vgan_cuda::nn::table::{Flattened, Initialisation};
use vgan_cuda::nn::{Discriminator, DiscriminatorParts, Generator, ImageShape, Parts};
use vgan_cuda::ops::layers::activation::Activation;
use vgan_cuda::ops::layers::bottleneck::Sigma;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;
use vgan_cuda::train::session::gather;

type B = Cpu<f32>;
type Networks = ((Generator<B>, Parts), (Discriminator<B>, Parts));

const HALVING: fn(usize) -> Window = |k| Window { k, size: 4, stride: 2, padding: 1 };
const LEAK: Activation = Activation::LeakyRelu(0.2);
const START: Initialisation = Initialisation::Normal(0.02);

/// A preset without normalisation in D, so that every one of its layers can be written down here.
fn settings() -> Settings {
    let mut settings = preset("quick").expect("a preset");
    settings.train.batch = 4;
    settings.generator.latent = 5;
    settings.generator.hidden = Vec::new();
    settings.generator.channels = vec![3];
    settings.discriminator.channels = vec![4, 6];
    settings.discriminator.hidden = vec![7];
    settings.discriminator.norm = vgan_cuda::config::Norm::None;
    settings.bottleneck.channels = 3;
    settings.bottleneck.logvar_bias = 0.0;
    settings
}

/// The nets of [`settings`], by hand, under the names that the library gives them.
fn networks(backend: &B, settings: &Settings, sigma: Sigma) -> Networks {
    let n = settings.train.batch;
    let stack = Stack::new(backend, Flattened::vector(settings.generator.latent), START);
    let stack = stack.linear("fc.0", Flattened { h: 14, w: 14, c: 3 }).activation(Activation::Relu);
    let stack = stack.conv_transpose2d("deconv.0", HALVING(1)).expect("a layer").activation(Activation::Sigmoid);
    let (layers, parts) = stack.finish();
    let generator = (Generator::from_layers(backend, layers, n).expect("a generator"), parts);
    let stack =
        Stack::new(backend, Flattened { h: 28, w: 28, c: 1 }, START).conv2d("conv.0", HALVING(4)).expect("a layer");
    let stack = stack.activation(LEAK).conv2d("conv.2", HALVING(6)).expect("a layer").activation(LEAK);
    let (stack, bottleneck) = stack.bottleneck(3, sigma);
    let (encoder, head) = stack.split();
    let code = head.shape();
    let head = head.linear("fc.0", Flattened::vector(7)).activation(LEAK).linear("fc.2", Flattened::vector(1));
    let (head, parts) = head.finish();
    let own = DiscriminatorParts { encoder, bottleneck: Some(bottleneck), code, head, spectral_norm: false };
    (generator, Discriminator::from_parts(backend, own, parts, 2 * n).expect("a discriminator"))
}

/// The weights of D after three steps; those of G are others, for its normalisation is left out here.
fn trained(mut trainer: Trainer<B>, settings: &Settings) -> (Vec<String>, Vec<f32>) {
    let images = glyphs::draw(50, 0);
    let backend = trainer.model.backend.clone();
    let pixels = backend.buffer_of(&images.pixels).expect("memory");
    let batch = Batch::Drawn { gather: gather(settings, &images.extent()), images: pixels, labels: None };
    backend.run(|| (0..3).try_for_each(|_| trainer.step(&batch))).expect("steps");
    let memory = &trainer.model.discriminator.memory;
    let names = memory.parts.params.entries().iter().map(|entry| entry.name.clone()).collect();
    (names, backend.read(backend.view(&memory.params)).expect("weights"))
}

#[test]
fn the_librarys_discriminator_by_hand_is_the_librarys() {
    let (settings, backend) = (settings(), B::new(Some(2)).expect("threads"));
    let image = ImageShape { h: 28, w: 28, c: 1 };
    let own = |settings: &Settings| {
        let (generator, _) = networks(&backend, settings, settings.bottleneck.sigma);
        let discriminator =
            Discriminator::new(&backend, settings, image, 2 * settings.train.batch).expect("a discriminator");
        Trainer::with_networks(backend.clone(), settings.clone(), image, generator, discriminator).expect("a trainer")
    };
    let (generator, discriminator) = networks(&backend, &settings, settings.bottleneck.sigma);
    let by_hand =
        Trainer::with_networks(backend.clone(), settings.clone(), image, generator, discriminator).expect("a trainer");
    let (expected, found) = (trained(own(&settings), &settings), trained(by_hand, &settings));
    assert_eq!(found.0, expected.0);
    assert!(found.1 == expected.1, "the same bits after three steps");
}

#[test]
fn nets_that_do_not_fit_are_refused() {
    let (settings, backend) = (settings(), B::new(Some(1)).expect("threads"));
    let image = ImageShape { h: 28, w: 28, c: 1 };
    let with = |settings: &Settings, image| {
        let (generator, discriminator) = networks(&backend, settings, Sigma::Logvar);
        let error = Trainer::with_networks(backend.clone(), settings.clone(), image, generator, discriminator).err();
        let error = error.expect("refused");
        assert_eq!(error.exit_code(), 2, "{error}");
        error.to_string()
    };
    assert!(
        with(&settings, ImageShape { h: 32, ..image }).contains("to images of 32×28×1, found one from 5 to 784 values")
    );
    let mut plain = settings.clone();
    plain.bottleneck.enabled = false;
    assert!(with(&plain, image).contains("expected one without a bottleneck"));

    let stack = || Stack::new(&backend, Flattened { h: 3, w: 3, c: 1 }, START);
    let error = stack().conv2d("conv", Window { k: 2, size: 6, stride: 1, padding: 1 }).err().expect("refused");
    assert!(error.to_string().contains("layer conv: expected an image that windows of 6×6"), "{error}");
    for window in [HALVING(0), Window { stride: 0, ..HALVING(1) }, Window { size: 0, ..HALVING(1) }] {
        assert!(stack().conv2d("conv", window).is_err() && stack().conv_transpose2d("conv", window).is_err());
    }
    // The smallest that is something, and what a padding leaves.
    let one = Window { k: 1, size: 1, stride: 1, padding: 0 };
    for window in [one, Window { size: 2, ..one }, Window { size: 3, padding: 1, ..one }] {
        let conv = stack().conv2d("conv", window).expect("a layer").shape();
        let transposed = stack().conv_transpose2d("conv", window).expect("a layer").shape();
        let side = 3 + 2 * window.padding - (window.size - 1);
        assert_eq!((conv.h, conv.w, conv.c), (side, side, 1), "{window:?}");
        let side = 3 + (window.size - 1) - 2 * window.padding;
        assert_eq!((transposed.h, transposed.w, transposed.c), (side, side, 1), "{window:?}");
    }
    // Layers of two stacks, one on the other.
    let (mut layers, _) = stack().linear("a", Flattened::vector(4)).finish();
    layers.extend(stack().linear("b", Flattened::vector(1)).finish().0);
    let error = Generator::from_layers(&backend, layers, 1).err().expect("refused");
    assert!(
        error.to_string().contains("`linear c9 k1` expected 9 values an image, and `linear c9 k4` before it makes 4"),
        "{error}"
    );
    let error = Generator::<B>::from_layers(&backend, Vec::new(), 1).err().expect("refused");
    assert!(error.to_string().contains("expected at least one, found none"), "{error}");
    let (encoder, parts) = stack().linear("a", Flattened::vector(4)).finish();
    let (head, _) = Stack::new(&backend, Flattened::vector(4), START).linear("fc", Flattened::vector(1)).finish();
    let own = DiscriminatorParts { encoder, bottleneck: None, code: Flattened::vector(5), head, spectral_norm: false };
    let error = Discriminator::<B>::from_parts(&backend, own, parts, 1).err().expect("refused");
    assert!(error.to_string().contains("an encoder to 5 values an image and a head from 5, found 4 and 4"), "{error}");
}
