//! The curves of several runs in one picture: a colour a run, a panel a quantity.

use std::ops::Range;
use std::path::Path;

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::atomic;
use super::axis::{Axis, Point, steps_to, stretches};
use super::contact_sheet::middle_cut;
use super::figures::{Figures, Output, SINGLES, Single};
use super::plot::{Area, Drawn, GREY, HEADING, LEFT, RIGHT, draw_level, draw_line, mark_beyond, plot};
use super::stats::Record;
use crate::error::{Error, Result};

/// One run's curves.
#[derive(Debug, Clone, PartialEq)]
pub struct Curves<'a> {
    /// The run's name in the legend.
    pub name: &'a str,
    /// Its number among the runs, from 0, which decides its colour.
    pub number: usize,
    /// Its records, in order.
    pub records: &'a [Record],
    /// The figures that it has.
    pub figures: Figures,
}

/// Of the whole picture, in pixels.
const WIDTH: u32 = 1400;
/// Of a panel.
const PANEL: u32 = 340;
/// Of a row of the legend.
const LEGEND_ROW: u32 = 24;
/// Of an entry of the legend; four stand in a row.
const LEGEND_ENTRY: u32 = 340;
/// Letters of a name that fit into an entry.
const LEGEND_LETTERS: usize = 34;

/// Colours that stay apart on white, for most colour-blind readers too, in this order.
const COLOURS: [[u8; 3]; 8] = [
    [31, 119, 180],
    [230, 110, 20],
    [0, 140, 100],
    [190, 40, 110],
    [125, 95, 200],
    [130, 95, 50],
    [70, 185, 225],
    [100, 100, 100],
];

/// The colour of the run of this number, from 0. After eight they come again, and the lines are dashed.
pub fn colour(number: usize) -> [u8; 3] {
    COLOURS[number % COLOURS.len()]
}

fn rgb(number: usize) -> RGBColor {
    let [red, green, blue] = colour(number);
    RGBColor(red, green, blue)
}

/// Length of a dash and of the gap after it, in pixels; `None` for the first eight runs, whose lines are whole.
fn dashes(number: usize) -> Option<(u32, u32)> {
    match number / COLOURS.len() {
        0 => None,
        1 => Some((9, 4)),
        round => Some((3, 2 + round as u32 % 8)),
    }
}

/// The content of a panel.
#[derive(Clone, Copy)]
struct Panel {
    title: &'static str,
    value: Value,
    /// Whether I_c is a level of it.
    has_target: bool,
}

/// The figure of a record, where its run has such a one.
#[derive(Clone, Copy)]
enum Value {
    Composed(fn(&Curves<'_>, &Record) -> Option<f64>),
    Single(&'static Single),
}

impl Panel {
    const fn new(title: &'static str, value: fn(&Curves<'_>, &Record) -> Option<f64>) -> Self {
        Panel { title, value: Value::Composed(value), has_target: false }
    }

    /// The same for what only a bottleneck has, with its level.
    const fn with_target(title: &'static str, value: fn(&Curves<'_>, &Record) -> Option<f64>) -> Self {
        Panel { title, value: Value::Composed(value), has_target: true }
    }

    fn value(&self, run: &Curves<'_>, record: &Record) -> Option<f64> {
        match self.value {
            Value::Composed(value) => value(run, record),
            Value::Single(figure) => figure.value(record, &run.figures),
        }
    }
}

/// By how much D is ahead, where that is what its outputs of this kind mean. Outputs of several kinds have no common scale.
fn lead(run: &Curves<'_>, record: &Record, output: Output) -> Option<f64> {
    let lead = record.d_real - record.d_fake;
    (run.figures.output == output).then_some(if output == Output::Energy { -lead } else { lead })
}

/// The panels of what is not shown by itself alone.
const COMPOSED: [Panel; 8] = [
    Panel::new("Loss of the discriminator", |_, r| Some(r.loss_d)),
    Panel::new("Loss of the generator", |_, r| Some(r.loss_g)),
    Panel::with_target("KL on real images (nats)", |run, r| run.figures.target_kl.map(|_| r.kl_real)),
    Panel::with_target("KL on fake images (nats)", |run, r| run.figures.target_kl.map(|_| r.kl_fake)),
    Panel::new("β (weight of the bottleneck's constraint)", |run, r| run.figures.target_kl.map(|_| r.beta)),
    Panel::new("Lead of D: its mean probability for real minus that for fake images", |run, r| {
        lead(run, r, Output::LogOdds)
    }),
    Panel::new("Lead of D: its mean output on real minus that on fake images", |run, r| lead(run, r, Output::Score)),
    Panel::new("Lead of D: mean energy of fake minus that of real images", |run, r| lead(run, r, Output::Energy)),
];

/// All panels, in order.
fn panels() -> impl Iterator<Item = Panel> {
    let single = |figure: &'static Single| {
        Some(Panel { title: figure.comparison?, value: Value::Single(figure), has_target: false })
    };
    COMPOSED.into_iter().chain(SINGLES.iter().filter_map(single))
}

