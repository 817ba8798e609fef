//! Tensor maps: CUDA Driver API, "Tensor Map Object Management". What a map must be, the machine checks; its 128 bytes are the
//! machine's own, and mean nothing to a GPU.

use ptx_machine::tensor::tensor_map::{
    Access, DataType, Fill, Interleave, MAP_BYTES, MAX_RANK, TensorMap, swizzle_from_driver,
};

use crate::abi::{In, Out, driver_api};
use crate::code::{Code, Result};
use crate::state::Driver;

/// The arguments that both kinds of maps have.
struct Tensor {
    data_type: u32,
    rank: u32,
    address: u64,
    dims: In<u64>,
    strides: In<u64>,
    element_strides: In<u32>,
    interleave: u32,
    swizzle: u32,
    promotion: u32,
    fill: u32,
}

/// The first `count` values of a list, and `rest` behind them.
fn padded<T: Copy, const N: usize>(list: In<T>, count: usize, rest: T) -> Result<[T; N]> {
    let mut values = [rest; N];
    for (index, value) in values.iter_mut().enumerate().take(count) {
        *value = list.at(index)?;
    }
    Ok(values)
}

fn encode(driver: &mut Driver, map: Out<[u8; MAP_BYTES]>, tensor: &Tensor, access: Access) -> Result {
    let device = driver.current_device()?;
    // "Tensor map objects are only supported on devices of compute capability 9.0 or higher."
    if driver.devices[device].gpu.capability < (9, 0) {
        return Err(Code::NOT_SUPPORTED);
    }
    // "tensorMap address must be aligned to 64 bytes."
    if map.is_null() || !map.0.addr().is_multiple_of(64) {
        return Err(Code::INVALID_VALUE);
    }
    let rank = tensor.rank as usize;
    if !(1..=MAX_RANK).contains(&rank) {
        return Err(Code::INVALID_VALUE);
    }
    // What the documentation has and the machine does not know is refused as such, and said.
    let known = |what: Option<()>, name: &str, number: u32, end: u32| match what {
        Some(()) => Ok(()),
        None if number < end => {
            eprintln!("cuda-standin: a tensor map with {name} {number} is not known to the machine");
            Err(Code::NOT_SUPPORTED)
        }
        None => Err(Code::INVALID_VALUE),
    };
    let data_type = DataType::from_driver(tensor.data_type);
    known(data_type.map(|_| ()), "data type", tensor.data_type, 16)?;
    let swizzle = swizzle_from_driver(tensor.swizzle);
    known(swizzle.map(|_| ()), "swizzle", tensor.swizzle, 7)?;
    let tensor_map = TensorMap {
        data_type: data_type.ok_or(Code::INVALID_VALUE)?,
        rank,
        global_address: tensor.address,
        global_dims: padded(tensor.dims, rank, 1)?,
        global_strides: padded(tensor.strides, rank - 1, 0)?,
        element_strides: padded(tensor.element_strides, rank, 1)?,
        interleave: Interleave::from_driver(tensor.interleave).ok_or(Code::INVALID_VALUE)?,
        swizzle: swizzle.ok_or(Code::INVALID_VALUE)?,
        l2_promotion: tensor.promotion,
        fill: Fill::from_driver(tensor.fill).ok_or(Code::INVALID_VALUE)?,
        access,
    };
    match tensor_map.encode() {
        Ok(bytes) => map.set(bytes),
        Err(error) => {
            eprintln!("cuda-standin: a tensor map is refused: {error}");
            Err(Code::INVALID_VALUE)
        }
    }
}

driver_api! { SYMBOLS;
    /// `cuTensorMapEncodeTiled`: 1, 201; 801 before 9.0, and for packed types of 4 and 6 bits and swizzles that the machine does not
    /// know.
    fn cuTensorMapEncodeTiled(
        driver, map: Out<[u8; MAP_BYTES]>, data_type: u32, rank: u32, address: u64, dims: In<u64>, strides: In<u64>, boxes: In<u32>,
        element_strides: In<u32>, interleave: u32, swizzle: u32, promotion: u32, fill: u32,
    ) {
        let box_dims = padded(boxes, (rank as usize).min(MAX_RANK), 1)?;
        let tensor =
            Tensor { data_type, rank, address, dims, strides, element_strides, interleave, swizzle, promotion, fill };
        encode(driver, map, &tensor, Access::Tiled { box_dims })
    }

    /// `cuTensorMapEncodeIm2col`: likewise; 1 for ranks below 3.
    fn cuTensorMapEncodeIm2col(
        driver, map: Out<[u8; MAP_BYTES]>, data_type: u32, rank: u32, address: u64, dims: In<u64>, strides: In<u64>,
        lower: In<i32>, upper: In<i32>, channels: u32, pixels: u32, element_strides: In<u32>, interleave: u32, swizzle: u32,
        promotion: u32, fill: u32,
    ) {
        // A corner has a value for each dimension but the channels and the images.
        let corners = (rank as usize).clamp(2, MAX_RANK) - 2;
        let access = Access::Im2col {
            lower: padded(lower, corners, 0)?,
            upper: padded(upper, corners, 0)?,
            channels,
            pixels,
        };
        let tensor =
            Tensor { data_type, rank, address, dims, strides, element_strides, interleave, swizzle, promotion, fill };
        encode(driver, map, &tensor, access)
    }

    /// `cuTensorMapReplaceAddress`: 1, 201, also for bytes that are no map.
    fn cuTensorMapReplaceAddress(driver, map: Out<[u8; MAP_BYTES]>, address: u64) {
        driver.current()?;
        let mut known = TensorMap::decode(&map.get()?).ok_or(Code::INVALID_VALUE)?;
        known.global_address = address;
        map.set(known.encode().map_err(|_| Code::INVALID_VALUE)?)
    }
}
