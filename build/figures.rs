//! The kernels' struct of a step's figures, written from src/figures.rs, where each figure is declared once.

use std::fmt::Write as _;

/// The header's name; device.cuh includes it.
pub(crate) const HEADER: &str = "figures.h";

/// The text of the header: `struct Metrics` with a double for each `name: f64 {` and `name: Option<f64> {` of `figures!`.
pub(crate) fn header(declarations: &str) -> String {
    let names: Vec<&str> = declarations.lines().filter_map(declared).collect();
    assert!(!names.is_empty(), "src/figures.rs: no line `name: f64 {{` declares a figure");
    let mut text =
        String::from("// Written by build.rs from src/figures.rs.\n#pragma once\n\nstruct Metrics {\n    double ");
    writeln!(text, "{};\n}};", names.join(", ")).expect("a string takes all");
    text
}

fn declared(line: &str) -> Option<&str> {
    let (name, rest) = line.trim_start().split_once(": ")?;
    let is_name = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    (is_name && (rest.starts_with("f64 {") || rest.starts_with("Option<f64> {"))).then_some(name)
}
