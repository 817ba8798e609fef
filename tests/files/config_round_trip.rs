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
    let background = any::<[u8; 3]>().prop_map(|rgb| Background { rgb });
    let seed = 0..=i64::MAX as u64;
    ("\\PC*", 0usize..512, prop_oneof![Just(0), Just(1), Just(3)], background, seed, any::<bool>(), range).prop_map(
        |(source, resize, channels, background, seed, flip, range)| DataSettings {
            source,
            resize,
            channels,
            background,
            seed,
            flip,
            range,
        },
    )
}

fn nets() -> impl Strategy<Value = NetsSettings> {
    let conditional = prop::sample::select(Conditional::ALL);
    (conditional, 1usize..400, 0usize..=65_535).prop_map(|(conditional, class_embedding, classes)| NetsSettings {
        conditional,
        class_embedding,
        classes,
        ..NetsSettings::default()
    })
}

fn generator() -> impl Strategy<Value = GeneratorSettings> {
    let prior = prop::sample::select(Prior::ALL);
    let output = prop_oneof![Just(OutputLayer::Stride1), Just(OutputLayer::Stride2)];
    let average = prop_oneof![
        (0.0..0.999).prop_map(|ema| (ema, 0.0, 0.0)),
        (positive(), prop_oneof![Just(0.0), positive()]).prop_map(|(half_life, rampup)| (0.0, half_life, rampup)),
    ];
    (1usize..1000, prior, widths(0), widths(1), output, average).prop_map(
        |(latent, prior, hidden, channels, output, (ema, ema_half_life, ema_rampup))| GeneratorSettings {
            latent,
            prior,
            hidden,
            channels,
            output,
            ema,
            ema_half_life,
            ema_rampup,
            ..GeneratorSettings::default()
        },
    )
}

fn discriminator() -> impl Strategy<Value = DiscriminatorSettings> {
    let norm = prop_oneof![Just(Norm::Batch), Just(Norm::None)];
    let minibatch = (prop_oneof![Just(0), 1usize..200], 1usize..20);
    (widths(1), norm, any::<bool>(), widths(0), 0.0..0.99, any::<bool>(), minibatch).prop_map(
        |(channels, norm, norm_first, hidden, leak, spectral_norm, (kernels, minibatch_dims))| {
            let rest = DiscriminatorSettings::default();
            let minibatch_kernels = if hidden.is_empty() { 0 } else { kernels };
            let rest = DiscriminatorSettings { minibatch_kernels, minibatch_dims, ..rest };
            DiscriminatorSettings { channels, norm, norm_first, hidden, leak, spectral_norm, ..rest }
        },
    )
}

fn bottleneck() -> impl Strategy<Value = BottleneckSettings> {
    let reduction = prop_oneof![Just(KlReduction::Mean), Just(KlReduction::Sum), Just(KlReduction::Channels)];
    let mix = prop_oneof![Just(KlMix::Sum), Just(KlMix::Mean)];
    let z = prop_oneof![Just(BottleneckZ::Sampled), Just(BottleneckZ::Mean)];
    let sigma = prop::sample::select(Sigma::ALL);
    (any::<bool>(), 0usize..300, reduction, mix, z, (sigma, -10.0..10.0), positive(), positive(), positive()).prop_map(
        |(enabled, channels, kl_reduction, kl_mix, generator_z, (sigma, logvar_bias), beta, beta_step, target_kl)| {
            BottleneckSettings {
                enabled,
                channels,
                kl_reduction,
                kl_mix,
                generator_z,
                sigma,
                logvar_bias,
                beta,
                beta_step,
                target_kl,
            }
        },
    )
}

/// A penalty goes with a discriminator without batch normalisation.
fn objective(norm: Norm) -> impl Strategy<Value = ObjectiveSettings> {
    let loss = (prop::sample::select(Loss::ALL), positive(), positive(), 0.01..1.0, positive());
    let penalty = prop::sample::select(if norm == Norm::None { Penalty::ALL } else { &[Penalty::None] });
    let z = prop_oneof![Just(BottleneckZ::Sampled), Just(BottleneckZ::Mean)];
    let penalty = (penalty, positive(), 1u64..=65_536, z);
    let noise = (positive(), 0u64..1000, any::<[bool; 3]>());
    let optional = || prop_oneof![Just(0.0), positive()];
    let terms = (positive(), optional(), optional(), optional());
    (loss, 0.01..1.0, penalty, positive(), 1u32..100, noise, terms).prop_map(
        |(loss, target, penalty, clip, discriminator_steps, noise, terms)| {
            let (instance_noise, instance_noise_steps, [color, translation, cutout]) = noise;
            let (historical_averaging, matching, reconstruction, mode) = terms;
            let (penalty, penalty_weight, penalty_every, penalty_z) = penalty;
            let (loss, margin, repelling, balance_ratio, balance_step) = loss;
            ObjectiveSettings {
                loss,
                real_target: if loss.is_log_odds() { target } else { 1.0 },
                margin,
                repelling: if loss == Loss::Ebgan && matching == 0.0 { repelling } else { 0.0 },
                balance_ratio,
                balance_step,
                penalty: if loss.is_energy() { Penalty::None } else { penalty },
                penalty_weight,
                penalty_every,
                penalty_z,
                clip,
                discriminator_steps,
                instance_noise,
                instance_noise_steps,
                augment: AugmentPolicy { color, translation, cutout },
                feature_matching: if loss == Loss::Began { 0.0 } else { matching },
                historical_averaging,
                reconstruction,
                mode,
            }
        },
    )
}

