//! Philox against Random123's known answers and another implementation; the draws made of it against their
//! distributions. All draws are fixed by their seed, so the bounds can't fail by chance.

use vgan_cuda::device::normal::{fill_normals, normals4};
use vgan_cuda::device::philox::{self, Stream, draw, philox4x32_10};

const STREAMS: [Stream; 11] = [
    Stream::Init,
    Stream::LatentDiscriminator,
    Stream::LatentGenerator,
    Stream::NoiseReal,
    Stream::NoiseFake,
    Stream::NoiseGenerator,
    Stream::Flip,
    Stream::Permutation,
    Stream::LatentSample,
    Stream::ClassDiscriminator,
    Stream::ClassGenerator,
];

/// The lines `philox4x32 10` of Random123's tests/kat_vectors: counter, key, result.
#[test]
fn known_answers_of_random123() {
    let vectors = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];
    for (counter, key, expected) in vectors {
        assert_eq!(philox4x32_10(counter, key), expected, "{counter:x?} {key:x?}");
    }
}

#[test]
fn another_implementation_agrees() {
    let mut state = 1u64;
    let mut word = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    };
    for _ in 0..10_000 {
        let (counter, key) = ([word(), word(), word(), word()], [word(), word()]);
        let wide = counter.iter().rev().fold(0u128, |wide, &word| (wide << 32) | u128::from(word));
        let mut other = rand_philox::Philox::new(key, wide);
        let expected = [other.next_u32(), other.next_u32(), other.next_u32(), other.next_u32()];
        assert_eq!(philox4x32_10(counter, key), expected, "{counter:x?} {key:x?}");
    }
}

#[test]
fn no_two_purposes_share_a_counter() {
    let mut seen = std::collections::HashSet::new();
    for stream in STREAMS {
        for (step, sample, block) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1 << 32, 0, 0), (0, u32::MAX, 0)] {
            for seed in [0, 1, 1 << 32] {
                assert!(seen.insert(draw(seed, stream, step, sample, block)), "{stream:?} {step} {sample} {block}");
            }
        }
    }
}

const COUNT: usize = 1 << 20;

fn normals(stream: Stream, step: u64, sample: u32) -> Vec<f64> {
    let mut values = vec![0.0f32; COUNT];
    fill_normals(42, stream, step, sample, 0, &mut values);
    values.into_iter().map(f64::from).collect()
}

fn uniforms(stream: Stream) -> Vec<f64> {
    let bits = (0..COUNT as u32 / 4).flat_map(|block| draw(42, stream, 0, 0, block));
    bits.map(|bits| f64::from(philox::uniform(bits))).collect()
}

/// √n times the Kolmogorov–Smirnov distance to a distribution function; above 1.95 with probability 0.001.
fn kolmogorov_smirnov(mut values: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len() as f64;
    let distance = values.iter().enumerate().map(|(i, &value)| {
        let expected = distribution(value);
        (expected - i as f64 / n).abs().max(((i + 1) as f64 / n - expected).abs())
    });
    distance.fold(0.0, f64::max) * n.sqrt()
}

