//! The lanes of a group's pieces in one word, where they have a simple form.

use super::groups::{GROUP, Lanes, pieces_of, single};

/// The lanes of an access of a group, where they have a simple form: one mask of lanes for all pieces that are touched, or one lane for
/// each of them.
///
/// Bits 0 to 7 say which pieces are touched. With [`ALL`] the upper half is the mask; without it there are five bits for each piece's
/// lane from bit 16 on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pattern(u64);

/// All pieces have the same lanes.
const ALL: u64 = 1 << 8;

impl Pattern {
    /// `None`: the lanes have no simple form.
    pub(super) fn of(lanes: &Lanes) -> Option<Pattern> {
        let pieces = u64::from(pieces_of(lanes));
        let any = lanes.iter().fold(0, |any, lanes| any | lanes);
        if lanes.iter().all(|&lanes| lanes == 0 || lanes == any) {
            return Some(Pattern(pieces | ALL | u64::from(any) << 32));
        }
        let lane = single(lanes)?;
        Some(Pattern((0..GROUP).fold(pieces, |word, k| word | u64::from(lane[k]) << (16 + 5 * k))))
    }

    /// A bit for each piece that is touched.
    #[inline(always)]
    pub(super) fn pieces(self) -> u8 {
        self.0 as u8
    }

    /// The lanes that touch a piece.
    pub(super) fn lanes(self, k: usize) -> u32 {
        match self.0 >> k & 1 {
            0 => 0,
            _ if self.0 & ALL != 0 => (self.0 >> 32) as u32,
            _ => 1 << (self.0 >> (16 + 5 * k) & 31),
        }
    }

    /// Whether each piece has one lane.
    #[inline(always)]
    pub(super) fn is_single(self) -> bool {
        self.0 & ALL == 0 || (self.0 >> 32).count_ones() <= 1
    }
}
