//! Every operation at the sizes of the article's two models and of the paper's, pass by pass, with its memory set up
//! beforehand: what benchmarks time. What a pass computes and moves is counted by running it once on [`DryRun`].

use super::article;
use super::autoencoder_passes;
use super::paper;
use crate::Result;
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Buffer, In, Network, Out};
use crate::ops::Executor;
use crate::ops::inputs::gather::Gather;
use crate::ops::inputs::instance_noise::InstanceNoise;
use crate::ops::inputs::prior::{Distribution, Prior};
use crate::ops::layers::activation::Activation;
use crate::ops::layers::affine::Affine;
use crate::ops::layers::avg_pool2d::AvgPool2d;
use crate::ops::layers::batch_norm::BatchNorm;
use crate::ops::layers::bottleneck::{Bottleneck, Noise};
use crate::ops::layers::upsample2d::Upsample2d;
use crate::ops::losses::loss::DiscriminatorLoss;
use crate::ops::losses::objective::{Loss, Objective};
use crate::ops::losses::penalty::{Center, GradientPenalty};
use crate::ops::optimizers::adam::Adam;
use crate::ops::optimizers::rmsprop::Rmsprop;
use crate::ops::pass::{Pass, Work, filled, state};

/// Every pass of every operation of a training step of `vgan-mnist`, `vgan-cifar10` and `vgan-cifar10-resnet`.
pub fn article_passes<B: Executor>() -> Vec<Pass<B>> {
    let mut passes = Vec::new();
    article::convolutions().into_iter().for_each(|d| passes.extend(affine(d)));
    article::transposed().into_iter().for_each(|d| passes.extend(affine(d)));
    article::linear().into_iter().for_each(|d| passes.extend(affine(d)));
    article::batch_norms().into_iter().for_each(|d| passes.extend(batch_norm(d)));
    article::activations().into_iter().for_each(|(f, len)| passes.extend(activation(f, len)));
    article::bottlenecks().into_iter().for_each(|d| passes.extend(bottleneck(d)));
    passes.extend(losses(article::BATCH));
    article::networks().into_iter().for_each(|(network, len)| passes.extend(adam(network, len)));
    article::networks().into_iter().for_each(|(network, len)| passes.extend(historical_averaging(network, len)));
    let discriminators = article::networks().into_iter().filter(|(network, _)| *network == Network::Discriminator);
    passes.extend(discriminators.map(|(_, len)| clip(len)));
    let generators = article::networks().into_iter().filter(|(network, _)| *network == Network::Generator);
    passes.extend(generators.map(|(_, len)| ema(len)));
    passes.extend(article::gathers().map(gather));
    passes.extend(article::gathers().map(instance_noise));
    passes.extend(article::priors().map(prior));
    passes.extend(article::gathers().map(|d| penalty(d.n, d.h * d.w * d.c)));
    passes.extend(autoencoder_passes::all());
    passes.extend(
        article::gathers().into_iter().flat_map(|d| crate::ops::losses::reconstruction::passes(d.n, d.h * d.w * d.c)),
    );
    passes.extend(crate::ops::layers::spectral_norm::passes());
    passes.extend(crate::ops::losses::feature_matching::passes());
    passes.extend(crate::ops::layers::minibatch_discrimination::passes());
    passes.extend(paper_passes());
    passes
}

/// Those of the paper's model that the article's do not have.
fn paper_passes<B: Executor>() -> Vec<Pass<B>> {
    let mut passes = Vec::new();
    paper::convolutions().into_iter().for_each(|d| passes.extend(affine(d)));
    paper::linear().into_iter().for_each(|d| passes.extend(affine(d)));
    paper::avg_pools().into_iter().for_each(|d| passes.extend(avg_pool2d(d)));
    paper::upsamples().into_iter().for_each(|d| passes.extend(upsample2d(d)));
    paper::sums().into_iter().for_each(|len| passes.extend(scaled_add(len)));
    paper::activations().into_iter().for_each(|(f, len)| passes.extend(activation(f, len)));
    paper::bottlenecks().into_iter().for_each(|d| passes.extend(bottleneck(d)));
    passes.extend(article::PAPER.map(rmsprop));
    passes
}

