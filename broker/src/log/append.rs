//! Appending: judge, stamp, write once, and only then let it be seen.
//!
//! All batches of one wake-up go down in one vectored write. Their order is theirs: a batch is judged against those
//! before it, also those of the same call. If the write fails, the file is cut back to where it was and the whole
//! write never happened; only when it succeeded do producers' state, index and end offset move.

use std::{fmt, io::IoSlice};

use ottla_protocol::record::{BATCH_HEADER_BYTES, Batch, BatchHeader, TimestampType};

use super::{
    error::LogError,
    log::Log,
    producer_state::{ProducerError, Verdict},
};

/// A batch to append, checked by whoever took it from the wire: its CRC is right and its records are sound.
#[derive(Clone, Debug)]
pub struct ToAppend(Batch);

impl ToAppend {
    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.0.bytes().len()
    }

    /// Whether it has no bytes, which no batch has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Batch> for ToAppend {
    fn from(batch: Batch) -> Self {
        Self(batch)
    }
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Appended {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record.
    pub last_offset: i64,
    /// The time that was written over its timestamps, in ms; -1 where topics keep their producers' times.
    pub log_append_time: i64,
    /// The log's first offset.
    pub start_offset: i64,
    /// Whether it was stored before, and this is where.
    pub duplicate: bool,
}

/// Why a batch was not appended.
#[derive(Clone, Debug)]
pub enum AppendError {
    /// It is larger than `max.message.bytes`.
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        bytes_max: usize,
    },
    /// It is larger than a whole segment may be (`segment.bytes`).
    LargerThanSegment {
        /// Its size.
        bytes: usize,
        /// The largest allowed.
        bytes_max: usize,
    },
    /// Its last offset would lie before its first, or beyond all offsets.
    NoOffsets {
        /// The last offset less the first, as the batch says.
        last_offset_delta: i32,
    },
    /// The leader's epoch is older than one that the log has seen.
    StaleLeaderEpoch {
        /// The newest epoch in the log.
        current: i32,
        /// The one given.
        found: i32,
    },
    /// Its producer's order does not allow it.
    Producer(ProducerError),
    /// There is no room on the disk. Nothing was stored; the same batch may be sent again.
    DiskFull(LogError),
    /// The disk failed. Nothing was stored.
    Log(LogError),
}

/// Batches that go down in one write. Its memory is used again and again.
#[derive(Debug, Default)]
pub(super) struct Gather {
    batches: Vec<Gathered>,
    /// Bytes of all of them.
    bytes: u32,
}

#[derive(Debug)]
struct Gathered {
    batch: Batch,
    /// Its header as it is written: stamped with offset, leader epoch and maybe time.
    header: BatchHeader,
    bytes: [u8; BATCH_HEADER_BYTES],
}

impl Log {
    /// Appends `batches`, in order, as the leader of `leader_epoch`; `results` gets one more entry for each. `batches`
    /// is empty afterwards, with its capacity kept.
    ///
    /// All of them are in the page cache when this returns, and readers see them up to the new end offset. See
    /// [`Log::flush_task`] for the medium.
    pub fn append(
        &mut self,
        batches: &mut Vec<ToAppend>,
        leader_epoch: i32,
        now_ms: i64,
        results: &mut Vec<Result<Appended, AppendError>>,
    ) {
        if let Err(error) =
            self.check_open().map_err(AppendError::from).and_then(|()| self.begin_epoch(leader_epoch))
        {
            results.extend(batches.drain(..).map(|_| Err(error.clone())));
            return;
        }
        let mut gather = std::mem::take(&mut self.gather);
        // The result of the first batch that is not yet on disk.
        let mut pending = results.len();
        let mut broken: Option<AppendError> = None;
        for ToAppend(batch) in batches.drain(..) {
            let result = match &broken {
                Some(error) => Err(error.clone()),
                None => self.gather(batch, leader_epoch, now_ms, &mut gather, &mut pending, results),
            };
            if let Err(error @ (AppendError::DiskFull(_) | AppendError::Log(_))) = &result {
                // What follows must not overtake what failed.
                broken = Some(error.clone());
            }
            results.push(result);
        }
        // The failure is told in the results.
        let _ = self.write(&mut gather, now_ms, &mut pending, results);
        self.gather = gather;
    }

