//! `curves.svg`: losses, β and KL over the steps, in three panels.

use std::ops::Range;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::atomic;
use super::stats::Record;
use crate::error::{Error, Result};

/// Of the whole picture, in pixels.
const SIZE: (u32, u32) = (900, 960);

/// The most points of a line; more could not be told apart.
const MOST_POINTS: usize = 1000;

/// Blue and orange, which the colour-blind can tell apart, and a grey for what is not measured.
const FIRST: RGBColor = RGBColor(31, 119, 180);
const SECOND: RGBColor = RGBColor(230, 110, 20);
const REFERENCE: RGBColor = RGBColor(90, 90, 90);

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A panel's plot, between its axes.
pub(super) type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One line of a panel: what the legend calls it, its colour, and its value in a record.
struct Line {
    label: &'static str,
    colour: RGBColor,
    value: fn(&Record) -> f64,
}

/// One panel.
struct Panel<'a> {
    title: &'a str,
    lines: &'a [Line],
    /// A level to compare with, and what the legend calls it.
    level: Option<(f64, &'a str)>,
}

/// Draws the curves of these records; `target_kl` (I_c) is drawn beside the KL where there is a bottleneck. Values
/// that are not finite are left out. The file appears whole or not at all.
///
/// # Errors
/// [`Error::Io`] where the file can't be written.
pub fn draw(path: &Path, records: &[Record], target_kl: Option<f64>) -> Result<()> {
    atomic::write_file(path, render(records, target_kl)?.as_bytes())
}

/// The text of the SVG that [`draw`] writes.
///
/// # Errors
/// [`Error::Internal`] where the plotting library fails.
pub fn render(records: &[Record], target_kl: Option<f64>) -> Result<String> {
    let losses = [
        Line { label: "discriminator", colour: FIRST, value: |r| r.loss_d },
        Line { label: "generator", colour: SECOND, value: |r| r.loss_g },
    ];
    let beta = [Line { label: "β", colour: FIRST, value: |r| r.beta }];
    let kl = [
        Line { label: "real images", colour: FIRST, value: |r| r.kl_real },
        Line { label: "fake images", colour: SECOND, value: |r| r.kl_fake },
    ];
    let panels = [
        Panel { title: "Loss", lines: &losses, level: None },
        Panel { title: "β (weight of the bottleneck's constraint)", lines: &beta, level: None },
        Panel { title: "KL of the bottleneck (nats)", lines: &kl, level: target_kl.map(|kl| (kl, "target I_c")) },
    ];
    let mut text = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw_panels(&root, &panels, records)
    };
    drawn.map_err(|e| Error::Internal(format!("the curves: {e}")))?;
    Ok(text)
}

pub(super) type Drawn<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

fn draw_panels(root: &Area<'_>, panels: &[Panel<'_>], records: &[Record]) -> Drawn {
    root.fill(&WHITE)?;
    let steps = steps_of(records);
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, panel, records, steps.clone())?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, panel: &Panel<'_>, records: &[Record], steps: Range<f64>) -> Drawn {
    let lines: Vec<Vec<(f64, f64)>> = panel.lines.iter().map(|line| thin(points(records, line.value))).collect();
    let values = lines.iter().flatten().map(|&(_, value)| value).chain(panel.level.map(|(level, _)| level));
    let mut chart = plot(area, steps.clone(), range_of(values))?;
    for (line, points) in panel.lines.iter().zip(lines) {
        // A line needs two points; a single record still has to be seen.
        let dots = if points.len() == 1 { points.clone() } else { Vec::new() };
        chart.draw_series(dots.into_iter().map(|point| Circle::new(point, 3, line.colour.filled())))?;
        chart.draw_series(LineSeries::new(points, line.colour.stroke_width(2)))?;
    }
    if let Some((level, _)) = panel.level.filter(|(level, _)| level.is_finite()) {
        let ends = [(steps.start, level), (steps.end, level)];
        chart.draw_series(DashedLineSeries::new(ends, 6, 4, REFERENCE.stroke_width(2)))?;
    }
    draw_heading(area, panel)
}

/// Draws the axes of a panel over steps, with room above for its heading.
pub(super) fn plot<'a, 'b>(area: &'a Area<'b>, steps: Range<f64>, values: Range<f64>) -> Drawn<Plot<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_top(38)
        .margin_right(24)
        .x_label_area_size(42)
        .y_label_area_size(76)
        .build_cartesian_2d(steps, values)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| tick_label(*y))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .axis_style(BLACK.mix(0.5))
        .draw()?;
    Ok(chart)
}

/// The title on the left and the legend on the right, above the plot, where no line can run behind them.
fn draw_heading(area: &Area<'_>, panel: &Panel<'_>) -> Drawn {
    const STROKE: i32 = 18;
    const ROW: i32 = 24;
    area.draw(&Text::new(panel.title, (88, ROW - 8), ("sans-serif", 19).into_font().color(&BLACK)))?;
    let names = panel.lines.iter().map(|line| (line.label, line.colour));
    let names: Vec<_> = names.chain(panel.level.map(|(_, label)| (label, REFERENCE))).collect();
    let mut right = SIZE.0 as i32 - 24;
    for (label, colour) in names.into_iter().rev() {
        // Without font files the width of a text can only be guessed: 8 pixels a letter leave some room.
        let text = right - 8 * label.chars().count() as i32;
        area.draw(&Text::new(label, (text, ROW - 6), ("sans-serif", 14).into_font().color(&BLACK)))?;
        let stroke = [(text - STROKE - 6, ROW), (text - 6, ROW)];
        area.draw(&PathElement::new(stroke, colour.stroke_width(3)))?;
        right = text - STROKE - 24;
    }
    Ok(())
}

