//! Grids of images as 8-bit PNG.

use std::path::Path;

use super::atomic;
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The software name in every picture. Pictures among the images of a data set are recognised by it and
/// left out (`src/data/own.rs`).
pub const SOFTWARE: &str = "vgan-cuda";

/// Pixels between two cells of a grid.
pub const GAP: usize = 2;

/// The colour of the gap and of empty cells; it stands out from black and from white images.
const GAP_COLOUR: u8 = 96;

/// The least width that [`fitting_scale`] aims at, in pixels.
const LEAST_WIDTH: usize = 600;

/// Writes `count` images as a grid of `columns` cells a row, each pixel as `scale` × `scale` pixels, and nothing
/// around the grid. A `scale` of 0 takes [`fitting_scale`]. The file appears whole or not at all.
///
/// `pixels`: `[count, height, width, channels]`, 0 is black; `channels` is 1 (grey) or 3 (red, green, blue).
///
/// # Errors
/// [`Error::Io`] where the file can't be written; [`Error::Internal`] where the sizes make no picture.
pub fn write_grid(
    path: &Path,
    pixels: &[u8],
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    columns: usize,
    scale: usize,
) -> Result<()> {
    atomic::write_file(path, &encode_grid(pixels, count, height, width, channels, columns, scale)?)
}

/// The bytes of the PNG that [`write_grid`] writes.
///
/// # Errors
/// [`Error::Internal`] where the sizes make no picture.
pub fn encode_grid(
    pixels: &[u8],
    count: usize,
    height: usize,
    width: usize,
    channels: usize,
    columns: usize,
    scale: usize,
) -> Result<Vec<u8>> {
    let cell = Cell { height, width, channels };
    let scale = if scale == 0 { fitting_scale(columns.min(count), width) } else { scale };
    let grid = Grid::new(cell, count, columns, scale)
        .filter(|_| Some(pixels.len()) == cell.bytes().and_then(|b| b.checked_mul(count)))
        .ok_or_else(|| {
            let bytes = pixels.len();
            let sizes = format!("{count} × {height} × {width} × {channels}, {columns} columns, scale {scale}");
            Error::Internal(format!("{bytes} bytes make no grid of {sizes}"))
        })?;
    encode(grid.height, grid.width, channels, &grid.draw(pixels), Some(SOFTWARE))
}

/// The smallest scale at which `columns` images of this width make a grid of 600 pixels or more.
pub fn fitting_scale(columns: usize, width: usize) -> usize {
    let gaps = columns.saturating_sub(1).saturating_mul(GAP);
    let cells = columns.saturating_mul(width).max(1);
    LEAST_WIDTH.saturating_sub(gaps).div_ceil(cells).max(1)
}

/// The images of a grid that [`write_grid`] drew with a scale of 0, each pixel once: `[count, image]`. `picture` is the grid's shape and
/// `pixels` its `[height, width, channels]`; an incomplete last row ends in empty cells. `None` where it is no such grid.
pub fn cells(picture: ImageShape, pixels: &[u8], image: ImageShape, columns: usize) -> Option<Vec<u8>> {
    let scale = fitting_scale(columns, image.w);
    let grid = |rows: usize| {
        let cell = Cell { height: image.h, width: image.w, channels: image.c };
        Grid::new(cell, rows.checked_mul(columns)?, columns, scale)
    };
    let rows = (picture.h + GAP) / image.h.checked_mul(scale)?.checked_add(GAP)?;
    let Grid { height, width, .. } = grid(rows)?;
    if (height, width, image.c) != (picture.h, picture.w, picture.c) || pixels.len() != picture.len() {
        return None;
    }
    let mut images = Vec::with_capacity(rows * columns * image.len());
    for index in 0..rows * columns {
        let top = index / columns * (image.h * scale + GAP);
        let left = index % columns * (image.w * scale + GAP);
        for y in 0..image.h {
            let line = ((top + y * scale) * width + left) * image.c;
            let pixel = |x: usize| &pixels[line + x * scale * image.c..][..image.c];
            (0..image.w).for_each(|x| images.extend_from_slice(pixel(x)));
        }
    }
    Some(images)
}

