//! The built-in presets: named, complete settings.

use super::nearest::{nearest, nearest_hint};
use super::settings::{
    BottleneckSettings, DataSettings, DiscriminatorSettings, Family, GeneratorSettings, KlMix, KlReduction,
    NetsSettings, Norm, OptimizerKind, OptimizerSettings, OutputLayer, PixelRange, Prior, Settings, Sigma,
    TrainSettings,
};
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The name of each preset and what it is, in one line. The first one is the default.
pub const PRESETS: &[(&str, &str)] = &[
    ("quick", "vgan-mnist with a quarter of the channels on the embedded digits: a first look within two minutes"),
    ("vgan-mnist", "the article's VGAN for MNIST"),
    ("gan-mnist", "the same nets without the bottleneck: a plain GAN"),
    ("vgan-cifar10", "the article's recipe for colour, with the widths of DCGAN"),
    ("vgan-cifar10-resnet", "the paper's residual nets for CIFAR-10; also for larger images, with --resize 64 or 128"),
    ("wide-2", "vgan-cifar10-resnet with twice the widths, for benchmarks"),
    ("wide-4", "vgan-cifar10-resnet with four times the widths, for benchmarks"),
    ("wide-8", "vgan-cifar10-resnet with eight times the widths, for benchmarks"),
];

/// The settings of the preset `name`.
///
/// All but `quick` leave `data.source` empty: the user says where the images are.
///
/// # Errors
/// [`Error::Usage`] if there is no such preset; it names the nearest one.
pub fn preset(name: &str) -> Result<Settings> {
    match name {
        "quick" => Ok(quick()),
        "vgan-mnist" => Ok(vgan_mnist()),
        "gan-mnist" => Ok(gan_mnist()),
        "vgan-cifar10" => Ok(vgan_cifar10()),
        "vgan-cifar10-resnet" => Ok(vgan_cifar10_resnet()),
        "wide-2" => Ok(widened(vgan_cifar10_resnet(), 2)),
        "wide-4" => Ok(widened(vgan_cifar10_resnet(), 4)),
        "wide-8" => Ok(widened(vgan_cifar10_resnet(), 8)),
        _ => {
            let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
            let hint = nearest_hint(nearest(name, names.iter().copied()));
            Err(Error::Usage(format!("there is no preset `{name}`{hint}; all presets: {}", names.join(", "))))
        }
    }
}

/// The shape of the images that a preset was made for, which `--dry-run` and `trace` take where no data set is at hand.
/// `None` if there is no such preset.
pub fn image_shape(name: &str) -> Option<ImageShape> {
    match name {
        "quick" | "vgan-mnist" | "gan-mnist" => Some(ImageShape { h: 28, w: 28, c: 1 }),
        "vgan-cifar10" | "vgan-cifar10-resnet" | "wide-2" | "wide-4" | "wide-8" => {
            Some(ImageShape { h: 32, w: 32, c: 3 })
        }
        _ => None,
    }
}

/// The article's VGAN: `naruya/vgan-pytorch`, `notebooks/vgan-mnist.ipynb`. [`Settings::default`] holds it.
fn vgan_mnist() -> Settings {
    Settings { data: DataSettings { source: String::new(), ..DataSettings::default() }, ..Settings::default() }
}

/// The article's plain GAN (`gan.ipynb`): no bottleneck, and no batch normalisation after the first convolution.
fn gan_mnist() -> Settings {
    Settings {
        discriminator: DiscriminatorSettings { norm_first: false, ..DiscriminatorSettings::default() },
        bottleneck: BottleneckSettings { enabled: false, ..BottleneckSettings::default() },
        ..vgan_mnist()
    }
}

/// A quarter of the article's widths, a learning rate of 1e-3 and a bottleneck that starts narrow (σ ≈ 0.22), so that the
/// discriminator is never blind: no plateau, where the article's start is still on it after 2,300 steps. At 2e-3 and
/// σ = 1 it leaves the plateau fast, but for some seeds by a jump of the KL that lifts β for good.
fn quick() -> Settings {
    Settings {
        data: DataSettings::default(),
        generator: GeneratorSettings { hidden: vec![256], channels: vec![32, 16], ..GeneratorSettings::default() },
        discriminator: DiscriminatorSettings {
            hidden: vec![256],
            channels: vec![16, 32],
            ..DiscriminatorSettings::default()
        },
        bottleneck: BottleneckSettings { logvar_bias: -3.0, ..BottleneckSettings::default() },
        optimizer: OptimizerSettings { discriminator_lr: 1e-3, generator_lr: 1e-3, ..OptimizerSettings::default() },
        train: TrainSettings { batch: 64, steps: 1500, tick: 20, snap: 500, ..TrainSettings::default() },
        ..Settings::default()
    }
}

