//! The pictures of several runs on one sheet, each under its name.

use std::path::Path;

use super::atomic;
use super::font;
use super::picture::encode;
use crate::error::{Error, Result};

/// Between the tiles and around them, in pixels.
const MARGIN: usize = 24;
/// Beneath a title.
const TITLE_GAP: usize = 10;
/// Magnification of a letter's pixels, in both directions: with enough room, and without. Smaller
/// letters could not be read on a large sheet.
const TITLE_SCALE: usize = 3;
const LEAST_SCALE: usize = 2;
/// A tile is at least so wide, so that a small picture has a title that can be read.
const LEAST_WIDTH: usize = 300;

const PAPER: [u8; 3] = [250; 3];
const INK: [u8; 3] = [30; 3];

/// The most bytes that a sheet may have.
const MOST_BYTES: usize = 1 << 30;

/// One picture and what stands above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// The title; one that is too long for its picture is drawn smaller, or cut.
    pub title: String,
    /// The colour of the square before the title: that of the run's curves.
    pub colour: [u8; 3],
    /// Rows of the picture.
    pub height: usize,
    /// Columns of the picture.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[height, width, channels]`.
    pub pixels: Vec<u8>,
}

/// Writes all tiles on one sheet as a PNG in colour, in reading order, each pixel as it is. `software` is noted in the
/// file as what made it. The file appears whole or not at all.
///
/// # Errors
/// [`Error::Usage`] where the sheet would be larger than 1 GiB; [`Error::Io`] where the file can't be written;
/// [`Error::Internal`] where there is no tile or one's sizes contradict each other.
pub fn write(path: &Path, tiles: &[Tile], software: &str) -> Result<()> {
    let sizes_agree = |t: &Tile| matches!(t.channels, 1 | 3) && t.height * t.width * t.channels == t.pixels.len();
    if tiles.is_empty() || !tiles.iter().all(sizes_agree) {
        return Err(Error::Internal("the sizes of a tile contradict each other".into()));
    }
    let layout = Layout::new(tiles);
    let Layout { height, width, .. } = layout;
    if height.saturating_mul(width).saturating_mul(3) > MOST_BYTES {
        return Err(Error::Usage(format!(
            "{} pictures make a sheet of {height}×{width} pixels, which is too large: compare fewer runs at once",
            tiles.len()
        )));
    }
    let mut sheet = Sheet { width, pixels: PAPER.repeat(height * width) };
    for (tile, [top, left]) in tiles.iter().zip(&layout.places) {
        sheet.title(tile, *top, *left, layout.tile_width);
        sheet.picture(tile, top + TITLE_ROWS, *left);
    }
    atomic::write_file(path, &encode(height, width, 3, &sheet.pixels, Some(software))?)
}

/// Rows that a title takes, with the gap beneath it.
const TITLE_ROWS: usize = TITLE_SCALE * font::HEIGHT + TITLE_GAP;

/// Layout of the tiles.
struct Layout {
    /// Of the whole sheet.
    height: usize,
    width: usize,
    /// Of each tile.
    tile_width: usize,
    /// The upper left corner of each, `[y, x]`.
    places: Vec<[usize; 2]>,
}

impl Layout {
    /// About as many columns as rows; up to three in one row.
    fn new(tiles: &[Tile]) -> Layout {
        let columns = if tiles.len() <= 3 { tiles.len() } else { (tiles.len() as f64).sqrt().ceil() as usize };
        let tile_width = tiles.iter().map(|tile| tile.width).max().unwrap_or(0).max(LEAST_WIDTH);
        let (mut top, mut places) = (MARGIN, Vec::new());
        for row in tiles.chunks(columns.max(1)) {
            places.extend((0..row.len()).map(|column| [top, MARGIN + column * (tile_width + MARGIN)]));
            let tallest = row.iter().map(|tile| tile.height).max().unwrap_or(0);
            top += TITLE_ROWS + tallest + MARGIN;
        }
        Layout { height: top, width: MARGIN + columns * (tile_width + MARGIN), tile_width, places }
    }
}

/// The sheet as it is drawn: `[height, width, 3]`.
struct Sheet {
    width: usize,
    pixels: Vec<u8>,
}

impl Sheet {
    /// Fills a square of `side` pixels.
    fn square(&mut self, top: usize, left: usize, side: usize, colour: [u8; 3]) {
        for y in top..top + side {
            let start = (y * self.width + left) * 3;
            self.pixels[start..start + side * 3].copy_from_slice(&colour.repeat(side));
        }
    }

    /// A square of the run's colour and the title, in smaller letters if it is long, and cut if it is longer still.
    fn title(&mut self, tile: &Tile, top: usize, left: usize, width: usize) {
        let side = TITLE_SCALE * 7;
        self.square(top, left, side, tile.colour);
        let (left, width) = (left + side + 3 * TITLE_SCALE, width - side - 3 * TITLE_SCALE);
        let letters = tile.title.chars().count();
        let scale = if letters * font::ADVANCE * TITLE_SCALE <= width { TITLE_SCALE } else { LEAST_SCALE };
        let fitting = width / (scale * font::ADVANCE);
        let text = if letters <= fitting { tile.title.clone() } else { middle_cut(&tile.title, fitting) };
        // Smaller letters stand on the line of the large ones.
        let top = top + 7 * (TITLE_SCALE - scale);
        for [y, x] in font::ink(&text) {
            self.square(top + y * scale, left + x * scale, scale, INK);
        }
    }

