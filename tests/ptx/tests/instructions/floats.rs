//! Floating-point arithmetic.

use crate::instructions::apply::{apply, pairs32, pairs64};

pub(crate) fn f(value: u64) -> f32 {
    f32::from_bits(value as u32)
}

pub(crate) fn g(value: u64) -> f64 {
    f64::from_bits(value)
}

/// Whether two results are the same float; NaN's payload is left open.
fn float32(value: f32) -> impl Fn(u64) -> bool {
    move |found| f(found).to_bits() == value.to_bits() || f(found).is_nan() && value.is_nan()
}

fn floats32(op: &str, sources: usize, expected: impl Fn(f32, f32, f32) -> f32) {
    let names = ["%a", "%b", "%c"][..sources].join(", ");
    let inputs = pairs32();
    for (input, found) in
        inputs.iter().zip(apply(&format!("{op} %d, {names};"), "f32", &["f32"; 3][..sources], &inputs))
    {
        let expected = expected(f(input[0]), f(input[1]), f(input[2]));
        assert!(float32(expected)(found), "{op} of {input:x?}: {} not {expected}", f(found));
    }
}

fn floats64(op: &str, sources: usize, expected: impl Fn(f64, f64, f64) -> f64) {
    let names = ["%a", "%b", "%c"][..sources].join(", ");
    let inputs = pairs64();
    for (input, found) in
        inputs.iter().zip(apply(&format!("{op} %d, {names};"), "f64", &["f64"; 3][..sources], &inputs))
    {
        let expected = expected(g(input[0]), g(input[1]), g(input[2]));
        let same = found == expected.to_bits() || g(found).is_nan() && expected.is_nan();
        assert!(same, "{op} of {input:x?}: {} not {expected}", g(found));
    }
}

