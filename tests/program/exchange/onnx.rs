//! Exported ONNX models: read back by another reader, their weights held against the checkpoint's, and run by an interpreter of their
//! operators against `generate`. `tests/oracle/onnx_check.py` runs them in onnxruntime.

use std::fs;

use vgan_cuda::run::tensors;

use super::graph::{Array, Model};
use crate::whole_runs::{Run, TestFolder, program, succeed};

const LATENTS: usize = 5;

/// ONNX's numbers of types.
const FLOAT: i64 = 1;
const INT64: i64 = 7;

/// The exported model of the run, and the samples `[N, H, W, C]` that `generate` draws of these latents.
fn exported(place: &TestFolder, run: &Run, latents: &[f32]) -> (Model, Vec<u8>) {
    let [z, x, onnx] = ["z.npy", "x.npy", "g.onnx"].map(|name| place.path(name));
    let text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({LATENTS}, {}), }}", latents.len() / LATENTS);
    let data: Vec<u8> = latents.iter().flat_map(|value| value.to_le_bytes()).collect();
    fs::write(&z, [b"\x93NUMPY\x01\x00\x76\x00", format!("{text:<117}\n").as_bytes(), &data].concat())
        .expect("writing");
    let mut generate = program("generate --force --device cpu --latents");
    generate.arg(&z).arg("--output").arg(&x).arg(run.path());
    succeed(generate);
    let mut export = program("export --force --output");
    export.arg(&onnx).arg(run.path());
    succeed(export);
    (Model::read(&fs::read(&onnx).expect("a model")), fs::read(&x).expect("samples")[128..].to_vec())
}

/// Trains for a few steps, exports, and compares. `prefix` is that of the weights that are exported.
fn check(words: &str, prefix: &str, [h, w, c]: [usize; 3], symmetric: bool) -> Vec<String> {
    let place = TestFolder::new();
    let run = place.trained("run", words);
    let latent = run.newest().state.settings["generator.latent"].as_u64().expect("a number") as usize;
    let latents: Vec<f32> = (0..LATENTS * latent).map(|i| ((i * 37 % 101) as f32 - 50.0) / 25.0).collect();
    let (model, pixels) = exported(&place, &run, &latents);

    assert_eq!((model.ir_version, model.opset), (7, 13));
    let mut inputs = vec![("latents".to_string(), FLOAT, vec![None, Some(latent as i64)])];
    let classes = run.newest().state.classes.map(|classes| classes.names.len());
    inputs.extend(classes.map(|_| ("classes".to_string(), INT64, vec![None])));
    assert_eq!(model.inputs, inputs);
    let sizes = vec![None, Some(c as i64), Some(h as i64), Some(w as i64)];
    assert_eq!(model.outputs, [("images".to_string(), FLOAT, sizes)]);
    assert_eq!(model.metadata["image_range"], if symmetric { "-1..1" } else { "0..1" });
    assert_eq!(model.metadata["weights"], prefix.trim_end_matches('.'));

    let path = run.file(&format!("checkpoints/{:06}/model.safetensors", run.newest_step()));
    let own = tensors::read(&path).expect("tensors").into_iter().filter(|tensor| tensor.name.starts_with(prefix));
    let mut named = 0;
    for tensor in own {
        let found = &model.weights[tensor.name.strip_prefix(prefix).expect("a prefix")];
        let values: Vec<f32> = found.values.iter().map(|&value| value as f32).collect();
        assert_eq!((&found.shape, &values), (&tensor.shape, &tensor.values), "{}", tensor.name);
        named += 1;
    }
    let constants = model.weights.keys().filter(|name| ["scale", "scales"].contains(&&name[..])).count();
    assert_eq!(model.weights.len(), named + constants, "no other weights");

    let latents = latents.iter().map(|&value| f64::from(value)).collect();
    let mut inputs = vec![Array { shape: vec![LATENTS, latent], values: latents }];
    // The classes in turn, as `generate` takes them for the rows of a file.
    let in_turn =
        |classes| Array { shape: vec![LATENTS], values: (0..LATENTS).map(|i| (i % classes) as f64).collect() };
    inputs.extend(classes.map(in_turn));
    let images = model.run(&inputs);
    assert_eq!(images.shape, [LATENTS, c, h, w]);
    let mut worst = 0.0_f64;
    for (i, &pixel) in pixels.iter().enumerate() {
        let (channel, column, row, image) = (i % c, i / c % w, i / (c * w) % h, i / (c * w * h));
        let value = images.values[((image * c + channel) * h + row) * w + column];
        let value = 255.0 * if symmetric { 0.5 * value + 0.5 } else { value };
        worst = worst.max((value - f64::from(pixel)).abs());
    }
    // A pixel is the nearest whole number, so half a level is its own; f32 adds less than a thousandth.
    assert!(worst < 0.501, "{worst} levels of 255");
    let span = pixels.iter().max().zip(pixels.iter().min()).map_or(0, |(high, low)| high - low);
    assert!(span > 100, "pictures with so little in them would show no mistake: {span}");
    model.operators().into_iter().map(String::from).collect()
}

#[test]
fn a_generator_of_transposed_convolutions() {
    let words = "quick --steps 6 --set init_std=0.4 --set generator.output=stride1";
    let operators = check(words, "generator.", [8, 8, 1], false);
    let expected = [
        "Gemm",
        "BatchNormalization",
        "Relu",
        "Gemm",
        "BatchNormalization",
        "Relu",
        "Reshape",
        "ConvTranspose",
        "BatchNormalization",
        "Relu",
        "ConvTranspose",
        "Sigmoid",
        "Identity",
    ];
    assert_eq!(operators, expected);
}

/// Residual blocks, with and without a convolution in the shortcut, the moving average, tanh, three channels.
#[test]
fn a_residual_generator() {
    let words = "quick --steps 6 --channels 3 --set init_std=0.4 --set generator.ema=0.5 --set data.range=-1..1 --set \
                 nets.family=resnet --set generator.width=3 --set generator.max_width=5 --set discriminator.width=2 --set \
                 discriminator.max_width=4 --set generator.hidden= --set generator.channels= --set discriminator.hidden= --set \
                 discriminator.channels= --set discriminator.norm=none --set discriminator.norm_first=false --set \
                 generator.output=stride1";
    let operators = check(words, "average.", [8, 8, 3], true);
    for operator in ["Gemm", "Reshape", "Conv", "Resize", "LeakyRelu", "Mul", "Add", "Tanh"] {
        assert!(operators.iter().any(|one| one == operator), "{operator} in {operators:?}");
    }
}

/// Latents and classes go in, and the embedding of the class is divided by its length.
#[test]
fn a_generator_that_is_told_classes() {
    let words = "quick --data glyphs --resize 8 --steps 6 --set init_std=0.4 --set conditional=projection --set class_embedding=3";
    let operators = check(words, "generator.", [8, 8, 1], false);
    assert_eq!(operators[..5], ["Gather", "ReduceL2", "Div", "Concat", "Gemm"]);
}
