//! Tables of text on a terminal.

use console::{Alignment, measure_text_width, pad_str};

/// Rows as lines, each column as wide as its widest cell on a terminal, where some letters take two columns: the first
/// `left` ones flush left, the others flush right. A table that is wider than `columns` goes on beneath itself, with the
/// first column again.
pub(super) fn aligned(rows: &[Vec<String>], left: usize, columns: Option<usize>) -> String {
    let width = |column| {
        let cells = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        cells.map(|cell: &String| measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows.iter().map(Vec::len).max().unwrap_or(0)).map(width).collect();
    let cell = |row: &Vec<String>, column: usize| {
        let side = if column < left { Alignment::Left } else { Alignment::Right };
        row.get(column).map(|text| pad_str(text, widths[column], side, None).into_owned())
    };
    let block = |block: Vec<usize>| {
        let line = |row| block.iter().filter_map(|&column| cell(row, column)).collect::<Vec<_>>().join(GAP);
        rows.iter().map(|row| format!("{}\n", line(row).trim_end())).collect::<String>()
    };
    blocks(&widths, columns.unwrap_or(usize::MAX)).into_iter().map(block).collect::<Vec<_>>().join("\n")
}

/// Between the columns of a table.
const GAP: &str = "  ";

/// The columns of each part of a table that is at most `most` letters wide, if they can be. Each part begins with the first.
fn blocks(widths: &[usize], most: usize) -> Vec<Vec<usize>> {
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut used = usize::MAX;
    for column in 0..widths.len() {
        let width = GAP.len() + widths[column];
        match blocks.last_mut() {
            Some(block) if block.len() < 2 || used + width <= most => {
                block.push(column);
                used += width;
            }
            None => {
                blocks.push(vec![0]);
                used = widths[0];
            }
            Some(_) => {
                blocks.push(vec![0, column]);
                used = widths[0] + width;
            }
        }
    }
    blocks
}

/// Four digits after the point, or as many that say something.
pub(super) fn number(value: f64) -> String {
    if value == 0.0 || (1e-2..1e6).contains(&value.abs()) { format!("{value:.4}") } else { format!("{value:.3e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_their_letters() {
        let rows = [["a", "β1", "x"], ["bcd", "2", "yy"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(aligned(&rows, 1, None), "a    β1   x\nbcd   2  yy\n");
        let rows = [["実験", "1"], ["a", "2"], ["abcdé", "実"]].map(|row| row.map(String::from).to_vec());
        assert_eq!(aligned(&rows, 1, None), "実験    1\na       2\nabcdé  実\n");
    }

    #[test]
    fn a_table_wider_than_the_terminal_goes_on_beneath() {
        let rows =
            [["#", "run", "KL", "beta"], ["1", "first", "0.5", "1e-5"]].map(|row| row.map(String::from).to_vec());
        let whole = "#  run     KL  beta\n1  first  0.5  1e-5\n";
        assert_eq!(aligned(&rows, 2, Some(19)), whole);
        let two = "#  run     KL\n1  first  0.5\n\n#  beta\n1  1e-5\n";
        assert_eq!(aligned(&rows, 2, Some(18)), two);
        // A column that fits nowhere still stands beside the first.
        let three = "#  run\n1  first\n\n#   KL\n1  0.5\n\n#  beta\n1  1e-5\n";
        assert_eq!(aligned(&rows, 2, Some(3)), three);
        assert_eq!(aligned(&[], 2, Some(3)), "");
    }
}
