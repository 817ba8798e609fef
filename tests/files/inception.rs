//! Inception-v3 and the resizing before it against torch-fidelity, PIL and PyTorch (tests/oracle/inception.py), the reading of its weights, and
//! the statistics that are kept of real images.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use safetensors::SafeTensors;
use vgan_cuda::config::Resize;
use vgan_cuda::data::{Images, Report};
use vgan_cuda::device::{Backend, Cpu};
use vgan_cuda::eval::inception::Extractor;
use vgan_cuda::eval::observed::{Gathered, Observed, Splits};
use vgan_cuda::eval::perceiving::{Perceiving, Setting};
use vgan_cuda::eval::resize::Resizer;
use vgan_cuda::eval::{InceptionOptions, METRICS, Set};
use vgan_cuda::exchange::npy;
use vgan_cuda::nn::inception::Plan;
use vgan_cuda::run::{ImageShape, Tensor, tensors, write_file};

/// The finaliser of MurmurHash3 on a counter that begins at the FNV-1a of the name.
fn hashed(name: &str, count: usize) -> impl Iterator<Item = u32> {
    let seed = name.bytes().fold(0x811C_9DC5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (0..count as u32).map(move |at| {
        let mut h = at.wrapping_mul(0x9E37_79B1).wrapping_add(seed);
        h = (h ^ h >> 16).wrapping_mul(0x85EB_CA6B);
        h = (h ^ h >> 13).wrapping_mul(0xC2B2_AE35);
        h ^ h >> 16
    })
}

/// The tensor of this name, as inception.py makes it.
fn tensor(name: String, shape: Vec<usize>) -> Tensor {
    let fan_in: usize = shape[1..].iter().product();
    let (scale, shift) = match &name[..] {
        "fc.weight" => (0.1, 0.0),
        "fc.bias" => (100.0, 0.0),
        name if name.ends_with("conv.weight") => ((6.0 / fan_in as f64).sqrt(), 0.0),
        name if name.ends_with("bn.weight") => (0.25, 1.0),
        name if name.ends_with("running_var") => (0.5, 1.0),
        _ => (0.25, 0.0),
    };
    let uniform = |word: u32| f64::from(word >> 8) / 8_388_608.0 - 1.0;
    let values = hashed(&name, shape.iter().product()).map(|word| (shift + scale * uniform(word)) as f32).collect();
    Tensor { name, shape, values }
}

/// All tensors of a file of weights.
static WEIGHTS: LazyLock<Vec<Tensor>> = LazyLock::new(|| {
    let mut all = Vec::new();
    for layer in Plan::new(75).layers {
        let (name, [k, r, s, c]) = (&layer.name, layer.shape);
        if layer.is_linear() {
            all.extend([tensor(format!("{name}.weight"), vec![k, c]), tensor(format!("{name}.bias"), vec![k])]);
            continue;
        }
        all.push(tensor(format!("{name}.conv.weight"), vec![k, c, r, s]));
        let of_norm = ["weight", "bias", "running_mean", "running_var"];
        all.extend(of_norm.map(|part| tensor(format!("{name}.bn.{part}"), vec![k])));
    }
    all
});

/// Noise on a gradient.
fn images(name: &str, count: usize, ImageShape { h, w, c }: ImageShape) -> Vec<u8> {
    let noise = hashed(name, count * h * w * c).map(|word| word >> 26);
    let ramp = |at: usize| (at / (w * c) % h * 5 + at / c % w * 3 + 60 * (at % c)) % 192;
    noise.enumerate().map(|(at, noise)| (noise as usize + ramp(at)) as u8).collect()
}

fn fixture() -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/inception.safetensors")).expect("a fixture")
}

fn expected(file: &[u8], name: &str) -> Vec<f64> {
    let file = SafeTensors::deserialize(file).expect("what inception.py wrote");
    let data = file.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).data();
    if name == "scores" {
        return data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect();
    }
    data.as_chunks().0.iter().map(|&bytes| f64::from(f32::from_le_bytes(bytes))).collect()
}