/// Draws the curves of these runs. `smooth` is the number of records that a line's points are means over; above 1 the
/// records themselves stand faintly behind. `mark` goes into the file's first line as a comment. Values that are not
/// finite are left out; panels that no run has anything for are too. The file appears whole or not at all.
///
/// # Errors
/// [`Error::Io`] where the file can't be written; [`Error::Internal`] where the plotting library fails.
pub fn draw(path: &Path, runs: &[Curves<'_>], smooth: usize, mark: &str) -> Result<()> {
    let svg = render(runs, smooth)?;
    atomic::write_file(path, format!("<!-- {mark} -->\n{svg}").as_bytes())
}

fn render(runs: &[Curves<'_>], smooth: usize) -> Result<String> {
    let has_any = |panel: &Panel, run: &Curves<'_>| run.records.iter().any(|r| panel.value(run, r).is_some());
    let shown = |panel: &Panel| runs.iter().any(|run| has_any(panel, run));
    let panels: Vec<Panel> = panels().filter(shown).collect();
    let per_row = WIDTH / LEGEND_ENTRY;
    let legend = LEGEND_ROW * (runs.len() as u32).div_ceil(per_row) + 24;
    let size = (WIDTH, legend + PANEL * (panels.len() as u32).div_ceil(2));
    let mut text = String::new();
    let drawn = {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        draw_all(&root, &panels, runs, smooth, legend)
    };
    drawn.map_err(|e| Error::Internal(format!("the curves: {e}")))?;
    Ok(text)
}

fn draw_all(root: &Area<'_>, panels: &[Panel], runs: &[Curves<'_>], smooth: usize, legend: u32) -> Drawn {
    root.fill(&WHITE)?;
    draw_legend(root, runs)?;
    let (_, below) = root.split_vertically(legend);
    let steps = steps_to(runs.iter().flat_map(|run| run.records.iter().map(|record| record.step)).max());
    for (area, panel) in below.split_evenly((panels.len().div_ceil(2), 2)).iter().zip(panels) {
        draw_panel(area, panel, runs, steps.clone(), smooth)?;
    }
    root.present()?;
    Ok(())
}

/// The runs' names over all panels, a stroke of the run's own line before each.
fn draw_legend(root: &Area<'_>, runs: &[Curves<'_>]) -> Drawn {
    let per_row = (WIDTH / LEGEND_ENTRY) as usize;
    for (place, run) in runs.iter().enumerate() {
        let left = 24 + (place % per_row) as i32 * LEGEND_ENTRY as i32;
        let middle = 24 + (place / per_row) as i32 * LEGEND_ROW as i32;
        let stroke = [(left, middle), (left + 30, middle)];
        let style = rgb(run.number).stroke_width(3);
        match dashes(run.number) {
            None => root.draw(&PathElement::new(stroke, style))?,
            Some((dash, gap)) => {
                root.draw(&DashedPathElement::new(stroke, dash, gap, style))?;
            }
        }
        let name = middle_cut(run.name, LEGEND_LETTERS);
        root.draw(&Text::new(name, (left + 38, middle - 6), ("sans-serif", 15).into_font().color(&BLACK)))?;
    }
    Ok(())
}

