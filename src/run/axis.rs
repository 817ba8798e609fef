//! The axes of a plot: how far they go, what lies beyond them, and the numbers at their ticks.

use std::ops::Range;

/// The most points of a line; more could not be told apart.
pub(super) const MOST_POINTS: usize = 1000;

/// A line with fewer points is shown whole: which of them are peaks can't be said.
const LEAST_POINTS: usize = 8;

/// Largest distance of an axis beyond the inner nine tenths of a line, in lengths of these.
const REACH: f64 = 2.0;

/// A point: step and value.
pub(super) type Point = (f64, f64);

/// The y axis of a panel.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    /// From its lower to its upper end.
    pub(super) range: Range<f64>,
    /// The points that lie beyond it.
    pub(super) beyond: usize,
    /// The farthest of them below the axis, and above it.
    pub(super) extremes: [Option<Point>; 2],
}

impl Axis {
    /// The axis of these lines and levels. Peaks lie beyond it where they would flatten all the rest.
    pub(super) fn of<'a>(lines: impl Iterator<Item = &'a [Point]> + Clone, levels: &[f64]) -> Axis {
        let kept = lines.clone().flat_map(|line| {
            let fence = fence(line);
            line.iter().map(|&(_, value)| value).filter(move |value| fence.contains(value))
        });
        let range = range_of(kept.chain(levels.iter().copied()));
        let beyond = lines.clone().flatten().filter(|(_, value)| !(range.start..=range.end).contains(value));
        let lowest = beyond.clone().filter(|(_, value)| *value < range.start).min_by(|a, b| a.1.total_cmp(&b.1));
        let highest = beyond.clone().filter(|(_, value)| *value > range.end).max_by(|a, b| a.1.total_cmp(&b.1));
        Axis { beyond: beyond.count(), extremes: [lowest.copied(), highest.copied()], range }
    }

    /// A point as it is drawn: one beyond the axis at its end.
    pub(super) fn clamped(&self, (step, value): Point) -> Point {
        (step, value.clamp(self.range.start, self.range.end))
    }

    /// The note on points beyond the axis: `2 points beyond, up to 1.2e5 at step 60`.
    pub(super) fn note(&self) -> Option<String> {
        let farthest =
            |name: &'static str| move |(step, value): Point| format!("{name} {} at step {step}", rounded(value));
        let [low, high] = self.extremes;
        let ends: Vec<String> = low.map(farthest("down to")).into_iter().chain(high.map(farthest("up to"))).collect();
        let points = if self.beyond == 1 { "point" } else { "points" };
        (self.beyond > 0).then(|| format!("{} {points} beyond: {}", self.beyond, ends.join(", ")))
    }
}

