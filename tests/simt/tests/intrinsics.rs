//! The result of each intrinsic, against its definition written out here; with and without detection, in several orders.

use simt::{CopyMode, Emulator, Options, Order, Program, Sources};

fn emulators() -> Vec<Emulator> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/kernels/intrinsics.cu");
    let program = Program::compile(&Sources { files: vec![file.into()], ..Sources::default() }).expect("it compiles");
    [(Order::Ascending, false), (Order::Random(3), false), (Order::Descending, true), (Order::Random(4), true)]
        .map(|(order, detection)| Options {
            threads: order,
            blocks: order,
            copies: CopyMode::Late,
            detection,
            ..Options::default()
        })
        .map(|options| Emulator::new(&program, options).expect("an emulator"))
        .into()
}

fn launch(emulator: &Emulator, kernel: &str, grid: [u32; 3], block: [u32; 3], arguments: &[&[u8]]) {
    emulator.launch(kernel, grid, block, 0, arguments).unwrap_or_else(|report| panic!("{report}"));
}

/// A type of the kernels' arrays.
trait Element: Copy {
    fn bytes(values: &[Self]) -> Vec<u8>;
    fn values(bytes: &[u8]) -> Vec<Self>;
}

macro_rules! elements {
    ($($element:ty)*) => {$(
        impl Element for $element {
            fn bytes(values: &[Self]) -> Vec<u8> {
                values.iter().flat_map(|value| value.to_ne_bytes()).collect()
            }
            fn values(bytes: &[u8]) -> Vec<Self> {
                bytes.chunks_exact(size_of::<Self>()).map(|chunk| Self::from_ne_bytes(chunk.try_into().unwrap())).collect()
            }
        }
    )*};
}
elements!(u16 i32 u32 f32 f64 i64 u64);

fn put<T: Element>(emulator: &Emulator, values: &[T]) -> u64 {
    let bytes = T::bytes(values);
    let address = emulator.alloc(bytes.len()).expect("room");
    emulator.upload(&bytes, address).expect("it fits");
    address
}

fn get<T: Element>(emulator: &Emulator, address: u64, count: usize) -> Vec<T> {
    let mut bytes = vec![0; count * size_of::<T>()];
    emulator.download(address, &mut bytes).expect("it fits");
    T::values(&bytes)
}

fn room<T>(emulator: &Emulator, count: usize) -> u64 {
    emulator.alloc(count * size_of::<T>()).expect("room")
}

/// Numbers that look random, the same in each run.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 16
    }
    fn float(&mut self) -> f32 {
        (self.next() % 20001) as f32 / 10000.0 - 1.0
    }
}

/// The lane that each of the four shuffles reads from, as in CUDA's programming guide.
fn source(kind: usize, lane: i32, argument: i32, width: i32) -> i32 {
    let (first, within) = (lane / width * width, lane % width);
    match kind {
        0 => first + argument.rem_euclid(width),
        1 if within - argument < 0 => lane,
        1 => lane - argument,
        2 if within + argument >= width => lane,
        2 => lane + argument,
        // A source in a later segment is out of reach; one in an earlier segment is not.
        _ if (lane ^ argument) / width > lane / width => lane,
        _ => lane ^ argument,
    }
}

#[test]
fn shuffles_move_what_they_should() {
    fn check<T: Element + PartialEq + std::fmt::Debug>(
        found: &[T],
        argument: i32,
        width: i32,
        value: impl Fn(i32) -> T,
    ) {
        for kind in 0..4 {
            for lane in 0..32 {
                let expected = value(source(kind, lane, argument, width));
                let case = format!("kind {kind}, lane {lane}, argument {argument}, width {width}");
                assert_eq!(found[kind * 32 + lane as usize], expected, "{case}");
            }
        }
    }
    for emulator in emulators() {
        for (argument, width) in
            [(0, 32), (1, 32), (5, 32), (31, 32), (16, 32), (3, 16), (2, 4), (1, 2), (9, 8), (0, 1)]
        {
            let ints = room::<i32>(&emulator, 128);
            let unsigneds = room::<u32>(&emulator, 128);
            let floats = room::<f32>(&emulator, 128);
            let doubles = room::<f64>(&emulator, 128);
            let longs = room::<i64>(&emulator, 128);
            let unsigned_longs = room::<u64>(&emulator, 128);
            let arguments: [&[u8]; 8] = [
                &i32::to_ne_bytes(argument),
                &i32::to_ne_bytes(width),
                &ints.to_ne_bytes(),
                &unsigneds.to_ne_bytes(),
                &floats.to_ne_bytes(),
                &doubles.to_ne_bytes(),
                &longs.to_ne_bytes(),
                &unsigned_longs.to_ne_bytes(),
            ];
            launch(&emulator, "shuffles", [1, 1, 1], [32, 1, 1], &arguments);
            check(&get::<i32>(&emulator, ints, 128), argument, width, |lane| lane - 16);
            check(&get::<u32>(&emulator, unsigneds, 128), argument, width, |lane| 0xf000_0000 + lane as u32);
            check(&get::<f32>(&emulator, floats, 128), argument, width, |lane| 0.5 + lane as f32);
            check(&get::<f64>(&emulator, doubles, 128), argument, width, |lane| 1e300 * f64::from(lane));
            check(&get::<i64>(&emulator, longs, 128), argument, width, |lane| i64::from(lane) - (1 << 60));
            check(&get::<u64>(&emulator, unsigned_longs, 128), argument, width, |lane| lane as u64 + (1 << 63));
        }
    }
}

