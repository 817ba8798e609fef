//! Moving pictures, decoded again: every pixel, and how long each frame is shown.

use std::fs;

use super::caption::CAPTION;
use super::*;
use crate::image::ImageShape;
use crate::run::font;
use crate::run::picture::SOFTWARE;

/// Frames without a pattern, in few colours or many.
fn animation(frames: usize, shape: ImageShape, colours: usize) -> Animation {
    let mut pixels: Vec<u8> = (0..frames * shape.len()).map(|i| (i * i * 31 % 251) as u8).collect();
    if shape.c == 3 {
        for (i, pixel) in pixels.chunks_exact_mut(3).enumerate() {
            let number = i * 7 % colours;
            pixel.copy_from_slice(&[
                (number % 16 * 17) as u8,
                (number / 16 % 16 * 17) as u8,
                (number / 256 * 40) as u8,
            ]);
        }
    }
    Animation { shape, pixels, scale: 3, fps: 20, hold: 5 }
}

/// Each pixel of each frame, magnified by the definition.
fn expected(animation: &Animation) -> Vec<Vec<u8>> {
    let (ImageShape { h, w, c }, scale) = (animation.shape, animation.scale);
    let frame = |frame: &[u8]| {
        let pixel = |i: usize| {
            let (y, x, k) = (i / c / (w * scale), i / c % (w * scale), i % c);
            frame[(y / scale * w + x / scale) * c + k]
        };
        (0..h * w * scale * scale * c).map(pixel).collect()
    };
    animation.pixels.chunks_exact(h * w * c).map(frame).collect()
}

/// The frames of a GIF in red, green and blue, and their times in hundredths of a second.
fn decoded_gif(bytes: &[u8]) -> (Vec<Vec<u8>>, Vec<u16>) {
    let mut options = ::gif::DecodeOptions::new();
    options.set_color_output(::gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(bytes).unwrap();
    let (mut frames, mut times) = (Vec::new(), Vec::new());
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        times.push(frame.delay);
        frames.push(frame.buffer.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect());
    }
    assert_eq!(decoder.repeat(), ::gif::Repeat::Infinite);
    (frames, times)
}

fn written(animation: &Animation, name: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    write(animation, &path, Format::of(&path).unwrap()).unwrap();
    fs::read(&path).unwrap()
}

#[test]
fn a_gif_of_few_colours_is_exact() {
    for (shape, colours) in [((3, 5, 1), 0), ((4, 3, 3), 9), ((40, 40, 3), 256)] {
        let animation = animation(4, ImageShape { h: shape.0, w: shape.1, c: shape.2 }, colours);
        let (frames, times) = decoded_gif(&written(&animation, "a.gif"));
        assert_eq!(times, [5, 5, 5, 25]);
        let in_colour =
            |frame: Vec<u8>| if shape.2 == 1 { frame.iter().flat_map(|&grey| [grey; 3]).collect() } else { frame };
        let expected: Vec<Vec<u8>> = expected(&animation).into_iter().map(in_colour).collect();
        assert!(frames == expected, "{shape:?}");
    }
}

/// 256 of 1,500 colours: what stands for a pixel is near it, and the same in all frames.
#[test]
fn a_gif_of_many_colours_is_near() {
    let animation = animation(3, ImageShape { h: 50, w: 50, c: 3 }, 1500);
    let (frames, _) = decoded_gif(&written(&animation, "a.gif"));
    let all = |frames: &[Vec<u8>]| frames.concat();
    let (found, expected) = (all(&frames), all(&expected(&animation)));
    let errors = found.iter().zip(&expected).map(|(&a, &b)| f64::from(a.abs_diff(b)));
    let mean = errors.sum::<f64>() / found.len() as f64;
    // In each direction the colours that there are lie 17, 17 and 40 apart: the mean is less than to the next one.
    assert!(found.len() == expected.len() && mean < 17.0, "{mean}");
    let mut shown = std::collections::HashMap::new();
    for (pixel, from) in found.chunks_exact(3).zip(expected.chunks_exact(3)) {
        assert_eq!(*shown.entry(from).or_insert(pixel), pixel, "{from:?}");
    }
}

#[test]
fn an_apng_is_exact() {
    for shape in [ImageShape { h: 3, w: 5, c: 1 }, ImageShape { h: 9, w: 4, c: 3 }] {
        let animation = animation(4, shape, 1500);
        let bytes = written(&animation, "a.apng");
        assert!(bytes.windows(SOFTWARE.len()).any(|part| part == SOFTWARE.as_bytes()), "known as our own");
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let control = *reader.info().animation_control().unwrap();
        assert_eq!((control.num_frames, control.num_plays), (4, 0));
        for (number, expected) in expected(&animation).iter().enumerate() {
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            reader.next_frame(&mut pixels).unwrap();
            assert!(pixels == *expected, "frame {number}");
            let frame = reader.info().frame_control().unwrap();
            assert_eq!((frame.delay_num, frame.delay_den), (if number == 3 { 5 } else { 1 }, 20));
        }
    }
}

#[test]
fn sizes_that_make_no_picture_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let whole = animation(2, ImageShape { h: 2, w: 2, c: 1 }, 0);
    for broken in [
        Animation { pixels: Vec::new(), ..whole.clone() },
        Animation { pixels: vec![0; 7], ..whole.clone() },
        Animation { scale: 0, ..whole.clone() },
        Animation { scale: 40_000, ..whole.clone() },
        Animation { fps: 0, ..whole.clone() },
        Animation { shape: ImageShape { h: 2, w: 1, c: 2 }, ..whole.clone() },
        Animation { shape: ImageShape { h: 0, w: 1, c: 1 }, ..whole },
    ] {
        for (name, format) in [("a.gif", Format::Gif), ("a.apng", Format::Apng)] {
            assert!(write(&broken, &folder.path().join(name), format).is_err(), "{broken:?}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_caption_stands_under_its_picture() {
    let shape = ImageShape { h: 4, w: 100, c: 3 };
    let (with, pixels) = captioned(shape, &[7; 1200], "step 20");
    assert_eq!((with.h, with.w, with.c, pixels.len()), (4 + CAPTION, 100, 3, (4 + CAPTION) * 300));
    assert!(
        pixels[..1200].iter().all(|&value| value == 7) && pixels[1200..].iter().all(|value| [30, 250].contains(value))
    );
    let ink = pixels.iter().filter(|&&value| value == 30).count() / 3;
    assert_eq!(ink, font::ink("step 20").count() * 4);
    // Letters that have no room are left out.
    assert_eq!(captioned(ImageShape { w: 1, ..shape }, &[7; 12], "step 20").1.len(), (4 + CAPTION) * 3);
}

#[test]
fn names_have_formats() {
    for (name, format) in [
        ("a.gif", Some(Format::Gif)),
        ("b/a.GIF", Some(Format::Gif)),
        ("a.apng", Some(Format::Apng)),
        ("a.mp4", Some(Format::Mp4)),
        ("a.png", None),
        ("gif", None),
        ("a.", None),
    ] {
        assert_eq!(Format::of(Path::new(name)), format, "{name}");
    }
}
