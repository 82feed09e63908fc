//! A disk in memory that loses, tears and refuses what a real one may, all from one seed.
//!
//! What processes see is the page cache: every write, truncation and new name at once. What a power cut leaves is
//! something else, as weak as a journalled file system allows:
//!
//! - of a file, the pages that were synced, and any of the others: as they are, as they were, or sector by sector
//!   some of each; its length is the synced one or any that it had since; what nobody wrote is zeros;
//! - of a directory, the names that were synced, and the first of the changes since, in their order. Directories are
//!   apart from each other, and from the files in them: syncing a file does not make its name durable;
//! - after a failed sync, pages that look clean and are not on the medium.
//!
//! Every operation that changes something is a *crash point*: [`Faults::stop_at`] lets none happen from there on.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::TryLockError,
    io::{self, IoSlice},
    path::{Component, Path},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;

use super::Mode;

/// What survives or does not, as a whole or in sectors.
const PAGE_BYTES: usize = 4096;
/// What a disk writes whole, or not.
const SECTOR_BYTES: usize = 512;
/// One in so many writes makes the system write back some page, unasked.
const WRITEBACK_ONE_IN: u64 = 4;

/// A disk in memory. Its clones are the same disk.
#[derive(Clone, Debug)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

/// What goes wrong, besides power cuts. Of the numbers called "one in", 0 is never.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The disk takes no change from the one with this number on, until it is restarted.
    pub stop_at: Option<u64>,
    /// Bytes that all files together may have. A write that needs more is done in part.
    pub bytes_max: Option<u64>,
    /// One in so many syncs fails, and its pages count as clean all the same.
    pub sync_fails_one_in: u64,
    /// One in so many writes fails, after some of the bytes.
    pub write_fails_one_in: u64,
    /// One in so many reads fails.
    pub read_fails_one_in: u64,
    /// One in so many reads and writes does a part only, and succeeds.
    pub short_one_in: u64,
}

/// Numbers from a seed: SplitMix64, so that a seed means the same for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }

    /// True one time in `n`; never if `n` is 0.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

#[derive(Debug)]
struct State {
    random: Random,
    faults: Faults,
    /// By number; the root directory is 0.
    nodes: BTreeMap<usize, Node>,
    next_node: usize,
    /// Counts restarts: what was opened before one is of no use after it.
    generation: u64,
    changes: u64,
    syncs: u64,
    trace: u64,
}

#[derive(Debug)]
enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

#[derive(Debug, Default)]
struct FileNode {
    /// As processes see it.
    bytes: Vec<u8>,
    /// Its length as synced.
    synced_len: usize,
    /// The lengths that it had since.
    lens: Vec<usize>,
    /// Pages that were written since, as the medium has them.
    dirty: BTreeMap<usize, Vec<u8>>,
    /// Pages that count as clean after a failed sync, as the medium has them.
    lost: BTreeMap<usize, Vec<u8>>,
    locked: bool,
}

#[derive(Debug, Default)]
struct DirectoryNode {
    names: BTreeMap<String, usize>,
    synced: BTreeMap<String, usize>,
    /// Changes since, each of which happens whole or not at all.
    journal: Vec<Vec<(String, Option<usize>)>>,
}

/// An open file.
#[derive(Debug)]
pub(super) struct SimulatedFile {
    disk: SimulatedDisk,
    node: usize,
    generation: u64,
    locked: Mutex<bool>,
}

impl SimulatedDisk {
    /// An empty disk, whose every accident comes from `seed`.
    pub fn new(seed: u64) -> Self {
        let root = Node::Directory(DirectoryNode::default());
        Self(Arc::new(Mutex::new(State {
            random: Random::new(seed),
            faults: Faults::default(),
            nodes: [(0, root)].into(),
            next_node: 1,
            generation: 0,
            changes: 0,
            syncs: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        })))
    }

    /// Says what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// How many changes were asked for: the number of crash points so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many files and directories were synced.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// A hash of everything that was asked for, in order, and what came of it.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// The machine comes up again after the process was killed: nothing is lost, nothing is open, nothing goes wrong.
    pub fn restart(&self) {
        let mut state = self.state();
        state.generation += 1;
        state.faults = Faults::default();
        for node in state.nodes.values_mut() {
            if let Node::File(file) = node {
                file.locked = false;
            }
        }
    }

