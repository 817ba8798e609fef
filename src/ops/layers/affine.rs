//! Common to convolution, transposed convolution and linear layer: y = A(w) x + b, with A linear in w. The
//! layer of a network, the cases for tests and the passes for benchmarks are written once, against this.

use crate::Result;
use crate::device::{Backend, In, Out, Stored, StoredOut};
use crate::ops::case::{self, Case};
use crate::ops::pass::{self, Pass, real, stored};

/// The sizes of an operation that is linear in x and has a weight and a bias.
pub trait Affine<B: Backend>: Copy + Send + Sync + 'static {
    /// The operation's one name.
    const OP: &'static str;

    /// The sizes in few words, without the number of images.
    fn describe(&self) -> String;
    /// Images.
    fn n(&self) -> usize;
    /// The same for `n` images.
    fn with_n(self, n: usize) -> Self;
    /// Elements of x.
    fn x_len(&self) -> usize;
    /// Elements of w.
    fn w_len(&self) -> usize;
    /// Elements of b: channels or features of y.
    fn b_len(&self) -> usize;
    /// Elements of y.
    fn y_len(&self) -> usize;
    /// Multiplications and additions of one pass, forward or backward.
    fn flops(&self) -> u64;

    /// y = A(w) x + b; without `b` also the tangent.
    fn forward(
        &self,
        be: &B,
        x: Stored<'_, B>,
        w: Stored<'_, B>,
        b: Option<In<'_, B>>,
        y: StoredOut<'_, B>,
    ) -> Result<()>;
    /// dx = A(w)ᵀ dy; overwrites.
    fn backward_input(&self, be: &B, dy: Stored<'_, B>, w: Stored<'_, B>, dx: StoredOut<'_, B>) -> Result<()>;
    /// dw and, if it is wanted, db; both are added to what is there, or overwrite it.
    fn backward_weight(
        &self,
        be: &B,
        x: Stored<'_, B>,
        dy: Stored<'_, B>,
        dw: Out<'_, B>,
        db: Option<Out<'_, B>>,
        accumulate: bool,
    ) -> Result<()>;
}

/// These sizes as cases.
pub fn cases<B: Backend, M: Affine<B>>(sizes: impl IntoIterator<Item = M>) -> Vec<Case<B>> {
    sizes.into_iter().map(case).collect()
}

fn case<B: Backend, M: Affine<B>>(d: M) -> Case<B> {
    // Both ways are taken: by sizes with an even number of images, and by the others.
    let accumulates = d.n() % 2 == 0;
    Case::new(M::OP, format!("n{} {}", d.n(), d.describe()))
        .input("x", d.x_len())
        .weight_input("w", d.w_len())
        .real_input("b", d.b_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x, w, b], [y]| d.forward(be, x.stored(), w.stored(), Some(b.real()), y.stored()))
        .backward(move |be: &B, [x, w, _], _, [dy], [dx, dw, db]| {
            d.backward_input(be, dy.stored(), w.stored(), dx.stored())?;
            let [dw, db] = case::gradients(be, [dw.real(), db.real()], accumulates)?;
            d.backward_weight(be, x.stored(), dy.stored(), dw, Some(db), accumulates)
        })
        .tangent(move |be: &B, [_, w, _], [_], vx, vy| d.forward(be, vx.stored(), w.stored(), None, vy.stored()))
}

/// These sizes as passes.
pub fn passes<B: Backend, M: Affine<B>>(sizes: impl IntoIterator<Item = M>) -> Vec<Pass<B>> {
    pass::of_each(sizes, passes_of)
}

fn passes_of<B: Backend, M: Affine<B>>(d: M) -> [Pass<B>; 3] {
    let shape = format!("n{} {}", d.n(), d.describe());
    let (x, w, b, y) = (|| stored(d.x_len()), || stored(d.w_len()), || real(d.b_len()), || stored(d.y_len()));
    [
        Pass::of(M::OP, &shape, "forward", [x(), w(), b()], [y()], move |be: &B, [x, w, b], [y], _| {
            d.forward(be, x.stored(), w.stored(), Some(b.real()), y.stored())
        }),
        Pass::of(M::OP, &shape, "backward_input", [y(), w()], [x()], move |be: &B, [dy, w], [dx], _| {
            d.backward_input(be, dy.stored(), w.stored(), dx.stored())
        }),
        Pass::of(
            M::OP,
            &shape,
            "backward_weight",
            [x(), y()],
            [real(d.w_len()), b()],
            move |be: &B, [x, dy], [dw, db], _| {
                d.backward_weight(be, x.stored(), dy.stored(), dw.real(), Some(db.real()), false)
            },
        ),
    ]
}
