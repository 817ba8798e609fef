//! Settings that are written as TOML and read back are equal, whatever they are put over.

use proptest::prelude::*;
use vgan_cuda::config::*;

fn widths(fewest: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1usize..2000, fewest..5)
}

fn positive() -> impl Strategy<Value = f64> {
    prop_oneof![1e-12..1.0, Just(1e-4), Just(0.1), Just(1.0), Just(f64::from(f32::MIN_POSITIVE))]
}

fn data() -> impl Strategy<Value = DataSettings> {
    let range = prop_oneof![Just(PixelRange::ZeroToOne), Just(PixelRange::MinusOneToOne)];
    ("\\PC*", 0usize..512, prop_oneof![Just(0), Just(1), Just(3)], any::<bool>(), range)
        .prop_map(|(source, resize, channels, flip, range)| DataSettings { source, resize, channels, flip, range })
}

fn generator() -> impl Strategy<Value = GeneratorSettings> {
    let prior = prop_oneof![Just(Prior::Uniform), Just(Prior::Normal)];
    let output = prop_oneof![Just(OutputLayer::Stride1), Just(OutputLayer::Stride2)];
    (1usize..1000, prior, widths(0), widths(1), output, 0.0..0.999).prop_map(
        |(latent, prior, hidden, channels, output, ema)| GeneratorSettings {
            latent,
            prior,
            hidden,
            channels,
            output,
            ema,
        },
    )
}

fn discriminator() -> impl Strategy<Value = DiscriminatorSettings> {
    (widths(1), any::<bool>(), widths(0), 0.0..0.99)
        .prop_map(|(channels, norm_first, hidden, leak)| DiscriminatorSettings { channels, norm_first, hidden, leak })
}

fn bottleneck() -> impl Strategy<Value = BottleneckSettings> {
    let reduction = prop_oneof![Just(KlReduction::Mean), Just(KlReduction::Sum), Just(KlReduction::Channels)];
    let mix = prop_oneof![Just(KlMix::Sum), Just(KlMix::Mean)];
    let z = prop_oneof![Just(GeneratorZ::Sampled), Just(GeneratorZ::Mean)];
    (any::<bool>(), 0usize..300, reduction, mix, z, -20.0..20.0, positive(), positive(), positive()).prop_map(
        |(enabled, channels, kl_reduction, kl_mix, generator_z, logvar_bias, beta, beta_step, target_kl)| {
            BottleneckSettings {
                enabled,
                channels,
                kl_reduction,
                kl_mix,
                generator_z,
                logvar_bias,
                beta,
                beta_step,
                target_kl,
            }
        },
    )
}

fn objective() -> impl Strategy<Value = ObjectiveSettings> {
    let loss = prop_oneof![Just(Loss::Gan), Just(Loss::Ns), Just(Loss::Lsgan), Just(Loss::Hinge), Just(Loss::Wgan)];
    (loss, 0.01..1.0, positive(), 1u32..100, positive(), 0u64..1000, positive()).prop_map(
        |(loss, target, clip, discriminator_steps, instance_noise, instance_noise_steps, historical_averaging)| {
            ObjectiveSettings {
                loss,
                real_target: if loss.is_log_odds() { target } else { 1.0 },
                clip,
                discriminator_steps,
                instance_noise,
                instance_noise_steps,
                historical_averaging,
            }
        },
    )
}

fn optimizer() -> impl Strategy<Value = OptimizerSettings> {
    (positive(), positive(), 0.0..0.999, 0.0..0.999, positive(), positive()).prop_map(
        |(discriminator_lr, generator_lr, beta1, beta2, epsilon, init_std)| OptimizerSettings {
            discriminator_lr,
            generator_lr,
            beta1,
            beta2,
            epsilon,
            init_std,
        },
    )
}

fn train() -> impl Strategy<Value = TrainSettings> {
    let large = 0..=i64::MAX as u64;
    let dtype = prop_oneof![Just(Dtype::F32), Just(Dtype::Tf32), Just(Dtype::Bf16)];
    (2usize..4096, 1usize..1000, large.clone(), large, 1u64..1000, 0u64..1000, 0usize..9, dtype).prop_map(
        |(batch, epochs, steps, seed, tick, snap, keep, dtype)| TrainSettings {
            batch,
            epochs,
            steps,
            seed,
            tick,
            snap,
            keep,
            dtype,
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    (data(), generator(), discriminator(), bottleneck(), objective(), optimizer(), train()).prop_map(
        |(data, generator, discriminator, bottleneck, objective, optimizer, train)| Settings {
            data,
            generator,
            discriminator,
            bottleneck,
            objective,
            optimizer,
            train,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn written_and_read_back(settings in settings()) {
        validate(&settings).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), to_toml(&settings, "quick").map_err(|e| TestCaseError::fail(e.to_string()))?)?;
        for (name, _) in PRESETS {
            let base = preset(name).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let back = read(file.path(), &base).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&back, &settings);
        }
    }
}

#[test]
fn a_seed_that_toml_cannot_hold_is_refused() {
    let mut settings = Settings::default();
    settings.train.seed = u64::MAX;
    assert_eq!(to_toml(&settings, "quick").expect_err("too large").exit_code(), 2);
}
