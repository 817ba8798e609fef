//! A reader of ONNX files and an interpreter of the operators that generators need, written from ONNX's documents alone and in f64: an
//! oracle for what `export` writes.

use std::collections::BTreeMap;

/// A field of a message of protocol buffers.
#[derive(Debug, Clone)]
enum Field<'a> {
    Whole(u64),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number of more than ten bytes");
}

/// The fields of a message, by number, in order.
fn fields(mut bytes: &[u8]) -> BTreeMap<u64, Vec<Field<'_>>> {
    let mut found: BTreeMap<u64, Vec<Field<'_>>> = BTreeMap::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Whole(varint(&mut bytes)),
            2 => {
                let len = varint(&mut bytes) as usize;
                let (value, rest) = bytes.split_at(len);
                bytes = rest;
                Field::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().expect("four bytes");
                bytes = rest;
                Field::Fixed32(*value)
            }
            other => panic!("wire type {other}"),
        };
        found.entry(key >> 3).or_default().push(field);
    }
    found
}

fn all_bytes<'a>(message: &BTreeMap<u64, Vec<Field<'a>>>, number: u64) -> Vec<&'a [u8]> {
    let of = |field: &Field<'a>| if let Field::Bytes(bytes) = field { *bytes } else { panic!("{field:?}") };
    message.get(&number).into_iter().flatten().map(of).collect()
}

fn all_whole(message: &BTreeMap<u64, Vec<Field<'_>>>, number: u64) -> Vec<i64> {
    let of =
        |field: &Field<'_>| if let Field::Whole(value) = field { value.cast_signed() } else { panic!("{field:?}") };
    message.get(&number).into_iter().flatten().map(of).collect()
}

fn text(message: &BTreeMap<u64, Vec<Field<'_>>>, number: u64) -> String {
    let bytes = all_bytes(message, number);
    String::from_utf8(bytes.first().expect("text").to_vec()).expect("UTF-8")
}

/// A tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<usize>,
    pub(super) values: Vec<f64>,
}

#[derive(Debug, Clone, PartialEq)]
enum Attribute {
    Whole(i64),
    Wholes(Vec<i64>),
    Real(f64),
    Text(String),
}

#[derive(Debug)]
struct Node {
    operator: String,
    inputs: Vec<String>,
    output: String,
    attributes: BTreeMap<String, Attribute>,
}

/// The name of an input or output, ONNX's number of its type, and its sizes; a size with a name is `None`.
pub(super) type Info = (String, i64, Vec<Option<i64>>);

/// A model's file, read.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) ir_version: i64,
    pub(super) opset: i64,
    pub(super) metadata: BTreeMap<String, String>,
    /// Constants of f32 under their names.
    pub(super) weights: BTreeMap<String, Array>,
    /// Constants of i64.
    shapes: BTreeMap<String, Vec<i64>>,
    /// Inputs and outputs.
    pub(super) inputs: Vec<Info>,
    pub(super) outputs: Vec<Info>,
    nodes: Vec<Node>,
}

