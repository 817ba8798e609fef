//! `curves.svg`: what a run has to show over its steps, a panel a quantity.

use std::ops::Range;
use std::path::Path;

use plotters::element::DashedPathElement;
use plotters::prelude::*;

use super::atomic;
use super::axis::{Axis, Point, steps_to, stretches};
use super::figures::{Figures, Output, SINGLES};
use super::plot::{Area, Drawn, GREY, HEADING, LEFT, RIGHT, draw_level, draw_line, mark_beyond, plot};
use super::stats::Record;
use crate::error::{Error, Result};

/// Of the picture, in pixels.
const WIDTH: u32 = 900;
/// Of a panel.
const PANEL: u32 = 300;

/// Blue and orange, which the colour-blind can tell apart.
const FIRST: RGBColor = RGBColor(31, 119, 180);
const SECOND: RGBColor = RGBColor(230, 110, 20);

/// One line of a panel: what the legend calls it, its colour, and its points, finite or not.
struct Line {
    label: &'static str,
    colour: RGBColor,
    points: Vec<Point>,
}

/// One panel.
struct Panel {
    title: &'static str,
    lines: Vec<Line>,
    /// A level to compare with, and what the legend calls it.
    level: Option<(f64, &'static str)>,
}

/// A panel of figures that are not in the records: a title, and the lines with their names; a single one needs none.
pub struct Extra {
    /// The title.
    pub title: &'static str,
    /// For each line its name, and a value at each of its steps.
    pub lines: Vec<(&'static str, Vec<(u64, f64)>)>,
}

impl Panel {
    fn new(title: &'static str, lines: impl IntoIterator<Item = (&'static str, Vec<Point>)>) -> Panel {
        let colours = [FIRST, SECOND].into_iter().cycle();
        let lines = lines.into_iter().zip(colours).map(|((label, points), colour)| Line { label, colour, points });
        Panel { title, lines: lines.collect(), level: None }
    }

