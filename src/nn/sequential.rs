//! Layers one after another, with the memory for everything between them.

use super::layer::{Layer, Mode, Pass};
use super::operation::Operation;
use crate::device::{Out, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::{Error, Result};

/// A chain of layers. Its own input and output lie outside of it.
pub struct Sequential<B: Executor> {
    layers: Vec<Box<dyn Layer<B>>>,
    capacity: usize,
    /// `activations[i]` is the output of layer i, the last layer's excepted.
    activations: Vec<StoredBuffer<B>>,
    /// Their gradients.
    gradients: Vec<StoredBuffer<B>>,
    /// Their tangents; none before [`Sequential::allocate_tangents`].
    tangents: Vec<StoredBuffer<B>>,
    /// Gradients from layers that curve; none if no layer does.
    curvatures: Vec<StoredBuffer<B>>,
}

impl<B: Executor> Sequential<B> {
    /// Allocates the memory for up to `capacity` images. There is at least one layer.
    ///
    /// # Errors
    /// [`Error::Usage`] where there is no layer, or a layer's output is not the next one's input; if memory is used up.
    pub fn new(backend: &B, layers: Vec<Box<dyn Layer<B>>>, capacity: usize) -> Result<Self> {
        if layers.is_empty() {
            return Err(Error::Usage("a chain of layers: expected at least one, found none".into()));
        }
        if let Some(pair) = layers.windows(2).find(|pair| pair[0].y_len() != pair[1].x_len()) {
            let [before, after] = [0, 1].map(|i| pair[i].describe());
            let (made, taken) = (pair[0].y_len(), pair[1].x_len());
            return Err(Error::Usage(format!(
                "a chain of layers: `{after}` expected {taken} values an image, and `{before}` before it makes {made}"
            )));
        }
        let inner = layers.iter().take(layers.len().saturating_sub(1)).map(|layer| capacity * layer.y_len());
        let activations = inner.clone().map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        let gradients = inner.map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        Ok(Sequential { layers, capacity, activations, gradients, tangents: Vec::new(), curvatures: Vec::new() })
    }

    /// The most images of a pass.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Elements of one image's input.
    pub fn x_len(&self) -> usize {
        self.layers.first().map_or(0, |layer| layer.x_len())
    }

    /// Elements of one image's output.
    pub fn y_len(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.y_len())
    }

    /// The operations of the layers in evaluation mode, for export.
    ///
    /// # Errors
    /// The description of the first layer that other programs don't have.
    pub fn operations(&self) -> std::result::Result<Vec<Operation>, String> {
        let each = self.layers.iter().map(|layer| layer.operations().ok_or_else(|| layer.describe()));
        Ok(each.collect::<std::result::Result<Vec<_>, _>>()?.concat())
    }

    /// y = f(x), for `pass.n` images, at most the capacity; `stats` is the network's arena of running statistics.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        mut stats: Out<'_, B>,
        x: Stored<'_, B>,
        mut y: StoredOut<'_, B>,
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

    /// The gradients of the last forward pass in training mode, or of its later groups alone, whose x and y are given again.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        mut dx: Option<StoredOut<'_, B>>,
        mut d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        for (i, layer) in self.layers.iter_mut().enumerate().rev() {
            let (x_len, y_len) = (n * layer.x_len(), n * layer.y_len());
            let (before, after) = self.gradients.split_at_mut(i);
            let (y, dy) = if i == last {
                (backend.slice(y, 0..y_len), backend.slice(dy, 0..y_len))
            } else {
                (pass.kept(&self.activations[i], layer.y_len()), first(backend, &after[0], y_len))
            };
            let (x, dx) = match before.last_mut() {
                None => (backend.slice(x, 0..x_len), dx.as_mut().map(|dx| backend.reborrow(dx))),
                Some(before) => {
                    let x = pass.kept(&self.activations[i - 1], layer.x_len());
                    (x, Some(first_mut(backend, before, x_len)))
                }
            };
            layer.backward(pass, x, y, dy, dx, d_params.as_mut().map(|d_params| backend.reborrow(d_params)))?;
        }
        Ok(())
    }

    /// Allocates the memory that [`Sequential::tangent`] and what follows it work in, for up to `capacity` images.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn allocate_tangents(&mut self, backend: &B, capacity: usize) -> Result<()> {
        self.layers.iter_mut().try_for_each(|layer| layer.allocate_tangents(backend, capacity))?;
        let inner = self.layers.iter().take(self.layers.len() - 1).map(|layer| capacity * layer.y_len());
        self.tangents = inner.clone().map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        if self.curves() {
            self.curvatures = inner.map(|len| backend.alloc(len)).collect::<Result<_>>()?;
        }
        Ok(())
    }

    /// vy = J vx at the last forward pass in training mode. The inner tangents are kept, and the inner gradients with
    /// them. [`Sequential::allocate_tangents`] came before.
    pub fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        mut vy: StoredOut<'_, B>,
    ) -> Result<()> {
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let (x_len, y_len) = (n * layer.x_len(), n * layer.y_len());
            let (before, after) = self.tangents.split_at_mut(i);
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

    /// `d_params` += ∂⟨J vx, dy⟩/∂θ as the layers have it, every layer's input held fixed. It follows
    /// [`Sequential::backward`] with this dy and [`Sequential::tangent`] with this vx.
    ///
    /// # Errors
    /// Those of [`Layer::tangent_weight`].
    pub fn tangent_weight(
        &mut self,
        pass: Pass<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        let Sequential { layers, gradients, tangents, .. } = self;
        for (i, layer) in layers.iter_mut().enumerate() {
            let vx = input_of(pass, i, layer.x_len(), tangents, vx);
            let dy = output_of(pass, i, layer.y_len(), gradients, dy);
            layer.tangent_weight(pass, vx, dy, pass.backend.reborrow(&mut d_params))?;
        }
        Ok(())
    }

    /// Returns true if a layer curves.
    pub fn curves(&self) -> bool {
        self.layers.iter().any(|layer| layer.curves())
    }

    /// The rest of the gradient of ⟨J vx, dy⟩ after [`Sequential::tangent_weight`]: that by way of the layers' inputs.
    /// The curvature of each layer goes down through the layers below it, to their parameters in `d_params`, which
    /// accumulates, and to `dx`, which is overwritten if there is something to write. `above` is what comes down from what
    /// follows the chain. The inner gradients are lost.
    ///
    /// Nothing is computed, and `dx` is left as it is, where nothing comes down from above and no layer curves.
    #[expect(clippy::too_many_arguments, reason = "the pass, what went through the chain, and what it adds to")]
    pub fn curvature(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        above: Option<Stored<'_, B>>,
        mut dx: Option<StoredOut<'_, B>>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        if !self.curves() {
            return above.map_or(Ok(()), |above| self.backward(pass, x, y, above, dx, Some(d_params)));
        }
        let (backend, n, last) = (pass.backend, pass.n, self.layers.len() - 1);
        let Sequential { layers, activations, gradients, tangents, curvatures, .. } = self;
        let mut comes_down = above.is_some();
        for (i, layer) in layers.iter_mut().enumerate().rev() {
            if !comes_down && !layer.curves() {
                continue;
            }
            let (below, here) = curvatures.split_at_mut(i);
            let mut target = match below.last_mut() {
                None => dx.as_mut().map(|dx| backend.reborrow(dx)),
                Some(below) => Some(first_mut(backend, below, n * layer.x_len())),
            };
            let (x_len, y_len) = (layer.x_len(), layer.y_len());
            let (x, vx) = (input_of(pass, i, x_len, activations, x), input_of(pass, i, x_len, tangents, vx));
            let (y, dy) = (output_of(pass, i, y_len, activations, y), output_of(pass, i, y_len, gradients, dy));
            let from_above = match above {
                Some(above) if i == last => Some(backend.slice(above, 0..n * y_len)),
                _ if comes_down => Some(first(backend, &here[0], n * y_len)),
                _ => None,
            };
            let lent = target.as_mut().map(|target| backend.reborrow(target));
            match (from_above, lent) {
                (Some(c), dx) => layer.backward(pass, x, y, c, dx, Some(backend.reborrow(&mut d_params)))?,
                (None, Some(dx)) => backend.zero(dx)?,
                (None, None) => {}
            }
            if let Some(dx) = target.filter(|_| layer.curves()) {
                layer.curvature(pass, x, y, vx, dy, dx)?;
            }
            comes_down = true;
        }
        Ok(())
    }
}