/// Images `[height, width, channels]` as a PNG without anything around them, each pixel as it is.
///
/// # Errors
/// [`Error::Internal`] where the sizes make no picture.
pub fn png(image: ImageShape, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(image.h, image.w, image.c, pixels, Some(SOFTWARE))
}

/// The same without the name of this program: an image of a data set, which training does not leave out.
///
/// # Errors
/// As [`png()`].
pub fn plain_png(image: ImageShape, pixels: &[u8]) -> Result<Vec<u8>> {
    encode(image.h, image.w, image.c, pixels, None)
}

#[derive(Clone, Copy)]
struct Cell {
    height: usize,
    width: usize,
    channels: usize,
}

impl Cell {
    fn bytes(self) -> Option<usize> {
        self.height.checked_mul(self.width)?.checked_mul(self.channels)
    }
}

struct Grid {
    cell: Cell,
    columns: usize,
    scale: usize,
    /// Of the whole picture, in pixels.
    height: usize,
    width: usize,
}

impl Grid {
    /// `None` where the sizes make no picture: something is zero, too large, or neither grey nor colour.
    fn new(cell: Cell, count: usize, columns: usize, scale: usize) -> Option<Grid> {
        let columns = columns.min(count);
        if columns == 0 || scale == 0 || cell.bytes()? == 0 || !matches!(cell.channels, 1 | 3) {
            return None;
        }
        let extent = |cells: usize, size: usize| {
            let scaled = size.checked_mul(scale)?.checked_add(GAP)?.checked_mul(cells)? - GAP;
            (scaled <= i32::MAX as usize).then_some(scaled)
        };
        let height = extent(count.div_ceil(columns), cell.height)?;
        let width = extent(columns, cell.width)?;
        height.checked_mul(width)?.checked_mul(cell.channels)?;
        Some(Grid { cell, columns, scale, height, width })
    }

    /// The picture `[height, width, channels]`.
    fn draw(&self, pixels: &[u8]) -> Vec<u8> {
        let Grid { cell: Cell { height, width, channels }, columns, scale, .. } = *self;
        let stride = self.width * channels;
        let mut picture = vec![GAP_COLOUR; self.height * stride];
        for (index, image) in pixels.chunks_exact(height * width * channels).enumerate() {
            let top = index / columns * (height * scale + GAP);
            let left = index % columns * (width * scale + GAP);
            for (y, row) in image.chunks_exact(width * channels).enumerate() {
                let line = magnify(row, channels, scale);
                for repeat in 0..scale {
                    let start = (top + y * scale + repeat) * stride + left * channels;
                    picture[start..start + line.len()].copy_from_slice(&line);
                }
            }
        }
        picture
    }
}

/// Each pixel of a row, `scale` times.
fn magnify(row: &[u8], channels: usize, scale: usize) -> Vec<u8> {
    row.chunks_exact(channels).flat_map(|pixel| pixel.repeat(scale)).collect()
}

