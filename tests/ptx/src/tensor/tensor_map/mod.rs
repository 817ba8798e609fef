//! Tensor maps: what `cuTensorMapEncodeTiled` and `cuTensorMapEncodeIm2col` write, and the copies that `cp.async.bulk.tensor` makes by
//! them (§5.5, "Tensors").
//!
//! A map is 128 bytes that only the driver and the device understand, so the encoding here is our own. It begins with a mark and
//! ends with a sum, so that other bytes are refused.

mod boxes;
mod validate;

pub use boxes::{Run, TensorCopyError};
pub use validate::InvalidTensorMap;

use super::swizzle::Swizzle;

/// Bytes of a map.
pub const MAP_BYTES: usize = 128;
/// The most dimensions of a tensor.
pub const MAX_RANK: usize = 5;

const MARK: &[u8; 8] = b"ptx-map1";

/// The elements of a tensor (`CUtensorMapDataType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DataType {
    U8,
    U16,
    U32,
    S32,
    U64,
    S64,
    F16,
    F32,
    F64,
    Bf16,
    F32Ftz,
    Tf32,
    Tf32Ftz,
}

/// Groups of channels that lie together (`CUtensorMapInterleave`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Interleave {
    None,
    Bytes16,
    Bytes32,
}

/// The value that is copied for an element outside of the tensor (`CUtensorMapFloatOOBfill`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fill {
    /// Zero.
    Zero,
    /// A NaN that is an element's own, "OOB-NaN".
    Nan,
}

/// The elements that one copy takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// A box of the tensor, with its size in each dimension.
    Tiled {
        /// `boxDim`, innermost first; 1 beyond the rank.
        box_dims: [u32; MAX_RANK],
    },
    /// Pixels of a batch of images, one after the other, as a convolution meets them (§5.5.4).
    Im2col {
        /// `pixelBoxLowerCorner`: W, H, D.
        lower: [i32; 3],
        /// `pixelBoxUpperCorner`: W, H, D.
        upper: [i32; 3],
        /// `channelsPerPixel`.
        channels: u32,
        /// `pixelsPerColumn`.
        pixels: u32,
    },
}

/// A map. Dimensions are in the driver's order, the innermost first; entries beyond the rank are 1, or 0 for strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorMap {
    /// `tensorDataType`.
    pub data_type: DataType,
    /// `tensorRank`.
    pub rank: usize,
    /// `globalAddress`.
    pub global_address: u64,
    /// `globalDim`: elements in each dimension.
    pub global_dims: [u64; MAX_RANK],
    /// `globalStrides`: bytes from one element to the next in each dimension but the innermost.
    pub global_strides: [u64; MAX_RANK - 1],
    /// `elementStrides`: the step along each dimension.
    pub element_strides: [u32; MAX_RANK],
    /// `interleave`.
    pub interleave: Interleave,
    /// `swizzle`.
    pub swizzle: Swizzle,
    /// `l2Promotion` as the driver numbers it, 0 to 3: it has no effect here.
    pub l2_promotion: u32,
    /// `oobFill`.
    pub fill: Fill,
    /// The box or the pixels.
    pub access: Access,
}

impl DataType {
    const ALL: [DataType; 13] = {
        use DataType::*;
        [U8, U16, U32, S32, U64, S64, F16, F32, F64, Bf16, F32Ftz, Tf32, Tf32Ftz]
    };

    /// The type that the driver numbers so. The packed types of 4 and 6 bits (13 to 15) are not known here.
    pub fn from_driver(number: u32) -> Option<DataType> {
        DataType::ALL.get(number as usize).copied()
    }

    /// The driver's number.
    pub fn to_driver(self) -> u32 {
        self as u32
    }

    /// Bytes of an element.
    pub fn bytes(self) -> u32 {
        use DataType::*;
        match self {
            U8 => 1,
            U16 | F16 | Bf16 => 2,
            U32 | S32 | F32 | F32Ftz | Tf32 | Tf32Ftz => 4,
            U64 | S64 | F64 => 8,
        }
    }

    /// Whether its elements are floating-point numbers.
    pub fn is_float(self) -> bool {
        use DataType::*;
        matches!(self, F16 | F32 | F64 | Bf16 | F32Ftz | Tf32 | Tf32Ftz)
    }

    /// The bytes of an element outside of the tensor with [`Fill::Nan`], repeated. The ISA does not say which NaN it is; here it is the
    /// canonical one, all ones but the sign.
    pub fn nan(self) -> Vec<u8> {
        let mut bytes = vec![0xFF; self.bytes() as usize];
        if let Some(last) = bytes.last_mut() {
            *last = 0x7F;
        }
        bytes
    }
}

impl Interleave {
    const ALL: [Interleave; 3] = [Interleave::None, Interleave::Bytes16, Interleave::Bytes32];

    /// The interleaving that the driver numbers so.
    pub fn from_driver(number: u32) -> Option<Interleave> {
        Interleave::ALL.get(number as usize).copied()
    }
}