/// The window on layer i's input: `outside` for the first layer, else the buffer of the layer before it.
fn input_of<'long: 'a, 'a, B: Executor>(
    pass: Pass<'_, B>,
    i: usize,
    len: usize,
    buffers: &'a [StoredBuffer<B>],
    outside: Stored<'long, B>,
) -> Stored<'a, B> {
    match i.checked_sub(1) {
        None => pass.backend.slice(outside, 0..pass.n * len),
        Some(before) => first(pass.backend, &buffers[before], pass.n * len),
    }
}

/// The window on layer i's output: its buffer, or `outside` for the last layer.
fn output_of<'long: 'a, 'a, B: Executor>(
    pass: Pass<'_, B>,
    i: usize,
    len: usize,
    buffers: &'a [StoredBuffer<B>],
    outside: Stored<'long, B>,
) -> Stored<'a, B> {
    match buffers.get(i) {
        None => pass.backend.slice(outside, 0..pass.n * len),
        Some(buffer) => first(pass.backend, buffer, pass.n * len),
    }
}

/// The first `len` elements of a buffer.
pub(super) fn first<'a, B: Executor>(backend: &B, buffer: &'a StoredBuffer<B>, len: usize) -> Stored<'a, B> {
    backend.part(buffer, 0..len)
}