    fn has_any(&self) -> bool {
        self.lines.iter().any(|line| line.points.iter().any(|(_, value)| value.is_finite()))
    }
}

/// The panels of a run with these figures.
fn panels(records: &[Record], figures: &Figures, extras: &[Extra]) -> Vec<Panel> {
    const REAL_AND_FAKE: [&str; 2] = ["real images", "fake images"];
    const OUTPUTS: [&str; 2] = ["D(x)", "D(G(z))"];
    let points = |value: &dyn Fn(&Record) -> Option<f64>| -> Vec<Point> {
        records.iter().filter_map(|record| Some((record.step as f64, value(record)?))).collect()
    };
    let pair = |title, labels: [&'static str; 2], values: [fn(&Record) -> f64; 2]| {
        Panel::new(title, labels.into_iter().zip(values.map(|value| points(&|record| Some(value(record))))))
    };
    let mut panels = vec![pair("Loss", ["discriminator", "generator"], [|r| r.loss_d, |r| r.loss_g])];
    if let Some(target_kl) = figures.target_kl {
        panels.push(Panel::new("β (weight of the bottleneck's constraint)", [("", points(&|r| Some(r.beta)))]));
        let kl = pair("KL of the bottleneck (nats)", REAL_AND_FAKE, [|r| r.kl_real, |r| r.kl_fake]);
        panels.push(Panel { level: Some((target_kl, "target I_c")), ..kl });
    }
    let (title, labels, level) = match figures.output {
        Output::LogOdds => ("Output of D (mean probability of real)", OUTPUTS, Some((0.5, "undecided"))),
        Output::Score => ("Output of D (mean, higher for real)", OUTPUTS, None),
        Output::Energy => ("Energy of images (mean, lower for real)", ["e(x)", "e(G(z))"], None),
    };
    panels.push(Panel { level, ..pair(title, labels, [|r| r.d_real, |r| r.d_fake]) });
    panels.extend(
        SINGLES.iter().filter_map(|figure| {
            Some(Panel::new(figure.curve?, [("", points(&|record| figure.value(record, figures)))]))
        }),
    );
    panels.extend(extras.iter().map(|extra| {
        let lines = extra.lines.iter();
        Panel::new(extra.title, lines.map(|(label, of)| (*label, of.iter().map(|&(at, y)| (at as f64, y)).collect())))
    }));
    panels
}

/// Draws the curves of the records of a run with these figures, and beneath them the extras. A line breaks off where its values are not finite, and
/// panels without any value are left out. The file appears whole or not at all.
///
/// # Errors
/// [`Error::Io`] where the file can't be written.
pub fn draw(path: &Path, records: &[Record], figures: &Figures, extras: &[Extra]) -> Result<()> {
    atomic::write_file(path, render(records, figures, extras)?.as_bytes())
}

/// The text of the SVG that [`draw`] writes.
///
/// # Errors
/// [`Error::Internal`] where the plotting library fails.
pub fn render(records: &[Record], figures: &Figures, extras: &[Extra]) -> Result<String> {
    let mut panels = panels(records, figures, extras);
    // The losses stay where there is nothing else to show.
    let mut first = true;
    panels.retain(|panel| std::mem::take(&mut first) || panel.has_any());
    let mut text = String::new();
    let drawn = {
        let size = (WIDTH, PANEL * panels.len() as u32);
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw_panels(&root, &panels)
    };
    drawn.map_err(|e| Error::Internal(format!("the curves: {e}")))?;
    Ok(text)
}

fn draw_panels(root: &Area<'_>, panels: &[Panel]) -> Drawn {
    root.fill(&WHITE)?;
    let lines = panels.iter().flat_map(|panel| &panel.lines);
    let steps = steps_to(lines.flat_map(|line| &line.points).map(|&(step, _)| step as u64).max());
    for (area, panel) in root.split_evenly((panels.len(), 1)).iter().zip(panels) {
        draw_panel(area, panel, steps.clone())?;
    }
    root.present()?;
    Ok(())
}

fn draw_panel(area: &Area<'_>, panel: &Panel, steps: Range<f64>) -> Drawn {
    let all: Vec<&[Point]> = panel.lines.iter().map(|line| line.points.as_slice()).collect();
    let lines: Vec<Vec<Vec<Point>>> = all.iter().map(|line| stretches(line.iter().copied())).collect();
    let whole: Vec<Vec<Point>> = lines.iter().map(|stretches| stretches.concat()).collect();
    let level = panel.level.filter(|(level, _)| level.is_finite());
    let axis = Axis::of(whole.iter().map(Vec::as_slice), level.map(|(level, _)| level).as_slice());
    let note = note(&axis, &all, &whole);
    let mut chart = plot(area, steps.clone(), axis.range.clone(), !note.is_empty())?;
    if let Some((level, _)) = level {
        draw_level(&mut chart, &steps, level, 2)?;
    }
    for (line, (stretches, whole)) in panel.lines.iter().zip(lines.iter().zip(&whole)) {
        let style = line.colour.stroke_width(2);
        stretches.iter().try_for_each(|points| draw_line(&mut chart, &axis, points, style, None))?;
        mark_beyond(&mut chart, &axis, whole, style)?;
    }
    draw_heading(area, panel, &note)
}

/// A note for the reader on facts that the lines do not show.
fn note(axis: &Axis, all: &[&[Point]], finite: &[Vec<Point>]) -> String {
    let count = all.iter().map(|points| points.len()).sum::<usize>();
    let missing = count - finite.iter().map(Vec::len).sum::<usize>();
    let missing = (missing > 0).then(|| format!("{missing} not finite"));
    let nothing = (count == 0).then(|| "no records yet".to_string());
    axis.note().into_iter().chain(missing).chain(nothing).collect::<Vec<_>>().join("; ")
}

/// The title on the left and the legend on the right, above the plot, where no line can run behind them; a note beneath.
fn draw_heading(area: &Area<'_>, panel: &Panel, note: &str) -> Drawn {
    const STROKE: i32 = 18;
    const ROW: i32 = 24;
    area.draw(&Text::new(panel.title, (LEFT, ROW - 8), ("sans-serif", 19).into_font().color(&BLACK)))?;
    let names = panel.lines.iter().map(|line| (line.label, line.colour, false));
    let names: Vec<_> = names.chain(panel.level.map(|(_, label)| (label, GREY, true))).collect();
    let mut right = WIDTH as i32 - RIGHT;
    for (label, colour, is_dashed) in names.into_iter().rev().filter(|(label, ..)| !label.is_empty()) {
        // Without font files the width of a text can only be guessed: 8 pixels a letter leave some room.
        let text = right - 8 * label.chars().count() as i32;
        area.draw(&Text::new(label, (text, ROW - 6), ("sans-serif", 14).into_font().color(&BLACK)))?;
        let stroke = [(text - STROKE - 6, ROW), (text - 6, ROW)];
        if is_dashed {
            area.draw(&DashedPathElement::new(stroke, 6, 4, colour.stroke_width(2)))?;
        } else {
            area.draw(&PathElement::new(stroke, colour.stroke_width(3)))?;
        }
        right = text - STROKE - 24;
    }
    let row = HEADING as i32 - 2;
    area.draw(&Text::new(note, (LEFT, row), ("sans-serif", 13).into_font().color(&GREY)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::stats::tests::record;

    const PLAIN: Figures = Figures { target_kl: None, has_penalty: false, output: Output::LogOdds };
    const NARROW: Figures = Figures { target_kl: Some(0.1), ..PLAIN };

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

    /// The titles of all panels, in order.
    fn titles(svg: &str) -> Vec<&'static str> {
        const TITLES: [&str; 10] = [
            "Loss",
            "β (",
            "KL of",
            "mean probability",
            "mean, higher",
            "Energy of",
            "Gradient penalty",
            "k (weight",
            "M (measure",
            "Error of the reconstructions",
        ];
        let mut found: Vec<_> = TITLES.into_iter().filter_map(|title| Some((svg.find(title)?, title))).collect();
        found.sort_unstable();
        found.into_iter().map(|(_, title)| title).collect()
    }

    #[test]
    fn every_series_is_drawn_and_named() {
        let records: Vec<_> = (1..=50).map(|i| record(20 * i)).collect();
        let svg = render(&records, &NARROW, &[]).unwrap();
        let lines = lines_of(&svg);
        assert_eq!(lines.iter().filter(|&&n| n == 50).count(), 7, "{lines:?}");
        for label in
            ["discriminator", "generator", "real images", "fake images", "target I_c", "undecided", "step", "D(G(z))"]
        {
            assert!(svg.contains(label), "{label}");
        }
        assert_eq!(svg, render(&records, &NARROW, &[]).unwrap());
    }

    #[test]
    fn a_run_has_the_panels_of_its_figures_and_no_others() {
        let records: Vec<_> = (1..=50).map(|i| record(20 * i)).collect();
        let of = |records: &[Record], figures: Figures| titles(&render(records, &figures, &[]).unwrap());
        assert_eq!(of(&records, PLAIN), ["Loss", "mean probability"]);
        assert_eq!(of(&records, NARROW), ["Loss", "β (", "KL of", "mean probability"]);
        let wasserstein = Figures { has_penalty: true, output: Output::Score, ..PLAIN };
        assert_eq!(of(&records, wasserstein), ["Loss", "mean, higher", "Gradient penalty"]);
        let balanced: Vec<_> =
            records.iter().map(|r| Record { balance: Some(0.0), convergence: Some(0.1), ..*r }).collect();
        let energies = Figures { output: Output::Energy, ..PLAIN };
        assert_eq!(of(&balanced, energies), ["Loss", "Energy of", "k (weight", "M (measure"]);
        let encoded: Vec<_> = records.iter().map(|r| Record { reconstruction: Some(0.1), ..*r }).collect();
        assert_eq!(of(&encoded, PLAIN), ["Loss", "mean probability", "Error of the reconstructions"]);
        assert_eq!(of(&[], NARROW), ["Loss"]);
        assert!(render(&[], &NARROW, &[]).unwrap().contains("no records yet"));
    }

    #[test]
    fn a_peak_is_cut_marked_and_told() {
        let mut records: Vec<_> =
            (1..=50).map(|i| Record { loss_d: 1.0 + 0.01 * i as f64, ..record(20 * i) }).collect();
        let calm = render(&records, &PLAIN, &[]).unwrap();
        assert!(!calm.contains("beyond") && !calm.contains("<polygon"));
        records[6].loss_d = 12_345.0;
        let svg = render(&records, &PLAIN, &[]).unwrap();
        assert!(svg.contains("1 point beyond: up to 12345 at step 140"), "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 1);
        assert_eq!(lines_of(&svg).iter().filter(|&&n| n == 50).count(), 4);
    }

    #[test]
    fn a_line_breaks_off_at_what_is_not_finite() {
        let mut records: Vec<_> = (1..=50).map(|i| record(20 * i)).collect();
        (records[9].loss_g, records[10].loss_g) = (f64::NAN, f64::INFINITY);
        let svg = render(&records, &PLAIN, &[]).unwrap();
        assert!(svg.contains("2 not finite"));
        let lines = lines_of(&svg);
        assert!(lines.contains(&9) && lines.contains(&39), "{lines:?}");
    }

    #[test]
    fn any_records_make_a_picture() {
        let with = |beta: f64, kl: f64| Record { beta, kl_real: kl, loss_d: kl, ..record(20) };
        let hard = [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, f64::MIN_POSITIVE, 5e-324, -0.0, 1e300, 1.0];
        lines_of(&render(&[record(0)], &PLAIN, &[]).unwrap());
        assert!(render(&[record(20)], &PLAIN, &[]).unwrap().contains("<circle"));
        for a in hard {
            let figures = Figures { target_kl: Some(a), has_penalty: true, ..PLAIN };
            lines_of(&render(&[with(a, a); 3], &figures, &[]).unwrap());
            for b in hard {
                lines_of(&render(&[with(a, b), with(b, a)], &Figures { target_kl: Some(b), ..figures }, &[]).unwrap());
                let many: Vec<Record> = (0..30).map(|i| if i % 3 == 0 { with(a, b) } else { with(b, a) }).collect();
                lines_of(&render(&many, &figures, &[]).unwrap());
            }
        }
        lines_of(&render(&[Record { step: u64::MAX, ..record(1) }], &NARROW, &[]).unwrap());
    }
}