/// The article's recipe (prior U[0, 1), Adam 2e-4, I_c as for MNIST) with the nets of DCGAN (Radford et al. 2016):
/// 4×4×512 doubled to 32×32×64, and back to 2×2×512. The article's own notebook for CIFAR-10 is not to be had, so the
/// length is that of its longest MNIST run: 100 epochs.
///
/// β starts at 0.01, not at 0: with nothing to hold log σ², one image's e^{log σ²} reached 10⁵ within 200 steps, and the
/// β that followed from it blinded the discriminator for good (docs/results/vgan-mnist.md).
fn vgan_cifar10() -> Settings {
    Settings {
        data: DataSettings {
            source: String::new(),
            flip: true,
            range: PixelRange::MinusOneToOne,
            ..DataSettings::default()
        },
        generator: GeneratorSettings {
            latent: 100,
            hidden: vec![],
            channels: vec![512, 256, 128, 64],
            output: OutputLayer::Stride1,
            ..GeneratorSettings::default()
        },
        discriminator: DiscriminatorSettings { channels: vec![64, 128, 256, 512], ..DiscriminatorSettings::default() },
        bottleneck: BottleneckSettings { beta: 0.01, ..BottleneckSettings::default() },
        train: TrainSettings { epochs: 100, ..TrainSettings::default() },
        ..Settings::default()
    }
}

/// The paper's net and recipe as its official code has them (`akanazawa/vgan`, `configs/cifar10_vgan.1.yaml`), without
/// the embedding of the one class that it feeds to the generator. The length is its `stop_epoch`.
///
/// Its second 1×1 convolution makes log σ (`logstd_fn` and `reparametrize` of `gan_training/models/resnet.py`, `kl_loss` of
/// `gan_training/train.py`), not log σ² as the article's does.
fn vgan_cifar10_resnet() -> Settings {
    Settings {
        data: DataSettings {
            source: String::new(),
            flip: true,
            range: PixelRange::MinusOneToOne,
            ..DataSettings::default()
        },
        nets: NetsSettings { family: Family::Resnet, ..NetsSettings::default() },
        generator: GeneratorSettings {
            latent: 256,
            prior: Prior::Normal,
            hidden: vec![],
            channels: vec![],
            width: 32,
            max_width: 256,
            output: OutputLayer::Stride1,
            ema: 0.999,
            ..GeneratorSettings::default()
        },
        discriminator: DiscriminatorSettings {
            channels: vec![],
            width: 32,
            max_width: 256,
            norm: Norm::None,
            norm_first: false,
            hidden: vec![],
            ..DiscriminatorSettings::default()
        },
        bottleneck: BottleneckSettings {
            kl_reduction: KlReduction::Channels,
            kl_mix: KlMix::Mean,
            sigma: Sigma::Logstd,
            beta: 0.1,
            ..BottleneckSettings::default()
        },
        optimizer: OptimizerSettings {
            kind: OptimizerKind::Rmsprop,
            discriminator_lr: 1e-4,
            generator_lr: 1e-4,
            init_std: 0.0,
            ..OptimizerSettings::default()
        },
        train: TrainSettings { batch: 64, epochs: 1000, snap: 10_000, ..TrainSettings::default() },
        ..Settings::default()
    }
}

