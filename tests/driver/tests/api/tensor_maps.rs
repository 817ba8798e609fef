//! Tensor maps: what `cuTensorMapEncodeTiled` documents.

use std::ptr::null;

use sys::CUtensorMapDataType::{self as Type, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 as BF16};
use sys::CUtensorMapSwizzle::{self as Swizzle, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_SWIZZLE_NONE};

use crate::child::on_driver;
use crate::cuda::{alloc, begin, call, sys};

/// A map of a matrix of 2-byte elements, with 64 × 8 of them a box.
struct Matrix {
    data_type: Type,
    rank: u32,
    address: u64,
    dims: [u64; 2],
    stride: u64,
    boxes: [u32; 2],
    swizzle: Swizzle,
}

impl Matrix {
    fn new(address: u64) -> Matrix {
        Matrix {
            data_type: BF16,
            rank: 2,
            address,
            dims: [128, 32],
            stride: 256,
            boxes: [64, 8],
            swizzle: CU_TENSOR_MAP_SWIZZLE_128B,
        }
    }

    fn encode(&self, map: &mut sys::CUtensorMap) -> u32 {
        let Matrix { data_type, rank, address, dims, stride, boxes, swizzle } = self;
        call!(cuTensorMapEncodeTiled(
            map,
            *data_type,
            *rank,
            *address as _,
            dims.as_ptr(),
            stride,
            boxes.as_ptr(),
            [1, 1].as_ptr(),
            sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
            *swizzle,
            sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE,
            sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
        ))
    }
}

fn empty() -> sys::CUtensorMap {
    sys::CUtensorMap { opaque: [0; 16] }
}

on_driver! {
    fn a_map_is_what_the_documentation_asks() {
        begin();
        let address = alloc(128 * 32 * 2);
        let code = |change: &dyn Fn(&mut Matrix)| {
            let mut matrix = Matrix::new(address);
            change(&mut matrix);
            matrix.encode(&mut empty())
        };
        assert_eq!(code(&|_| {}), 0);
        assert_eq!(code(&|matrix| matrix.rank = 0), 1);
        assert_eq!(code(&|matrix| matrix.rank = 6), 1);
        assert_eq!(code(&|matrix| matrix.address += 8), 1);
        assert_eq!(code(&|matrix| matrix.dims[1] = 0), 1);
        assert_eq!(code(&|matrix| matrix.stride = 264), 1);
        assert_eq!(code(&|matrix| matrix.boxes[1] = 257), 1);
        // The inner side of a box: a multiple of 16 bytes, and no longer than the swizzle.
        assert_eq!(code(&|matrix| matrix.boxes[0] = 4), 1);
        assert_eq!(code(&|matrix| matrix.boxes[0] = 128), 1);
        let unswizzled = |matrix: &mut Matrix| (matrix.boxes[0], matrix.swizzle) = (128, CU_TENSOR_MAP_SWIZZLE_NONE);
        assert_eq!(code(&unswizzled), 0);
    }
}

on_driver! {
    fn a_map_has_its_place_and_another_address_later() {
        begin();
        let address = alloc(128 * 32 * 2);
        let (mut first, mut second) = (empty(), empty());
        assert_eq!(Matrix::new(address).encode(&mut first), 0);
        assert_eq!(Matrix::new(address + 64).encode(&mut second), 0);
        assert_ne!(first.opaque, second.opaque);
        assert_eq!(call!(cuTensorMapReplaceAddress(&mut first, (address + 64) as _)), 0);
        assert_eq!(first.opaque, second.opaque);
        assert_eq!(call!(cuTensorMapReplaceAddress(&mut empty(), address as _)), 1);
        let beside: *mut sys::CUtensorMap = (&raw mut first).wrapping_byte_add(8);
        let none: *const u64 = null();
        let encode = |map: *mut sys::CUtensorMap, dims: *const u64| {
            call!(cuTensorMapEncodeTiled(
                map,
                BF16,
                2,
                address as _,
                dims,
                &256,
                [64, 8].as_ptr(),
                [1, 1].as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                CU_TENSOR_MAP_SWIZZLE_NONE,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_NONE,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE
            ))
        };
        // "tensorMap address must be aligned to 64 bytes."
        assert_eq!(encode(beside, [128, 32].as_ptr()), 1);
        assert_eq!(encode(&mut second, none), 1);
    }
}

on_driver! {
    fn older_gpus_have_no_maps(GPU = "rtx4090") {
        begin();
        assert_eq!(Matrix::new(alloc(128 * 32 * 2)).encode(&mut empty()), 801);
    }
}