fn optimizer() -> impl Strategy<Value = OptimizerSettings> {
    let kind = prop_oneof![Just(OptimizerKind::Adam), Just(OptimizerKind::Rmsprop)];
    let schedule = (0u64..1000, prop::sample::select(ScheduleKind::ALL), 0u64..1000, 1u64..1000, 0.0..0.999);
    let rates = (positive(), positive(), schedule);
    (kind, rates, 0.0..0.999, 0.0..0.999, 0.0..0.999, positive(), positive()).prop_map(
        |(kind, (discriminator_lr, generator_lr, schedule), beta1, beta2, decay, epsilon, init_std)| {
            OptimizerSettings {
                kind,
                discriminator_lr,
                generator_lr,
                warmup: schedule.0,
                schedule: schedule.1,
                schedule_start: schedule.2,
                schedule_steps: schedule.3,
                schedule_floor: schedule.4,
                beta1,
                beta2,
                decay,
                epsilon,
                init_std,
            }
        },
    )
}

fn train() -> impl Strategy<Value = TrainSettings> {
    let large = 0..=i64::MAX as u64;
    let init = ("[a-zA-Z0-9/. \"'ß]{0,20}", "[a-z.,=]{0,20}");
    let dtype = (prop::sample::select(Precision::ALL), init, any::<[bool; 3]>(), 1usize..9);
    (2usize..4096, 1usize..1000, large.clone(), positive(), large, 1u64..1000, 0u64..1000, 0usize..9, dtype).prop_map(
        |(batch, epochs, steps, minutes, seed, tick, snap, keep, (dtype, (init, parts), flags, accumulate))| {
            let [tensorboard, sync_batch_norm, shard_optimizer] = flags;
            TrainSettings {
                accumulate,
                sync_batch_norm,
                shard_optimizer,
                batch,
                epochs,
                steps,
                minutes,
                seed,
                tick,
                snap,
                keep,
                tensorboard,
                init_parts: if init.is_empty() { String::new() } else { parts },
                init,
                dtype,
            }
        },
    )
}

fn eval() -> impl Strategy<Value = EvalSettings> {
    let large = 0..=i64::MAX as u64;
    let files = [any::<String>(), any::<String>(), any::<String>()];
    (any::<String>(), large.clone(), 16usize..100_000, large, files, prop::sample::select(Resize::ALL)).prop_map(
        |(metrics, every, samples, seed, [classifier, inception, inception_statistics], inception_resize)| {
            EvalSettings {
                metrics,
                every,
                samples,
                seed,
                classifier,
                inception,
                inception_resize,
                inception_statistics,
            }
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    let discriminators = discriminator().prop_flat_map(|net| (objective(net.norm), Just(net)));
    let all = (data(), nets(), generator(), discriminators, bottleneck(), optimizer(), train(), residual(), eval());
    all.prop_map(|(data, nets, generator, (objective, discriminator), bottleneck, optimizer, train, residual, eval)| {
        let mut settings =
            Settings { data, nets, generator, discriminator, bottleneck, objective, optimizer, train, eval };
        if settings.objective.loss.is_energy() {
            settings.discriminator.spectral_norm = false;
        }
        if settings.objective.loss.is_energy() || settings.objective.penalty != Penalty::None || residual.is_some() {
            settings.discriminator.minibatch_kernels = 0;
        }
        if let Some([width, more]) = residual {
            let (generator, discriminator) = (&mut settings.generator, &mut settings.discriminator);
            settings.nets.family = Family::Resnet;
            (generator.hidden, generator.channels, generator.output) = (vec![], vec![], OutputLayer::Stride1);
            (discriminator.hidden, discriminator.channels, discriminator.norm_first) = (vec![], vec![], false);
            discriminator.norm = Norm::None;
            if settings.objective.loss.is_energy() {
                (settings.objective.loss, settings.objective.repelling) = (Loss::Hinge, 0.0);
            }
            (generator.width, generator.max_width) = (width, width + more);
            (discriminator.width, discriminator.max_width) = (width + more, width + 2 * more);
        }
        let Settings { nets, discriminator, objective, .. } = &mut settings;
        let has_hidden = nets.family == Family::Dcgan && !discriminator.hidden.is_empty();
        if objective.loss.is_energy()
            || objective.feature_matching > 0.0
            || (nets.conditional == Conditional::Concatenation && !has_hidden)
        {
            nets.conditional = Conditional::None;
        }
        if !nets.is_conditional() {
            nets.classes = 0;
        }
        let whole = objective.feature_matching > 0.0
            || objective.repelling > 0.0
            || objective.reconstruction > 0.0
            || objective.mode > 0.0
            || objective.penalty == Penalty::Dragan
            || discriminator.minibatch_kernels > 0;
        settings.train.accumulate = if whole { 1 } else { settings.train.accumulate };
        // At least two images a part.
        settings.train.batch *= settings.train.accumulate;
        settings
    })
}

/// Widths of residual nets, where the nets are residual.
fn residual() -> impl Strategy<Value = Option<[usize; 2]>> {
    prop::option::of([1usize..100, 0usize..900])
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
