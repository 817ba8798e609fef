//! The demands of the driver's documentation on a map ("Tensor Map Object Management": `cuTensorMapEncodeTiled`,
//! `cuTensorMapEncodeIm2col`).

use super::super::swizzle::Swizzle;
use super::{Access, DataType, Fill, Interleave, MAX_RANK, TensorMap};

/// A requirement that a map does not meet; the driver returns `CUDA_ERROR_INVALID_VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTensorMap(String);

/// Err with a sentence, where the condition does not hold.
macro_rules! require {
    ($condition:expr, $($sentence:tt)*) => {
        if !$condition {
            return Err(InvalidTensorMap(format!($($sentence)*)));
        }
    };
}

impl TensorMap {
    /// Checks each documented requirement.
    pub fn validate(&self) -> Result<(), InvalidTensorMap> {
        self.validate_tensor()?;
        self.validate_strides()?;
        match self.access {
            Access::Tiled { box_dims } => self.validate_box(&box_dims)?,
            Access::Im2col { lower, upper, channels, pixels } => {
                self.validate_im2col(&lower, &upper, channels, pixels)?;
            }
        }
        self.validate_modes()
    }

    fn validate_tensor(&self) -> Result<(), InvalidTensorMap> {
        let rank = self.rank;
        require!((1..=MAX_RANK).contains(&rank), "tensorRank is {rank}; it must be 1 to 5");
        let least = match (self.access, self.interleave) {
            (Access::Tiled { .. }, Interleave::None) => 1,
            _ => 3,
        };
        require!(rank >= least, "tensorRank is {rank}; with an interleaved layout or im2col it must be 3, 4 or 5");
        let align = self.alignment();
        let address = self.global_address;
        require!(address.is_multiple_of(align), "globalAddress is {address:#x}; it must be a multiple of {align}");
        for (i, &dim) in self.global_dims[..rank].iter().enumerate() {
            require!((1..=1 << 32).contains(&dim), "globalDim[{i}] is {dim}; it must be 1 to 2^32");
        }
        let unused = self.global_dims[rank..].iter().all(|&dim| dim == 1);
        require!(unused, "globalDim beyond the rank {rank} must be 1: {:?}", self.global_dims);
        Ok(())
    }

    fn validate_strides(&self) -> Result<(), InvalidTensorMap> {
        let align = self.alignment();
        for (i, &stride) in self.global_strides[..self.rank - 1].iter().enumerate() {
            let dim = self.global_dims[i];
            require!(stride % align == 0, "globalStrides[{i}] is {stride}; it must be a multiple of {align}");
            require!(stride < 1 << 40, "globalStrides[{i}] is {stride}; it must be less than 2^40");
            require!(stride >= dim, "globalStrides[{i}] is {stride}; it must be at least globalDim[{i}], {dim}");
        }
        for (i, &stride) in self.element_strides[..self.rank].iter().enumerate() {
            // "When interleave is NONE, the first element of this array is ignored"; but it must be non-zero as all are.
            require!((1..=8).contains(&stride), "elementStrides[{i}] is {stride}; it must be 1 to 8");
        }
        Ok(())
    }

    fn validate_box(&self, box_dims: &[u32; MAX_RANK]) -> Result<(), InvalidTensorMap> {
        for (i, &dim) in box_dims[..self.rank].iter().enumerate() {
            require!((1..=256).contains(&dim), "boxDim[{i}] is {dim}; it must be 1 to 256");
        }
        let inner = box_dims[0] * self.data_type.bytes();
        require!(
            self.interleave != Interleave::None || inner.is_multiple_of(16),
            "boxDim[0] is {}, {inner} bytes; without interleaving it must be a multiple of 16 bytes",
            box_dims[0]
        );
        self.validate_span("boxDim[0]", inner)
    }

    fn validate_im2col(
        &self,
        lower: &[i32; 3],
        upper: &[i32; 3],
        channels: u32,
        pixels: u32,
    ) -> Result<(), InvalidTensorMap> {
        let spatial = self.rank - 2;
        let limit = [1 << 15, 1 << 7, 1 << 4][spatial - 1];
        for i in 0..spatial {
            for (name, corner) in [("pixelBoxLowerCorner", lower[i]), ("pixelBoxUpperCorner", upper[i])] {
                require!(
                    (-limit..limit).contains(&corner),
                    "{name}[{i}] is {corner}; with rank {} it must be {} to {}",
                    self.rank,
                    -limit,
                    limit - 1
                );
            }
            let size = self.global_dims[i + 1] as i64 + i64::from(upper[i]) - i64::from(lower[i]);
            require!(size > 0, "the bounding box has {size} pixels in dimension {}; it must not be empty", i + 1);
        }
        require!((1..=256).contains(&channels), "channelsPerPixel is {channels}; it must be 1 to 256");
        require!((1..=1024).contains(&pixels), "pixelsPerColumn is {pixels}; it must be 1 to 1024");
        self.validate_span("channelsPerPixel", channels * self.data_type.bytes())
    }

    /// "The bounding box inner dimension must be less than or equal to the swizzle size."
    fn validate_span(&self, name: &str, inner: u32) -> Result<(), InvalidTensorMap> {
        let span = self.swizzle.span();
        require!(
            span == 0 || self.interleave != Interleave::None || inner <= span,
            "{name} is {inner} bytes; with a swizzle of {span} bytes it must be no more than that"
        );
        Ok(())
    }

    fn validate_modes(&self) -> Result<(), InvalidTensorMap> {
        require!(
            self.interleave != Interleave::Bytes32 || self.swizzle == Swizzle::Bytes32,
            "with an interleaved layout of 32 bytes the swizzle must be that of 32 bytes, not {:?}",
            self.swizzle
        );
        require!(self.l2_promotion <= 3, "l2Promotion is {}; it must be 0 to 3", self.l2_promotion);
        require!(
            self.fill == Fill::Zero || self.data_type.is_float(),
            "oobFill asks for NaN, which elements of type {:?} have not",
            self.data_type
        );
        Ok(())
    }

    /// "Must be 16 byte aligned; when interleave is 32B, 32 byte aligned"; strides likewise.
    fn alignment(&self) -> u64 {
        if self.interleave == Interleave::Bytes32 { 32 } else { 16 }
    }

    /// Whether copies convert elements on their way, which is documented nowhere.
    pub(super) fn converts(&self) -> bool {
        matches!(self.data_type, DataType::F32Ftz | DataType::Tf32 | DataType::Tf32Ftz)
    }
}
