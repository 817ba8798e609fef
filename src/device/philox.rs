//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a counter-based generator.
//!
//! Every draw is a function of (seed, stream, sample, step, element), so the CPU and the kernels draw the same bits, and a
//! resumed run draws what the uninterrupted one would have drawn. Samples are numbered within the whole batch, so that a batch in
//! parts draws what it draws as a whole.

/// The purpose of a draw; each purpose has numbers of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    /// The weights at the start; `sample` counts tensors.
    Init = 1,
    /// z of the discriminator's step.
    LatentDiscriminator = 2,
    /// z of the generator's step.
    LatentGenerator = 3,
    /// ε of the bottleneck for real images.
    NoiseReal = 4,
    /// ε of the bottleneck for fake images in the discriminator's step.
    NoiseFake = 5,
    /// ε of the bottleneck in the generator's step.
    NoiseGenerator = 6,
    /// The choice of the images that are mirrored.
    Flip = 7,
    /// The keys of the permutation of the data; `step` counts epochs.
    Permutation = 8,
    /// z of samples for people; the seed that the user names is the key, step and `sample` are 0.
    LatentSample = 9,
    /// Instance noise on real images.
    InstanceReal = 10,
    /// Instance noise on fake images in the discriminator's step.
    InstanceFake = 11,
    /// Instance noise in the generator's step.
    InstanceGenerator = 12,
    /// The position of a gradient penalty's point on its line.
    PenaltyPosition = 13,
    /// The directions in which DRAGAN's penalty perturbs real images.
    PenaltyDirection = 14,
    /// ε of the bottleneck at the points of a gradient penalty, where they are no images of the batch.
    NoisePenalty = 15,
    /// Instance noise on the reconstructions of mode regularisation.
    InstanceReconstruction = 16,
    /// ε of the bottleneck for these reconstructions.
    NoiseReconstruction = 17,
    /// Choices of an evaluation; `sample` says for what.
    Evaluation = 18,
    /// Augmentation of real images.
    AugmentReal = 19,
    /// Augmentation of fake images in the discriminator's step.
    AugmentFake = 20,
    /// Augmentation in the generator's step.
    AugmentGenerator = 21,
    /// Augmentation of the reconstructions of mode regularisation.
    AugmentReconstruction = 22,
    /// The classes of the images to generate in the discriminator's step.
    ClassDiscriminator = 30,
    /// The classes of the images to generate in the generator's step.
    ClassGenerator = 31,
}

/// One of the draws of one kind within a training step: the k discriminator steps of a step each draw anew. What each
/// draws is numbered on from step to step, so that one a step draws as if there were no other.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::NoUninit)]
pub struct DrawStep {
    /// Draws of this kind in each step.
    pub per_step: u32,
    /// The number of this one, from 0.
    pub index: u32,
    /// The number of the first sample within the batch: 0 for a whole batch, something else for a later part of it, or for the part
    /// of a rank but the first.
    pub first_sample: u32,
}

impl DrawStep {
    /// The only one of its step, for a whole batch.
    pub const ONCE: DrawStep = DrawStep { per_step: 1, index: 0, first_sample: 0 };

    /// Each of the draws of a step that has `per_step` of them, in order.
    pub fn all(per_step: u32) -> impl Iterator<Item = DrawStep> {
        (0..per_step).map(move |index| DrawStep { per_step, index, ..DrawStep::ONCE })
    }

    /// Whether no other follows in its step.
    pub fn is_last(self) -> bool {
        self.index + 1 == self.per_step
    }

    /// The only draw of its step for the same part of the batch.
    #[must_use]
    pub fn once(self) -> Self {
        DrawStep { first_sample: self.first_sample, ..DrawStep::ONCE }
    }

    /// Its number, which takes the place of the step's own in a draw.
    #[inline(always)]
    pub fn of(self, step: u64) -> u64 {
        step * u64::from(self.per_step) + u64::from(self.index)
    }

    /// The same draws for the part of the batch that begins at this sample.
    #[must_use]
    pub fn from_sample(self, first_sample: u32) -> Self {
        DrawStep { first_sample, ..self }
    }

    /// The number of sample `i` of the part within the batch.
    #[inline(always)]
    pub fn sample(self, i: usize) -> u32 {
        self.first_sample.wrapping_add(u32::try_from(i).unwrap_or(u32::MAX))
    }
}

/// Ten rounds of Philox4x32.
#[inline(always)]
pub fn philox4x32_10(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
        }
        let first = u64::from(counter[0]) * 0xD251_1F53;
        let second = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [high(second) ^ counter[1] ^ key[0], low(second), high(first) ^ counter[3] ^ key[1], low(first)];
    }
    counter
}

/// Four 32-bit draws: elements `4 * block .. 4 * block + 4` of `stream` for one sample in one step. Steps below 2⁵⁶
/// get draws of their own.
#[inline(always)]
pub fn draw(seed: u64, stream: Stream, step: u64, sample: u32, block: u32) -> [u32; 4] {
    philox4x32_10([block, sample, low(step), stream as u32 | (high(step) << 8)], [low(seed), high(seed)])
}

/// A draw as a number in [0, 1), a multiple of 2⁻²⁴.
#[inline(always)]
#[expect(clippy::cast_precision_loss)]
pub fn uniform(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation)]
fn low(value: u64) -> u32 {
    value as u32
}

#[inline(always)]
fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
