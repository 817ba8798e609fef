//! Adam (Kingma & Ba 2015, with bias correction), over a whole network's arena at once, and the check that comes first.
//!
//! m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  w ← w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//!
//! t is the number of updates of that network, kept in the step state.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Network, Out, Real, StepState};
use crate::ops::case::OldCase;
use crate::ops::{Executor, Fill, Tensor};

/// Adam's constants for one network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// Which network's updates count.
    pub network: Network,
    /// Learning rate.
    pub lr: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε, added to the root of the corrected second moment.
    pub epsilon: f64,
}

/// The optimiser's passes.
pub trait AdamOp: Backend {
    /// Looks through all gradients of a network: if one is not finite it sets the state's `non_finite`, and if nothing
    /// was found so far it counts the update that is to follow.
    fn check_gradients(&self, network: Network, gradients: In<'_, Self>, state: Out<'_, Self, StepState>)
    -> Result<()>;

    /// One update of weights and moments in place, all five of the network's arena's length; nothing happens while
    /// `non_finite` is set. Follows [`AdamOp::check_gradients`], which has counted this update.
    fn adam_update(
        &self,
        d: &Adam,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        first_moments: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        state: In<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 16;

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

impl<T: Real> AdamOp for Cpu<T> {
    fn check_gradients(&self, network: Network, gradients: &[T], state: &mut [StepState]) -> Result<()> {
        // x · 0 is 0 for finite x and NaN otherwise, and a NaN stays in a sum.
        let finite = gradients.par_chunks(CHUNK).all(|chunk| {
            vectorised(|| {
                let mut lanes = [T::ZERO; 16];
                for part in chunk.chunks(16) {
                    lanes.iter_mut().zip(part).for_each(|(lane, &g)| *lane += g * T::ZERO);
                }
                lanes.iter().all(|&lane| lane == T::ZERO)
            })
        });
        let state = &mut state[0];
        if !finite && state.non_finite == 0 {
            state.non_finite = match network {
                Network::Discriminator => StepState::NON_FINITE_GRADIENT_D,
                Network::Generator => StepState::NON_FINITE_GRADIENT_G,
                Network::Encoder => StepState::NON_FINITE_GRADIENT_E,
            };
        }
        if state.non_finite == 0 {
            state.updates[network as usize] += 1;
        }
        Ok(())
    }

    fn adam_update(
        &self,
        d: &Adam,
        gradients: &[T],
        weights: &mut [T],
        first_moments: &mut [T],
        second_moments: &mut [T],
        state: &[StepState],
    ) -> Result<()> {
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let t = state[0].updates[d.network as usize];
        let rate = T::of(d.lr / (1.0 - power(d.beta1, t)));
        let root = T::of(1.0 / (1.0 - power(d.beta2, t)).sqrt());
        let (beta1, beta2, epsilon) = (T::of(d.beta1), T::of(d.beta2), T::of(d.epsilon));
        let (rest1, rest2) = (T::of(1.0 - d.beta1), T::of(1.0 - d.beta2));
        let moments = first_moments.par_chunks_mut(CHUNK).zip(second_moments.par_chunks_mut(CHUNK));
        weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(moments).for_each(|((w, g), (m, v))| {
            vectorised(|| {
                for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *w -= rate * *m / ((*v).sqrt() * root + epsilon);
                }
            });
        });
        Ok(())
    }
}

/// Adam's constants as kernels/optimizers/adam.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelAdam {
    lr: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
}

impl<L: Launcher, T: Real> AdamOp for Accelerator<L, T> {
    fn check_gradients(
        &self,
        network: Network,
        gradients: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let blocks = self.element_blocks(gradients.len());
        self.with_workspace(blocks as usize, |flags: Out<'_, Self, u32>| {
            let arguments = [gradients.argument(), Argument::new(gradients.len() as u64), flags.argument()];
            self.launch_elements(Kernel::FindNonFinite, gradients.len(), &arguments)?;
            let network = Argument::new(network as i32);
            let arguments = [network, flags.argument(), Argument::new(blocks), state.argument()];
            self.launch(Kernel::NoteGradients, [1, 1, 1], [1, 1, 1], &arguments)
        })
    }

    fn adam_update(
        &self,
        d: &Adam,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        first_moments: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        state: In<'_, Self, StepState>,
    ) -> Result<()> {
        let Adam { network, lr, beta1, beta2, epsilon } = *d;
        let arguments = [
            Argument::new(KernelAdam { lr, beta1, beta2, epsilon }),
            Argument::new(network as i32),
            gradients.argument(),
            weights.argument(),
            first_moments.argument(),
            second_moments.argument(),
            state.argument(),
            Argument::new(weights.len() as u64),
        ];
        self.launch_elements(Kernel::AdamUpdate, weights.len(), &arguments)
    }
}

struct AdamCase {
    len: usize,
    network: Network,
    /// Something was noted as not finite before: the update must move nothing and count nothing.
    stopped: bool,
}

/// Lengths below, at and above a vector; the third update of the generator, the sixth of the discriminator, the fifth of
/// the encoder, and one that is not to happen.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let size = |len, network, stopped| AdamCase { len, network, stopped };
    [
        size(1, Network::Generator, false),
        size(3, Network::Generator, false),
        size(17, Network::Generator, false),
        size(33, Network::Generator, false),
        size(1000, Network::Generator, false),
        size(33, Network::Discriminator, false),
        size(33, Network::Generator, true),
        size(17, Network::Discriminator, true),
        size(5, Network::Encoder, false),
    ]
    .into_iter()
    .map(|case| Box::new(case) as Box<dyn OldCase<B>>)
    .collect()
}

