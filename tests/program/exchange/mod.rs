//! Weights that come in and go out: `train --init`, `import`, `export`, and arrays and archives of `generate`.

mod graph;
mod onnx;
mod samples;
mod start;
mod targets;
