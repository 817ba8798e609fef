//! The table of a flat arena: which tensor lies where, how it starts, and how PyTorch would lay it out.

use std::ops::Range;

use crate::device::Real;
use crate::device::normal::fill_normals;
use crate::device::philox::{Stream, draw, uniform};

/// Initialisation of a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// N(0, std²), drawn from the seed.
    Normal(f64),
    /// U[low, high), drawn from the seed.
    Uniform {
        /// The smallest value.
        low: f64,
        /// Upper bound, excluded.
        high: f64,
    },
    /// The same number everywhere.
    Constant(f64),
}

/// Initialisation of linear layers and convolutions: their weights and, with them, their biases.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Initialisation {
    /// Weights N(0, std²), biases 0 (the article, DCGAN).
    Normal(f64),
    /// PyTorch's default: weights and biases U[−1/√fan_in, 1/√fan_in), fan_in being the weights that one output sums over
    /// (`kaiming_uniform_` with a = √5: its gain √(2/6) times √3 is 1). For a transposed convolution PyTorch counts the
    /// outputs instead, and so do we.
    FanIn,
}

impl Initialisation {
    /// Of a weight.
    pub fn weight(self, fan_in: usize) -> Init {
        match self {
            Initialisation::Normal(std) => Init::Normal(std),
            Initialisation::FanIn => self.bias(fan_in, 0.0),
        }
    }

    /// Of the bias that belongs to that weight, around `centre`.
    pub fn bias(self, fan_in: usize, centre: f64) -> Init {
        let bound = 1.0 / (fan_in as f64).sqrt();
        match self {
            Initialisation::Normal(_) => Init::Constant(centre),
            Initialisation::FanIn => Init::Uniform { low: centre - bound, high: centre + bound },
        }
    }
}

/// One tensor of an arena.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// PyTorch's key: `conv.0.weight`.
    pub name: String,
    /// PyTorch's shape.
    pub shape: Vec<usize>,
    /// The axes as they lie here, slowest first.
    axes: Vec<usize>,
    /// PyTorch's order of those axes: its axis i is `axes[order[i]]`.
    order: Vec<usize>,
    /// The first element in the arena.
    pub offset: usize,
    /// Its initialisation.
    pub init: Init,
}

impl Entry {
    /// Elements.
    pub fn len(&self) -> usize {
        self.axes.iter().product()
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its range in the arena.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }

    /// Layout of a weight's rows and columns, seen as the matrix `[outputs, everything else]`.
    ///
    /// # Panics
    /// If it has fewer than four axes, as a vector has: a mistake of this program's.
    pub fn sides(&self) -> [Flattened; 2] {
        match *self.axes {
            [k, h, w, c] => [Flattened::vector(k), Flattened { h, w, c }],
            [kh, kw, kc, h, w, c] => [Flattened { h: kh, w: kw, c: kc }, Flattened { h, w, c }],
            _ => panic!("{} is no weight: axes {:?}", self.name, self.axes),
        }
    }

    /// Our layout → PyTorch's. Panics if there are not [`Entry::len`] values.
    pub fn to_pytorch<T: Copy>(&self, values: &[T]) -> Vec<T> {
        permute(values, &self.axes, &self.order)
    }

    /// PyTorch's layout → ours. Panics if there are not [`Entry::len`] values.
    pub fn from_pytorch<T: Copy>(&self, values: &[T]) -> Vec<T> {
        let axes: Vec<usize> = self.order.iter().map(|&axis| self.axes[axis]).collect();
        let mut back = vec![0; self.order.len()];
        self.order.iter().enumerate().for_each(|(i, &axis)| back[axis] = i);
        permute(values, &axes, &back)
    }
}

/// The tensor with axis i of the result being axis `order[i]` of `values`, whose axes are `axes`, slowest first.
///
/// # Panics
/// If `values` is not as long as `axes` say: a mistake of this program's.
pub fn permute<T: Copy>(values: &[T], axes: &[usize], order: &[usize]) -> Vec<T> {
    assert_eq!(values.len(), axes.iter().product::<usize>(), "{} values for axes {axes:?}", values.len());
    let mut strides = vec![1; axes.len()];
    for axis in (1..axes.len()).rev() {
        strides[axis - 1] = strides[axis] * axes[axis];
    }
    let mut result = Vec::with_capacity(values.len());
    let mut index = vec![0; order.len()];
    for _ in 0..values.len() {
        result.push(values[index.iter().zip(order).map(|(i, &axis)| i * strides[axis]).sum::<usize>()]);
        for (i, &axis) in index.iter_mut().zip(order).rev() {
            *i += 1;
            if *i < axes[axis] {
                break;
            }
            *i = 0;
        }
    }
    result
}

