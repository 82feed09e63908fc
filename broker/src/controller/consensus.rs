//! Agreement on the metadata log.
//!
//! [`Consensus`] is all that the controller knows of it: values go in, and come back committed. With one voter,
//! agreement is one fsync of one file: [`SingleVoter`]. More voters will stand behind the same seam.
//!
//! The file is `__cluster_metadata-0/00000000000000000000.log`, in record batches as Kafka writes them. Each
//! proposal is one batch, written at once and flushed before it is answered. A batch counts whole or not at all,
//! so what a power cut leaves of the last one was never answered and is cut off.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    future::Future,
    io::{self, BufReader, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use ottla_protocol::{
    compression::{Compressor, Decompressor, Limits},
    record::{BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchError, BatchHeader, Headers, Seal},
};

use crate::metadata::CLUSTER_METADATA_TOPIC;

/// Most bytes that the values of one proposal may have together (`KafkaRaftClient.MAX_BATCH_SIZE_BYTES`).
pub(crate) const PROPOSAL_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most bytes that a record takes beside its value.
const RECORD_OVERHEAD_BYTES_MAX: usize = ottla_protocol::record::RECORD_OVERHEAD_BYTES_MAX;
/// Most values in one proposal.
pub(crate) const PROPOSAL_VALUES_MAX: usize = 250_000;
/// Largest batch in the log.
const BATCH_BYTES_MAX: usize =
    BATCH_HEADER_BYTES + PROPOSAL_BYTES_MAX + PROPOSAL_VALUES_MAX * RECORD_OVERHEAD_BYTES_MAX;

const _: () = assert!(BATCH_BYTES_MAX < i32::MAX as usize, "a batch's length is an INT32");

/// Where the controller's records become the cluster's.
pub(crate) trait Consensus: Send + 'static {
    /// Puts `values` at the end of the log, all of them or none, and returns once they are committed: no crash
    /// takes them back. `now_ms` becomes their timestamp.
    ///
    /// The caller keeps to [`PROPOSAL_BYTES_MAX`] and [`PROPOSAL_VALUES_MAX`], and proposes one after the other.
    fn propose(
        &mut self,
        values: Vec<Bytes>,
        now_ms: i64,
    ) -> impl Future<Output = Result<(), ConsensusError>> + Send;

    /// The epoch in which values are now proposed: of the controller, higher at each of its elections.
    fn epoch(&self) -> i32;
}

/// What was committed by one proposal.
#[derive(Debug)]
pub(crate) struct Committed {
    /// The offset of the first value.
    pub(crate) base_offset: i64,
    /// The epoch in which they were proposed.
    pub(crate) epoch: i32,
    /// The values, in order.
    pub(crate) values: Vec<Bytes>,
}

/// A quorum of one: this process.
#[derive(Debug)]
pub(crate) struct SingleVoter {
    /// Away while a proposal is written; stays away if that was given up half-way.
    log: Option<MetadataLog>,
    epoch: i32,
}

impl SingleVoter {
    /// Opens the log in `log_dir`, or makes it, and hands every proposal in it to `replay`, in order. Whatever
    /// `replay` says is wrong ends it.
    ///
    /// Each opening begins a new epoch. Reads and writes files: call it where blocking is allowed.
    pub(crate) fn open(
        log_dir: &Path,
        mut replay: impl FnMut(Committed) -> Result<(), String>,
    ) -> Result<Self, ConsensusError> {
        let log = MetadataLog::open(&log_dir.join(format!("{CLUSTER_METADATA_TOPIC}-0")), &mut replay)?;
        let epoch = log.last_epoch.checked_add(1).ok_or_else(|| log.error(Problem::Epochs))?;
        Ok(Self { log: Some(log), epoch })
    }
}

