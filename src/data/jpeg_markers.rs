//! One walk over the markers of a JPEG file (ITU-T T.81, Annex B): its header, and whether it is whole.
//!
//! A byte search can't tell the picture from a preview inside it or from what a phone appends to it, so the segments are
//! followed one by one.

use super::exif;

/// The headers before the first scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// The marker of the frame header, which says how the picture is coded: 0xc0..=0xcf without c4, c8 and cc; or 0xf7.
    pub(crate) coding: u8,
    /// Bits a sample.
    pub(crate) precision: u8,
    /// Rows as stored; 0 where they are told after the first scan.
    pub(crate) height: usize,
    /// Columns as stored.
    pub(crate) width: usize,
    /// Number of components.
    pub(crate) components: usize,
    /// EXIF's orientation, 1..=8.
    pub(crate) orientation: u8,
    /// True if a colour profile is embedded.
    pub(crate) profile: bool,
}

/// The whole of the picture.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Walk {
    pub(crate) header: Header,
    /// Ends of the stretches of coded data: the offsets of the markers after them.
    pub(crate) stretches: Vec<usize>,
    /// Number of scans.
    pub(crate) scans: usize,
    /// The offset behind the end mark.
    pub(crate) end: usize,
}

/// The reason that a walk ended before its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The bytes end where more must follow.
    Cut,
    /// The content is not a JPEG.
    Damaged(&'static str),
}

const PROGRESSIVE: u8 = 0xc2;
const TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const END: u8 = 0xd9;

/// Reads up to the first scan's header; the file may go on.
pub(crate) fn header(bytes: &[u8]) -> Result<Header, Fault> {
    Walker::new(bytes)?.header()
}

/// Follows all segments up to the end mark. What comes behind it is not looked at.
pub(crate) fn walk(bytes: &[u8]) -> Result<Walk, Fault> {
    let mut walker = Walker::new(bytes)?;
    let header = walker.header()?;
    let mut seen = [false; 256];
    let (mut stretches, mut scans) = (Vec::new(), 0);
    loop {
        // The walker stands behind the marker of a scan.
        walker.scan(header.coding, &mut seen)?;
        scans += 1;
        let mut marker = walker.marker()?;
        stretches.push(walker.marker_at);
        // Restart marks part the data of one scan.
        while (0xd0..=0xd7).contains(&marker) {
            marker = walker.marker()?;
            stretches.push(walker.marker_at);
        }
        while marker != START_OF_SCAN && marker != END {
            if marker == TABLES {
                walker.tables()?;
            } else if has_segment(marker) {
                walker.segment()?;
            }
            marker = walker.marker()?;
        }
        if marker == END {
            break;
        }
    }
    if !walker.component_ids.iter().all(|&id| seen[usize::from(id)]) {
        return Err(Fault::Damaged("a component without data"));
    }
    Ok(Walk { header, stretches, scans, end: walker.at })
}

/// Returns true if a length and content follow a marker.
fn has_segment(marker: u8) -> bool {
    !matches!(marker, 0x01 | 0xd0..=0xd9)
}

struct Walker<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Offset of the last marker.
    marker_at: usize,
    component_ids: Vec<u8>,
    /// Defined Huffman tables, by class (0 for mean values, 1 for the rest) and number.
    tables: [[bool; 16]; 2],
}

