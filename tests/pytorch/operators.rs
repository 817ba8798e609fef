//! Convolution, transposed convolution, batch normalisation, cross-entropy, embeddings of classes and augmentation alone against PyTorch's, at odd sizes, in f64: values,
//! every gradient and running statistics, through the traits of the operations. Relative to each tensor's largest.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde::Deserialize;
use vgan_cuda::config::AugmentPolicy;
use vgan_cuda::device::philox::{DrawStep, Stream};
use vgan_cuda::device::{Cpu, StepState};
use vgan_cuda::nn::table::permute;
use vgan_cuda::ops::inputs::augment::{Augment, AugmentOp};
use vgan_cuda::ops::layers::activation::Activation;
use vgan_cuda::ops::layers::batch_norm::{BatchNorm, BatchNormOp};
use vgan_cuda::ops::layers::class_concat::{ClassConcat, ClassConcatOp};
use vgan_cuda::ops::layers::class_projection::{ClassProjection, ClassProjectionOp};
use vgan_cuda::ops::layers::conv_transpose2d::{ConvTranspose2d, ConvTranspose2dOp};
use vgan_cuda::ops::layers::conv2d::{Conv2d, Conv2dOp};
use vgan_cuda::ops::layers::epilogue::Epilogue;
use vgan_cuda::ops::losses::cross_entropy::{CrossEntropy, CrossEntropyOp};
use vgan_cuda::run::{Tensor, tensors};

const TOLERANCE: f64 = 1e-12;

#[derive(Deserialize)]
struct Operator {
    op: String,
    #[serde(default)]
    kernel: usize,
    #[serde(default)]
    stride: usize,
    #[serde(default)]
    padding: usize,
    #[serde(default)]
    policy: AugmentPolicy,
    #[serde(default)]
    pixels: String,
}

/// The tensors of one case, by their short names.
struct Parts(BTreeMap<String, Tensor<f64>>);

impl Parts {
    fn shape(&self, name: &str) -> &[usize] {
        &self.0[name].shape
    }

    /// The second axis last: NCHW → NHWC, OIHW → OHWI.
    fn ours(&self, name: &str) -> Vec<f64> {
        let Tensor { shape, values, .. } = &self.0[name];
        match shape.len() {
            4 => permute(values, shape, &[0, 2, 3, 1]),
            _ => values.clone(),
        }
    }

    fn error(&self, name: &str, found: &[f64]) -> f64 {
        let expected = self.ours(name);
        assert_eq!(found.len(), expected.len(), "{name}");
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        // A gradient that is zero throughout is held to the size of what came in.
        worst / if largest > 1e-12 { largest } else { 1.0 }
    }
}

