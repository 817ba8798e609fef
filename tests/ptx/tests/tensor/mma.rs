//! `mma` against naive products in f64; the fragments are laid out here by the ISA's formulas, one shape at a time.

use crate::tensor::Random;
use ptx_machine::tensor::mma::{Kind, Lanes, mma, mma_f64};
use ptx_machine::tensor::numbers;
use ptx_machine::text::ast::{Shape, Type};

/// (row, column) of element `i` of a lane's A, by §9.7.15.5.6 to .10, as they are written there.
fn a_place(bits: u32, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group_id, thread) = (lane >> 2, lane % 4);
    let lower = group_id + 8;
    match (bits, k) {
        // .6: row = groupID for a0, groupID + 8 for a1; col = threadID_in_group
        (32 | 64, 4) => ([group_id, lower][i], thread),
        // .7: a0 and a2, a1 and a3; threadID_in_group for a0 and a1, + 4 for a2 and a3
        (32 | 64, 8) => ([group_id, lower, group_id, lower][i], [thread, thread, thread + 4, thread + 4][i]),
        // .8, f64: i % 2 = 0: groupID, (i * 2) + thread; else groupID + 8, (i * 2) - 2 + thread
        (64, 16) if i.is_multiple_of(2) => (group_id, i * 2 + thread),
        (64, 16) => (lower, i * 2 - 2 + thread),
        // .7: a0 and a1, a2 and a3; threadID_in_group * 2 + (i & 1)
        (16, 8) => (if i < 2 { group_id } else { lower }, thread * 2 + (i & 1)),
        // .8: groupID for 0 <= i < 2 || 4 <= i < 6; + 8 to the column for i >= 4
        (16, 16) => {
            let row = if i < 2 || (4..6).contains(&i) { group_id } else { lower };
            (row, thread * 2 + (i & 1) + if i < 4 { 0 } else { 8 })
        }
        // .9: groupID for i < 4; thread * 4 + (i & 3)
        (8, 16) => (if i < 4 { group_id } else { lower }, thread * 4 + (i & 3)),
        // .10: groupID for 0 <= i < 4 || 8 <= i < 12; + 16 to the column for i >= 8
        (8, 32) => {
            let row = if i < 4 || (8..12).contains(&i) { group_id } else { lower };
            (row, thread * 4 + (i & 3) + if i < 8 { 0 } else { 16 })
        }
        _ => panic!("no such shape"),
    }
}

/// (row, column) of element `i` of a lane's B; the column is groupID in all shapes.
fn b_place(bits: u32, k: usize, lane: usize, i: usize) -> (usize, usize) {
    let (group_id, thread) = (lane >> 2, lane % 4);
    let row = match (bits, k) {
        (32 | 64, 4) => thread,
        (32 | 64, 8) => [thread, thread + 4][i],
        (64, 16) => thread + i * 4,
        (16, 8) => thread * 2 + i,
        (16, 16) => thread * 2 + (i & 1) + if i < 2 { 0 } else { 8 },
        (8, 16) => thread * 4 + i,
        (8, 32) => thread * 4 + (i & 3) + if i < 4 { 0 } else { 16 },
        _ => panic!("no such shape"),
    };
    (row, group_id)
}

/// (row, column) of element `i` of C and D: groupID for c0 and c1, + 8 for c2 and c3; (threadID_in_group * 2) + (i & 1).
fn c_place(lane: usize, i: usize) -> (usize, usize) {
    (if i < 2 { lane >> 2 } else { (lane >> 2) + 8 }, (lane % 4) * 2 + (i & 1))
}

type Matrix = Vec<Vec<f64>>;

fn matrix(rows: usize, columns: usize, mut value: impl FnMut() -> f64) -> Matrix {
    (0..rows).map(|_| (0..columns).map(|_| value()).collect()).collect()
}

/// a b + c in f64, and the same of the magnitudes, which bounds the error of any order of summing.
fn product(a: &Matrix, b: &Matrix, c: &Matrix) -> (Matrix, Matrix) {
    let sum = |of: fn(f64) -> f64| {
        let mut d = c.clone();
        for (i, row) in d.iter_mut().enumerate() {
            for (j, value) in row.iter_mut().enumerate() {
                *value = of(*value) + (0..b.len()).map(|k| of(a[i][k] * b[k][j])).sum::<f64>();
            }
        }
        d
    };
    (sum(|value| value), sum(f64::abs))
}

