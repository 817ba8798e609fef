//! A generator as an ONNX model: operator set 13, IR version 7, weights in the file, names and layouts of PyTorch.
//!
//! The input is `latents` `[N, z]`, and `classes` `[N]` (int64) of a generator that is told them; the output `images` `[N, C, H, W]`; f32,
//! N free. Batch normalisation is in inference form, by running statistics (<https://onnx.ai/onnx/operators/>).

mod protobuf;

use std::collections::BTreeSet;
use std::ops::Range;

use self::protobuf::Message;
use crate::error::{Error, Result};
use crate::nn::operation::{Operation, Parameters};
use crate::nn::{ImageShape, Parts, Table};
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;
use crate::ops::layers::conv2d::Conv2d;
use crate::run::Tensor;

/// The operator set that the model is written in.
pub const OPSET: i64 = 13;
const IR_VERSION: i64 = 7;

/// ONNX's numbers of types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// A generator, ready to be written.
pub struct Generator<'a> {
    /// Its steps.
    pub operations: &'a [Operation],
    /// The tables that the steps' ranges are of.
    pub parts: &'a Parts,
    /// Its tensors, under the names of the tables.
    pub tensors: &'a [Tensor],
    /// The length of z.
    pub latent: usize,
    /// Whether it is told classes.
    pub conditional: bool,
    /// The size of its images.
    pub image: ImageShape,
    /// Facts for the model's metadata, such as the interval of the pixels.
    pub metadata: &'a [(&'a str, String)],
}

impl Generator<'_> {
    /// The bytes of the model's file.
    ///
    /// # Errors
    /// [`Error::Internal`] where a step's tensor is missing or lies elsewhere; [`Error::Usage`] beyond the 2 GiB that a message of protocol
    /// buffers may have.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let mut graph =
            Graph { model: self, nodes: Vec::new(), initializers: Vec::new(), seen: BTreeSet::new(), count: 0 };
        let last = graph.steps(self.operations, Value { name: "latents".into(), shape: Shape::Flat })?;
        graph.node("Identity", &[&last.name], "images", &[]);
        let ImageShape { h, w, c } = self.image;
        let mut message = Message::default();
        for node in &graph.nodes {
            message = message.message(1, node);
        }
        message = message.bytes(2, "generator");
        for tensor in &graph.initializers {
            message = message.message(5, tensor);
        }
        message = message.message(11, &value_info("latents", FLOAT, &[self.latent]));
        if self.conditional {
            message = message.message(11, &value_info("classes", INT64, &[]));
        }
        let message = message.message(12, &value_info("images", FLOAT, &[c, h, w]));
        let operators = Message::default().bytes(1, "").whole(2, OPSET);
        let mut model = Message::default()
            .whole(1, IR_VERSION)
            .bytes(2, "vgan-cuda")
            .bytes(3, env!("CARGO_PKG_VERSION"))
            .message(7, &message)
            .message(8, &operators);
        for (key, value) in self.metadata {
            model = model.message(14, &Message::default().bytes(1, key).bytes(2, value));
        }
        let bytes = model.into_bytes();
        if bytes.len() > i32::MAX as usize {
            let found = "this generator's weights take more than the 2 GiB of an ONNX file: pass --format safetensors";
            return Err(Error::Usage(found.into()));
        }
        Ok(bytes)
    }
}

/// A value of the graph, without its first dimension N.
#[derive(Debug, Clone)]
struct Value {
    name: String,
    shape: Shape,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shape {
    /// `[N, features]`.
    Flat,
    /// `[N, C, H, W]`.
    Image,
}

/// A parameter of a node.
enum Attribute {
    Whole(i64),
    Wholes(Vec<i64>),
    Real(f32),
    Text(&'static str),
}

struct Graph<'a> {
    model: &'a Generator<'a>,
    nodes: Vec<Message>,
    initializers: Vec<Message>,
    /// The names of the initialisers so far.
    seen: BTreeSet<String>,
    /// Values named so far.
    count: usize,
}

impl Graph<'_> {
    fn steps(&mut self, operations: &[Operation], mut x: Value) -> Result<Value> {
        for operation in operations {
            x = self.step(operation, x)?;
        }
        Ok(x)
    }