    /// As [`restart`](Self::restart), after a power cut: what was not synced is gone, or not, or in parts.
    pub fn power_cut(&self) {
        self.restart();
        let state = &mut *self.state();
        state.forget_nameless();
        for node in state.nodes.values_mut() {
            match node {
                Node::File(file) => file.power_cut(&mut state.random),
                Node::Directory(directory) => directory.power_cut(&mut state.random),
            }
        }
    }

    /// Flips a bit of a file, on the medium.
    ///
    /// # Errors
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, position: usize, bit: u8) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        let file = state.file(node)?;
        let mask = 1 << (bit % 8);
        *file.bytes.get_mut(position).ok_or(Errno::INVAL)? ^= mask;
        for pages in [&mut file.dirty, &mut file.lost] {
            let page = pages.get_mut(&(position / PAGE_BYTES));
            if let Some(byte) = page.and_then(|page| page.get_mut(position % PAGE_BYTES)) {
                *byte ^= mask;
            }
        }
        Ok(())
    }

    /// Replaces what is in a file, durably, as a person with an editor would.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let node = state.find(path)?;
        let file = state.file(node)?;
        *file = FileNode { bytes: bytes.to_vec(), synced_len: bytes.len(), ..FileNode::default() };
        Ok(())
    }

    /// What is in a file.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.state();
        let node = state.find(path)?;
        Ok(state.file(node)?.bytes.clone())
    }

    /// The names in a directory, in order.
    ///
    /// # Errors
    /// If there is no such directory.
    pub fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.list(path)?.into_iter().map(|(name, _)| name).collect())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked is a test that fails anyway.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, path: &Path, mode: Mode) -> io::Result<SimulatedFile> {
        let state = &mut *self.state();
        let found = state.find(path);
        let node = match (found, mode) {
            (Ok(node), Mode::Create) => {
                state.change("truncate", node, 0)?;
                state.file(node)?.set_len(0);
                node
            }
            (Ok(node), _) => node,
            (Err(error), Mode::Create) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, name) = state.parent(path)?;
                state.change("create", parent, 0)?;
                if state.room() == 0 {
                    return Err(Errno::NOSPC.into());
                }
                let node = state.add(Node::File(FileNode::default()));
                state.directory(parent)?.change(vec![(name, Some(node))]);
                node
            }
            (Err(error), _) => return Err(error),
        };
        state.file(node)?;
        Ok(SimulatedFile {
            disk: self.clone(),
            node,
            generation: state.generation,
            locked: Mutex::new(false),
        })
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let node = state.find(from)?;
        let ((parent, from), (to_parent, to)) = (state.parent(from)?, state.parent(to)?);
        state.change("rename", node, 0)?;
        if parent != to_parent {
            return Err(Errno::XDEV.into());
        }
        state.directory(parent)?.change(vec![(from, None), (to, Some(node))]);
        Ok(())
    }

    pub(super) fn remove_file(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let node = state.find(path)?;
        state.file(node)?;
        let (parent, name) = state.parent(path)?;
        state.change("remove", node, 0)?;
        state.directory(parent)?.change(vec![(name, None)]);
        Ok(())
    }

    /// Entry by entry, as the system's own has it.
    pub(super) fn remove_directory(&self, path: &Path) -> io::Result<()> {
        for (name, is_directory) in self.list(path)? {
            let path = path.join(name);
            if is_directory { self.remove_directory(&path)? } else { self.remove_file(&path)? }
        }
        let state = &mut *self.state();
        let node = state.find(path)?;
        let (parent, name) = state.parent(path)?;
        state.change("remove", node, 1)?;
        state.directory(parent)?.change(vec![(name, None)]);
        Ok(())
    }

    pub(super) fn create_directory(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let mut parent = 0;
        for name in names_of(path)? {
            parent = match state.directory(parent)?.names.get(&name) {
                Some(&node) => node,
                None => {
                    state.change("create", parent, 1)?;
                    let node = state.add(Node::Directory(DirectoryNode::default()));
                    state.directory(parent)?.change(vec![(name, Some(node))]);
                    node
                }
            };
        }
        state.directory(parent).map(|_| ())
    }

    pub(super) fn sync(&self, path: &Path) -> io::Result<()> {
        let state = &mut *self.state();
        let node = state.find(path)?;
        state.sync(node)
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<(String, bool)>> {
        let state = &mut *self.state();
        let node = state.find(path)?;
        let names = state.directory(node)?.names.clone();
        let is_directory = |node: usize| matches!(state.nodes.get(&node), Some(Node::Directory(_)));
        Ok(names.into_iter().map(|(name, node)| (name, is_directory(node))).collect())
    }
}

