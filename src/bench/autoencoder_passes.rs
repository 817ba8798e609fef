//! The passes of what only a discriminator that is an autoencoder has, at the sizes of the article's two models.

use super::article;
use crate::Result;
use crate::ops::Executor;
use crate::ops::losses::energy::{Energy, Exponent};
use crate::ops::losses::repelling::Repelling;
use crate::ops::pass::{Pass, Work, filled, state};

/// Elements of an image of MNIST and of CIFAR-10.
const IMAGES: [usize; 2] = [28 * 28, 32 * 32 * 3];
/// Elements of the codes of `vgan-mnist` and `vgan-cifar10`.
const CODES: [usize; 2] = [7 * 7 * 128, 2 * 2 * 512];

/// Every pass of `energy`, on real and fake images, and of `repelling`, on the generator's.
pub(super) fn all<B: Executor>() -> Vec<Pass<B>> {
    let energies = IMAGES.map(|len| energy(Energy { n: 2 * article::BATCH, len, exponent: Exponent::Squared }));
    let repellings = CODES.map(|dims| repelling(Repelling { n: article::BATCH, dims, weight: 0.1 }));
    energies.into_iter().flatten().chain(repellings.into_iter().flatten()).collect()
}

fn energy<B: Executor>(d: Energy) -> [Pass<B>; 3] {
    let shape = format!("n{} len{}", d.n, d.len);
    let images = move |be: &B| Result::Ok((filled(be, d.n * d.len)?, be.alloc(d.n * d.len)?, filled(be, d.n)?));
    let forward = move |be: B| -> Result<Work> {
        let (x, y, mut e) = images(&be)?;
        Ok(Box::new(move || be.energy_forward(&d, be.view(&x), be.view(&y), be.view_mut(&mut e))))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let ((x, y, de), mut dy) = (images(&be)?, be.alloc(d.n * d.len)?);
        Ok(Box::new(move || be.energy_backward_input(&d, be.view(&x), be.view(&y), be.view(&de), be.view_mut(&mut dy))))
    };
    let backward_image = move |be: B| -> Result<Work> {
        let ((x, y, de), mut dx) = (images(&be)?, be.alloc(d.n * d.len)?);
        Ok(Box::new(move || be.energy_backward_image(&d, be.view(&x), be.view(&y), be.view(&de), be.view_mut(&mut dx))))
    };
    [
        Pass::new("energy", shape.clone(), "forward", forward),
        Pass::new("energy", shape.clone(), "backward_input", backward_input),
        Pass::new("energy", shape, "backward_image", backward_image),
    ]
}

fn repelling<B: Executor>(d: Repelling) -> [Pass<B>; 3] {
    let shape = format!("n{} dims{}", d.n, d.dims);
    let forward = move |be: B| -> Result<Work> {
        let (codes, mut cosines) = (filled(&be, d.n * d.dims)?, be.alloc(d.n * d.n)?);
        Ok(Box::new(move || be.repelling_forward(&d, be.view(&codes), be.view_mut(&mut cosines))))
    };
    let loss = move |be: B| -> Result<Work> {
        let (cosines, mut state) = (filled(&be, d.n * d.n)?, state(&be)?);
        Ok(Box::new(move || be.repelling_loss(&d, be.view(&cosines), be.view_mut(&mut state))))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let (codes, cosines, mut d_codes) =
            (filled(&be, d.n * d.dims)?, filled(&be, d.n * d.n)?, be.alloc(d.n * d.dims)?);
        Ok(Box::new(move || {
            be.repelling_backward_input(&d, be.view(&codes), be.view(&cosines), be.view_mut(&mut d_codes))
        }))
    };
    [
        Pass::new("repelling", shape.clone(), "forward", forward),
        Pass::new("repelling", shape.clone(), "loss", loss),
        Pass::new("repelling", shape, "backward_input", backward_input),
    ]
}