    /// Judges a batch and adds it to `gather`. Writes what is gathered if a segment must be sealed first.
    fn gather(
        &mut self,
        batch: Batch,
        leader_epoch: i32,
        now_ms: i64,
        gather: &mut Gather,
        pending: &mut usize,
        results: &mut [Result<Appended, AppendError>],
    ) -> Result<Appended, AppendError> {
        let bytes = self.check_size(&batch)?;
        let log_append_time = self.config.log_append_time.then_some(now_ms);
        let base_offset = gather.batches.last().map_or(self.end_offset(), |g| g.header.next_offset());
        let mut header = *batch.header();
        header.base_offset = base_offset;
        header.max_timestamp = log_append_time.unwrap_or(header.max_timestamp);
        let offsets = i64::from(header.last_offset_delta);
        if offsets < 0 || base_offset.checked_add(offsets).is_none_or(|last| last == i64::MAX) {
            return Err(AppendError::NoOffsets { last_offset_delta: header.last_offset_delta });
        }
        if self.must_roll(&header, gather.bytes, now_ms) {
            self.write(gather, now_ms, pending, results)?;
            self.roll(now_ms)?;
        }
        match self.producers.stage(&header, now_ms).map_err(AppendError::Producer)? {
            Verdict::Duplicate(original) => Ok(Appended {
                base_offset: original.first_offset(),
                last_offset: original.last_offset,
                log_append_time: if log_append_time.is_some() { original.timestamp } else { -1 },
                start_offset: self.start_offset(),
                duplicate: true,
            }),
            Verdict::New => {
                let encoded = batch.restamped_header(|h| {
                    h.base_offset = base_offset;
                    h.partition_leader_epoch = leader_epoch;
                    if let Some(time) = log_append_time {
                        h.attributes = h.attributes.with_timestamp_type(TimestampType::LogAppendTime);
                        h.max_timestamp = time;
                    }
                });
                gather.bytes += bytes;
                gather.batches.push(Gathered { batch, header, bytes: encoded });
                Ok(Appended {
                    base_offset,
                    last_offset: header.last_offset(),
                    log_append_time: log_append_time.unwrap_or(-1),
                    start_offset: self.start_offset(),
                    duplicate: false,
                })
            }
        }
    }

    fn check_size(&self, batch: &Batch) -> Result<u32, AppendError> {
        let bytes = batch.bytes().len();
        if bytes > self.config.max_message_bytes {
            return Err(AppendError::TooLarge { bytes, bytes_max: self.config.max_message_bytes });
        }
        match u32::try_from(bytes) {
            Ok(bytes) if bytes <= self.config.segment_bytes => Ok(bytes),
            _ => Err(AppendError::LargerThanSegment { bytes, bytes_max: self.config.segment_bytes as usize }),
        }
    }

    /// Writes what is gathered behind the active segment's end. If that fails, nothing of it stays, and all results
    /// from `pending` on say why: also that of a batch which was judged by one that is now not there.
    fn write(
        &mut self,
        gather: &mut Gather,
        now_ms: i64,
        pending: &mut usize,
        results: &mut [Result<Appended, AppendError>],
    ) -> Result<(), AppendError> {
        let mut outcome = Ok(());
        if !gather.batches.is_empty() {
            let mut slices = Vec::with_capacity(2 * gather.batches.len());
            for gathered in &gather.batches {
                slices.push(IoSlice::new(&gathered.bytes));
                slices
                    .push(IoSlice::new(gathered.batch.bytes().get(BATCH_HEADER_BYTES..).unwrap_or_default()));
            }
            outcome = self.write_slices(&mut slices).map_err(AppendError::from);
            match &outcome {
                Ok(()) => self.wrote(gather.batches.iter().map(|g| &g.header), gather.bytes, now_ms),
                Err(error) => {
                    self.producers.discard();
                    for result in results.iter_mut().skip(*pending) {
                        *result = Err(error.clone());
                    }
                }
            }
            gather.batches.clear();
            gather.bytes = 0;
        }
        *pending = results.len();
        outcome
    }
}

impl From<LogError> for AppendError {
    fn from(error: LogError) -> Self {
        if error.is_disk_full() { Self::DiskFull(error) } else { Self::Log(error) }
    }
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { bytes, bytes_max } => {
                write!(f, "the batch has {bytes} bytes, and `max.message.bytes` is {bytes_max}")
            }
            Self::LargerThanSegment { bytes, bytes_max } => {
                write!(
                    f,
                    "the batch has {bytes} bytes, and a segment holds {bytes_max}: raise `segment.bytes`"
                )
            }
            Self::NoOffsets { last_offset_delta } => {
                write!(f, "there are no offsets for a batch whose last offset delta is `{last_offset_delta}`")
            }
            Self::StaleLeaderEpoch { current, found } => {
                write!(f, "the log has seen leader epoch `{current}`, which is newer than `{found}`")
            }
            Self::Producer(error) => write!(f, "{error}"),
            Self::DiskFull(error) | Self::Log(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for AppendError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Producer(error) => Some(error),
            Self::DiskFull(error) | Self::Log(error) => Some(error),
            _ => None,
        }
    }
}
