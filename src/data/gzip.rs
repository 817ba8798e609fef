//! Gzipped files: one stream or several on end, and what may stand behind them.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read};

use flate2::bufread::GzDecoder;

/// The plain content of a gzipped file. Streams that follow one another are one content, as `cat a.gz b.gz` makes them; zeros
/// behind a stream are the padding of a tape or a block device and are passed over, as gzip and Python do.
pub(crate) struct Members<R> {
    state: State<R>,
}

enum State<R> {
    Inside(GzDecoder<Counted<R>>),
    /// The whole file was read, or an error was found.
    Over,
}

impl<R: BufRead> Members<R> {
    pub(crate) fn new(reader: R) -> Self {
        Members { state: State::Inside(GzDecoder::new(Counted { reader, position: 0 })) }
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let State::Inside(mut member) = std::mem::replace(&mut self.state, State::Over) else { return Ok(0) };
            let count = member.read(buffer)?;
            if count > 0 {
                self.state = State::Inside(member);
                return Ok(count);
            }
            let mut rest = member.into_inner();
            match rest.first_that_is_not_zero()? {
                None => return Ok(0),
                Some(0x1f) => self.state = State::Inside(GzDecoder::new(rest)),
                Some(_) => {
                    return Err(io::Error::new(ErrorKind::InvalidData, Junk { offset: rest.position }));
                }
            }
        }
    }
}

/// A reader that knows how many bytes were taken from it.
struct Counted<R> {
    reader: R,
    position: u64,
}

impl<R: BufRead> Counted<R> {
    /// Passes over zeros; the byte after them stays.
    fn first_that_is_not_zero(&mut self) -> io::Result<Option<u8>> {
        loop {
            let buffer = self.fill_buf()?;
            if buffer.is_empty() {
                return Ok(None);
            }
            let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
            let next = buffer.get(zeros).copied();
            self.consume(zeros);
            if next.is_some() {
                return Ok(next);
            }
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.reader.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.position += count as u64;
        self.reader.consume(count);
    }
}

/// Bytes after a complete gzip stream that are neither another stream nor padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Junk {
    /// Its first byte, counted from the start of the file.
    pub(crate) offset: u64,
}

impl Junk {
    /// The junk that an error of [`Members`] is about, if it is about junk.
    pub(crate) fn of(error: &io::Error) -> Option<Junk> {
        error.get_ref().and_then(|inner| inner.downcast_ref()).copied()
    }
}

impl fmt::Display for Junk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "junk at offset {}", self.offset)
    }
}

impl std::error::Error for Junk {}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use super::*;

    fn gz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Through buffers of several sizes, so that every boundary is met.
    fn unzip(file: &[u8]) -> io::Result<Vec<u8>> {
        let read = |capacity| {
            let mut out = Vec::new();
            Members::new(BufReader::with_capacity(capacity, file)).read_to_end(&mut out).map(|_| out)
        };
        let (small, large) = (read(1), read(1 << 16));
        match (&small, &large) {
            (Ok(a), Ok(b)) => assert!(a == b),
            (Err(a), Err(b)) => assert_eq!((a.kind(), Junk::of(a)), (b.kind(), Junk::of(b))),
            other => panic!("the size of the buffer matters: {other:?}"),
        }
        large
    }

    #[test]
    fn streams_on_end_and_padding() {
        let (one, two) = (gz(b"one"), gz(b"two"));
        for zeros in [0, 1, 511, 512, 70_000] {
            let pad = vec![0; zeros];
            assert_eq!(unzip(&[&one[..], &pad].concat()).unwrap(), b"one", "{zeros}");
            assert_eq!(unzip(&[&one[..], &pad, &two, &pad].concat()).unwrap(), b"onetwo", "{zeros}");
        }
    }

    #[test]
    fn junk_is_found_where_it_begins() {
        let one = gz(b"one");
        for (pad, junk) in [(0, &b"x"[..]), (0, b"garbage"), (3, b"\xff\xff"), (600, b"\x01")] {
            let file = [&one[..], &vec![0; pad], junk].concat();
            let error = unzip(&file).unwrap_err();
            assert_eq!(Junk::of(&error), Some(Junk { offset: (one.len() + pad) as u64 }));
        }
        // A second stream that was cut off is no junk.
        for length in [1, 2, 9, 15] {
            let error = unzip(&[&one[..], &gz(b"two")[..length]].concat()).unwrap_err();
            assert_eq!((error.kind(), Junk::of(&error)), (ErrorKind::UnexpectedEof, None), "{length}");
        }
    }
}
