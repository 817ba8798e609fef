//! A run that was stopped and resumed ends with the very bytes of the one that was not, on any number of threads.

use crate::whole_runs::{EPOCH, Run, TestFolder, assert_same_checkpoint, exit_with, stderr, stdout, succeed};
use vgan_cuda::run::Record;

const LENGTH: u64 = 13;

/// The steps at which runs are cut: no place is a tick's, a snapshot's or an epoch's end but the 6 and the 10.
const SPLITS: [&[u64]; 3] = [&[1], &[6], &[2, 3, 7, 10, 11]];

/// Trains up to each cut and then to the end, every piece in a process of its own.
fn in_pieces(place: &TestFolder, outdir: &str, words: &str, cuts: &[u64], threads: impl Fn(usize) -> usize) -> Run {
    let run = place.trained(outdir, &format!("{words} --steps {} --threads {}", cuts[0], threads(0)));
    for (piece, steps) in cuts[1..].iter().chain([&LENGTH]).enumerate() {
        let output = succeed(run.resume(&format!("--steps {steps} --threads {}", threads(piece + 1))));
        assert!(stdout(&output).ends_with("--seeds 0-63 --grid\n"), "{output:?}");
    }
    run
}

fn any_split_gives_the_same_bytes(words: &str) {
    let place = TestFolder::new();
    let straight = place.trained("straight", &format!("{words} --steps {LENGTH} --threads 1"));
    let (checkpoint, picture) = (straight.checkpoint(LENGTH), straight.bytes("fakes000013.png"));
    for threads in [2, 3] {
        let outdir = format!("straight{threads}");
        let run = place.trained(&outdir, &format!("{words} --steps {LENGTH} --threads {threads}"));
        assert_same_checkpoint(&run.checkpoint(LENGTH), &checkpoint, &outdir);
    }
    for cuts in SPLITS {
        for threads in 1..=3 {
            let outdir = format!("cuts{}threads{threads}", cuts.len() * 10 + cuts[0] as usize);
            // The last round changes the number of threads from piece to piece.
            let run =
                in_pieces(&place, &outdir, words, cuts, |piece| if threads == 3 { 3 - piece % 3 } else { threads });
            assert_same_checkpoint(&run.checkpoint(LENGTH), &checkpoint, &outdir);
            assert_eq!(run.bytes("fakes000013.png"), picture, "{outdir}");
        }
    }
    let other = place.trained("other", &format!("{words} --steps {LENGTH} --seed 1"));
    assert_ne!(other.checkpoint(LENGTH)[0], checkpoint[0], "another seed");
}

#[test]
fn a_vgan_with_flips_and_an_average() {
    any_split_gives_the_same_bytes("quick --tick 4 --snap 6 --set data.flip=true --set generator.ema=0.9");
}

#[test]
fn a_plain_gan() {
    any_split_gives_the_same_bytes("gan-mnist --tick 4 --snap 6");
}

/// Residual blocks, RMSprop, which has no first moments, and the moving average.
#[test]
fn residual_nets_with_rmsprop() {
    any_split_gives_the_same_bytes(
        "vgan-cifar10-resnet --tick 4 --snap 6 --set generator.channels=[] --set generator.hidden=[] \
         --set discriminator.channels=[] --set discriminator.hidden=[] --set generator.width=4 \
         --set generator.max_width=6 --set discriminator.width=4 --set discriminator.max_width=6",
    );
}

/// A penalty of every third step: the cuts at 2, 7, 10 and 11 lie between two of them, the one at 3 on one.
#[test]
fn a_lazy_penalty() {
    let place = TestFolder::new();
    let words = "quick --tick 4 --snap 6 --set discriminator.norm=none --set penalty=dragan --set penalty_every=3";
    let straight = place.trained("straight", &format!("{words} --steps {LENGTH} --threads 1"));
    let pieces = in_pieces(&place, "pieces", words, SPLITS[2], |piece| 1 + piece % 3);
    assert_same_checkpoint(&pieces.checkpoint(LENGTH), &straight.checkpoint(LENGTH), "cut");
    let penalties: Vec<f64> = straight.records().iter().map(|record| record.penalty).collect();
    assert!(penalties.iter().all(|&penalty| penalty > 0.0), "{penalties:?}");
    let each = place.trained("each", &format!("{} --steps {LENGTH}", words.replace("every=3", "every=1")));
    assert_ne!(each.checkpoint(LENGTH)[0], straight.checkpoint(LENGTH)[0], "a penalty in each step");
}

