//! Takes frames off a byte stream.
//!
//! Small frames are cut out of one buffer, several per system call. A large one gets a buffer of its own, into
//! which the rest of it is read straight. No announced size is believed beyond [`AHEAD_BYTES_MAX`]: past that the
//! buffer grows as bytes arrive, so that four bytes cannot make us take a hundred megabytes. Nor do they take as much of the
//! [`Budget`] that a broker's connections share: a frame holds of it what has come of it, and about as much again.
//!
//! Large buffers are used again once their frames are gone: memory that comes fresh from the system costs a page
//! fault every 4 KiB, which is more than reading into it does. A thread keeps some, up to [`KEPT_BYTES_MAX`], and
//! connections that wait none.

use std::{cell::RefCell, io::ErrorKind, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout, timeout_at},
};

use crate::FrameError;

/// Bytes of the size before each frame.
const SIZE_BYTES: usize = 4;
/// The buffer that small frames are read into.
const SMALL_BYTES: usize = 16 * 1024;
/// Memory that is taken for a frame before its bytes arrive; it costs nothing until it is written to.
const AHEAD_BYTES_MAX: usize = 1024 * 1024;
/// Frames of this many bytes are read into a buffer that is used again.
const LARGE_BYTES_MIN: usize = 128 * 1024;
/// The size of such a buffer, unless it had to grow: a consumer's frames hold a part of each of its partitions.
const LARGE_BYTES: usize = AHEAD_BYTES_MAX + SMALL_BYTES;
/// Bytes of the large buffers that a thread keeps: those of a frame that is read, and of some whose records are being
/// looked at.
const KEPT_BYTES_MAX: usize = 24 * 1024 * 1024;
/// What a frame takes of the budget before its bytes arrive.
const HELD_AHEAD_BYTES: usize = 64 * 1024;
/// A frame that comes more slowly than this ends the connection.
const FRAME_BYTES_PER_S_MIN: usize = 64 * 1024;

const _: () = assert!(SIZE_BYTES + LARGE_BYTES_MIN <= LARGE_BYTES && SMALL_BYTES < LARGE_BYTES_MIN);
const _: () = assert!(LARGE_BYTES <= KEPT_BYTES_MAX);

thread_local! {
    /// Oldest first.
    static KEPT: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

/// A large buffer that is to be used again.
struct Kept {
    /// Its empty end; the rest may still be held by frames.
    end: BytesMut,
    /// Of all of it.
    bytes: usize,
}

/// What a [`FrameReader`] allows.
#[derive(Clone, Debug)]
pub struct FrameLimits {
    /// Largest frame, in bytes, its size not counted: Kafka's `socket.request.max.bytes`.
    pub frame_bytes_max: usize,
    /// Longest time between frames: Kafka's `connections.max.idle.ms`.
    pub idle: Duration,
    /// Longest time from a frame's first byte to its last; large frames get more, by what has come of them. Also the longest
    /// silence within a frame, and the longest wait of one that has begun for more of the budget.
    pub frame: Duration,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            frame_bytes_max: 100 * 1024 * 1024,
            idle: Duration::from_secs(600),
            frame: Duration::from_secs(30),
        }
    }
}

/// Bytes that all frames of some connections may hold together. Who finds it used up stops reading, and TCP makes
/// the peer wait.
#[derive(Clone, Debug)]
pub struct Budget {
    permits: Arc<Semaphore>,
    bytes: usize,
}

impl Budget {
    /// A budget of `bytes`, at most `u32::MAX`.
    pub fn new(bytes: usize) -> Self {
        let bytes = bytes.clamp(1, (u32::MAX as usize).min(Semaphore::MAX_PERMITS));
        Self { permits: Arc::new(Semaphore::new(bytes)), bytes }
    }

    /// Waits until so many more bytes are free that `held` has `bytes`. A frame larger than the whole budget takes all of it.
    async fn raise(&self, held: &mut Option<OwnedSemaphorePermit>, bytes: usize) {
        let has = held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let missing = bytes.min(self.bytes).saturating_sub(has);
        if missing == 0 {
            return;
        }
        // It is never closed.
        let Ok(more) = Arc::clone(&self.permits).acquire_many_owned(missing as u32).await else { return };
        match held {
            Some(held) => held.merge(more),
            None => *held = Some(more),
        }
    }
}