impl SimulatedFile {
    /// The disk, if it was not restarted since the file was opened.
    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.state();
        if state.generation == self.generation { Ok(state) } else { Err(Errno::STALE.into()) }
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        Ok(self.state()?.file(self.node)?.bytes.len() as u64)
    }

    pub(super) fn read(&self, into: &mut [u8], position: u64) -> io::Result<usize> {
        let state = &mut *self.state()?;
        let len = state.may_read(self.node, position, into.len())?;
        let bytes = state.file(self.node)?.bytes.get(position as usize..).unwrap_or_default();
        let n = bytes.len().min(len);
        if let (Some(into), Some(bytes)) = (into.get_mut(..n), bytes.get(..n)) {
            into.copy_from_slice(bytes);
        }
        Ok(n)
    }

    pub(super) fn read_spare(&self, into: &mut Vec<u8>, position: u64) -> io::Result<usize> {
        let state = &mut *self.state()?;
        let len = state.may_read(self.node, position, into.capacity() - into.len())?;
        let bytes = state.file(self.node)?.bytes.get(position as usize..).unwrap_or_default();
        let bytes = bytes.get(..len).unwrap_or(bytes);
        into.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    pub(super) fn write(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let state = &mut *self.state()?;
        let wanted: usize = slices.iter().map(|s| s.len()).sum();
        let (position, mut len) = (position as usize, wanted);
        let stopped = state.change("write", self.node, position as u64 ^ (wanted as u64) << 32);
        let mut failure = None;
        if let Err(error) = stopped {
            // The power went while this was under way.
            len = state.random.below(wanted as u64 + 1) as usize;
            failure = Some(error);
        } else if state.random.one_in(state.faults.write_fails_one_in) {
            len = state.random.below(wanted as u64) as usize;
            failure = Some(Errno::IO.into());
        } else if state.random.one_in(state.faults.short_one_in) {
            // The system copies page by page.
            let end = position + 1 + state.random.below(wanted as u64) as usize;
            len = (end - end % PAGE_BYTES).checked_sub(position).filter(|len| *len > 0).unwrap_or(wanted);
        }
        let grows_from = state.file(self.node)?.bytes.len().max(position);
        let room = state.room();
        if room < (position + len).saturating_sub(grows_from) as u64 {
            len = (grows_from - position) + room as usize;
            failure = failure.or_else(|| (len == 0).then(|| Errno::NOSPC.into()));
        }
        let writeback = state.random.one_in(WRITEBACK_ONE_IN).then(|| state.random.next_u64());
        let file = state.file(self.node)?;
        file.write(slices, position, len);
        if let Some(any) = writeback {
            file.write_back(any as usize);
        }
        state.note("wrote", self.node, len as u64);
        failure.map_or(Ok(len), Err)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let state = &mut *self.state()?;
        state.change("truncate", self.node, len)?;
        state.file(self.node)?.set_len(len as usize);
        Ok(())
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.state()?.sync(self.node)
    }

    pub(super) fn try_lock(&self) -> Result<(), TryLockError> {
        let mut state = self.state().map_err(TryLockError::Error)?;
        let file = state.file(self.node).map_err(TryLockError::Error)?;
        if std::mem::replace(&mut file.locked, true) {
            return Err(TryLockError::WouldBlock);
        }
        *self.locked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        if *self.locked.lock().unwrap_or_else(PoisonError::into_inner)
            && let Ok(mut state) = self.state()
            && let Ok(file) = state.file(self.node)
        {
            file.locked = false;
        }
    }
}

impl State {
    /// Counts a change that is asked for, and says whether the disk still takes any.
    fn change(&mut self, what: &str, node: usize, how: u64) -> io::Result<()> {
        self.note(what, node, how);
        self.changes += 1;
        match self.faults.stop_at {
            Some(stop_at) if self.changes > stop_at => Err(Errno::IO.into()),
            _ => Ok(()),
        }
    }