fn bits_of(ty: Type) -> u32 {
    ty.bytes() * 8
}

fn encode(ty: Type, value: f64) -> u32 {
    let nearest = numbers::Round::NearestEven;
    match ty {
        Type::F32 => (value as f32).to_bits(),
        Type::Tf32 => numbers::TF32.encode(value, nearest, false),
        Type::Bf16 => numbers::BF16.encode(value, nearest, false),
        Type::F16 => numbers::F16.encode(value, nearest, false),
        Type::E4m3 => numbers::E4M3.encode(value, nearest, true),
        Type::E5m2 => numbers::E5M2.encode(value, nearest, true),
        Type::S8 => value as i8 as u8 as u32,
        Type::U8 => value as u8 as u32,
        Type::S32 => value as i32 as u32,
        _ => panic!("{ty:?}"),
    }
}

fn decode(ty: Type, bits: u32) -> f64 {
    match ty {
        Type::F32 | Type::Tf32 => f64::from(f32::from_bits(bits)),
        Type::Bf16 => f64::from(numbers::BF16.decode(bits)),
        Type::F16 => f64::from(numbers::F16.decode(bits)),
        Type::E4m3 => f64::from(numbers::E4M3.decode(bits)),
        Type::E5m2 => f64::from(numbers::E5M2.decode(bits)),
        Type::S8 => f64::from(bits as u8 as i8),
        Type::U8 => f64::from(bits as u8),
        Type::S32 => f64::from(bits as i32),
        _ => panic!("{ty:?}"),
    }
}

/// Elements into registers, the first in the lowest bits; places say where each lane's i-th element lies.
#[expect(
    clippy::needless_range_loop,
    reason = "a lane is a number of the layout, and indexes what the other loop picks"
)]
fn scatter(ty: Type, from: &Matrix, count: usize, place: impl Fn(usize, usize) -> (usize, usize)) -> Vec<Lanes> {
    let per_register = (32 / bits_of(ty)) as usize;
    let mut registers = vec![[0; 32]; count];
    for lane in 0..32 {
        for i in 0..count * per_register {
            let (row, column) = place(lane, i);
            registers[i / per_register][lane] |=
                encode(ty, from[row][column]) << (bits_of(ty) * (i % per_register) as u32);
        }
    }
    registers
}

#[expect(
    clippy::needless_range_loop,
    reason = "a lane is a number of the layout, and indexes what the other loop picks"
)]
fn gather(ty: Type, registers: &[Lanes]) -> Matrix {
    let per_register = (32 / bits_of(ty)) as usize;
    let mut matrix = vec![vec![f64::NAN; 8]; 16];
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = c_place(lane, i);
            let bits = registers[i / per_register][lane] >> (bits_of(ty) * (i % per_register) as u32);
            matrix[row][column] = decode(ty, bits & (u32::MAX >> (32 - bits_of(ty))));
        }
    }
    matrix
}

/// All forms: k, and the types of D, A and B.
fn forms() -> Vec<(u32, Type, Type, Type)> {
    use Type::*;
    let mut forms = vec![(4, F32, Tf32, Tf32), (8, F32, Tf32, Tf32)];
    for k in [8, 16] {
        forms.extend([(k, F32, Bf16, Bf16), (k, F32, F16, F16), (k, F16, F16, F16)]);
    }
    for k in [16, 32] {
        for (a, b) in [(E4m3, E4m3), (E4m3, E5m2), (E5m2, E4m3), (E5m2, E5m2)] {
            forms.extend([(k, F32, a, b), (k, F16, a, b)]);
        }
        forms.extend([(k, S32, S8, S8), (k, S32, S8, U8), (k, S32, U8, S8), (k, S32, U8, U8)]);
    }
    forms
}

fn kind(k: u32, d: Type, a: Type, b: Type) -> Kind {
    Kind::new(Shape { m: 16, n: 8, k }, d, a, b, d, false).unwrap()
}

