//! A disk in memory that knows what was synced, and what may be left of the rest when the power fails.
//!
//! As strict as POSIX:
//! 1. A sync of a file keeps its bytes and its length, but not its name. A sync of a folder keeps the names in it.
//! 2. Of what was not synced, anything may be left: each sector of 512 bytes may have any state since the last sync, whatever
//!    was written before or after it, and so may the length of a file and each name. A rename within a folder happens or does not.
//! 3. A sector is never torn, and never damaged by a write to another one.
//!
//! With a journal, as ext4 has one, a sync of anything keeps all names.
//!
//! Owners and modes are kept at once. Nothing is freed: a disk lives for a minute.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    sync::Arc,
    time::SystemTime,
};

use fastrand::Rng;

/// The number of bytes that a disk writes either whole or not at all.
pub const SECTOR: usize = 512;
/// The folder that contains all others.
pub const ROOT: Inode = 1;

/// The number of a file or folder.
pub type Inode = u64;
/// The names in a folder.
pub type Names = BTreeMap<OsString, Inode>;

/// A disk, as a running system sees it.
#[derive(Debug)]
pub struct Disk {
    files: BTreeMap<Inode, File>,
    folders: BTreeMap<Inode, Folder>,
    attributes: BTreeMap<Inode, Attributes>,
    /// The number of changes so far.
    changes: u64,
    has_journal: bool,
}

type File = Kept<FileChange>;
type Folder = Kept<NameChange>;

/// The properties that a power failure does not tear.
#[derive(Debug, Clone)]
pub struct Attributes {
    /// The permissions.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The time of the last change.
    pub modified: SystemTime,
    /// The path, as it was when it was given last.
    pub path: String,
}

/// Something that changes, and is kept by a sync.
#[derive(Debug)]
struct Kept<C: Change> {
    now: C::Of,
    log: Log<C>,
}

/// The state at the last sync, and the numbered changes since.
#[derive(Debug, Clone)]
struct Log<C: Change> {
    synced: Arc<C::Of>,
    pending: Vec<(u64, C)>,
}

trait Change {
    type Of: Clone + Default;
    fn apply(&self, to: &mut Self::Of);
}

#[derive(Debug, Clone)]
enum FileChange {
    Write { offset: usize, bytes: Arc<[u8]> },
    Resize(usize),
}

/// Names that are set or removed together.
#[derive(Debug, Clone)]
struct NameChange(Vec<(OsString, Option<Inode>)>);

impl Change for FileChange {
    type Of = Vec<u8>;

    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if to.len() < end {
                    to.resize(end, 0);
                }
                to[*offset..end].copy_from_slice(bytes);
            }
            Self::Resize(length) => to.resize(*length, 0),
        }
    }
}

impl Change for NameChange {
    type Of = Names;

    fn apply(&self, to: &mut Names) {
        for (name, inode) in &self.0 {
            match inode {
                Some(inode) => to.insert(name.clone(), *inode),
                None => to.remove(name),
            };
        }
    }
}

impl<C: Change> Kept<C> {
    fn new() -> Self {
        Self { now: C::Of::default(), log: Log { synced: Arc::default(), pending: Vec::new() } }
    }

    fn change(&mut self, number: u64, change: C) {
        change.apply(&mut self.now);
        self.log.pending.push((number, change));
    }

    fn sync(&mut self) {
        if !self.log.pending.is_empty() {
            let synced = Arc::make_mut(&mut self.log.synced);
            self.log.pending.drain(..).for_each(|(_, change)| change.apply(synced));
        }
    }
}

impl Disk {
    /// Returns a disk with an empty folder.
    pub fn new() -> Self {
        let attributes = Attributes { mode: 0o755, uid: 0, gid: 0, modified: SystemTime::now(), path: String::new() };
        Self {
            files: BTreeMap::new(),
            folders: BTreeMap::from([(ROOT, Folder::new())]),
            attributes: BTreeMap::from([(ROOT, attributes)]),
            changes: 0,
            has_journal: false,
        }
    }