    /// FNV-1a.
    fn note(&mut self, what: &str, node: usize, how: u64) {
        let words = [node as u64, how].map(u64::to_le_bytes);
        for byte in what.bytes().chain(words.into_iter().flatten()) {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn may_read(&mut self, node: usize, position: u64, len: usize) -> io::Result<usize> {
        self.note("read", node, position ^ (len as u64) << 32);
        let stopped = self.faults.stop_at.is_some_and(|stop_at| self.changes > stop_at);
        if stopped || self.random.one_in(self.faults.read_fails_one_in) {
            return Err(Errno::IO.into());
        }
        match self.random.one_in(self.faults.short_one_in) {
            true => Ok(1 + self.random.below(len as u64) as usize),
            false => Ok(len),
        }
    }

    fn sync(&mut self, node: usize) -> io::Result<()> {
        self.change("sync", node, 0)?;
        self.syncs += 1;
        let fails = self.random.one_in(self.faults.sync_fails_one_in);
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) if fails => file.fail_sync(&mut self.random),
            Some(Node::File(file)) => file.sync(),
            Some(Node::Directory(_)) if fails => {}
            Some(Node::Directory(directory)) => {
                directory.synced = directory.names.clone();
                directory.journal.clear();
            }
            None => return Err(Errno::NOENT.into()),
        }
        if fails { Err(Errno::IO.into()) } else { Ok(()) }
    }

    /// Forgets the files that have no name any more, and can get none back. Nobody has them open.
    fn forget_nameless(&mut self) {
        let mut named = BTreeSet::from([0]);
        for node in self.nodes.values() {
            if let Node::Directory(directory) = node {
                named.extend(directory.names.values().chain(directory.synced.values()));
                named.extend(directory.journal.iter().flatten().filter_map(|(_, node)| *node));
            }
        }
        self.nodes.retain(|number, _| named.contains(number));
    }

    /// Bytes that files may still grow by.
    fn room(&self) -> u64 {
        let Some(bytes_max) = self.faults.bytes_max else { return u64::MAX };
        let len = |node: &Node| match node {
            Node::File(file) => file.bytes.len() as u64,
            Node::Directory(_) => 0,
        };
        bytes_max.saturating_sub(self.nodes.values().map(len).sum())
    }

    fn add(&mut self, node: Node) -> usize {
        let number = self.next_node;
        self.next_node += 1;
        self.nodes.insert(number, node);
        number
    }

    fn find(&mut self, path: &Path) -> io::Result<usize> {
        let mut node = 0;
        for name in names_of(path)? {
            node = *self.directory(node)?.names.get(&name).ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    /// The directory that a path lies in, and its name there.
    fn parent(&mut self, path: &Path) -> io::Result<(usize, String)> {
        let name = names_of(path)?.pop().ok_or(Errno::INVAL)?;
        Ok((self.find(path.parent().ok_or(Errno::INVAL)?)?, name))
    }

    fn file(&mut self, node: usize) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Errno::ISDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }

    fn directory(&mut self, node: usize) -> io::Result<&mut DirectoryNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(Errno::NOTDIR.into()),
            None => Err(Errno::NOENT.into()),
        }
    }
}

fn names_of(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(Errno::INVAL)?.to_owned()),
            Component::ParentDir | Component::Prefix(_) => return Err(Errno::INVAL.into()),
        }
    }
    Ok(names)
}

impl FileNode {
    fn page(&self, page: usize) -> Vec<u8> {
        let bytes = self.bytes.get(page * PAGE_BYTES..).unwrap_or_default();
        bytes.get(..PAGE_BYTES).unwrap_or(bytes).to_vec()
    }

    /// Notes that some pages are about to change.
    fn touch(&mut self, from: usize, to: usize) {
        for page in from / PAGE_BYTES..to.div_ceil(PAGE_BYTES) {
            if !self.dirty.contains_key(&page) {
                let on_medium = self.lost.remove(&page).unwrap_or_else(|| self.page(page));
                self.dirty.insert(page, on_medium);
            }
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>], position: usize, len: usize) {
        if len == 0 {
            return;
        }
        let end = position + len;
        self.touch(position, end);
        if end > self.bytes.len() {
            self.bytes.resize(end, 0);
            self.lens.push(end);
        }
        let room = self.bytes.get_mut(position..end).unwrap_or_default();
        for (place, byte) in room.iter_mut().zip(slices.iter().flat_map(|slice| slice.iter())) {
            *place = *byte;
        }
    }

    fn set_len(&mut self, len: usize) {
        self.touch(len, self.bytes.len());
        self.bytes.resize(len, 0);
        self.lens.push(len);
    }

    /// Some dirty page is written to the medium as it is now, but the system may yet write it again.
    fn write_back(&mut self, any: usize) {
        let pages: Vec<usize> = self.dirty.keys().copied().collect();
        if let Some(&page) = any.checked_rem(pages.len()).and_then(|i| pages.get(i)) {
            let now = self.page(page);
            self.dirty.insert(page, now);
        }
    }

