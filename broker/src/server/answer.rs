//! Sends an answer: small pieces gathered, records from their files.
//!
//! Many records of one file go from the page cache to the socket by `sendfile`, where there is one. Few records, and
//! all of them elsewhere, are read a chunk at a time: however large an answer, one chunk of it is in memory. Chunks
//! come from a small pool of each core, so that a connection that waits holds none.

use std::{cell::RefCell, io, time::Duration};

use ottla_protocol::wire::Piece;
use ottla_transport::tls::ServerStream;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt, WriteHalf},
    net::{TcpStream, tcp::OwnedWriteHalf},
    time::timeout,
};

#[cfg(target_os = "linux")]
use {
    rustix::{fs::sendfile, io::retry_on_intr},
    std::os::fd::BorrowedFd,
    tokio::io::Interest,
};

use crate::log::FileSlice;

/// How much is read and written at once.
const CHUNK_BYTES: usize = 256 * 1024;
/// Chunks that a core keeps for the next answer.
const POOLED_CHUNKS_MAX: usize = 8;
/// Pieces of this many bytes are written from where they are.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// Slices of at least this many bytes are sent without being read; for smaller ones a copy costs less than the call.
#[cfg(target_os = "linux")]
const SENDFILE_BYTES_MIN: usize = 64 * 1024;
/// A peer that takes nothing for this long has stopped reading; `connections.max.idle.ms` may say less.
pub(crate) const WRITE_STALL_MAX: Duration = Duration::from_secs(60);

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Where answers are written.
pub(crate) trait Sink: AsyncWrite + Unpin {
    /// The socket that takes the bytes just as they are; `None` if they change on the way, by TLS say.
    fn socket(&self) -> Option<&TcpStream>;
}

impl Sink for OwnedWriteHalf {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self.as_ref())
    }
}

impl Sink for WriteHalf<ServerStream> {
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

/// An answer that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<Piece>,
    /// What the pieces that lie elsewhere are, by their id.
    pub(crate) slices: Vec<Vec<FileSlice>>,
    /// For how long the client is to be left alone: what the answer tells it as throttle time (KIP-219).
    pub(crate) hold_off: Duration,
}

impl Answer {
    /// Nothing is said.
    pub(crate) fn silent(hold_off: Duration) -> Self {
        Self { pieces: Vec::new(), slices: Vec::new(), hold_off }
    }

    /// Its size, that of the frame included.
    pub(crate) fn bytes(&self) -> usize {
        let bytes = |piece: &Piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Elsewhere { len, .. } => *len,
        };
        self.pieces.iter().map(bytes).sum()
    }

    /// Writes the whole of it to `sink`; fails if the peer takes nothing for `stall_max`.
    pub(crate) async fn send<S: Sink>(self, sink: &mut S, stall_max: Duration) -> io::Result<()> {
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
        // What TLS holds back because the socket would not take it. A socket itself holds back nothing.
        progress(async { out.sink.flush().await.map(|()| 1) }, stall_max).await?;
        give_chunk(out.bytes);
        Ok(())
    }
}

struct Chunk<'a, S> {
    sink: &'a mut S,
    stall_max: Duration,
    bytes: Box<[u8]>,
    filled: usize,
}

impl<S: Sink> Chunk<'_, S> {
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
        #[cfg(target_os = "linux")]
        if slice.len >= SENDFILE_BYTES_MIN
            && self.sink.socket().is_some()
            && let Some(file) = slice.file.fd()
        {
            self.flush().await?;
            return match self.sink.socket() {
                Some(socket) => send_file(socket, file, slice, self.stall_max).await,
                None => Ok(()),
            };
        }
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

/// Sends a slice from the page cache. What is not in it is read from the disk first, and this core waits for that.
#[cfg(target_os = "linux")]
async fn send_file(
    socket: &TcpStream,
    file: BorrowedFd<'_>,
    slice: &FileSlice,
    stall_max: Duration,
) -> io::Result<()> {
    let (mut at, end) = (slice.position, slice.position + slice.len as u64);
    while at < end {
        let mut from = at;
        let sending = socket.async_io(Interest::WRITABLE, || {
            let left = (end - from) as usize;
            Ok(retry_on_intr(|| sendfile(socket, file, Some(&mut from), left))?)
        });
        if progress(sending, stall_max).await? == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "a segment was cut while it was being sent",
            ));
        }
        at = from;
    }
    Ok(())
}