impl Model {
    pub(super) fn read(bytes: &[u8]) -> Model {
        let model = fields(bytes);
        let graph = fields(all_bytes(&model, 7)[0]);
        let opsets: Vec<_> = all_bytes(&model, 8).into_iter().map(fields).collect();
        assert_eq!(opsets.len(), 1);
        let entry = |bytes| (text(&fields(bytes), 1), text(&fields(bytes), 2));
        let (mut weights, mut shapes) = (BTreeMap::new(), BTreeMap::new());
        for tensor in all_bytes(&graph, 5).into_iter().map(fields) {
            let shape: Vec<usize> = all_whole(&tensor, 1).iter().map(|&size| size as usize).collect();
            let (raw, name) = (all_bytes(&tensor, 9)[0], text(&tensor, 8));
            match all_whole(&tensor, 2)[0] {
                1 => {
                    let values: Vec<f64> =
                        raw.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect();
                    assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}");
                    assert!(weights.insert(name, Array { shape, values }).is_none());
                }
                7 => drop(shapes.insert(name, raw.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect())),
                other => panic!("{name} of type {other}"),
            }
        }
        Model {
            ir_version: all_whole(&model, 1)[0],
            opset: all_whole(&opsets[0], 2)[0],
            metadata: all_bytes(&model, 14).into_iter().map(entry).collect(),
            weights,
            shapes,
            inputs: all_bytes(&graph, 11).into_iter().map(value_info).collect(),
            outputs: all_bytes(&graph, 12).into_iter().map(value_info).collect(),
            nodes: all_bytes(&graph, 1).into_iter().map(node).collect(),
        }
    }

    /// The operators in use, in order.
    pub(super) fn operators(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| &node.operator[..]).collect()
    }

    /// The model's output for these inputs.
    pub(super) fn run(&self, inputs: &[Array]) -> Array {
        assert_eq!(inputs.len(), self.inputs.len());
        let mut values = self.weights.clone();
        values.extend(self.inputs.iter().zip(inputs).map(|((name, ..), input)| (name.clone(), input.clone())));
        for node in &self.nodes {
            let result = self.apply(node, &values);
            assert!(values.insert(node.output.clone(), result).is_none(), "{} twice", node.output);
        }
        values.remove(&self.outputs[0].0).expect("the output")
    }

    fn apply(&self, node: &Node, values: &BTreeMap<String, Array>) -> Array {
        let input = |i: usize| values.get(&node.inputs[i]).unwrap_or_else(|| panic!("{} of {node:?}", node.inputs[i]));
        let each = |f: &dyn Fn(f64) -> f64| {
            let x = input(0);
            Array { shape: x.shape.clone(), values: x.values.iter().map(|&value| f(value)).collect() }
        };
        let both = |f: fn(f64, f64) -> f64| {
            let (x, y) = (input(0), input(1));
            // One value for all, one for each row, or one for each element.
            assert!(y.values.len() == 1 || x.shape == y.shape || y.shape == [x.shape[0], 1]);
            let each = x.values.len() / y.values.len();
            let y_at = |i: usize| y.values[i / each];
            Array { shape: x.shape.clone(), values: x.values.iter().enumerate().map(|(i, &x)| f(x, y_at(i))).collect() }
        };
        match &node.operator[..] {
            "Identity" => each(&|x| x),
            "Relu" => each(&|x| x.max(0.0)),
            "Sigmoid" => each(&|x| 1.0 / (1.0 + (-x).exp())),
            "Tanh" => each(&f64::tanh),
            "LeakyRelu" => {
                let Some(&Attribute::Real(alpha)) = node.attributes.get("alpha") else { panic!("{node:?}") };
                each(&|x| if x < 0.0 { alpha * x } else { x })
            }
            "Add" => both(|x, y| x + y),
            "Mul" => both(|x, y| x * y),
            "Div" => both(|x, y| x / y),
            "Gather" => {
                assert!(node.attributes.is_empty(), "the first axis, which is the default");
                let (table, rows) = (input(0), input(1));
                let (&[_, width], &[n]) = (&table.shape[..], &rows.shape[..]) else { panic!("{node:?}") };
                let row = |&row: &f64| &table.values[row as usize * width..][..width];
                Array { shape: vec![n, width], values: rows.values.iter().flat_map(row).copied().collect() }
            }
            "ReduceL2" => {
                let axes = [("axes", Attribute::Wholes(vec![1])), ("keepdims", Attribute::Whole(1))];
                assert_eq!(node.attributes, axes.map(|(name, value)| (name.to_string(), value)).into());
                let x = input(0);
                let &[n, width] = &x.shape[..] else { panic!("{node:?}") };
                let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
                Array { shape: vec![n, 1], values: x.values.chunks_exact(width).map(length).collect() }
            }
            "Concat" => {
                assert_eq!(node.attributes, BTreeMap::from([("axis".to_string(), Attribute::Whole(1))]));
                let (x, y) = (input(0), input(1));
                let (&[n, a], &[_, b]) = (&x.shape[..], &y.shape[..]) else { panic!("{node:?}") };
                let row = |(x, y): (&[f64], &[f64])| [x, y].concat();
                let rows = x.values.chunks_exact(a).zip(y.values.chunks_exact(b));
                Array { shape: vec![n, a + b], values: rows.flat_map(row).collect() }
            }
            "Reshape" => {
                let x = input(0);
                let shape = &self.shapes[&node.inputs[1]];
                assert_eq!(shape[0], -1);
                let rest: Vec<usize> = shape[1..].iter().map(|&size| size as usize).collect();
                let n = x.values.len() / rest.iter().product::<usize>();
                Array { shape: [vec![n], rest].concat(), values: x.values.clone() }
            }
            "Gemm" => {
                assert_eq!(node.attributes, BTreeMap::from([("transB".to_string(), Attribute::Whole(1))]));
                gemm(input(0), input(1), input(2))
            }
            "BatchNormalization" => {
                let Some(&Attribute::Real(epsilon)) = node.attributes.get("epsilon") else { panic!("{node:?}") };
                batch_norm(input(0), [1, 2, 3, 4].map(input), epsilon)
            }
            "Conv" => window(node, input(0), input(1), node.inputs.get(2).map(|_| input(2)), false),
            "ConvTranspose" => window(node, input(0), input(1), node.inputs.get(2).map(|_| input(2)), true),
            "Resize" => {
                for (name, word) in
                    [("mode", "nearest"), ("coordinate_transformation_mode", "asymmetric"), ("nearest_mode", "floor")]
                {
                    assert_eq!(node.attributes[name], Attribute::Text(word.into()));
                }
                assert_eq!((&node.inputs[1][..], &input(2).values[..]), ("", &[1.0, 1.0, 2.0, 2.0][..]));
                doubled(input(0))
            }
            other => panic!("operator {other}"),
        }
    }
}