fn affine<B: Executor, M: Affine<B>>(d: M) -> [Pass<B>; 3] {
    let shape = format!("n{} {}", d.n(), d.describe());
    let (x_len, w_len, b_len, y_len) = (d.x_len(), d.w_len(), d.b_len(), d.y_len());
    let forward = move |be: B| -> Result<Work> {
        let (x, w, b, mut y) = (filled(&be, x_len)?, filled(&be, w_len)?, filled(&be, b_len)?, be.alloc(y_len)?);
        Ok(Box::new(move || d.forward(&be, be.view(&x), be.view(&w), Some(be.view(&b)), be.view_mut(&mut y))))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let (dy, w, mut dx) = (filled(&be, y_len)?, filled(&be, w_len)?, be.alloc(x_len)?);
        Ok(Box::new(move || d.backward_input(&be, be.view(&dy), be.view(&w), be.view_mut(&mut dx))))
    };
    let backward_weight = move |be: B| -> Result<Work> {
        let (x, dy) = (filled(&be, x_len)?, filled(&be, y_len)?);
        let (mut dw, mut db) = (be.alloc(w_len)?, be.alloc(b_len)?);
        Ok(Box::new(move || {
            let (dw, db) = (be.view_mut(&mut dw), be.view_mut(&mut db));
            d.backward_weight(&be, be.view(&x), be.view(&dy), dw, Some(db))
        }))
    };
    [
        Pass::new(M::OP, shape.clone(), "forward", forward),
        Pass::new(M::OP, shape.clone(), "backward_input", backward_input),
        Pass::new(M::OP, shape, "backward_weight", backward_weight),
    ]
}

/// What a pass of a batch normalisation works on, after one forward pass.
struct Normalised<B: Executor> {
    be: B,
    x: Buffer<B>,
    gamma: Buffer<B>,
    beta: Buffer<B>,
    running: Buffer<B>,
    saved: Buffer<B>,
    y: Buffer<B>,
}

impl<B: Executor> Normalised<B> {
    fn new(be: B, d: &BatchNorm) -> Result<Self> {
        let len = d.rows * d.c;
        let (x, gamma, beta) = (filled(&be, len)?, filled(&be, d.c)?, filled(&be, d.c)?);
        let (running, saved, y) = (be.alloc(2 * d.c)?, be.alloc(2 * d.groups * d.c)?, be.alloc(len)?);
        let mut this = Normalised { be, x, gamma, beta, running, saved, y };
        this.forward(d)?;
        Ok(this)
    }

    fn forward(&mut self, d: &BatchNorm) -> Result<()> {
        let Normalised { be, x, gamma, beta, running, saved, y } = self;
        let (running, saved, y) = (be.view_mut(running), be.view_mut(saved), be.view_mut(y));
        be.batch_norm_forward(d, be.view(x), be.view(gamma), be.view(beta), running, saved, y)
    }
}

