//! A line at the bottom of a terminal that is drawn again and again, above which other lines scroll.
//!
//! The cursor rests at the start of the line below it. So a prompt that follows a killed program, and the `^C` that a terminal
//! shows, stand on a line of their own.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use console::{Term, is_dumb, measure_text_width, truncate_str};

/// The line is drawn at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Clears from the cursor to the end of the screen.
const CLEAR_BELOW: &str = "\x1b[J";

/// The line, and what of it is on the screen.
#[derive(Debug)]
pub struct Bar {
    term: Term,
    /// Empty where nothing is on the screen.
    shown: RefCell<String>,
    drawn: Cell<Option<Instant>>,
}

impl Bar {
    /// `None` where standard error is no terminal, or one that can't move its cursor.
    pub fn new() -> Option<Bar> {
        let term = Term::buffered_stderr();
        let works = term.is_term() && !is_dumb();
        works.then(|| Bar { term, shown: RefCell::default(), drawn: Cell::default() })
    }

    /// The columns that a line has.
    pub fn columns(&self) -> usize {
        usize::from(self.term.size().1)
    }

    /// Shows what `text` makes of the columns there are, if the last time is long enough ago.
    pub fn show(&self, text: impl FnOnce(usize) -> String) {
        if self.drawn.get().is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.show_now(text);
        }
    }

    /// Shows it at once.
    pub fn show_now(&self, text: impl FnOnce(usize) -> String) {
        let columns = self.columns();
        // A letter in the last column makes some terminals begin the next line, and some not.
        let text = truncate_str(&text(columns), columns.saturating_sub(1), "").into_owned();
        self.write(&format!("{}{text}\n", self.back(columns)));
        self.shown.replace(text);
        self.drawn.set(Some(Instant::now()));
    }

    /// Writes a line above, which stays; the bar comes back when it is next shown.
    pub fn above(&self, text: &str) {
        self.write(&format!("{}{text}\n", self.back(self.columns())));
        self.shown.take();
        self.drawn.set(None);
    }

    /// Removes it from the screen.
    pub fn clear(&self) {
        self.write(&self.back(self.columns()));
        self.shown.take();
    }

    /// The control sequence that moves the cursor to the line's start and clears all from there.
    fn back(&self, columns: usize) -> String {
        back(measure_text_width(&self.shown.borrow()), columns)
    }

    /// In one piece, so that nobody sees the half of it. A terminal that has gone is no reason to stop.
    fn write(&self, text: &str) {
        let _ = self.term.write_str(text).and_then(|()| self.term.flush());
    }
}

/// The control sequence that moves the cursor from below a line of `width` columns to its start and clears all from there. A terminal that has
/// become narrower since shows the line on several rows.
fn back(width: usize, columns: usize) -> String {
    match width.div_ceil(columns.max(1)) {
        0 => String::new(),
        rows => format!("\r\x1b[{rows}A{CLEAR_BELOW}"),
    }
}

/// Between the parts of a line.
pub(super) const GAP: &str = "  ";

/// A bar is no longer than this: a terminal that becomes narrower, down to 60 columns, does not wrap it.
const MOST_COLUMNS: usize = 60;

/// `[=====>        ]  step 200/11700  312 images/s  ETA 1h02m`: a bar of how much is done, `what` in figures, the speed, the
/// time that is left. A terminal with few columns gets a short bar or none, and then no speed.
pub fn bar_text(
    done: u64,
    total: u64,
    what: &str,
    speed: Option<String>,
    left: Option<String>,
    columns: usize,
) -> String {
    const LEAST: usize = 8;
    let columns = columns.min(MOST_COLUMNS);
    let (speed, left) = (speed.as_deref(), left.as_deref());
    let joined = |speed| [Some(what), speed, left].into_iter().flatten().collect::<Vec<_>>().join(GAP);
    let whole = joined(speed);
    let text = if whole.len() < columns { whole } else { joined(None) };
    let room = columns.saturating_sub(text.len() + GAP.len() + "[]".len() + 1);
    if room < LEAST {
        return text;
    }
    format!("[{}]{GAP}{text}", filled(done, total, room))
}

/// The inside of a bar of this width.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn filled(done: u64, total: u64, width: usize) -> String {
    let share = (done as f64 / total.max(1) as f64).clamp(0.0, 1.0);
    let full = (share * width as f64) as usize;
    let tip = if full < width { ">" } else { "" };
    format!("{:<width$}", "=".repeat(full) + tip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_a_narrower_terminal_has_wrapped_goes_whole() {
        assert_eq!(back(0, 80), "");
        assert_eq!(back(79, 80), "\r\x1b[1A\x1b[J");
        assert_eq!(back(80, 80), "\r\x1b[1A\x1b[J");
        assert_eq!(back(119, 60), "\r\x1b[2A\x1b[J");
        assert_eq!(back(7, 0), "\r\x1b[7A\x1b[J");
    }

    /// A step may take a microsecond, and writing a line a millisecond.
    #[test]
    fn a_bar_is_not_drawn_again_at_once() {
        let file = || tempfile::tempfile().unwrap();
        let term = Term::read_write_pair(file(), file());
        let bar = Bar { term, shown: RefCell::default(), drawn: Cell::default() };
        let drawn = Cell::new(0);
        let text = |_| {
            drawn.set(drawn.get() + 1);
            String::new()
        };
        let start = Instant::now();
        (0..5).for_each(|_| bar.show(text));
        assert!(drawn.get() == 1 || start.elapsed() >= INTERVAL, "{} times", drawn.get());
        // What is written above it wipes it out.
        bar.above("a line");
        bar.show(text);
        assert!(drawn.get() == 2 || start.elapsed() >= INTERVAL, "{} times", drawn.get());
    }

    #[test]
    fn a_bar_fits_its_terminal() {
        let some = |text: &str| Some(text.to_string());
        let bar = |columns| bar_text(300, 1500, "step 300/1500", some("312 images/s"), some("ETA 1h02m"), columns);
        assert_eq!(bar(58), "[===>           ]  step 300/1500  312 images/s  ETA 1h02m");
        assert_eq!(bar(200).len(), MOST_COLUMNS - 1);
        assert_eq!(bar(40), "step 300/1500  312 images/s  ETA 1h02m");
        assert_eq!(bar(36), "step 300/1500  ETA 1h02m");
        assert!((26..200).all(|columns| bar(columns).len() < columns && bar(columns).contains("ETA")));
        assert_eq!(bar_text(0, 1500, "step 0/1500", None, None, 20), "step 0/1500");
        assert_eq!(filled(0, 9, 4), ">   ");
        assert_eq!(filled(9, 9, 4), "====");
        assert_eq!(filled(10, 9, 4), "====");
        assert_eq!(filled(3, 0, 4), "====");
    }
}