fn value_info(bytes: &[u8]) -> Info {
    let info = fields(bytes);
    let tensor = fields(all_bytes(&fields(all_bytes(&info, 2)[0]), 1)[0]);
    let kind = all_whole(&tensor, 1)[0];
    let dims = all_bytes(&fields(all_bytes(&tensor, 2)[0]), 1);
    (text(&info, 1), kind, dims.into_iter().map(|dim| all_whole(&fields(dim), 1).first().copied()).collect())
}

fn node(bytes: &[u8]) -> Node {
    let node = fields(bytes);
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let attribute = |bytes| {
        let one = fields(bytes);
        let value = match all_whole(&one, 20)[0] {
            1 => match one[&2][0] {
                Field::Fixed32(bytes) => Attribute::Real(f64::from(f32::from_le_bytes(bytes))),
                ref other => panic!("{other:?}"),
            },
            2 => Attribute::Whole(all_whole(&one, 3)[0]),
            3 => Attribute::Text(text(&one, 4)),
            7 => Attribute::Wholes(all_whole(&one, 8)),
            other => panic!("an attribute of type {other}"),
        };
        (text(&one, 1), value)
    };
    Node {
        operator: text(&node, 4),
        inputs: all_bytes(&node, 1).into_iter().map(utf8).collect(),
        output: text(&node, 2),
        attributes: all_bytes(&node, 5).into_iter().map(attribute).collect(),
    }
}

fn gemm(x: &Array, w: &Array, b: &Array) -> Array {
    let (&[n, c], &[k, of]) = (&x.shape[..], &w.shape[..]) else { panic!("{:?}, {:?}", x.shape, w.shape) };
    assert_eq!((c, &b.shape[..]), (of, &[k][..]));
    let value = |i: usize| {
        let (row, column) = (i / k, i % k);
        b.values[column] + (0..c).map(|j| x.values[row * c + j] * w.values[column * c + j]).sum::<f64>()
    };
    Array { shape: vec![n, k], values: (0..n * k).map(value).collect() }
}