impl Consensus for SingleVoter {
    async fn propose(&mut self, values: Vec<Bytes>, now_ms: i64) -> Result<(), ConsensusError> {
        let Some(mut log) = self.log.take() else { return Err(ConsensusError::gone()) };
        let epoch = self.epoch;
        // An fsync takes milliseconds: it must not hold up the timers and connections of this runtime.
        let written = tokio::task::spawn_blocking(move || {
            let result = log.append(&values, epoch, now_ms);
            (log, result)
        });
        let (log, result) = written.await.map_err(|_| ConsensusError::gone())?;
        self.log = Some(log);
        result
    }

    fn epoch(&self) -> i32 {
        self.epoch
    }
}

/// The file.
#[derive(Debug)]
struct MetadataLog {
    file: File,
    path: PathBuf,
    /// Where the next batch goes, in bytes.
    end: u64,
    next_offset: i64,
    last_epoch: i32,
    /// What is on disk is not known any more: after a failed fsync the kernel may have dropped the pages, and a
    /// second fsync would not say so.
    failed: bool,
}

impl MetadataLog {
    fn open(
        directory: &Path,
        replay: &mut dyn FnMut(Committed) -> Result<(), String>,
    ) -> Result<Self, ConsensusError> {
        let path = directory.join("00000000000000000000.log");
        let at = |problem| ConsensusError { path: path.clone(), problem };
        let io = |error| at(Problem::Io(error));
        if !path.exists() {
            create(directory, &path).map_err(io)?;
        }
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
        let mut log = Self { file, path: path.clone(), end: 0, next_offset: 0, last_epoch: 0, failed: false };
        let len = log.file.metadata().map_err(io)?.len();
        let mut reader = BufReader::with_capacity(1 << 20, log.file.try_clone().map_err(io)?);
        while log.end < len {
            let batch = match read_batch(&mut reader, len - log.end).map_err(io)? {
                Ok(batch) => batch,
                Err(damage) => {
                    log.cut_torn_tail(len, damage)?;
                    break;
                }
            };
            let committed = log.accept(&batch).map_err(at)?;
            replay(committed).map_err(|why| at(Problem::Refused { position: log.end, why }))?;
            log.end += batch.bytes().len() as u64;
        }
        Ok(log)
    }

    /// Checks that a batch goes on where the last one ended, and takes out its values.
    fn accept(&mut self, batch: &Batch) -> Result<Committed, Problem> {
        let position = self.end;
        let corrupt = |why: String| Problem::Refused { position, why };
        let header = batch.header();
        let epoch = header.partition_leader_epoch;
        if header.base_offset != self.next_offset {
            return Err(corrupt(format!("offset {} where {} is due", header.base_offset, self.next_offset)));
        }
        if epoch < self.last_epoch {
            return Err(corrupt(format!("epoch {epoch} after epoch {}", self.last_epoch)));
        }
        if header.attributes.is_control() {
            return Err(corrupt("a control batch, which this broker does not write".to_owned()));
        }
        let limits = Limits { bytes_max: BATCH_BYTES_MAX, ..Limits::BROKER };
        let records = batch.records(&mut Decompressor::new(), &limits).map_err(|e| corrupt(e.to_string()))?;
        let mut values = Vec::new();
        for record in &records {
            let record = record.map_err(|e| corrupt(e.to_string()))?;
            let due = self.next_offset + values.len() as i64;
            match record.value {
                Some(value) if record.offset == due => values.push(records.bytes_of(value)),
                _ => return Err(corrupt(format!("no value, or not at offset {due}"))),
            }
        }
        let base_offset = self.next_offset;
        self.next_offset += values.len() as i64;
        self.last_epoch = epoch;
        Ok(Committed { base_offset, epoch, values })
    }

