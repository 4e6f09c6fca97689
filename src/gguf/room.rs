//! Room in a header for metadata to change in place.
//!
//! A GGUF reader finds the tensor data where the header ends, so that a header can only have room inside: as the value of a key that
//! nobody else knows. It is an array of bytes, which every reader skips. This layout lets a change appear by one small write:
//!
//! ```text
//! magic | version | n_tensors | n_metadata | oribi.room: u8[X] | small entries | large arrays | tensors | padding | data
//!                                                                                 ^ never moves
//! magic | version | n_tensors | n_metadata | oribi.room: u8[0] | new entries | oribi.room2: u8[Y] | large arrays | ...
//! ```
//!
//! New entries are written into the room that is not used now, in front of the live ones or, next time, behind them, where no
//! reader looks; then the number of entries and the length of the first room, which lie together in the file's first 58
//! bytes, are written at once, and the new entries are live and the old ones room. A process killed at any moment leaves the old
//! metadata or the new.

use super::encode::put_string;
use super::value::ValueType;
use std::ops::Range;

/// The first entry of a header with room.
pub(super) const ROOM_KEY: &str = "oribi.room";
/// The room behind the small entries.
pub(super) const ROOM2_KEY: &str = "oribi.room2";

/// Bytes that small entries can grow by before a file must be written anew.
pub(super) const SPARE_BYTES: usize = 4096;
/// An array of more bytes than this stays where it is.
const LARGE_BYTES: usize = 1024;
/// Where the count of entries is, and where the entries begin, from version 2 on.
pub(super) const COUNT_AT: usize = 16;
pub(super) const ENTRIES_AT: usize = 24;

/// Whether a key holds room, and no metadata.
pub(super) fn is_room(key: &str) -> bool {
    key == ROOM_KEY || key == ROOM2_KEY
}

/// Whether an entry's type and value are those of a large array.
pub(super) fn is_large(value: &[u8]) -> bool {
    value.starts_with(&(ValueType::Array as u32).to_le_bytes()) && value.len() > LARGE_BYTES
}

/// The entry of a room of `len` bytes, without these.
pub(super) fn head(key: &str, len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_string(key.as_bytes(), &mut bytes);
    bytes.extend_from_slice(&(ValueType::Array as u32).to_le_bytes());
    bytes.extend_from_slice(&(ValueType::U8 as u32).to_le_bytes());
    bytes.extend_from_slice(&(len as u64).to_le_bytes());
    bytes
}

/// The front of a header with room: where its parts are, in bytes from the start of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Front {
    /// The live small entries.
    pub live: Range<usize>,
    /// Where the large ones begin.
    pub end: usize,
}

/// What to write so that other small entries become live: all of `hidden` first, then `switch`, then nothing matters any more but
/// `dead`, which may be cleared.
#[derive(Debug)]
pub(super) struct Switch {
    pub hidden: (usize, Vec<u8>),
    pub switch: (usize, Vec<u8>),
    pub dead: Range<usize>,
}

impl Front {
    /// The front of a header whose entries are these, if it has room.
    pub fn of(entries: &[(&str, Range<usize>)], bytes: &[u8]) -> Option<Front> {
        let (key, room) = entries.first()?;
        let expected = head(ROOM_KEY, 0);
        let shape = &expected[..expected.len() - 8]; // all but the length
        if *key != ROOM_KEY || room.start != ENTRIES_AT || !bytes.get(room.start..)?.starts_with(shape) {
            return None;
        }
        let is_small = |(key, range): &&(&str, Range<usize>)| {
            *key != ROOM2_KEY && !is_large(&bytes[range.start + 8 + key.len()..range.end])
        };
        let n_small = entries[1..].iter().take_while(is_small).count();
        let live_end = entries[n_small].1.end;
        let end = match entries.get(n_small + 1) {
            Some((key, range)) if *key == ROOM2_KEY => range.end,
            _ => live_end,
        };
        Some(Front { live: room.end..live_end, end })
    }

    /// How `small` entries, so many, become live; `n_others` is the number of large ones. `None` where there is too little room.
    pub fn switch(&self, small: &[u8], n_small: usize, n_others: usize) -> Option<Switch> {
        let first = ENTRIES_AT + head(ROOM_KEY, 0).len();
        let room2_head = head(ROOM2_KEY, 0).len();
        let has_room2 = self.end > self.live.end;
        let switch = |n_rooms: usize, start: usize| {
            let mut bytes = ((n_small + n_others + n_rooms) as u64).to_le_bytes().to_vec();
            bytes.extend(head(ROOM_KEY, start - first));
            (COUNT_AT, bytes)
        };
        // In front of the live ones, with the second room behind.
        let end = first + small.len();
        if end + room2_head <= self.live.start {
            let room2 = end + room2_head..self.end;
            let hidden = [small, &head(ROOM2_KEY, room2.len())].concat();
            return Some(Switch { hidden: (first, hidden), switch: switch(2, first), dead: room2 });
        }
        // Behind them, up to the large ones; the second room's own head is live until then.
        let start = self.end.checked_sub(small.len())?;
        (has_room2 && start >= self.live.end + room2_head).then(|| Switch {
            hidden: (start, small.to_vec()),
            switch: switch(1, start),
            dead: first..start,
        })
    }
}
