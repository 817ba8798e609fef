//! Inception-v3 as a list of steps between a few buffers, for images of a given size.

use std::ops::Range;

use super::blocks::{Branch, Convolution, blocks};
use crate::image::ImageShape;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::linear::Linear;
use crate::ops::layers::place2d::Place2d;
use crate::ops::layers::pool2d::{Pool2d, Pooling};

/// Numbers of an image's features: the averages of the last block's channels.
pub const FEATURES: usize = 2048;
/// Classes that the net was trained on, a few of them unused.
pub const CLASSES: usize = 1008;
/// The side of the images that it was trained on.
pub const SIDE: usize = 299;

/// The buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// The input of a block (at first the images) and its output; the next block has them the other way round.
    First,
    Second,
    /// An image with zeros around it.
    Padded,
    /// The output of a convolution, before the activation.
    Raw,
    /// Intermediate images of a branch: taken in turns.
    Left,
    Right,
    /// The outputs of the branches of a block, beside each other.
    Together,
    Features,
    Logits,
}
pub(super) const SLOTS: usize = Slot::Logits as usize + 1;

/// An image in a buffer.
#[derive(Debug, Clone, Copy)]
struct Value {
    slot: Slot,
    shape: ImageShape,
}

/// The operation of a step.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    /// A convolution with its bias: the number of its layer.
    Convolve(Conv2d, usize),
    /// max(x, 0) of so many elements of each image.
    Activate(usize),
    Pool(Pool2d),
    Place(Place2d),
    /// A linear layer without bias: the number of its layer.
    Multiply(Linear, usize),
}

/// A step, from a buffer to another. Sizes are of one image.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) operation: Operation,
    pub(super) from: Slot,
    pub(super) to: Slot,
}

/// A layer with parameters: a convolution with batch normalisation folded into it, or the linear layer to the classes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// The name of its tensors in PyTorch begins so: `Mixed_5b.branch1x1`, `fc`.
    pub name: String,
    /// Its weight, `[K, R, S, C]`.
    pub shape: [usize; 4],
    /// The weight's place among all weights.
    pub(super) weight: Range<usize>,
    /// The bias's place among all biases: empty for the linear layer, whose bias nothing asks for.
    pub(super) bias: Range<usize>,
}

impl Layer {
    /// Whether it is the linear layer to the classes.
    pub fn is_linear(&self) -> bool {
        self.bias.is_empty()
    }
}

/// The whole net.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The size of an image.
    pub image: ImageShape,
    /// The layers that have parameters, in the order of their steps.
    pub layers: Vec<Layer>,
    pub(super) steps: Vec<Step>,
    /// The elements that each buffer has for an image.
    pub(super) sizes: [usize; SLOTS],
}

impl Plan {
    /// The net for square colour images of this side, which is at least 75.
    pub fn new(side: usize) -> Plan {
        let image = ImageShape { h: side, w: side, c: 3 };
        let mut plan = Plan { image, layers: Vec::new(), steps: Vec::new(), sizes: [0; SLOTS] };
        let mut x = Value { slot: Slot::First, shape: image };
        plan.make_room(x);
        for (name, k, side, stride, padding) in [
            ("Conv2d_1a_3x3", 32, 3, 2, 0),
            ("Conv2d_2a_3x3", 32, 3, 1, 0),
            ("Conv2d_2b_3x3", 64, 3, 1, 1),
            ("", 0, 3, 2, 0),
            ("Conv2d_3b_1x1", 80, 1, 1, 0),
            ("Conv2d_4a_3x3", 192, 3, 1, 0),
            ("", 0, 3, 2, 0),
        ] {
            let to = other(x.slot);
            x = if name.is_empty() {
                plan.pool(x, (Pooling::Max, stride), to)
            } else {
                let raw = plan.convolve(name, x, k, [side, side], stride, padding);
                plan.activate(raw, to)
            };
        }
        for (name, branches) in blocks() {
            x = plan.block(name, x, &branches);
        }
        let ImageShape { h, w, c } = x.shape;
        let whole = Pool2d { n: 1, h, w, c, side: h, stride: h, padding: 0, pooling: Pooling::Average };
        let vector = |slot, c| Value { slot, shape: ImageShape { h: 1, w: 1, c } };
        plan.step(Operation::Pool(whole), x.slot, vector(Slot::Features, c));
        let layer = plan.layer("fc", [CLASSES, 1, 1, c], 0);
        let linear = Linear { n: 1, c, k: CLASSES };
        plan.step(Operation::Multiply(linear, layer), Slot::Features, vector(Slot::Logits, CLASSES));
        plan
    }