/// The picture `[height, width, channels]` as a PNG; `software` is noted in it as what made it.
pub(super) fn encode(
    height: usize,
    width: usize,
    channels: usize,
    picture: &[u8],
    software: Option<&str>,
) -> Result<Vec<u8>> {
    let internal = |e: png::EncodingError| Error::Internal(format!("PNG: {e}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    if let Some(software) = software {
        encoder.add_text_chunk("Software".into(), software.into()).map_err(internal)?;
    }
    let mut writer = encoder.write_header().map_err(internal)?;
    writer.write_image_data(picture).map_err(internal)?;
    writer.finish().map_err(internal)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(path: &Path) -> (usize, usize, usize, Vec<u8>) {
        let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
        let mut reader = png::Decoder::new(file).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        (info.height as usize, info.width as usize, info.color_type.samples(), pixels)
    }

    /// Every pixel of the decoded picture against the definition, for odd sizes and a last row that is not full.
    #[test]
    fn every_pixel_is_where_it_belongs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        for (count, h, w, c, columns, scale) in
            [(1, 1, 1, 1, 1, 1), (5, 3, 2, 1, 3, 4), (7, 2, 5, 3, 2, 3), (4, 3, 3, 3, 9, 1), (1, 28, 28, 1, 8, 2)]
        {
            // Never the gap's colour.
            let pixels: Vec<u8> = (0..count * h * w * c).map(|i| 100 + (i * 37 % 151) as u8).collect();
            write_grid(&path, &pixels, count, h, w, c, columns, scale).unwrap();
            let (height, width, channels, picture) = decode(&path);
            let across = columns.min(count);
            let down = count.div_ceil(across);
            assert_eq!((height, channels), (down * h * scale + (down - 1) * GAP, c));
            assert_eq!(width, across * w * scale + (across - 1) * GAP);
            for (index, &found) in picture.iter().enumerate() {
                let (y, x, channel) = (index / c / width, index / c % width, index % c);
                let (row, dy) = (y / (h * scale + GAP), y % (h * scale + GAP));
                let (column, dx) = (x / (w * scale + GAP), x % (w * scale + GAP));
                let image = row * across + column;
                let expected = if dy >= h * scale || dx >= w * scale || image >= count {
                    GAP_COLOUR
                } else {
                    pixels[((image * h + dy / scale) * w + dx / scale) * c + channel]
                };
                assert_eq!(found, expected, "y {y}, x {x}, channel {channel}");
            }
        }
    }

    #[test]
    fn a_grid_gives_its_images_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        for (count, h, w, c) in [(64, 28, 28, 1), (64, 8, 8, 3), (16, 5, 7, 1), (8, 130, 130, 3)] {
            let pixels: Vec<u8> = (0..count * h * w * c).map(|i| (i * 37 % 251) as u8).collect();
            write_grid(&path, &pixels, count, h, w, c, 8, 0).unwrap();
            let (height, width, channels, picture) = decode(&path);
            let (grid, image) = (ImageShape { h: height, w: width, c: channels }, ImageShape { h, w, c });
            assert!(cells(grid, &picture, image, 8) == Some(pixels), "{count} of {image:?}");
            assert_eq!(cells(grid, &picture, ImageShape { h: h + 1, ..image }, 8), None);
            assert_eq!(cells(grid, &picture, ImageShape { c: 4 - c, ..image }, 8), None);
            assert_eq!(cells(grid, &picture[1..], image, 8), None);
            assert_eq!(cells(grid, &picture, ImageShape { h: 0, w: 0, c }, 8), None);
        }
    }

    #[test]
    fn digits_are_large_enough_to_see() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        write_grid(&path, &[0; 64 * 784], 64, 28, 28, 1, 8, 0).unwrap();
        let (_, width, _, _) = decode(&path);
        assert!((600..900).contains(&width), "{width}");
        assert_eq!(fitting_scale(8, 28), 3);
        assert_eq!(fitting_scale(1, 28), 22);
        assert_eq!(fitting_scale(10, 128), 1);
        assert_eq!(fitting_scale(0, 0), 600);
    }

    #[test]
    fn sizes_that_make_no_picture_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.png");
        let huge = usize::MAX;
        for (bytes, count, h, w, c, columns, scale) in [
            (0, 0, 1, 1, 1, 1, 1),
            (8, 2, 2, 2, 1, 0, 1),
            (8, 1, 2, 2, 2, 1, 1),
            (7, 2, 2, 2, 1, 1, 1),
            (4, 1, 2, 2, 1, 1, huge),
            (0, 1, 0, 2, 1, 1, 1),
            (4, huge, huge, 1, 1, 1, 0),
        ] {
            assert!(write_grid(&path, &vec![0; bytes], count, h, w, c, columns, scale).is_err());
        }
        assert!(!path.exists());
    }
}