/// The first `len` elements of a buffer, to write.
pub(super) fn first_mut<'a, B: Executor>(backend: &B, buffer: &'a mut StoredBuffer<B>, len: usize) -> StoredOut<'a, B> {
    backend.part_mut(buffer, 0..len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;
    use crate::nn::layers::{ActivationLayer, AffineLayer};
    use crate::nn::table::{Flattened, Initialisation, Table};
    use crate::ops::Tensor;
    use crate::ops::case::fill;
    use crate::ops::layers::activation::Activation;

    const N: usize = 3;
    const WIDTHS: [usize; 4] = [4, 5, 3, 2];

    /// Three linear layers with these functions behind the first two, their inputs x, direction vx and cotangent dy.
    struct Chain {
        cpu: Cpu<f64>,
        net: Sequential<Cpu<f64>>,
        params: Vec<f64>,
        vx: Vec<f64>,
        dy: Vec<f64>,
    }

    fn normals(len: usize, number: u32) -> Vec<f64> {
        fill(&Tensor::stored("", len), number)
    }

    impl Chain {
        fn new(functions: [Activation; 2]) -> Chain {
            let cpu = Cpu::new(Some(1)).expect("a thread");
            let mut table = Table::default();
            let mut layers: Vec<Box<dyn Layer<Cpu<f64>>>> = Vec::new();
            for (i, pair) in WIDTHS.windows(2).enumerate() {
                let [c, k] = [pair[0], pair[1]].map(Flattened::vector);
                layers.push(Box::new(AffineLayer::linear(
                    &mut table,
                    &format!("{i}"),
                    c,
                    k,
                    Initialisation::Normal(0.0),
                )));
                if let Some(&f) = functions.get(i) {
                    layers.push(Box::new(ActivationLayer { f, len: k.len() }));
                }
            }
            let mut net = Sequential::new(&cpu, layers, N).expect("memory");
            net.allocate_tangents(&cpu, N).expect("memory");
            let params = normals(table.len(), 1);
            Chain { cpu, net, params, vx: normals(N * WIDTHS[0], 3), dy: normals(N * WIDTHS[3], 4) }
        }

        /// ⟨J vx, dy⟩, and what it came from: y.
        fn value(&mut self, params: &[f64], x: &[f64]) -> (f64, Vec<f64>) {
            let Chain { cpu, net, vx, dy, .. } = self;
            let pass = Pass {
                backend: &*cpu,
                params,
                rounded: params,
                n: N,
                before: 0,
                ranks: 1,
                accumulates: true,
                classes: None,
            };
            let (mut y, mut vy) = (vec![0.0; N * WIDTHS[3]], vec![0.0; N * WIDTHS[3]]);
            net.forward(pass, Mode::Train { groups: 1 }, &mut [], x, &mut y).expect("a pass");
            net.tangent(pass, x, &y, vx, &mut vy).expect("a pass");
            (vy.iter().zip(dy).map(|(v, d)| v * *d).sum(), y)
        }

        /// Its gradients by the parameters and by x.
        fn gradients(&mut self, x: &[f64]) -> (Vec<f64>, Vec<f64>) {
            let params = self.params.clone();
            let (_, y) = self.value(&params, x);
            let Chain { cpu, net, vx, dy, .. } = self;
            let pass = Pass {
                backend: &*cpu,
                params: &params,
                rounded: &params,
                n: N,
                before: 0,
                ranks: 1,
                accumulates: true,
                classes: None,
            };
            let (mut d_params, mut dx, mut vy) = (vec![0.0; params.len()], vec![0.0; x.len()], vec![0.0; y.len()]);
            net.backward(pass, x, &y, dy, None, None).expect("a pass");
            net.tangent(pass, x, &y, vx, &mut vy).expect("a pass");
            net.tangent_weight(pass, vx, dy, &mut d_params).expect("a pass");
            net.curvature(pass, x, &y, vx, dy, None, Some(&mut dx), &mut d_params).expect("a pass");
            (d_params, dx)
        }
    }

    #[test]
    fn the_gradient_of_a_tangent_is_that_of_central_differences() {
        use Activation::{LeakyRelu, Sigmoid, Tanh};
        for functions in [[Sigmoid, Tanh], [LeakyRelu(0.2), Sigmoid], [Tanh, LeakyRelu(0.2)], [LeakyRelu(0.2); 2]] {
            let mut chain = Chain::new(functions);
            let x = normals(N * WIDTHS[0], 2);
            let (d_params, dx) = chain.gradients(&x);
            assert_eq!(dx.iter().any(|&d| d != 0.0), chain.net.curves(), "{functions:?}");
            let analytic = [d_params, dx].concat();
            let inputs = [chain.params.clone(), x].concat();
            for (i, analytic) in analytic.into_iter().enumerate() {
                let mut at = |h: f64| {
                    let mut moved = inputs.clone();
                    moved[i] += h;
                    let (params, x) = moved.split_at(chain.params.len());
                    chain.value(params, x).0
                };
                let numeric = (at(1e-5) - at(-1e-5)) / 2e-5;
                // The differences err by about 1e-10 here.
                assert!((analytic - numeric).abs() < 1e-8, "{functions:?} {i}: {analytic}, differences {numeric}");
            }
        }
    }
}
