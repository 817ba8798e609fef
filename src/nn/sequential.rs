//! Layers one after another, with the memory for everything between them.

use super::layer::{Layer, Mode, Pass};
use crate::Result;
use crate::device::{Buffer, In, Out};
use crate::ops::Executor;

/// A chain of layers. Its own input and output lie outside of it.
pub struct Sequential<B: Executor> {
    layers: Vec<Box<dyn Layer<B>>>,
    /// `activations[i]` is the output of layer i, the last layer's excepted.
    activations: Vec<Buffer<B>>,
    /// Their gradients.
    gradients: Vec<Buffer<B>>,
}

impl<B: Executor> Sequential<B> {
    /// Allocates the memory for up to `capacity` images. There is at least one layer.
    ///
    /// # Errors
    /// If memory is used up.
    ///
    /// # Panics
    /// If a layer's output is not the next one's input: a mistake of this program's.
    pub fn new(backend: &B, layers: Vec<Box<dyn Layer<B>>>, capacity: usize) -> Result<Self> {
        assert!(!layers.is_empty(), "a chain needs a layer");
        for pair in layers.windows(2) {
            assert_eq!(pair[0].y_len(), pair[1].x_len(), "{} before {}", pair[0].describe(), pair[1].describe());
        }
        let inner = layers.iter().take(layers.len().saturating_sub(1)).map(|layer| capacity * layer.y_len());
        let activations = inner.clone().map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        let gradients = inner.map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        Ok(Sequential { layers, activations, gradients })
    }

    /// One line a layer, for people.
    pub fn describe(&self) -> Vec<String> {
        self.layers.iter().map(|layer| layer.describe()).collect()
    }

    /// Elements of one image's input.
    pub fn x_len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.x_len())
    }

    /// Elements of one image's output.
    pub fn y_len(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.y_len())
    }

    /// Multiplications and additions of one image's forward pass.
    pub fn flops(&self) -> u64 {
        self.layers.iter().map(|layer| layer.flops()).sum()
    }

    /// y = f(x), for `pass.n` images, at most the capacity; `stats` is the network's arena of running statistics.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        mut stats: Out<'_, B>,
        x: In<'_, B>,
        mut y: Out<'_, B>,
    ) -> Result<()> {
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(i);
            let x = match before.last() {
                None => backend.slice(x, 0..n * layer.x_len()),
                Some(before) => first(backend, before, n * layer.x_len()),
            };
            let y = match after.first_mut() {
                Some(inner) if i < last => first_mut(backend, inner, n * layer.y_len()),
                _ => backend.reborrow(&mut y),
            };
            layer.forward(pass, mode, backend.reborrow(&mut stats), x, y)?;
        }
        Ok(())
    }

    /// The gradients of the last forward pass in training mode, whose x and y are given again.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: In<'_, B>,
        y: In<'_, B>,
        dy: In<'_, B>,
        mut dx: Option<Out<'_, B>>,
        mut d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        for (i, layer) in self.layers.iter_mut().enumerate().rev() {
            let (x_len, y_len) = (n * layer.x_len(), n * layer.y_len());
            let (before, after) = self.gradients.split_at_mut(i);
            let (y, dy) = if i == last {
                (backend.slice(y, 0..y_len), backend.slice(dy, 0..y_len))
            } else {
                (first(backend, &self.activations[i], y_len), first(backend, &after[0], y_len))
            };
            let (x, dx) = match before.last_mut() {
                None => (backend.slice(x, 0..x_len), dx.as_mut().map(|dx| backend.reborrow(dx))),
                Some(before) => {
                    (first(backend, &self.activations[i - 1], x_len), Some(first_mut(backend, before, x_len)))
                }
            };
            layer.backward(pass, x, y, dy, dx, d_params.as_mut().map(|d_params| backend.reborrow(d_params)))?;
        }
        Ok(())
    }

    /// vy = (∂f/∂x) vx at the last forward pass in training mode. The inner tangents take the place of the inner
    /// gradients.
    pub fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: In<'_, B>,
        y: In<'_, B>,
        vx: In<'_, B>,
        mut vy: Out<'_, B>,
    ) -> Result<()> {
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (x_len, y_len) = (n * layer.x_len(), n * layer.y_len());
            let (before, after) = self.gradients.split_at_mut(i);
            let (x, vx) = match before.last() {
                None => (backend.slice(x, 0..x_len), backend.slice(vx, 0..x_len)),
                Some(before) => (first(backend, &self.activations[i - 1], x_len), first(backend, before, x_len)),
            };
            let (y, vy) = if i == last {
                (backend.slice(y, 0..y_len), backend.reborrow(&mut vy))
            } else {
                (first(backend, &self.activations[i], y_len), first_mut(backend, &mut after[0], y_len))
            };
            layer.tangent(pass, x, y, vx, vy)?;
        }
        Ok(())
    }
}

/// The first `len` elements of a buffer.
fn first<'a, B: Executor>(backend: &B, buffer: &'a Buffer<B>, len: usize) -> In<'a, B> {
    backend.slice(backend.view(buffer), 0..len)
}

/// The first `len` elements of a buffer, to write.
fn first_mut<'a, B: Executor>(backend: &B, buffer: &'a mut Buffer<B>, len: usize) -> Out<'a, B> {
    backend.slice_mut(backend.view_mut(buffer), 0..len)
}