#[test]
fn parts_of_a_warp_shuffle_by_themselves() {
    let mut expected: Vec<i32> = (0..32).collect();
    for group in 0..4 {
        for _ in 0..=group {
            let before = expected.clone();
            for lane in 8 * group..8 * group + 8 {
                expected[lane] += before[lane ^ 1];
            }
        }
    }
    expected.reverse();
    for emulator in emulators() {
        let out = room::<i32>(&emulator, 32);
        launch(&emulator, "partial_shuffles", [1, 1, 1], [32, 1, 1], &[&out.to_ne_bytes()]);
        assert_eq!(get::<i32>(&emulator, out, 32), expected);
    }
}

#[test]
fn votes_count_what_they_should() {
    for emulator in emulators() {
        let out = room::<u32>(&emulator, 12 * 64);
        launch(&emulator, "votes", [1, 1, 1], [64, 1, 1], &[&out.to_ne_bytes()]);
        for (thread, found) in get::<u32>(&emulator, out, 12 * 64).chunks(12).enumerate() {
            let (lane, warp) = (thread as u32 % 32, thread as u32 / 32);
            let thirds = (0..32).filter(|lane| lane % 3 == 0).fold(0u32, |mask, lane| mask | 1 << lane);
            let pairs = if lane.is_multiple_of(2) { 0x5555_5555 } else { 0xaaaa_aaaa };
            // Who has exited already no longer counts as active.
            assert!(found[11] >> lane & 1 == 1, "the caller is active");
            let expected = [thirds, warp, warp, 16, 1, 1, 0, 0, pairs, 31 * 16, -7i32 as u32];
            assert_eq!(found[..11], expected, "thread {thread}");
        }
    }
}

#[test]
fn integer_intrinsics_are_those_of_rust() {
    let mut draws = Draws(1);
    let mut values = vec![0, 1, 2, 0x8000_0000, u32::MAX, 0x7fff_ffff, 0x0001_0000, 0x7fc0_0001];
    values.extend((0..100).map(|_| draws.next() as u32));
    for emulator in emulators() {
        let input = put(&emulator, &values);
        let out = room::<u32>(&emulator, 8 * values.len());
        let count = values.len() as i32;
        let arguments: [&[u8]; 3] = [&input.to_ne_bytes(), &out.to_ne_bytes(), &count.to_ne_bytes()];
        launch(&emulator, "integers", [1, 1, 1], [64, 1, 1], &arguments);
        for (&x, found) in values.iter().zip(get::<u32>(&emulator, out, 8 * values.len()).chunks(8)) {
            let first = if x == 0 { 0 } else { x.trailing_zeros() + 1 };
            let high = ((u64::from(x) * 0x9e37_79b9) >> 32) as u32;
            let wide = (u64::from(x) << 20 | u64::from(x)).count_ones();
            let sum = x.min(77).wrapping_add(x.max(5));
            let expected = [x.count_ones(), first, x.leading_zeros(), x.reverse_bits(), high, x, wide, sum];
            assert_eq!(found, expected, "{x:#x}");
        }
    }
}

