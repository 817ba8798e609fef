//! `wgmma` against naive products; operands are laid into shared memory here by the atoms of §9.7.16.5.1.2 and the tables of the
//! swizzles, and by the examples of canonical layouts that the ISA works out with all their strides.

use crate::tensor::Random;
use crate::tensor::swizzle::{BYTES_32, BYTES_64, BYTES_128, by_table};
use ptx_machine::tensor::mma::Lanes;
use ptx_machine::tensor::numbers;
use ptx_machine::tensor::swizzle::Swizzle;
use ptx_machine::tensor::wgmma::*;
use ptx_machine::text::ast::{Shape, Type};

/// Columns and rows as the mathematics has them: `a[row][k]`, `b[column][k]`.
pub(super) type Rows = Vec<Vec<f64>>;

pub(super) fn rows(count: usize, k: usize, random: &mut Random) -> Rows {
    (0..count).map(|_| (0..k).map(|_| f64::from(random.below(5)) - 2.0).collect()).collect()
}

pub(super) fn encode(ty: Type, value: f64) -> Vec<u8> {
    let nearest = numbers::Round::NearestEven;
    match ty {
        Type::Bf16 => (numbers::BF16.encode(value, nearest, false) as u16).to_le_bytes().to_vec(),
        Type::F16 => (numbers::F16.encode(value, nearest, false) as u16).to_le_bytes().to_vec(),
        Type::Tf32 => (value as f32).to_le_bytes().to_vec(),
        Type::E4m3 => vec![numbers::E4M3.encode(value, nearest, true) as u8],
        Type::E5m2 => vec![numbers::E5M2.encode(value, nearest, true) as u8],
        Type::S8 | Type::U8 => vec![value as i64 as u8],
        _ => panic!("{ty:?}"),
    }
}

fn table(swizzle: Swizzle) -> Option<&'static [[u32; 8]]> {
    match swizzle {
        Swizzle::None => None,
        Swizzle::Bytes32 => Some(&BYTES_32),
        Swizzle::Bytes64 => Some(&BYTES_64),
        _ => Some(&BYTES_128),
    }
}

/// Shared memory and a descriptor's fields but for the swizzle.
struct Laid {
    memory: Vec<u8>,
    start: u32,
    leading: u32,
    stride: u32,
}

const MEMORY: usize = 160 * 1024;

