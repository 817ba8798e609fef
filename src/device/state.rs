//! Everything that changes from step to step, in one place in the device's memory, so that a step can be replayed
//! without the host: step number, β, update counts, and the figures that a step reports.

use bytemuck::{Pod, Zeroable};

/// The networks, as indices into the arrays of [`StepState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The discriminator.
    Discriminator = 0,
    /// The generator.
    Generator = 1,
    /// The encoder of mode regularisation, images → z, where the settings have one. Its loss is the part of the generator's
    /// that it has a hand in.
    Encoder = 2,
}

impl Network {
    /// The number of networks.
    pub const COUNT: usize = 3;
}

macro_rules! define_metrics {
    ($($(#[$meaning:meta])* $name:ident: $type:ty { $($rest:tt)* })+) => {
        /// The figures of one step; means over the batch. src/figures.rs declares it; a figure that a run does not have is 0.
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
        pub struct Metrics {
            $($(#[$meaning])* pub $name: f64,)+
        }

        impl Metrics {
            /// The names of the figures, in order.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];
        }
    };
}
figures!(define_metrics);

// The struct that build.rs wrote for the kernels has the same fields in the same order.
const _: () = assert!(
    are_doubles_of_struct(
        include_str!(concat!(env!("OUT_DIR"), "/include/figures.h")),
        "struct Metrics {",
        Metrics::NAMES
    ),
    "build/figures.rs did not find every figure of src/figures.rs: declare each as `name: f64 {{` on one line"
);

/// Whether what follows `head` in the text is `double`, the names with commas between them, and a semicolon.
const fn are_doubles_of_struct(text: &str, head: &str, names: &[&str]) -> bool {
    let (text, mut at) = (text.as_bytes(), 0);
    while at < text.len() && !begins(text, at, head.as_bytes()) {
        at += 1;
    }
    at = skip(text, at, head);
    at = skip(text, at, "double");
    let mut name = 0;
    while name < names.len() {
        at = skip(text, at, names[name]);
        name += 1;
        at = skip(text, at, if name < names.len() { "," } else { ";" });
    }
    at < text.len()
}

/// The position after white space, the word and white space; the text's end if the word does not come next.
const fn skip(text: &[u8], mut at: usize, word: &str) -> usize {
    if !begins(text, at, word.as_bytes()) {
        return text.len();
    }
    at += word.len();
    while at < text.len() && text[at].is_ascii_whitespace() {
        at += 1;
    }
    at
}

const fn begins(text: &[u8], at: usize, word: &[u8]) -> bool {
    let mut i = 0;
    while i < word.len() && at + i < text.len() && text[at + i] == word[i] {
        i += 1;
    }
    i == word.len()
}

/// The training state beside weights, moments and running statistics.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct StepState {
    /// Steps completed.
    pub step: u64,
    /// The key of every random draw.
    pub seed: u64,
    /// Updates made to each [`Network`].
    pub updates: [u64; Network::COUNT],
    /// β, the constraint's weight in the next discriminator step.
    pub beta: f64,
    /// k, the weight of fake images in the next discriminator step of `began`.
    pub balance: f64,
    /// 0, or what was first found not finite: one of the `NON_FINITE_*` constants. While it is set no weight changes.
    pub non_finite: u64,
    /// The figures of the step under way.
    pub metrics: Metrics,
}

impl StepState {
    /// `non_finite`: the discriminator's loss.
    pub const NON_FINITE_LOSS_D: u64 = 1;
    /// `non_finite`: the generator's loss.
    pub const NON_FINITE_LOSS_G: u64 = 2;
    /// `non_finite`: a gradient of the discriminator.
    pub const NON_FINITE_GRADIENT_D: u64 = 3;
    /// `non_finite`: a gradient of the generator.
    pub const NON_FINITE_GRADIENT_G: u64 = 4;
    /// `non_finite`: a gradient of the encoder of mode regularisation.
    pub const NON_FINITE_GRADIENT_E: u64 = 5;

    /// The state before the first step.
    pub fn new(seed: u64, beta: f64) -> Self {
        StepState { seed, beta, ..StepState::zeroed() }
    }

    /// Notes `what`, one of the `NON_FINITE_*` constants, where a value is not finite, unless something was noted before.
    pub fn note_unless_finite(&mut self, value: f64, what: u64) {
        if !value.is_finite() && self.non_finite == 0 {
            self.non_finite = what;
        }
    }

    /// Adds a term to the generator's loss of the step under way; one that is not finite is noted.
    pub fn add_to_generator_loss(&mut self, value: f64) {
        self.metrics.loss_g += value;
        self.note_unless_finite(value, StepState::NON_FINITE_LOSS_G);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_field_another_order_and_another_type_are_found() {
        let same = |text: &str| are_doubles_of_struct(text, "struct M {", &["a", "bc"]);
        assert!(same("struct M {\n    double a,\n        bc;\n};"));
        for other in
            ["double bc, a;", "double a, b;", "double a, bc, d;", "double a;", "float a, bc;", "double a, bcd;", ""]
        {
            assert!(!same(&format!("struct M {{ {other} }};")), "{other}");
        }
        assert!(!same("struct N { double a, bc; };"));
    }
}