impl<B: Executor> OldCase<B> for AdamCase {
    fn op(&self) -> &'static str {
        "adam"
    }
    fn name(&self) -> String {
        let AdamCase { len, network, stopped } = self;
        format!("len{len} {network:?}{}", if *stopped { " stopped" } else { "" })
    }
    fn inputs(&self) -> Vec<Tensor> {
        let second = Tensor::new("second_moments", self.len).filled(Fill::Uniform(0.0, 1.0));
        let first = ["gradients", "weights", "first_moments"].map(|name| Tensor::new(name, self.len));
        first.into_iter().chain([second]).collect()
    }
    fn outputs(&self) -> Vec<Tensor> {
        let moved = ["weights", "first_moments", "second_moments"].map(|name| Tensor::new(name, self.len));
        moved.into_iter().chain([Tensor::new("updates", Network::COUNT)]).collect()
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let non_finite = if self.stopped { StepState::NON_FINITE_LOSS_D } else { 0 };
        let mut state = be.buffer_of(&[StepState { updates: [5, 2, 4], non_finite, ..StepState::new(0, 0.0) }])?;
        be.check_gradients(self.network, be.view(&inputs[0]), be.view_mut(&mut state))?;
        for (input, output) in inputs[1..].iter().zip(outputs.iter_mut()) {
            be.copy(be.view(input), be.view_mut(output))?;
        }
        // An epsilon so large that it shows where it is added.
        let d = Adam { network: self.network, lr: 0.01, beta1: 0.5, beta2: 0.999, epsilon: 0.05 };
        let [w, m, v, updates] = outputs else { unreachable!("four outputs") };
        let counted = be.read(be.view(&state))?[0].updates.map(|count| B::Real::of(count as f64));
        be.upload(&counted, be.view_mut(updates))?;
        let (w, m, v) = (be.view_mut(w), be.view_mut(m), be.view_mut(v));
        be.adam_update(&d, be.view(&inputs[0]), w, m, v, be.view(&state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case;

    #[test]
    fn powers_agree_with_the_library() {
        for (base, exponent) in [(0.5, 0), (0.5, 1), (0.999, 7), (0.999, 46_800), (0.9, 1023)] {
            let expected = f64::powf(base, exponent as f64);
            assert!((power(base, exponent) - expected).abs() <= 1e-12 * expected, "{base}^{exponent}");
        }
    }

    #[test]
    fn two_steps_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = Adam { network: Network::Generator, lr: 0.1, beta1: 0.5, beta2: 0.75, epsilon: 1.0 };
        let (mut w, mut m, mut v) = ([1.0], [0.0], [0.0]);
        let mut state = [StepState::new(0, 0.0)];
        // Step 1: m̂ = g and v̂ = g², so the weight moves by lr · g / (|g| + ε): 0.1 · 4 / 5.
        cpu.check_gradients(Network::Generator, &[4.0], &mut state).expect("check");
        cpu.adam_update(&d, &[4.0], &mut w, &mut m, &mut v, &state).expect("update");
        assert!((w[0] - 0.92f64).abs() < 1e-12);
        // Step 2 with g = −2: m = 0.5·2 − 0.5·2 = 0, so the weight stays.
        cpu.check_gradients(Network::Generator, &[-2.0], &mut state).expect("check");
        cpu.adam_update(&d, &[-2.0], &mut w, &mut m, &mut v, &state).expect("update");
        assert!((w[0] - 0.92f64).abs() < 1e-12);
        assert_eq!((m[0], v[0]), (0.0, 0.75 * 4.0 + 0.25 * 4.0));
        assert_eq!(state[0].updates, [0, 2, 0]);
    }

    #[test]
    fn a_stopped_update_moves_nothing() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        for (len, network) in [(33, Network::Generator), (17, Network::Discriminator)] {
            let case: &dyn OldCase<Cpu<f64>> = &AdamCase { len, network, stopped: true };
            let inputs: Vec<Vec<f64>> =
                (0..).zip(&case.inputs()).map(|(number, tensor)| case::fill(tensor, number)).collect();
            let mut outputs: Vec<Vec<f64>> = case.outputs().iter().map(|tensor| vec![0.0; tensor.len]).collect();
            case.forward(&cpu, &inputs, &mut outputs).expect("an update");
            assert_eq!(outputs[..3], inputs[1..]);
            assert_eq!(outputs[3], [5.0, 2.0, 4.0]);
        }
    }

    #[test]
    fn a_bad_gradient_stops_every_update() {
        let cpu = Cpu::<f32>::new(Some(2)).expect("threads");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, CHUNK, 2 * CHUNK + 4] {
                let mut gradients = vec![1.0; 2 * CHUNK + 5];
                gradients[at] = bad;
                let mut state = [StepState::new(0, 0.0)];
                cpu.check_gradients(Network::Discriminator, &gradients, &mut state).expect("check");
                assert_eq!(state[0].non_finite, StepState::NON_FINITE_GRADIENT_D, "{bad} at {at}");
                assert_eq!(state[0].updates, [0, 0, 0]);
            }
        }
    }
}
