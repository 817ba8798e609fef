//! The pictures of a run that a report shows.

use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::uri::data_uri;
use crate::run::folder::{RunFolder, picture_step};

/// A grid of samples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// The step after which it was drawn; 0 is the untrained generator.
    pub step: u64,
    /// The place of the picture: a data URI, or a path on the server.
    pub src: String,
}

/// The limit on a run's pictures in a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most pictures.
    pub pictures: usize,
    /// The most bytes of all of them, as PNG; one is shown in any case.
    pub bytes: u64,
}

/// The bytes that begin a PNG.
const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
/// The chunk that ends one.
const END: &[u8] = b"IEND\xaeB`\x82";

/// The steps of all grids of samples in the folder, and their files, in order; step 0 is `fakes_init.png`.
pub fn listed(folder: &RunFolder) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(folder.path()).into_iter().flatten().flatten();
    let mut steps: Vec<u64> = entries.filter_map(|entry| picture_step(entry.file_name().to_str()?)).collect();
    steps.sort_unstable();
    let start = folder.fakes_init_path();
    let start = start.is_file().then_some((0, start));
    start.into_iter().chain(steps.into_iter().map(|step| (step, folder.snapshot_picture_path(step)))).collect()
}

/// At most `most` of them, evenly spread, the first and the last among them; of one, the last.
pub fn chosen<T: Clone>(all: &[T], most: usize) -> Vec<T> {
    match (all.len(), most) {
        (0, _) | (_, 0) => Vec::new(),
        (count, 1) => vec![all[count - 1].clone()],
        (count, most) if count <= most => all.to_vec(),
        (count, most) => (0..most).map(|i| all[(i * (count - 1) + (most - 1) / 2) / (most - 1)].clone()).collect(),
    }
}

/// The chosen grids as data URIs, as many as `room` has place for, and a note for each that can't be read.
pub fn embedded(folder: &RunFolder, room: Room) -> (Vec<Snapshot>, Vec<String>) {
    let (mut whole, mut notes) = (Vec::new(), Vec::new());
    for (step, path) in listed(folder) {
        let length = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        match is_whole(&path, length) {
            true => whole.push((step, path, length)),
            false => notes.push(format!("{} is no whole PNG, and left out", file_name(&path))),
        }
    }
    let mut most = room.pictures.max(1);
    let mut picked = chosen(&whole, most);
    while most > 1 && picked.iter().map(|(_, _, length)| length).sum::<u64>() > room.bytes {
        most = (most - 1).min(picked.len() - 1).max(1);
        picked = chosen(&whole, most);
    }
    let snapshot = |(step, path, _): (u64, PathBuf, u64)| Some(Snapshot { step, src: data_uri(&fs::read(path).ok()?) });
    (picked.into_iter().filter_map(snapshot).collect(), notes)
}

fn file_name(path: &std::path::Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Returns true for a file that begins and ends as a PNG does: one that was cut short is none.
pub(super) fn is_whole(path: &std::path::Path, length: u64) -> bool {
    use std::io::{Read, Seek, SeekFrom};
    let least = (SIGNATURE.len() + END.len()) as u64;
    let (mut start, mut end) = ([0; SIGNATURE.len()], [0; END.len()]);
    // Opening a named pipe would wait for a writer.
    length >= least
        && fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && fs::File::open(path)
            .and_then(|mut file| {
                file.read_exact(&mut start)?;
                file.seek(SeekFrom::Start(length - END.len() as u64))?;
                file.read_exact(&mut end)
            })
            .is_ok()
        && start == SIGNATURE
        && end == END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_ones_are_evenly_spread() {
        let all: Vec<u64> = (0..100).collect();
        assert_eq!(chosen(&all, 3), [0, 50, 99]);
        assert_eq!(chosen(&all, 1), [99]);
        assert_eq!(chosen(&all, 0), [0; 0]);
        assert_eq!(chosen(&all[..3], 40), [0, 1, 2]);
        assert_eq!(chosen::<u64>(&[], 40), [0; 0]);
        for count in 1..100 {
            for most in 2..50 {
                let picked = chosen(&all[..count], most);
                assert_eq!(picked.len(), count.min(most));
                assert!(
                    picked.is_sorted_by(|a, b| a < b) && picked[0] == 0 && picked[picked.len() - 1] == count as u64 - 1
                );
            }
        }
    }

    #[test]
    fn pictures_fit_into_their_room() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("checkpoints")).unwrap();
        fs::write(folder.path().join("config.toml"), "").unwrap();
        let run = RunFolder::open(folder.path()).unwrap();
        let room = Room { pictures: 40, bytes: 1 << 20 };
        assert_eq!(embedded(&run, room), (Vec::new(), Vec::new()));
        let png = [SIGNATURE, &[7; 980][..], END].concat();
        (1..=100).for_each(|step| fs::write(run.snapshot_picture_path(step), &png).unwrap());
        fs::write(run.fakes_init_path(), &png[..500]).unwrap();
        let (found, notes) = embedded(&run, room);
        assert_eq!((found.len(), found[0].step, found[39].step), (40, 1, 100));
        assert_eq!(notes, ["fakes_init.png is no whole PNG, and left out"]);
        let few = embedded(&run, Room { pictures: 40, bytes: 5500 }).0;
        assert_eq!((few.len(), few[0].step, few[4].step), (5, 1, 100));
        assert_eq!(
            embedded(&run, Room { pictures: 40, bytes: 0 }).0.iter().map(|one| one.step).collect::<Vec<_>>(),
            [100]
        );
    }
}
