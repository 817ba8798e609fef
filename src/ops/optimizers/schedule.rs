//! An optimiser's rate and a moving average's decay at a step: functions of the step number alone, which is in the
//! device's state. A recorded step is replayed without a word from the host, and a run that is resumed goes on as it would have.
//!
//! Nothing here is fused and no library function is called, so that kernels/optimizers/schedule.cuh gives the same bits.

use std::f64::consts::{LN_2, PI};

use crate::choices::choices;

choices! {
    /// The way that the learning rates go after the warm-up.
    pub enum ScheduleKind {
        /// They stay.
        Constant = "constant",
        /// They fall in equal steps.
        Linear = "linear",
        /// They fall as half a wave of a cosine: slowly, fast in the middle, slowly again (Loshchilov & Hutter 2017, without restarts).
        Cosine = "cosine",
    }
}

/// The learning rate at each step, as a part of the one that is set. All lengths are in steps of training, whatever the number of
/// updates in a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The first so many steps: step s, from 0, has the part (s + 1) / warmup.
    pub warmup: u64,
    /// The shape of the fall.
    pub kind: ScheduleKind,
    /// The last step before it falls.
    pub start: u64,
    /// The number of steps of the fall; at least 1 if it falls at all.
    pub steps: u64,
    /// The part that it falls to.
    pub floor: f64,
}

/// [`Schedule`] as kernels/optimizers/schedule.cuh has it.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub struct KernelSchedule {
    warmup: u64,
    kind: u64,
    start: u64,
    steps: u64,
    floor: f64,
}

impl Schedule {
    /// The same rate at every step.
    pub const CONSTANT: Schedule = Schedule { warmup: 0, kind: ScheduleKind::Constant, start: 0, steps: 0, floor: 0.0 };

    /// The part of the learning rate at a step, counted from 0; exactly 1 behind the warm-up and before the fall.
    #[expect(clippy::cast_precision_loss)]
    pub fn at(&self, step: u64) -> f64 {
        let warm = if step < self.warmup { (step + 1) as f64 / self.warmup as f64 } else { 1.0 };
        if self.kind == ScheduleKind::Constant || step <= self.start {
            return warm;
        }
        let passed = step - self.start;
        if passed >= self.steps {
            return warm * self.floor;
        }
        let part = passed as f64 / self.steps as f64;
        let left = if self.kind == ScheduleKind::Linear { 1.0 - part } else { 0.5 + 0.5 * cosine(part) };
        warm * (self.floor + (1.0 - self.floor) * left)
    }

    /// The same, as the kernels take it.
    pub fn for_kernels(&self) -> KernelSchedule {
        let Schedule { warmup, kind, start, steps, floor } = *self;
        KernelSchedule { warmup, kind: kind as u64, start, steps, floor }
    }
}

/// A step in the warm-up, two of a fall and one behind it, for the cases of the optimisers; each with its name.
pub(super) const CASES: [(&str, Schedule, u64); 4] = {
    const LINEAR: Schedule = Schedule { warmup: 4, kind: ScheduleKind::Linear, start: 10, steps: 8, floor: 0.25 };
    const COSINE: Schedule = Schedule { kind: ScheduleKind::Cosine, ..LINEAR };
    [
        ("warm-up", LINEAR, 2),
        ("falling evenly", LINEAR, 15),
        ("falling as a cosine", COSINE, 13),
        ("at its floor", COSINE, 18),
    ]
};

/// cos(π part) for a part in [0, 1], as −sin(π (part − ½)), within 4 · 10⁻¹⁶.
fn cosine(part: f64) -> f64 {
    let y = PI * (part - 0.5);
    let square = y * y;
    let mut series = 1.0;
    let mut odd = 23.0;
    while odd > 1.0 {
        series = 1.0 - square / (odd * (odd - 1.0)) * series;
        odd -= 2.0;
    }
    -(y * series)
}

/// A moving average's decay, at every step alike or by a half-life in images. kernels/optimizers/schedule.cuh has the same fields.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, bytemuck::NoUninit)]
pub struct Decay {
    /// The decay where there is no half-life.
    pub decay: f64,
    /// Images after which an earlier generator counts half; 0 for none.
    pub half_life: f64,
    /// The half-life is at most this part of the images seen; 0 sets no bound.
    pub rampup: f64,
    /// Images of a step.
    pub batch: f64,
}