async fn write<S: Sink>(sink: &mut S, mut bytes: &[u8], stall_max: Duration) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = progress(sink.write(bytes), stall_max).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(written..).unwrap_or_default();
    }
    Ok(())
}

/// Waits for `writing`, but not for ever.
async fn progress(
    writing: impl Future<Output = io::Result<usize>>,
    stall_max: Duration,
) -> io::Result<usize> {
    match timeout(stall_max, writing).await {
        Ok(written) => written,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the peer stopped reading its answers")),
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::{
        io::{AsyncReadExt, DuplexStream, duplex},
        net::TcpListener,
    };

    use super::*;
    use crate::log::Disk;

    /// A way that is not a socket's own, as one over TLS.
    impl Sink for DuplexStream {
        fn socket(&self) -> Option<&TcpStream> {
            None
        }
    }

    /// An answer with slices of every kind of size, and the bytes that it is.
    fn answer(directory: &std::path::Path) -> (Answer, Vec<u8>) {
        let path = directory.join("00000000000000000000.log");
        let file_bytes: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &file_bytes).unwrap();
        let file = Arc::new(Disk::Real.open(path).unwrap());
        let mut expected = Vec::new();
        let mut pieces = Vec::new();
        let mut slices = Vec::new();
        for (id, (position, len)) in
            [(7, 2_000_000), (0, 10), (1_000_001, 64 * 1024), (11, 64 * 1024 - 1)].into_iter().enumerate()
        {
            let head = Bytes::from(vec![id as u8; 100 + 20_000 * id]);
            expected.extend_from_slice(&head);
            expected.extend_from_slice(&file_bytes[position..position + len]);
            pieces.push(Piece::Bytes(head));
            pieces.push(Piece::Elsewhere { id, len });
            slices.push(vec![FileSlice { file: Arc::clone(&file), position: position as u64, len }]);
        }
        pieces.push(Piece::Bytes(Bytes::from_static(b"end")));
        expected.extend_from_slice(b"end");
        (Answer { pieces, slices, hold_off: Duration::ZERO }, expected)
    }

    async fn sockets() -> (OwnedWriteHalf, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (theirs, _) = listener.accept().await.unwrap();
        (ours.into_split().1, theirs)
    }

    #[tokio::test]
    async fn a_socket_and_a_way_around_it_get_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let (first, expected) = answer(directory.path());
        let (mut sink, mut peer) = sockets().await;
        let sending = tokio::spawn(async move { first.send(&mut sink, WRITE_STALL_MAX).await });
        let mut arrived = Vec::new();
        peer.read_to_end(&mut arrived).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(arrived == expected, "the socket's {} bytes differ", arrived.len());

        let (second, expected) = answer(directory.path());
        let (mut sink, mut peer) = duplex(10_000);
        let sending = tokio::spawn(async move { second.send(&mut sink, WRITE_STALL_MAX).await });
        let mut arrived = Vec::new();
        peer.read_to_end(&mut arrived).await.unwrap();
        sending.await.unwrap().unwrap();
        assert!(arrived == expected, "the other way's {} bytes differ", arrived.len());
    }

    #[tokio::test]
    async fn a_segment_that_was_cut_ends_the_connection() {
        let directory = tempfile::tempdir().unwrap();
        let (answer, expected) = answer(directory.path());
        std::fs::File::options()
            .write(true)
            .open(answer.slices[0][0].file.path())
            .unwrap()
            .set_len(1_500_000)
            .unwrap();
        let (mut sink, mut peer) = sockets().await;
        let sending = tokio::spawn(async move { answer.send(&mut sink, WRITE_STALL_MAX).await });
        let mut arrived = Vec::new();
        peer.read_to_end(&mut arrived).await.unwrap();
        let error = sending.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("cut"), "{error}");
        assert!(expected.starts_with(&arrived), "what came before the cut is right");
    }
}
