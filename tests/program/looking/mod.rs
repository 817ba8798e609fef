//! Looking at runs: reports, the live page, events for TensorBoard, moving pictures.

mod events;
mod html;
mod moving;
mod report;
mod report_odd;
mod serve;