fn batch_norm<B: Executor>(d: BatchNorm) -> [Pass<B>; 3] {
    let shape = format!("rows{} c{} groups{} {:?}", d.rows, d.c, d.groups, d.activation);
    let forward = move |be: B| -> Result<Work> {
        let mut normalised = Normalised::new(be, &d)?;
        Ok(Box::new(move || normalised.forward(&d)))
    };
    let backward = move |be: B| -> Result<Work> {
        let (dy, mut dx) = (filled(&be, d.rows * d.c)?, be.alloc(d.rows * d.c)?);
        let (mut sums, mut dgamma, mut dbeta) = (be.alloc(2 * d.groups * d.c)?, be.alloc(d.c)?, be.alloc(d.c)?);
        let Normalised { be, x, gamma, saved, y, .. } = Normalised::new(be, &d)?;
        Ok(Box::new(move || {
            let (xv, yv, dyv) = (be.view(&x), be.view(&y), be.view(&dy));
            let (gamma, saved) = (be.view(&gamma), be.view(&saved));
            be.batch_norm_backward_sums(&d, xv, yv, dyv, saved, be.view_mut(&mut sums))?;
            let summed = be.view(&sums);
            be.batch_norm_backward_input(&d, xv, yv, dyv, gamma, saved, summed, be.view_mut(&mut dx))?;
            be.batch_norm_backward_weight(&d, summed, be.view_mut(&mut dgamma), be.view_mut(&mut dbeta))
        }))
    };
    let eval = move |be: B| -> Result<Work> {
        let Normalised { be, x, gamma, beta, running, mut y, .. } = Normalised::new(be, &d)?;
        Ok(Box::new(move || {
            let (x, gamma, beta) = (be.view(&x), be.view(&gamma), be.view(&beta));
            be.batch_norm_eval(&d, x, gamma, beta, be.view(&running), be.view_mut(&mut y))
        }))
    };
    [
        Pass::new("batch_norm", shape.clone(), "forward", forward),
        Pass::new("batch_norm", shape.clone(), "backward", backward),
        Pass::new("batch_norm", shape, "eval", eval),
    ]
}

fn activation<B: Executor>(f: Activation, len: usize) -> [Pass<B>; 2] {
    let forward = move |be: B| -> Result<Work> {
        let (x, mut y) = (filled(&be, len)?, be.alloc(len)?);
        Ok(Box::new(move || be.activation_forward(f, be.view(&x), be.view_mut(&mut y))))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let (y, dy, mut dx) = (filled(&be, len)?, filled(&be, len)?, be.alloc(len)?);
        Ok(Box::new(move || be.activation_backward_input(f, be.view(&y), be.view(&dy), be.view_mut(&mut dx))))
    };
    let shape = format!("{f:?} len{len}");
    [
        Pass::new("activation", shape.clone(), "forward", forward),
        Pass::new("activation", shape, "backward_input", backward_input),
    ]
}

const STREAMS: [Stream; 2] = [Stream::NoiseReal, Stream::NoiseFake];

fn bottleneck<B: Executor>(d: Bottleneck) -> [Pass<B>; 2] {
    let shape = format!("n{} positions{} c{}", d.n, d.positions, d.c);
    let len = d.n * d.dims();
    let forward = move |be: B| -> Result<Work> {
        let (x, state, mut z, mut kl) = (filled(&be, 2 * len)?, state(&be)?, be.alloc(len)?, be.alloc(d.n)?);
        Ok(Box::new(move || {
            let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.view(&state) };
            be.bottleneck_forward(&d, be.view(&x), noise, be.view_mut(&mut z), be.view_mut(&mut kl))
        }))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let (x, state, dz) = (filled(&be, 2 * len)?, state(&be)?, filled(&be, len)?);
        let (dkl, mut dx) = (filled(&be, d.n)?, be.alloc(2 * len)?);
        Ok(Box::new(move || {
            let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.view(&state) };
            let target = be.view_mut(&mut dx);
            be.bottleneck_backward_input(&d, be.view(&x), noise, be.view(&dz), be.view(&dkl), target)
        }))
    };
    [
        Pass::new("bottleneck", shape.clone(), "forward", forward),
        Pass::new("bottleneck", shape, "backward_input", backward_input),
    ]
}

