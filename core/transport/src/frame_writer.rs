//! Writes what is made of pieces, without putting them together first.

use std::io::{self, IoSlice};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Pieces that one system call takes.
const PIECES_AT_ONCE: usize = 64;

/// Writes `pieces` in order, flushes, and empties the vector. May be dropped and called again with what is left in it.
pub async fn write_pieces<W: AsyncWrite + Unpin>(sink: &mut W, pieces: &mut Vec<Bytes>) -> io::Result<()> {
    let mut rest = pieces.as_mut_slice();
    while let Some(first) = rest.first() {
        if first.is_empty() {
            rest = &mut rest[1..];
            continue;
        }
        let mut written = {
            let mut slices = [IoSlice::new(&[]); PIECES_AT_ONCE];
            let count = rest.len().min(PIECES_AT_ONCE);
            for (slice, piece) in slices.iter_mut().zip(rest.iter()) {
                *slice = IoSlice::new(piece);
            }
            sink.write_vectored(&slices[..count]).await?
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        while let Some(first) = rest.first_mut() {
            let done = written.min(first.len());
            first.advance(done);
            written -= done;
            if !first.is_empty() {
                break;
            }
            rest = &mut rest[1..];
        }
    }
    // TLS keeps back what the socket did not take at once. While it does, the vector holds empty pieces, not none.
    sink.flush().await?;
    pieces.clear();
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn pieces_arrive_whole_and_in_order_through_a_narrow_pipe() {
        let (mut sink, mut peer) = duplex(7);
        let mut pieces: Vec<Bytes> = (0..200u8).map(|i| Bytes::from(vec![i; usize::from(i % 11)])).collect();
        let expected: Vec<u8> = pieces.iter().flatten().copied().collect();
        let writing = tokio::spawn(async move {
            write_pieces(&mut sink, &mut pieces).await.unwrap();
            pieces.len()
        });
        let mut arrived = Vec::new();
        peer.read_to_end(&mut arrived).await.unwrap();
        assert_eq!(arrived, expected);
        assert_eq!(writing.await.unwrap(), 0);
    }
}