/// A generator that is told of a batch as a whole, by features that are matched and images that are compared.
#[test]
fn features_that_are_matched_and_images_that_are_compared() {
    any_split_gives_the_same_bytes(
        "quick --tick 4 --snap 6 --set feature_matching=1 --set instance_noise=0.1 --set augment=cutout \
         --set minibatch_kernels=5",
    );
}

/// Everything that the objective keeps beside the weights, and two batches a step.
#[test]
fn a_clipped_critic_with_noise_a_mean_so_far_and_schedules() {
    any_split_gives_the_same_bytes(
        "quick --tick 4 --snap 6 --set loss=hinge --set clip=0.1 --set discriminator_steps=2 --set instance_noise=0.2 \
         --set instance_noise_steps=9 --set historical_averaging=0.01 --set warmup=5 --set schedule=cosine \
         --set schedule_start=6 --set schedule_steps=4 --set ema_half_life=50 --set ema_rampup=0.3 \
         --set augment=color,translation,cutout",
    );
}

/// A resume with another number of discriminator steps would go on with other draws.
#[test]
fn another_number_of_discriminator_steps_is_refused() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3 --set discriminator_steps=2");
    let config = run.file("config.toml");
    let text = std::fs::read_to_string(&config).expect("config.toml");
    let changed = text.replace("discriminator_steps = 2", "discriminator_steps = 4");
    assert_ne!(changed, text);
    std::fs::write(&config, changed).expect("writing");
    let output = exit_with(run.resume("--steps 5"), 3);
    let message = stderr(&output);
    for part in [
        "expected objective.discriminator_steps = 2, as the run was trained with",
        "found objective.discriminator_steps = 4",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

/// k of BEGAN goes on from where it stood, and is 0 in the checkpoints of other losses, which say nothing of it.
#[test]
fn an_autoencoder_whose_k_moves() {
    let place = TestFolder::new();
    let words = "quick --tick 4 --snap 6 --set loss=began --set balance_step=0.1";
    let straight = place.trained("straight", &format!("{words} --steps {LENGTH} --threads 1"));
    let pieces = in_pieces(&place, "pieces", words, SPLITS[2], |piece| 1 + piece % 3);
    assert_same_checkpoint(&pieces.checkpoint(LENGTH), &straight.checkpoint(LENGTH), "cut");
    let state = |run: &Run| String::from_utf8(run.checkpoint(LENGTH)[2].clone()).expect("JSON");
    assert!(state(&straight).contains("\"balance\": 0."), "{}", state(&straight));
    let records = straight.records();
    assert!(records.iter().all(|record| record.balance.is_some_and(|k| k > 0.0) && record.convergence.is_some()));
    let other = place.trained("other", &format!("quick --tick 4 --steps {LENGTH}"));
    assert!(!state(&other).contains("\"balance\":"), "{}", state(&other));
    assert!(other.records().iter().all(|record| record.balance.is_none() && record.convergence.is_none()));
}

/// An encoder with its moments and its own count of updates, and noise of its own.
#[test]
fn a_mode_regularised_generator_with_its_encoder() {
    let place = TestFolder::new();
    let words = "quick --tick 4 --snap 6 --set reconstruction=0.2 --set mode=0.4 --set instance_noise=0.1 \
                 --set augment=translation";
    let straight = place.trained("straight", &format!("{words} --steps {LENGTH} --threads 1"));
    let pieces = in_pieces(&place, "pieces", words, SPLITS[2], |piece| 1 + piece % 3);
    assert_same_checkpoint(&pieces.checkpoint(LENGTH), &straight.checkpoint(LENGTH), "cut");
    assert!(straight.records().iter().all(|record| record.reconstruction.is_some_and(|error| error > 0.0)));
    let newest = straight.newest();
    assert_eq!(newest.state.updates.encoder, LENGTH);
    for (name, tensors) in [("encoder.fc.weight", &newest.model), ("encoder.conv.0.weight.exp_avg_sq", &newest.optim)] {
        assert!(tensors.iter().any(|tensor| tensor.name == name), "{name}");
    }
    // Not so in other runs, whose checkpoints are as they were before there were encoders.
    let other = place.trained("other", &format!("quick --tick 4 --steps {LENGTH}"));
    let state = String::from_utf8(other.checkpoint(LENGTH)[2].clone()).expect("JSON");
    assert!(!state.contains("encoder"), "{state}");
    assert!(other.records().iter().all(|record| record.reconstruction.is_none()));
    assert!(!other.newest().model.iter().any(|tensor| tensor.name.starts_with("encoder.")));
}

/// A run with an encoder does not go on without it, nor the other way around.
#[test]
fn an_encoder_that_comes_or_goes_is_refused() {
    let place = TestFolder::new();
    let lines = |reconstruction, mode| [format!("reconstruction = {reconstruction}"), format!("mode = {mode}")];
    let [with, without] = [lines("0.2", "0.4"), lines("0.0", "0.0")];
    for (outdir, words, [before, after], parts) in [
        (
            "goes",
            "quick --steps 3 --set reconstruction=0.2 --set mode=0.4",
            [&with, &without],
            [
                "expected no encoder of mode regularisation, as config.toml says",
                "write reconstruction and mode as they were into",
            ],
        ),
        (
            "comes",
            "quick --steps 3",
            [&without, &with],
            ["found no encoder of mode regularisation", "write reconstruction = 0.0 and mode = 0.0 into"],
        ),
    ] {
        let run = place.trained(outdir, words);
        let config = run.file("config.toml");
        let mut text = std::fs::read_to_string(&config).expect("config.toml");
        for (before, after) in before.iter().zip(after) {
            assert!(text.contains(before.as_str()), "{before} in {text}");
            text = text.replace(before.as_str(), after);
        }
        std::fs::write(&config, text).expect("writing");
        let message = stderr(&exit_with(run.resume("--steps 5"), 3));
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
}

/// The vectors of the power iterations go on from where they were.
#[test]
fn a_spectrally_normalised_discriminator() {
    any_split_gives_the_same_bytes("quick --tick 4 --snap 6 --set discriminator.spectral_norm=true");
}

/// Of runs that report each step, every number is the same; of others, a record is the mean since the tick or the
/// resume before it.
#[test]
fn the_records_have_each_tick_once() {
    let place = TestFolder::new();
    let each = place.trained("each", &format!("quick --tick 1 --steps {LENGTH}")).numbers();
    assert_eq!(each.iter().map(|record| record.step).collect::<Vec<_>>(), (1..=LENGTH).collect::<Vec<_>>());
    assert_eq!(each[7].epoch, 8.0 / EPOCH as f64);
    let pieces = in_pieces(&place, "each-cut", "quick --tick 1", SPLITS[2], |_| 2);
    assert_eq!(pieces.numbers(), each);
    let times: Vec<f64> = pieces.records().iter().map(|record| record.elapsed_s).collect();
    assert!(times.is_sorted(), "{times:?}");

    let run = in_pieces(&place, "fours", "quick --tick 4", &[6, 9], |_| 2);
    let records = run.numbers();
    assert_eq!(records.iter().map(|record| record.step).collect::<Vec<_>>(), [4, 6, 8, 9, 12, 13]);
    for (record, steps) in records.iter().zip([0..4, 4..6, 6..8, 8..9, 9..12, 12..13]) {
        let steps = &each[steps];
        let mean = |value: fn(&Record) -> f64| steps.iter().map(value).sum::<f64>() / steps.len() as f64;
        let means = [mean(|r| r.loss_d), mean(|r| r.loss_g), mean(|r| r.kl_real), mean(|r| r.d_fake)];
        assert_eq!([record.loss_d, record.loss_g, record.kl_real, record.d_fake], means, "step {}", record.step);
        assert_eq!(record.beta, steps[steps.len() - 1].beta);
    }
}

#[test]
fn a_finished_run_says_so_and_can_be_made_longer() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 7 --keep 0");
    let (checkpoint, records) = (run.checkpoint(7), run.records());
    for words in ["", "--steps 7", "--steps 3"] {
        let output = succeed(run.resume(words));
        assert!(stderr(&output).contains("nothing left to do at step 7; pass --steps N"), "{}", stderr(&output));
        assert!(stdout(&output).starts_with("done; draw samples with: vgan-cuda generate "), "{}", stdout(&output));
        assert_eq!(run.records(), records, "no step was trained");
        assert_same_checkpoint(&run.checkpoint(7), &checkpoint, "no step was trained");
    }
    succeed(run.resume(&format!("--steps {LENGTH}")));
    let straight = place.trained("straight", &format!("quick --steps {LENGTH}"));
    assert_same_checkpoint(&run.checkpoint(LENGTH), &straight.checkpoint(LENGTH), "made longer");
    // The new length is the run's own from now on.
    let output = succeed(run.resume(""));
    assert!(stderr(&output).contains("nothing left to do at step 13"), "{}", stderr(&output));
    exit_with(run.resume("--steps 0"), 2);
}

#[test]
fn epochs_are_counted_in_whole_batches() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --epochs 2 --snap 0 --keep 0");
    assert_eq!(run.newest_step(), 2 * EPOCH);
    assert_eq!(run.newest().state.epoch, 2.0);
    assert!(run.file("checkpoints/000005").is_dir() && run.file("fakes000005.png").is_file(), "one snapshot an epoch");
    let straight = place.trained("straight", "quick --steps 10");
    assert_same_checkpoint(&run.checkpoint(10), &straight.checkpoint(10), "epochs or steps");
}