type Computed = Vec<(&'static str, Vec<f64>)>;

fn conv2d(cpu: &Cpu<f64>, operator: &Operator, parts: &Parts) -> Computed {
    let (&[n, c, h, w], &[k, ..]) = (parts.shape("x"), parts.shape("w")) else { panic!("shapes") };
    let Operator { kernel: r, stride, padding, .. } = *operator;
    let d = Conv2d { n, h, w, c, k, r, s: r, stride, padding };
    let [x, weight, b, dy] = ["x", "w", "b", "dy"].map(|name| parts.ours(name));
    let (mut y, mut dx, mut dw, mut db) =
        (vec![0.0; d.y_len()], vec![0.0; d.x_len()], vec![0.0; d.w_len()], vec![0.0; k]);
    cpu.conv2d_forward(&d, &x, &weight, Some(&b), Epilogue::none(), &mut y).unwrap();
    cpu.conv2d_backward_input(&d, &dy, &weight, Epilogue::none(), &mut dx).unwrap();
    cpu.conv2d_backward_weight(&d, &x, &dy, &mut dw, Some(&mut db), true).unwrap();
    vec![("y", y), ("dx", dx), ("dw", dw), ("db", db)]
}

fn conv_transpose2d(cpu: &Cpu<f64>, operator: &Operator, parts: &Parts) -> Computed {
    let (&[n, c, h, w], &[_, k, ..]) = (parts.shape("x"), parts.shape("w")) else { panic!("shapes") };
    let Operator { kernel: r, stride, padding, .. } = *operator;
    let d = ConvTranspose2d { n, h, w, c, k, r, s: r, stride, padding };
    let [x, weight, b, dy] = ["x", "w", "b", "dy"].map(|name| parts.ours(name));
    let (mut y, mut dx, mut dw, mut db) =
        (vec![0.0; dy.len()], vec![0.0; x.len()], vec![0.0; weight.len()], vec![0.0; k]);
    cpu.conv_transpose2d_forward(&d, &x, &weight, Some(&b), &mut y).unwrap();
    cpu.conv_transpose2d_backward_input(&d, &dy, &weight, &mut dx).unwrap();
    cpu.conv_transpose2d_backward_weight(&d, &x, &dy, &mut dw, Some(&mut db), true).unwrap();
    vec![("y", y), ("dx", dx), ("dw", dw), ("db", db)]
}

fn batch_norm(cpu: &Cpu<f64>, parts: &Parts, training: bool) -> Computed {
    let &[n, c, h, w] = parts.shape("x") else { panic!("a shape of four") };
    let activation = Activation::Identity;
    let d = BatchNorm { rows: n * h * w, c, groups: 1, ranks: 1, epsilon: 1e-5, momentum: 0.1, activation };
    let [x, gamma, beta, dy] = ["x", "w", "b", "dy"].map(|name| parts.ours(name));
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    if !training {
        // Nothing is trained in evaluation: there is only the forward pass.
        let running = [parts.ours("running_mean"), parts.ours("running_var")].concat();
        cpu.batch_norm_eval(&d, &x, &gamma, &beta, &running, &mut y).unwrap();
        return vec![("y", y)];
    }
    let mut running = [vec![0.0; c], vec![1.0; c]].concat();
    let (mut saved, mut sums) = (vec![0.0; 2 * c], vec![0.0; 2 * c]);
    let (mut dgamma, mut dbeta) = (vec![0.0; c], vec![0.0; c]);
    cpu.batch_norm_forward(&d, &x, &gamma, &beta, &mut running, &mut saved, &mut y).unwrap();
    let weight = Some([&mut dgamma[..], &mut dbeta[..]]);
    cpu.batch_norm_backward(&d, &x, &y, &dy, &gamma, &saved, &mut sums, Some(&mut dx), weight, true).unwrap();
    let variance = running.split_off(c);
    vec![("y", y), ("dx", dx), ("dw", dgamma), ("db", dbeta), ("running_mean", running), ("running_var", variance)]
}

fn cross_entropy(cpu: &Cpu<f64>, parts: &Parts) -> Computed {
    let &[n, classes] = parts.shape("x") else { panic!("a shape of two") };
    let d = CrossEntropy { n, classes };
    let [x, labels, dy] = ["x", "labels", "dy"].map(|name| parts.ours(name));
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let (mut y, mut dx) = (vec![0.0; n], vec![0.0; x.len()]);
    cpu.cross_entropy_forward(&d, &x, &labels, &mut y).unwrap();
    cpu.cross_entropy_backward_input(&d, &x, &labels, &dy, &mut dx).unwrap();
    vec![("y", y), ("dx", dx)]
}

/// The class's embedding beside features, or its product with them; gradients are overwritten.
fn classes(cpu: &Cpu<f64>, parts: &Parts, beside: bool) -> Computed {
    let (&[n, c], &[classes, width]) = (parts.shape("x"), parts.shape("w")) else { panic!("shapes") };
    let [x, e, labels, dy] = ["x", "w", "labels", "dy"].map(|name| parts.ours(name));
    let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
    let (mut y, mut dx, mut de) = (vec![f64::NAN; dy.len()], vec![f64::NAN; x.len()], vec![f64::NAN; e.len()]);
    if beside {
        let d = ClassConcat { n, c, classes, width };
        cpu.class_concat_forward(&d, &x, &labels, &e, &mut y).unwrap();
        cpu.class_concat_backward_input(&d, &dy, &mut dx).unwrap();
        cpu.class_concat_backward_weight(&d, &labels, &e, &dy, &mut de, false).unwrap();
    } else {
        let d = ClassProjection { n, c, classes };
        cpu.class_projection_forward(&d, &x, &labels, &e, None, &mut y, false).unwrap();
        cpu.class_projection_backward_input(&d, &labels, &e, &dy, &mut dx, false).unwrap();
        cpu.class_projection_backward_weight(&d, &x, &labels, &dy, &mut de, None, false).unwrap();
    }
    vec![("y", y), ("dx", dx), ("dw", de)]
}

fn augment(cpu: &Cpu<f64>, operator: &Operator, parts: &Parts) -> Computed {
    let &[n, c, h, w] = parts.shape("x") else { panic!("a shape of four") };
    let (half_range, middle) = if operator.pixels == "0..1" { (0.5, 0.5) } else { (1.0, 0.0) };
    let (policy, streams, draws) = (operator.policy, &[Stream::AugmentReal], DrawStep::ONCE);
    let d = Augment { n, h, w, c, policy, half_range, middle, streams, draws };
    let ([x, u, dy], state) = (["x", "u", "dy"].map(|name| parts.ours(name)), [StepState::new(0, 0.0)]);
    let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    cpu.augment_forward(&d, &x, Some(&u), &state, &mut y).unwrap();
    cpu.augment_backward_input(&d, &dy, Some(&u), &state, &mut dx).unwrap();
    vec![("y", y), ("dx", dx)]
}

#[test]
fn operators_agree() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/operators.safetensors");
    let bytes = std::fs::read(&path).expect("a committed fixture");
    let (_, header) = SafeTensors::read_metadata(&bytes).expect("safetensors");
    let operators: Vec<Operator> =
        serde_json::from_str(&header.metadata().as_ref().expect("metadata")["cases"]).expect("a list of cases");
    let all = tensors::decode_as::<f64>(&path, &bytes).expect("tensors");
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let (mut worst, mut bad) = (BTreeMap::<String, f64>::new(), Vec::new());
    for (i, operator) in operators.iter().enumerate() {
        let prefix = format!("case{i}.");
        let own = all.iter().filter_map(|t| Some((t.name.strip_prefix(&prefix)?.to_string(), t.clone())));
        let parts = Parts(own.collect());
        let computed = match operator.op.as_str() {
            "conv2d" => conv2d(&cpu, operator, &parts),
            "conv_transpose2d" => conv_transpose2d(&cpu, operator, &parts),
            "cross_entropy" => cross_entropy(&cpu, &parts),
            "class_concat" | "class_projection" => classes(&cpu, &parts, operator.op == "class_concat"),
            "augment" => augment(&cpu, operator, &parts),
            op => batch_norm(&cpu, &parts, op == "batch_norm"),
        };
        for (name, values) in computed {
            let error = parts.error(name, &values);
            let entry = worst.entry(operator.op.clone()).or_default();
            *entry = entry.max(error);
            if error > TOLERANCE {
                bad.push(format!("case {i}, {}: {name} off by {error:.1e}, x {:?}", operator.op, parts.shape("x")));
            }
        }
    }
    eprintln!("{} cases; worst {worst:?}", operators.len());
    assert!(operators.len() >= 20 && bad.is_empty(), "{bad:#?}");
}