fn losses<B: Executor>(n: usize) -> [Pass<B>; 2] {
    let objective = Objective::new(Loss::Ns);
    let d = DiscriminatorLoss { n, objective, kl_scale: 1.0 / 6272.0, kl_mix: 1.0, target_kl: 0.2, beta_step: 1e-6 };
    let discriminator = move |be: B| -> Result<Work> {
        let (logits, kl, mut state) = (filled(&be, 2 * n)?, filled(&be, 2 * n)?, state(&be)?);
        let (mut dlogits, mut dkl) = (be.alloc(2 * n)?, be.alloc(2 * n)?);
        Ok(Box::new(move || {
            let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
            be.discriminator_loss(&d, be.view(&logits), be.view(&kl), dlogits, dkl, be.view_mut(&mut state))
        }))
    };
    let generator = move |be: B| -> Result<Work> {
        let (logits, mut state) = (filled(&be, n)?, state(&be)?);
        let (mut dlogits, mut dkl) = (be.alloc(n)?, be.alloc(n)?);
        Ok(Box::new(move || {
            let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
            be.generator_loss(&objective, be.view(&logits), dlogits, dkl, be.view_mut(&mut state))
        }))
    };
    [
        Pass::new("loss", format!("n{n}"), "discriminator", discriminator),
        Pass::new("loss", format!("n{n}"), "generator", generator),
    ]
}

fn adam<B: Executor>(network: Network, len: usize) -> [Pass<B>; 2] {
    let check = move |be: B| -> Result<Work> {
        let (gradients, mut state) = (filled(&be, len)?, state(&be)?);
        Ok(Box::new(move || be.check_gradients(network, be.view(&gradients), be.view_mut(&mut state))))
    };
    let update = move |be: B| -> Result<Work> {
        let d = Adam { network, lr: 2e-4, beta1: 0.5, beta2: 0.999, epsilon: 1e-8 };
        let (gradients, state, mut w) = (filled(&be, len)?, state(&be)?, filled(&be, len)?);
        let (mut m, mut v) = (be.alloc(len)?, be.alloc(len)?);
        Ok(Box::new(move || {
            let (w, m, v) = (be.view_mut(&mut w), be.view_mut(&mut m), be.view_mut(&mut v));
            be.adam_update(&d, be.view(&gradients), w, m, v, be.view(&state))
        }))
    };
    let shape = format!("len{len} {network:?}");
    [Pass::new("adam", shape.clone(), "check", check), Pass::new("adam", shape, "update", update)]
}

/// A pass from one tensor to another.
fn unary<B: Executor>(
    op: &'static str,
    shape: String,
    pass: &'static str,
    [from, to]: [usize; 2],
    run: impl Fn(&B, In<'_, B>, Out<'_, B>) -> Result<()> + Copy + Send + Sync + 'static,
) -> Pass<B> {
    Pass::new(op, shape, pass, move |be: B| -> Result<Work> {
        let (source, mut target) = (filled(&be, from)?, be.alloc(to)?);
        Ok(Box::new(move || run(&be, be.view(&source), be.view_mut(&mut target))))
    })
}

fn avg_pool2d<B: Executor>(d: AvgPool2d) -> [Pass<B>; 2] {
    let shape = format!("n{} {}x{}x{}", d.n, d.h, d.w, d.c);
    let (x, y) = (d.x_len(), d.y_len());
    [
        unary("avg_pool2d", shape.clone(), "forward", [x, y], move |be: &B, x, y| be.avg_pool2d_forward(&d, x, y)),
        unary("avg_pool2d", shape, "backward_input", [y, x], move |be: &B, dy, dx| {
            be.avg_pool2d_backward_input(&d, dy, dx)
        }),
    ]
}

fn upsample2d<B: Executor>(d: Upsample2d) -> [Pass<B>; 2] {
    let shape = format!("n{} {}x{}x{}", d.n, d.h, d.w, d.c);
    let (x, y) = (d.x_len(), d.y_len());
    [
        unary("upsample2d", shape.clone(), "forward", [x, y], move |be: &B, x, y| be.upsample2d_forward(&d, x, y)),
        unary("upsample2d", shape, "backward_input", [y, x], move |be: &B, dy, dx| {
            be.upsample2d_backward_input(&d, dy, dx)
        }),
    ]
}

