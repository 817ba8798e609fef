//! The bottleneck on the CPU, image by image; noise is drawn a block at a time.

use std::ops::Range;

use super::{Bottleneck, BottleneckOp, Noise};
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::normal::fill_normals;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Cpu, Real, Storage};

/// Elements for which noise is drawn at once.
const BLOCK: usize = 256;

/// The sum of a block in eight interleaved parts, so that it runs in vectors and always in the same order.
#[inline(always)]
fn lane_sum<T: Real>(terms: &[T; BLOCK]) -> T {
    let mut lanes = [T::ZERO; 8];
    for eight in terms.chunks_exact(8) {
        lanes.iter_mut().zip(eight).for_each(|(lane, &term)| *lane += term);
    }
    lanes.into_iter().sum()
}

/// Calls `work(dimensions, where their μ stands in [positions, 2, C], ε)` block by block over one image's dimensions;
/// their s stand C further on.
#[inline(always)]
fn each_block<T: Real, S: Storage<T>>(
    d: &Bottleneck,
    noise: Noise<'_, Cpu<T, S>>,
    image: usize,
    mut work: impl FnMut(Range<usize>, usize, &[T]),
) {
    for position in 0..d.positions {
        for from in (0..d.c).step_by(BLOCK) {
            let len = BLOCK.min(d.c - from);
            let first = position * d.c + from;
            let mut drawn = [T::ZERO; BLOCK];
            let epsilon = match noise {
                Noise::Mean => &drawn[..len],
                Noise::Given(given) => &given[image * d.dims() + first..][..len],
                Noise::Drawn { streams, draws, state } => {
                    let group = d.n / streams.len();
                    let sample = draws.sample(image % group);
                    // Draws come in fours; a block need not begin at a multiple of four.
                    let before = first % 4;
                    let mut normals = [0.0f32; BLOCK + 4];
                    let normals = &mut normals[..before + len];
                    let (seed, step) = (state[0].seed, draws.of(state[0].step));
                    fill_normals(seed, streams[image / group], step, sample, first - before, normals);
                    drawn.iter_mut().zip(&normals[before..]).for_each(|(d, &n)| *d = T::of_f32(n));
                    &drawn[..len]
                }
            };
            work(first..first + len, first + position * d.c, epsilon);
        }
    }
}

impl<T: Real, S: Storage<T>> BottleneckOp for Cpu<T, S> {
    fn bottleneck_forward(
        &self,
        d: &Bottleneck,
        mu_s: &[S],
        noise: Noise<'_, Self>,
        z: &mut [S],
        kl: &mut [T],
    ) -> Result<()> {
        let (rate, log_variance) = (T::of(d.sigma.rate()), T::of(2.0 * d.sigma.rate()));
        let images = z.par_chunks_mut(d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(kl).enumerate().for_each(|(image, ((z, mu_s), kl))| {
            let mut total = 0.0;
            vectorised!({
                each_block(
                    d,
                    noise,
                    image,
                    #[inline(always)]
                    |range, at, epsilon| {
                        let n = epsilon.len();
                        let (mu, s, z) = (&mu_s[at..at + n], &mu_s[at + d.c..][..n], &mut z[range]);
                        let mut sigma = [T::ZERO; BLOCK];
                        sigma.iter_mut().zip(s).for_each(|(sigma, s)| *sigma = (rate * s.real()).exp());
                        let mut terms = [T::ZERO; BLOCK];
                        for j in 0..n {
                            let mu = mu[j].real();
                            z[j] = S::of_real(mu + sigma[j] * epsilon[j]);
                            terms[j] = mu * mu + sigma[j] * sigma[j] - log_variance * s[j].real() - T::ONE;
                        }
                        total += 0.5 * lane_sum(&terms).to_f64();
                    },
                );
            });
            *kl = T::of(total);
        });
        Ok(())
    }

    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: &[S],
        noise: Noise<'_, Self>,
        dz: &[S],
        dkl: &[T],
        d_mu_s: &mut [S],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let images = d_mu_s.par_chunks_mut(2 * d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(dz.par_chunks(d.dims())).zip(dkl).enumerate().for_each(|(image, (((target, mu_s), dz), &dkl))| {
            vectorised!({
                each_block(
                    d,
                    noise,
                    image,
                    #[inline(always)]
                    |range, at, epsilon| {
                        let n = epsilon.len();
                        let (mu, s, dz) = (&mu_s[at..at + n], &mu_s[at + d.c..][..n], &dz[range]);
                        let (d_mu, d_s) = target[at..].split_at_mut(d.c);
                        let (d_mu, d_s) = (&mut d_mu[..n], &mut d_s[..n]);
                        let mut sigma = [T::ZERO; BLOCK];
                        sigma.iter_mut().zip(s).for_each(|(sigma, s)| *sigma = (rate * s.real()).exp());
                        for j in 0..n {
                            let (dz, sigma) = (dz[j].real(), sigma[j]);
                            d_mu[j] = S::of_real(dz + dkl * mu[j].real());
                            d_s[j] = S::of_real(rate * (dz * sigma * epsilon[j] + dkl * (sigma * sigma - T::ONE)));
                        }
                    },
                );
            });
        });
        Ok(())
    }

    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: &[S],
        noise: Noise<'_, Self>,
        v_mu_s: &[S],
        v_z: &mut [S],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let images = v_z.par_chunks_mut(d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(v_mu_s.par_chunks(2 * d.dims())).enumerate().for_each(|(image, ((v_z, mu_s), v))| {
            each_block(
                d,
                noise,
                image,
                #[inline(always)]
                |range, at, epsilon| {
                    for (j, (v_z, &epsilon)) in v_z[range].iter_mut().zip(epsilon).enumerate() {
                        let (mu, s) = (at + j, at + j + d.c);
                        let sigma = (rate * mu_s[s].real()).exp();
                        *v_z = S::of_real(v[mu].real() + rate * sigma * epsilon * v[s].real());
                    }
                },
            );
        });
        Ok(())
    }

    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: &[S],
        noise: Noise<'_, Self>,
        v_mu_s: &[S],
        dz: &[S],
        d_mu_s: &mut [S],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let square = rate * rate;
        let images = d_mu_s.par_chunks_mut(2 * d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        let directions = v_mu_s.par_chunks(2 * d.dims()).zip(dz.par_chunks(d.dims()));
        images.zip(directions).enumerate().for_each(|(image, ((target, mu_s), (v, dz)))| {
            each_block(
                d,
                noise,
                image,
                #[inline(always)]
                |range, at, epsilon| {
                    for (j, (dz, &epsilon)) in dz[range].iter().zip(epsilon).enumerate() {
                        let s = at + j + d.c;
                        let added = square * (rate * mu_s[s].real()).exp() * epsilon * v[s].real() * dz.real();
                        target[s] = S::of_real(target[s].real() + added);
                    }
                },
            );
        });
        Ok(())
    }
}