/// `--threads` is also the library's promise: widths that are cut into parts differently still sum alike.
#[test]
fn threads_do_not_change_the_bits_of_wider_nets() {
    let place = TestFolder::new();
    std::fs::write(place.path("digits"), crate::whole_runs::idx(40, 28)).expect("writing");
    let data = place.path("digits");
    for preset in [
        "vgan-mnist --set discriminator.hidden=640 --set generator.hidden=96 \
         --set generator.channels=24,12 --set discriminator.channels=12,24",
        "gan-mnist --set discriminator.hidden=64 --set generator.hidden=640 \
         --set generator.channels=24,12 --set discriminator.channels=12,24",
        "quick --dtype bf16 --set generator.channels=64,32 --set discriminator.channels=32,64",
    ] {
        let mut first = None;
        for threads in [1, 2, 3, 8] {
            let words = format!(
                "{preset} --batch 16 --steps 20 --snap 20 --threads {threads} --data {} --desc t{threads}",
                data.display()
            );
            let outdir = format!("{}{threads}", &preset[..4]);
            succeed(place.train_wide(&outdir, &words));
            let checkpoint = place.run(&outdir).checkpoint(20);
            assert_same_checkpoint(first.get_or_insert_with(|| checkpoint.clone()), &checkpoint, &words);
        }
    }
}

/// Colour, tanh, flips and four doublings: another path through the convolutions.
#[test]
fn threads_do_not_change_the_bits_of_a_colour_net() {
    let place = TestFolder::new();
    // One CIFAR-10 file of 24 records: a label, then 3072 pixels.
    let bytes: Vec<u8> = (0..24 * 3073u32).map(|i| if i % 3073 == 0 { 3 } else { (i * 7 + i / 911) as u8 }).collect();
    std::fs::write(place.path("data_batch_1.bin"), bytes).expect("writing");
    let mut first = None;
    for threads in [1, 2, 3, 8] {
        let words = format!(
            "vgan-cifar10 --batch 8 --steps 6 --snap 6 --threads {threads} --data {} \
             --set generator.channels=32,16,12,8 --set discriminator.channels=8,12,16,32 --set discriminator.hidden=48",
            place.path("data_batch_1.bin").display()
        );
        let outdir = format!("colour{threads}");
        succeed(place.train_wide(&outdir, &words));
        let checkpoint = place.run(&outdir).checkpoint(6);
        assert_same_checkpoint(first.get_or_insert_with(|| checkpoint.clone()), &checkpoint, &words);
    }
}
