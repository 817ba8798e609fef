//! Swizzles against the tables of §5.5.7, typed in: each row is a line of 128 bytes as it lies in shared memory, and each number the
//! 16-byte chunk of the line that lies there.

use ptx_machine::tensor::swizzle::{Swizzle, swizzle, swizzle_from};

pub(crate) const BYTES_32: [[u32; 8]; 2] = [[0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6]];
pub(crate) const BYTES_64: [[u32; 8]; 4] =
    [[0, 1, 2, 3, 4, 5, 6, 7], [1, 0, 3, 2, 5, 4, 7, 6], [2, 3, 0, 1, 6, 7, 4, 5], [3, 2, 1, 0, 7, 6, 5, 4]];
pub(crate) const BYTES_128: [[u32; 8]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7],
    [1, 0, 3, 2, 5, 4, 7, 6],
    [2, 3, 0, 1, 6, 7, 4, 5],
    [3, 2, 1, 0, 7, 6, 5, 4],
    [4, 5, 6, 7, 0, 1, 2, 3],
    [5, 4, 7, 6, 1, 0, 3, 2],
    [6, 7, 4, 5, 2, 3, 0, 1],
    [7, 6, 5, 4, 3, 2, 1, 0],
];
const ATOM_32: [[u32; 8]; 4] =
    [[0, 1, 2, 3, 4, 5, 6, 7], [2, 3, 0, 1, 6, 7, 4, 5], [4, 5, 6, 7, 0, 1, 2, 3], [6, 7, 4, 5, 2, 3, 0, 1]];
const ATOM_64: [[u32; 8]; 2] = [[0, 1, 2, 3, 4, 5, 6, 7], [4, 5, 6, 7, 0, 1, 2, 3]];

/// The address to which a table moves the byte that would lie at `address`: the place in its line where its chunk's number stands.
pub(crate) fn by_table(table: &[[u32; 8]], address: u32) -> u32 {
    let line = &table[(address / 128) as usize % table.len()];
    let chunk = address / 16 % 8;
    let place = line.iter().position(|&number| number == chunk).unwrap() as u32;
    address / 128 * 128 + place * 16 + address % 16
}

#[test]
fn chunks_lie_where_the_tables_have_them() {
    let tables: [(Swizzle, &[[u32; 8]]); 5] = [
        (Swizzle::Bytes32, &BYTES_32),
        (Swizzle::Bytes64, &BYTES_64),
        (Swizzle::Bytes128, &BYTES_128),
        (Swizzle::Bytes128Atom32, &ATOM_32),
        (Swizzle::Bytes128Atom64, &ATOM_64),
    ];
    for (mode, table) in tables {
        for address in (0..8192).map(|address| address + 3 * 1024) {
            assert_eq!(swizzle(mode, address), by_table(table, address), "{mode:?} {address}");
            assert_eq!(swizzle(mode, swizzle(mode, address)), address);
        }
    }
    assert!((0..8192).all(|address| swizzle(Swizzle::None, address) == address));
}

/// With a base offset of 3 the pattern's first line is line 3 of memory, 11, and so on.
#[test]
fn a_base_offset_moves_the_pattern() {
    for address in 384..4096 {
        let moved = by_table(&BYTES_128, address - 384) + 384;
        assert_eq!(swizzle_from(Swizzle::Bytes128, address, 3), moved, "{address}");
    }
}
