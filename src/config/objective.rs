//! `[objective]`: the losses of the two nets and the terms added to them. docs/methods.md maps each method to its formula and its settings.

use super::declare::{LARGEST, Range, choices, settings};
pub use crate::ops::inputs::augment::AugmentPolicy;
pub use crate::ops::losses::objective::Loss;

/// The most steps from one gradient penalty to the next: beyond that it holds nothing.
const LAZIEST: u64 = 1 << 16;
/// A step of training is one piece of work on the device, and this is as long as one may get.
const MOST_DISCRIMINATOR_STEPS: u64 = 100;
/// Gradient penalties, each of its own weight.
const PENALTIES: [&str; 5] = ["R1", "R2", "WGAN-GP", "DRAGAN", "VGAN-GP"];

settings! {
    /// `[objective]`: the losses of both nets and what is added to them, and what else shapes the game. β's term of the
    /// bottleneck is added to whichever loss the discriminator has.
    pub struct ObjectiveSettings: "objective" {
        /// The losses of discriminator and generator.
        pub loss: Loss = Loss::Ns;
        /// Target of real images in D's loss (one-sided label smoothing, Salimans et al. 2016: 0.9); only losses `gan` and `ns`
        /// have one. The target of fake images stays 0, and G's stays 1.
        pub real_target: f64 = 1.0 => Range::PART, of ["label smoothing"];
        /// m of loss `ebgan`: the energy beyond which a fake image costs D nothing.
        pub margin: f64 = 1.0 => Range::ABOVE_0, of ["EBGAN"];
        /// λ_PT of the repelling term on the generator's codes, with loss `ebgan` alone (Zhao et al. 2017, EBGAN-PT: 0.1);
        /// 0 is EBGAN without it.
        pub repelling: f64 = 0.0 => Range::FROM_0, of ["EBGAN-PT"];
        /// γ of loss `began`, the energy of fake images that it strives for, in energies of real ones: lower for sharper
        /// images, higher for more different ones.
        pub balance_ratio: f64 = 0.5 => Range::PART, of ["BEGAN"];
        /// λ_k of loss `began`: how fast k, the weight of fake images in D's loss, moves; it starts at 0.
        pub balance_step: f64 = 0.001 => Range::FROM_0, of ["BEGAN"];
        /// The gradient penalty on ∂logit/∂image, over all pixels and channels of the image that D sees. It requires
        /// `discriminator.norm` = `none`.
        pub penalty: Penalty = Penalty::None, of PENALTIES;
        /// The penalty's weight: γ of `r1` and `r2`, λ of `wgan-gp` and `dragan`. The VGAN-GP of the paper's official code,
        /// which adds 10 · E‖∇‖² on real images, is `r1` with 20.
        pub penalty_weight: f64 = 10.0 => Range::ABOVE_0, of PENALTIES;
        /// The penalty is taken every this many steps, with as many times its weight (Karras et al. 2020, lazy
        /// regularisation).
        pub penalty_every: u64 = 1 => Range::whole(1, LAZIEST), of PENALTIES;
        /// The z of the bottleneck that the penalised logit comes from; on images of the batch a sample is the one that D's loss is
        /// computed with.
        pub penalty_z: BottleneckZ = BottleneckZ::Sampled, of PENALTIES;
        /// After each update every parameter of D is clipped to ± this (Arjovsky et al. 2017: 0.01); 0 clips nothing.
        pub clip: f64 = 0.0 => Range::FROM_0, of ["weight clipping", "WGAN"];
        /// Updates of D, each on images, latents and noise of its own, for one of G (Arjovsky et al. 2017: 5). β and D's
        /// optimiser move at each of them.
        pub discriminator_steps: u32 = 1 => Range::whole(1, MOST_DISCRIMINATOR_STEPS), of ["k steps of D", "WGAN", "WGAN-GP"];
        /// σ₀ of the normal noise on every pixel that D sees, in the units of `data.range` (Sønderby et al. 2017; Arjovsky
        /// & Bottou 2017); 0 adds none.
        pub instance_noise: f64 = 0.0 => Range::FROM_0, of ["instance noise"];
        /// Steps in which σ falls linearly from σ₀ to 0; 0 keeps σ₀.
        pub instance_noise_steps: u64 = 0 => Range::whole(0, LARGEST), of ["instance noise"];
        /// Random changes of every image that D sees, real and fake, in D's steps and in G's, through which G's gradients flow
        /// (DiffAugment, Zhao et al. 2020): names from `color`, `translation` and `cutout`, with commas between them; empty
        /// changes nothing.
        pub augment: AugmentPolicy = AugmentPolicy::default(), of ["augmentation", "DiffAugment"];
        /// w of w · ‖E f(x) − E f(G(z))‖², which replaces G's loss; f(x) is the output of D's encoder: μ, or its features
        /// without a bottleneck (Salimans et al. 2016: 1). 0 keeps G's own loss. G's step then does not use D's head, so
        /// `bottleneck.generator_z` has no effect.
        pub feature_matching: f64 = 0.0 => Range::FROM_0, of ["feature matching"];
        /// λ of λ ‖θ − θ̄‖², which the losses of G and D gain; θ̄ is the mean of the net's parameters so far (Salimans et
        /// al. 2016); 0 turns it off.
        pub historical_averaging: f64 = 0.0 => Range::FROM_0, of ["historical averaging"];
        /// λ₁ of mode regularisation (Che et al. 2017, MRGAN: 0.2): G's loss gains λ₁ E d(x, G(E(x))), d the mean squared
        /// error of an image's pixels and channels, and an encoder E: x → z is trained beside, on this and on the term of
        /// `mode`. There is an encoder where one of both is above 0.
        pub reconstruction: f64 = 0.0 => Range::FROM_0, of ["mode regularisation", "MRGAN"];
        /// λ₂ of mode regularisation (Che et al. 2017: 0.4): G's loss gains λ₂ times what its reconstructions G(E(x)) cost
        /// it under D, by the cost of `loss`; 0 turns it off.
        pub mode: f64 = 0.0 => Range::FROM_0, of ["mode regularisation", "MRGAN"];
    }
}

impl ObjectiveSettings {
    /// Whether there is an encoder to train, for mode regularisation.
    pub fn has_encoder(&self) -> bool {
        self.reconstruction > 0.0 || self.mode > 0.0
    }
}

choices! {
    /// The gradient penalty on ∂logit/∂image.
    pub enum Penalty {
        /// No penalty.
        None = "none",
        /// γ/2 · E‖∇‖² on real images (Mescheder et al. 2018).
        R1 = "r1",
        /// γ/2 · E‖∇‖² on generated images (Mescheder et al. 2018).
        R2 = "r2",
        /// λ · E(‖∇‖ − 1)² between real and generated images (Gulrajani et al. 2017).
        WganGp = "wgan-gp",
        /// λ · E(‖∇‖ − 1)² around real images (Kodali et al. 2017).
        Dragan = "dragan",
    }
}

choices! {
    /// The z of the bottleneck that goes through the discriminator's head.
    pub enum BottleneckZ {
        /// A sample μ + σ·ε (the paper's official code; the article too, in the generator's step).
        Sampled = "sampled",
        /// The mean μ (the paper's Eq. 11, in the generator's step).
        Mean = "mean",
    }
}