/// The candidate nearest to a value, by exact distances in f64; of two as near, what `choose` prefers.
fn nearest(value: f32, candidates: [u32; 2], decode: impl Fn(u32) -> f64, choose: impl Fn(u32) -> bool) -> u32 {
    let [low, high] = candidates.map(|bits| (decode(bits) - f64::from(value)).abs());
    if low < high || (low == high && choose(candidates[0])) { candidates[0] } else { candidates[1] }
}

/// Ties, NaN, infinities, overflow, subnormal numbers, and draws from all bit patterns.
fn tricky_floats() -> Vec<f32> {
    let mut draws = Draws(2);
    let mut bits = vec![
        0x0000_0000,
        0x8000_0000,
        0x3f80_8000,
        0x3f81_8000,
        0x3f80_8001,
        0x3f80_7fff,
        0x7f7f_ffff,
        0xff7f_ffff,
        0x7f7f_7fff,
        0x7f80_0000,
        0xff80_0000,
        0x7f80_0001,
        0x7fc0_0000,
        0xffff_ffff,
        0x0000_0001,
        0x0000_8000,
        0x0001_8000,
        0x007f_ffff,
        0x3f80_1000,
        0x3f80_3000,
        0x3f80_0fff,
        0x477f_e000,
        0x477f_efff,
        0x477f_f000,
        0x3880_0000,
        0x387f_ffff,
        0x3300_0000,
        0x3300_0001,
        0x3380_0000,
        0xb3c0_0000,
        0x33c0_0000,
    ];
    bits.extend((0..2000).map(|_| draws.next() as u32));
    // Ties of bf16 and of tf32, and numbers that half can hold.
    bits.extend((0..500).map(|_| draws.next() as u32 & 0xffff_0000 | 0x8000));
    bits.extend((0..500).map(|_| draws.next() as u32 & 0xffff_e000 | 0x1000));
    bits.extend((0..500).map(|_| 0x3800_0000 + (draws.next() as u32 & 0x07ff_ffff)));
    bits.into_iter().map(f32::from_bits).collect()
}

fn half_value(bits: u32) -> f64 {
    let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 0x3ff));
    let size = match exponent {
        0 => fraction * 2f64.powi(-24),
        // What follows the largest number, as far as rounding is concerned.
        31 => 65536.0,
        _ => (1024.0 + fraction) * 2f64.powi(exponent as i32 - 25),
    };
    if bits & 0x8000 == 0 { size } else { -size }
}

/// The value of float bits, an infinity counted as the number that would follow the largest.
fn float_value(bits: u32) -> f64 {
    let value = f32::from_bits(bits);
    if value.is_infinite() { f64::from(value.signum()) * 2f64.powi(128) } else { f64::from(value) }
}

#[test]
fn conversions_round_to_the_nearest() {
    let values = tricky_floats();
    let n = values.len();
    for emulator in emulators() {
        let input = put(&emulator, &values);
        let [bf16, pairs, tf32, half, back] = [0; 5].map(|_| room::<u32>(&emulator, n));
        let arguments: [&[u8]; 7] = [
            &input.to_ne_bytes(),
            &bf16.to_ne_bytes(),
            &pairs.to_ne_bytes(),
            &tf32.to_ne_bytes(),
            &half.to_ne_bytes(),
            &back.to_ne_bytes(),
            &(n as i32).to_ne_bytes(),
        ];
        launch(&emulator, "roundings", [1, 1, 1], [256, 1, 1], &arguments);
        let [bf16, pairs, tf32, half, back] = [bf16, pairs, tf32, half, back].map(|at| get::<u32>(&emulator, at, n));
        for (i, &value) in values.iter().enumerate() {
            let bits = value.to_bits();
            let case = format!("{value:e} = {bits:#010x}");
            if value.is_nan() {
                assert_eq!((bf16[i], tf32[i], half[i]), (0x7fff, 0x7fff_ffff, 0x7fff), "{case}");
                continue;
            }
            let even = |bits: u32| bits.is_multiple_of(2);
            let expected = if value.is_infinite() {
                bits >> 16
            } else {
                nearest(value, [bits >> 16, (bits >> 16) + 1], |bits| float_value(bits << 16), even)
            };
            assert_eq!(bf16[i], expected, "bf16 of {case}");
            assert_eq!(back[i], expected << 16, "and back, {case}");
            assert_eq!(pairs[i] & 0xffff, expected, "lower half of a pair, {case}");
            assert_eq!(pairs[n - 1 - i] >> 16, expected, "upper half of a pair, {case}");
            let expected = if value.is_infinite() {
                bits
            } else {
                // Ties go away from zero: never to the candidate that is nearer to it.
                nearest(value, [bits & !0x1fff, (bits & !0x1fff) + 0x2000], float_value, |_| false)
            };
            assert_eq!(tf32[i], expected, "tf32 of {case}");
            let sign = bits >> 16 & 0x8000;
            let expected = if value.abs() >= 65536.0 {
                sign | 0x7c00
            } else {
                // The largest half number that is not larger.
                let below = (0..0x7c00u32)
                    .collect::<Vec<_>>()
                    .partition_point(|&half| half_value(half) <= f64::from(value.abs()));
                let below = sign | (below as u32 - 1);
                nearest(value, [below, below + 1], half_value, even)
            };
            assert_eq!(half[i], expected, "half of {case}");
        }
    }
}

