//! `ldmatrix` and `stmatrix` against the tables of §9.7.15.5.15.

use ptx_machine::tensor::matrix::{Row, address_lanes, load, store};

/// Element (row, column) of matrix m is 100 m + 10 row + column, so that a value says where it comes from.
fn rows(matrices: usize) -> Vec<Row> {
    let row = |index: usize| {
        let mut row = [0; 16];
        for column in 0..8 {
            let value = (100 * (index / 8) + 10 * (index % 8) + column) as u16;
            row[2 * column..2 * column + 2].copy_from_slice(&value.to_le_bytes());
        }
        row
    };
    (0..8 * matrices).map(row).collect()
}

/// The figure of ldmatrix: threads 0 to 3 hold row 0, threads 4 to 7 row 1, …; each holds two neighbours of a row.
#[test]
fn a_row_lies_in_four_lanes() {
    let mut d = [[0; 32]; 4];
    load(false, &rows(4), &mut d);
    assert_eq!(d[0][..5], [0x0001_0000, 0x0003_0002, 0x0005_0004, 0x0007_0006, 11 << 16 | 10]);
    assert_eq!(d[0][31], 77 << 16 | 76);
    assert_eq!(d[1][0], 101 << 16 | 100);
    assert_eq!(d[3][13], 333 << 16 | 332);
}

/// With `.trans`, threads 0 to 3 hold column 0, and each two neighbours of a column.
#[test]
fn with_trans_a_column_lies_in_four_lanes() {
    let mut d = [[0; 32]; 2];
    load(true, &rows(2), &mut d);
    assert_eq!(d[0][..5], [10 << 16, 30 << 16 | 20, 50 << 16 | 40, 70 << 16 | 60, 11 << 16 | 1]);
    assert_eq!(d[1][31], 177 << 16 | 167);
}

#[test]
fn addresses_come_from_the_first_lanes() {
    assert_eq!([1, 2, 4].map(address_lanes), [0..8, 0..16, 0..32]);
}

/// A store is the inverse of a load, with and without `.trans`; with the one and without the other it transposes each matrix.
#[test]
fn a_store_undoes_a_load_and_mixed_they_transpose() {
    let source = rows(4);
    for (load_transposed, store_transposed) in [(false, false), (true, true), (true, false), (false, true)] {
        let mut registers = [[0; 32]; 4];
        load(load_transposed, &source, &mut registers);
        let mut stored = vec![[0xFF; 16]; 32];
        store(store_transposed, &registers, &mut stored);
        let element = |rows: &[Row], m: usize, i: usize, j: usize| {
            u16::from_le_bytes([rows[8 * m + i][2 * j], rows[8 * m + i][2 * j + 1]])
        };
        for (m, i, j) in (0..256).map(|n| (n / 64, n / 8 % 8, n % 8)) {
            let (from_i, from_j) = if load_transposed == store_transposed { (i, j) } else { (j, i) };
            assert_eq!(element(&stored, m, i, j), element(&source, m, from_i, from_j));
        }
    }
}
