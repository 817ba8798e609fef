//! Inception-v3 in evaluation: the features in which FID is given, and the logits of the Inception score. Its weights come from outside;
//! it is no part of a GAN, and has no backward pass.
//!
//! | file | what it holds |
//! |---|---|
//! | `blocks` | the architecture, as tables |
//! | `plan` | the same as steps between buffers |

mod blocks;
mod plan;

pub use plan::{CLASSES, FEATURES, Layer, Plan, SIDE};

use plan::{Operation, SLOTS, Slot, Step};

use crate::Result;
use crate::device::{Buffer, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::epilogue::Epilogue;
use crate::ops::layers::linear::Linear;
use crate::ops::layers::place2d::Place2d;
use crate::ops::layers::pool2d::Pool2d;

/// The net on a device, for batches of one size.
pub struct Inception<B: Executor> {
    backend: B,
    plan: Plan,
    batch: usize,
    weights: StoredBuffer<B>,
    biases: Buffer<B>,
    slots: Vec<StoredBuffer<B>>,
}

impl<B: Executor> Inception<B> {
    /// The net of a plan, with memory for `batch` images. `parameters` gives the weight `[K, R, S, C]` and the bias `[K]` of a layer, which
    /// is empty for the linear one.
    ///
    /// # Errors
    /// Those of `parameters`, and if memory is used up.
    pub fn new(
        backend: &B,
        plan: Plan,
        batch: usize,
        mut parameters: impl FnMut(&Layer) -> Result<(Vec<B::Real>, Vec<B::Real>)>,
    ) -> Result<Self> {
        let (mut weights, mut biases) = (Vec::new(), Vec::new());
        for layer in &plan.layers {
            let (weight, bias) = parameters(layer)?;
            debug_assert_eq!((weight.len(), bias.len()), (layer.weight.len(), layer.bias.len()), "{}", layer.name);
            weights.extend(weight);
            biases.extend(bias);
        }
        let slots = plan.sizes.iter().map(|size| backend.alloc(batch * size)).collect::<Result<Vec<_>>>()?;
        let (weights, biases) = (backend.stored_of(&weights)?, backend.buffer_of(&biases)?);
        Ok(Inception { backend: backend.clone(), plan, batch, weights, biases, slots })
    }

    /// Images of a batch.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// The images `[batch, H, W, 3]`, from about −1 to 1, to be written before a forward pass, which overwrites them.
    pub fn images(&mut self) -> StoredOut<'_, B> {
        let len = self.batch * self.plan.image.len();
        self.backend.part_mut(&mut self.slots[Slot::First as usize], 0..len)
    }

    /// Features `[batch, FEATURES]` and logits without bias `[batch, CLASSES]` of the images.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(&mut self) -> Result<[Vec<B::Real>; 2]> {
        for at in 0..self.plan.steps.len() {
            self.run(at)?;
        }
        let read = |slot: Slot| self.backend.read_stored(self.backend.view(&self.slots[slot as usize]));
        Ok([read(Slot::Features)?, read(Slot::Logits)?])
    }

    fn run(&mut self, at: usize) -> Result<()> {
        let Inception { backend, plan, batch, weights, biases, slots } = self;
        let Step { operation, from, to } = &plan.steps[at];
        debug_assert!(from != to && slots.len() == SLOTS);
        let (low, high) = (*from.min(to) as usize, *from.max(to) as usize);
        let (before, after) = slots.split_at_mut(high);
        let (x, y) = if from < to { (&before[low], &mut after[0]) } else { (&after[0], &mut before[low]) };
        let n = *batch;
        let weight = |layer: usize| backend.part(weights, plan.layers[layer].weight.clone());
        match *operation {
            Operation::Convolve(d, layer) => {
                let d = Conv2d { n, ..d };
                let (x, y) = (backend.part(x, 0..d.x_len()), backend.part_mut(y, 0..d.y_len()));
                let bias = backend.part(biases, plan.layers[layer].bias.clone());
                backend.conv2d_forward(&d, x, weight(layer), Some(bias), Epilogue::none(), y)
            }
            Operation::Activate(len) => {
                let (x, y) = (backend.part(x, 0..n * len), backend.part_mut(y, 0..n * len));
                backend.activation_forward(Activation::Relu, x, y)
            }
            Operation::Pool(d) => {
                let d = Pool2d { n, ..d };
                backend.pool2d_forward(&d, backend.part(x, 0..d.x_len()), backend.part_mut(y, 0..d.y_len()))
            }
            Operation::Place(d) => {
                let d = Place2d { n, ..d };
                backend.place2d_forward(&d, backend.part(x, 0..d.x_len()), backend.part_mut(y, 0..d.y_len()))
            }
            Operation::Multiply(d, layer) => {
                let d = Linear { n, ..d };
                let (x, y) = (backend.part(x, 0..n * d.c), backend.part_mut(y, 0..n * d.k));
                backend.linear_forward(&d, x, weight(layer), None, y)
            }
        }
    }
}