/// f32 by way of f64, in any direction: `exact` is the result rounded to odd, which `f64` arithmetic gives where it is exact.
pub(crate) fn directed(value: f64, up: bool) -> f32 {
    let near = value as f32;
    if f64::from(near) == value || value.is_nan() {
        return near;
    }
    match (up, f64::from(near) > value) {
        (true, true) | (false, false) => near,
        (true, false) => near.next_up(),
        (false, true) => near.next_down(),
    }
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

#[test]
fn floats_of_32_bits() {
    floats32("add.rn.f32", 2, |a, b, _| a + b);
    floats32("sub.rn.f32", 2, |a, b, _| a - b);
    floats32("mul.rn.f32", 2, |a, b, _| a * b);
    floats32("div.rn.f32", 2, |a, b, _| a / b);
    floats32("fma.rn.f32", 3, |a, b, c| a.mul_add(b, c));
    floats32("sqrt.rn.f32", 1, |a, _, _| a.sqrt());
    floats32("rcp.rn.f32", 1, |a, _, _| 1.0 / a);
    floats32("neg.f32", 1, |a, _, _| -a);
    floats32("abs.f32", 1, |a, _, _| a.abs());
    // copysign: the sign of the first, the magnitude of the second.
    floats32("copysign.f32", 2, |a, b, _| f32::from_bits(a.to_bits() & 1 << 31 | b.to_bits() & !(1 << 31)));
    floats32("add.ftz.f32", 2, |a, b, _| flush(flush(a) + flush(b)));
    floats32("mul.rn.ftz.f32", 2, |a, b, _| flush(flush(a) * flush(b)));
    floats32("add.sat.f32", 2, |a, b, _| if (a + b).is_nan() { 0.0 } else { (a + b).clamp(0.0, 1.0) + 0.0 });
    // A product of two f32 is exact in f64.
    floats32("mul.rp.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), true));
    floats32("mul.rm.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), false));
    floats32("mul.rz.f32", 2, |a, b, _| directed(f64::from(a) * f64::from(b), (a < 0.0) != (b < 0.0)));
    // NaN loses against a number; -0 is below +0.
    floats32("min.f32", 2, |a, b, _| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == b => f32::from_bits(a.to_bits() | b.to_bits()),
        _ => a.min(b),
    });
    floats32("max.NaN.f32", 2, |a, b, _| match a == b {
        _ if a.is_nan() || b.is_nan() => f32::NAN,
        true => f32::from_bits(a.to_bits() & b.to_bits()),
        false => a.max(b),
    });
}

#[test]
fn floats_of_64_bits() {
    floats64("add.rn.f64", 2, |a, b, _| a + b);
    floats64("sub.rn.f64", 2, |a, b, _| a - b);
    floats64("mul.rn.f64", 2, |a, b, _| a * b);
    floats64("div.rn.f64", 2, |a, b, _| a / b);
    floats64("fma.rn.f64", 3, f64::mul_add);
    floats64("sqrt.rn.f64", 1, |a, _, _| a.sqrt());
    floats64("rcp.rn.f64", 1, |a, _, _| 1.0 / a);
    floats64("neg.f64", 1, |a, _, _| -a);
    floats64("max.f64", 2, |a, b, _| match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ => {
            if a == b {
                f64::from_bits(a.to_bits() & b.to_bits())
            } else {
                a.max(b)
            }
        }
    });
}

#[test]
fn sums_in_every_direction() {
    // Whole multiples of 2^-60, so that sums are exact in i128.
    let scale = 2f64.powi(60);
    let inputs: Vec<[u64; 3]> = (0..400u32)
        .map(|i| {
            let a = (i.wrapping_mul(2_654_435_761) as i32) as f32;
            let b = f32::from_bits(0x3000_0000 + i * 0x0003_4567);
            [u64::from(a.to_bits()), u64::from(b.to_bits()), 0]
        })
        .collect();
    for (op, up) in [("add.rp.f32", Some(true)), ("add.rm.f32", Some(false)), ("add.rz.f32", None)] {
        for (input, found) in inputs.iter().zip(apply(&format!("{op} %d, %a, %b;"), "f32", &["f32"; 2], &inputs)) {
            let [a, b] = [f(input[0]), f(input[1])].map(|value| (f64::from(value) * scale) as i128);
            let near = (a + b) as f32;
            // A neighbour on the other side, where the nearest is not on the wanted one.
            let expected = match (near as i128).cmp(&(a + b)) {
                std::cmp::Ordering::Equal => near,
                std::cmp::Ordering::Less if up.unwrap_or(a + b < 0) => near.next_up(),
                std::cmp::Ordering::Greater if !up.unwrap_or(a + b < 0) => near.next_down(),
                _ => near,
            };
            assert_eq!(f64::from(f(found)), f64::from(expected) / scale, "{op} of {} and {}", f(input[0]), f(input[1]));
        }
    }
}

#[test]
fn approximations_keep_their_error() {
    // The greatest errors that §9.7.3 states: relative ones, or absolute.
    let inputs: Vec<[u64; 3]> = (0..2000)
        .map(|i| [u64::from(((i as f32 - 1000.0) / 37.3).to_bits()), 0, 0])
        .filter(|input| f(input[0]) != 0.0)
        .collect();
    let check = |op: &str, domain: &dyn Fn(f32) -> bool, exact: &dyn Fn(f64) -> f64, relative: f64, absolute: f64| {
        for (input, found) in inputs.iter().zip(apply(&format!("{op} %d, %a;"), "f32", &["f32"], &inputs)) {
            let (x, found) = (f(input[0]), f64::from(f(found)));
            if domain(x) {
                let expected = exact(f64::from(x));
                let error = (found - expected).abs();
                assert!(error <= relative * expected.abs() + absolute, "{op} of {x}: {found}, not {expected}");
            }
        }
    };
    let two = |power: i32| 2f64.powi(power);
    check("ex2.approx.f32", &|_| true, &|x| 2f64.powf(x), two(-22), 0.0);
    check("ex2.approx.ftz.f32", &|_| true, &|x| 2f64.powf(x), two(-22), 0.0);
    check("lg2.approx.f32", &|x| x > 0.0, &|x| x.ln() / 2f64.ln(), two(-22), two(-22));
    check("sin.approx.f32", &|x| x.abs() < 3.1, &|x| x.sin(), 0.0, two(-20));
    check("cos.approx.f32", &|x| x.abs() < 3.1, &|x| x.cos(), 0.0, two(-20));
    check("tanh.approx.f32", &|_| true, &|x| (x.exp() - (-x).exp()) / (x.exp() + (-x).exp()), two(-10), 0.0);
    check("rcp.approx.ftz.f32", &|_| true, &|x| 1.0 / x, two(-23), 0.0);
    check("rsqrt.approx.f32", &|x| x > 0.0, &|x| 1.0 / x.sqrt(), two(-22), 0.0);
    check("sqrt.approx.f32", &|x| x > 0.0, &|x| x.sqrt(), two(-22), 0.0);
    // §9.7.3.14: the upper half of the bits alone, to a relative error of 2^-20.
    let inputs: Vec<[u64; 3]> = (1..500).map(|i| [(f64::from(i) * 1.37 - 300.0).to_bits(), 0, 0]).collect();
    for (input, found) in inputs.iter().zip(apply("rcp.approx.ftz.f64 %d, %a;", "f64", &["f64"], &inputs)) {
        assert_eq!(found & 0xFFFF_FFFF, 0);
        assert!((g(found) * g(input[0]) - 1.0).abs() < two(-19), "{} {}", g(input[0]), g(found));
    }
}