/// A frame's bytes, its size taken off. Dropping it gives its part of the budget back.
#[derive(Debug)]
pub struct Frame {
    /// The bytes.
    pub bytes: Bytes,
    /// Keeps the bytes counted.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Takes frames off `source`.
#[derive(Debug)]
pub struct FrameReader<R> {
    source: R,
    buffer: BytesMut,
    /// Bytes of the whole buffer, if it is a large one, to be kept when this reader is done with it; else 0.
    large_bytes: usize,
    limits: FrameLimits,
    budget: Option<Budget>,
    /// What the frame that is being read has of the budget.
    held: Option<OwnedSemaphorePermit>,
    /// Whether a frame was read: a stranger is recognised by its first bytes alone.
    met: bool,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads from `source` under `limits`.
    pub fn new(source: R, limits: FrameLimits) -> Self {
        Self { source, buffer: BytesMut::new(), large_bytes: 0, limits, budget: None, held: None, met: false }
    }

    /// Counts the bytes of frames against `budget`.
    pub fn with_budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Goes on under other limits, and counts against `budget`: a peer that has said who it is may send more.
    pub fn admit(&mut self, limits: FrameLimits, budget: Budget) {
        self.limits = limits;
        self.budget = Some(budget);
    }

    /// Bytes that came and are of no frame that was given out.
    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// The next frame; `None` if the peer closed after the last one. May be dropped and called again: nothing
    /// that was read is lost.
    pub async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let size = match self.size()? {
            Some(size) => size,
            None => match self.read_size().await? {
                Some(size) => size,
                None => return Ok(None),
            },
        };
        if self.buffer.len() < SIZE_BYTES + size {
            self.read_body(size).await?;
        }
        self.hold(size, size).await?;
        let permit = self.held.take();
        self.met = true;
        self.buffer.advance(SIZE_BYTES);
        let bytes = self.buffer.split_to(size).freeze();
        if self.large_bytes > 0 && self.buffer.is_empty() {
            self.replace_buffer(BytesMut::new(), 0);
        }
        Ok(Some(Frame { bytes, permit }))
    }

    /// Goes on with another buffer that holds the same bytes.
    fn replace_buffer(&mut self, mut buffer: BytesMut, large_bytes: usize) {
        buffer.extend_from_slice(&self.buffer);
        let end = std::mem::replace(&mut self.buffer, buffer);
        let bytes = std::mem::replace(&mut self.large_bytes, large_bytes);
        if bytes > 0 {
            keep(end, bytes);
        }
    }

    /// The size at the front of the buffer, if it is there.
    fn size(&self) -> Result<Option<usize>, FrameError> {
        let Some(&bytes) = self.buffer.first_chunk::<SIZE_BYTES>() else { return Ok(None) };
        if let Some(stranger) = FrameError::stranger(bytes).filter(|_| !self.met) {
            return Err(stranger);
        }
        let size = i32::from_be_bytes(bytes);
        let size = usize::try_from(size).map_err(|_| FrameError::NegativeSize(size))?;
        if size > self.limits.frame_bytes_max {
            return Err(FrameError::TooLarge { size, max: self.limits.frame_bytes_max });
        }
        Ok(Some(size))
    }

    async fn read_size(&mut self) -> Result<Option<usize>, FrameError> {
        loop {
            self.buffer.reserve(SMALL_BYTES);
            // Once a size has begun its rest is due soon.
            let allowed = if self.buffer.is_empty() { self.limits.idle } else { self.limits.frame };
            match timeout(allowed, self.source.read_buf(&mut self.buffer)).await {
                Err(_) if self.buffer.is_empty() => return Err(FrameError::Idle(allowed)),
                Err(_) => return Err(FrameError::Stalled { received: 0, size: SIZE_BYTES }),
                Ok(Ok(0)) if self.buffer.is_empty() => return Ok(None),
                // Over TLS, a peer that went away without a word. Frames have their sizes: none was cut.
                Ok(Err(error)) if error.kind() == ErrorKind::UnexpectedEof && self.buffer.is_empty() => {
                    return Ok(None);
                }
                Ok(Ok(0)) => return Err(FrameError::Truncated { received: 0, size: SIZE_BYTES }),
                Ok(read) => _ = read?,
            }
            if let Some(size) = self.size()? {
                return Ok(Some(size));
            }
        }
    }

