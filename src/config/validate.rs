//! Conditions on settings, checked before anything is built from them.

use super::checker::{Checker, Violation};
use super::objective::Penalty;
use super::resnet;
use super::settings::{
    BottleneckSettings, DiscriminatorSettings, Family, GeneratorSettings, OutputLayer, ScheduleKind, Settings, Sigma,
    TrainSettings,
};
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// Checks every setting's range.
///
/// # Errors
/// [`Error::Usage`] that names each setting out of range, what it must be, and what it is.
pub fn validate(settings: &Settings) -> Result<()> {
    refusal(&violations(settings))
}

/// Checks that so many ranks can train together by settings that hold for one.
///
/// # Errors
/// [`Error::Usage`] as of [`validate`].
pub fn validate_for_ranks(settings: &Settings, ranks: usize) -> Result<()> {
    let mut checker = Checker::default();
    if ranks > 1 {
        checker.parts(settings, ranks);
    }
    refusal(&checker.into_violations())
}

fn refusal(violations: &[Violation]) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    let lines: Vec<String> =
        violations.iter().map(|v| format!("`{}` must be {}, and is {}", v.key, v.expected, v.found)).collect();
    Err(Error::Usage(lines.join("; ")))
}

/// Checks that nets of these settings make and take images of this shape.
///
/// A DCGAN's generator doubles its first image with every layer, so it makes only multiples of a power of two; its
/// discriminator halves and rounds down, so it takes any size that leaves at least one position. Residual nets have as
/// many layers as the image needs, if its sides can be halved as often.
///
/// # Errors
/// [`Error::Usage`] that says which sizes, or which widths, would fit.
pub fn validate_for_images(settings: &Settings, image: ImageShape) -> Result<()> {
    let ImageShape { h: height, w: width, c: channels } = image;
    if !matches!(channels, 1 | 3) {
        return Err(Error::Usage(format!(
            "images must have 1 or 3 channels, and these have {channels}: pass --channels 1 or --channels 3"
        )));
    }
    match settings.nets.family {
        Family::Resnet => resnet::check(height, width),
        Family::Dcgan => {
            check_generator(&settings.generator, height, width)?;
            check_discriminator(&settings.discriminator, height, width)?;
            if settings.objective.loss.is_energy() {
                check_decoder(&settings.discriminator, height, width)?;
            }
            Ok(())
        }
    }
}

fn check_generator(generator: &GeneratorSettings, height: usize, width: usize) -> Result<()> {
    let doublings = generator.channels.len().saturating_sub(1) + usize::from(generator.output == OutputLayer::Stride2);
    let multiple = 1usize << doublings.min(32);
    if height > 0 && width > 0 && height.is_multiple_of(multiple) && width.is_multiple_of(multiple) {
        return Ok(());
    }
    let below = |size: usize| (size / multiple).max(1) * multiple;
    let (low, high) = (below(height.min(width)), height.max(width).div_ceil(multiple).max(1) * multiple);
    let sizes = if low == high { format!("--resize {low}") } else { format!("--resize {low} or --resize {high}") };
    Err(Error::Usage(format!(
        "the generator doubles its first image {doublings} times (generator.channels = {:?}, generator.output = \
         {}), so it makes images whose height and width are multiples of {multiple}, and these are {height}×{width}: \
         pass {sizes}, or fewer layers: {}",
        generator.channels,
        generator.output.word(),
        fitting_generator(generator, height, width)
    )))
}

/// The flags that make the generator fit images of `height` × `width`: its last layers, as many as can double.
fn fitting_generator(generator: &GeneratorSettings, height: usize, width: usize) -> String {
    let doublings = height.trailing_zeros().min(width.trailing_zeros()) as usize;
    let (length, output) = match generator.output {
        OutputLayer::Stride2 if doublings > 0 => (doublings, ""),
        OutputLayer::Stride2 => (1, " --set generator.output=stride1"),
        OutputLayer::Stride1 => (doublings + 1, ""),
    };
    let last = &generator.channels[generator.channels.len().saturating_sub(length)..];
    format!("--set generator.channels={}{output}", comma_separated(last))
}

