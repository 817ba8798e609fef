//! The pen strokes of the ten digits, our own drawings, from which [`glyphs`](super::glyphs) makes its images.
//!
//! Coordinates are in the glyph's own box: x to the right, y down, both about 0..=1; [`Digit::aspect`] is the width of
//! that box over its height.

/// One movement of the pen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stroke {
    /// Straight lines from point to point.
    Line(&'static [[f32; 2]]),
    /// A Catmull–Rom spline through all points.
    Curve(&'static [[f32; 2]]),
    /// A Catmull–Rom spline through all points and back to the first.
    Loop(&'static [[f32; 2]]),
}

/// One way to write one digit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digit {
    /// Width of the box over its height.
    pub(crate) aspect: f32,
    /// The strokes, in any order.
    pub(crate) strokes: &'static [Stroke],
}

use Stroke::{Curve, Line, Loop};

/// The ways to write each digit; entry `d` is for digit `d`. A way that stands twice is drawn twice as often.
pub(crate) const DIGITS: [&[Digit]; 10] = [
    &[ZERO_ROUND, ZERO_ROUND, ZERO_OPEN],
    &[ONE_BAR, ONE_BAR, ONE_FLAG],
    &[TWO_PLAIN, TWO_PLAIN, TWO_LOOP],
    &[THREE_ROUND, THREE_ROUND, THREE_FLAT],
    &[FOUR_OPEN, FOUR_OPEN, FOUR_CLOSED],
    &[FIVE_PLAIN, FIVE_TALL],
    &[SIX_PLAIN, SIX_TALL],
    &[SEVEN_PLAIN, SEVEN_PLAIN, SEVEN_BENT, SEVEN_BARRED],
    &[EIGHT_PLAIN, EIGHT_RINGS],
    &[NINE_STRAIGHT, NINE_BENT],
];

const ZERO_ROUND: Digit = Digit {
    aspect: 0.72,
    strokes: &[Loop(&[
        [0.5, 0.0],
        [0.14, 0.18],
        [0.0, 0.52],
        [0.14, 0.86],
        [0.5, 1.0],
        [0.86, 0.84],
        [1.0, 0.48],
        [0.86, 0.15],
    ])],
};
const ZERO_OPEN: Digit = Digit {
    aspect: 0.7,
    strokes: &[Curve(&[
        [0.62, 0.02],
        [0.26, 0.1],
        [0.02, 0.46],
        [0.1, 0.84],
        [0.44, 1.0],
        [0.82, 0.84],
        [1.0, 0.46],
        [0.84, 0.12],
        [0.5, 0.04],
    ])],
};

const ONE_BAR: Digit = Digit { aspect: 0.12, strokes: &[Line(&[[0.5, 0.0], [0.5, 1.0]])] };
const ONE_FLAG: Digit = Digit { aspect: 0.3, strokes: &[Line(&[[0.0, 0.24], [0.8, 0.0], [0.8, 1.0]])] };

const TWO_PLAIN: Digit = Digit {
    aspect: 0.74,
    strokes: &[
        Curve(&[
            [0.02, 0.24],
            [0.16, 0.06],
            [0.48, 0.0],
            [0.8, 0.1],
            [0.84, 0.32],
            [0.6, 0.6],
            [0.28, 0.82],
            [0.0, 1.0],
        ]),
        Line(&[[0.0, 1.0], [1.0, 0.98]]),
    ],
};
const TWO_LOOP: Digit = Digit {
    aspect: 0.8,
    strokes: &[Curve(&[
        [0.06, 0.2],
        [0.24, 0.03],
        [0.56, 0.02],
        [0.76, 0.2],
        [0.68, 0.48],
        [0.42, 0.78],
        [0.16, 0.97],
        [0.0, 0.88],
        [0.14, 0.77],
        [0.46, 0.88],
        [0.74, 0.98],
        [1.0, 0.86],
    ])],
};

const THREE_ROUND: Digit = Digit {
    aspect: 0.66,
    strokes: &[
        Curve(&[[0.04, 0.14], [0.3, 0.01], [0.68, 0.03], [0.84, 0.2], [0.68, 0.4], [0.32, 0.47]]),
        Curve(&[[0.32, 0.47], [0.76, 0.52], [1.0, 0.73], [0.8, 0.94], [0.42, 1.0], [0.0, 0.88]]),
    ],
};
const THREE_FLAT: Digit = Digit {
    aspect: 0.68,
    strokes: &[
        Line(&[[0.08, 0.0], [0.9, 0.0], [0.44, 0.4]]),
        Curve(&[[0.44, 0.4], [0.82, 0.48], [1.0, 0.7], [0.82, 0.93], [0.44, 1.0], [0.0, 0.9]]),
    ],
};

const FOUR_OPEN: Digit = Digit {
    aspect: 0.72,
    strokes: &[Line(&[[0.14, 0.02], [0.04, 0.56], [1.0, 0.54]]), Line(&[[0.8, 0.0], [0.74, 1.0]])],
};
const FOUR_CLOSED: Digit =
    Digit { aspect: 0.74, strokes: &[Line(&[[0.7, 1.0], [0.72, 0.0], [0.0, 0.66], [1.0, 0.66]])] };

const FIVE_PLAIN: Digit = Digit {
    aspect: 0.68,
    strokes: &[
        Line(&[[0.96, 0.0], [0.24, 0.02], [0.16, 0.45]]),
        Curve(&[[0.16, 0.45], [0.52, 0.37], [0.88, 0.48], [0.98, 0.7], [0.78, 0.93], [0.4, 1.0], [0.0, 0.9]]),
    ],
};
const FIVE_TALL: Digit = Digit {
    aspect: 0.62,
    strokes: &[
        Line(&[[1.0, 0.0], [0.3, 0.05], [0.18, 0.42]]),
        Curve(&[[0.18, 0.42], [0.5, 0.44], [0.8, 0.58], [0.86, 0.78], [0.64, 0.95], [0.34, 1.0], [0.0, 0.94]]),
    ],
};

const SIX_PLAIN: Digit = Digit {
    aspect: 0.64,
    strokes: &[Curve(&[
        [0.8, 0.0],
        [0.38, 0.2],
        [0.08, 0.52],
        [0.04, 0.8],
        [0.3, 0.99],
        [0.72, 0.97],
        [0.98, 0.77],
        [0.82, 0.56],
        [0.48, 0.54],
        [0.08, 0.76],
    ])],
};
const SIX_TALL: Digit = Digit {
    aspect: 0.56,
    strokes: &[Curve(&[
        [0.5, 0.0],
        [0.18, 0.28],
        [0.02, 0.62],
        [0.12, 0.9],
        [0.48, 1.0],
        [0.86, 0.88],
        [0.92, 0.68],
        [0.62, 0.56],
        [0.26, 0.64],
        [0.08, 0.82],
    ])],
};

const SEVEN_PLAIN: Digit = Digit { aspect: 0.66, strokes: &[Line(&[[0.0, 0.06], [0.96, 0.0], [0.46, 1.0]])] };
const SEVEN_BENT: Digit = Digit {
    aspect: 0.66,
    strokes: &[
        Line(&[[0.0, 0.18], [0.06, 0.02], [0.94, 0.02]]),
        Curve(&[[0.94, 0.02], [0.72, 0.36], [0.52, 0.66], [0.44, 1.0]]),
    ],
};
const SEVEN_BARRED: Digit = Digit {
    aspect: 0.7,
    strokes: &[Line(&[[0.0, 0.04], [0.96, 0.0], [0.44, 1.0]]), Line(&[[0.3, 0.5], [0.96, 0.46]])],
};

const EIGHT_PLAIN: Digit = Digit {
    aspect: 0.62,
    strokes: &[Loop(&[
        [0.5, 0.46],
        [0.14, 0.25],
        [0.28, 0.04],
        [0.6, 0.0],
        [0.88, 0.12],
        [0.8, 0.32],
        [0.46, 0.5],
        [0.1, 0.72],
        [0.14, 0.93],
        [0.5, 1.0],
        [0.88, 0.9],
        [0.9, 0.7],
    ])],
};
const EIGHT_RINGS: Digit = Digit {
    aspect: 0.6,
    strokes: &[
        Loop(&[[0.5, 0.0], [0.16, 0.1], [0.16, 0.34], [0.5, 0.46], [0.84, 0.34], [0.84, 0.1]]),
        Loop(&[[0.5, 0.46], [0.08, 0.58], [0.06, 0.88], [0.5, 1.0], [0.94, 0.88], [0.92, 0.58]]),
    ],
};

const NINE_STRAIGHT: Digit = Digit {
    aspect: 0.62,
    strokes: &[
        Loop(&[[0.88, 0.12], [0.52, 0.0], [0.1, 0.12], [0.06, 0.38], [0.4, 0.52], [0.82, 0.4]]),
        Line(&[[0.92, 0.08], [0.82, 1.0]]),
    ],
};
const NINE_BENT: Digit = Digit {
    aspect: 0.66,
    strokes: &[Curve(&[
        [0.88, 0.16],
        [0.6, 0.0],
        [0.2, 0.08],
        [0.04, 0.34],
        [0.34, 0.5],
        [0.72, 0.4],
        [0.9, 0.12],
        [0.88, 0.5],
        [0.7, 0.86],
        [0.4, 1.0],
        [0.12, 0.92],
    ])],
};