/// A, B and C as values of their types, and D as the machine has it.
fn run(form: (u32, Type, Type, Type), mut value: impl FnMut(Type) -> f64) -> ([Matrix; 3], Matrix) {
    let (k, d_ty, a_ty, b_ty) = form;
    let kind = kind(k, d_ty, a_ty, b_ty);
    let size = k as usize;
    let mut of = |ty| decode(ty, encode(ty, value(ty)));
    let a = matrix(16, size, || of(a_ty));
    let b = matrix(size, 8, || of(b_ty));
    let c = matrix(16, 8, || of(d_ty));
    let a_registers = scatter(a_ty, &a, kind.a_registers(), |lane, i| a_place(bits_of(a_ty), size, lane, i));
    let b_registers = scatter(b_ty, &b, kind.b_registers(), |lane, i| b_place(bits_of(b_ty), size, lane, i));
    let c_registers = scatter(d_ty, &c, kind.d_registers(), c_place);
    let mut d = vec![[0; 32]; kind.d_registers()];
    mma(&kind, &a_registers, &b_registers, &c_registers, &mut d);
    ([a, b, c], gather(d_ty, &d))
}

/// Small whole numbers, whose sums every accumulator holds exactly: each element must be right to the bit. A, B and C are random and
/// so not symmetric; with rows and columns swapped anywhere this fails.
#[test]
fn products_of_whole_numbers_are_exact_in_all_forms() {
    for form in forms() {
        let mut random = Random(form.0.into());
        let unsigned = |ty| ty == Type::U8;
        let ([a, b, c], d) = run(form, |ty| f64::from(random.below(7)) - if unsigned(ty) { 0.0 } else { 3.0 });
        assert_eq!(d, product(&a, &b, &c).0, "{form:?}");
    }
}

/// Any numbers: within k units in the last place of the sum of magnitudes, and for f16 half a unit of its own.
#[test]
fn products_of_any_numbers_are_near_in_all_forms() {
    for form in forms().into_iter().filter(|form| form.1 != Type::S32) {
        let mut random = Random(1);
        let ([a, b, c], d) = run(form, |_| random.unit());
        let (expected, magnitudes) = product(&a, &b, &c);
        for (i, j) in (0..128).map(|n| (n / 8, n % 8)) {
            let mut bound = f64::from(form.0) * 2f64.powi(-23) * magnitudes[i][j];
            if form.1 == Type::F16 {
                bound += 2f64.powi(-11) * magnitudes[i][j];
            }
            let error = (d[i][j] - expected[i][j]).abs();
            assert!(error <= bound, "{form:?} ({i}, {j}): {} for {}", d[i][j], expected[i][j]);
        }
    }
}

/// The whole range of 8-bit integers, and sums at both ends of s32's: they wrap, or with `.satfinite` stay at the end.
#[test]
fn integers_wrap_or_are_clamped() {
    let mut random = Random(3);
    let ([a, b, c], d) = run((32, Type::S32, Type::S8, Type::U8), |ty| match ty {
        Type::S8 => f64::from(random.below(256)) - 128.0,
        _ => f64::from(random.below(256)),
    });
    assert_eq!(d, product(&a, &b, &c).0);

    let shape = Shape { m: 16, n: 8, k: 16 };
    for (saturate, start, factor, expected) in [
        (false, i32::MAX, 0x01u32, i32::MIN + 15),
        (true, i32::MAX, 0x01, i32::MAX),
        (false, i32::MIN, 0xFF, i32::MAX - 15),
        (true, i32::MIN, 0xFF, i32::MIN),
    ] {
        let kind = Kind::new(shape, Type::S32, Type::S8, Type::S8, Type::S32, saturate).unwrap();
        let c = [[start as u32; 32]; 4];
        let mut d = [[0; 32]; 4];
        mma(&kind, &[[factor * 0x0101_0101; 32]; 2], &[[0x0101_0101; 32]], &c, &mut d);
        assert_eq!(d, [[expected as u32; 32]; 4], "{saturate} {factor:#x}");
    }
}

