//! The residual block of the paper's nets (He et al. 2016, "Identity mappings in deep residual networks", without
//! normalisation): y = shortcut(x) + 0.1 · conv_1(f(conv_0(f(x)))), f the leaky ReLU, both convolutions 3×3. The hidden
//! width is the smaller of the two; the shortcut is x itself, or a 1×1 convolution without bias where the width changes.
//!
//! It is piecewise linear in x, so a gradient penalty finds no curvature in it.

use super::init::same;
use super::layer::{Layer, Mode, Pass};
use super::layers::AffineLayer;
use super::operation::Operation;
use super::sequential::{first, first_mut};
use super::table::{Flattened, Initialisation, Table};
use crate::device::{Out, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::epilogue::Epilogue;
use crate::{Error, Result};

/// Factor of the residual branch.
const SCALE: f64 = 0.1;

/// A residual block with memory for what lies inside of it.
pub struct ResidualBlock<B: Executor> {
    f: Activation,
    conv_0: AffineLayer<Conv2d>,
    conv_1: AffineLayer<Conv2d>,
    /// `None` where x itself is the shortcut.
    conv_s: Option<AffineLayer<Conv2d>>,
    /// Elements of one image: of x, between the convolutions, and of y.
    lens: [usize; 3],
    /// f(x), what `conv_0` takes in.
    activated_x: StoredBuffer<B>,
    /// f(conv_0(…)), what `conv_1` takes in.
    activated_hidden: StoredBuffer<B>,
    /// The gradient of `conv_0`'s output in the last backward pass.
    d_hidden: StoredBuffer<B>,
    /// The gradient of `conv_1`'s output in the last backward pass.
    d_branch: StoredBuffer<B>,
    /// Scratch memory, free after each pass: the shortcut's output, or the gradient by its input.
    shortcut: StoredBuffer<B>,
    /// `None` before [`Layer::allocate_tangents`].
    tangents: Option<Tangents<B>>,
}

/// Inputs of the two convolutions in the last tangent pass, kept for [`Layer::tangent_weight`], and scratch memory for their outputs.
struct Tangents<B: Executor> {
    activated_x: StoredBuffer<B>,
    activated_hidden: StoredBuffer<B>,
    hidden: StoredBuffer<B>,
    branch: StoredBuffer<B>,
}

impl<B: Executor> ResidualBlock<B> {
    /// Adds `{name}.conv_0`, `{name}.conv_1` and, where the width changes, `{name}.conv_s` to the table. x is as `x` says,
    /// y has `width` channels; there is memory for up to `capacity` images.
    ///
    /// # Errors
    /// If memory is used up.
    #[expect(clippy::too_many_arguments, reason = "where, what it is called, what it is, how it starts, how many")]
    pub fn new(
        backend: &B,
        params: &mut Table,
        name: &str,
        x: Flattened,
        width: usize,
        f: Activation,
        init: Initialisation,
        capacity: usize,
    ) -> Result<Self> {
        let hidden = Flattened { c: x.c.min(width), ..x };
        let y = Flattened { c: width, ..x };
        let conv_0 = AffineLayer::conv2d(params, &format!("{name}.conv_0"), same(x, hidden.c, 3), init);
        let conv_1 = AffineLayer::conv2d(params, &format!("{name}.conv_1"), same(hidden, width, 3), init);
        let conv_s = (x.c != width)
            .then(|| AffineLayer::conv2d_without_bias(params, &format!("{name}.conv_s"), same(x, width, 1), init));
        let memory = |len: usize| backend.alloc(capacity * len);
        Ok(ResidualBlock {
            f,
            conv_0,
            conv_1,
            conv_s,
            lens: [x.len(), hidden.len(), y.len()],
            activated_x: memory(x.len())?,
            activated_hidden: memory(hidden.len())?,
            d_hidden: memory(hidden.len())?,
            d_branch: memory(y.len())?,
            shortcut: memory(x.len().max(y.len()))?,
            tangents: None,
        })
    }
}

impl<B: Executor> Layer<B> for ResidualBlock<B> {
    fn describe(&self) -> String {
        let Conv2d { h, w, c, k, .. } = self.conv_0.map;
        format!("residual {h}x{w}x{c} hidden{k} k{}", self.conv_1.map.k)
    }
    fn x_len(&self) -> usize {
        self.lens[0]
    }
    fn y_len(&self) -> usize {
        self.lens[2]
    }
    fn operations(&self) -> Option<Vec<Operation>> {
        let of = |layer: &AffineLayer<Conv2d>| Layer::<B>::operations(layer);
        let (f, conv_0, conv_1) = (Operation::Activation(self.f), of(&self.conv_0)?, of(&self.conv_1)?);
        let branch = [vec![f.clone()], conv_0, vec![f], conv_1].concat();
        let shortcut = self.conv_s.as_ref().map_or(Some(Vec::new()), of)?;
        Some(vec![Operation::Residual { branch, shortcut, scale: SCALE }])
    }

    fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        x: Stored<'_, B>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        let be = pass.backend;
        let [x_len, hidden_len, y_len] = self.lens.map(|len| pass.n * len);
        be.activation_forward(self.f, x, first_mut(be, &mut self.activated_x, x_len))?;
        let hidden = first_mut(be, &mut self.activated_hidden, hidden_len);
        let end = Epilogue::activation(self.f)?;
        self.conv_0.forward_ended(pass, first(be, &self.activated_x, x_len), end, hidden)?;
        let shortcut = match &mut self.conv_s {
            None => be.slice(x, 0..y_len),
            Some(conv_s) => {
                conv_s.forward(pass, mode, stats, x, first_mut(be, &mut self.shortcut, y_len))?;
                first(be, &self.shortcut, y_len)
            }
        };
        let end = Epilogue::none().added(SCALE, shortcut);
        self.conv_1.forward_ended(pass, first(be, &self.activated_hidden, hidden_len), end, y)
    }

    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        dy: Stored<'_, B>,
        dx: Option<StoredOut<'_, B>>,
        mut d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let be = pass.backend;
        let [x_len, hidden_len, y_len] = self.lens.map(|len| pass.n * len);
        // A convolution does not ask for its output.
        let unused = y;
        be.scaled_add_backward_input(SCALE, dy, first_mut(be, &mut self.d_branch, y_len))?;
        let (activated, d_branch) = (pass.kept(&self.activated_hidden, self.lens[1]), first(be, &self.d_branch, y_len));
        let weights = d_params.as_mut().map(|d_params| be.reborrow(d_params));
        self.conv_1.backward(pass, activated, unused, d_branch, None, weights)?;
        let d_hidden = first_mut(be, &mut self.d_hidden, hidden_len);
        self.conv_1.backward_input_ended(pass, d_branch, Epilogue::slope(self.f, activated)?, d_hidden)?;

        let (activated, d_hidden) = (pass.kept(&self.activated_x, self.lens[0]), first(be, &self.d_hidden, hidden_len));
        let weights = d_params.as_mut().map(|d_params| be.reborrow(d_params));
        self.conv_0.backward(pass, activated, unused, d_hidden, None, weights)?;
        let d_shortcut = match &mut self.conv_s {
            None => be.slice(dy, 0..x_len),
            Some(conv_s) => {
                let target = dx.is_some().then(|| first_mut(be, &mut self.shortcut, x_len));
                conv_s.backward(pass, x, unused, dy, target, d_params)?;
                first(be, &self.shortcut, x_len)
            }
        };
        let end = Epilogue::slope(self.f, activated)?.added(1.0, d_shortcut);
        dx.map_or(Ok(()), |dx| self.conv_0.backward_input_ended(pass, d_hidden, end, dx))
    }

    fn allocate_tangents(&mut self, backend: &B, capacity: usize) -> Result<()> {
        let [x, hidden, y] = self.lens;
        let memory = |len: usize| backend.alloc(capacity * len);
        self.tangents = Some(Tangents {
            activated_x: memory(x)?,
            activated_hidden: memory(hidden)?,
            hidden: memory(hidden)?,
            branch: memory(y)?,
        });
        Ok(())
    }

    fn tangent(
        &mut self,
        pass: Pass<'_, B>,
        x: Stored<'_, B>,
        y: Stored<'_, B>,
        vx: Stored<'_, B>,
        vy: StoredOut<'_, B>,
    ) -> Result<()> {
        let be = pass.backend;
        let [x_len, hidden_len, y_len] = self.lens.map(|len| pass.n * len);
        let (v_shortcut, tangents) = (&mut self.shortcut, allocated(&mut self.tangents)?);
        let activated = first(be, &self.activated_x, x_len);
        be.activation_backward_input(self.f, activated, vx, first_mut(be, &mut tangents.activated_x, x_len))?;
        let v_activated = first(be, &tangents.activated_x, x_len);
        let v_hidden = first_mut(be, &mut tangents.hidden, hidden_len);
        self.conv_0.tangent(pass, x, y, v_activated, v_hidden)?;
        let v_hidden = first(be, &tangents.hidden, hidden_len);
        let activated = first(be, &self.activated_hidden, hidden_len);
        let v_activated = first_mut(be, &mut tangents.activated_hidden, hidden_len);
        be.activation_backward_input(self.f, activated, v_hidden, v_activated)?;
        let v_activated = first(be, &tangents.activated_hidden, hidden_len);
        self.conv_1.tangent(pass, x, y, v_activated, first_mut(be, &mut tangents.branch, y_len))?;
        let v_branch = first(be, &tangents.branch, y_len);
        match &mut self.conv_s {
            None => be.scaled_add_forward(SCALE, vx, v_branch, vy),
            Some(conv_s) => {
                conv_s.tangent(pass, x, y, vx, first_mut(be, v_shortcut, y_len))?;
                be.scaled_add_forward(SCALE, first(be, v_shortcut, y_len), v_branch, vy)
            }
        }
    }

    fn tangent_weight(
        &mut self,
        pass: Pass<'_, B>,
        vx: Stored<'_, B>,
        dy: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        let be = pass.backend;
        let [x_len, hidden_len, y_len] = self.lens.map(|len| pass.n * len);
        let tangents = allocated(&mut self.tangents)?;
        let v_x = first(be, &tangents.activated_x, x_len);
        let v_hidden = first(be, &tangents.activated_hidden, hidden_len);
        let (d_hidden, d_branch) = (first(be, &self.d_hidden, hidden_len), first(be, &self.d_branch, y_len));
        self.conv_0.tangent_weight(pass, v_x, d_hidden, be.reborrow(&mut d_params))?;
        self.conv_1.tangent_weight(pass, v_hidden, d_branch, be.reborrow(&mut d_params))?;
        self.conv_s.as_mut().map_or(Ok(()), |conv_s| conv_s.tangent_weight(pass, vx, dy, d_params))
    }
}