fn draw_panel(area: &Area<'_>, panel: &Panel, runs: &[Curves<'_>], steps: Range<f64>, smooth: usize) -> Drawn {
    let raw: Vec<Vec<Vec<Point>>> = runs.iter().map(|run| stretches(points(run, panel))).collect();
    let means = |line: &Vec<Vec<Point>>| line.iter().map(|points| moving_means(points, smooth)).collect();
    let shown: Vec<Vec<Vec<Point>>> = raw.iter().map(means).collect();
    let whole: Vec<Vec<Point>> = shown.iter().map(|line| line.concat()).collect();
    let targets = runs.iter().filter_map(|run| run.figures.target_kl);
    let targets = if panel.has_target { distinct(targets) } else { Vec::new() };
    let axis = Axis::of(whole.iter().map(Vec::as_slice), &targets);
    let note = axis.note().unwrap_or_default();
    let mut chart = plot(area, steps.clone(), axis.range.clone(), !note.is_empty())?;
    targets.into_iter().try_for_each(|target| draw_level(&mut chart, &steps, target, 1))?;
    if smooth > 1 {
        for (run, line) in runs.iter().zip(&raw) {
            let style = rgb(run.number).mix(0.25).stroke_width(1);
            line.iter().try_for_each(|points| draw_line(&mut chart, &axis, points, style, None))?;
        }
    }
    for (run, (line, whole)) in runs.iter().zip(shown.iter().zip(&whole)) {
        let (style, dashes) = (rgb(run.number).stroke_width(2), dashes(run.number));
        line.iter().try_for_each(|points| draw_line(&mut chart, &axis, points, style, dashes))?;
        mark_beyond(&mut chart, &axis, whole, style)?;
    }
    draw_title(area, panel, smooth, &note)
}

/// The title, what the lines are on its right, and beneath it what lies beyond the axis.
fn draw_title(area: &Area<'_>, panel: &Panel, smooth: usize, note: &str) -> Drawn {
    area.draw(&Text::new(panel.title, (LEFT, 14), ("sans-serif", 17).into_font().color(&BLACK)))?;
    let mut lines = Vec::new();
    if smooth > 1 {
        lines.push(format!("means of {smooth} records"));
    }
    if panel.has_target {
        lines.push("dashed: I_c".into());
    }
    let style = ("sans-serif", 13).into_font().color(&GREY);
    let right = style.pos(Pos::new(HPos::Right, VPos::Top));
    area.draw(&Text::new(lines.join("; "), ((WIDTH / 2) as i32 - RIGHT, 16), right))?;
    area.draw(&Text::new(note, (LEFT, HEADING as i32 - 2), style))?;
    Ok(())
}

fn points(run: &Curves<'_>, panel: &Panel) -> impl Iterator<Item = Point> {
    run.records.iter().filter_map(|record| Some((record.step as f64, panel.value(run, record)?)))
}

/// The mean over the `window` points around each, or as many of them as there are.
fn moving_means(points: &[(f64, f64)], window: usize) -> Vec<(f64, f64)> {
    let mean = |index: usize| {
        let before = window.saturating_sub(1) / 2;
        let end = index.saturating_add(window.max(1) - before).min(points.len());
        let values = &points[index.saturating_sub(before)..end];
        // Each divided first: a sum may overflow.
        values.iter().map(|&(_, value)| value / values.len() as f64).sum()
    };
    points.iter().enumerate().map(|(index, &(step, _))| (step, mean(index))).collect()
}