fn check_discriminator(discriminator: &DiscriminatorSettings, height: usize, width: usize) -> Result<()> {
    let halvings = discriminator.channels.len();
    let smaller = height.min(width);
    let most = smaller.checked_ilog2().unwrap_or(0) as usize;
    if halvings <= most {
        return Ok(());
    }
    let advice = if most == 0 {
        String::new()
    } else {
        format!(", or fewer layers: --set discriminator.channels={}", comma_separated(&discriminator.channels[..most]))
    };
    Err(Error::Usage(format!(
        "the discriminator halves the image {halvings} times (discriminator.channels = {:?}), so it needs images of \
         at least {least}×{least}, and these are {height}×{width}: pass --resize {least}{advice}",
        discriminator.channels,
        least = 1usize << halvings.min(32)
    )))
}

/// An autoencoder doubles its image as often as it halved it.
fn check_decoder(discriminator: &DiscriminatorSettings, height: usize, width: usize) -> Result<()> {
    let halvings = discriminator.channels.len();
    let most = height.trailing_zeros().min(width.trailing_zeros()) as usize;
    if halvings <= most {
        return Ok(());
    }
    let multiple = 1usize << halvings.min(32);
    let advice = if most == 0 {
        String::new()
    } else {
        format!(", or fewer layers: --set discriminator.channels={}", comma_separated(&discriminator.channels[..most]))
    };
    Err(Error::Usage(format!(
        "with losses ebgan and began the discriminator is an autoencoder, which halves the image and doubles it again \
         {halvings} times (discriminator.channels = {:?}), so it takes images whose height and width are multiples of \
         {multiple}, and these are {height}×{width}: pass --resize {}{advice}",
        discriminator.channels,
        height.max(width).div_ceil(multiple) * multiple
    )))
}

