//! Inflated records as far as they are at hand: a batch is read through a window, and never held as a whole.

use super::{
    RecordFault,
    varint::{Cursor, Source},
};
use crate::compression::{DecompressError, Inflate};

/// Inflated records lie in a window of this size; one that is larger is read through it piece by piece.
pub(super) const WINDOW_BYTES: usize = 128 << 10;
/// The window is refilled by at least this much, where what is kept allows it: a whole LZ4 block, without a copy.
const REFILL_BYTES: usize = 64 << 10;

const _: () = assert!(REFILL_BYTES < WINDOW_BYTES);

/// Inflated bytes, as far as they are at hand.
pub(super) struct Window<'w, 'a> {
    pub(super) inflate: Inflate<'a>,
    buffer: &'w mut [u8],
    /// What of the buffer is inflated and not yet consumed.
    start: usize,
    end: usize,
    /// Whether the content has ended.
    ended: bool,
    /// Why inflating failed while a record was read through the window.
    pub(super) failure: Option<DecompressError>,
}

impl<'w, 'a> Window<'w, 'a> {
    pub(super) fn new(inflate: Inflate<'a>, buffer: &'w mut [u8]) -> Self {
        Self { inflate, buffer, start: 0, end: 0, ended: false, failure: None }
    }

    #[inline]
    pub(super) fn filled(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
    }

    /// Inflates some more behind what is there; false if the content has ended, or nothing was consumed and the
    /// window is full.
    pub(super) fn refill(&mut self) -> Result<bool, DecompressError> {
        if self.ended {
            return Ok(false);
        }
        if self.buffer.len() - self.end < REFILL_BYTES {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let room = self.buffer.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Ok(false);
        }
        let n = self.inflate.fill(room)?;
        self.end += n;
        self.ended = n == 0;
        Ok(n > 0)
    }
}

/// A record that is larger than the window, read through it.
pub(super) struct Through<'t, 'w, 'a> {
    pub(super) window: &'t mut Window<'w, 'a>,
    /// Bytes of the record that are left.
    pub(super) left: usize,
}

impl Through<'_, '_, '_> {
    /// What is at hand of the next `n` bytes; at least one, if `n` is.
    fn at_hand(&mut self, n: usize) -> Result<&[u8], RecordFault> {
        if n > self.left {
            return Err(RecordFault::Truncated);
        }
        if self.window.filled().is_empty() && n > 0 {
            self.refill()?;
        }
        let filled = self.window.filled();
        Ok(filled.get(..n).unwrap_or(filled))
    }

    fn refill(&mut self) -> Result<(), RecordFault> {
        match self.window.refill() {
            Ok(true) => Ok(()),
            Ok(false) => Err(RecordFault::Truncated),
            Err(failure) => {
                self.window.failure = Some(failure);
                Err(RecordFault::Truncated)
            }
        }
    }

    fn consume(&mut self, n: usize) {
        self.window.consume(n);
        self.left -= n;
    }
}

impl Source for Through<'_, '_, '_> {
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let &byte = self.at_hand(1)?.first().ok_or(RecordFault::Truncated)?;
        self.consume(1);
        Ok(byte)
    }

    fn skip(&mut self, mut n: usize) -> Result<(), RecordFault> {
        while n > 0 {
            let passed = self.at_hand(n)?.len();
            self.consume(passed);
            n -= passed;
        }
        Ok(())
    }

    fn skip_utf8(&mut self, mut n: usize) -> Result<(), RecordFault> {
        while n > 0 {
            let piece = self.at_hand(n)?;
            let whole = piece.len() == n;
            let passed = match std::str::from_utf8(piece) {
                Ok(text) => text.len(),
                // A character may be cut off by the window's end, not by the name's.
                Err(error) if error.error_len().is_none() && !whole => error.valid_up_to(),
                Err(_) => return Err(RecordFault::HeaderKeyUtf8),
            };
            self.consume(passed);
            n -= passed;
            if passed == 0 {
                self.refill()?;
            }
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.left == 0
    }
}

/// Whether a record lies in what is left as a whole. Not so either if its size cannot be read; then reading it
/// through the window tells why.
#[inline]
pub(super) fn holds_record(cursor: &Cursor<'_>) -> bool {
    let mut ahead = *cursor;
    match ahead.varint().map(usize::try_from) {
        Ok(Ok(size)) => size <= ahead.rest.len(),
        _ => false,
    }
}