    /// What a crash left of the last proposal is cut off: nobody was told that it was committed. Damage with
    /// anything whole behind it is another matter, for what was committed is damaged then.
    fn cut_torn_tail(&mut self, len: u64, damage: BatchError) -> Result<(), ConsensusError> {
        let tail_bytes = len - self.end;
        let rot = self.error(Problem::Rot { position: self.end, damage });
        if tail_bytes > BATCH_BYTES_MAX as u64 {
            return Err(rot);
        }
        let io = |error| ConsensusError { path: self.path.clone(), problem: Problem::Io(error) };
        let mut tail = vec![0; tail_bytes as usize];
        self.file.read_exact_at(&mut tail, self.end).map_err(io)?;
        if holds_a_batch_after(&Bytes::from(tail), self.next_offset) {
            return Err(rot);
        }
        tracing::warn!(
            path = %self.path.display(),
            position = self.end,
            bytes = tail_bytes,
            "cut off the end of the metadata log: its last write was interrupted before it was answered"
        );
        self.file.set_len(self.end).and_then(|()| self.file.sync_data()).map_err(io)
    }

    fn append(&mut self, values: &[Bytes], epoch: i32, now_ms: i64) -> Result<(), ConsensusError> {
        if self.failed {
            return Err(self.error(Problem::Failed));
        }
        let bytes: usize = values.iter().map(Bytes::len).sum();
        if bytes > PROPOSAL_BYTES_MAX || values.len() > PROPOSAL_VALUES_MAX {
            return Err(self.error(Problem::TooLarge { bytes, values: values.len() }));
        }
        let batch = self.batch(values, epoch, now_ms).map_err(|why| self.error(Problem::Encode(why)))?;
        if let Err(error) = self.file.write_all_at(batch.bytes(), self.end) {
            // As if it had not been tried, so that a disk with room again takes the next one.
            self.failed = self.file.set_len(self.end).is_err();
            let problem = if self.failed { Problem::Flush(error) } else { Problem::Io(error) };
            return Err(self.error(problem));
        }
        if let Err(error) = self.file.sync_data() {
            self.failed = true;
            return Err(self.error(Problem::Flush(error)));
        }
        self.end += batch.bytes().len() as u64;
        self.next_offset += values.len() as i64;
        self.last_epoch = epoch;
        Ok(())
    }

    fn batch(&self, values: &[Bytes], epoch: i32, now_ms: i64) -> Result<Batch, String> {
        let capacity = BATCH_HEADER_BYTES + values.iter().map(|v| v.len() + 16).sum::<usize>();
        let mut builder = BatchBuilder::new(Vec::with_capacity(capacity), BATCH_BYTES_MAX);
        for value in values {
            builder.push(now_ms, None, Some(value), Headers::NONE).map_err(|e| e.to_string())?;
        }
        let seal = Seal { base_offset: self.next_offset, partition_leader_epoch: epoch, ..Seal::default() };
        builder.seal(&seal, &mut Compressor::new()).map_err(|e| e.to_string())
    }

    fn error(&self, problem: Problem) -> ConsensusError {
        ConsensusError { path: self.path.clone(), problem }
    }
}