    fn step(&mut self, operation: &Operation, x: Value) -> Result<Value> {
        let params = &self.model.parts.params;
        match operation {
            Operation::Activation(Activation::Identity) => Ok(x),
            Operation::Activation(f) => {
                let (name, attributes) = activation(*f);
                Ok(self.apply(name, &[&x.name], x.shape, &attributes))
            }
            Operation::Linear(_, Parameters { weight, bias }) => {
                let inputs = self.with_parameters(x.name, weight, bias.as_ref())?;
                Ok(self.apply("Gemm", &inputs, Shape::Flat, &[("transB", Attribute::Whole(1))]))
            }
            Operation::Conv2d(d, Parameters { weight, bias }) => {
                let Conv2d { h, w, c, r, s, stride, padding, .. } = *d;
                let x = self.as_image(x, [c, h, w]);
                let inputs = self.with_parameters(x.name, weight, bias.as_ref())?;
                Ok(self.apply("Conv", &inputs, Shape::Image, &window([r, s], stride, padding)))
            }
            Operation::ConvTranspose2d(d, Parameters { weight, bias }) => {
                let ConvTranspose2d { h, w, c, r, s, stride, padding, .. } = *d;
                let x = self.as_image(x, [c, h, w]);
                let inputs = self.with_parameters(x.name, weight, bias.as_ref())?;
                Ok(self.apply("ConvTranspose", &inputs, Shape::Image, &window([r, s], stride, padding)))
            }
            Operation::BatchNorm { gamma, beta, mean, variance, epsilon } => {
                let stats = &self.model.parts.stats;
                let mut inputs = vec![x.name];
                for (table, range) in [(params, gamma), (params, beta), (stats, mean), (stats, variance)] {
                    inputs.push(self.tensor(table, range)?);
                }
                #[expect(clippy::cast_possible_truncation)]
                let epsilon = Attribute::Real(*epsilon as f32);
                Ok(self.apply("BatchNormalization", &inputs, x.shape, &[("epsilon", epsilon)]))
            }
            Operation::ClassConcat { weight } => {
                let embeddings = self.tensor(params, weight)?;
                let e = self.apply("Gather", &[embeddings.as_str(), "classes"], Shape::Flat, &[]);
                let axis = [("axes", Attribute::Wholes(vec![1])), ("keepdims", Attribute::Whole(1))];
                let length = self.apply("ReduceL2", &[&e.name], Shape::Flat, &axis);
                let e = self.apply("Div", &[&e.name, &length.name], Shape::Flat, &[]);
                Ok(self.apply("Concat", &[&x.name, &e.name], Shape::Flat, &[("axis", Attribute::Whole(1))]))
            }
            Operation::Upsample2d(d) => {
                let x = self.as_image(x, [d.c, d.h, d.w]);
                let scales = [1.0_f32, 1.0, 2.0, 2.0];
                let scales = self.constant("scales", FLOAT, &[4], bytemuck::cast_slice(&scales));
                let attributes = [
                    ("mode", Attribute::Text("nearest")),
                    ("coordinate_transformation_mode", Attribute::Text("asymmetric")),
                    ("nearest_mode", Attribute::Text("floor")),
                ];
                Ok(self.apply("Resize", &[&x.name, "", &scales], Shape::Image, &attributes))
            }
            Operation::Residual { branch, shortcut, scale } => {
                let x = match branch
                    .iter()
                    .find_map(|operation| if let Operation::Conv2d(d, _) = operation { Some(d) } else { None })
                {
                    Some(d) => self.as_image(x, [d.c, d.h, d.w]),
                    None => x,
                };
                let branch = self.steps(branch, x.clone())?;
                let shortcut = self.steps(shortcut, x)?;
                #[expect(clippy::cast_possible_truncation)]
                let scale = (*scale as f32).to_le_bytes();
                let scale = self.constant("scale", FLOAT, &[], &scale);
                let scaled = self.apply("Mul", &[&branch.name, &scale], branch.shape, &[]);
                Ok(self.apply("Add", &[&shortcut.name, &scaled.name], branch.shape, &[]))
            }
        }
    }

    /// `[N, features]` as `[N, C, H, W]`, in which order PyTorch's features lie; an image stays one.
    fn as_image(&mut self, x: Value, chw: [usize; 3]) -> Value {
        if x.shape == Shape::Image {
            return x;
        }
        let shape = [-1, chw[0] as i64, chw[1] as i64, chw[2] as i64];
        let name = format!("shape.{}x{}x{}", chw[0], chw[1], chw[2]);
        let shape = self.constant(&name, INT64, &[4], bytemuck::cast_slice(&shape));
        self.apply("Reshape", &[&x.name, &shape], Shape::Image, &[])
    }

