//! Sends an answer: small pieces gathered, records read from their files a chunk at a time.
//!
//! However large an answer, one chunk of it is in memory. Chunks come from a small pool of each core, so that a
//! connection that waits holds none.

use std::{cell::RefCell, io, time::Duration};

use ottla_protocol::wire::Piece;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    time::timeout,
};

use crate::log::FileSlice;

/// How much is read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that a core keeps for the next answer.
const POOLED_CHUNKS_MAX: usize = 8;
/// Pieces of this many bytes are written from where they are.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// A peer that takes nothing for this long has stopped reading; `connections.max.idle.ms` may say less.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
    /// What the pieces that lie elsewhere are, by their id.
    pub(crate) slices: Vec<Vec<FileSlice>>,
}

impl Answer {
    /// Writes the whole of it to `sink`; fails if the peer takes nothing for `stall_max`.
    pub(crate) async fn send<W: AsyncWrite + Unpin>(
        self,
        sink: &mut W,
        stall_max: Duration,
    ) -> io::Result<()> {
        let mut out = Chunk { sink, stall_max, bytes: take_chunk(), filled: 0 };
        for piece in self.pieces {
            match piece {
                Piece::Bytes(bytes) if bytes.len() > COPY_BYTES_MAX => {
                    out.flush().await?;
                    write(out.sink, &bytes, out.stall_max).await?;
                }
                Piece::Bytes(bytes) => out.put(&bytes).await?,
                Piece::Elsewhere { id, len } => {
                    let slices = self.slices.get(id).map(Vec::as_slice).unwrap_or_default();
                    debug_assert_eq!(slices.iter().map(|s| s.len).sum::<usize>(), len);
                    for slice in slices {
                        out.put_file(slice).await?;
                    }
                }
            }
        }
        out.flush().await?;
        give_chunk(out.bytes);
        Ok(())
    }
}

struct Chunk<'a, W> {
    sink: &'a mut W,
    stall_max: Duration,
    bytes: Box<[u8]>,
    filled: usize,
}

impl<W: AsyncWrite + Unpin> Chunk<'_, W> {
    async fn put(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
            let n = room.len().min(bytes.len());
            let (now, later) = bytes.split_at(n);
            if let Some(room) = room.get_mut(..n) {
                room.copy_from_slice(now);
            }
            self.filled += n;
            bytes = later;
            self.flush_if_full().await?;
        }
        Ok(())
    }

    async fn put_file(&mut self, slice: &FileSlice) -> io::Result<()> {
        let mut done = 0;
        while done < slice.len {
            let room = self.bytes.get_mut(self.filled..).unwrap_or_default();
            let n = room.len().min(slice.len - done);
            let room = room.get_mut(..n).unwrap_or_default();
            slice.read_into(done, room).map_err(io::Error::other)?;
            self.filled += n;
            done += n;
            self.flush_if_full().await?;
        }
        Ok(())
    }

    async fn flush_if_full(&mut self) -> io::Result<()> {
        if self.filled == self.bytes.len() { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        let filled = std::mem::take(&mut self.filled);
        write(self.sink, self.bytes.get(..filled).unwrap_or_default(), self.stall_max).await
    }
}

async fn write<W: AsyncWrite + Unpin>(sink: &mut W, mut bytes: &[u8], stall_max: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match timeout(stall_max, sink.write(bytes)).await {
            Ok(written) => written?,
            Err(_) => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading its answers"));
            }
        };
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

fn take_chunk() -> Box<[u8]> {
    POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; CHUNK_BYTES].into_boxed_slice())
}

fn give_chunk(chunk: Box<[u8]>) {
    POOL.with_borrow_mut(|pool| {
        if pool.len() < POOLED_CHUNKS_MAX {
            pool.push(chunk);
        }
    });
}
