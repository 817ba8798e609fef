//! GIF, with one palette for all frames: palettes of their own would make still areas flicker.

use color_quant::NeuQuant;
use gif::{Encoder, Frame, Repeat};

use super::frames::Animation;
use crate::error::{Error, Result};

/// Colours of a GIF.
const COLOURS: usize = 256;

/// The most pixels that a palette is learnt from.
const MOST_LEARNT: usize = 1 << 20;

/// The whole file.
pub(super) fn encode(animation: &Animation) -> Result<Vec<u8>> {
    let internal = |e: gif::EncodingError| Error::Internal(format!("GIF: {e}"));
    let shown = animation.shown();
    // At most 65,535 each, as `write` has checked.
    let (width, height) = (shown.w as u16, shown.h as u16);
    let mut palette = Palette::of(animation);
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, width, height, &palette.colours.concat()).map_err(internal)?;
    encoder.set_repeat(Repeat::Infinite).map_err(internal)?;
    for (frame, length) in animation.frames().zip(animation.lengths()) {
        let indices: Vec<u8> = frame.chunks_exact(animation.shape.c).map(|pixel| palette.index(pixel)).collect();
        let mut frame = Frame::from_indexed_pixels(width, height, animation.magnified(&indices, 1), None);
        // In hundredths of a second.
        frame.delay = (f64::from(length) * 100.0 / f64::from(animation.fps)).round() as u16;
        encoder.write_frame(&frame).map_err(internal)?;
    }
    drop(encoder);
    Ok(bytes)
}

/// The colours of all frames, and which of them stands for a pixel.
struct Palette {
    colours: Vec<[u8; 3]>,
    kind: Kind,
}

enum Kind {
    /// The grey of a pixel is its number.
    Grey,
    /// The number of each colour that there is, by its 24 bits.
    Exact(Vec<u8>),
    /// The learnt palette, and the numbers that were looked up, each plus one.
    Learnt(Box<NeuQuant>, Vec<u16>),
}

impl Palette {
    fn of(animation: &Animation) -> Palette {
        if animation.shape.c == 1 {
            return Palette { colours: (0..=u8::MAX).map(|grey| [grey; 3]).collect(), kind: Kind::Grey };
        }
        let mut numbers = vec![0_u8; 1 << 24];
        let mut seen = vec![false; 1 << 24];
        let mut colours = Vec::new();
        for pixel in animation.pixels.chunks_exact(3) {
            let at = bits(pixel);
            if !seen[at] {
                seen[at] = true;
                numbers[at] = colours.len() as u8;
                colours.push([pixel[0], pixel[1], pixel[2]]);
                if colours.len() > COLOURS {
                    return Palette::learnt(animation);
                }
            }
        }
        Palette { colours, kind: Kind::Exact(numbers) }
    }

    /// A palette by a neural network (Dekker 1994), which takes colours in the proportion in which they occur.
    fn learnt(animation: &Animation) -> Palette {
        let pixels = animation.pixels.len() / 3;
        // An odd stride meets every column of pictures with an even width.
        let stride = pixels.div_ceil(MOST_LEARNT) | 1;
        let learnt = animation.pixels.chunks_exact(3).step_by(stride);
        let rgba: Vec<u8> = learnt.flat_map(|pixel| [pixel[0], pixel[1], pixel[2], u8::MAX]).collect();
        let network = NeuQuant::new(3, COLOURS, &rgba);
        let colours = network.color_map_rgb().chunks_exact(3).map(|c| [c[0], c[1], c[2]]).collect();
        Palette { colours, kind: Kind::Learnt(Box::new(network), vec![0; 1 << 24]) }
    }

    fn index(&mut self, pixel: &[u8]) -> u8 {
        match &mut self.kind {
            Kind::Grey => pixel[0],
            Kind::Exact(numbers) => numbers[bits(pixel)],
            Kind::Learnt(network, known) => {
                let known = &mut known[bits(pixel)];
                if *known == 0 {
                    *known = network.index_of(&[pixel[0], pixel[1], pixel[2], u8::MAX]) as u16 + 1;
                }
                (*known - 1) as u8
            }
        }
    }
}

fn bits(pixel: &[u8]) -> usize {
    usize::from(pixel[0]) << 16 | usize::from(pixel[1]) << 8 | usize::from(pixel[2])
}