    async fn read_body(&mut self, size: usize) -> Result<(), FrameError> {
        let needed = SIZE_BYTES + size;
        if size >= LARGE_BYTES_MIN && self.buffer.capacity() < needed {
            let buffer = large_buffer(needed);
            let bytes = buffer.capacity();
            self.replace_buffer(buffer, bytes);
        } else if self.buffer.capacity() < needed {
            // It grows, and is an ordinary one from here on.
            self.large_bytes = 0;
        }
        let began = Instant::now();
        while self.buffer.len() < SIZE_BYTES + size {
            // Where nothing is counted, as in a client, as much is read as there is.
            let held = match &self.budget {
                Some(_) => size.min(HELD_AHEAD_BYTES.max(2 * self.received())),
                None => size,
            };
            self.hold(held, size).await?;
            let missing = SIZE_BYTES + size - self.buffer.len();
            if self.buffer.capacity() == self.buffer.len() {
                self.buffer.reserve(missing.min(self.buffer.len().max(AHEAD_BYTES_MAX)));
                if self.large_bytes > 0 {
                    self.large_bytes = self.buffer.capacity();
                }
            } else if self.buffer.capacity() < SIZE_BYTES + size.min(AHEAD_BYTES_MAX) {
                // A large frame begins: a buffer that holds all of it, or a good part.
                self.buffer.reserve(missing.min(AHEAD_BYTES_MAX));
            }
            let most = match () {
                () if held < size => held - self.received(),
                // What follows a large frame is not read into its buffer, from which it would have to be copied.
                () if self.large_bytes > 0 => missing,
                () => usize::MAX,
            };
            let (frame, received) = (self.limits.frame, self.received());
            let slowest = Duration::from_secs((received / FRAME_BYTES_PER_S_MIN) as u64);
            let deadline = (began + frame + slowest).min(Instant::now() + frame);
            let read = timeout_at(deadline, self.source.read_buf(&mut (&mut self.buffer).limit(most))).await;
            if read.map_err(|_| FrameError::Stalled { received, size })?? == 0 {
                return Err(FrameError::Truncated { received, size });
            }
        }
        Ok(())
    }

    /// Waits until a frame of `size` bytes has `bytes` of the budget; if it has some already, not for ever: those who have the
    /// rest may be waiting for more, too.
    async fn hold(&mut self, bytes: usize, size: usize) -> Result<(), FrameError> {
        let Some(budget) = &self.budget else { return Ok(()) };
        if self.held.is_none() {
            budget.raise(&mut self.held, bytes).await;
            return Ok(());
        }
        let held = timeout(self.limits.frame, budget.raise(&mut self.held, bytes)).await;
        held.map_err(|_| FrameError::NoMemory { size, waited: self.limits.frame })
    }

    /// Bytes of the current frame that are there.
    fn received(&self) -> usize {
        self.buffer.len().saturating_sub(SIZE_BYTES)
    }
}

/// A large buffer: one whose frames are gone and that has room for `needed` bytes, or else a new one, which grows where
/// the frame is larger.
fn large_buffer(needed: usize) -> BytesMut {
    let free = KEPT.with_borrow_mut(|kept| {
        let free = kept.iter_mut().position(|it| it.bytes >= needed && it.end.try_reclaim(it.bytes))?;
        Some(kept.remove(free).end)
    });
    free.unwrap_or_else(|| BytesMut::with_capacity(LARGE_BYTES))
}

