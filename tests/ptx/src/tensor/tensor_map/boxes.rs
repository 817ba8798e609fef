//! The bytes that a copy by a tensor map moves: runs that are contiguous in both memories.

use super::super::swizzle::swizzle;
use super::{Access, DataType, Interleave, MAX_RANK, TensorMap};

/// Bytes that lie together in shared and in global memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The place in shared memory, after swizzling.
    pub shared: u32,
    /// The place in global memory; `None` outside of the tensor: a load fills the bytes in, a store leaves them out.
    pub global: Option<u64>,
    /// The number of bytes; at most 16 with a swizzle. A run has whole elements.
    pub bytes: u32,
}

/// Why a copy by a tensor map can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorCopyError {
    /// The instruction has other dimensions than the map.
    #[error("the instruction has {instruction} coordinates and the tensor map {map} dimensions")]
    Rank {
        /// Of the instruction.
        instruction: usize,
        /// Of the map.
        map: usize,
    },
    /// A tiled map with an im2col instruction, or the other way round.
    #[error("the instruction is {0}, and its tensor map is not")]
    Mode(&'static str),
    /// Shared memory at a wrong address.
    #[error("the shared memory of a tensor copy begins at {0:#x}, which is not a multiple of 128")]
    Misaligned(u32),
    /// The base of the filter lies outside of the bounding box.
    #[error("coordinate {coordinate} of dimension {dimension} lies outside of the bounding box, {low} to {high}")]
    OutsideOfBox {
        /// The dimension, 1 for W.
        dimension: usize,
        /// The coordinate.
        coordinate: i32,
        /// The lowest that is in the box.
        low: i64,
        /// The highest.
        high: i64,
    },
    /// Offsets of im2col that do not fit its bits.
    #[error("im2col offset {offset} of dimension {dimension}; with this rank it must be 0 to {highest}")]
    Offset {
        /// The dimension, 1 for W.
        dimension: usize,
        /// The offset.
        offset: u32,
        /// The highest.
        highest: u32,
    },
    /// A map whose copies are not documented well enough to be carried out.
    #[error("copies by a tensor map with {0} are not known to this machine")]
    Unknown(String),
}

impl TensorMap {
    /// Bytes that one copy writes in shared memory, elements outside of the tensor included: what a load's mbarrier is told.
    pub fn copy_bytes(&self) -> u32 {
        let elements = match self.access {
            Access::Tiled { .. } => self.tile().iter().product(),
            Access::Im2col { channels, pixels, .. } => channels * pixels,
        };
        elements * self.data_type.bytes()
    }

    /// The runs of a tiled copy whose box begins at these coordinates (innermost first) and, in shared memory, at this address.
    pub fn tiled(&self, coordinates: &[i32], shared: u32, mut run: impl FnMut(Run)) -> Result<(), TensorCopyError> {
        let Access::Tiled { .. } = self.access else { return Err(TensorCopyError::Mode("tiled")) };
        self.check(coordinates, shared)?;
        let tile = self.tile();
        self.check_inner(tile[0])?;
        let start = padded(coordinates);
        let rows: u32 = tile[1..].iter().product();
        for row in 0..rows {
            let mut position = start.map(i64::from);
            let mut rest = row;
            for i in 1..MAX_RANK {
                position[i] += i64::from(rest % tile[i] * self.element_strides[i]);
                rest /= tile[i];
            }
            self.row(&position, tile[0], shared, row, &mut run);
        }
        Ok(())
    }

    /// The runs of an im2col copy: coordinates are C, the filter's base in W, H and D, and N; offsets those of the instruction, W first.
    ///
    /// The base goes through the bounding box, from the lower corner to the tensor's size plus the upper corner, in steps of
    /// `elementStrides`, W first, and from one image to the next; the pixel that is copied lies at the base plus the offsets.
    pub fn im2col(
        &self,
        coordinates: &[i32],
        offsets: &[u32],
        shared: u32,
        mut run: impl FnMut(Run),
    ) -> Result<(), TensorCopyError> {
        let Access::Im2col { lower, upper, channels, pixels } = self.access else {
            return Err(TensorCopyError::Mode("im2col"));
        };
        self.check(coordinates, shared)?;
        self.check_inner(channels)?;
        self.check_offsets(offsets)?;
        let spatial = self.rank - 2;
        let mut base = padded(coordinates).map(i64::from);
        // The box in W, H and D: the first coordinate, and the one behind the last.
        let bounds: Vec<(i64, i64)> =
            (0..spatial).map(|i| (i64::from(lower[i]), self.global_dims[i + 1] as i64 + i64::from(upper[i]))).collect();
        for (i, &(low, end)) in bounds.iter().enumerate() {
            if !(low..end).contains(&base[i + 1]) {
                let (dimension, coordinate) = (i + 1, coordinates[i + 1]);
                return Err(TensorCopyError::OutsideOfBox { dimension, coordinate, low, high: end - 1 });
            }
        }
        for pixel in 0..pixels {
            let mut position = base;
            for i in 0..spatial {
                position[i + 1] += i64::from(offsets[i]);
            }
            self.row(&position, channels, shared, pixel, &mut run);
            self.advance(&mut base, &bounds);
        }
        Ok(())
    }

