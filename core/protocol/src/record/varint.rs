//! VARINT and VARLONG: zig-zag, then seven bits a byte, least significant first.
//!
//! A number may be written longer than it need be, as Java allows, but not beyond the bytes that its type can take,
//! nor with bits that its type does not have.

use super::RecordFault;

/// Where the fields of a record are read from: bytes in memory, or a window on a stream.
pub(super) trait Source {
    /// The next byte.
    fn byte(&mut self) -> Result<u8, RecordFault>;

    /// Passes over `n` bytes.
    fn skip(&mut self, n: usize) -> Result<(), RecordFault>;

    /// Passes over `n` bytes of UTF-8.
    fn skip_utf8(&mut self, n: usize) -> Result<(), RecordFault>;

    /// Whether all was read.
    fn is_empty(&self) -> bool;

    /// UNSIGNED_VARINT of 32 bits.
    #[inline]
    fn uvarint(&mut self) -> Result<u32, RecordFault> {
        uvarint_bytewise(self)
    }

    /// UNSIGNED_VARINT of 64 bits.
    #[inline]
    fn uvarlong(&mut self) -> Result<u64, RecordFault> {
        uvarlong_bytewise(self)
    }

    /// VARINT.
    #[inline]
    fn varint(&mut self) -> Result<i32, RecordFault> {
        self.uvarint().map(unzigzag)
    }

    /// VARLONG.
    #[inline]
    fn varlong(&mut self) -> Result<i64, RecordFault> {
        let n = self.uvarlong()?;
        Ok((n >> 1).cast_signed() ^ -(n & 1).cast_signed())
    }
}

#[inline(never)]
fn uvarint_bytewise<S: Source + ?Sized>(source: &mut S) -> Result<u32, RecordFault> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28] {
        let byte = source.byte()?;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0x0f {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordFault::Varint)
}

#[inline(never)]
fn uvarlong_bytewise<S: Source + ?Sized>(source: &mut S) -> Result<u64, RecordFault> {
    let mut value = 0;
    for shift in [0, 7, 14, 21, 28, 35, 42, 49, 56, 63] {
        let byte = source.byte()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(RecordFault::Varint)
}

#[inline]
pub(super) const fn unzigzag(n: u32) -> i32 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

#[inline]
pub(super) const fn zigzag(n: i32) -> u32 {
    (n << 1 ^ n >> 31).cast_unsigned()
}

#[inline]
pub(super) const fn zigzag_long(n: i64) -> u64 {
    (n << 1 ^ n >> 63).cast_unsigned()
}

/// Bytes in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// The next `n` bytes.
    #[inline]
    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], RecordFault> {
        let (front, back) = self.rest.split_at_checked(n).ok_or(RecordFault::Truncated)?;
        self.rest = back;
        Ok(front)
    }

    /// Bytes behind their VARINT length; `None` for -1. Java takes every negative length as null.
    #[inline]
    pub(super) fn nullable(&mut self) -> Result<Option<&'a [u8]>, RecordFault> {
        match usize::try_from(self.varint()?) {
            Ok(n) => self.take(n).map(Some),
            Err(_) => Ok(None),
        }
    }
}

impl Source for Cursor<'_> {
    #[inline]
    fn byte(&mut self) -> Result<u8, RecordFault> {
        let (&byte, rest) = self.rest.split_first().ok_or(RecordFault::Truncated)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    fn skip(&mut self, n: usize) -> Result<(), RecordFault> {
        self.take(n).map(drop)
    }

    #[inline]
    fn skip_utf8(&mut self, n: usize) -> Result<(), RecordFault> {
        match std::str::from_utf8(self.take(n)?) {
            Ok(_) => Ok(()),
            Err(_) => Err(RecordFault::HeaderKeyUtf8),
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    fn uvarint(&mut self) -> Result<u32, RecordFault> {
        // Nearly all numbers in a record take one byte, its lengths one or two.
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u32::from(a))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u32::from(a & 0x7f) | u32::from(b) << 7)
            }
            _ => uvarint_bytewise(self),
        }
    }

    #[inline]
    fn uvarlong(&mut self) -> Result<u64, RecordFault> {
        match *self.rest {
            [a, ref rest @ ..] if a < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a))
            }
            [a, b, ref rest @ ..] if b < 0x80 => {
                self.rest = rest;
                Ok(u64::from(a & 0x7f) | u64::from(b) << 7)
            }
            _ => uvarlong_bytewise(self),
        }
    }
}

/// Bytes that an unsigned varint takes.
#[inline]
pub(super) const fn uvarint_bytes(n: u32) -> usize {
    uvarlong_bytes(n as u64)
}

/// Bytes that an unsigned varint takes.
#[inline]
pub(super) const fn uvarlong_bytes(n: u64) -> usize {
    let bits = 64 - (n | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends an unsigned varint.
#[inline]
pub(super) fn put_uvarint(out: &mut Vec<u8>, mut n: u32) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

/// Appends an unsigned varint.
#[inline]
pub(super) fn put_uvarlong(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n.to_le_bytes()[0] | 0x80);
        n >>= 7;
    }
    out.push(n.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(n: i32) -> Vec<u8> {
        let mut out = Vec::new();
        put_uvarint(&mut out, zigzag(n));
        out
    }

    #[test]
    fn numbers_are_written_as_java_writes_them_and_read_back() {
        let vectors: [(i32, &[u8]); 9] = [
            (0, &[0x00]),
            (-1, &[0x01]),
            (1, &[0x02]),
            (63, &[0x7e]),
            (64, &[0x80, 0x01]),
            (-65, &[0x81, 0x01]),
            (300, &[0xd8, 0x04]),
            (i32::MAX, &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i32::MIN, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (n, bytes) in vectors {
            assert_eq!(bytes_of(n), bytes, "{n}");
            assert_eq!(uvarint_bytes(zigzag(n)), bytes.len(), "{n}");
            let mut cursor = Cursor { rest: bytes };
            assert_eq!(cursor.varint(), Ok(n));
            assert!(cursor.rest.is_empty());
        }
    }

    #[test]
    fn long_numbers_read_back_at_every_length() {
        for bit in 0..64 {
            for n in [1_i64 << bit, (1_i64 << bit).wrapping_sub(1), -(1_i64 << (bit.min(62)))] {
                let mut out = Vec::new();
                put_uvarlong(&mut out, zigzag_long(n));
                assert_eq!(uvarlong_bytes(zigzag_long(n)), out.len(), "{n}");
                let mut cursor = Cursor { rest: &out };
                assert_eq!(cursor.varlong(), Ok(n));
                assert!(cursor.rest.is_empty());
            }
        }
    }

    #[test]
    fn numbers_that_overflow_or_end_early_are_refused() {
        let read = |bytes: &[u8]| Cursor { rest: bytes }.uvarint();
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Ok(u32::MAX));
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(RecordFault::Varint), "a 33rd bit");
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(RecordFault::Varint), "a sixth byte");
        assert_eq!(read(&[0x80, 0x80]), Err(RecordFault::Truncated));
        assert_eq!(read(&[0x80, 0x00]), Ok(0), "longer than need be, as Java allows");
        let long = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
        let read = |last: u8| Cursor { rest: &[&long[..], &[last]].concat() }.uvarlong();
        assert_eq!(read(0x01), Ok(u64::MAX));
        assert_eq!(read(0x02), Err(RecordFault::Varint), "a 65th bit");
        assert_eq!(read(0x81), Err(RecordFault::Varint), "an eleventh byte");
    }
}