    /// The inputs of a node with weight and bias.
    fn with_parameters(
        &mut self,
        x: String,
        weight: &Range<usize>,
        bias: Option<&Range<usize>>,
    ) -> Result<Vec<String>> {
        let params = &self.model.parts.params;
        let mut inputs = vec![x, self.tensor(params, weight)?];
        if let Some(bias) = bias {
            inputs.push(self.tensor(params, bias)?);
        }
        Ok(inputs)
    }

    /// The name of the tensor in this range of the table, which becomes an initialiser.
    fn tensor(&mut self, table: &Table, range: &Range<usize>) -> Result<String> {
        let entry = table.at(range.start).filter(|entry| entry.range() == *range);
        let entry = entry.ok_or_else(|| Error::Internal(format!("no tensor at {range:?} of the generator")))?;
        let tensor = self.model.tensors.iter().find(|tensor| tensor.name == entry.name && tensor.shape == entry.shape);
        let tensor = tensor.ok_or_else(|| Error::Internal(format!("no tensor {} of the generator", entry.name)))?;
        Ok(self.constant(&tensor.name, FLOAT, &tensor.shape, bytemuck::cast_slice(&tensor.values)))
    }

    /// Adds an initialiser, unless one of this name is there; returns its name.
    fn constant(&mut self, name: &str, kind: i64, shape: &[usize], little_endian: &[u8]) -> String {
        if self.seen.insert(name.to_string()) {
            let dims = shape.iter().fold(Message::default(), |message, &size| message.whole(1, size as i64));
            self.initializers.push(dims.whole(2, kind).bytes(8, name).bytes(9, little_endian));
        }
        name.to_string()
    }

    /// Adds a node whose output gets a name of its own.
    fn apply(
        &mut self,
        operator: &str,
        inputs: &[impl AsRef<str>],
        shape: Shape,
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.count += 1;
        let name = format!("value.{}", self.count);
        self.node(operator, inputs, &name, attributes);
        Value { name, shape }
    }

    fn node(&mut self, operator: &str, inputs: &[impl AsRef<str>], output: &str, attributes: &[(&str, Attribute)]) {
        let message = inputs.iter().fold(Message::default(), |message, input| message.bytes(1, input.as_ref()));
        let message = message.bytes(2, output).bytes(3, format!("{operator}.{}", self.nodes.len())).bytes(4, operator);
        let message = attributes.iter().fold(message, |message, (name, attribute)| {
            let one = Message::default().bytes(1, name);
            let one = match attribute {
                Attribute::Real(value) => one.real(2, *value).whole(20, 1),
                Attribute::Whole(value) => one.whole(3, *value).whole(20, 2),
                Attribute::Text(text) => one.bytes(4, text).whole(20, 3),
                Attribute::Wholes(values) => values.iter().fold(one, |one, &value| one.whole(8, value)).whole(20, 7),
            };
            message.message(5, &one)
        });
        self.nodes.push(message);
    }
}

/// The operator of an activation.
fn activation(f: Activation) -> (&'static str, Vec<(&'static str, Attribute)>) {
    match f {
        Activation::Identity => ("Identity", Vec::new()),
        Activation::Relu => ("Relu", Vec::new()),
        #[expect(clippy::cast_possible_truncation)]
        Activation::LeakyRelu(slope) => ("LeakyRelu", vec![("alpha", Attribute::Real(slope as f32))]),
        Activation::Sigmoid => ("Sigmoid", Vec::new()),
        Activation::Tanh => ("Tanh", Vec::new()),
    }
}

/// The window of a convolution.
fn window(kernel: [usize; 2], stride: usize, padding: usize) -> [(&'static str, Attribute); 3] {
    let twice = |value: usize| vec![value as i64; 2];
    [
        ("kernel_shape", Attribute::Wholes(kernel.iter().map(|&size| size as i64).collect())),
        ("strides", Attribute::Wholes(twice(stride))),
        ("pads", Attribute::Wholes(vec![padding as i64; 4])),
    ]
}

/// An input or output `[N, …]` of a type.
fn value_info(name: &str, kind: i64, sizes: &[usize]) -> Message {
    let shape = Message::default().message(1, &Message::default().bytes(2, "N"));
    let shape = sizes.iter().fold(shape, |shape, &size| shape.message(1, &Message::default().whole(1, size as i64)));
    let tensor = Message::default().whole(1, kind).message(2, &shape);
    Message::default().bytes(1, name).message(2, &Message::default().message(1, &tensor))
}
