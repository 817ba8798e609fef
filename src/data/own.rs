//! Recognises this program's own output. If a run's folder lies inside the folder of its images, its pictures must not become
//! images: the next start, and `resume`, would see other data.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Prefix of the software name in our pictures (`src/run/picture.rs`).
const SOFTWARE: &[u8] = b"vgan-cuda";

/// Bytes of a PNG that are searched for its text; ours have it right after the header.
const START: u64 = 512;

/// Returns true for the folder of a run of any version: `config.toml` and `checkpoints/`, as other programs have them too,
/// and something that only ours have.
pub(crate) fn is_run(folder: &Path) -> bool {
    let config = folder.join("config.toml");
    if !config.is_file() || !folder.join("checkpoints").is_dir() {
        return false;
    }
    let mut start = Vec::new();
    let read = File::open(&config).and_then(|file| file.take(START).read_to_end(&mut start));
    let named = read.is_ok() && start.windows(SOFTWARE.len()).any(|bytes| bytes == SOFTWARE);
    named || (folder.join("stats.jsonl").is_file() && folder.join("env.json").is_file())
}

/// Returns true for a PNG that this program made, by its text.
pub(crate) fn is_picture(path: &Path) -> bool {
    // Opening a named pipe would wait for a writer.
    let regular = fs::metadata(path).is_ok_and(|metadata| metadata.is_file());
    let mut start = Vec::new();
    regular && File::open(path).and_then(|file| file.take(START).read_to_end(&mut start)).is_ok() && names_us(&start)
}

/// Returns true if a text `Software` before the image's data names this program. Each chunk is its length, its kind, its content and four
/// bytes of checksum (PNG 5.3).
fn names_us(png: &[u8]) -> bool {
    let Some(mut rest) = png.strip_prefix(b"\x89PNG\r\n\x1a\n") else { return false };
    while let Some((head, after)) = rest.split_at_checked(8) {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if head.ends_with(b"IDAT") {
            return false;
        }
        let text = head.ends_with(b"tEXt").then(|| after.get(..length)).flatten();
        if text.and_then(|text| text.strip_prefix(b"Software\0")).is_some_and(|made_by| made_by.starts_with(SOFTWARE)) {
            return true;
        }
        let Some(next) = length.checked_add(4).and_then(|skip| after.get(skip..)) else { return false };
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(texts: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
        for (key, text) in texts {
            encoder.add_text_chunk((*key).into(), (*text).into()).unwrap();
        }
        encoder.write_header().unwrap().write_image_data(&[0, 0, 0, 0]).ok();
        bytes
    }

    #[test]
    fn pictures_are_known_by_what_made_them() {
        for (texts, ours) in [
            (&[("Software", "vgan-cuda")][..], true),
            (&[("Title", "a long one"), ("Software", "vgan-cuda compare")], true),
            (&[("Software", "another")], false),
            (&[("Comment", "vgan-cuda")], false),
            (&[], false),
        ] {
            assert_eq!(names_us(&png(texts)), ours, "{texts:?}");
        }
        let whole = png(&[("Software", "vgan-cuda")]);
        for length in 0..whole.len() {
            // Never a panic, whatever is missing.
            names_us(&whole[..length]);
        }
        assert!(!names_us(b"\x89PNG\r\n\x1a\n\xff\xff\xff\xfftEXtSoftware\0vgan-cuda"));
    }

    #[test]
    fn a_run_is_known_by_what_only_runs_have() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(!is_run(path));
        fs::create_dir(path.join("checkpoints")).unwrap();
        fs::write(path.join("config.toml"), "[model]\nname = 'another program'\n").unwrap();
        assert!(!is_run(path), "another program's");
        fs::write(path.join("config.toml"), "# The settings of a run of vgan-cuda 0.1.0.\n").unwrap();
        assert!(is_run(path));
        fs::write(path.join("config.toml"), "[train]\nbatch = 3\n").unwrap();
        assert!(!is_run(path));
        ["stats.jsonl", "env.json"].iter().for_each(|name| fs::write(path.join(name), "").unwrap());
        assert!(is_run(path), "with a configuration that was edited");
    }
}
