//! The short form of the fuzzers (docs/results/fuzzing.md): every file of this room's tables, good files, and what the fuzzers kept, given
//! to the fuzzers' readers.

use std::fs;
use std::path::PathBuf;

use sha2::{Digest, Sha256};
use vgan_cuda::config::{PRESETS, preset, to_toml};
use vgan_cuda::run::tensors;

use super::*;
use crate::data_samples::{cifar, flat_grey, flat_png, gz, idx, jpeg, tar};
use crate::fuzz_inputs;
use crate::weights::fixture;

/// Files by the reader that gets them.
type Inputs = Vec<(&'static str, Vec<Vec<u8>>)>;

fn bytes(cases: Vec<Case>) -> Vec<Vec<u8>> {
    cases.into_iter().map(|case| case.bytes).collect()
}

/// All tables of malformed files.
fn malformed() -> Inputs {
    let labels = idx::labels().into_iter().map(|(_, bytes, _)| bytes);
    vec![
        ("idx", bytes(idx::all()).into_iter().chain(labels).chain(bytes(gzip::all())).collect()),
        ("cifar", bytes(cifar::all())),
        ("archive", bytes(archives::all())),
        ("png", bytes(png::all())),
        ("jpeg", bytes(super::jpeg::all())),
        ("safetensors", bytes(safetensors::all())),
        ("inception", bytes(safetensors::all())),
        ("state", bytes(state::all())),
        ("config", bytes(settings::all())),
        ("pytorch", bytes(pickles::all())),
        ("pickle", bytes(pickles::pickles())),
        ("npy", bytes(npy::all())),
        ("npz", bytes(npz::all())),
        ("events", bytes(events::all())),
    ]
}

/// Small good files.
fn good() -> Inputs {
    let text = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let archive = tar(&[("cifar-10-batches-bin/data_batch_1.bin", &cifar(&[1])[..]), ("readme.html", b"x")]);
    let sample = state::sample();
    let mut kept = sample.state.clone();
    kept.files.model.sha256 = "0".repeat(64);
    kept.files.optim.sha256 = "f".repeat(64);
    let weights = tensors::encode(&sample.model).unwrap();
    let whole = |(name, _): &(&str, &str)| to_toml(&preset(name).unwrap(), name).unwrap().into_bytes();
    let torch = ["network.pt", "views.pt", "nested.pt", "deflated.pt"].map(|file| fs::read(fixture(file)).unwrap());
    vec![
        ("idx", vec![idx(&[2, 2, 2], &[7; 8]), idx(&[2], &[0, 1]), gz(&idx(&[1, 1, 1], &[7]))]),
        ("cifar", vec![cifar(&[3, 9]), gz(&cifar(&[3]))]),
        ("archive", vec![archive.clone(), gz(&archive)]),
        ("png", vec![flat_grey(2, 3, 9), flat_png(1, 2, [1, 2, 3])]),
        ("jpeg", {
            let all: [&[u8]; 5] = [&jpeg::GREY, &jpeg::COLOUR, &jpeg::PROGRESSIVE, &jpeg::CMYK, &jpeg::SUBSAMPLED];
            all.map(<[u8]>::to_vec).into()
        }),
        (
            "folder",
            text(&[
                "train/a/1.png2\ntrain/b/2.png2\ntest/a/1.png2",
                "mnist/images-idx3-ubyte3\nmnist/labels-idx1-ubyte4\nREADME6",
                "data_batch_1.bin5\ntest_batch.bin5\n.hidden.png2",
                "run/config.toml6\nrun/checkpoints/x6\nrun/fakes000010.png2\nx.jpg2",
            ]),
        ),
        ("safetensors", vec![weights.clone()]),
        ("inception", vec![weights]),
        ("state", vec![kept.to_json().unwrap().into_bytes()]),
        ("config", PRESETS.iter().map(whole).collect()),
        (
            "overrides",
            text(&[
                "train.batch=32\nbeta=1e-4",
                "generator.channels=32,16",
                "data.background=#ff0000\nrange=0..1",
                "objective.augment=color,translation\nloss=hinge",
                "nets.family=resnet\npenalty=r1",
                "nets.conditional=projection\nclasses=10",
                "=\nx\nseed=99999999999999999999",
            ]),
        ),
        ("pytorch", torch.into()),
        ("pickle", vec![pickles::dict("w", &pickles::tensor(0, &[2, 2], &[2, 1]))]),
        ("npy", vec![npy::good()]),
        ("npz", vec![pickles::archive(&[("w.npy", &npy::good())])]),
        (
            "records",
            text(&[
                "{\"step\":20,\"epoch\":0.1,\"loss_d\":1,\"loss_g\":null,\"beta\":0,\"kl_real\":1,\"kl_fake\":1,\"d_real\":0,\
                 \"d_fake\":1,\"penalty\":0,\"images_per_s\":9,\"elapsed_s\":3}\n",
                "{\"step\":20,\"samples\":9,\"seed\":0,\"reals\":9,\"data\":\"d\",\"fcd\":0.5,\"kid\":null}\n",
                "{\"outcome\":\"done\",\"step\":7,\"steps\":12}",
                "[{\"start_time\":\"2026-01-31T12:00:00Z\"}]",
                "{\"step\":1}\n{\"step\":",
            ]),
        ),
        ("events", text(&["#\u{5}abcde", "#\u{0}"])),
        (
            "ranks",
            text(&[
                "{\"word\":\"x\",\"line\":\"l\",\"accepts\":\"WORD\"}",
                "{\"word\":\"x\",\"words\":[\"l\",\"WORD\"],\"lines\":[\"a\",\"b\"],\"gift\":\"g\",\"go\":true}",
                "{\"word\":\"x\",\"words\":[\"l\",\"WORD\"],\"lines\":[],\"gift\":\"\",\"go\":false}",
            ]),
        ),
        (
            "request",
            text(&[
                "GET / HTTP/1.1\r\nHost: localhost:8080",
                "HEAD /samples/20.png?x HTTP/1.0\r\nHost: [::1]:80",
                "GET /data.json HTTP/1.1\r\nHost: elsewhere",
                "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nno colon",
            ]),
        ),
    ]
}

/// What the fuzzers kept.
fn kept() -> Inputs {
    fuzz_inputs::ALL.iter().map(|reader| (reader.name, fuzz_inputs::kept(reader))).collect()
}

fn replay(inputs: Inputs) -> usize {
    let mut count = 0;
    for (name, files) in inputs {
        let reader = fuzz_inputs::ALL.iter().find(|reader| reader.name == name).expect(name);
        count += files.len();
        files.iter().for_each(|file| (reader.read)(file));
    }
    count
}

#[test]
fn the_readers_of_the_fuzzers_take_every_malformed_file() {
    assert!(replay(malformed()) > 12 * FEWEST);
}

#[test]
fn the_readers_of_the_fuzzers_take_good_files_and_what_they_kept() {
    let readers: Vec<&str> = fuzz_inputs::ALL.iter().map(|reader| reader.name).collect();
    assert!(readers.iter().all(|name| good().iter().any(|(of, files)| of == name && !files.is_empty())));
    assert!(replay(good()) > readers.len());
    assert!(replay(kept()) > readers.len());
}

/// Files to begin a fuzzer with, in a folder for each reader: `VGAN_SEEDS=folder cargo test --test files -- --ignored seeds_of_the_fuzzers`.
#[test]
#[ignore = "writes files"]
fn seeds_of_the_fuzzers() {
    let root = PathBuf::from(std::env::var_os("VGAN_SEEDS").expect("VGAN_SEEDS"));
    for (name, files) in [malformed(), good(), kept()].into_iter().flatten() {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for file in files.into_iter().filter(|file| file.len() <= 1 << 16) {
            let sum: String = Sha256::digest(&file).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
            fs::write(folder.join(sum), file).unwrap();
        }
    }
}