    /// Returns a disk with the content of a folder, all of it synced.
    ///
    /// # Errors
    /// Those of reading the folder.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let mut disk = Self::new();
        disk.load_into(ROOT, folder)?;
        disk.files.values_mut().for_each(Kept::sync);
        disk.folders.values_mut().for_each(Kept::sync);
        Ok(disk)
    }

    /// Adds a journal of the names.
    pub fn with_journal(mut self, has_journal: bool) -> Self {
        self.has_journal = has_journal;
        self
    }

    fn load_into(&mut self, inode: Inode, folder: &Path) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            let owner = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            let added = self.add(inode, &entry.file_name(), metadata.is_dir(), owner);
            if metadata.is_dir() {
                self.load_into(added, &entry.path())?;
            } else {
                self.write(added, 0, &fs::read(entry.path())?);
            }
        }
        Ok(())
    }

    /// Returns the names in a folder; `None` if there is no such folder.
    pub fn names(&self, folder: Inode) -> Option<&Names> {
        self.folders.get(&folder).map(|folder| &folder.now)
    }

    /// Returns the bytes of a file; `None` if there is no such file.
    pub fn bytes(&self, file: Inode) -> Option<&[u8]> {
        self.files.get(&file).map(|file| file.now.as_slice())
    }

    /// Returns the attributes of a file or folder.
    pub fn attributes(&self, inode: Inode) -> Option<&Attributes> {
        self.attributes.get(&inode)
    }

    /// Returns the attributes of a file or folder.
    pub fn attributes_mut(&mut self, inode: Inode) -> Option<&mut Attributes> {
        self.attributes.get_mut(&inode)
    }

    /// Creates a file or a folder, with this mode, owner and group.
    pub fn add(&mut self, folder: Inode, name: &OsStr, is_folder: bool, (mode, uid, gid): (u32, u32, u32)) -> Inode {
        let inode = ROOT + self.attributes.len() as u64;
        let path = self.path_of(folder, name);
        self.attributes.insert(inode, Attributes { mode, uid, gid, modified: SystemTime::now(), path });
        if is_folder {
            self.folders.insert(inode, Folder::new());
        } else {
            self.files.insert(inode, File::new());
        }
        self.set_names(folder, vec![(name.to_owned(), Some(inode))]);
        inode
    }

    /// Removes a name.
    pub fn remove(&mut self, folder: Inode, name: &OsStr) {
        self.set_names(folder, vec![(name.to_owned(), None)]);
    }

    /// Renames a file or folder, in place of what has the other name. Between two folders, these are two changes.
    pub fn rename(&mut self, inode: Inode, (from, name): (Inode, &OsStr), (to, new_name): (Inode, &OsStr)) {
        let (removed, added) = ((name.to_owned(), None), (new_name.to_owned(), Some(inode)));
        if from == to {
            self.set_names(from, vec![removed, added]);
        } else {
            self.set_names(to, vec![added]);
            self.set_names(from, vec![removed]);
        }
        let path = self.path_of(to, new_name);
        if let Some(attributes) = self.attributes.get_mut(&inode) {
            attributes.path = path;
        }
    }

    fn path_of(&self, folder: Inode, name: &OsStr) -> String {
        let folder = self.attributes.get(&folder).map_or("", |folder| &folder.path);
        format!("{folder}/{}", name.to_string_lossy())
    }

    fn set_names(&mut self, folder: Inode, names: Vec<(OsString, Option<Inode>)>) {
        let number = self.count(folder);
        if let Some(folder) = self.folders.get_mut(&folder) {
            folder.change(number, NameChange(names));
        }
    }

    /// Writes to a file.
    pub fn write(&mut self, file: Inode, offset: usize, bytes: &[u8]) {
        let number = self.count(file);
        if let Some(file) = self.files.get_mut(&file) {
            file.change(number, FileChange::Write { offset, bytes: bytes.into() });
        }
    }

    /// Changes the length of a file.
    pub fn resize(&mut self, file: Inode, length: usize) {
        let number = self.count(file);
        if let Some(file) = self.files.get_mut(&file) {
            file.change(number, FileChange::Resize(length));
        }
    }

    fn count(&mut self, inode: Inode) -> u64 {
        if let Some(attributes) = self.attributes.get_mut(&inode) {
            attributes.modified = SystemTime::now();
        }
        self.changes += 1;
        self.changes
    }

    /// Syncs a file or a folder.
    pub fn sync(&mut self, inode: Inode) {
        if let Some(file) = self.files.get_mut(&inode) {
            file.sync();
        }
        let is_synced = |folder: &Inode| *folder == inode || self.has_journal;
        self.folders.iter_mut().filter(|(folder, _)| is_synced(folder)).for_each(|(_, folder)| folder.sync());
    }

    /// Returns what the disk has at this moment.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            files: self.files.iter().map(|(inode, file)| (*inode, file.log.clone())).collect(),
            folders: self.folders.iter().map(|(inode, folder)| (*inode, folder.log.clone())).collect(),
            attributes: self.attributes.clone(),
        }
    }
}

/// A disk at the moment when the power fails.
#[derive(Debug, Clone)]
pub struct Snapshot {
    files: BTreeMap<Inode, Log<FileChange>>,
    folders: BTreeMap<Inode, Log<NameChange>>,
    attributes: BTreeMap<Inode, Attributes>,
}

