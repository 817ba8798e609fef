//! Strided matrices over slices, and their split into disjoint parts that threads may write at once.

use std::any::TypeId;
use std::marker::PhantomData;

use super::{Element, Real, Storage};

/// A matrix to read: element (i, j) stands at `i * row_stride + j * col_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    pub(super) data: &'a [T],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    pub(super) row_stride: usize,
    pub(super) col_stride: usize,
}

impl<'a, T> Matrix<'a, T> {
    /// A row-major matrix with rows `row_stride` elements apart.
    ///
    /// # Panics
    /// If `data` is too short: a mistake of this program's.
    pub fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert_inside(data.len(), rows, cols, row_stride, 1);
        Matrix { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// A row-major matrix without gaps.
    pub fn dense(data: &'a [T], rows: usize, cols: usize) -> Self {
        Matrix::new(data, rows, cols, cols)
    }

    /// The transpose, without moving anything.
    pub fn transposed(self) -> Self {
        Matrix {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }

    /// Columns `from .. from + cols`; they must be there.
    pub fn columns(self, from: usize, cols: usize) -> Self {
        assert!(from + cols <= self.cols);
        let start = (from * self.col_stride).min(self.data.len());
        Matrix { data: &self.data[start..], cols, ..self }
    }

    /// Rows `from .. from + rows`; they must be there.
    pub fn rows(self, from: usize, rows: usize) -> Self {
        self.transposed().columns(from, rows).transposed()
    }
}

impl<'a, T: Element> Matrix<'a, T> {
    /// The matrix itself, if its elements are of this type.
    pub(super) fn cast<E: Element>(self) -> Option<Matrix<'a, E>> {
        let Matrix { data, rows, cols, row_stride, col_stride } = self;
        let data = (TypeId::of::<T>() == TypeId::of::<E>()).then(|| bytemuck::cast_slice(data))?;
        Some(Matrix { data, rows, cols, row_stride, col_stride })
    }

    /// A matrix of these elements, which lie without gaps in the order of this one's.
    pub(super) fn like<E>(&self, data: &'a [E]) -> Matrix<'a, E> {
        match self.col_stride {
            1 => Matrix::dense(data, self.rows, self.cols),
            _ => Matrix::dense(data, self.cols, self.rows).transposed(),
        }
    }
}

/// The initial value of a product's sums.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a, T> {
    /// Zeros.
    Zero,
    /// The content of the target.
    Target,
    /// A number for each column.
    Bias(&'a [T]),
}

impl<T: Real> Start<'_, T> {
    /// Writes what the sums of a row begin with, whose target is another type's; with [`Start::Zero`] they stay as they are.
    pub(super) fn begin<Y: Storage<T>>(&self, sums: &mut [T], target: &[Y]) {
        match self {
            Start::Zero => {}
            Start::Target => sums.iter_mut().zip(target).for_each(|(sum, y)| *sum = y.real()),
            Start::Bias(bias) => sums.copy_from_slice(bias),
        }
    }
}

/// A row-major matrix to write, with rows `row_stride` elements apart. Parts of one matrix are disjoint.
#[derive(Debug)]
pub struct MatrixMut<'a, T> {
    pub(super) pointer: *mut T,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    pub(super) row_stride: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: a MatrixMut is a `&mut [T]` with holes: parts are disjoint by construction, so it may move between threads
// wherever T may.
#[expect(unsafe_code)]
unsafe impl<T: Send> Send for MatrixMut<'_, T> {}

impl<T: Element> MatrixMut<'_, T> {
    /// The matrix itself, if its elements are of this type.
    pub(super) fn cast<E: Element>(&mut self) -> Option<MatrixMut<'_, E>> {
        let MatrixMut { pointer, rows, cols, row_stride, .. } = *self;
        let same = TypeId::of::<T>() == TypeId::of::<E>();
        same.then(|| MatrixMut { pointer: pointer.cast(), rows, cols, row_stride, owner: PhantomData })
    }
}

