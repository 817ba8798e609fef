//! The blocks of Inception-v3 (Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision"), as tables.
//!
//! Names, widths and paddings are those of the net that TensorFlow's `inception-2015-12-05` became in PyTorch, in which FID and the
//! Inception score are given. It differs from torchvision's: averages leave the border out, the last block takes the maximum, and
//! there are 1008 classes.

use crate::ops::layers::pool2d::Pooling;

/// A convolution: its name, outputs, rows and columns of its filter, and its stride. With stride 1 it keeps the size of an image, with
/// stride 2 there is no padding.
pub(super) type Convolution = (&'static str, usize, [usize; 2], usize);

/// A branch of a block: a pooling or none, convolutions one after another, and those whose outputs belong to the block's.
/// Where there is no convolution the pooled image itself does.
pub(super) struct Branch {
    pub(super) pool: Option<(Pooling, usize)>,
    pub(super) inner: Vec<Convolution>,
    pub(super) outer: Vec<Convolution>,
}

/// A chain of convolutions.
fn chain(mut convolutions: Vec<Convolution>) -> Branch {
    let last = convolutions.split_off(convolutions.len().saturating_sub(1));
    Branch { pool: None, inner: convolutions, outer: last }
}

/// A pooling with a convolution of this width behind it.
fn pooled(pooling: Pooling, width: usize) -> Branch {
    Branch { pool: Some((pooling, 1)), inner: Vec::new(), outer: vec![("branch_pool", width, [1, 1], 1)] }
}

/// A block that halves images ends with their maximum.
fn halved() -> Branch {
    Branch { pool: Some((Pooling::Max, 2)), inner: Vec::new(), outer: Vec::new() }
}

/// 35×35: filters of 1×1, 5×5 and twice 3×3.
fn a(pool_width: usize) -> Vec<Branch> {
    vec![
        chain(vec![("branch1x1", 64, [1, 1], 1)]),
        chain(vec![("branch5x5_1", 48, [1, 1], 1), ("branch5x5_2", 64, [5, 5], 1)]),
        chain(vec![
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 1),
        ]),
        pooled(Pooling::Average, pool_width),
    ]
}

/// 35×35 → 17×17.
fn b() -> Vec<Branch> {
    vec![
        chain(vec![("branch3x3", 384, [3, 3], 2)]),
        chain(vec![
            ("branch3x3dbl_1", 64, [1, 1], 1),
            ("branch3x3dbl_2", 96, [3, 3], 1),
            ("branch3x3dbl_3", 96, [3, 3], 2),
        ]),
        halved(),
    ]
}

/// 17×17: filters of 7×7, as 1×7 and 7×1; `width` is that within a branch.
fn c(width: usize) -> Vec<Branch> {
    vec![
        chain(vec![("branch1x1", 192, [1, 1], 1)]),
        chain(vec![
            ("branch7x7_1", width, [1, 1], 1),
            ("branch7x7_2", width, [1, 7], 1),
            ("branch7x7_3", 192, [7, 1], 1),
        ]),
        chain(vec![
            ("branch7x7dbl_1", width, [1, 1], 1),
            ("branch7x7dbl_2", width, [7, 1], 1),
            ("branch7x7dbl_3", width, [1, 7], 1),
            ("branch7x7dbl_4", width, [7, 1], 1),
            ("branch7x7dbl_5", 192, [1, 7], 1),
        ]),
        pooled(Pooling::Average, 192),
    ]
}

/// 17×17 → 8×8.
fn d() -> Vec<Branch> {
    vec![
        chain(vec![("branch3x3_1", 192, [1, 1], 1), ("branch3x3_2", 320, [3, 3], 2)]),
        chain(vec![
            ("branch7x7x3_1", 192, [1, 1], 1),
            ("branch7x7x3_2", 192, [1, 7], 1),
            ("branch7x7x3_3", 192, [7, 1], 1),
            ("branch7x7x3_4", 192, [3, 3], 2),
        ]),
        halved(),
    ]
}

/// 8×8: branches that end in 1×3 and 3×1 beside each other.
fn e(pooling: Pooling) -> Vec<Branch> {
    vec![
        chain(vec![("branch1x1", 320, [1, 1], 1)]),
        Branch {
            pool: None,
            inner: vec![("branch3x3_1", 384, [1, 1], 1)],
            outer: vec![("branch3x3_2a", 384, [1, 3], 1), ("branch3x3_2b", 384, [3, 1], 1)],
        },
        Branch {
            pool: None,
            inner: vec![("branch3x3dbl_1", 448, [1, 1], 1), ("branch3x3dbl_2", 384, [3, 3], 1)],
            outer: vec![("branch3x3dbl_3a", 384, [1, 3], 1), ("branch3x3dbl_3b", 384, [3, 1], 1)],
        },
        pooled(pooling, 192),
    ]
}

/// All blocks, in their order.
pub(super) fn blocks() -> [(&'static str, Vec<Branch>); 11] {
    [
        ("Mixed_5b", a(32)),
        ("Mixed_5c", a(64)),
        ("Mixed_5d", a(64)),
        ("Mixed_6a", b()),
        ("Mixed_6b", c(128)),
        ("Mixed_6c", c(160)),
        ("Mixed_6d", c(160)),
        ("Mixed_6e", c(192)),
        ("Mixed_7a", d()),
        ("Mixed_7b", e(Pooling::Average)),
        ("Mixed_7c", e(Pooling::Max)),
    ]
}