    fn sync(&mut self) {
        self.dirty.clear();
        self.lens.clear();
        self.synced_len = self.bytes.len();
        // What lay behind the end is not the file's any more: what is written there later finds nothing of it.
        self.lost.retain(|page, _| page * PAGE_BYTES < self.synced_len);
    }

    fn fail_sync(&mut self, random: &mut Random) {
        for (page, on_medium) in std::mem::take(&mut self.dirty) {
            if random.one_in(2) {
                self.lost.insert(page, on_medium);
            }
        }
    }

    fn power_cut(&mut self, random: &mut Random) {
        // Some power cuts take everything, some nothing, most something.
        let survives = random.below(5);
        self.lens.push(self.synced_len);
        let len = match survives {
            0 => self.synced_len,
            4 => self.bytes.len(),
            _ => {
                let any = random.below(self.lens.len() as u64 + 1) as usize;
                self.lens.get(any).copied().unwrap_or(self.bytes.len())
            }
        };
        let mut restored = std::mem::take(&mut self.lost);
        for (page, on_medium) in std::mem::take(&mut self.dirty) {
            let written = self.page(page);
            let torn = random.one_in(4);
            let mut mixed = Vec::with_capacity(PAGE_BYTES);
            let takes = |random: &mut Random| match survives {
                0 => false,
                4 => true,
                share => random.below(4) < share,
            };
            let whole = takes(random);
            for at in (0..PAGE_BYTES).step_by(SECTOR_BYTES) {
                let new = if torn { takes(random) } else { whole };
                let from = if new { &written } else { &on_medium };
                let sector = from.get(at..).unwrap_or_default();
                mixed.extend_from_slice(sector.get(..SECTOR_BYTES).unwrap_or(sector));
                mixed.resize(at + SECTOR_BYTES, 0);
            }
            restored.insert(page, mixed);
        }
        self.bytes.resize(len, 0);
        for (page, bytes) in restored {
            let at = page * PAGE_BYTES;
            for (place, byte) in self
                .bytes
                .iter_mut()
                .skip(at)
                .take(PAGE_BYTES)
                .zip(bytes.into_iter().chain(std::iter::repeat(0)))
            {
                *place = byte;
            }
        }
        self.sync();
    }
}

impl DirectoryNode {
    fn change(&mut self, change: Vec<(String, Option<usize>)>) {
        apply(&mut self.names, &change);
        self.journal.push(change);
    }

    fn power_cut(&mut self, random: &mut Random) {
        let kept = random.below(self.journal.len() as u64 + 1) as usize;
        for change in self.journal.drain(..).take(kept) {
            apply(&mut self.synced, &change);
        }
        self.names = self.synced.clone();
    }
}

