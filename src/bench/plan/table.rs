//! A plan as text and as JSON lines.

use std::fmt::Write as _;

use serde::Serialize;

use super::device::COUNTED_BLOCKS;
use super::work::{CLASSES, Work};
use super::{Node, Plan, Sum, fidelity};
use crate::{Error, Result};

/// A count in three or four figures: `999`, `12.3k`, `4.56M`.
pub(super) fn short(count: u64) -> String {
    let value = count as f64;
    let (divisor, letter) = match count {
        0..1_000 => return count.to_string(),
        1_000..1_000_000 => (1e3, "k"),
        1_000_000..1_000_000_000 => (1e6, "M"),
        _ => (1e9, "G"),
    };
    let scaled = value / divisor;
    let places = if scaled < 10.0 { 2 } else { usize::from(scaled < 100.0) };
    format!("{scaled:.places$}{letter}")
}

fn size([x, y, z]: [u32; 3]) -> String {
    match (y, z) {
        (1, 1) => x.to_string(),
        (_, 1) => format!("{x}x{y}"),
        _ => format!("{x}x{y}x{z}"),
    }
}

pub(super) fn microseconds(seconds: f64) -> String {
    format!("{:.1}", seconds * 1e6)
}

/// The counted columns.
fn counted(work: &Work) -> String {
    let mut text = format!("{:>7}", short(work.instructions()));
    for class in work.classes {
        write!(text, " {:>7}", short(class)).expect("a string takes all");
    }
    let [sectors, passes, conflicts] = [work.sectors, work.shared_passes, work.conflict_passes].map(short);
    write!(text, " {sectors:>8} {passes:>7} {conflicts:>9}").expect("a string takes all");
    text
}

fn counted_heading() -> String {
    let classes: String = CLASSES.map(|class| format!(" {class:>7}")).concat();
    format!("{:>7}{classes} {:>8} {:>7} {:>9}", "warp", "sectors", "passes", "conflicts")
}

fn row(node: &Node) -> String {
    let kernel = node.resources.map(|found| (found.registers.to_string(), found.shared.to_string()));
    let (registers, shared) = kernel.unwrap_or_else(|| ("-".into(), "-".into()));
    let launch = if node.grid == [0; 3] { "-".into() } else { format!("{} * {}", size(node.grid), size(node.block)) };
    format!(
        "{:<38} {launch:>16} {:>7} {:>7} {} {registers:>4} {shared:>6} {:>4} {:>9} {:>9}  {}\n",
        node.name,
        short(node.flops),
        short(node.bytes),
        counted(&node.work),
        node.at_once,
        microseconds(node.predicted.seconds),
        microseconds(node.floor),
        node.predicted.by,
    )
}

fn sum_row(name: &str, sum: &Sum) -> String {
    format!(
        "{name:<38} {:>6} {:>7} {:>7} {} {:>9} {:>9}\n",
        sum.nodes,
        short(sum.flops),
        short(sum.bytes),
        counted(&sum.work),
        microseconds(sum.seconds),
        microseconds(sum.floor),
    )
}

impl Plan {
    /// The whole table for people.
    pub fn text(&self) -> String {
        let mut text = self.heading();
        writeln!(
            text,
            "{:<38} {:>16} {:>7} {:>7} {} {:>4} {:>6} {:>4} {:>9} {:>9}  by",
            "launch",
            "grid * block",
            "FLOP",
            "bytes",
            counted_heading(),
            "regs",
            "shared",
            "/SM",
            "pred. µs",
            "floor µs"
        )
        .expect("a string takes all");
        self.nodes.iter().for_each(|node| text += &row(node));
        let heading = counted_heading();
        writeln!(
            text,
            "\n{:<38} {:>6} {:>7} {:>7} {heading} {:>9} {:>9}",
            "kernel", "nodes", "FLOP", "bytes", "pred. µs", "floor µs"
        )
        .expect("a string takes all");
        self.by_kernel().iter().for_each(|(name, sum)| text += &sum_row(name, sum));
        text += &sum_row("the step", &self.total());
        text + &self.summary()
    }

