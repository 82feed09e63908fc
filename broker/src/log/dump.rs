//! Reads the files of a log for people to look at. Nothing is changed, and nothing needs to be whole: the reader of a
//! damaged segment gets everything up to the damage, and then says what it is.

use std::path::{Path, PathBuf};

use ottla_protocol::{
    messages::storage::producer_snapshot::ProducerEntry,
    record::{Batch, BatchError},
};

use super::{
    error::{LogError, LogErrorKind},
    leader_epochs::{LeaderEpoch, LeaderEpochs},
    offset_index::OffsetIndex,
    producer_state,
    scan::{Scan, ScanError, WALK_WINDOW_BYTES},
    segment::FileKind,
    time_index::TimeIndex,
    vfs::Disk,
};

/// A batch in a segment.
#[derive(Clone, Debug)]
pub struct DumpedBatch {
    /// Where it begins, in bytes.
    pub position: u64,
    /// The batch.
    pub batch: Batch,
    /// Whether its bytes are those that were written.
    pub crc: Result<(), BatchError>,
}

/// The segments of a log, in order.
///
/// # Errors
/// If the directory cannot be read.
pub fn segments(directory: &Path) -> Result<Vec<PathBuf>, LogError> {
    let names = Disk::Real.list(directory)?;
    let segments = names.iter().filter(|(name, _)| matches!(FileKind::parse(name), Some((FileKind::Log, _))));
    Ok(segments.map(|(name, _)| directory.join(name)).collect())
}

/// Gives every batch of a `.log` file to `each`, in order.
///
/// # Errors
/// If the file cannot be read, or at the first bytes that are no batch.
pub fn batches(path: &Path, mut each: impl FnMut(DumpedBatch)) -> Result<(), LogError> {
    let file = Disk::Real.open(path)?;
    let size = u32::try_from(file.len()?)
        .map_err(|_| LogError::malformed(path, "it is larger than a segment can be"))?;
    let mut scan = Scan::new(&file, base_offset(path)?, 0, size, WALK_WINDOW_BYTES);
    loop {
        let found = match scan.next() {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Damaged(why)) => {
                let (position, offset) = (scan.position().into(), scan.next_offset());
                return Err(LogErrorKind::Rot { path: path.to_owned(), position, offset, why }.into());
            }
        };
        let mut bytes = file.read_exact(found.position.into(), found.header.total_bytes())?.into();
        let split = Batch::split_from(&mut bytes).map_err(|e| LogError::malformed(path, e.to_string()))?;
        if let Some(batch) = split {
            each(DumpedBatch { position: found.position.into(), crc: batch.check_crc(), batch });
        }
    }
}

/// The entries of an `.index` file: the last offset of a batch, and where that batch begins.
///
/// # Errors
/// If the file cannot be read, or is malformed.
pub fn offset_index(path: &Path) -> Result<Vec<(i64, u32)>, LogError> {
    let base_offset = base_offset(path)?;
    let index = OffsetIndex::read(&Disk::Real, path, u32::MAX)?.ok_or_else(|| not_found(path))?;
    Ok(index.iter().map(|(offset, position)| (base_offset + i64::from(offset), position)).collect())
}

/// The entries of a `.timeindex` file: a timestamp, and the last offset of the batch that brought it.
///
/// # Errors
/// If the file cannot be read, or is malformed.
pub fn time_index(path: &Path) -> Result<Vec<(i64, i64)>, LogError> {
    let base_offset = base_offset(path)?;
    let index = TimeIndex::read(&Disk::Real, path)?.ok_or_else(|| not_found(path))?;
    Ok(index.iter().map(|e| (e.timestamp, base_offset + i64::from(e.relative_offset))).collect())
}

/// The rows of a `.snapshot` file: up to five batches of each idempotent producer, oldest first.
///
/// # Errors
/// If the file cannot be read, or is malformed.
pub fn producer_snapshot(path: &Path) -> Result<Vec<ProducerEntry>, LogError> {
    let bytes = Disk::Real.read_file(path)?.ok_or_else(|| not_found(path))?;
    producer_state::decode_rows(bytes).map_err(|why| LogError::malformed(path, why))
}

/// The rows of a `leader-epoch-checkpoint` file.
///
/// # Errors
/// If the file cannot be read, or is malformed.
pub fn leader_epochs(path: &Path) -> Result<Vec<LeaderEpoch>, LogError> {
    Ok(LeaderEpochs::read(&Disk::Real, path)?.ok_or_else(|| not_found(path))?.to_vec())
}

/// The offset that a file's name says.
fn base_offset(path: &Path) -> Result<i64, LogError> {
    let parsed = path.file_name().and_then(|n| n.to_str()).and_then(FileKind::parse);
    parsed
        .map(|(_, offset)| offset)
        .ok_or_else(|| LogError::malformed(path, "its name is not 20 digits and a log file's ending"))
}

fn not_found(path: &Path) -> LogError {
    LogError::io("open", path, std::io::Error::from(std::io::ErrorKind::NotFound))
}
