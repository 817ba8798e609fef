//! `ldmatrix` and `stmatrix` (§9.7.15.5.15 and §9.7.15.5.16): 8×8 matrices of 16-bit elements between rows in shared memory and a
//! warp's registers.
//!
//! A matrix has eight rows of 16 bytes. Lane `8 * i + j` gives the address of row `j` of matrix `i`; for `.x1` and `.x2` the addresses
//! of the other lanes are not used. A register holds one matrix over the whole warp:
//!
//! ```text
//!            without .trans                        with .trans
//!  lane l    row l / 4, columns 2 (l % 4), +1      rows 2 (l % 4), +1, column l / 4
//! ```

use std::ops::Range;

/// Bytes of a row.
pub const ROW_BYTES: usize = 16;
/// Rows of a matrix.
pub const ROWS: usize = 8;

/// A row of eight elements, as it lies in shared memory.
pub type Row = [u8; ROW_BYTES];

/// The lanes whose addresses are used for `.x1`, `.x2` or `.x4`, in the order of the rows. Each is a multiple of [`ROW_BYTES`].
pub fn address_lanes(matrices: usize) -> Range<usize> {
    0..ROWS * matrices
}

/// `ldmatrix`: `rows` are those at the addresses of [`address_lanes`], `d` the registers, one for each matrix.
///
/// # Panics
/// When the number of rows is not eight times that of the registers.
pub fn load(transposed: bool, rows: &[Row], d: &mut [[u32; 32]]) {
    assert_eq!(rows.len(), ROWS * d.len(), "ldmatrix: eight rows for each register");
    for (rows, register) in rows.chunks_exact(ROWS).zip(d) {
        for (lane, value) in register.iter_mut().enumerate() {
            let (group, thread) = (lane / 4, lane % 4);
            let [low, high] = if transposed {
                [(2 * thread, group), (2 * thread + 1, group)]
            } else {
                [(group, 2 * thread), (group, 2 * thread + 1)]
            };
            *value = u32::from(element(rows, low)) | u32::from(element(rows, high)) << 16;
        }
    }
}

/// `stmatrix`: the rows for the addresses of [`address_lanes`], from the registers, one for each matrix.
///
/// # Panics
/// When the number of rows is not eight times that of the registers.
pub fn store(transposed: bool, a: &[[u32; 32]], rows: &mut [Row]) {
    assert_eq!(rows.len(), ROWS * a.len(), "stmatrix: eight rows for each register");
    for (rows, register) in rows.chunks_exact_mut(ROWS).zip(a) {
        for (lane, value) in register.iter().enumerate() {
            let (group, thread) = (lane / 4, lane % 4);
            for (half, bits) in [*value as u16, (*value >> 16) as u16].into_iter().enumerate() {
                let (row, column) = if transposed { (2 * thread + half, group) } else { (group, 2 * thread + half) };
                rows[row][2 * column..2 * column + 2].copy_from_slice(&bits.to_le_bytes());
            }
        }
    }
}

fn element(rows: &[Row], (row, column): (usize, usize)) -> u16 {
    u16::from_le_bytes([rows[row][2 * column], rows[row][2 * column + 1]])
}