fn comma_separated(widths: &[usize]) -> String {
    widths.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

/// Every setting that is out of its range, or that does not go with another.
pub(super) fn violations(settings: &Settings) -> Vec<Violation> {
    let mut checker = Checker::default();
    settings.check_ranges(&mut checker);
    checker.ranges_are_checked();
    checker.family(settings);
    checker.objective(&settings.objective);
    if settings.objective.penalty != Penalty::None {
        checker.penalty(settings);
    }
    if settings.objective.loss.is_energy() {
        checker.autoencoder(settings);
    }
    if settings.discriminator.minibatch_kernels > 0 {
        checker.minibatch(settings);
    }
    checker.conditional(settings);
    if settings.train.accumulate > 1 {
        checker.parts(settings, 1);
    }
    checker.bottleneck(&settings.bottleneck);
    checker.length(&settings.train);
    checker.schedules(settings);
    checker.init(&settings.train);
    checker.into_violations()
}

impl Checker {
    /// The range of `logvar_bias` is declared for log σ²; log σ is half of it.
    fn bottleneck(&mut self, bottleneck: &BottleneckSettings) {
        let holds = bottleneck.sigma == Sigma::Logvar || bottleneck.logvar_bias.abs() <= 10.0;
        let expected = "from -10 to 10 where bottleneck.sigma is `logstd`";
        self.require(holds, "bottleneck.logvar_bias", expected, bottleneck.logvar_bias);
    }

    fn schedules(&mut self, settings: &Settings) {
        let optimizer = &settings.optimizer;
        let falls = optimizer.schedule == ScheduleKind::Constant || optimizer.schedule_steps > 0;
        let expected =
            "at least 1 where optimizer.schedule is not `constant`: the number of steps that the rates fall for";
        self.require(falls, "optimizer.schedule_steps", expected, optimizer.schedule_steps);
        let generator = &settings.generator;
        let one = generator.ema == 0.0 || generator.ema_half_life == 0.0;
        let expected = "0 where generator.ema is not, since one of the two says how the average decays";
        self.require(one, "generator.ema_half_life", expected, generator.ema_half_life);
        let bounds = generator.ema_rampup == 0.0 || generator.ema_half_life > 0.0;
        let expected = "0 where generator.ema_half_life is, which it is a bound on";
        self.require(bounds, "generator.ema_rampup", expected, generator.ema_rampup);
    }

    fn length(&mut self, train: &TrainSettings) {
        let has_length = train.steps > 0 || train.epochs > 0;
        self.require(has_length, "train.epochs", "at least 1 where train.steps is 0", train.epochs);
    }

    fn init(&mut self, train: &TrainSettings) {
        let has_source = !train.init.is_empty() || train.init_parts.is_empty();
        self.require(has_source, "train.init_parts", "empty where train.init is", &train.init_parts);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, apply, preset};

    fn image(h: usize, w: usize, c: usize) -> ImageShape {
        ImageShape { h, w, c }
    }

    /// The same range of σ whichever way the encoder says it.
    #[test]
    fn the_bias_of_log_sigma_has_half_the_range_of_that_of_its_square() {
        for (sigma, bias, fits) in [("logstd", 10, true), ("logstd", -11, false), ("logvar", -20, true)] {
            let words = [format!("bottleneck.sigma={sigma}"), format!("bottleneck.logvar_bias={bias}")];
            let overrides = words.map(|word| Override::parse(&word).unwrap());
            let settings = apply(&preset("vgan-mnist").unwrap(), &overrides).unwrap();
            assert_eq!(validate(&settings).is_ok(), fits, "{sigma} {bias}");
        }
    }

    #[test]
    fn ranges() {
        let out_of_range = [
            "train.batch=1",
            "train.batch=0",
            "train.accumulate=0",
            "train.accumulate=3",
            "train.accumulate=128",
            "train.tick=0",
            "train.epochs=0",
            "train.minutes=-1",
            "train.minutes=inf",
            "data.channels=2",
            "data.resize=100000",
            "generator.latent=0",
            "generator.channels=[]",
            "generator.channels=8,0",
            "generator.hidden=0",
            "generator.ema=1",
            "generator.ema=nan",
            "generator.ema=0.99999999999",
            "discriminator.channels=[]",
            "discriminator.hidden=65537",
            "discriminator.leak=-0.1",
            "discriminator.minibatch_kernels=65537",
            "discriminator.minibatch_dims=0",
            "bottleneck.logvar_bias=inf",
            "bottleneck.beta=-1",
            "bottleneck.beta_step=nan",
            "bottleneck.target_kl=-0.1",
            "objective.real_target=0",
            "objective.real_target=1.1",
            "objective.real_target=nan",
            "objective.margin=0",
            "objective.margin=inf",
            "objective.repelling=0.1",
            "objective.balance_ratio=0",
            "objective.balance_ratio=1.5",
            "objective.balance_step=-0.1",
            "objective.penalty_weight=0",
            "objective.penalty_weight=nan",
            "objective.penalty_every=0",
            "objective.penalty_every=65537",
            "objective.clip=-0.01",
            "objective.discriminator_steps=0",
            "objective.discriminator_steps=101",
            "objective.instance_noise=-1",
            "objective.instance_noise_steps=10",
            "objective.historical_averaging=inf",
            "objective.feature_matching=-1",
            "objective.reconstruction=-0.2",
            "objective.reconstruction=nan",
            "objective.mode=-0.4",
            "objective.mode=1e60",
            "optimizer.generator_lr=0",
            "optimizer.discriminator_lr=-inf",
            "optimizer.beta1=1",
            "optimizer.beta2=-0.5",
            "optimizer.decay=1",
            "optimizer.epsilon=1e-60",
            "optimizer.schedule_floor=1",
            "generator.ema_rampup=0.05",
            "optimizer.init_std=1e60",
        ];
        for word in out_of_range {
            let settings = apply(&preset("vgan-mnist").unwrap(), &[Override::parse(word).unwrap()]).unwrap();
            let error = validate(&settings).unwrap_err();
            let key = word.split_once('=').unwrap().0;
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with(&format!("`{key}` must be ")), "{word}: {error}");
        }
        for word in ["train.batch=2", "beta1=0", "ema=0.999", "logvar_bias=-3", "target_kl=0", "generator.hidden=[]"] {
            let settings = apply(&preset("vgan-mnist").unwrap(), &[Override::parse(word).unwrap()]).unwrap();
            validate(&settings).unwrap();
        }
    }

    /// Each proposal of the message, taken at its word, fits.
    #[test]
    fn an_autoencoder_says_which_images_it_takes() {
        let words =
            ["loss=began", "generator.channels=8", "generator.output=stride1"].map(|w| Override::parse(w).unwrap());
        let settings = apply(&preset("vgan-mnist").unwrap(), &words).unwrap();
        let message = validate_for_images(&settings, image(14, 6, 1)).unwrap_err().to_string();
        assert!(message.contains("multiples of 4, and these are 14×6"), "{message}");
        assert!(message.contains("--resize 16") && message.contains("--set discriminator.channels=64"), "{message}");
        validate_for_images(&settings, image(16, 16, 1)).unwrap();
        let fewer = apply(&settings, &[Override::parse("discriminator.channels=64").unwrap()]).unwrap();
        validate_for_images(&fewer, image(14, 6, 1)).unwrap();
        assert!(validate_for_images(&settings, image(17, 33, 1)).is_err());
    }

    #[test]
    fn a_schedule_says_how_long_and_an_average_how_it_decays_in_one_way() {
        let set = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| Override::parse(word).unwrap()).collect();
            validate(&apply(&preset("quick").unwrap(), &words).unwrap())
        };
        let error = set(&["schedule=cosine", "schedule_start=9"]).unwrap_err().to_string();
        assert!(error.starts_with("`optimizer.schedule_steps` must be at least 1"), "{error}");
        set(&["schedule=cosine", "schedule_steps=9"]).unwrap();
        let error = set(&["ema=0.9", "ema_half_life=500"]).unwrap_err().to_string();
        assert!(error.starts_with("`generator.ema_half_life` must be 0"), "{error}");
        set(&["ema_half_life=500", "ema_rampup=0.05"]).unwrap();
    }

    #[test]
    fn every_mistake_is_named() {
        let mut settings = Settings::default();
        (settings.train.batch, settings.train.seed, settings.optimizer.beta1) = (1, u64::MAX, 2.0);
        let error = validate(&settings).unwrap_err().to_string();
        for key in ["`train.batch`", "`train.seed`", "`optimizer.beta1`"] {
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn sizes_that_fit() {
        let mnist = preset("vgan-mnist").unwrap();
        for (height, width) in [(28, 28), (4, 4), (32, 20), (64, 4)] {
            validate_for_images(&mnist, image(height, width, 1)).unwrap();
        }
        let cifar = preset("vgan-cifar10").unwrap();
        for (height, width) in [(32, 32), (64, 16)] {
            validate_for_images(&cifar, image(height, width, 3)).unwrap();
        }
        let resnet = preset("vgan-cifar10-resnet").unwrap();
        for (height, width) in [(32, 32), (64, 64), (128, 128), (28, 28), (5, 7)] {
            validate_for_images(&resnet, image(height, width, 3)).unwrap();
        }
        let message = validate_for_images(&resnet, image(30, 30, 3)).unwrap_err().to_string();
        assert!(message.contains("--resize 28 or --resize 32"), "{message}");
        let mut odd = mnist.clone();
        (odd.generator.channels, odd.generator.output) = (vec![8], OutputLayer::Stride1);
        validate_for_images(&odd, image(17, 33, 1)).unwrap();
    }

    /// Each proposal of the message, taken at its word, fits.
    #[test]
    fn a_size_that_does_not_fit_says_what_would() {
        for (name, height, width) in
            [("vgan-mnist", 30, 28), ("vgan-mnist", 27, 28), ("vgan-cifar10", 28, 28), ("vgan-cifar10", 4, 4)]
        {
            let settings = preset(name).unwrap();
            let message = validate_for_images(&settings, image(height, width, 1)).unwrap_err().to_string();
            assert!(message.contains(&format!("{height}×{width}")), "{message}");
            let sizes = message.split("--resize ").skip(1).map(|rest| rest.split([',', ' ', ':']).next().unwrap());
            let mut proposals = 0;
            for size in sizes.map(|size| size.parse::<usize>().unwrap()) {
                check_generator(&settings.generator, size, size).unwrap();
                proposals += 1;
            }
            assert!(proposals > 0, "{message}");
            let words = message.split("--set ").skip(1).map(|rest| rest.split_whitespace().next().unwrap());
            let overrides: Vec<Override> = words.map(|word| Override::parse(word).unwrap()).collect();
            let changed = apply(&settings, &overrides).unwrap();
            check_generator(&changed.generator, height, width).unwrap();
        }
    }

    #[test]
    fn an_image_too_small_for_the_discriminator() {
        let mut settings = preset("vgan-cifar10").unwrap();
        settings.generator.channels = vec![8];
        let message = validate_for_images(&settings, image(9, 15, 3)).unwrap_err().to_string();
        assert!(message.contains("at least 16×16") && message.contains("channels=64,128,256"), "{message}");
        validate_for_images(&settings, image(16, 17, 3)).unwrap();
        assert!(validate_for_images(&settings, image(0, 0, 3)).is_err());
        assert!(validate_for_images(&settings, image(32, 32, 4)).unwrap_err().to_string().contains("--channels"));
    }
}
