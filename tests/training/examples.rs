//! The programs of examples/, each for a few steps: train a run, draw from it, train nets of one's own.

#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/own_nets.rs"]
mod own_nets;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/sample.rs"]
mod sample;
#[allow(dead_code, unreachable_pub)]
#[path = "../../examples/train.rs"]
mod train;

use vgan_cuda::run::tensors;

#[test]
fn a_run_is_trained_and_drawn_from() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let (folder, record) = train::train(place.path(), 3).expect("training");
    assert_eq!(record.step, 3);
    assert!(record.loss_d.is_finite() && record.loss_g.is_finite());
    assert!(tensors::read(&folder.path().join("checkpoints/000003/model.safetensors")).expect("tensors").len() > 10);
    let picture = place.path().join("samples.png");
    let mean = sample::sample(folder.path(), &picture).expect("samples");
    assert!((1.0..254.0).contains(&mean), "{mean}");
    assert!(std::fs::read(picture).expect("a picture").starts_with(b"\x89PNG"));
}

#[test]
fn nets_of_ones_own_are_trained() {
    let place = tempfile::tempdir().expect("a temporary folder");
    let picture = place.path().join("own.png");
    let (loss_d, loss_g) = own_nets::train(&picture, 3).expect("training");
    // At the start D can't tell real from fake: 2 ln 2 and ln 2.
    assert!((loss_d - 1.386).abs() < 0.2 && (loss_g - 0.693).abs() < 0.2, "{loss_d}, {loss_g}");
    assert!(std::fs::read(picture).expect("a picture").starts_with(b"\x89PNG"));
}