/// Keeps a large buffer for when its frames are gone. The oldest go where there are too many.
fn keep(mut end: BytesMut, bytes: usize) {
    if bytes > KEPT_BYTES_MAX {
        return;
    }
    end.clear();
    KEPT.with_borrow_mut(|kept| {
        let mut total = bytes + kept.iter().map(|it| it.bytes).sum::<usize>();
        while total > KEPT_BYTES_MAX {
            total -= kept.remove(0).bytes;
        }
        kept.push(Kept { end, bytes });
    });
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Within these limits, time is up soon.
    const SOON: Duration = Duration::from_millis(50);

    fn pair() -> (DuplexStream, FrameReader<DuplexStream>) {
        pair_within(FrameLimits::default())
    }

    fn pair_within(limits: FrameLimits) -> (DuplexStream, FrameReader<DuplexStream>) {
        let (peer, ours) = duplex(1 << 20);
        (peer, FrameReader::new(ours, FrameLimits { frame_bytes_max: 1 << 20, ..limits }))
    }

    fn frame(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as i32).to_be_bytes()[..], bytes].concat()
    }

    async fn next(reader: &mut FrameReader<DuplexStream>) -> Bytes {
        reader.next().await.unwrap().unwrap().bytes
    }

    #[tokio::test]
    async fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let frames: Vec<Vec<u8>> =
            [0, 1, 5, 3000, 16 * 1024, 200_000, 900_000, 1 << 20, 150_000].map(|n| vec![n as u8; n]).into();
        let stream: Vec<u8> = frames.iter().flat_map(|f| frame(f)).collect();
        for step in [1, 7, 4096, stream.len()] {
            let (mut peer, mut reader) = pair();
            let stream = stream.clone();
            let writing = tokio::spawn(async move {
                for chunk in stream.chunks(step) {
                    peer.write_all(chunk).await.unwrap();
                }
            });
            for expected in &frames {
                assert_eq!(next(&mut reader).await, expected[..]);
            }
            writing.await.unwrap();
            assert!(reader.next().await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn a_large_buffer_is_used_again_once_its_frame_is_gone_and_not_before() {
        let (mut peer, mut reader) = pair();
        let bytes = frame(&[1; 200_000]);
        let mut seen = Vec::new();
        for _ in 0..3 {
            peer.write_all(&bytes).await.unwrap();
            let first = next(&mut reader).await;
            assert_eq!(reader.buffer.capacity(), 0, "a reader that waits holds no large buffer");
            peer.write_all(&frame(&[2; 200_000])).await.unwrap();
            let second = next(&mut reader).await;
            assert_eq!(first, vec![1; 200_000], "the second frame does not overwrite the first");
            assert_eq!(second, vec![2; 200_000]);
            seen.extend([first.as_ptr(), second.as_ptr()]);
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 2, "two frames at a time need two buffers, however many come");
    }

    #[tokio::test]
    async fn a_thread_keeps_no_more_buffers_than_allowed() {
        let (mut peer, mut reader) = pair();
        let mut frames = Vec::new();
        let most = KEPT_BYTES_MAX / LARGE_BYTES;
        for _ in 0..2 * most {
            peer.write_all(&frame(&[1; LARGE_BYTES_MIN])).await.unwrap();
            frames.push(next(&mut reader).await);
        }
        drop(frames);
        assert_eq!(KEPT.with_borrow(Vec::len), most);
    }

    #[tokio::test]
    async fn a_buffer_that_grew_is_used_again_for_frames_as_large() {
        let (mut peer, ours) = duplex(1 << 16);
        let mut reader = FrameReader::new(ours, FrameLimits::default());
        let writing = tokio::spawn(async move {
            for n in 0..6 {
                peer.write_all(&frame(&vec![n; 5_000_000])).await.unwrap();
            }
        });
        let mut seen = Vec::new();
        for n in 0..6 {
            let bytes = next(&mut reader).await;
            assert_eq!(bytes, vec![n; 5_000_000]);
            assert_eq!(reader.buffer.capacity(), 0, "a reader that waits holds no large buffer");
            seen.push(bytes.as_ptr());
        }
        writing.await.unwrap();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 1, "one frame at a time needs one buffer");
    }

    #[tokio::test]
    async fn what_is_too_large_to_be_kept_is_let_go() {
        let (mut peer, ours) = duplex(1 << 16);
        let mut reader = FrameReader::new(ours, FrameLimits::default());
        let writing =
            tokio::spawn(async move { peer.write_all(&frame(&vec![1; KEPT_BYTES_MAX + 1])).await.unwrap() });
        assert_eq!(next(&mut reader).await.len(), KEPT_BYTES_MAX + 1);
        writing.await.unwrap();
        assert_eq!(KEPT.with_borrow(Vec::len), 0);
    }

    #[tokio::test]
    async fn a_size_beyond_the_limit_takes_no_memory() {
        let (mut peer, mut reader) = pair();
        peer.write_all(&i32::MAX.to_be_bytes()).await.unwrap();
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, FrameError::TooLarge { size, .. } if size == i32::MAX as usize));
        assert!(reader.buffer.capacity() <= 2 * SMALL_BYTES);
    }

    #[tokio::test]
    async fn strangers_are_told_apart() {
        for (bytes, words) in [
            (&[0x16, 3, 1, 2, 0][..], "TLS"),
            (b"GET / HTTP/1.1\r\n", "HTTP"),
            (&[0xff; 4], "a frame of -1 bytes"),
        ] {
            let (mut peer, mut reader) = pair();
            peer.write_all(bytes).await.unwrap();
            let error = reader.next().await.unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_closes_within_a_frame_is_noticed() {
        let (mut peer, mut reader) = pair();
        peer.write_all(&[0, 0, 0, 9, 1, 2]).await.unwrap();
        drop(peer);
        let error = reader.next().await.unwrap_err();
        assert!(matches!(error, FrameError::Truncated { received: 2, size: 9 }));
    }

    #[tokio::test]
    async fn silence_between_frames_and_within_one_has_its_limit() {
        let limits = FrameLimits { idle: SOON, frame: 2 * SOON, ..FrameLimits::default() };
        let (mut peer, mut reader) = pair_within(limits);
        assert!(matches!(reader.next().await.unwrap_err(), FrameError::Idle(_)));
        peer.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        assert!(matches!(reader.next().await.unwrap_err(), FrameError::Stalled { received: 1, size: 9 }));
    }

    #[tokio::test]
    async fn a_reader_that_was_dropped_while_waiting_goes_on_where_it_was() {
        let (mut peer, mut reader) = pair();
        let bytes = frame(&[7; 100_000]);
        peer.write_all(&bytes[..50_000]).await.unwrap();
        let waiting = timeout(Duration::from_millis(20), reader.next()).await;
        assert!(waiting.is_err(), "half a frame is no frame");
        peer.write_all(&bytes[50_000..]).await.unwrap();
        assert_eq!(next(&mut reader).await, vec![7; 100_000]);
    }

    #[tokio::test]
    async fn a_used_up_budget_stops_reading_until_a_frame_is_done() {
        let (mut peer, reader) = pair();
        let mut reader = reader.with_budget(Budget::new(10));
        peer.write_all(&[frame(&[1; 8]), frame(&[2; 8])].concat()).await.unwrap();
        let first = reader.next().await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(20), reader.next()).await.is_err());
        drop(first);
        assert_eq!(next(&mut reader).await, [2; 8][..]);
    }

    #[tokio::test]
    async fn a_frame_takes_of_the_budget_what_it_brings_and_not_what_it_promises() {
        let budget = Budget::new(4 * HELD_AHEAD_BYTES);
        let connect = |limits| {
            let (peer, reader) = pair_within(limits);
            (peer, reader.with_budget(budget.clone()))
        };
        let (mut first, mut promises) = connect(FrameLimits::default());
        first.write_all(&[&1_000_000_i32.to_be_bytes()[..], &[0; 100]].concat()).await.unwrap();
        let waiting = timeout(Duration::from_millis(20), promises.next()).await;
        assert!(waiting.is_err(), "{waiting:?}");
        // Another gets all of its frame past it.
        let (mut second, mut reader) = connect(FrameLimits::default());
        let writing = tokio::spawn(async move { second.write_all(&frame(&[7; 3 * HELD_AHEAD_BYTES])).await });
        assert_eq!(next(&mut reader).await, vec![7; 3 * HELD_AHEAD_BYTES]);
        writing.await.unwrap().unwrap();
        // Nobody keeps a part and waits for ever for the rest.
        let (mut third, mut reader) = connect(FrameLimits { frame: SOON, ..FrameLimits::default() });
        let _others = budget.permits.acquire_many(2 * HELD_AHEAD_BYTES as u32).await.unwrap();
        tokio::spawn(async move { third.write_all(&frame(&[7; 2 * HELD_AHEAD_BYTES])).await });
        let error = reader.next().await.unwrap_err();
        assert!(
            matches!(error, FrameError::NoMemory { size, .. } if size == 2 * HELD_AHEAD_BYTES),
            "{error}"
        );
    }
}