/// The values of a line that its axis must hold: all that lie near its inner nine tenths, and the line's end, so that a
/// late change is not taken for a peak.
fn fence(line: &[Point]) -> std::ops::RangeInclusive<f64> {
    let everything = f64::NEG_INFINITY..=f64::INFINITY;
    if line.len() < LEAST_POINTS {
        return everything;
    }
    let sorted = |points: &[Point]| {
        let mut values: Vec<f64> = points.iter().map(|&(_, value)| value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let values = sorted(line);
    let outside = values.len().div_ceil(20);
    let (low, high) = (values[outside], values[values.len() - 1 - outside]);
    // The middle one of the last five: of three it may be a peak yet, were two of them.
    let end = sorted(&line[line.len() - 5..])[2];
    let (low, high) = (low.min(end), high.max(end));
    // Divided first: the difference of the extremes of f64 overflows.
    let reach = (high * 0.5 - low * 0.5) * 2.0 * REACH;
    // Nine tenths of a flat line have no length to measure peaks by.
    if reach > low.abs().max(high.abs()) * 1e-9 { low - reach..=high + reach } else { everything }
}

/// The axis of the steps: from 0, so that a resumed or short run is not stretched.
pub(super) fn steps_to(last: Option<u64>) -> Range<f64> {
    0.0..last.unwrap_or(0).max(1) as f64
}

/// All values with a margin; never empty, whatever the values. One value alone stands in the middle of an axis from 0.
pub(super) fn range_of(values: impl Iterator<Item = f64>) -> Range<f64> {
    let finite = values.filter(|value| value.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    // The extremes of f64 would overflow inside the plotting library, and so would the digits of its ticks.
    let (low, high) = (low.clamp(-1e100, 1e100), high.clamp(-1e100, 1e100));
    let largest = low.abs().max(high.abs());
    let span = high - low;
    if largest < 1e-100 {
        return 0.0..1.0;
    }
    if span < largest * 1e-3 {
        return if low < 0.0 { 2.0 * low..0.0 } else { 0.0..2.0 * high };
    }
    let margin = span * 0.06;
    // A margin below zero would suggest that what can't be negative might be.
    let bottom = if low >= 0.0 && low < margin { 0.0 } else { low - margin };
    bottom..high + margin
}

/// A number at a tick of an axis of this length, with as many digits as tell it from the next one.
pub(super) fn tick_label(value: f64, range: &Range<f64>) -> String {
    let largest = range.start.abs().max(range.end.abs());
    let span = (range.end - range.start).max(largest * 1e-6);
    // What rounding has left of zero.
    if value.abs() < span * 1e-6 {
        return "0".into();
    }
    // A twentieth of the axis is less than a step between ticks.
    let digits = |unit: f64| -(span / 20.0 / unit).log10().floor();
    if (1e-4..1e6).contains(&largest) {
        return trimmed(&format!("{value:.*}", places(digits(1.0)))).to_owned();
    }
    let exponent = value.abs().log10().floor();
    let text = format!("{:.*}", places(digits(10f64.powf(exponent))), value / 10f64.powf(exponent));
    format!("{}e{exponent}", trimmed(&text))
}

/// A count of decimal places that a number can be written with.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn places(digits: f64) -> usize {
    digits.clamp(0.0, 12.0) as usize
}

/// Without zeros at the end of a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A number in a sentence: three significant digits, or so.
pub(super) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 1e5 || size < 1e-3 && size > 0.0 => format!("{value:.1e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => trimmed(&format!("{value:.1}")).to_owned(),
        size if size >= 1.0 => trimmed(&format!("{value:.2}")).to_owned(),
        _ => trimmed(&format!("{value:.4}")).to_owned(),
    }
}

/// The stretches of a line between values that are not finite, which is where it breaks off.
pub(super) fn stretches(points: impl Iterator<Item = Point>) -> Vec<Vec<Point>> {
    let mut stretches = vec![Vec::new()];
    for point in points {
        if point.1.is_finite() {
            stretches.last_mut().into_iter().for_each(|stretch: &mut Vec<Point>| stretch.push(point));
        } else {
            stretches.push(Vec::new());
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    stretches
}

/// At most [`MOST_POINTS`] points: the least and the greatest of each of as many stretches as that allows, so that no
/// peak is lost.
pub(super) fn thin(points: &[Point]) -> Vec<Point> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let extremes = |points: &[Point]| {
        let by_value = |a: &&Point, b: &&Point| a.1.total_cmp(&b.1);
        let mut pair = [points.iter().min_by(by_value), points.iter().max_by(by_value)].map(Option::<&_>::copied);
        pair.sort_by(|a, b| a.map(|p| p.0).partial_cmp(&b.map(|p| p.0)).unwrap_or(std::cmp::Ordering::Equal));
        pair
    };
    points.chunks(stretch).flat_map(extremes).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(values: impl IntoIterator<Item = f64>) -> Vec<Point> {
        values.into_iter().enumerate().map(|(i, value)| (i as f64, value)).collect()
    }

    fn axis(values: &[f64], levels: &[f64]) -> Axis {
        let line = line(values.iter().copied());
        Axis::of([&line[..]].into_iter(), levels)
    }

    #[test]
    fn one_peak_does_not_flatten_the_rest() {
        let calm: Vec<f64> = (0..200).map(|i| f64::from(i % 10)).collect();
        assert_eq!(axis(&calm, &[]), Axis { range: 0.0..9.54, beyond: 0, extremes: [None, None] });
        assert_eq!(axis(&calm, &[]).note(), None);
        // Wherever it stands, the end among them, and whichever way it goes.
        for place in [0, 3, 100, 198, 199] {
            for peak in [1e5, -1e5, f64::MAX, f64::MIN] {
                let mut values = calm.clone();
                values[place] = peak;
                let found = axis(&values, &[]);
                assert!(
                    found.range.start > -2.0 && (9.0..12.0).contains(&found.range.end),
                    "{place} {peak}: {found:?}"
                );
                let high = peak > 0.0;
                assert_eq!(found.extremes[usize::from(high)], Some((place as f64, peak)));
                assert_eq!((found.beyond, found.extremes[usize::from(!high)]), (1, None));
            }
        }
        let mut values = calm.clone();
        (values[3], values[60]) = (1e5, -20_000.0);
        let note = axis(&values, &[]).note().unwrap();
        assert_eq!(note, "2 points beyond: down to -20000 at step 60, up to 1.0e5 at step 3");
        // A level stays on the axis.
        assert!(axis(&values, &[30.0]).range.end > 30.0);
    }

    /// Values that last for more than a moment are no peak, least of all those at the end.
    #[test]
    fn a_trend_is_shown_whole() {
        let falls = |i: i32| 100.0 * (-f64::from(i) / 20.0).exp();
        let whole: [Vec<f64>; 6] = [
            (0..200).map(f64::from).collect(),
            (0..200).map(|i| falls(i) + 1.0).collect(),
            // A plateau that is left at the very end.
            (0..200)
                .map(|i| 0.693 + 1e-4 * f64::from(i % 3) + if i > 195 { f64::from(i - 195) } else { 0.0 })
                .collect(),
            // Nothing for long, and then something.
            (0..200).map(|i| f64::from((i - 150).max(0))).collect(),
            (0..200).map(|i| if i == 70 { 3.0 } else { 0.0 }).collect(),
            vec![1.0, 1000.0, 2.0, 3.0],
        ];
        for values in whole {
            let found = axis(&values, &[]);
            assert_eq!(found.beyond, 0, "{found:?}");
        }
    }

    #[test]
    fn a_flat_line_has_an_axis_of_its_own_size() {
        assert_eq!(axis(&[0.0; 9], &[]).range, 0.0..1.0);
        assert_eq!(axis(&[0.5; 9], &[]).range, 0.0..1.0);
        assert_eq!(axis(&[-3.0], &[]).range, -6.0..0.0);
        assert_eq!(axis(&[3e-8; 20], &[]).range, 0.0..6e-8);
        assert_eq!(axis(&[], &[]).range, 0.0..1.0);
        assert_eq!(axis(&[1.386_294, 1.386_295], &[]).range, 0.0..2.77259);
    }

    #[test]
    fn ticks_can_be_told_apart() {
        let label = |value, range| tick_label(value, &range);
        assert_eq!(label(0.0, 0.0..1.0), "0");
        assert_eq!(label(0.2, 0.0..1.0), "0.2");
        assert_eq!(label(-2.5, -10.0..0.0), "-2.5");
        assert_eq!(label(12_300.0, 12_000.0..13_000.0), "12300");
        assert_eq!(label(2e-8, 0.0..6e-8), "2e-8");
        assert_eq!(label(1.5e7, 0.0..3e7), "1.5e7");
        assert_eq!(label(5e-5, 0.0..2e-4), "0.00005");
        assert_eq!(label(-1e-18, -1.0..1.0), "0");
        for range in [1.3855..1.3865, 0.0..3e-4, 1e-9..1.0001e-9, 5e8..5.001e8, -1e100..1e100] {
            let step = (range.end - range.start) / 6.0;
            let labels: Vec<String> = (0..6).map(|i| tick_label(range.start + step * f64::from(i), &range)).collect();
            assert!((0..6).all(|i| !labels[..i].contains(&labels[i])), "{range:?}: {labels:?}");
            assert!(labels.iter().all(|label| label.len() <= 12), "{labels:?}");
        }
    }

    #[test]
    fn a_line_breaks_off_where_it_is_not_finite() {
        let found = stretches(line([f64::NAN, 1.0, 2.0, f64::INFINITY, f64::NAN, 3.0]).into_iter());
        assert_eq!(found, [vec![(1.0, 1.0), (2.0, 2.0)], vec![(5.0, 3.0)]]);
        assert!(stretches(line([f64::NAN]).into_iter()).is_empty());
    }

    #[test]
    fn thinning_keeps_the_peaks_and_the_order() {
        let mut points: Vec<Point> = (0..10_007).map(|i| (i as f64, (i as f64 * 0.01).sin())).collect();
        points[5_003].1 = 7.0;
        points[77].1 = -7.0;
        let thinned = thin(&points);
        assert!(thinned.len() <= MOST_POINTS && thinned.len() > MOST_POINTS / 2);
        assert!(thinned.contains(&(5_003.0, 7.0)) && thinned.contains(&(77.0, -7.0)));
        assert!(thinned.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        points.truncate(MOST_POINTS);
        assert_eq!(thin(&points), points);
    }
}