/// Layout of a vector of features that is a flattened image: ours is H, W, C and PyTorch's C, H, W.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flattened {
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Flattened {
    /// A plain vector of features.
    pub fn vector(features: usize) -> Self {
        Flattened { h: 1, w: 1, c: features }
    }

    /// Elements.
    pub fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn axes(self) -> [usize; 3] {
        [self.h, self.w, self.c]
    }
}

/// All tensors of one arena, in the order in which they lie, without gaps.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    entries: Vec<Entry>,
    len: usize,
}

impl Table {
    /// Elements of the arena.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns true if the arena is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The tensors, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The same, to rename them.
    pub(super) fn entries_mut(&mut self) -> &mut [Entry] {
        &mut self.entries
    }

    /// The tensor that holds arena element `index`.
    pub fn at(&self, index: usize) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.range().contains(&index))
    }

    /// Adds a filter, KRSC here and KCRS there.
    pub fn add_filter(&mut self, name: String, [k, r, s, c]: [usize; 4], init: Init) -> Range<usize> {
        self.add(name, vec![k, c, r, s], vec![k, r, s, c], vec![0, 3, 1, 2], init)
    }

    /// Adds a matrix `[outputs, inputs]` whose sides may be flattened images.
    pub fn add_matrix(&mut self, name: String, outputs: Flattened, inputs: Flattened, init: Init) -> Range<usize> {
        let axes = [outputs.axes(), inputs.axes()].concat();
        self.add(name, vec![outputs.len(), inputs.len()], axes, vec![2, 0, 1, 5, 3, 4], init)
    }

    /// Adds a vector that may be a flattened image.
    pub fn add_vector(&mut self, name: String, features: Flattened, init: Init) -> Range<usize> {
        self.add(name, vec![features.len()], features.axes().to_vec(), vec![2, 0, 1], init)
    }

    fn add(
        &mut self,
        name: String,
        shape: Vec<usize>,
        axes: Vec<usize>,
        order: Vec<usize>,
        init: Init,
    ) -> Range<usize> {
        let entry = Entry { name, shape, axes, order, offset: self.len, init };
        let range = entry.range();
        self.len = range.end;
        self.entries.push(entry);
        range
    }

    /// The arena's first values. `first_tensor` numbers the tensors of several arenas on, so that no two
    /// parameters draw alike. (The vectors of spectral normalisation, a network's only drawn statistics, are numbered as its
    /// parameters are; power iterations make them what they are to be.)
    pub fn initial_values<T: Real>(&self, seed: u64, first_tensor: u32) -> Vec<T> {
        let mut values = vec![T::ZERO; self.len];
        for (tensor, entry) in (first_tensor..).zip(&self.entries) {
            let target = &mut values[entry.range()];
            match entry.init {
                Init::Constant(value) => target.fill(T::of(value)),
                Init::Uniform { low, high } => {
                    for (block, four) in (0..).zip(target.chunks_mut(4)) {
                        let drawn = draw(seed, Stream::Init, 0, tensor, block).map(uniform);
                        four.iter_mut().zip(drawn).for_each(|(t, d)| *t = T::of(low + (high - low) * f64::from(d)));
                    }
                }
                Init::Normal(std) => {
                    let mut drawn = vec![0.0; target.len()];
                    fill_normals(seed, Stream::Init, 0, tensor, 0, &mut drawn);
                    target.iter_mut().zip(drawn).for_each(|(t, d)| *t = T::of(std * f64::from(d)));
                }
            }
        }
        values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Position of element `index` of a dense tensor of this shape.
    fn at<const N: usize>(index: [usize; N], shape: [usize; N]) -> usize {
        index.iter().zip(shape).fold(0, |at, (index, size)| at * size + index)
    }

    /// Of step 0, numbered by its place among the tensors: whoever changes that changes what every seed begins with.
    #[test]
    fn a_tensor_begins_with_the_first_numbers_of_its_own() {
        let mut table = Table::default();
        table.add_vector("a".into(), Flattened::vector(3), Init::Constant(0.5));
        table.add_vector("b".into(), Flattened::vector(5), Init::Normal(0.25));
        table.add_vector("c".into(), Flattened::vector(6), Init::Uniform { low: -1.0, high: 3.0 });
        let mut normals = [0.0; 5];
        fill_normals(9, Stream::Init, 0, 8, 0, &mut normals);
        let words = |block| draw(9, Stream::Init, 0, 9, block).map(uniform);
        let mut expected = vec![0.5; 3];
        expected.extend(normals.map(|value| 0.25 * f64::from(value)));
        expected.extend([&words(0)[..], &words(1)[..2]].concat().iter().map(|&value| 4.0 * f64::from(value) - 1.0));
        assert_eq!(table.initial_values::<f64>(9, 7), expected);
    }

    #[test]
    fn layouts_round_trip_and_match_by_index() {
        let mut table = Table::default();
        table.add_filter("filter".into(), [2, 3, 4, 5], Init::Constant(0.0));
        table.add_matrix("matrix".into(), Flattened { h: 2, w: 3, c: 4 }, Flattened::vector(5), Init::Constant(0.0));
        table.add_vector("vector".into(), Flattened { h: 2, w: 3, c: 4 }, Init::Constant(0.0));
        for entry in table.entries() {
            let ours: Vec<usize> = (0..entry.len()).collect();
            let theirs = entry.to_pytorch(&ours);
            assert_eq!(entry.from_pytorch(&theirs), ours, "{}", entry.name);
        }
        let [filter, matrix, vector] = table.entries() else { panic!("three tensors") };
        // PyTorch's [k, c, r, s] = [1, 4, 2, 3] is ours [1, 2, 3, 4].
        let ours: Vec<usize> = (0..filter.len()).collect();
        assert_eq!(filter.to_pytorch(&ours)[at([1, 4, 2, 3], [2, 5, 3, 4])], at([1, 2, 3, 4], [2, 3, 4, 5]));
        // PyTorch's row (c, h, w) = (3, 1, 2) is our row (h, w, c).
        let ours: Vec<usize> = (0..matrix.len()).collect();
        assert_eq!(matrix.to_pytorch(&ours)[at([3, 1, 2, 4], [4, 2, 3, 5])], at([1, 2, 3, 4], [2, 3, 4, 5]));
        let ours: Vec<usize> = (0..vector.len()).collect();
        assert_eq!(vector.to_pytorch(&ours)[at([3, 1, 2], [4, 2, 3])], at([1, 2, 3], [2, 3, 4]));
        assert_eq!(table.at(filter.len()).map(|e| e.name.as_str()), Some("matrix"));
    }

    #[test]
    fn normal_weights_have_their_spread() {
        let mut table = Table::default();
        table.add_vector("a".into(), Flattened::vector(20_000), Init::Normal(0.02));
        table.add_vector("b".into(), Flattened::vector(3), Init::Constant(1.0));
        let values: Vec<f64> = table.initial_values(1, 0);
        let mean = values[..20_000].iter().sum::<f64>() / 20_000.0;
        let variance = values[..20_000].iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 20_000.0;
        assert!(mean.abs() < 1e-3 && (variance.sqrt() - 0.02).abs() < 4e-4, "{mean} {variance}");
        assert_eq!(values[20_000..], [1.0; 3]);
        assert_ne!(values, table.initial_values::<f64>(1, 1));
    }

    /// A uniform draw has the bounds, the mean and the variance (2b)²/12 of its definition.
    #[test]
    fn uniform_weights_have_their_bounds() {
        let mut table = Table::default();
        table.add_vector("a".into(), Flattened::vector(20_001), Initialisation::FanIn.weight(16));
        table.add_vector("b".into(), Flattened::vector(1001), Initialisation::FanIn.bias(4, -3.0));
        let values: Vec<f64> = table.initial_values(1, 0);
        let (a, b) = values.split_at(20_001);
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        let variance = a.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / a.len() as f64;
        assert!(mean.abs() < 3e-3 && (variance * 48.0 - 1.0).abs() < 0.02, "{mean} {variance}");
        assert!(a.iter().all(|v| (-0.25..0.25).contains(v)) && b.iter().all(|v| (-3.5..-2.5).contains(v)));
        assert_ne!(a[..1001], b.iter().map(|v| (v + 3.0) / 2.0).collect::<Vec<_>>()[..]);
        assert_eq!(Initialisation::Normal(0.02).bias(4, -3.0), Init::Constant(-3.0));
    }
}