fn batch_norm(x: &Array, [gamma, beta, mean, variance]: [&Array; 4], epsilon: f64) -> Array {
    let positions: usize = x.shape[2..].iter().product();
    let value = |(i, &x): (usize, &f64)| {
        let c = i / positions % gamma.values.len();
        gamma.values[c] * (x - mean.values[c]) / (variance.values[c] + epsilon).sqrt() + beta.values[c]
    };
    assert_eq!(x.shape[1], gamma.values.len());
    Array { shape: x.shape.clone(), values: x.values.iter().enumerate().map(value).collect() }
}

/// Convolution, or transposed convolution: each pair of pixels that a tap connects, one by one.
fn window(node: &Node, x: &Array, w: &Array, b: Option<&Array>, transposed: bool) -> Array {
    let wholes = |name: &str| match &node.attributes[name] {
        Attribute::Wholes(values) => values.iter().map(|&value| value as usize).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let (kernel, strides, pads) = (wholes("kernel_shape"), wholes("strides"), wholes("pads"));
    assert_eq!(kernel, w.shape[2..]);
    let (stride, pad) = (strides[0], pads[0]);
    assert!(strides == [stride; 2] && pads == [pad; 4]);
    let &[n, c, h, width] = &x.shape[..] else { panic!("{:?}", x.shape) };
    let (k, inputs) = if transposed { (w.shape[1], w.shape[0]) } else { (w.shape[0], w.shape[1]) };
    assert_eq!(c, inputs);
    let size = |len: usize, tap: usize| {
        if transposed { stride * (len - 1) + tap - 2 * pad } else { (len + 2 * pad - tap) / stride + 1 }
    };
    let (oh, ow) = (size(h, kernel[0]), size(width, kernel[1]));
    let mut y = vec![0.0; n * k * oh * ow];
    if let Some(b) = b {
        y.iter_mut().enumerate().for_each(|(i, y)| *y = b.values[i / (oh * ow) % k]);
    }
    let (small, large) = if transposed { ([h, width], [oh, ow]) } else { ([oh, ow], [h, width]) };
    let mut connect = |i: usize, o: usize, ch: usize, at: [usize; 2], tap: [usize; 2]| {
        // A pixel of the smaller image meets the larger one at stride · position + tap − padding.
        let far = [0, 1].map(|axis| (stride * at[axis] + tap[axis]).checked_sub(pad).filter(|&p| p < large[axis]));
        let [Some(fy), Some(fx)] = far else { return };
        let (in_at, out_at) = if transposed { (at, [fy, fx]) } else { ([fy, fx], at) };
        let weight = if transposed { (ch * k + o) * kernel[0] } else { (o * c + ch) * kernel[0] };
        let weight = w.values[(weight + tap[0]) * kernel[1] + tap[1]];
        let value = x.values[((i * c + ch) * h + in_at[0]) * width + in_at[1]];
        y[((i * k + o) * oh + out_at[0]) * ow + out_at[1]] += weight * value;
    };
    for i in 0..n {
        for (o, ch) in (0..k).flat_map(|o| (0..c).map(move |ch| (o, ch))) {
            for at in (0..small[0] * small[1]).map(|p| [p / small[1], p % small[1]]) {
                (0..kernel[0] * kernel[1]).for_each(|t| connect(i, o, ch, at, [t / kernel[1], t % kernel[1]]));
            }
        }
    }
    Array { shape: vec![n, k, oh, ow], values: y }
}

fn doubled(x: &Array) -> Array {
    let &[n, c, h, w] = &x.shape[..] else { panic!("{:?}", x.shape) };
    let value = |i: usize| {
        let (column, row, plane) = (i % (2 * w), i / (2 * w) % (2 * h), i / (4 * w * h));
        x.values[(plane * h + row / 2) * w + column / 2]
    };
    Array { shape: vec![n, c, 2 * h, 2 * w], values: (0..4 * n * c * h * w).map(value).collect() }
}
