//! Swizzling modes (§5.5.7): how tensor copies and `wgmma` spread the rows of a tile over the banks of shared memory.

/// A mode. `wgmma` has the first four; the others are those of newer devices' tensor maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Swizzle {
    /// Data lies as in global memory.
    None,
    /// 16-byte chunks within 32 bytes.
    Bytes32,
    /// 16-byte chunks within 64 bytes.
    Bytes64,
    /// 16-byte chunks within 128 bytes.
    Bytes128,
    /// 32-byte chunks within 128 bytes.
    Bytes128Atom32,
    /// 64-byte chunks within 128 bytes.
    Bytes128Atom64,
}

impl Swizzle {
    /// The bytes that chunks are exchanged within; 0 without swizzling.
    pub fn span(self) -> u32 {
        match self {
            Swizzle::None => 0,
            Swizzle::Bytes32 => 32,
            Swizzle::Bytes64 => 64,
            Swizzle::Bytes128 | Swizzle::Bytes128Atom32 | Swizzle::Bytes128Atom64 => 128,
        }
    }

    /// The bytes that stay together.
    pub fn atom(self) -> u32 {
        match self {
            Swizzle::None => u32::MAX,
            Swizzle::Bytes32 | Swizzle::Bytes64 | Swizzle::Bytes128 => 16,
            Swizzle::Bytes128Atom32 => 32,
            Swizzle::Bytes128Atom64 => 64,
        }
    }
}

/// The place of the byte that without swizzling would lie at `address` of shared memory.
///
/// Shared memory is seen as lines of 128 bytes, eight chunks of 16 each. In line `l` a chunk goes to the place whose number is its own
/// XOR the lowest bits of `l`: one bit with 32 bytes, two with 64, three with 128. Every line as it lies in memory, chunks numbered
/// as they would lie without swizzling:
///
/// ```text
///            128 bytes          64 bytes           32 bytes
///  line 0    0 1 2 3 4 5 6 7    0 1 2 3 4 5 6 7    0 1 2 3 4 5 6 7
///  line 1    1 0 3 2 5 4 7 6    1 0 3 2 5 4 7 6    1 0 3 2 5 4 7 6
///  line 2    2 3 0 1 6 7 4 5    2 3 0 1 6 7 4 5    as line 0
///  line 3    3 2 1 0 7 6 5 4    3 2 1 0 7 6 5 4    …
///  line 4    4 5 6 7 0 1 2 3    as line 0
///  line 5    5 4 7 6 1 0 3 2    …
///  line 6    6 7 4 5 2 3 0 1
///  line 7    7 6 5 4 3 2 1 0
///
///  address   … 9 8 7 | 6 5 4 | 3 2 1 0
///              line    chunk   byte
/// ```
///
/// With atoms of 32 or 64 bytes, pairs or fours of chunks are exchanged so, by two bits or one of the line. The line is that of the
/// address in shared memory and not of the tile: a tile that begins at no multiple of the pattern (1024 bytes for 128, 512 for 64, 256
/// for 32) begins in the middle of it ("swizzle base offset"). The function is its own inverse.
#[inline]
pub fn swizzle(mode: Swizzle, address: u32) -> u32 {
    swizzle_from(mode, address, 0)
}

/// [`swizzle`] with a pattern that begins `first` lines later, as `wgmma`'s base offset says.
#[inline]
pub fn swizzle_from(mode: Swizzle, address: u32, first: u32) -> u32 {
    let line = (address >> 7).wrapping_sub(first);
    address
        ^ match mode {
            Swizzle::None => 0,
            Swizzle::Bytes32 => (line & 1) << 4,
            Swizzle::Bytes64 => (line & 3) << 4,
            Swizzle::Bytes128 => (line & 7) << 4,
            Swizzle::Bytes128Atom32 => (line & 3) << 5,
            Swizzle::Bytes128Atom64 => (line & 1) << 6,
        }
}