fn distinct(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::stats::tests::record;

    /// The lines of each colour among the first eight, as the number of their points.
    fn lines(svg: &str, number: usize) -> Vec<usize> {
        let [red, green, blue] = colour(number);
        let colour = format!("stroke=\"#{red:02X}{green:02X}{blue:02X}\"");
        let tags = svg.split("<polyline ").skip(1).filter_map(|part| part.split_once("/>"));
        let ours = tags.filter(|(tag, _)| tag.contains(&colour));
        ours.filter_map(|(tag, _)| Some(tag.split_once("points=\"")?.1.split('"').next()?.split_whitespace().count()))
            .collect()
    }

    fn run<'a>(number: usize, name: &'a str, records: &'a [Record], target_kl: Option<f64>) -> Curves<'a> {
        let figures = Figures { target_kl, has_penalty: true, output: Output::LogOdds };
        Curves { name, number, records, figures }
    }

    #[test]
    fn each_run_has_its_curves_in_its_colour_and_its_name() {
        let long: Vec<Record> = (1..=50).map(|i| record(20 * i)).collect();
        let short: Vec<Record> = (1..=7).map(|i| record(10 * i)).collect();
        let runs = [run(0, "with <a> bottleneck & β", &long, Some(0.1)), run(1, "plain", &short, None)];
        let svg = render(&runs, 1).unwrap();
        // The first entry of each is its stroke in the legend.
        assert_eq!(lines(&svg, 0), [2, 50, 50, 50, 50, 50, 50, 50]);
        assert_eq!(lines(&svg, 1), [2, 7, 7, 7, 7], "no KL and no β");
        for text in ["with &lt;a&gt; bottleneck &amp; β", "plain", "dashed: I_c", "Loss of the generator"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("beyond") && !svg.contains("means of"));
        let plain = render(&runs[1..], 1).unwrap();
        assert!(!plain.contains("KL") && lines(&plain, 1) == [2, 7, 7, 7, 7]);
        let smooth = render(&runs, 5).unwrap();
        assert!(smooth.contains("means of 5 records"));
        assert_eq!(lines(&smooth, 1), [2, 7, 7, 7, 7, 7, 7, 7, 7], "the records, and the means over them");
    }

    /// A lead is one of outputs of one kind, and positive where D is right; what a run has not is not drawn for it.
    #[test]
    fn figures_of_some_losses_have_panels_of_their_own() {
        let records = [Record { d_real: 0.75, d_fake: 0.25, ..record(1) }];
        let energies = [Record { d_real: 0.25, d_fake: 0.75, convergence: Some(0.3), ..records[0] }];
        let with = |output, has_penalty| Figures { target_kl: None, has_penalty, output };
        let runs = [
            Curves { figures: with(Output::LogOdds, false), ..run(0, "ns", &records, None) },
            Curves { figures: with(Output::Score, true), ..run(1, "wgan-gp", &records, None) },
            Curves { figures: with(Output::Energy, false), ..run(2, "began", &energies, None) },
        ];
        for (title, values) in [
            ("mean probability for real", [Some(0.5), None, None]),
            ("mean output on real", [None, Some(0.5), None]),
            ("mean energy of fake", [None, None, Some(0.5)]),
            ("Measure of convergence", [None, None, Some(0.3)]),
            ("Gradient penalty", [None, Some(0.75), None]),
            ("Error of the reconstructions", [None; 3]),
        ] {
            let panel = panels().find(|panel| panel.title.contains(title)).expect(title);
            assert_eq!(runs.each_ref().map(|run| panel.value(run, &run.records[0])), values, "{title}");
            assert_eq!(render(&runs, 1).unwrap().contains(title), values != [None; 3], "{title}");
        }
    }

    #[test]
    fn any_runs_make_a_picture() {
        let hard = [f64::NAN, f64::INFINITY, f64::MAX, f64::MIN, 5e-324, -0.0, 1e300, 1.0];
        let mut records = Vec::new();
        for (i, a) in hard.into_iter().enumerate() {
            records.push(Record { loss_d: a, kl_real: a, beta: a, d_real: a, ..record(i as u64) });
        }
        records.push(record(u64::MAX));
        let names: Vec<String> = (0..40).map(|i| format!("run {i} {}", "x".repeat(2 * i))).collect();
        let many: Vec<Curves<'_>> = names.iter().enumerate().map(|(i, n)| run(i, n, &records, Some(1e-9))).collect();
        for runs in [&[][..], &[run(0, "", &[], Some(f64::NAN))], &[run(3, "one", &records[8..], None)], &many] {
            for smooth in [1, 3, usize::MAX] {
                let svg = render(runs, smooth).unwrap();
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
        assert!(render(&many, 1).unwrap().contains("run 39"));
    }

    #[test]
    fn a_peak_is_cut_marked_and_told() {
        let mut records: Vec<Record> = (1..=50).map(|i| Record { loss_d: i as f64, ..record(20 * i) }).collect();
        records[6].loss_d = 1e5;
        let svg = render(&[run(0, "a", &records, None)], 1).unwrap();
        assert!(svg.contains("1 point beyond: up to 1.0e5 at step 140"), "{svg}");
        assert_eq!(svg.matches("<polygon").count(), 1);
    }

    #[test]
    fn means_are_over_the_points_around() {
        let points = [(1.0, 2.0), (2.0, 4.0), (3.0, 9.0)];
        assert_eq!(moving_means(&points, 1), points);
        assert_eq!(moving_means(&points, 2), [(1.0, 3.0), (2.0, 6.5), (3.0, 9.0)]);
        assert_eq!(moving_means(&points, 3), [(1.0, 3.0), (2.0, 5.0), (3.0, 6.5)]);
        assert_eq!(moving_means(&points, usize::MAX), [(1.0, 5.0), (2.0, 5.0), (3.0, 5.0)]);
        assert!(moving_means(&[], 3).is_empty());
    }

    #[test]
    fn sixteen_runs_look_different() {
        let looks: Vec<_> = (0..16).map(|number| (colour(number), dashes(number))).collect();
        assert!((0..16).all(|i| !looks[..i].contains(&looks[i])));
    }
}