impl<'a> Walker<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Fault> {
        if !bytes.starts_with(&[0xff, 0xd8]) {
            return Err(Fault::Damaged("no start mark"));
        }
        Ok(Walker { bytes, at: 2, marker_at: 0, component_ids: Vec::new(), tables: [[false; 16]; 2] })
    }

    /// The next marker, past coded data, padding (ff before a marker) and junk.
    fn marker(&mut self) -> Result<u8, Fault> {
        loop {
            let rest = self.bytes.get(self.at..).ok_or(Fault::Cut)?;
            let escape = rest.iter().position(|&byte| byte == 0xff).ok_or(Fault::Cut)?;
            let padding = rest[escape..].iter().take_while(|&&byte| byte == 0xff).count();
            let marker = *rest.get(escape + padding).ok_or(Fault::Cut)?;
            self.marker_at = self.at + escape;
            self.at += escape + padding + 1;
            // ff 00 stands for a byte ff in coded data.
            if marker != 0 {
                return Ok(marker);
            }
        }
    }

    /// The content of the segment whose marker was just read.
    fn segment(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.bytes.get(self.at..self.at + 2).ok_or(Fault::Cut)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        if length < 2 {
            return Err(Fault::Damaged("a segment with a length below 2"));
        }
        let content = self.bytes.get(self.at + 2..self.at + length).ok_or(Fault::Cut)?;
        self.at += length;
        Ok(content)
    }

    /// Walks to behind the marker of the first scan.
    fn header(&mut self) -> Result<Header, Fault> {
        let mut frame: Option<Header> = None;
        let (mut orientation, mut profile) = (None, false);
        loop {
            let marker = self.marker()?;
            match marker {
                START_OF_SCAN => {
                    let header = frame.ok_or(Fault::Damaged("a scan before the frame header"))?;
                    return Ok(Header { orientation: orientation.unwrap_or(exif::UPRIGHT), profile, ..header });
                }
                END => return Err(Fault::Damaged("no picture in it")),
                0xd8 => return Err(Fault::Damaged("a second start mark")),
                marker if !has_segment(marker) => {}
                0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf | 0xf7 => {
                    if frame.is_some() {
                        return Err(Fault::Damaged("two frame headers"));
                    }
                    frame = Some(self.frame(marker)?);
                }
                TABLES => self.tables()?,
                0xe1 => {
                    let content = self.segment()?;
                    let tiff = content.strip_prefix(b"Exif\0").and_then(|rest| rest.get(1..));
                    orientation = orientation.or(tiff.map(exif::orientation));
                }
                0xe2 => profile |= self.segment()?.starts_with(b"ICC_PROFILE\0"),
                _ => {
                    self.segment()?;
                }
            }
        }
    }

    fn frame(&mut self, coding: u8) -> Result<Header, Fault> {
        let content = self.segment()?;
        let short = Fault::Damaged("a frame header that is too short");
        let &[precision, y0, y1, x0, x1, components] = content.first_chunk().ok_or(short)?;
        let components = usize::from(components);
        let ids = content.get(6..6 + 3 * components).ok_or(short)?;
        self.component_ids = ids.iter().step_by(3).copied().collect();
        let (height, width) = (u16::from_be_bytes([y0, y1]).into(), u16::from_be_bytes([x0, x1]).into());
        Ok(Header { coding, precision, height, width, components, orientation: exif::UPRIGHT, profile: false })
    }
    /// Notes which Huffman tables a segment defines.
    fn tables(&mut self) -> Result<(), Fault> {
        let mut content = self.segment()?;
        while let [table, rest @ ..] = content {
            let short = Fault::Damaged("a Huffman table that is too short");
            let lengths = rest.get(..16).ok_or(short)?;
            let codes: usize = lengths.iter().map(|&count| usize::from(count)).sum();
            content = rest.get(16 + codes..).ok_or(short)?;
            let class =
                self.tables.get_mut(usize::from(table >> 4)).ok_or(Fault::Damaged("an unknown Huffman table"))?;
            class[usize::from(table & 15)] = true;
        }
        Ok(())
    }

    /// Reads a scan's header, notes the components, and makes sure that its Huffman tables are there: the decoder would take
    /// others for those that are missing.
    fn scan(&mut self, coding: u8, seen: &mut [bool; 256]) -> Result<(), Fault> {
        let short = Fault::Damaged("a scan header that is too short");
        let scan = self.segment()?;
        let count = usize::from(*scan.first().ok_or(short)?);
        let components = scan.get(1..1 + 2 * count).ok_or(short)?;
        let &[first, _, bits] = scan.get(1 + 2 * count..).and_then(|rest| rest.first_chunk()).ok_or(short)?;
        let (needs_mean, needs_rest) =
            if coding == PROGRESSIVE { (first == 0 && bits >> 4 == 0, first > 0) } else { (true, true) };
        for component in components.chunks_exact(2) {
            seen[usize::from(component[0])] = true;
            let [mean, rest] = [component[1] >> 4, component[1] & 15].map(usize::from);
            if (needs_mean && !self.tables[0][mean]) || (needs_rest && !self.tables[1][rest]) {
                return Err(Fault::Damaged("a scan without its Huffman tables"));
            }
        }
        Ok(())
    }
}