fn allocated<B: Executor>(tangents: &mut Option<Tangents<B>>) -> Result<&mut Tangents<B>> {
    tangents.as_mut().ok_or_else(|| Error::Internal("a tangent pass before its memory was allocated".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;
    use crate::ops::case::fill;
    use crate::ops::{Case, Tensor};
    use crate::proof::gradient_check;

    const N: usize = 2;
    const SIDES: (usize, usize) = (3, 2);

    /// A pass over N images with these parameters, on one rank.
    fn pass_with<'a>(cpu: &'a Cpu<f64>, params: &'a [f64]) -> Pass<'a, Cpu<f64>> {
        Pass { backend: cpu, params, rounded: params, n: N, before: 0, ranks: 1, accumulates: true, classes: None }
    }

    /// A block of these widths.
    #[derive(Clone, Copy)]
    struct Widths {
        from: usize,
        to: usize,
    }

    const WIDTHS: [Widths; 3] = [Widths { from: 2, to: 2 }, Widths { from: 3, to: 1 }, Widths { from: 1, to: 2 }];

    impl Widths {
        fn block(self, cpu: &Cpu<f64>) -> (ResidualBlock<Cpu<f64>>, Table) {
            let mut params = Table::default();
            let (x, f) = (Flattened { h: SIDES.0, w: SIDES.1, c: self.from }, Activation::LeakyRelu(0.2));
            let init = Initialisation::FanIn;
            let block = ResidualBlock::new(cpu, &mut params, "block", x, self.to, f, init, N).expect("memory");
            (block, params)
        }

        fn name(self) -> String {
            format!("{} to {}", self.from, self.to)
        }

        /// Elements of x and of y.
        fn lens(self) -> [usize; 2] {
            [self.from, self.to].map(|c| N * SIDES.0 * SIDES.1 * c)
        }

        /// The block after its forward pass.
        fn forward(self, cpu: &Cpu<f64>, x: &[f64], params: &[f64], y: &mut [f64]) -> Result<ResidualBlock<Cpu<f64>>> {
            let (mut block, _) = self.block(cpu);
            block.forward(pass_with(cpu, params), Mode::Train { groups: 1 }, &mut [], x, y)?;
            Ok(block)
        }

        /// y by x and by the arena of parameters.
        fn case(self, cpu: &Cpu<f64>) -> Case<Cpu<f64>> {
            let [x_len, y_len] = self.lens();
            Case::new("residual", self.name())
                .input("x", x_len)
                .real_input("params", self.block(cpu).1.len())
                .output("y", y_len)
                .forward(move |cpu: &Cpu<f64>, [x, params], [y]| {
                    self.forward(cpu, x.stored(), params.real(), y.stored()).map(drop)
                })
                .backward(move |cpu: &Cpu<f64>, [x, params], [y], [dy], [dx, d_params]| {
                    let (x, params, y, dy) = (x.stored(), params.real(), y.stored(), dy.stored());
                    let d_params = d_params.real();
                    let mut block = self.forward(cpu, x, params, &mut y.to_vec())?;
                    let pass = pass_with(cpu, params);
                    // Without the gradient of x those of the parameters are the same.
                    let mut alone = vec![0.0; d_params.len()];
                    block.backward(pass, x, y, dy, None, Some(&mut alone))?;
                    block.backward(pass, x, y, dy, Some(dx.stored()), Some(d_params))?;
                    assert_eq!(alone, *d_params);
                    Ok(())
                })
                .tangent(move |cpu: &Cpu<f64>, [x, params], [y], vx, vy| {
                    let (x, params, y) = (x.stored(), params.real(), y.stored());
                    let mut block = self.forward(cpu, x, params, &mut y.to_vec())?;
                    block.allocate_tangents(cpu, N)?;
                    block.tangent(pass_with(cpu, params), x, y, vx.stored(), vy.stored())
                })
        }

        /// ⟨J vx, dy⟩ and, where it is asked for, its gradient by the parameters, which a gradient penalty takes. vx is normal,
        /// and so is dy.
        fn penalty(self, cpu: &Cpu<f64>, params: &[f64], d_params: Option<&mut [f64]>) -> Result<f64> {
            let [x_len, y_len] = self.lens();
            let normals = |len: usize, number| fill(&Tensor::stored("fixed", len), number);
            let (x, vx, dy) = (normals(x_len, 50), normals(x_len, 51), normals(y_len, 52));
            let (mut y, mut vy) = (vec![0.0; y_len], vec![0.0; y_len]);
            let mut block = self.forward(cpu, &x, params, &mut y)?;
            block.allocate_tangents(cpu, N)?;
            let pass = pass_with(cpu, params);
            block.backward(pass, &x, &y, &dy, Some(&mut vec![0.0; x_len]), None)?;
            block.tangent(pass, &x, &y, &vx, &mut vy)?;
            if let Some(d_params) = d_params {
                block.tangent_weight(pass, &vx, &dy, d_params)?;
            }
            Ok(vy.iter().zip(&dy).map(|(v, d)| v * d).sum())
        }

        /// [`Widths::penalty`] as a case.
        fn penalty_case(self, cpu: &Cpu<f64>) -> Case<Cpu<f64>> {
            Case::new("residual penalty", self.name())
                .real_input("params", self.block(cpu).1.len())
                .real_output("value", 1)
                .forward(move |cpu: &Cpu<f64>, [params], [value]| {
                    value.real()[0] = self.penalty(cpu, params.real(), None)?;
                    Ok(())
                })
                .backward(move |cpu: &Cpu<f64>, [params], _, [d_value], [d_params]| {
                    let (d_value, d_params) = (d_value.real()[0], d_params.real());
                    self.penalty(cpu, params.real(), Some(&mut *d_params))?;
                    d_params.iter_mut().for_each(|d| *d *= d_value);
                    Ok(())
                })
        }
    }

    #[test]
    fn derivatives_are_those_of_central_differences() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        for widths in WIDTHS {
            let findings = gradient_check::check(&cpu, &widths.case(&cpu)).expect("the CPU computes");
            assert_eq!(findings.len(), 3);
            assert!(findings.iter().all(|finding| finding.passes(gradient_check::TOLERANCE)), "{findings:#?}");
        }
    }

    #[test]
    fn a_penaltys_gradient_is_that_of_central_differences() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        for widths in WIDTHS {
            let findings = gradient_check::check(&cpu, &widths.penalty_case(&cpu)).expect("the CPU computes");
            assert!(findings.len() == 1 && findings[0].analytic != 0.0);
            assert!(findings[0].passes(gradient_check::TOLERANCE), "{findings:#?}");
        }
    }

    #[test]
    fn the_parameters_are_those_of_the_papers_code() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let names = |from, to| {
            let entries = Widths { from, to }.block(&cpu).1;
            entries.entries().iter().map(|entry| format!("{} {:?}", entry.name, entry.shape)).collect::<Vec<_>>()
        };
        let convolutions =
            ["block.conv_0.weight [2, 3, 3, 3]", "block.conv_0.bias [2]", "block.conv_1.weight [2, 2, 3, 3]"];
        assert_eq!(names(3, 2)[..3], convolutions);
        assert_eq!(names(3, 2)[3..], ["block.conv_1.bias [2]", "block.conv_s.weight [2, 3, 1, 1]"]);
        assert_eq!(names(2, 2).len(), 4);
    }
}
