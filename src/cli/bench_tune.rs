//! `bench --tune`: for each matrix product what the table chooses and what is the fastest on the GPU at hand.

use std::time::Duration;

use half::bf16;

use super::output;
use crate::bench::measure::chosen;
use crate::bench::tune::{Timed, Tuned, tune};
use crate::device::kernels::TileSize;
use crate::device::{Accelerator, Backend, Precision, Real, Storage, cuda};
use crate::error::{Error, Result};

/// The options of `bench --tune`.
pub(super) struct TuneOptions {
    /// JSON lines instead of a table.
    pub(super) json: bool,
    /// Only passes whose operation, size or name contains this text.
    pub(super) filter: Option<String>,
    /// Time to spend on each pass and plan.
    pub(super) budget: Duration,
}

/// Tries and prints, on this GPU; f64 where there is no precision of training.
pub(super) fn run(gpu: Option<usize>, dtype: Option<Precision>, options: &TuneOptions) -> Result<()> {
    let Some(number) = gpu else {
        return Err(Error::Usage(
            "bench --tune tries the kernels of matrix products on a GPU, and there is none; without one, \
             `vgan-cuda bench --plan PRESET` predicts"
                .into(),
        ));
    };
    match dtype {
        Some(Precision::F32) => on_gpu(&Accelerator::<f32>::new(cuda::open(number)?), options),
        Some(Precision::Tf32) => on_gpu(&Accelerator::<f32>::in_tf32(cuda::open(number)?), options),
        Some(Precision::Bf16) => on_gpu(&Accelerator::<f32, bf16>::new(cuda::open(number)?), options),
        None => on_gpu(&Accelerator::<f64>::new(cuda::open(number)?), options),
    }
}

fn on_gpu<T: Real, S: Storage<T>>(backend: &Accelerator<T, S>, options: &TuneOptions) -> Result<()> {
    if !options.json {
        output::print(&heading(&backend.describe()))?;
    }
    let mut sums = [0.0; 2];
    for (pass, _) in chosen(options.filter.as_deref())? {
        let Some(tuned) = tune(backend, &pass, options.budget)? else { continue };
        [sums[0], sums[1]] = [sums[0] + tuned.chosen.seconds, sums[1] + tuned.best.seconds];
        let line = Line::new(pass.op, &pass.shape, pass.pass, &tuned);
        output::print(&if options.json { output::json(&line)? } else { line.table() })?;
    }
    if options.json { Ok(()) } else { output::print(&total(sums)) }
}

fn heading(device: &str) -> String {
    format!(
        "device   {device}\n\n{:<17} {:<45} {:<15} {:>15} {:>11} {:>15} {:>11} {:>7}\n",
        "op", "size", "pass", "by the table", "µs", "the fastest", "µs", "faster"
    )
}

/// All products once each.
fn total([chosen, best]: [f64; 2]) -> String {
    if best <= 0.0 {
        return "no product with a choice\n".into();
    }
    format!(
        "all once: {:.1} µs by the table, {:.1} µs by the fastest, {:.2} times as fast\n",
        chosen * 1e6,
        best * 1e6,
        chosen / best
    )
}

/// A row of the table.
#[derive(Debug, serde::Serialize)]
struct Line<'a> {
    op: &'a str,
    size: &'a str,
    pass: &'a str,
    table_tile: &'static str,
    table_parts: usize,
    table_microseconds: f64,
    fastest_tile: &'static str,
    fastest_parts: usize,
    fastest_microseconds: f64,
}

fn word(tile: TileSize) -> &'static str {
    match tile {
        TileSize::Narrow => "narrow",
        TileSize::Wide => "wide",
    }
}

impl<'a> Line<'a> {
    fn new(op: &'a str, size: &'a str, pass: &'a str, tuned: &Tuned) -> Self {
        let Tuned { chosen, best } = tuned;
        let figures = |timed: &Timed| (word(timed.plan.tile), timed.plan.parts, timed.seconds * 1e6);
        let ((table_tile, table_parts, table_microseconds), (fastest_tile, fastest_parts, fastest_microseconds)) =
            (figures(chosen), figures(best));
        Line {
            op,
            size,
            pass,
            table_tile,
            table_parts,
            table_microseconds,
            fastest_tile,
            fastest_parts,
            fastest_microseconds,
        }
    }

    fn table(&self) -> String {
        let plan = |tile: &str, parts: usize| if parts == 1 { tile.into() } else { format!("{tile}, {parts} parts") };
        format!(
            "{:<17} {:<45} {:<15} {:>15} {:>11.1} {:>15} {:>11.1} {:>6.2}x\n",
            self.op,
            self.size,
            self.pass,
            plan(self.table_tile, self.table_parts),
            self.table_microseconds,
            plan(self.fastest_tile, self.fastest_parts),
            self.fastest_microseconds,
            self.table_microseconds / self.fastest_microseconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::trial::Plan;

    #[test]
    fn rows_and_their_sum() {
        let timed = |tile, parts, seconds| Timed { plan: Plan { tile, parts }, seconds };
        let tuned = Tuned { chosen: timed(TileSize::Narrow, 1, 3e-5), best: timed(TileSize::Wide, 12, 2e-5) };
        let line = Line::new("linear", "n64 c1024 k6272", "forward", &tuned);
        let (row, heading) = (line.table(), heading("a GPU"));
        assert_eq!(row.trim_end().chars().count(), heading.lines().last().map_or(0, |line| line.chars().count()));
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        let expected = ["linear", "n64 c1024 k6272", "forward", "narrow", "30.0", "wide, 12 parts", "20.0", "1.50x"];
        assert_eq!(cells, expected);
        assert_eq!(total([3e-5, 2e-5]), "all once: 30.0 µs by the table, 20.0 µs by the fastest, 1.50 times as fast\n");
        assert_eq!(total([0.0, 0.0]), "no product with a choice\n");
    }
}