/// Makes an empty log whose name survives a crash.
fn create(directory: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    OpenOptions::new().write(true).create(true).truncate(false).open(path)?.sync_all()?;
    File::open(directory)?.sync_all()?;
    directory.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// The next batch, checked; or what is wrong with it, be it that the file's `left` bytes end within it.
fn read_batch(reader: &mut impl Read, left: u64) -> io::Result<Result<Batch, BatchError>> {
    let mut bytes = vec![0; BATCH_HEADER_BYTES.min(left as usize)];
    reader.read_exact(&mut bytes)?;
    let header = match BatchHeader::parse(&bytes) {
        Ok(header) => header,
        Err(damage) => return Ok(Err(damage)),
    };
    let needed = header.total_bytes();
    if needed as u64 > left {
        return Ok(Err(BatchError::Truncated { needed, found: left as usize }));
    }
    if needed > BATCH_BYTES_MAX {
        return Ok(Err(BatchError::Length(header.batch_length)));
    }
    bytes.resize(needed, 0);
    reader.read_exact(bytes.get_mut(BATCH_HEADER_BYTES..).unwrap_or_default())?;
    let batch = Batch::new(Bytes::from(bytes));
    Ok(batch.and_then(|batch| batch.check_crc().map(|()| batch)))
}

/// Whether a whole batch of the log's later offsets begins anywhere behind the first byte of `tail`.
fn holds_a_batch_after(tail: &Bytes, offset: i64) -> bool {
    (1..tail.len()).any(|at| {
        let rest = tail.slice(at..);
        let header = match BatchHeader::parse(&rest) {
            Ok(header) if header.base_offset > offset && header.total_bytes() <= rest.len() => header,
            _ => return false,
        };
        Batch::new(rest.slice(..header.total_bytes())).is_ok_and(|batch| batch.check_crc().is_ok())
    })
}

/// Why the metadata log cannot be opened, or did not take a proposal.
#[derive(Debug)]
pub(crate) struct ConsensusError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Io(io::Error),
    /// After this, nobody knows what is on the medium.
    Flush(io::Error),
    /// Damage that no crash explains.
    Rot {
        position: u64,
        damage: BatchError,
    },
    /// A batch that is whole, and does not fit.
    Refused {
        position: u64,
        why: String,
    },
    Encode(String),
    TooLarge {
        bytes: usize,
        values: usize,
    },
    /// An earlier flush failed.
    Failed,
    /// A proposal was given up half-way: the process is ending.
    Gone,
    Epochs,
}

impl ConsensusError {
    /// Whether nothing can be committed any more until the log was opened anew.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self.problem, Problem::Flush(_) | Problem::Failed)
    }

    fn gone() -> Self {
        Self { path: PathBuf::new(), problem: Problem::Gone }
    }
}

impl fmt::Display for ConsensusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match &self.problem {
            Problem::Io(error) | Problem::Flush(error) => {
                write!(f, "the metadata log `{path}` could not be read or written: {error}")
            }
            Problem::Rot { position, damage } => write!(
                f,
                "the metadata log `{path}` is damaged at byte {position}, before its end: {damage}; \
                 restore the file from a backup"
            ),
            Problem::Refused { position, why } => {
                write!(
                    f,
                    "the metadata log `{path}` holds what does not belong there at byte {position}: {why}"
                )
            }
            Problem::Encode(why) => write!(f, "the metadata records cannot be written: {why}"),
            Problem::TooLarge { bytes, values } => write!(
                f,
                "{values} metadata records of {bytes} bytes are more than one proposal takes, \
                 {PROPOSAL_VALUES_MAX} of {PROPOSAL_BYTES_MAX} bytes"
            ),
            Problem::Failed => {
                write!(
                    f,
                    "the metadata log `{path}` failed to flush before; restart the broker once the disk is well"
                )
            }
            Problem::Gone => write!(f, "the controller is shutting down"),
            Problem::Epochs => write!(f, "the metadata log `{path}` is at its last epoch"),
        }
    }
}

impl std::error::Error for ConsensusError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.problem {
            Problem::Io(error) | Problem::Flush(error) => Some(error),
            Problem::Rot { damage, .. } => Some(damage),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(i64, i32, Vec<Bytes>)>;

    fn open(dir: &Path) -> (SingleVoter, Seen) {
        try_open(dir).unwrap()
    }

    fn try_open(dir: &Path) -> Result<(SingleVoter, Seen), ConsensusError> {
        let mut seen = Vec::new();
        let voter = SingleVoter::open(dir, |c| {
            seen.push((c.base_offset, c.epoch, c.values));
            Ok(())
        })?;
        Ok((voter, seen))
    }