fn scaled_add<B: Executor>(len: usize) -> [Pass<B>; 2] {
    let shape = format!("len{len}");
    let forward = move |be: B| -> Result<Work> {
        let (a, b, mut y) = (filled(&be, len)?, filled(&be, len)?, be.alloc(len)?);
        Ok(Box::new(move || be.scaled_add_forward(0.1, be.view(&a), be.view(&b), be.view_mut(&mut y))))
    };
    [
        Pass::new("scaled_add", shape.clone(), "forward", forward),
        unary("scaled_add", shape, "backward_input", [len, len], move |be: &B, dy, db| {
            be.scaled_add_backward_input(0.1, dy, db)
        }),
    ]
}

fn rmsprop<B: Executor>(len: usize) -> Pass<B> {
    Pass::new("rmsprop", format!("len{len}"), "update", move |be: B| -> Result<Work> {
        let d = Rmsprop { lr: 1e-4, decay: 0.99, epsilon: 1e-8 };
        let (gradients, state, mut w, mut v) = (filled(&be, len)?, state(&be)?, filled(&be, len)?, be.alloc(len)?);
        Ok(Box::new(move || {
            let (w, v) = (be.view_mut(&mut w), be.view_mut(&mut v));
            be.rmsprop_update(&d, be.view(&gradients), w, v, be.view(&state))
        }))
    })
}

fn ema<B: Executor>(len: usize) -> Pass<B> {
    Pass::new("ema", format!("len{len}"), "update", move |be: B| -> Result<Work> {
        let (weights, mut average) = (filled(&be, len)?, be.alloc(len)?);
        Ok(Box::new(move || be.ema_update(0.999, be.view(&weights), be.view_mut(&mut average))))
    })
}

fn clip<B: Executor>(len: usize) -> Pass<B> {
    Pass::new("clip", format!("len{len}"), "weights", move |be: B| -> Result<Work> {
        let (state, mut weights) = (state(&be)?, filled(&be, len)?);
        Ok(Box::new(move || be.clip_weights(0.01, be.view(&state), be.view_mut(&mut weights))))
    })
}

fn historical_averaging<B: Executor>(network: Network, len: usize) -> [Pass<B>; 2] {
    let mean = move |be: B| -> Result<Work> {
        let (weights, state, mut mean) = (filled(&be, len)?, state(&be)?, be.alloc(len)?);
        Ok(Box::new(move || be.historical_mean(network, be.view(&weights), be.view(&state), be.view_mut(&mut mean))))
    };
    let penalty = move |be: B| -> Result<Work> {
        let (weights, mean, mut state, mut gradients) =
            (filled(&be, len)?, be.alloc(len)?, state(&be)?, be.alloc(len)?);
        Ok(Box::new(move || {
            let (gradients, state) = (be.view_mut(&mut gradients), be.view_mut(&mut state));
            be.historical_penalty(network, 0.1, be.view(&weights), be.view(&mean), gradients, state)
        }))
    };
    let shape = format!("len{len} {network:?}");
    let op = "historical_averaging";
    [Pass::new(op, shape.clone(), "mean", mean), Pass::new(op, shape, "penalty", penalty)]
}

/// On the real and fake images of a batch of this kind.
fn instance_noise<B: Executor>(d: Gather) -> Pass<B> {
    let (n, image) = (2 * d.n, d.h * d.w * d.c);
    Pass::new("instance_noise", format!("n{n} image{image}"), "forward", move |be: B| -> Result<Work> {
        let streams = &[Stream::InstanceReal, Stream::InstanceFake];
        let d = InstanceNoise { n, image, sigma: 0.1, steps: 0, streams, draws: DrawStep::ONCE };
        let (x, state, mut y) = (filled(&be, n * image)?, state(&be)?, be.alloc(n * image)?);
        Ok(Box::new(move || be.instance_noise(&d, be.view(&x), None, be.view(&state), be.view_mut(&mut y))))
    })
}