impl<'a, T> MatrixMut<'a, T> {
    /// A row-major matrix with rows `row_stride ≥ cols` elements apart.
    ///
    /// # Panics
    /// If `data` is too short or rows overlap: a mistake of this program's.
    pub fn new(data: &'a mut [T], rows: usize, cols: usize, row_stride: usize) -> Self {
        assert!(cols <= row_stride || rows <= 1, "rows would overlap: {cols} columns, {row_stride} apart");
        assert_inside(data.len(), rows, cols, row_stride, 1);
        MatrixMut { pointer: data.as_mut_ptr(), rows, cols, row_stride, owner: PhantomData }
    }

    /// A row-major matrix without gaps.
    pub fn dense(data: &'a mut [T], rows: usize, cols: usize) -> Self {
        MatrixMut::new(data, rows, cols, cols)
    }

    /// One row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows);
        // SAFETY: the constructor checked that every row lies inside the slice; this part alone may write its columns.
        #[expect(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.pointer.add(row * self.row_stride), self.cols)
        }
    }

    /// The first `at` columns and the rest.
    pub fn split_columns(self, at: usize) -> (Self, Self) {
        assert!(at <= self.cols);
        let step = if self.rows == 0 { 0 } else { at };
        // SAFETY: `at ≤ cols`, so the pointer stays within (or one past the end of) the same slice.
        #[expect(unsafe_code)]
        let right = unsafe { self.pointer.add(step) };
        let left = MatrixMut { cols: at, ..self };
        let right = MatrixMut {
            pointer: right,
            rows: self.rows,
            cols: self.cols - at,
            row_stride: self.row_stride,
            owner: PhantomData,
        };
        (left, right)
    }

    /// The first `at` rows and the rest.
    pub fn split_rows(self, at: usize) -> (Self, Self) {
        assert!(at <= self.rows);
        let below = if at == self.rows { 0 } else { at * self.row_stride };
        // SAFETY: row `at` exists where the pointer moves; an empty rest keeps the old pointer and is never read.
        #[expect(unsafe_code)]
        let pointer = unsafe { self.pointer.add(below) };
        let rest = MatrixMut {
            pointer,
            rows: self.rows - at,
            cols: self.cols,
            row_stride: self.row_stride,
            owner: PhantomData,
        };
        (MatrixMut { rows: at, ..self }, rest)
    }
}

fn assert_inside(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) {
    if rows > 0 && cols > 0 {
        let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
        assert!(
            last < len,
            "a {rows}×{cols} matrix with rows {row_stride} apart needs {} elements, got {len}",
            last + 1
        );
    }
}

/// Calls `work(first row, first column, part)` for every block of `target`, `rows × cols` each (fewer at the edges), on
/// the current thread pool. The blocks do not depend on the number of threads.
pub fn for_each_block<T: Send>(
    target: MatrixMut<'_, T>,
    rows: usize,
    cols: usize,
    work: &(impl Fn(usize, usize, MatrixMut<'_, T>) + Sync),
) {
    blocks_from(target, (0, 0), (rows.max(1), cols.max(1)), work);
}

fn blocks_from<T: Send>(
    target: MatrixMut<'_, T>,
    (row, col): (usize, usize),
    size: (usize, usize),
    work: &(dyn Fn(usize, usize, MatrixMut<'_, T>) + Sync),
) {
    if target.rows > size.0 {
        let at = target.rows.div_ceil(size.0) / 2 * size.0;
        let (top, bottom) = target.split_rows(at);
        rayon::join(|| blocks_from(top, (row, col), size, work), || blocks_from(bottom, (row + at, col), size, work));
    } else if target.cols > size.1 {
        let at = target.cols.div_ceil(size.1) / 2 * size.1;
        let (left, right) = target.split_columns(at);
        rayon::join(|| blocks_from(left, (row, col), size, work), || blocks_from(right, (row, col + at), size, work));
    } else if target.rows > 0 && target.cols > 0 {
        work(row, col, target);
    }
}