    fn values(texts: &[&'static str]) -> Vec<Bytes> {
        texts.iter().map(|t| Bytes::from_static(t.as_bytes())).collect()
    }

    fn log_file(dir: &Path) -> PathBuf {
        dir.join("__cluster_metadata-0/00000000000000000000.log")
    }

    async fn log_of_three(dir: &Path) {
        let (mut voter, _) = open(dir);
        for texts in [&["a", "b"][..], &["c"], &["d", "e", "f"]] {
            voter.propose(values(texts), 1).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_was_committed_is_there_after_a_restart_and_each_restart_is_an_epoch() {
        let dir = tempfile::tempdir().unwrap();
        let (mut voter, seen) = open(dir.path());
        assert_eq!((voter.epoch(), seen.len()), (1, 0));
        voter.propose(values(&["a", "b"]), 1).await.unwrap();
        let (mut voter, seen) = open(dir.path());
        assert_eq!(seen, [(0, 1, values(&["a", "b"]))]);
        voter.propose(values(&["c"]), 2).await.unwrap();
        let (voter, seen) = open(dir.path());
        assert_eq!(seen, [(0, 1, values(&["a", "b"])), (2, 2, values(&["c"]))]);
        assert_eq!(voter.epoch(), 3);
    }

    #[tokio::test]
    async fn a_proposal_that_was_cut_anywhere_is_gone_and_all_before_it_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        log_of_three(dir.path()).await;
        let whole = fs::read(log_file(dir.path())).unwrap();
        let last = {
            let mut rest = Bytes::from(whole.clone());
            let mut start = 0;
            while let Some(batch) = Batch::split_from(&mut rest).unwrap() {
                if rest.is_empty() {
                    break;
                }
                start += batch.bytes().len();
            }
            start
        };
        for len in last..whole.len() {
            fs::write(log_file(dir.path()), &whole[..len]).unwrap();
            let (mut voter, seen) = open(dir.path());
            assert_eq!(seen.len(), 2, "cut at {len}");
            voter.propose(values(&["g"]), 2).await.unwrap();
            assert_eq!(open(dir.path()).1[2], (3, 2, values(&["g"])), "cut at {len}");
        }
        // Pages of the last write that never reached the disk read as zeros.
        let mut zeros = whole.clone();
        zeros[last + 20..].fill(0);
        fs::write(log_file(dir.path()), &zeros).unwrap();
        assert_eq!(open(dir.path()).1.len(), 2);
    }

    #[tokio::test]
    async fn damage_before_the_last_proposal_is_an_error_wherever_it_is() {
        let dir = tempfile::tempdir().unwrap();
        log_of_three(dir.path()).await;
        let whole = fs::read(log_file(dir.path())).unwrap();
        let second = Batch::split_from(&mut Bytes::from(whole.clone())).unwrap().unwrap().bytes().len();
        for at in 0..second {
            let mut rotten = whole.clone();
            rotten[at] ^= 0x40;
            fs::write(log_file(dir.path()), &rotten).unwrap();
            let error = try_open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(" at byte "), "byte {at}: {error}");
            assert_eq!(fs::read(log_file(dir.path())).unwrap(), rotten, "nothing is cut off");
        }
    }

    #[tokio::test]
    async fn a_proposal_beyond_the_limits_is_refused_and_the_next_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (mut voter, _) = open(dir.path());
        let large = Bytes::from(vec![0; PROPOSAL_BYTES_MAX + 1]);
        let error = voter.propose(vec![large], 1).await.unwrap_err();
        assert!(error.to_string().contains("more than one proposal takes"), "{error}");
        let most = Bytes::from(vec![0; PROPOSAL_BYTES_MAX]);
        voter.propose(vec![most.clone()], 1).await.unwrap();
        assert_eq!(open(dir.path()).1, [(0, 1, vec![most])]);
    }

    #[tokio::test]
    async fn what_the_reader_refuses_is_told_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        log_of_three(dir.path()).await;
        let error = SingleVoter::open(dir.path(), |c| match c.base_offset {
            2 => Err("no".into()),
            _ => Ok(()),
        })
        .unwrap_err();
        assert!(error.to_string().ends_with("does not belong there at byte 77: no"), "{error}");
    }
}
