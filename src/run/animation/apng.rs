//! APNG 1.0: a PNG with several frames. Viewers that show no animations show the first.

use super::super::picture::SOFTWARE;
use super::frames::Animation;
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The whole file.
pub(super) fn encode(animation: &Animation) -> Result<Vec<u8>> {
    let internal = |e: png::EncodingError| Error::Internal(format!("APNG: {e}"));
    let ImageShape { h, w, c } = animation.shown();
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, w as u32, h as u32);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if c == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    encoder.add_text_chunk("Software".into(), SOFTWARE.into()).map_err(internal)?;
    encoder.set_animated(animation.count() as u32, 0).map_err(internal)?;
    let mut writer = encoder.write_header().map_err(internal)?;
    for (frame, length) in animation.frames().zip(animation.lengths()) {
        writer.set_frame_delay(length, animation.fps).map_err(internal)?;
        writer.write_image_data(&animation.magnified(frame, c)).map_err(internal)?;
    }
    writer.finish().map_err(internal)?;
    Ok(bytes)
}