/// The largest difference.
fn worst(found: impl ExactSizeIterator<Item = f32>, expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    found.zip(expected).map(|(a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max)
}

#[test]
fn images_come_to_their_size_as_in_pil_pytorch_and_tensorflow() {
    let file = fixture();
    let shapes = [("up", [5, 7, 3], 13), ("down", [40, 23, 1], 11), ("mixed", [6, 31, 3], 9), ("one", [1, 2, 3], 5)];
    for (name, [h, w, c], side) in shapes {
        for &resize in Resize::ALL {
            let (image, mut found) = (ImageShape { h, w, c }, Vec::new());
            Resizer::new(resize, image, side).append(&images(name, 1, image), &mut found);
            let worst = worst(found.into_iter(), &expected(&file, &format!("{}.{name}", resize.word())));
            // PIL keeps f32 between its two sums, PyTorch computes weights in f32: a few units at 255 / 128.
            assert!(worst < 2e-6, "{resize:?} {name}: {worst}");
        }
    }
}

fn extractor(
    backend: &Cpu<f32>,
    tensors: Vec<Tensor>,
    image: ImageShape,
    size: (usize, usize),
) -> Result<Extractor<Cpu<f32>>, vgan_cuda::Error> {
    Extractor::new(backend, Path::new("inception.pth"), tensors, image, Resize::LegacyTensorflow, size)
}

/// The whole of torch-fidelity's pipeline on 8-bit images, and a smaller square with a batch that is not full.
#[test]
fn features_and_logits_agree_with_torch_fidelity() {
    let (file, cpu) = (fixture(), Cpu::<f32>::new(Some(2)).expect("threads"));
    let [colour, grey] = [[32, 32, 3], [20, 26, 1]].map(|[h, w, c]| ImageShape { h, w, c });
    for (name, count, image, size) in [("small", 3, grey, (75, 2)), ("whole", 2, colour, (299, 2))] {
        let mut extractor = extractor(&cpu, WEIGHTS.clone(), image, size).expect("weights");
        let found = cpu.run(|| extractor.look_at(&images(name, count, image))).expect("passes");
        for (part, values) in [("features", found.features), ("logits", found.logits)] {
            let expected = expected(&file, &format!("{name}.{part}"));
            let largest = expected.iter().fold(0.0f64, |most, x| most.max(x.abs()));
            // Every fourth is kept. 48 layers in f32 against f64.
            let found: Vec<f32> = values.into_iter().step_by(4).collect();
            let worst = worst(found.into_iter(), &expected) / largest;
            assert!(worst < 2e-5, "{name} {part}: {worst}");
        }
    }
}

#[test]
fn wrong_weights_are_named() {
    let cpu = Cpu::<f32>::new(Some(2)).expect("threads");
    let blank = |tensor: &Tensor| Tensor {
        values: vec![0.0; tensor.values.len()],
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
    };
    let error = |change: &dyn Fn(&mut Vec<Tensor>)| {
        let mut tensors: Vec<Tensor> = WEIGHTS.iter().map(blank).collect();
        change(&mut tensors);
        let error = extractor(&cpu, tensors, ImageShape { h: 8, w: 8, c: 1 }, (75, 1)).err().expect("an error");
        assert_eq!(error.exit_code(), 3);
        assert!(error.to_string().contains("pt_inception-2015-12-05"), "where they come from: {error}");
        error.to_string()
    };
    let at = |name: &str| WEIGHTS.iter().position(|tensor| tensor.name == name).expect("a tensor");
    let [filter, variance, fc] =
        ["Mixed_6b.branch7x7_2.conv.weight", "Mixed_7c.branch_pool.bn.running_var", "fc.weight"].map(at);
    for (text, parts) in [
        (
            error(&|all| drop(all.remove(filter))),
            ["`Mixed_6b.branch7x7_2.conv.weight` of shape [128, 128, 1, 7]", "none of that name"],
        ),
        (error(&|all| all[filter].shape = vec![128, 128, 7, 1]), ["[128, 128, 1, 7]", "[128, 128, 7, 1]"]),
        (error(&|all| all[variance].values[3] = -1.0), ["`Mixed_7c.branch_pool.bn.running_var`", "-1"]),
        (error(&|all| all[fc].shape = vec![1000, 2048]), ["1008 classes", "torchvision"]),
        (error(&|all| all.push(tensor("AuxLogits.fc.bias".into(), vec![5]))), ["1008 classes", "torchvision"]),
        (error(&|all| all.push(tensor("more".into(), vec![5]))), ["only tensors", "`more`"]),
    ] {
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}

#[test]
fn scores_agree_with_scipy() {
    let logits: Vec<f32> =
        hashed("scores", 57 * 20).map(|word| 6.0 * (f64::from(word >> 8) / 8_388_608.0 - 1.0) as f32).collect();
    let mut splits = Splits::new(57, 20);
    logits.chunks(20 * 13).for_each(|part| splits.add(part));
    let moments = vgan_cuda::eval::moments::Moments { mean: Vec::new(), covariance: Vec::new() };
    let observed = Some(Observed { moments, scores: splits.scores() });
    let fake = Set { inception: observed, ..Set::new(ImageShape { h: 1, w: 1, c: 1 }) };
    let metric = METRICS.iter().find(|metric| metric.name == "is").expect("a metric");
    let found = (metric.measure)(&fake, &fake, 0);
    for ((name, value), expected) in found.iter().zip(expected(&fixture(), "scores")) {
        assert!((value - expected).abs() < 1e-12, "{name}: {value}, expected {expected}");
    }
    assert_eq!(found.len(), 2);
}

/// Arrays of numpy.savez_compressed, of another size than Inception's: read to the bit, and refused as statistics.
#[test]
fn arrays_of_numpys_in_double_precision() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/statistics.npz");
    let (arrays, sha256) = npy::read_npz_f64(&path).expect("an archive");
    let found: Vec<_> = arrays.iter().map(|array| (&array.name[..], &array.shape[..], &array.values[..])).collect();
    let sigma: Vec<f64> = (0..9).map(|at| 1.0 / (3.0 + (at / 3) as f64 + (at % 3) as f64)).collect();
    let more = ("more", &[2, 3][..], &[0.0, 0.25, 0.5, 0.75, 1.0, 1.25][..]);
    let (mu, sigma) = (("mu", &[3][..], &[0.1, 1.0 / 3.0, 1e-300][..]), ("sigma", &[3, 3][..], &sigma[..]));
    assert_eq!(found, [more, mu, sigma]);
    assert_eq!(sha256.len(), 64);
}

/// Real images are looked at once: then their statistics come from the cache, whatever the number of threads, or from the same file by its name.
#[test]
fn statistics_are_kept_and_handed_over() {
    const COUNT: usize = 16;
    let folder = tempfile::tempdir().expect("a folder");
    let weights = folder.path().join("inception.safetensors");
    write_file(&weights, &tensors::encode(&WEIGHTS).expect("tensors")).expect("a file");
    let image = ImageShape { h: 8, w: 8, c: 1 };
    let of = |name: &str| Images {
        count: COUNT,
        height: 8,
        width: 8,
        channels: 1,
        pixels: images(name, COUNT, image),
        description: String::new(),
        labels: None,
        report: Report::default(),
    };
    let setting = Setting { side: 75, batch: 8, cache: Some(folder.path().join("cache")) };
    let open = |images: &Images, threads: usize, statistics: Option<&Path>| {
        let backend = Cpu::<f32>::new(Some(threads)).expect("threads");
        let options = InceptionOptions {
            weights: weights.clone(),
            resize: Resize::Clean,
            statistics: statistics.map(Into::into),
        };
        let reals: Vec<usize> = (0..COUNT).collect();
        let opened = backend.run(|| Perceiving::open(&backend, images, Some(&reals), &options, &setting));
        opened.map(|(perceiving, observed)| (backend, perceiving, observed.expect("moments")))
    };
    let reals = of("real");
    let (_, first, observed) = open(&reals, 2, None).expect("statistics");
    let path = first.identity.path.clone().expect("a file");
    assert!(path.starts_with(folder.path().join("cache")) && first.identity.word().ends_with(" clean data"));
    // Damaged and so made again, by another number of threads; from the cache, in which there are those of these images alone; as a file
    // that is named.
    fs::write(&path, b"PK\x05\x06").expect("a damaged file");
    assert_eq!(open(&reals, 1, None).expect("statistics").2, observed);
    let kept = fs::metadata(&path).expect("a file").modified().expect("a time");
    assert_eq!(open(&of("real"), 1, None).expect("statistics").2, observed);
    assert_eq!(fs::metadata(&path).expect("a file").modified().expect("a time"), kept);
    let others = of("other");
    assert_ne!(open(&others, 2, None).expect("statistics").2, observed, "of other images");
    let (backend, mut named, again) = open(&others, 2, Some(&path)).expect("statistics");
    assert_eq!(again, observed);
    assert!(named.identity.statistics.is_some() && named.identity.weights == first.identity.weights);
    let error = open(&reals, 1, Some(&weights)).err().expect("an error");
    assert!(error.exit_code() == 3 && error.to_string().contains("an .npz"), "{error}");

    // Other images are other statistics, and farther away than the same ones.
    let fid = METRICS.iter().find(|metric| metric.name == "fid").expect("a metric");
    let mut distance = |pixels: &[u8]| {
        let mut gathered = Gathered::new(COUNT);
        let set = |inception| Set { inception: Some(inception), ..Set::new(image) };
        backend.run(|| {
            named.look_at(pixels, &mut gathered).expect("passes");
            (fid.measure)(&set(observed.clone()), &set(gathered.finish()), 0)[0].1
        })
    };
    let (same, other) = (distance(&reals.pixels), distance(&others.pixels));
    let trace: f64 = (0..2048).map(|i| observed.moments.covariance[i * 2049]).sum();
    assert!(same < 1e-6 * trace && other > 0.1 * trace, "{same} {other}, of {trace}");
}