fn apply(names: &mut BTreeMap<String, usize>, change: &[(String, Option<usize>)]) {
    for (name, node) in change {
        match node {
            Some(node) => _ = names.insert(name.clone(), *node),
            None => _ = names.remove(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::log::vfs::Disk;

    /// A disk with a synced directory `/d` on it.
    fn disk(seed: u64) -> (SimulatedDisk, Disk) {
        let simulated = SimulatedDisk::new(seed);
        let disk = Disk::Simulated(simulated.clone());
        disk.create_directory(Path::new("/d")).unwrap();
        disk.sync_directory(Path::new("/")).unwrap();
        (simulated, disk)
    }

    /// All outcomes of many power cuts after `doing`.
    fn outcomes(doing: impl Fn(&Disk)) -> HashSet<Option<Vec<u8>>> {
        (0..300)
            .map(|seed| {
                let (simulated, disk) = disk(seed);
                doing(&disk);
                simulated.power_cut();
                simulated.contents(Path::new("/d/a")).ok()
            })
            .collect()
    }

    #[test]
    fn what_was_synced_survives_and_its_name_only_with_its_directory() {
        let path = Path::new("/d/a");
        let both = outcomes(|disk| {
            disk.write_file(path, b"synced").unwrap().sync().unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
        });
        assert_eq!(both, [Some(b"synced".to_vec())].into());
        let file_only = outcomes(|disk| disk.write_file(path, b"synced").unwrap().sync().unwrap());
        assert_eq!(file_only, [None, Some(b"synced".to_vec())].into());
        let name_only = outcomes(|disk| {
            disk.write_file(path, b"bytes").unwrap();
            disk.sync_directory(Path::new("/d")).unwrap();
        });
        assert_eq!(name_only, [Some(vec![]), Some(vec![0; 5]), Some(b"bytes".to_vec())].into());
    }

    #[test]
    fn a_rename_is_the_old_file_or_the_new_one() {
        let path = Path::new("/d/a");
        let found = outcomes(|disk| {
            disk.replace_file_durably(path, b"old").unwrap();
            let file = disk.write_file(Path::new("/d/a.tmp"), b"new").unwrap();
            file.sync().unwrap();
            disk.rename(file.path(), path).unwrap();
        });
        assert_eq!(found, [Some(b"old".to_vec()), Some(b"new".to_vec())].into());
    }

    #[test]
    fn any_page_that_was_not_synced_may_be_lost_or_torn_at_a_sector() {
        let path = Path::new("/d/a");
        let found = outcomes(|disk| {
            disk.replace_file_durably(path, &[1; 3 * PAGE_BYTES]).unwrap();
            let file = disk.open_rw(path).unwrap();
            file.write_all_at(&mut [IoSlice::new(&[2; 2 * PAGE_BYTES])], PAGE_BYTES as u64).unwrap();
        });
        let mut shapes = HashSet::new();
        for bytes in found {
            let bytes = bytes.unwrap();
            assert_eq!(bytes.len(), 3 * PAGE_BYTES);
            assert!(bytes[..PAGE_BYTES].iter().all(|b| *b == 1), "a page that was synced is never touched");
            let sectors: Vec<u8> = bytes.chunks(SECTOR_BYTES).map(|s| s[0]).collect();
            assert!(bytes.chunks(SECTOR_BYTES).all(|s| s.iter().all(|b| *b == s[0])));
            shapes.insert(sectors[8..].to_vec());
        }
        let (old, new) = ([1; 8], [2; 8]);
        for shape in [[old, old], [old, new], [new, old], [new, new]] {
            assert!(shapes.contains(&shape.concat()), "{shape:?}");
        }
        assert!(shapes.len() > 8, "some are torn");
    }

    #[test]
    fn a_failed_sync_leaves_pages_that_look_clean_and_are_not_there() {
        let path = Path::new("/d/a");
        let found = outcomes(|disk| {
            let Disk::Simulated(simulated) = disk else { return };
            disk.replace_file_durably(path, b"old").unwrap();
            let file = disk.open_rw(path).unwrap();
            file.write_all_at(&mut [IoSlice::new(b"new")], 0).unwrap();
            simulated.set_faults(Faults { sync_fails_one_in: 1, ..Faults::default() });
            file.sync().unwrap_err();
            simulated.set_faults(Faults::default());
            assert_eq!(file.read_exact(0, 3).unwrap(), b"new");
            file.sync().unwrap();
        });
        assert_eq!(found, [Some(b"old".to_vec()), Some(b"new".to_vec())].into());
    }

    #[test]
    fn a_full_disk_takes_a_part_and_then_nothing() {
        let (simulated, disk) = disk(1);
        let file = disk.create("/d/a").unwrap();
        simulated.set_faults(Faults { bytes_max: Some(10), ..Faults::default() });
        let error = file.write_all_at(&mut [IoSlice::new(&[7; 16])], 0).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_eq!(file.len().unwrap(), 10);
        file.truncate(4).unwrap();
        file.write_all_at(&mut [IoSlice::new(&[8; 6])], 4).unwrap();
        assert!(disk.create("/d/b").unwrap_err().is_disk_full());
    }

    #[test]
    fn short_reads_and_writes_are_made_whole() {
        let (simulated, disk) = disk(2);
        simulated.set_faults(Faults { short_one_in: 1, ..Faults::default() });
        let bytes: Vec<u8> = (0..10_000_u32).map(|i| i as u8).collect();
        let file = disk.write_file(Path::new("/d/a"), &bytes).unwrap();
        assert_eq!(file.read_exact(0, bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn nothing_happens_on_a_disk_that_stopped_and_old_handles_are_dead() {
        let (simulated, disk) = disk(3);
        let file = disk.write_file(Path::new("/d/a"), b"a").unwrap();
        file.lock(Path::new("/d")).unwrap();
        simulated.set_faults(Faults { stop_at: Some(simulated.changes()), ..Faults::default() });
        disk.create("/d/b").unwrap_err();
        file.sync().unwrap_err();
        simulated.restart();
        assert_eq!(simulated.names(Path::new("/d")).unwrap(), ["a"]);
        file.len().unwrap_err();
        let again = disk.open_rw("/d/a").unwrap();
        again.lock(Path::new("/d")).unwrap();
        disk.open_rw("/d/a").unwrap().lock(Path::new("/d")).unwrap_err();
    }
}
