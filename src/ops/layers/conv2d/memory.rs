//! The memory of a convolution by a unit for products, which threads keep from one to the next.

use std::cell::RefCell;

use crate::device::tiles::Packed;
use crate::device::words::Words;

/// Tables and filters of the operation under way, which its tasks share.
#[derive(Default)]
pub(super) struct Operation {
    pub(super) filters: Vec<Packed>,
    pub(super) read: Vec<Option<u32>>,
    pub(super) written: Vec<Option<u32>>,
    pub(super) steps: Vec<[usize; 2]>,
    pub(super) partial: Vec<f32>,
}

/// A thread's own memory: its images on the grid, and what else it packs.
#[derive(Default)]
pub(super) struct Task {
    pub(super) words: [Words; 2],
    pub(super) packed: Packed,
    pub(super) pixels: Vec<Option<u32>>,
    pub(super) rows: [Vec<u32>; 2],
}

/// Lends the thread that runs an operation its memory.
pub(super) fn with_operation<R>(work: impl FnOnce(&mut Operation) -> R) -> R {
    thread_local! {
        static OPERATION: RefCell<Operation> = RefCell::default();
    }
    OPERATION.with_borrow_mut(work)
}

pub(super) fn with_task<R>(work: impl FnOnce(&mut Task) -> R) -> R {
    thread_local! {
        static TASK: RefCell<Task> = RefCell::default();
    }
    TASK.with_borrow_mut(work)
}