/// Lays an operand of `rows[x][k]` out by atoms: an atom has eight rows of 16, 32, 64 or 128 bytes (Table 41). K-major, its rows are
/// eight values of x, and MN-major eight of k. A whole tile of `span` bytes of k is laid out K-major, of which one instruction's 32
/// bytes are the `step`-th. `gap` leaves bytes unused between neighbouring atoms, so that no stride can be mistaken for another.
fn lay(rows: &Rows, ty: Type, swizzle: Swizzle, mn_major: bool, step: u32, gap: u32) -> Laid {
    let size = ty.bytes();
    let span = swizzle.span().max(16);
    let per_atom = span / size;
    let (count, k_count) = (rows.len() as u32, rows[0].len() as u32);
    let base = 2048;
    let atom = 8 * span + gap;
    // Atoms along the direction that rows run in, and across.
    let across = if mn_major { k_count.div_ceil(8) } else { count.div_ceil(8) };
    let run_stride = atom * across;
    let mut memory = vec![0xEE; MEMORY];
    for x in 0..count {
        for k in 0..k_count {
            let first = if swizzle == Swizzle::None || mn_major { 0 } else { step * 32 / size };
            let (row, along) = if mn_major { (k, x) } else { (x, first + k) };
            let logical =
                base + row / 8 * atom + row % 8 * span + along / per_atom * run_stride + along % per_atom * size;
            let address = table(swizzle).map_or(logical, |table| by_table(table, logical));
            let bytes = encode(ty, rows[x as usize][k as usize]);
            memory[address as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
    }
    let start = base + if swizzle == Swizzle::None || mn_major { 0 } else { step * 32 };
    // §9.7.16.5.1.2.1.1 and .2: which of the two strides has which name depends on the major-ness and on whether there's a swizzle.
    let (leading, stride) = match (mn_major, swizzle) {
        (false, Swizzle::None) => (run_stride, atom),
        (false, _) => (16, atom),
        (true, Swizzle::None) => (atom, run_stride),
        (true, _) => (run_stride, atom),
    };
    Laid { memory, start, leading, stride }
}

fn descriptor(start: u32, leading: u32, stride: u32, base_offset: u64, swizzle: Swizzle) -> u64 {
    // matrix-descriptor-encode(x) = (x & 0x3FFFF) >> 4
    let encode = |x: u32| u64::from((x & 0x3FFFF) >> 4);
    let mode: u64 = match swizzle {
        Swizzle::None => 0,
        Swizzle::Bytes128 => 1,
        Swizzle::Bytes64 => 2,
        _ => 3,
    };
    encode(start) | encode(leading) << 16 | encode(stride) << 32 | base_offset << 49 | mode << 62
}

pub(super) fn naive(a: &Rows, b: &Rows, sign: f64) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| sign * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    a.iter().map(|a| b.iter().map(|b| dot(a, b)).collect()).collect()
}

/// The accumulator's element at (row, column), by Figure 149: warp row / 16; within it, d(4 j + i) of a thread as c(i) of mma.
fn element(d: &[Vec<Lanes>], d_ty: Type, row: usize, column: usize) -> f64 {
    let (warp, row) = (row / 16, row % 16);
    let lane = row % 8 * 4 + column % 8 / 2;
    let index = column / 8 * 4 + row / 8 * 2 + column % 2;
    match d_ty {
        Type::F32 => f64::from(f32::from_bits(d[warp][index][lane])),
        Type::S32 => f64::from(d[warp][index][lane] as i32),
        _ => f64::from(numbers::F16.decode(d[warp][index / 2][lane] >> (16 * (index % 2)) & 0xFFFF)),
    }
}

fn run(kind: &Kind, d: &mut [Vec<Lanes>], a: A<'_>, b: u64, scale_d: bool, a_memory: &[u8], b_memory: &[u8]) {
    let [d0, d1, d2, d3] = d else { panic!("four warps") };
    // A at its own addresses, B at those from MEMORY on, in what acts as one shared memory.
    let mut read = |address: u32, bytes: &mut [u8]| {
        let address = address as usize;
        let from = if address < MEMORY { &a_memory[address..] } else { &b_memory[address - MEMORY..] };
        bytes.copy_from_slice(&from[..bytes.len()]);
    };
    wgmma(kind, [d0, d1, d2, d3], a, b, scale_d, &mut read).unwrap();
}

fn zeros(kind: &Kind) -> Vec<Vec<Lanes>> {
    vec![vec![[0; 32]; kind.d_registers()]; 4]
}

/// The product of two operands in shared memory, A at its own addresses, B at those from [`MEMORY`] on.
fn from_memory(kind: &Kind, swizzle: Swizzle, a: &Laid, b: &Laid) -> Vec<Vec<Lanes>> {
    let a_descriptor = descriptor(a.start, a.leading, a.stride, 0, swizzle);
    let b_descriptor = descriptor(b.start + MEMORY as u32, b.leading, b.stride, 0, swizzle);
    let mut d = zeros(kind);
    run(kind, &mut d, A::Descriptor(a_descriptor), b_descriptor, false, &a.memory, &b.memory);
    d
}

fn shape(n: usize, ty: Type) -> Shape {
    Shape { m: 64, n: n as u32, k: 32 / ty.bytes() }
}

fn check(d: &[Vec<Lanes>], d_ty: Type, expected: &[Vec<f64>], what: &str) {
    for (row, values) in expected.iter().enumerate() {
        for (column, &value) in values.iter().enumerate() {
            assert_eq!(element(d, d_ty, row, column), value, "{what}: ({row}, {column})");
        }
    }
}

const SWIZZLES: [Swizzle; 4] = [Swizzle::None, Swizzle::Bytes32, Swizzle::Bytes64, Swizzle::Bytes128];

/// A and B in shared memory, K-major, with every swizzle and every step along k within the swizzle's rows, for every type.
#[test]
fn k_major_operands_are_found_with_every_swizzle() {
    use Type::*;
    for (d_ty, a_ty, b_ty) in [
        (F32, Bf16, Bf16),
        (F32, F16, F16),
        (F16, F16, F16),
        (F32, Tf32, Tf32),
        (F32, E4m3, E5m2),
        (F16, E5m2, E4m3),
        (S32, S8, S8),
    ] {
        for swizzle in SWIZZLES {
            for step in 0..(swizzle.span() / 32).max(1) {
                let mut random = Random(u64::from(step) + 1);
                let k = 32 / a_ty.bytes() as usize;
                let (a, b) = (rows(64, k, &mut random), rows(24, k, &mut random));
                let kind = Kind::new(shape(24, a_ty), d_ty, a_ty, b_ty, false, Immediates::default()).unwrap();
                // With 1024 bytes between atoms, patterns stay where they are.
                let a_laid = lay(&a, a_ty, swizzle, false, step, 1024);
                let b_laid = lay(&b, b_ty, swizzle, false, step, 2048);
                let d = from_memory(&kind, swizzle, &a_laid, &b_laid);
                check(&d, d_ty, &naive(&a, &b, 1.0), &format!("{a_ty:?} {b_ty:?} {swizzle:?} step {step}"));
            }
        }
    }
}

/// A M-major, B N-major, and each with the other K-major, with every swizzle.
#[test]
fn transposed_operands_are_found_with_every_swizzle() {
    for ty in [Type::Bf16, Type::F16] {
        for swizzle in SWIZZLES {
            for (trans_a, trans_b) in [(true, false), (false, true), (true, true)] {
                let mut random = Random(11);
                let (a, b) = (rows(64, 16, &mut random), rows(128, 16, &mut random));
                let immediates = Immediates { trans_a, trans_b, ..Immediates::default() };
                let kind = Kind::new(shape(128, ty), Type::F32, ty, ty, false, immediates).unwrap();
                let a_laid = lay(&a, ty, swizzle, trans_a, 0, 1024);
                let b_laid = lay(&b, ty, swizzle, trans_b, 0, 1024);
                let d = from_memory(&kind, swizzle, &a_laid, &b_laid);
                check(&d, Type::F32, &naive(&a, &b, 1.0), &format!("{ty:?} {swizzle:?} {trans_a} {trans_b}"));
            }
        }
    }
}

/// The layouts that §9.7.16.5.1.2.1.3 works out: shape and strides in elements, the swizzle, and the encoded offsets of the descriptor.
#[test]
fn the_examples_of_canonical_layouts() {
    struct Example {
        bytes: u32,
        mn_major: bool,
        swizzle: Swizzle,
        /// m or n and k: sizes and strides, the lowest digit first.
        mn: &'static [(u32, u32)],
        k: &'static [(u32, u32)],
        leading: u64,
        stride: u64,
    }
    let example =
        |bytes, mn_major, swizzle, mn, k, leading, stride| Example { bytes, mn_major, swizzle, mn, k, leading, stride };
    let examples = [
        // Figure 166: Swizzle<0,4,3> o ((8,2),(4,4)):((4,32),(1,64))
        example(4, false, Swizzle::None, &[(8, 4), (2, 32)], &[(4, 1), (4, 64)], 16, 8),
        // Figure 167: Swizzle<1,4,3> o ((8,2),(4,4)):((8,64),(1,4)), of which one instruction has k < 8
        example(4, false, Swizzle::Bytes32, &[(8, 8), (2, 64)], &[(4, 1), (2, 4)], 1, 16),
        // Figure 168: Swizzle<0,4,3> o ((8,1,2),(8,2)):((1,8,64),(8,128))
        example(2, true, Swizzle::None, &[(8, 1), (1, 8), (2, 64)], &[(8, 8), (2, 128)], 16, 8),
        // Figure 169: Swizzle<1,4,3> o ((8,2,2),(8,2)):((1,8,128),(16,256))
        example(2, true, Swizzle::Bytes32, &[(8, 1), (2, 8), (2, 128)], &[(8, 16), (2, 256)], 16, 32),
        // Figure 170: Swizzle<2,4,3> o ((8,4,2),(8,2)):((1,8,256),(32,512))
        example(2, true, Swizzle::Bytes64, &[(8, 1), (4, 8), (2, 256)], &[(8, 32), (2, 512)], 32, 64),
    ];
    let offset = |mut index: u32, digits: &[(u32, u32)]| {
        let mut sum = 0;
        for &(size, stride) in digits {
            sum += index % size * stride;
            index /= size;
        }
        sum
    };
    for Example { bytes, mn_major, swizzle, mn, k, leading, stride } in examples {
        let mode = [Swizzle::None, Swizzle::Bytes128, Swizzle::Bytes64, Swizzle::Bytes32];
        let mode = mode.iter().position(|&other| other == swizzle).unwrap() as u64;
        let decoded = Descriptor::decode(4096 >> 4 | leading << 16 | stride << 32 | mode << 62).unwrap();
        let count = |digits: &[(u32, u32)]| digits.iter().map(|digit| digit.0).product::<u32>();
        for (x, y) in (0..count(mn)).flat_map(|x| (0..count(k)).map(move |y| (x, y))) {
            let logical = 4096 + (offset(x, mn) + offset(y, k)) * bytes;
            let expected = table(swizzle).map_or(logical, |table| by_table(table, logical));
            // Ours is asked for the 16 bytes that the element lies in.
            let (along, across) = if mn_major { (x * bytes, y) } else { (y * bytes, x) };
            let (chunk, within) = (along / 16 * 16, along % 16);
            let (ask_x, ask_y) = if mn_major { (chunk, across) } else { (across, chunk) };
            let found = decoded.address(mn_major, ask_x, ask_y) + within;
            assert_eq!(found, expected, "{swizzle:?} {mn_major} ({x}, {y})");
        }
    }
}

/// A in registers, by Figures 148, 150 and 152: a0 a1 at (groupID, …), then + 8 rows, then the second half of k.
#[test]
fn a_in_registers() {
    use Type::*;
    for (d_ty, ty) in [(F32, Bf16), (F32, Tf32), (F32, E4m3), (S32, S8)] {
        let mut random = Random(5);
        let per_register = 4 / ty.bytes() as usize;
        let k = 8 * per_register;
        let (a, b) = (rows(64, k, &mut random), rows(16, k, &mut random));
        let mut registers = vec![vec![[0u32; 32]; 4]; 4];
        for (row, k) in (0..64 * k).map(|i| (i / k, i % k)) {
            let (group, thread) = (row % 8, k / per_register % 4);
            let register = row % 16 / 8 + 2 * (k / (4 * per_register));
            let mut bits = [0; 4];
            let bytes = encode(ty, a[row][k]);
            let at = k % per_register * bytes.len();
            bits[at..at + bytes.len()].copy_from_slice(&bytes);
            registers[row / 16][register][4 * group + thread] |= u32::from_le_bytes(bits);
        }
        let kind = Kind::new(shape(16, ty), d_ty, ty, ty, true, Immediates::default()).unwrap();
        let b_laid = lay(&b, ty, Swizzle::Bytes128, false, 0, 0);
        let b_start = b_laid.start + MEMORY as u32;
        let b_descriptor = descriptor(b_start, b_laid.leading, b_laid.stride, 0, Swizzle::Bytes128);
        let mut d = zeros(&kind);
        let a_at = A::Registers([&registers[0], &registers[1], &registers[2], &registers[3]]);
        run(&kind, &mut d, a_at, b_descriptor, false, &[], &b_laid.memory);
        check(&d, d_ty, &naive(&a, &b, 1.0), &format!("{ty:?}"));
    }
}

/// `scale-d` keeps or drops the accumulator, and each of `imm-scale-a` and `-b` turns the sign, for all sizes of n.
#[test]
fn accumulators_are_kept_or_dropped_and_signs_turned() {
    let ty = Type::F16;
    for n in (8..=256).step_by(8) {
        let mut random = Random(n as u64);
        let (a, b) = (rows(64, 16, &mut random), rows(n, 16, &mut random));
        let a_laid = lay(&a, ty, Swizzle::None, false, 0, 16);
        let b_laid = lay(&b, ty, Swizzle::Bytes64, false, 0, 0);
        let a_descriptor = descriptor(a_laid.start, a_laid.leading, a_laid.stride, 0, Swizzle::None);
        let b_start = b_laid.start + MEMORY as u32;
        let b_descriptor = descriptor(b_start, b_laid.leading, b_laid.stride, 0, Swizzle::Bytes64);
        let (negate_a, negate_b) = (n % 16 == 0, n % 24 == 0);
        let immediates = Immediates { negate_a, negate_b, ..Immediates::default() };
        let kind = Kind::new(shape(n, ty), Type::F32, ty, ty, false, immediates).unwrap();
        let sign = if negate_a != negate_b { -1.0 } else { 1.0 };
        let product = naive(&a, &b, sign);
        let mut d = vec![vec![[f32::NAN.to_bits(); 32]; n / 2]; 4];
        let a_at = A::Descriptor(a_descriptor);
        run(&kind, &mut d, a_at, b_descriptor, false, &a_laid.memory, &b_laid.memory);
        check(&d, Type::F32, &product, &format!("n {n}, dropped"));
        run(&kind, &mut d, a_at, b_descriptor, true, &a_laid.memory, &b_laid.memory);
        let twice: Vec<Vec<f64>> = product.iter().map(|row| row.iter().map(|value| 2.0 * value).collect()).collect();
        check(&d, Type::F32, &twice, &format!("n {n}, kept"));
    }
}

/// A tile that begins 384 bytes behind a multiple of 1024, with the pattern beginning there: base offset 3.
#[test]
fn a_base_offset_moves_the_pattern() {
    let decoded = Descriptor::decode(descriptor(4096 + 384, 16, 1024, 3, Swizzle::Bytes128)).unwrap();
    assert_eq!(decoded.base_offset, 3);
    for (row, byte) in (0..8).flat_map(|row| [0, 16].map(|byte| (row, byte))) {
        let expected = by_table(&BYTES_128, 128 * row + byte) + 4096 + 384;
        assert_eq!(decoded.address(false, row, byte), expected, "({row}, {byte})");
    }
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    use Type::*;
    let none = Immediates::default();
    let new = |n, k, d, a, b, registers, immediates| {
        Kind::new(Shape { m: 64, n, k }, d, a, b, registers, immediates).map_err(|error| error.to_string())
    };
    let transposed = Immediates { trans_b: true, ..none };
    let a_transposed = Immediates { trans_a: true, ..none };
    for (word, result) in [
        ("multiple of 8", new(12, 16, F32, Bf16, Bf16, false, none)),
        ("multiple of 8", new(264, 16, F32, Bf16, Bf16, false, none)),
        ("k 8, 16 or 32", new(64, 8, F32, Bf16, Bf16, false, none)),
        ("one type", new(64, 16, F32, Bf16, F16, false, none)),
        ("D must be", new(64, 16, F16, Bf16, Bf16, false, none)),
        ("D must be", new(64, 32, F32, S8, S8, false, none)),
        ("A and B must be", new(64, 16, F32, F32, F32, false, none)),
        ("M- or N-major", new(64, 8, F32, Tf32, Tf32, false, transposed)),
        ("in registers", new(64, 16, F32, Bf16, Bf16, true, a_transposed)),
        ("multiples of 16", new(40, 32, S32, S8, U8, false, none)),
        ("no negation", new(32, 32, S32, S8, U8, false, Immediates { negate_a: true, ..none })),
        (".satfinite", new(32, 16, F32, F16, F16, false, Immediates { saturate: true, ..none })),
    ] {
        assert!(result.clone().unwrap_err().contains(word), "{word}: {result:?}");
    }
    // Bit 46 is set in the descriptors of a later generation.
    assert_eq!(Descriptor::decode(1 << 46), Err(WgmmaError::DescriptorBits(1 << 46)));
    assert_eq!(Descriptor::decode(1 << 49), Err(WgmmaError::BaseOffset(1 << 49)));
}