#[test]
fn products_and_sums_round_as_written() {
    let (a, b, c) = (1.0f32 + f32::EPSILON, 1.0f32 - f32::EPSILON, -1.0f32);
    for emulator in emulators() {
        let out = room::<f32>(&emulator, 10);
        let arguments: [&[u8]; 4] = [&a.to_ne_bytes(), &b.to_ne_bytes(), &c.to_ne_bytes(), &out.to_ne_bytes()];
        launch(&emulator, "contraction", [1, 1, 1], [1, 1, 1], &arguments);
        let fused = a.mul_add(b, c);
        assert_ne!(a * b + c, fused, "the case tells the two apart");
        let double = f64::from(a).mul_add(f64::from(b), f64::from(c)) as f32;
        let expected = [a * b + c, fused, fused, a * b + c, a - b, a / b, b.sqrt(), 0.5, double, a];
        assert_eq!(get::<f32>(&emulator, out, 10), expected);
    }
}

#[test]
fn atomics_lose_nothing() {
    for emulator in emulators() {
        let ints = put(&emulator, &[0i32; 4 + 96]);
        let unsigneds: Vec<u32> = [0, u32::MAX, 0, u32::MAX].into_iter().chain(0..96).collect();
        let unsigneds = put(&emulator, &unsigneds);
        let longs = put(&emulator, &[0u64]);
        let arguments: [&[u8]; 3] = [&ints.to_ne_bytes(), &unsigneds.to_ne_bytes(), &longs.to_ne_bytes()];
        let result = emulator.launch("atomics", [3, 1, 1], [32, 1, 1], 0, &arguments);
        result.unwrap_or_else(|report| panic!("{report}"));
        let found = get::<i32>(&emulator, ints, 100);
        assert_eq!(found[..4], [96, 45, -50, 3 * 31 * 16]);
        assert!(found[4..].iter().copied().eq(0..96));
        let found = get::<u32>(&emulator, unsigneds, 100);
        assert_eq!(found[..4], [0xffff_fff0, 0xffff_fff0 - 95, u32::MAX, 0]);
        assert!(found[4..].iter().copied().eq(7..103));
        assert_eq!(get::<u64>(&emulator, longs, 1), [96 << 33]);
    }
}

#[test]
fn ldmatrix_gives_each_lane_its_elements() {
    let mut draws = Draws(5);
    let values: Vec<u16> = (0..256).map(|_| draws.next() as u16).collect();
    let element = |matrix: usize, row: usize, column: usize| u32::from(values[matrix * 64 + row * 8 + column]);
    for emulator in emulators() {
        let (input, out) = (put(&emulator, &values), room::<u32>(&emulator, 13 * 32));
        launch(&emulator, "matrix_loads", [1, 1, 1], [32, 1, 1], &[&input.to_ne_bytes(), &out.to_ne_bytes()]);
        for (lane, found) in get::<u32>(&emulator, out, 13 * 32).chunks(13).enumerate() {
            let (row, column) = (lane / 4, lane % 4 * 2);
            let plain = |matrix| element(matrix, row, column) | element(matrix, row, column + 1) << 16;
            let transposed = |matrix| element(matrix, column, row) | element(matrix, column + 1, row) << 16;
            let expected: Vec<u32> = [0, 0, 1, 0, 1, 2, 3]
                .into_iter()
                .map(plain)
                .chain([0, 1, 0, 1, 2, 3].into_iter().map(transposed))
                .collect();
            assert_eq!(found, expected, "lane {lane}");
        }
    }
}