    fn make_room(&mut self, value: Value) {
        let size = &mut self.sizes[value.slot as usize];
        *size = (*size).max(value.shape.len());
    }

    fn step(&mut self, operation: Operation, from: Slot, to: Value) -> Value {
        self.make_room(to);
        self.steps.push(Step { operation, from, to: to.slot });
        to
    }

    /// A new layer; its number.
    fn layer(&mut self, name: &str, shape: [usize; 4], biases: usize) -> usize {
        let (weight, bias) = self.layers.last().map_or((0, 0), |last| (last.weight.end, last.bias.end));
        let weight = weight..weight + shape.iter().product::<usize>();
        self.layers.push(Layer { name: name.into(), shape, weight, bias: bias..bias + biases });
        self.layers.len() - 1
    }

    /// A convolution with as many zeros on all sides.
    fn convolve(&mut self, name: &str, x: Value, k: usize, [r, s]: [usize; 2], stride: usize, padding: usize) -> Value {
        let ImageShape { h, w, c } = x.shape;
        let d = Conv2d { n: 1, h, w, c, k, r, s, stride, padding };
        let layer = self.layer(name, [k, r, s, c], k);
        let raw = Value { slot: Slot::Raw, shape: ImageShape { h: d.oh(), w: d.ow(), c: k } };
        self.step(Operation::Convolve(d, layer), x.slot, raw)
    }

    fn activate(&mut self, x: Value, to: Slot) -> Value {
        self.step(Operation::Activate(x.shape.len()), x.slot, Value { slot: to, ..x })
    }

    /// Windows of 3×3; with stride 1 an image keeps its size.
    fn pool(&mut self, x: Value, (pooling, stride): (Pooling, usize), to: Slot) -> Value {
        let ImageShape { h, w, c } = x.shape;
        let d = Pool2d { n: 1, h, w, c, side: 3, stride, padding: usize::from(stride == 1), pooling };
        self.step(Operation::Pool(d), x.slot, Value { slot: to, shape: ImageShape { h: d.oh(), w: d.ow(), c } })
    }

    /// A convolution of a block. Convolutions have one padding for all sides, so a filter that is no square has its zeros before.
    fn convolve_in_block(&mut self, block: &str, (name, k, [r, s], stride): Convolution, x: Value) -> Value {
        let name = format!("{block}.{name}");
        if r == s {
            return self.convolve(&name, x, k, [r, s], stride, if stride == 1 { r / 2 } else { 0 });
        }
        let ImageShape { h, w, c } = x.shape;
        let (top, left) = (r / 2, s / 2);
        let d = Place2d { n: 1, h, w, c, top, left, first: 0, oh: h + r - 1, ow: w + s - 1, oc: c };
        let padded = Value { slot: Slot::Padded, shape: ImageShape { h: d.oh, w: d.ow, c } };
        let padded = self.step(Operation::Place(d), x.slot, padded);
        self.convolve(&name, padded, k, [r, s], stride, 0)
    }

    /// The branches of a block, beside each other, and then the activation of all: what was pooled is not negative, and it leaves that
    /// as it is.
    fn block(&mut self, name: &str, x: Value, branches: &[Branch]) -> Value {
        let width = branches.iter().map(|branch| {
            let own: usize = branch.outer.iter().map(|(_, k, ..)| k).sum();
            if branch.outer.is_empty() { x.shape.c } else { own }
        });
        let (oc, mut first, mut together) = (width.sum(), 0, x);
        for branch in branches {
            let mut inner = x;
            if let Some(pool) = branch.pool {
                inner = self.pool(inner, pool, Slot::Left);
            }
            for &convolution in &branch.inner {
                let raw = self.convolve_in_block(name, convolution, inner);
                inner = self.activate(raw, if inner.slot == Slot::Left { Slot::Right } else { Slot::Left });
            }
            let mut place = |plan: &mut Plan, part: Value| {
                let ImageShape { h, w, c } = part.shape;
                let d = Place2d { n: 1, h, w, c, top: 0, left: 0, first, oh: h, ow: w, oc };
                first += c;
                let all = Value { slot: Slot::Together, shape: ImageShape { h, w, c: oc } };
                plan.step(Operation::Place(d), part.slot, all)
            };
            if branch.outer.is_empty() {
                together = place(self, inner);
            }
            for &convolution in &branch.outer {
                let raw = self.convolve_in_block(name, convolution, inner);
                together = place(self, raw);
            }
        }
        self.activate(together, other(x.slot))
    }
}

/// The other of the two buffers that blocks take and make.
fn other(slot: Slot) -> Slot {
    if slot == Slot::First { Slot::Second } else { Slot::First }
}
