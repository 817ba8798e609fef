//! From offsets in a loaded program to lines of source, by binutils' addr2line, and only when there is something to tell.

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use crate::report::Place;

/// The lines of each offset, innermost first; a line of the emulator's own headers is left out where the line that it
/// was inlined into is known.
pub(crate) fn places(library: &Path, offsets: &[u64], own: &Path) -> HashMap<u64, Vec<Place>> {
    let mut offsets: Vec<u64> = offsets.iter().copied().filter(|&offset| offset != 0).collect();
    offsets.sort_unstable();
    offsets.dedup();
    if offsets.is_empty() {
        return HashMap::new();
    }
    let mut command = Command::new("addr2line");
    command.arg("-a").arg("-i").arg("-e").arg(library);
    for offset in &offsets {
        command.arg(format!("{offset:#x}"));
    }
    let Ok(output) = command.output() else {
        return HashMap::new();
    };
    let mut all = HashMap::new();
    let mut current = 0;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some(digits) = line.strip_prefix("0x") {
            current = u64::from_str_radix(digits, 16).unwrap_or(0);
        } else if let Some(place) = parse(line) {
            all.entry(current).or_insert_with(Vec::new).push(place);
        }
    }
    for places in all.values_mut() {
        let foreign = places.iter().position(|place| !place.file.starts_with(own)).unwrap_or(0);
        places.drain(..foreign);
    }
    all
}

/// "/a/b.cu:12" or "/a/b.cu:12 (discriminator 3)"; "??:0" is none.
fn parse(line: &str) -> Option<Place> {
    let line = line.split(" (").next()?;
    let (file, number) = line.rsplit_once(':')?;
    let number = number.parse().ok().filter(|&number| number > 0)?;
    Some(Place { file: file.into(), line: number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed() {
        let place = parse("/a b/c.cu:12 (discriminator 3)").expect("a place");
        assert_eq!((place.file.to_str(), place.line), (Some("/a b/c.cu"), 12));
        assert_eq!(parse("??:0"), None);
        assert_eq!(parse("??:?"), None);
    }
}