fn points(records: &[Record], value: fn(&Record) -> f64) -> Vec<(f64, f64)> {
    let points = records.iter().map(|record| (record.step as f64, value(record)));
    points.filter(|(_, value)| value.is_finite()).collect()
}

/// At most [`MOST_POINTS`] points: the least and the greatest of each of as many stretches as that allows, so that no
/// peak is lost.
pub(super) fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points;
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let extremes = |points: &[(f64, f64)]| {
        let by_value = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let mut pair = [points.iter().min_by(by_value), points.iter().max_by(by_value)].map(Option::<&_>::copied);
        pair.sort_by(|a, b| a.map(|p| p.0).partial_cmp(&b.map(|p| p.0)).unwrap_or(std::cmp::Ordering::Equal));
        pair
    };
    points.chunks(stretch).flat_map(extremes).flatten().collect()
}

/// The x axis: from 0, so that a resumed or short run is not stretched.
fn steps_of(records: &[Record]) -> Range<f64> {
    0.0..records.iter().map(|record| record.step).max().unwrap_or(0).max(1) as f64
}

/// The y axis: all values with a margin; never empty, whatever the values.
pub(super) fn range_of(values: impl Iterator<Item = f64>) -> Range<f64> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    // The extremes of f64 would overflow inside the plotting library.
    let (low, high) = (low.clamp(-1e100, 1e100), high.clamp(-1e100, 1e100));
    let span = high - low;
    let least = low.abs().max(high.abs()) * 1e-6;
    let margin = if span > least { span * 0.06 } else { low.abs().max(1e-6) * 0.1 };
    // A margin below zero would suggest that what can't be negative might be.
    let bottom = if low >= 0.0 && low < margin { 0.0 } else { low - margin };
    bottom..high + margin
}

/// A number with as many digits as an axis needs.
fn tick_label(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".into()
    } else if !(1e-3..1e5).contains(&size) {
        format!("{value:.1e}")
    } else {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::stats::tests::record;

    /// The number of points of each line in the picture, after a check that every tag is closed by its own name.
    fn lines_of(svg: &str) -> Vec<usize> {
        let mut open = Vec::new();
        let mut lines = Vec::new();
        for part in svg.split('<').skip(1) {
            let (tag, _) = part.split_once('>').expect("a tag that ends");
            let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "a tag closed by its own name");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            if let Some(points) = tag.strip_prefix("polyline ").and_then(|t| t.split("points=\"").nth(1)) {
                let colour_is_ours = ["#1F77B4", "#E66E14", "#5A5A5A"].iter().any(|colour| tag.contains(colour));
                if colour_is_ours {
                    lines.push(points.split('"').next().unwrap().split_whitespace().count());
                }
            }
            assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
        }
        assert!(open.is_empty());
        lines
    }

    #[test]
    fn every_series_is_drawn_and_named() {
        let records: Vec<_> = (1..=50).map(|i| record(20 * i)).collect();
        let svg = render(&records, Some(0.1)).unwrap();
        let lines = lines_of(&svg);
        assert_eq!(lines.iter().filter(|&&n| n == 50).count(), 5, "{lines:?}");
        for label in ["discriminator", "generator", "β", "real images", "fake images", "target I_c", "step", "Loss"] {
            assert!(svg.contains(label), "{label}");
        }
        assert!(!render(&records, None).unwrap().contains("target I_c"));
        assert_eq!(svg, render(&records, Some(0.1)).unwrap());
    }

    #[test]
    fn any_records_make_a_picture() {
        let with = |beta: f64, kl: f64| Record { beta, kl_real: kl, loss_d: kl, ..record(20) };
        let hard = [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -0.0, 1e300, 1.0];
        lines_of(&render(&[], Some(0.1)).unwrap());
        lines_of(&render(&[record(0)], None).unwrap());
        assert!(render(&[record(20)], None).unwrap().contains("<circle"));
        for a in hard {
            lines_of(&render(&[with(a, a); 3], Some(a)).unwrap());
            for b in hard {
                lines_of(&render(&[with(a, b), with(b, a)], Some(b)).unwrap());
            }
        }
        lines_of(&render(&[Record { step: u64::MAX, ..record(1) }], Some(0.1)).unwrap());
    }

    #[test]
    fn thinning_keeps_the_peaks_and_the_order() {
        let mut points: Vec<(f64, f64)> = (0..10_007).map(|i| (i as f64, (i as f64 * 0.01).sin())).collect();
        points[5_003].1 = 7.0;
        points[77].1 = -7.0;
        let thinned = thin(points.clone());
        assert!(thinned.len() <= MOST_POINTS && thinned.len() > MOST_POINTS / 2);
        assert!(thinned.contains(&(5_003.0, 7.0)) && thinned.contains(&(77.0, -7.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        points.truncate(MOST_POINTS);
        assert_eq!(thin(points.clone()), points);
    }
}