    fn picture(&mut self, tile: &Tile, top: usize, left: usize) {
        for (y, row) in tile.pixels.chunks_exact((tile.width * tile.channels).max(1)).enumerate() {
            let start = ((top + y) * self.width + left) * 3;
            let line = &mut self.pixels[start..start + tile.width * 3];
            match tile.channels {
                3 => line.copy_from_slice(row),
                _ => line.chunks_exact_mut(3).zip(row).for_each(|(pixel, &grey)| pixel.fill(grey)),
            }
        }
    }
}

/// At most `most` letters of `text`: what it begins and ends with, since runs often differ in their numbers or in their
/// last word.
pub(super) fn middle_cut(text: &str, most: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= most {
        return text.to_string();
    }
    let kept = most.saturating_sub(2);
    let (begin, end) = (kept.div_ceil(2), kept / 2);
    let parts = [letters[..begin].iter().collect(), "..".to_string(), letters[letters.len() - end..].iter().collect()];
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tile(title: &str, height: usize, width: usize, channels: usize) -> Tile {
        let pixels = (0..height * width * channels).map(|i| (i * 37 % 251) as u8).collect();
        Tile { title: title.into(), colour: [1, 2, 3], height, width, channels, pixels }
    }

    fn decode(path: &Path) -> (usize, usize, Vec<u8>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        assert_eq!(info.color_type, png::ColorType::Rgb);
        (info.height as usize, info.width as usize, pixels)
    }

    #[test]
    fn every_picture_is_there_to_the_pixel_whatever_the_others_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        let tiles = [
            tile("1 grey", 40, 310, 1),
            tile("2 colour", 61, 33, 3),
            tile("", 1, 1, 1),
            tile(&"long-".repeat(100), 7, 301, 3),
            tile("β", 3, 9, 1),
        ];
        for count in 1..=tiles.len() {
            write(&path, &tiles[..count], "a test").unwrap();
            let (height, width, sheet) = decode(&path);
            let layout = Layout::new(&tiles[..count]);
            assert_eq!((height, width), (layout.height, layout.width));
            for (tile, [top, left]) in tiles[..count].iter().zip(layout.places) {
                for (index, &value) in tile.pixels.iter().enumerate() {
                    let (pixel, channel) = (index / tile.channels, index % tile.channels);
                    let (y, x) = (top + TITLE_ROWS + pixel / tile.width, left + pixel % tile.width);
                    assert_eq!(sheet[(y * width + x) * 3 + channel], value, "{}: {y}, {x}", tile.title);
                }
                assert_eq!(sheet[(top * width + left) * 3..][..3], tile.colour);
            }
        }
        assert!(std::fs::read(&path).unwrap()[..100].windows(6).any(|bytes| bytes == b"a test"));
    }

    #[test]
    fn tiles_do_not_overlap_and_titles_stay_within_theirs() {
        let sides = [(700, 700), (10, 10), (1000, 40), (700, 700), (5, 5), (300, 310), (1, 1)];
        let tiles: Vec<Tile> = sides.iter().map(|&(h, w)| tile(&"W".repeat(w), h, w, 1)).collect();
        let Layout { height, width, tile_width, places } = Layout::new(&tiles);
        assert_eq!(places.iter().filter(|place| place[0] == MARGIN).count(), 3, "three columns for seven");
        let areas: Vec<[usize; 4]> = tiles
            .iter()
            .zip(&places)
            .map(|(tile, [top, left])| [*top, *left, top + TITLE_ROWS + tile.height, left + tile_width])
            .collect();
        for (i, a) in areas.iter().enumerate() {
            assert!(a[2] < height && a[3] < width);
            for b in &areas[..i] {
                assert!(a[0] >= b[2] || b[0] >= a[2] || a[1] >= b[3] || b[1] >= a[3], "{a:?} overlaps {b:?}");
            }
        }
        let mut sheet = Sheet { width, pixels: PAPER.repeat(height * width) };
        sheet.title(&tiles[0], places[0][0], places[0][1], tile_width);
        let beyond = MARGIN + tile_width;
        let stray =
            (0..height).any(|y| sheet.pixels[(y * width + beyond) * 3..][..MARGIN * 3].iter().any(|&p| p < 200));
        assert!(!stray, "ink beyond the tile");
    }

    #[test]
    fn what_makes_no_sheet_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sheet.png");
        let wrong = Tile { channels: 2, ..tile("", 2, 2, 1) };
        assert!(write(&path, &[], "").is_err() && write(&path, &[wrong], "").is_err());
        let wide = Tile { pixels: vec![0; 4_000_000], ..tile("", 1, 4_000_000, 1) };
        let error = write(&path, &vec![wide; 16], "").unwrap_err();
        assert!(error.to_string().contains("compare fewer runs"), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn a_cut_name_keeps_both_ends() {
        assert_eq!(middle_cut("00003-vgan-mnist-b128", 10), "0000..b128");
        assert_eq!(middle_cut("00003", 5), "00003");
        assert_eq!(middle_cut("äöüßé", 4), "ä..é");
        assert_eq!(middle_cut("abc", 0), "..");
    }
}
