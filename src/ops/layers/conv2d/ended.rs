//! Cases of a convolution with an end, and what it has to be.

use super::{Conv2d, Conv2dOp};
use crate::ops::case::Case;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::epilogue::Epilogue;

/// Both passes of a convolution with every part of an end: in runs and not, with a stride, split along the depth, and with few channels.
pub(super) fn cases<B: Conv2dOp>() -> Vec<Case<B>> {
    let size = |n, side, c, k, r, stride| Conv2d { n, h: side, w: side + 1, c, k, r, s: r, stride, padding: r / 2 };
    let sizes = [size(2, 5, 6, 5, 3, 1), size(1, 4, 16, 8, 3, 2), size(3, 3, 32, 40, 3, 1), size(2, 6, 3, 7, 3, 1)];
    sizes.into_iter().flat_map(|d| [forward_case(d), backward_input_case(d)]).collect()
}

const LEAKY: Activation = Activation::LeakyRelu(0.2);

fn name(pass: &str, d: &Conv2d) -> String {
    format!("ended {pass} n{} {}x{}x{} k{} stride{}", d.n, d.h, d.w, d.c, d.k, d.stride)
}

/// y = base + 0.1 f(conv(x, w) + b).
fn forward_case<B: Conv2dOp>(d: Conv2d) -> Case<B> {
    Case::new("conv2d", name("forward", &d))
        .input("x", d.x_len())
        .weight_input("w", d.w_len())
        .real_input("b", d.k)
        .input("base", d.y_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x, w, b, base], [y]| {
            let end = Epilogue::activation(LEAKY)?.added(0.1, base.stored());
            be.conv2d_forward(&d, x.stored(), w.stored(), Some(b.real()), end, y.stored())
        })
}

/// dx = base + f′(of) · convᵀ(dy, w).
fn backward_input_case<B: Conv2dOp>(d: Conv2d) -> Case<B> {
    Case::new("conv2d", name("backward input", &d))
        .input("dy", d.y_len())
        .weight_input("w", d.w_len())
        .input("of", d.x_len())
        .input("base", d.x_len())
        .output("dx", d.x_len())
        .forward(move |be: &B, [dy, w, of, base], [dx]| {
            let end = Epilogue::slope(LEAKY, of.stored())?.added(1.0, base.stored());
            be.conv2d_backward_input(&d, dy.stored(), w.stored(), end, dx.stored())
        })
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::device::{Cpu, Storage};
    use crate::ops::case::fill;
    use crate::ops::layers::activation::ActivationOp;
    use crate::ops::layers::scaled_add::ScaledAddOp;
    use crate::ops::tensor::Tensor;

    /// The bits are those of the operations one after the other: where products go to the unit for products, to im2col, to col2im and
    /// to crate `gemm`.
    #[test]
    fn an_end_gives_the_bits_of_operations_one_after_the_other() {
        for channels in [[6, 5], [32, 32], [32, 200], [3, 32]] {
            compared::<f32>(channels);
            compared::<bf16>(channels);
        }
    }

    fn compared<S: Storage<f32> + PartialEq>([c, k]: [usize; 2]) {
        let cpu = Cpu::<f32, S>::new(Some(2)).expect("threads");
        let d = Conv2d { n: 9, h: 6, w: 7, c, k, r: 3, s: 3, stride: 1, padding: 1 };
        let stored = |len, number| -> Vec<S> {
            fill(&Tensor::stored("", len), number).into_iter().map(|value: f64| S::of_real(value as f32)).collect()
        };
        let (x, dy, w) = (stored(d.x_len(), 1), stored(d.y_len(), 2), stored(d.w_len(), 3));
        let (of, base, bias) = (stored(d.x_len(), 4), [stored(d.y_len(), 5), stored(d.x_len(), 6)], vec![0.25; k]);
        let zeros = |len| vec![S::of_real(0.0); len];

        let [mut v, mut f, mut expected, mut found] = [(); 4].map(|()| zeros(d.y_len()));
        cpu.conv2d_forward(&d, &x, &w, Some(&bias), Epilogue::none(), &mut v).expect("a convolution");
        cpu.activation_forward(LEAKY, &v, &mut f).expect("an activation");
        cpu.scaled_add_forward(0.1, &base[0], &f, &mut expected).expect("a sum");
        let end = Epilogue::activation(LEAKY).expect("linear").added(0.1, &base[0][..]);
        cpu.conv2d_forward(&d, &x, &w, Some(&bias), end, &mut found).expect("a convolution");
        assert!(found == expected && found != v, "forward {c} {k} {}", S::NAME);

        let [mut v, mut g, mut expected, mut found] = [(); 4].map(|()| zeros(d.x_len()));
        cpu.conv2d_backward_input(&d, &dy, &w, Epilogue::none(), &mut v).expect("a convolution");
        cpu.activation_backward_input(LEAKY, &of, &v, &mut g).expect("an activation");
        cpu.scaled_add_forward(1.0, &base[1], &g, &mut expected).expect("a sum");
        let end = Epilogue::slope(LEAKY, &of[..]).expect("linear").added(1.0, &base[1][..]);
        cpu.conv2d_backward_input(&d, &dy, &w, end, &mut found).expect("a convolution");
        assert!(found == expected && found != v, "backward {c} {k} {}", S::NAME);
    }

    #[test]
    fn a_function_that_bends_is_refused() {
        let refused = Epilogue::<Cpu<f32>>::activation(Activation::Tanh).err().expect("refused");
        assert!(refused.to_string().contains("Tanh at the end of a convolution"));
    }
}
