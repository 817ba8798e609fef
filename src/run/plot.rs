//! One plot of a picture: axes, lines, and what marks the points beyond.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::axis::{Axis, Point, thin, tick_label};

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A panel's plot, between its axes.
pub(super) type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

pub(super) type Drawn<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Additions to the measured lines: levels to compare with, and notes.
pub(super) const GREY: RGBColor = RGBColor(90, 90, 90);

/// From the left edge of a panel to its plot, and from its right edge, in pixels.
pub(super) const LEFT: i32 = 88;
pub(super) const RIGHT: i32 = 24;

/// Pixels that a panel's heading takes; one with a note has a second row.
pub(super) const HEADING: u32 = 38;
pub(super) const NOTE: u32 = 18;

/// Draws the axes of a panel over steps, with room above for its heading, which may have a note.
pub(super) fn plot<'a, 'b>(
    area: &'a Area<'b>,
    steps: Range<f64>,
    values: Range<f64>,
    has_note: bool,
) -> Drawn<Plot<'a, 'b>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_top(HEADING + if has_note { NOTE } else { 0 })
        .margin_right(RIGHT)
        .x_label_area_size(42)
        .y_label_area_size(76)
        .build_cartesian_2d(steps.clone(), values.clone())?;
    chart
        .configure_mesh()
        .x_desc("step")
        .x_labels(8)
        .y_labels(6)
        .x_label_formatter(&|x| tick_label(*x, &steps))
        .y_label_formatter(&|y| tick_label(*y, &values))
        .label_style(("sans-serif", 14))
        .axis_desc_style(("sans-serif", 15))
        .bold_line_style(BLACK.mix(0.12))
        .light_line_style(TRANSPARENT)
        .axis_style(BLACK.mix(0.5))
        .draw()?;
    Ok(chart)
}

/// Draws one stretch of a line, as long dashes and gaps as `dashes` says, in pixels.
pub(super) fn draw_line(
    chart: &mut Plot<'_, '_>,
    axis: &Axis,
    points: &[Point],
    style: ShapeStyle,
    dashes: Option<(u32, u32)>,
) -> Drawn {
    let points: Vec<Point> = thin(points).into_iter().map(|point| axis.clamped(point)).collect();
    // A line needs two points; a single record still has to be seen.
    if let [point] = points[..] {
        chart.draw_series([Circle::new(point, 3, style.filled())])?;
        return Ok(());
    }
    match dashes {
        None => chart.draw_series(LineSeries::new(points, style))?,
        Some((dash, gap)) => chart.draw_series(DashedLineSeries::new(points, dash, gap, style))?,
    };
    Ok(())
}

/// An arrowhead at the end of the axis for each point beyond it.
pub(super) fn mark_beyond(chart: &mut Plot<'_, '_>, axis: &Axis, points: &[Point], style: ShapeStyle) -> Drawn {
    const HALF: i32 = 5;
    const HEIGHT: i32 = 8;
    let beyond = thin(points).into_iter().filter(|&point| axis.clamped(point) != point);
    chart.draw_series(beyond.map(|(step, value)| {
        // Downwards in pixels; the tip lies on the end of the axis.
        let away = if value > axis.range.end { HEIGHT } else { -HEIGHT };
        EmptyElement::at(axis.clamped((step, value)))
            + Polygon::new(vec![(0, 0), (-HALF, away), (HALF, away)], style.filled())
    }))?;
    Ok(())
}

/// Draws a level from one end of the steps to the other, dashed.
pub(super) fn draw_level(chart: &mut Plot<'_, '_>, steps: &Range<f64>, level: f64, width: u32) -> Drawn {
    let ends = [(steps.start, level), (steps.end, level)];
    chart.draw_series(DashedLineSeries::new(ends, 6, 4, GREY.stroke_width(width)))?;
    Ok(())
}