#[test]
fn infinity_and_nan_come_through() {
    let kind = kind(8, Type::F32, Type::Tf32, Type::Tf32);
    let one = 1f32.to_bits();
    let mut a = [[one; 32]; 4];
    a[0][0] = f32::INFINITY.to_bits(); // row 0
    a[1][4] = f32::NAN.to_bits() | 0x8000_0000; // row 9
    let mut d = [[0; 32]; 4];
    mma(&kind, &a, &[[one; 32]; 2], &[[0; 32]; 4], &mut d);
    assert!((0..4).all(|lane| d[0][lane] == f32::INFINITY.to_bits()));
    assert!((4..8).all(|lane| d[2][lane] == 0x7FFF_FFFF), "the canonical NaN: {:#x}", d[2][4]);
    assert!((8..32).all(|lane| d[0][lane] == 8f32.to_bits() && d[2][lane] == 8f32.to_bits()));
}

/// The lower 13 bits of a tf32 operand are not looked at.
#[test]
fn tf32_is_truncated() {
    let kind = kind(4, Type::F32, Type::Tf32, Type::Tf32);
    let mut d = [[0; 32]; 4];
    let (one, odd) = (1f32.to_bits(), 1f32.to_bits() | 0x1FFF);
    mma(&kind, &[[odd; 32]; 2], &[[one; 32]], &[[0; 32]; 4], &mut d);
    assert_eq!(d, [[4f32.to_bits(); 32]; 4]);
}

/// m8n8k4 (§9.7.15.5.2: A (groupID, thread), B (thread, groupID), C (groupID, 2 thread + i)) and the three shapes of sm_90.
#[test]
fn products_of_doubles() {
    let mut random = Random(9);
    for (m, k) in [(8, 4), (16, 4), (16, 8), (16, 16)] {
        let a = matrix(m, k, || f64::from(random.below(9)) - 4.0);
        let b = matrix(k, 8, || f64::from(random.below(9)) - 4.0);
        let c = matrix(m, 8, || f64::from(random.below(9)) - 4.0);
        let a_at = |lane: usize, i| if m == 8 { (lane >> 2, lane % 4) } else { a_place(64, k, lane, i) };
        let fill = |count: usize, from: &Matrix, place: &dyn Fn(usize, usize) -> (usize, usize)| {
            let mut registers = vec![[0u64; 32]; count];
            for (i, lane) in (0..count * 32).map(|n| (n / 32, n % 32)) {
                let (row, column) = place(lane, i);
                registers[i][lane] = from[row][column].to_bits();
            }
            registers
        };
        let mut d = vec![[0u64; 32]; m / 4];
        let a_registers = fill(m * k / 32, &a, &a_at);
        let b_registers = fill(k / 4, &b, &|lane, i| b_place(64, k, lane, i));
        mma_f64(&a_registers, &b_registers, &fill(m / 4, &c, &c_place), &mut d);
        let (expected, _) = product(&a, &b, &c);
        for (i, lane) in (0..m / 4 * 32).map(|n| (n / 32, n % 32)) {
            let (row, column) = c_place(lane, i);
            assert_eq!(f64::from_bits(d[i][lane]), expected[row][column], "m{m} k{k} ({row}, {column})");
        }
    }
}

#[test]
fn forms_that_the_isa_has_not_are_refused() {
    use Type::*;
    let new = |m, n, k, d, a, b, c, saturate| Kind::new(Shape { m, n, k }, d, a, b, c, saturate);
    assert!(new(16, 8, 8, F32, Tf32, Tf32, F32, false).is_ok());
    for refused in [
        new(16, 8, 16, F32, Tf32, Tf32, F32, false),
        new(16, 8, 4, F32, Bf16, Bf16, F32, false),
        new(16, 8, 16, F16, Bf16, Bf16, F16, false),
        new(16, 8, 16, F32, F16, F16, F16, false),
        new(16, 8, 16, F32, F16, Bf16, F32, false),
        new(16, 8, 32, F32, S8, S8, F32, false),
        new(8, 8, 16, S32, S8, S8, S32, false),
        new(16, 8, 16, F32, F16, F16, F32, true),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.starts_with("mma.m") && message.contains("known are"), "{message}");
    }
}