/// Φ(x) = ½ + φ(x) · (x + x³/3 + x⁵/(3·5) + …) (Marsaglia 2004, "Evaluating the normal distribution").
fn normal_distribution(x: f64) -> f64 {
    let (mut sum, mut term, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-18 {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// Mean of the k-th powers.
fn moment(values: &[f64], k: i32) -> f64 {
    values.iter().map(|value| value.powi(k)).sum::<f64>() / values.len() as f64
}

#[test]
fn normals_have_their_moments_and_their_distribution() {
    for (stream, step, sample) in [(Stream::Init, 0, 3), (Stream::NoiseReal, 7, 0), (Stream::LatentSample, 1 << 33, 9)]
    {
        let values = normals(stream, step, sample);
        // The k-th moment of N(0, 1) and the variance of its k-th power.
        for (k, expected, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
            let bound = 4.0 * f64::sqrt(variance / COUNT as f64);
            let found = moment(&values, k);
            assert!((found - expected).abs() < bound, "{stream:?}: moment {k} is {found}, bound {bound}");
        }
        let distance = kolmogorov_smirnov(values, normal_distribution);
        eprintln!("{stream:?}: √n · distance {distance:.3}");
        assert!(distance < 1.95, "{stream:?}: {distance}");
    }
}

#[test]
fn the_test_of_the_distribution_sees_a_difference_of_one_percent() {
    let scaled = normals(Stream::Init, 0, 3).into_iter().map(|value| 1.01 * value).collect();
    assert!(kolmogorov_smirnov(scaled, normal_distribution) > 1.95);
    let moved = uniforms(Stream::Flip).into_iter().map(|value| value + 0.005).collect();
    assert!(kolmogorov_smirnov(moved, |x| x.clamp(0.0, 1.0)) > 1.95);
    assert!((normal_distribution(1.959_963_984_540_054) - 0.975).abs() < 1e-15);
    assert!((normal_distribution(-3.0) - 0.001_349_898_031_630_095).abs() < 1e-15);
}

#[test]
fn normals_are_uncorrelated_across_elements_samples_steps_and_streams() {
    let values = normals(Stream::NoiseReal, 5, 1);
    let others = [
        normals(Stream::NoiseReal, 5, 2),
        normals(Stream::NoiseReal, 6, 1),
        normals(Stream::NoiseFake, 5, 1),
        [&values[1..], &values[..1]].concat(),
        [&values[2..], &values[..2]].concat(),
    ];
    for (i, other) in others.iter().enumerate() {
        let correlation = values.iter().zip(other).map(|(a, b)| a * b).sum::<f64>() / (COUNT as f64).sqrt();
        assert!(correlation.abs() < 4.0, "{i}: {correlation} standard deviations");
    }
}

#[test]
fn normals_follow_box_and_muller_in_double_precision() {
    let mut worst = 0.0f64;
    for block in 0..20_000 {
        let bits = draw(1, Stream::Init, 0, 0, block);
        let pair = |radius: u32, angle: u32| {
            let radius = (-2.0 * (f64::from((radius >> 8) + 1) / 16_777_216.0).ln()).sqrt();
            let angle = std::f64::consts::TAU * f64::from(angle >> 8) / 16_777_216.0;
            [radius * angle.cos(), radius * angle.sin()]
        };
        let expected = [pair(bits[0], bits[1]), pair(bits[2], bits[3])].concat();
        let found = normals4(bits);
        found.iter().zip(&expected).for_each(|(&f, e)| worst = worst.max((f64::from(f) - e).abs()));
    }
    assert!(worst < 2e-6, "{worst}");
}

#[test]
fn a_fill_is_a_window_on_one_sequence() {
    let whole = normals(Stream::NoiseFake, 2, 8);
    for (first, len) in [(0, 1), (4, 3), (8, 64), (64, 65), (1000, 777)] {
        let mut part = vec![0.0f32; len];
        fill_normals(42, Stream::NoiseFake, 2, 8, first, &mut part);
        let part: Vec<f64> = part.into_iter().map(f64::from).collect();
        assert_eq!(part, whole[first..first + len], "{len} from {first}");
    }
}

#[test]
fn uniforms_are_uniform() {
    assert_eq!((philox::uniform(0), philox::uniform(u32::MAX)), (0.0, 1.0 - 1.0 / 16_777_216.0));
    for stream in STREAMS {
        let values = uniforms(stream);
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)));
        // 256 cells: χ² has mean 255 and standard deviation √510.
        let mut cells = [0.0f64; 256];
        values.iter().for_each(|value| cells[(value * 256.0) as usize] += 1.0);
        let expected = COUNT as f64 / 256.0;
        let chi_squared = cells.iter().map(|count| (count - expected).powi(2) / expected).sum::<f64>();
        assert!((chi_squared - 255.0).abs() < 4.0 * 510f64.sqrt(), "{stream:?}: χ² {chi_squared}");
        let distance = kolmogorov_smirnov(values, |x| x);
        assert!(distance < 1.95, "{stream:?}: {distance}");
    }
}