/// The changes that survive a power failure, of those that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survivors {
    /// Nothing.
    Nothing,
    /// All changes up to one of them.
    InOrder,
    /// Any, each sector, length and name on its own.
    Any,
    /// As a journal leaves it that writes data before the length (ext4 with `data=ordered`, its default): names, lengths and what was
    /// appended in order; what was overwritten as [`Any`](Self::Any).
    Journalled,
}

/// Decides which changes are left.
struct Chance<'r> {
    survivors: Survivors,
    /// The first change of the disk that is lost, where there is an order.
    lost_from: u64,
    random: &'r mut Rng,
}

impl Chance<'_> {
    /// Returns the first change that is lost of something on its own that has these changes.
    fn lost_from<C>(&mut self, pending: &[(u64, C)]) -> u64 {
        let (Some((first, _)), Some((last, _))) = (pending.first(), pending.last()) else { return 0 };
        match self.random.u8(..3) {
            0 => 0,
            1 => u64::MAX,
            _ => self.random.u64(*first..=last + 1),
        }
    }

    /// Returns whether a name, a length or what was appended has an order among all changes.
    fn has_order(&self) -> bool {
        self.survivors != Survivors::Any
    }

    fn names(&mut self, log: &Log<NameChange>) -> Names {
        let mut names = Names::clone(&log.synced);
        for (number, change) in &log.pending {
            if if self.has_order() { *number < self.lost_from } else { self.random.bool() } {
                change.apply(&mut names);
            }
        }
        names
    }

    fn bytes(&mut self, log: &Log<FileChange>) -> Vec<u8> {
        let mut bytes = Vec::clone(&log.synced);
        let mut length = bytes.len();
        let length_lost_from = if self.has_order() { self.lost_from } else { self.lost_from(&log.pending) };
        let mut sectors = HashMap::new();
        for (number, change) in &log.pending {
            match change {
                FileChange::Write { offset, bytes: written } => {
                    let end = offset + written.len();
                    if bytes.len() < end {
                        bytes.resize(end, 0);
                    }
                    if *number < length_lost_from {
                        length = length.max(end);
                    }
                    for sector in offset / SECTOR..=end.saturating_sub(1) / SECTOR {
                        let is_alone = match self.survivors {
                            Survivors::Any => true,
                            Survivors::Journalled => (sector + 1) * SECTOR <= log.synced.len(),
                            _ => false,
                        };
                        let lost_from = if is_alone {
                            *sectors.entry(sector).or_insert_with(|| self.lost_from(&log.pending))
                        } else {
                            self.lost_from
                        };
                        if *number < lost_from {
                            let range = (sector * SECTOR).max(*offset)..((sector + 1) * SECTOR).min(end);
                            let from = range.start - offset..range.end - offset;
                            bytes[range].copy_from_slice(&written[from]);
                        }
                    }
                }
                FileChange::Resize(to) if *number < length_lost_from => {
                    length = *to;
                    bytes.truncate(length);
                }
                FileChange::Resize(_) => {}
            }
        }
        bytes.resize(length, 0);
        bytes
    }
}

impl Snapshot {
    /// Writes the surviving files into an empty folder.
    ///
    /// # Errors
    /// Those of writing the folder.
    pub fn write(&self, survivors: Survivors, random: &mut Rng, to: &Path) -> io::Result<()> {
        let files = self.files.values().flat_map(|log| log.pending.iter().map(|(number, _)| *number));
        let folders = self.folders.values().flat_map(|log| log.pending.iter().map(|(number, _)| *number));
        let mut pending: Vec<_> = files.chain(folders).chain([0]).collect();
        pending.sort_unstable();
        let lost_from = match survivors {
            Survivors::Nothing => 0,
            _ => pending[random.usize(..pending.len())] + 1,
        };
        self.write_folder(ROOT, &mut Chance { survivors, lost_from, random }, to)
    }

    fn write_folder(&self, folder: Inode, chance: &mut Chance<'_>, to: &Path) -> io::Result<()> {
        for (name, inode) in chance.names(&self.folders[&folder]) {
            let path = to.join(name);
            if let Some(log) = self.files.get(&inode) {
                fs::write(&path, chance.bytes(log))?;
            } else {
                fs::create_dir(&path)?;
                self.write_folder(inode, chance, &path)?;
            }
            let Attributes { mode, uid, gid, .. } = &self.attributes[&inode];
            std::os::unix::fs::chown(&path, Some(*uid), Some(*gid))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