/// The same with every width of both nets `times` as large.
fn widened(mut settings: Settings, times: usize) -> Settings {
    let Settings { generator, discriminator, bottleneck, .. } = &mut settings;
    let lists =
        [&mut generator.hidden, &mut generator.channels, &mut discriminator.hidden, &mut discriminator.channels];
    lists.into_iter().flatten().for_each(|width| *width *= times);
    let widths = [
        &mut generator.width,
        &mut generator.max_width,
        &mut discriminator.width,
        &mut discriminator.max_width,
        &mut bottleneck.channels,
    ];
    widths.into_iter().for_each(|width| *width *= times);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BottleneckZ, validate, validate_for_images};

    #[test]
    fn every_listed_preset_exists_and_fits_its_images() {
        for (name, description) in PRESETS {
            let settings = preset(name).unwrap();
            validate(&settings).unwrap();
            validate_for_images(&settings, image_shape(name).unwrap()).unwrap();
            assert!(!description.is_empty());
        }
        assert_eq!(PRESETS[0].0, "quick");
    }

    /// The figures of the article's notebook, typed here once more on purpose.
    #[test]
    fn vgan_mnist_is_the_articles_model() {
        let s = preset("vgan-mnist").unwrap();
        assert_eq!((s.generator.latent, s.generator.prior), (62, Prior::Uniform));
        assert_eq!((&s.generator.hidden[..], &s.generator.channels[..]), (&[1024][..], &[128, 64][..]));
        assert_eq!((&s.discriminator.hidden[..], &s.discriminator.channels[..]), (&[1024][..], &[64, 128][..]));
        assert_eq!((s.discriminator.norm_first, s.discriminator.leak), (true, 0.2));
        assert_eq!((s.optimizer.discriminator_lr, s.optimizer.generator_lr), (2e-4, 2e-4));
        assert_eq!((s.optimizer.beta1, s.optimizer.beta2, s.optimizer.init_std), (0.5, 0.999, 0.02));
        assert_eq!((s.bottleneck.target_kl, s.bottleneck.beta_step, s.bottleneck.beta), (0.1, 1e-5, 0.0));
        assert_eq!((s.bottleneck.kl_reduction, s.bottleneck.kl_mix), (KlReduction::Mean, KlMix::Sum));
        assert_eq!((s.train.batch, s.train.epochs, s.train.steps), (128, 25, 0));
        assert_eq!((s.data.range, s.data.flip, s.data.source.as_str()), (PixelRange::ZeroToOne, false, ""));
    }

    #[test]
    fn gan_mnist_differs_only_where_the_source_does() {
        let mut settings = preset("gan-mnist").unwrap();
        assert!(!settings.bottleneck.enabled && !settings.discriminator.norm_first);
        settings.bottleneck.enabled = true;
        settings.discriminator.norm_first = true;
        assert_eq!(settings, preset("vgan-mnist").unwrap());
    }

    /// The figures of the official code's configuration, typed here once more on purpose.
    #[test]
    fn vgan_cifar10_resnet_is_the_papers_model() {
        let s = preset("vgan-cifar10-resnet").unwrap();
        assert_eq!((s.nets.family, s.generator.latent, s.generator.prior), (Family::Resnet, 256, Prior::Normal));
        assert_eq!((s.generator.width, s.generator.max_width, s.generator.ema), (32, 256, 0.999));
        assert_eq!((s.discriminator.width, s.discriminator.max_width, s.discriminator.leak), (32, 256, 0.2));
        assert_eq!((s.optimizer.kind, s.optimizer.decay, s.optimizer.epsilon), (OptimizerKind::Rmsprop, 0.99, 1e-8));
        assert_eq!((s.optimizer.discriminator_lr, s.optimizer.generator_lr, s.optimizer.init_std), (1e-4, 1e-4, 0.0));
        assert_eq!((s.bottleneck.target_kl, s.bottleneck.beta_step, s.bottleneck.beta), (0.1, 1e-5, 0.1));
        assert_eq!((s.bottleneck.kl_reduction, s.bottleneck.kl_mix), (KlReduction::Channels, KlMix::Mean));
        assert_eq!((s.bottleneck.generator_z, s.bottleneck.channels), (BottleneckZ::Sampled, 0));
        assert_eq!((s.bottleneck.sigma, s.bottleneck.logvar_bias), (Sigma::Logstd, 0.0));
        assert_eq!((s.train.batch, s.data.range, s.data.flip), (64, PixelRange::MinusOneToOne, true));
    }

    #[test]
    fn wide_presets_differ_in_their_widths_alone() {
        for (name, times) in [("wide-2", 2), ("wide-4", 4), ("wide-8", 8)] {
            let mut settings = preset(name).unwrap();
            assert_eq!((settings.generator.width, settings.discriminator.max_width), (32 * times, 256 * times));
            (settings.generator.width, settings.generator.max_width) = (32, 256);
            (settings.discriminator.width, settings.discriminator.max_width) = (32, 256);
            assert_eq!(settings, preset("vgan-cifar10-resnet").unwrap());
        }
        let wide = widened(preset("vgan-mnist").unwrap(), 3);
        assert_eq!((wide.generator.hidden, wide.generator.channels), (vec![3072], vec![384, 192]));
    }

    #[test]
    fn an_unknown_preset_names_the_nearest() {
        let error = preset("vgan-mnst").unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("the nearest is `vgan-mnist`"), "{error}");
    }
}