fn gather<B: Executor>(d: Gather) -> Pass<B> {
    let shape = format!("n{} of {} {}x{}x{}", d.n, d.count, d.h, d.w, d.c);
    Pass::new("gather", shape, "forward", move |be: B| -> Result<Work> {
        let image = d.h * d.w * d.c;
        let images =
            be.buffer_from(d.count * image, || (0..d.count * image).map(|i| (i * 31 % 256) as u8).collect())?;
        let (state, mut x) = (state(&be)?, be.alloc(d.n * image)?);
        Ok(Box::new(move || be.gather(&d, DrawStep::ONCE, be.view(&images), be.view(&state), be.view_mut(&mut x))))
    })
}

fn prior<B: Executor>((n, latent): (usize, usize)) -> Pass<B> {
    Pass::new("prior", format!("n{n} latent{latent}"), "sample", move |be: B| -> Result<Work> {
        let stream = Stream::LatentGenerator;
        let (distribution, draws) = (Distribution::Uniform, DrawStep::ONCE);
        let d = Prior { latent, distribution, stream, first_sample: 0, draws };
        let (state, mut z) = (state(&be)?, be.alloc(n * latent)?);
        Ok(Box::new(move || be.prior_sample(&d, be.view(&state), be.view_mut(&mut z))))
    })
}

fn penalty<B: Executor>(n: usize, len: usize) -> Pass<B> {
    Pass::new("penalty", format!("n{n} len{len}"), "value", move |be: B| -> Result<Work> {
        let d = GradientPenalty { n, len, center: Center::One, weight: 10.0 };
        let (g, mut v, mut norms, mut state) = (filled(&be, n * len)?, be.alloc(n * len)?, be.alloc(n)?, state(&be)?);
        Ok(Box::new(move || {
            let (v, norms, state) = (be.view_mut(&mut v), be.view_mut(&mut norms), be.view_mut(&mut state));
            be.gradient_penalty(&d, be.view(&g), v, norms, state)
        }))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::device::Cpu;
    use crate::device::DryRun;
    use crate::ops::pass::{Counts, counted};

    #[test]
    fn every_operation_is_there_and_names_are_unique() {
        let passes = article_passes::<DryRun>();
        let ops: BTreeSet<&str> = passes.iter().map(|pass| pass.op).collect();
        let mut expected: BTreeSet<&str> = crate::ops::cases::<DryRun>().iter().map(|case| case.op()).collect();
        expected.remove("ceiling");
        assert_eq!(ops, expected);
        let names: BTreeSet<_> = passes.iter().map(|pass| (pass.op, &pass.shape, pass.pass)).collect();
        assert_eq!(names.len(), passes.len());
    }

    #[test]
    fn counts_are_of_the_pass_alone() {
        let count = |op: &str, shape: &str, name: &str| {
            let passes = article_passes::<DryRun>();
            let found = passes.iter().find(|pass| pass.op == op && pass.shape.contains(shape) && pass.pass == name);
            counted(found.expect("a pass")).expect("counts")
        };
        let bytes = 4 * (64 * 62 + 62 * 1024 + 64 * 1024);
        assert_eq!(count("linear", "c62 k1024", "forward"), Counts { flops: 2 * 64 * 62 * 1024, bytes });
        let elements = 64 * 14 * 14 * 64;
        assert_eq!(count("batch_norm", "rows12544 c64", "forward"), Counts { flops: 0, bytes: 4 * 4 * elements });
    }

    /// Passes can be run often: what they compute stays finite.
    #[test]
    fn passes_run() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        for pass in article_passes::<Cpu<f32>>() {
            if ["loss", "prior", "bottleneck"].contains(&pass.op) {
                let mut work = pass.prepare(&cpu).expect("memory");
                (0..3).for_each(|_| work().expect("a pass"));
            }
        }
    }
}