impl Decay {
    /// The same at every step.
    pub const fn constant(decay: f64) -> Self {
        Decay { decay, half_life: 0.0, rampup: 0.0, batch: 0.0 }
    }

    /// The decay at a step, counted from 0: ½^(batch / half-life), where the half-life grows with the images seen until then
    /// (`ema_kimg` and `ema_rampup` of StyleGAN2-ADA, Karras et al. 2020). With a bound the first step's is 0.
    #[expect(clippy::cast_precision_loss)]
    pub fn at(&self, step: u64) -> f64 {
        if self.half_life == 0.0 {
            return self.decay;
        }
        let bound = step as f64 * self.batch * self.rampup;
        let images = if self.rampup > 0.0 && bound < self.half_life { bound } else { self.half_life };
        if images > 0.0 { half_to_the(self.batch / images) } else { 0.0 }
    }
}

/// ½^x for x ≥ 0, within 4 · 10⁻¹⁶ of its size; 0 where it is below 2⁻¹⁰⁰⁰.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn half_to_the(x: f64) -> f64 {
    if x >= 1000.0 {
        return 0.0;
    }
    let whole = x as u64;
    let exponent = -(x - whole as f64) * LN_2;
    let mut series = 1.0;
    let mut term = 20.0;
    while term > 0.0 {
        series = 1.0 + exponent / term * series;
        term -= 1.0;
    }
    series * power(0.5, whole)
}

/// base^exponent by repeated squaring: multiplications alone, in one order, so every device gets the same bits.
pub fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_agree_with_the_library() {
        for (base, exponent) in [(0.5, 0), (0.5, 1), (0.999, 7), (0.999, 46_800), (0.9, 1023)] {
            let expected = f64::powf(base, exponent as f64);
            assert!((power(base, exponent) - expected).abs() <= 1e-12 * expected, "{base}^{exponent}");
        }
        for x in [0.0, 1e-9, 0.25, 0.5, 0.999_999, 1.0, 1.5, 63.75, 999.9] {
            let expected = f64::exp2(-x);
            assert!((half_to_the(x) - expected).abs() <= 4e-16 * expected, "2^-{x}: {}", half_to_the(x));
        }
        assert_eq!((half_to_the(0.0), half_to_the(3.0), half_to_the(1e300)), (1.0, 0.125, 0.0));
    }

    #[test]
    fn cosines_agree_with_the_library() {
        for i in 0..=1000 {
            let part = f64::from(i) / 1000.0;
            assert!((cosine(part) - (PI * part).cos()).abs() <= 4e-16, "{part}");
        }
    }

    #[test]
    fn a_rate_rises_stays_and_falls() {
        let linear = Schedule { warmup: 4, kind: ScheduleKind::Linear, start: 10, steps: 8, floor: 0.2 };
        let rates: Vec<f64> = [0, 1, 3, 4, 10, 12, 14, 18, 1000].map(|step| linear.at(step)).into();
        let expected = [0.25, 0.5, 1.0, 1.0, 1.0, 0.8, 0.6, 0.2, 0.2];
        assert!(rates.iter().zip(expected).all(|(rate, expected)| (rate - expected).abs() < 1e-15), "{rates:?}");
        let cosine = Schedule { kind: ScheduleKind::Cosine, floor: 0.0, ..linear };
        assert_eq!((cosine.at(10), cosine.at(14), cosine.at(18)), (1.0, 0.5, 0.0));
        assert!(cosine.at(11) > linear.at(11) && cosine.at(17) < 0.05);
        assert!([0, 1, u64::MAX].iter().all(|&step| Schedule::CONSTANT.at(step) == 1.0));
    }

    #[test]
    fn an_average_forgets_by_half_lives() {
        let decay = Decay { decay: 0.0, half_life: 1000.0, rampup: 0.0, batch: 10.0 };
        let after_a_half_life: f64 = (0..100).map(|step| decay.at(step)).product();
        assert!((after_a_half_life - 0.5).abs() < 1e-12);
        // A twentieth of the images seen: 10 steps of 10 images make a half-life of 5.
        let ramp = Decay { rampup: 0.05, ..decay };
        assert_eq!((ramp.at(0), ramp.at(10), ramp.at(1_000_000)), (0.0, 0.25, decay.at(0)));
        assert_eq!(Decay::constant(0.999).at(7), 0.999);
    }
}