    /// The next base in the bounding boxes of the images.
    fn advance(&self, base: &mut [i64; MAX_RANK], bounds: &[(i64, i64)]) {
        for (i, &(low, end)) in bounds.iter().enumerate() {
            base[i + 1] += i64::from(self.element_strides[i + 1]);
            if base[i + 1] < end {
                return;
            }
            base[i + 1] = low;
        }
        base[self.rank - 1] += 1;
    }

    /// Elements of a tiled copy in each dimension.
    fn tile(&self) -> [u32; MAX_RANK] {
        let Access::Tiled { box_dims } = self.access else { return [1; MAX_RANK] };
        let mut tile = [1; MAX_RANK];
        // The step along the innermost dimension is ignored without interleaving.
        tile[0] = box_dims[0];
        for i in 1..self.rank {
            tile[i] = box_dims[i].div_ceil(self.element_strides[i]);
        }
        tile
    }

    /// `count` elements along the innermost dimension from this position on: the `index`-th row of the copy.
    fn row(&self, position: &[i64; MAX_RANK], count: u32, shared: u32, index: u32, run: &mut impl FnMut(Run)) {
        let size = i64::from(self.data_type.bytes());
        let inside = |i: usize| (0..self.global_dims[i] as i64).contains(&position[i]);
        let first = position[0];
        // The elements from `begin` to `end` of the row lie in the tensor.
        let (begin, end) = if (1..self.rank).all(inside) {
            let clamp = |element: i64| element.clamp(0, i64::from(count));
            (clamp(-first), clamp(self.global_dims[0] as i64 - first))
        } else {
            (0, 0)
        };
        // Wrapping, since a position outside of the tensor can be anywhere; its address is not used.
        let outer = (1..self.rank).fold(self.global_address, |address, i| {
            address.wrapping_add((position[i] as u64).wrapping_mul(self.global_strides[i - 1]))
        });
        let row = shared + index * count * size as u32;
        let mut part = |from: i64, to: i64, data: bool| {
            let address = outer.wrapping_add(((first + from) * size) as u64);
            self.split(row + (from * size) as u32, data.then_some(address), ((to - from).max(0) * size) as u32, run);
        };
        part(0, begin, false);
        part(begin, end, true);
        part(end.max(begin), i64::from(count), false);
    }

    /// Bytes that are contiguous but for the swizzle.
    fn split(&self, shared: u32, global: Option<u64>, bytes: u32, run: &mut impl FnMut(Run)) {
        let mut done = 0;
        while done < bytes {
            let address = shared + done;
            let atom = self.swizzle.atom();
            let length = (bytes - done).min(if atom == u32::MAX { bytes } else { atom - address % atom });
            let global = global.map(|global| global + u64::from(done));
            run(Run { shared: swizzle(self.swizzle, address), global, bytes: length });
            done += length;
        }
    }

    fn check(&self, coordinates: &[i32], shared: u32) -> Result<(), TensorCopyError> {
        if coordinates.len() != self.rank {
            return Err(TensorCopyError::Rank { instruction: coordinates.len(), map: self.rank });
        }
        if !shared.is_multiple_of(128) {
            return Err(TensorCopyError::Misaligned(shared));
        }
        if self.interleave != Interleave::None {
            return Err(TensorCopyError::Unknown(format!("interleave {:?}", self.interleave)));
        }
        if self.converts() {
            let what = format!("elements of type {:?}, which are converted on their way", self.data_type);
            return Err(TensorCopyError::Unknown(format!("{what} (use {:?})", DataType::F32)));
        }
        Ok(())
    }

    /// Refuses rows that are shorter than the swizzle's span: their layout is not documented, but the driver takes such maps.
    fn check_inner(&self, count: u32) -> Result<(), TensorCopyError> {
        let (inner, span) = (count * self.data_type.bytes(), self.swizzle.span());
        if span != 0 && inner != span {
            return Err(TensorCopyError::Unknown(format!("rows of {inner} bytes and a swizzle of {span}")));
        }
        Ok(())
    }

    fn check_offsets(&self, offsets: &[u32]) -> Result<(), TensorCopyError> {
        let spatial = self.rank - 2;
        if offsets.len() != spatial {
            return Err(TensorCopyError::Rank { instruction: offsets.len() + 2, map: self.rank });
        }
        let highest = [0xFFFF, 0xFF, 0x1F][spatial - 1];
        match offsets.iter().position(|&offset| offset > highest) {
            Some(i) => Err(TensorCopyError::Offset { dimension: i + 1, offset: offsets[i], highest }),
            None => Ok(()),
        }
    }
}

fn padded(coordinates: &[i32]) -> [i32; MAX_RANK] {
    let mut padded = [0; MAX_RANK];
    padded[..coordinates.len()].copy_from_slice(coordinates);
    padded
}