/// c + a b in f64, and the largest sum of magnitudes.
fn product(a: &[f32], b: &[f32], c: &[f32], depth: usize) -> (Vec<f64>, f64) {
    let mut scale: f64 = 0.0;
    let mut sums = Vec::new();
    for row in 0..16 {
        for column in 0..8 {
            let terms = (0..depth).map(|k| f64::from(a[row * depth + k]) * f64::from(b[k * 8 + column]));
            let start = f64::from(c[row * 8 + column]);
            sums.push(start + terms.clone().sum::<f64>());
            scale = scale.max(start.abs() + terms.map(f64::abs).sum::<f64>());
        }
    }
    (sums, scale)
}

fn assert_close(found: &[f32], (expected, scale): &(Vec<f64>, f64), case: &str) {
    for (i, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        // At most 17 additions, each rounded to 24 bits.
        let allowed = scale * 17.0 * 2f64.powi(-24);
        assert!((f64::from(found) - expected).abs() <= allowed, "{case}, element {i}: {found}, expected {expected}");
    }
}

#[test]
fn mma_is_a_matrix_product() {
    let mut draws = Draws(6);
    for emulator in emulators() {
        let c: Vec<f32> = (0..128).map(|_| draws.float()).collect();
        // bf16: as bits, exactly representable.
        let a: Vec<u16> = (0..256).map(|_| (draws.float().to_bits() >> 16) as u16).collect();
        let b: Vec<u16> = (0..128).map(|_| (draws.float().to_bits() >> 16) as u16).collect();
        let wide = |bits: &[u16]| bits.iter().map(|&bits| f32::from_bits(u32::from(bits) << 16)).collect::<Vec<_>>();
        let expected = product(&wide(&a), &wide(&b), &c, 16);
        let [at_a, at_b, at_c] = [put(&emulator, &a), put(&emulator, &b), put(&emulator, &c)];
        for kernel in ["mma_bf16", "mma_bf16_loaded"] {
            let d = room::<f32>(&emulator, 128);
            let arguments: [&[u8]; 4] =
                [&at_a.to_ne_bytes(), &at_b.to_ne_bytes(), &at_c.to_ne_bytes(), &d.to_ne_bytes()];
            launch(&emulator, kernel, [1, 1, 1], [32, 1, 1], &arguments);
            assert_close(&get::<f32>(&emulator, d, 128), &expected, kernel);
        }
        // tf32: the 13 low bits do not count.
        let a: Vec<f32> = (0..128).map(|_| draws.float() / 3.0).collect();
        let b: Vec<f32> = (0..64).map(|_| draws.float() / 3.0).collect();
        let cut = |values: &[f32]| values.iter().map(|x| f32::from_bits(x.to_bits() & !0x1fff)).collect::<Vec<_>>();
        let expected = product(&cut(&a), &cut(&b), &c, 8);
        let d = room::<f32>(&emulator, 128);
        let [at_a, at_b] = [put(&emulator, &a), put(&emulator, &b)];
        let arguments: [&[u8]; 4] = [&at_a.to_ne_bytes(), &at_b.to_ne_bytes(), &at_c.to_ne_bytes(), &d.to_ne_bytes()];
        launch(&emulator, "mma_tf32", [1, 1, 1], [32, 1, 1], &arguments);
        assert_close(&get::<f32>(&emulator, d, 128), &expected, "mma_tf32");
    }
}

#[test]
fn every_thread_knows_where_it_is() {
    for emulator in emulators() {
        let (grid, block) = ([3, 2, 2], [5, 3, 2]);
        let out = room::<u32>(&emulator, 6 * 12 * 30);
        launch(&emulator, "indices", grid, block, &[&out.to_ne_bytes()]);
        for (i, found) in get::<u32>(&emulator, out, 6 * 12 * 30).chunks(6).enumerate() {
            let (b, t) = (i as u32 / 30, i as u32 % 30);
            assert_eq!(found, [b % 3, b / 3 % 2, b / 6, t % 5, t / 5 % 3, t / 15]);
        }
    }
}

#[test]
fn structs_and_templates_work_as_in_cuda() {
    for emulator in emulators() {
        let out = room::<f32>(&emulator, 32);
        let pair: Vec<u8> = [1.5f32.to_ne_bytes(), 2i32.to_ne_bytes()].concat();
        launch(&emulator, "helpers", [1, 1, 1], [32, 1, 1], &[&pair, &out.to_ne_bytes()]);
        assert_eq!(get::<f32>(&emulator, out, 32), [48.0 + 64_000.0; 32]);
    }
}