    fn heading(&self) -> String {
        format!(
            "A prediction for an {}, products in {}; nothing here was measured on a GPU.\n\
             Counted on the PTX machine: warp instructions of PTX by class (SASS has fewer or more), sectors of 32 bytes of global \
             memory\nthat warps ask for, passes of shared memory and those of them that conflicts cost. Of a launch with more than {COUNTED_BLOCKS}\n\
             blocks 32 to 64, evenly spread, were counted, and the counts are scaled.\n\
             FLOP and bytes: what the operation asks for, each operand once. regs, shared: ptxas. /SM: blocks that a \
             multiprocessor\nholds at once. pred.: by the model in docs/performance.md; floor: FLOP and bytes at the data \
             sheet's rates.\n\n",
            self.gpu.name,
            self.precision.word(),
        )
    }

    fn summary(&self) -> String {
        let total = self.total();
        let launches = self.nodes.iter().filter(|node| node.grid != [0; 3]).count();
        format!(
            "\nnodes of the graph      {}: {launches} launches, {} copies and zeroings\n\
             host                    {} graph launched and {} synchronisations a step\n\
             FLOP                    {} by the launches, {} by a dry run; {} and {} on tensor cores counted\n\
             bytes                   {} by the launches, {} by a dry run; {} touched, each once\n\
             predicted               {} µs a step, by the model\n\
             floor of the launches   {} µs: each at its own\n\
             floor of the step       {} µs: all FLOP at the best rate, or every byte that it touches once\n\
             the model's error       {}\n",
            self.nodes.len(),
            self.nodes.len() - launches,
            self.replays,
            self.synchronisations,
            short(total.flops),
            short(self.dry_run.flops),
            short(total.work.float_operations),
            short(total.work.tensor_operations),
            short(total.bytes),
            short(self.dry_run.moved),
            short(self.touched),
            microseconds(total.seconds),
            microseconds(total.floor),
            microseconds(self.floor()),
            fidelity::statement(),
        )
    }

    /// JSON lines: one for each node, then one for the step.
    ///
    /// # Errors
    /// [`Error::Internal`] for what JSON can't hold.
    pub fn json(&self) -> Result<String> {
        let mut text = String::new();
        for node in &self.nodes {
            text += &line(&JsonNode::new(node))?;
        }
        let total = self.total();
        text += &line(&JsonStep {
            step: "predicted",
            gpu: self.gpu.name,
            dtype: self.precision.word(),
            nodes: self.nodes.len(),
            replays: self.replays,
            synchronisations: self.synchronisations,
            flops: total.flops,
            bytes: total.bytes,
            touched_bytes: self.touched,
            counted: Counted::new(&total.work),
            predicted_microseconds: total.seconds * 1e6,
            floor_of_launches_microseconds: total.floor * 1e6,
            floor_microseconds: self.floor() * 1e6,
            model_error: fidelity::statement(),
        })?;
        Ok(text)
    }
}

pub(super) fn line(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::Internal(format!("JSON: {error}")))?;
    Ok(text + "\n")
}

/// The counts, by name.
#[derive(Serialize)]
struct Counted {
    warp_instructions: u64,
    by_class: serde_json::Map<String, serde_json::Value>,
    #[serde(flatten)]
    work: Work,
}

impl Counted {
    fn new(work: &Work) -> Counted {
        let classes = CLASSES.iter().zip(work.classes).map(|(class, count)| ((*class).into(), count.into()));
        Counted { warp_instructions: work.instructions(), by_class: classes.collect(), work: *work }
    }
}

#[derive(Serialize)]
struct JsonNode {
    launch: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    flops: u64,
    bytes: u64,
    counted: Counted,
    registers: Option<u32>,
    shared: Option<u32>,
    blocks_at_once: u32,
    predicted_microseconds: f64,
    predicted_by: &'static str,
    floor_microseconds: f64,
}

impl JsonNode {
    fn new(node: &Node) -> JsonNode {
        JsonNode {
            launch: node.name,
            grid: node.grid,
            block: node.block,
            flops: node.flops,
            bytes: node.bytes,
            counted: Counted::new(&node.work),
            registers: node.resources.map(|found| found.registers),
            shared: node.resources.map(|found| found.shared),
            blocks_at_once: node.at_once,
            predicted_microseconds: node.predicted.seconds * 1e6,
            predicted_by: node.predicted.by,
            floor_microseconds: node.floor * 1e6,
        }
    }
}

#[derive(Serialize)]
struct JsonStep {
    step: &'static str,
    gpu: &'static str,
    dtype: &'static str,
    nodes: usize,
    replays: u64,
    synchronisations: u64,
    flops: u64,
    bytes: u64,
    touched_bytes: u64,
    counted: Counted,
    predicted_microseconds: f64,
    floor_of_launches_microseconds: f64,
    floor_microseconds: f64,
    model_error: String,
}
