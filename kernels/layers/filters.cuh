// Where the direct kernels find a filter's elements. They serve convolutions from few channels, and, seen from the other side,
// those to few channels with stride 1.
#pragma once

#include "layers/conv2d.cuh"

// w[k, r, s, c] of a convolution from few channels lies at first + k * this.k + r * this.r + s * this.s + c * this.c, and so
// does its gradient. For w [K, R, S, C] itself these are {R S C, S C, C, 1, 0}.
//
// A convolution to few channels with stride 1 is the input gradient of one from few channels whose filters are turned by half
// a circle: there k counts our input channels, c our output channels, and r and s count backwards. The kernels get the
// sizes of that one.
// Twin: Filters in src/ops/layers/conv2d/few.rs.
struct Filters {
    int k, r, s, c, first;

    __device__ __forceinline__ int at(int filter, int row, int column, int channel) const {
        return first + filter * k + row * r + column * s + channel * c;
    }
};
