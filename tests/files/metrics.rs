//! The metrics of src/eval/ against NumPy and SciPy (tests/oracle/metrics.py), and against what each of them is there to tell.

use serde::Deserialize;
use std::collections::BTreeMap;
use vgan_cuda::device::{Backend, Cpu};
use vgan_cuda::eval::pyramid::levels;
use vgan_cuda::eval::{METRICS, Set};
use vgan_cuda::run::ImageShape;

#[derive(Deserialize)]
struct Expected {
    features: Vec<OfFeatures>,
    images: Vec<OfImages>,
}

#[derive(Deserialize)]
struct OfFeatures {
    count: usize,
    dims: usize,
    scale: f64,
    shift: f64,
    figures: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct OfImages {
    count: usize,
    side: usize,
    channels: usize,
    dim: u64,
    swd: Vec<f64>,
    levels: Vec<[f64; 3]>,
}

/// The draws of metrics.py: 15 bits each from a linear congruential generator.
fn words(count: usize, start: u64) -> Vec<u64> {
    let next = |state: &mut u64| {
        *state = (*state * 1_103_515_245 + 12345) % (1 << 31);
        Some(*state >> 16)
    };
    std::iter::repeat_with(|| ()).scan(start, |state, ()| next(state)).take(count).collect()
}

fn features(count: usize, dims: usize, start: u64, scale: f64, shift: f64) -> Set {
    let drawn = words(count * dims * 2, start);
    let own = |i: usize, k: usize| {
        let at = 2 * (i * dims + k);
        ((drawn[at] + drawn[at + 1]) as f64 / 32768.0 - 1.0) * (1 + k % 3) as f64 * scale
    };
    let value = |i: usize, k: usize| (own(i, k) + 0.5 * own(i, (k + dims - 1) % dims) + shift) as f32;
    let features = (0..count).flat_map(|i| (0..dims).map(move |k| (i, k))).map(|(i, k)| value(i, k)).collect();
    Set { features, dims, ..Set::new(ImageShape { h: 1, w: 1, c: 1 }) }
}

fn images(shape: ImageShape, count: usize, start: u64, dim: u64) -> Set {
    let len = count * shape.h * shape.w * shape.c;
    let stripe = |at: usize| (at / (shape.c * 5) % 2 * 128) as u64;
    let pixels = words(len, start).into_iter().enumerate();
    let pixels = pixels.map(|(at, word)| ((word % 256 + stripe(at)) % 256 * dim / 100) as u8).collect();
    Set { pixels, ..Set::new(shape) }
}

/// The figures of these metrics.
fn measure(names: &[&str], real: &Set, fake: &Set, seed: u64, threads: usize) -> BTreeMap<String, f64> {
    let cpu = Cpu::<f32>::new(Some(threads)).expect("threads");
    let chosen = METRICS.iter().filter(|metric| names.contains(&metric.name));
    cpu.run(|| chosen.flat_map(|metric| (metric.measure)(real, fake, seed)).collect())
}

fn expected() -> Expected {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics.json");
    serde_json::from_slice(&std::fs::read(path).expect("a committed fixture")).expect("what metrics.py wrote")
}

#[test]
fn figures_of_features_agree_with_scipy() {
    let cases = expected().features;
    assert_eq!(cases.len(), 3);
    let mut bad = Vec::new();
    for OfFeatures { count, dims, scale, shift, figures } in cases {
        let (real, fake) = (features(count, dims, 1, 1.0, 0.0), features(count, dims, 2, scale, shift));
        let found = measure(&["fcd", "kid", "pr", "dc"], &real, &fake, 3, 2);
        assert_eq!(figures.len(), 6);
        for (name, expected) in figures {
            // The root of a matrix by SciPy's general method is good to about 1e-8.
            let tolerance = if name == "fcd" { 1e-7 } else { 1e-12 } * expected.abs().max(1.0);
            if (found[&name] - expected).abs() > tolerance {
                bad.push(format!("{count}×{dims} {name}: {}, expected {expected}", found[&name]));
            }
        }
        // Each subset of KID is the whole of so small a set.
        assert!(found["kid_se"] < 1e-12);
    }
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn pyramids_and_distances_of_patches_agree_with_scipy() {
    for OfImages { count, side, channels, dim, swd, levels: expected } in expected().images {
        let shape = ImageShape { h: side, w: side, c: channels };
        let (real, fake) = (images(shape, count, 3, 100), images(shape, count, 4, dim));
        let found = levels(shape, &real.pixels);
        assert_eq!(found.len(), expected.len());
        for (level, expected) in found.iter().zip(expected) {
            for ((y, x), expected) in [(0, 0), (5, 9), (13, 13)].into_iter().zip(expected) {
                let ImageShape { h, w, c } = level.shape;
                let value = f64::from(level.values[(h * w + y * w + x) * c]);
                assert!((value - expected).abs() < 1e-3, "{h}: ({y}, {x}) {value} {expected}");
            }
        }
        let figures = measure(&["swd"], &real, &fake, (1 << 33) + 5, 2);
        for (level, expected) in [side, side / 2].into_iter().zip(&swd) {
            // Projections are f32, and so are the normal draws of the directions.
            let value = figures[&format!("swd_{level}")];
            assert!((value - expected).abs() < 1e-4 * expected, "{side}, level {level}: {value} {expected}");
        }
        assert!((figures["swd"] - swd.iter().sum::<f64>() / 2.0).abs() < 1e-2);
    }
}

/// Points around centres: `modes` of them, each spread by `spread`.
fn clusters(count: usize, modes: usize, spread: f64, start: u64) -> Set {
    const DIMS: usize = 6;
    let mut set = features(count, DIMS, start, spread, 0.0);
    for (i, point) in set.features.chunks_exact_mut(DIMS).enumerate() {
        point[i % modes] += 10.0;
    }
    set.classes = (0..count).map(|i| (i % modes) as u16).collect();
    set.names = (0..4).map(|class| class.to_string()).collect();
    set
}

/// Samples that lack a mode lose recall and coverage and keep precision; noisy ones the other way round. Both are farther away.
#[test]
fn a_lost_mode_shows_in_recall_and_noise_in_precision() {
    let all = ["fcd", "kid", "pr", "dc", "classes"];
    let real = clusters(400, 4, 0.4, 1);
    let of = |fake: &Set| measure(&all, &real, fake, 9, 2);
    let [good, dropped, noisy] =
        [clusters(400, 4, 0.4, 7), clusters(400, 2, 0.4, 7), clusters(400, 4, 2.0, 7)].map(|fake| of(&fake));
    assert!(good["precision"] > 0.9 && good["recall"] > 0.9 && good["coverage"] > 0.9, "{good:?}");
    assert!((good["density"] - 1.0).abs() < 0.2 && good["modes"] == 4.0, "{good:?}");
    assert!(dropped["precision"] > 0.9 && dropped["recall"] < 0.6 && dropped["coverage"] < 0.6, "{dropped:?}");
    assert_eq!((dropped["modes"], dropped["class_distance"]), (2.0, 0.5));
    assert!(noisy["precision"] < 0.6 && noisy["density"] < 0.6 && noisy["recall"] > 0.9, "{noisy:?}");
    for worse in [&dropped, &noisy] {
        assert!(worse["fcd"] > 10.0 * good["fcd"] && worse["kid"] > good["kid"] + 10.0 * good["kid_se"], "{worse:?}");
    }
    // Half of the real images against the others: near, but for what so few points differ by.
    assert!(good["fcd_floor"] > 0.0 && good["fcd_floor"] < 0.2 * dropped["fcd"].min(noisy["fcd"]), "{good:?}");
}

/// Sets that are large enough for several blocks, subsets and groups of images.
#[test]
fn figures_have_the_same_bits_on_any_number_of_threads() {
    let shape = ImageShape { h: 16, w: 15, c: 3 };
    let set = |start, scale| {
        let Set { pixels, .. } = images(shape, 40, start, 90);
        Set { pixels, image: shape, ..features(1300, 8, start, scale, 0.0) }
    };
    let (real, fake) = (set(1, 1.0), set(2, 1.1));
    let of = |threads| measure(&["fcd", "kid", "pr", "dc", "swd"], &real, &fake, 4, threads);
    let one = of(1);
    assert!(one["kid_se"] > 0.0, "subsets differ");
    assert_eq!(one, of(3));
    assert_ne!(one["kid"], measure(&["kid"], &real, &fake, 5, 1)["kid"], "another seed, other subsets");
}