impl Fill {
    /// The fill that the driver numbers so.
    pub fn from_driver(number: u32) -> Option<Fill> {
        [Fill::Zero, Fill::Nan].get(number as usize).copied()
    }
}

/// The swizzles as `CUtensorMapSwizzle` numbers them. Of number 5, which also flips 8-byte halves in every other line, the
/// documentation does not say in which lines; it is not known here.
const SWIZZLES: [Option<Swizzle>; 7] = [
    Some(Swizzle::None),
    Some(Swizzle::Bytes32),
    Some(Swizzle::Bytes64),
    Some(Swizzle::Bytes128),
    Some(Swizzle::Bytes128Atom32),
    None,
    Some(Swizzle::Bytes128Atom64),
];

/// The swizzle that the driver numbers so.
pub fn swizzle_from_driver(number: u32) -> Option<Swizzle> {
    SWIZZLES.get(number as usize).copied().flatten()
}

fn swizzle_to_driver(swizzle: Swizzle) -> u8 {
    SWIZZLES.iter().position(|&other| other == Some(swizzle)).map_or(0, |position| position as u8)
}

impl TensorMap {
    /// The map's 128 bytes. It must be valid, since fields are stored in no more bits than a valid one needs.
    pub fn encode(&self) -> Result<[u8; MAP_BYTES], InvalidTensorMap> {
        self.validate()?;
        let mut bytes = Vec::with_capacity(MAP_BYTES);
        bytes.extend(MARK);
        let im2col = matches!(self.access, Access::Im2col { .. });
        bytes.extend([self.data_type as u8, self.rank as u8, self.interleave as u8, swizzle_to_driver(self.swizzle)]);
        bytes.extend([self.l2_promotion as u8, self.fill as u8, im2col.into(), 0]);
        bytes.extend(self.global_address.to_le_bytes());
        for stride in self.global_strides {
            bytes.extend(stride.to_le_bytes());
        }
        // A dimension is 1 to 2^32, of which 32 bits hold one less.
        for dim in self.global_dims {
            bytes.extend(((dim - 1) as u32).to_le_bytes());
        }
        bytes.extend(self.element_strides.map(|stride| stride as u8));
        let access = match self.access {
            Access::Tiled { box_dims } => box_dims.map(|dim| dim as i16).to_vec(),
            Access::Im2col { lower, upper, channels, pixels } => {
                let corners = lower.into_iter().chain(upper).map(|corner| corner as i16);
                corners.chain([channels as i16, pixels as i16]).collect()
            }
        };
        for value in access {
            bytes.extend(value.to_le_bytes());
        }
        bytes.resize(MAP_BYTES - 4, 0);
        bytes.extend(sum(&bytes).to_le_bytes());
        let mut map = [0; MAP_BYTES];
        map.copy_from_slice(&bytes);
        Ok(map)
    }

    /// The map that bytes hold, or `None` where [`TensorMap::encode`] did not write them.
    pub fn decode(bytes: &[u8; MAP_BYTES]) -> Option<TensorMap> {
        let (body, end) = bytes.split_at(MAP_BYTES - 4);
        if !body.starts_with(MARK) || end != sum(body).to_le_bytes() {
            return None;
        }
        let mut reader = Reader(&body[MARK.len()..]);
        let [data_type, rank, interleave, swizzle, l2_promotion, fill, im2col, _] = reader.take::<8>();
        let global_address = u64::from_le_bytes(reader.take());
        let global_strides = [(); MAX_RANK - 1].map(|()| u64::from_le_bytes(reader.take()));
        let global_dims = [(); MAX_RANK].map(|()| u64::from(u32::from_le_bytes(reader.take())) + 1);
        let element_strides = reader.take::<MAX_RANK>().map(u32::from);
        let mut halves = || i16::from_le_bytes(reader.take());
        let access = if im2col == 1 {
            let lower = [(); 3].map(|()| i32::from(halves()));
            let upper = [(); 3].map(|()| i32::from(halves()));
            Access::Im2col { lower, upper, channels: halves() as u32, pixels: halves() as u32 }
        } else {
            Access::Tiled { box_dims: [(); MAX_RANK].map(|()| halves() as u32) }
        };
        Some(TensorMap {
            data_type: DataType::from_driver(data_type.into())?,
            rank: rank.into(),
            global_address,
            global_dims,
            global_strides,
            element_strides,
            interleave: Interleave::from_driver(interleave.into())?,
            swizzle: swizzle_from_driver(swizzle.into())?,
            l2_promotion: l2_promotion.into(),
            fill: Fill::from_driver(fill.into())?,
            access,
        })
    }
}

/// Takes fields from the front of bytes, which are known to be long enough.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_at(N);
        self.0 = rest;
        let mut bytes = [0; N];
        bytes.copy_from_slice(field);
        bytes
    }
}

/// FNV-1a in 32 bits.
fn sum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811C_9DC5, |sum, &byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
