// What the kernels of convolutions share.
#pragma once

#include "product.cuh"

// Sizes of a convolution; Conv2d of src/ops/conv2d.rs. The transposed convolution is the same three kernels: its forward
// pass is the input gradient (with a bias), its input gradient the forward pass, its weight gradient that with x and dy
// exchanged.
struct Conv2d {
    int n, h, w, c, k, r, s, stride, padding, oh, ow;
};
