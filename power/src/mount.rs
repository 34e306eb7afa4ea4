//! A mounted [`Disk`]: the kernel sends every operation of every process to it.
//!
//! The page cache of the kernel is write-through, so a write is here before it returns, and only memory maps are written later. The
//! kernel itself answers what concerns locks and permissions.

use std::{
    ffi::OsStr,
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};

use crate::{
    cut::{Cutter, Step, is_at},
    disk::{Attributes, Disk, Inode},
};

/// For how long the kernel may keep names and attributes: nothing else changes them.
const KEPT: Duration = Duration::from_secs(3_600);

/// A disk in use; unmounted when dropped.
#[derive(Debug)]
pub struct Mounted {
    state: Arc<Mutex<State>>,
    session: BackgroundSession,
}

#[derive(Debug)]
struct State {
    disk: Disk,
    cutter: Cutter,
    /// The place whose syncs are ignored, as if the program had omitted them.
    ignored: Option<&'static str>,
}

impl Mounted {
    /// Mounts a disk that ignores syncs at one place.
    ///
    /// # Errors
    /// If it cannot be mounted.
    pub fn new(disk: Disk, at: &Path, ignored: Option<&'static str>) -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State { disk, cutter: Cutter::default(), ignored }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("power-loss".to_owned()), MountOption::DefaultPermissions];
        // PostgreSQL runs as a user of its own.
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(Mount(Arc::clone(&state)), at, &config)?;
        Ok(Self { state, session })
    }

    /// Does something with what decides when the power fails.
    pub fn cutter<T>(&self, act: impl FnOnce(&mut Cutter) -> T) -> T {
        act(&mut lock(&self.state).cutter)
    }

    /// Unmounts it.
    ///
    /// # Errors
    /// If it is in use.
    pub fn unmount(self) -> io::Result<()> {
        self.session.umount_and_join()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    /// The power may fail here.
    fn step(&mut self, inode: Inode, step: Step) {
        let path = self.disk.attributes(inode).map_or("", |attributes| &attributes.path);
        self.cutter.step(path, step, &self.disk);
    }

    fn child(&self, folder: INodeNo, name: &OsStr) -> Result<Inode, Errno> {
        self.disk.names(folder.0).ok_or(Errno::ENOTDIR)?.get(name).copied().ok_or(Errno::ENOENT)
    }

    fn stat(&self, inode: Inode) -> Result<FileAttr, Errno> {
        let Attributes { mode, uid, gid, modified, .. } = self.disk.attributes(inode).ok_or(Errno::ENOENT)?.clone();
        let (size, kind) = match self.disk.bytes(inode) {
            Some(bytes) => (bytes.len() as u64, FileType::RegularFile),
            None => (0, FileType::Directory),
        };
        Ok(FileAttr {
            ino: INodeNo(inode),
            size,
            blocks: size.div_ceil(512),
            atime: modified,
            mtime: modified,
            ctime: modified,
            crtime: modified,
            kind,
            perm: (mode & 0o7777) as u16,
            nlink: 1,
            uid,
            gid,
            rdev: 0,
            blksize: 4_096,
            flags: 0,
        })
    }

    fn add(
        &mut self,
        folder: INodeNo,
        name: &OsStr,
        is_folder: bool,
        owner: (u32, u32, u32),
    ) -> Result<FileAttr, Errno> {
        if self.child(folder, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.step(folder.0, Step::Change);
        let added = self.disk.add(folder.0, name, is_folder, owner);
        self.stat(added)
    }

    fn sync(&mut self, inode: INodeNo) {
        self.step(inode.0, Step::BeforeSync);
        let path = self.disk.attributes(inode.0).map_or("", |attributes| &attributes.path);
        if self.ignored.is_none_or(|ignored| !is_at(path, ignored)) {
            self.disk.sync(inode.0);
        }
        self.step(inode.0, Step::AfterSync);
    }
}

#[derive(Debug)]
struct Mount(Arc<Mutex<State>>);

impl Mount {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0)
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(found) => reply.entry(&KEPT, &found, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Mount {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let state = self.state();
        entry(state.child(parent, name).and_then(|inode| state.stat(inode)), reply);
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.state().stat(inode.0) {
            Ok(found) => reply.attr(&KEPT, &found),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        inode: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _accessed: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _changed: Option<SystemTime>,
        _: Option<FileHandle>,
        _created: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        if let Some(size) = size {
            state.step(inode.0, Step::Change);
            state.disk.resize(inode.0, size as usize);
        }
        if let Some(attributes) = state.disk.attributes_mut(inode.0) {
            attributes.mode = mode.unwrap_or(attributes.mode);
            attributes.uid = uid.unwrap_or(attributes.uid);
            attributes.gid = gid.unwrap_or(attributes.gid);
            attributes.modified = match modified {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => attributes.modified,
            };
        }
        match state.stat(inode.0) {
            Ok(found) => reply.attr(&KEPT, &found),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let owner = (mode & !umask, request.uid(), request.gid());
        entry(self.state().add(parent, name, true, owner), reply);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let owner = (mode & !umask, request.uid(), request.gid());
        match self.state().add(parent, name, false, owner) {
            Ok(added) => reply.created(&KEPT, &added, Generation(0), FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        state.step(parent.0, Step::Change);
        let removed = state.child(parent, name).map(|_| state.disk.remove(parent.0, name));
        empty(removed, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        let found = state.child(parent, name).and_then(|inode| match state.disk.names(inode) {
            Some(names) if names.is_empty() => Ok(()),
            Some(_) => Err(Errno::ENOTEMPTY),
            None => Err(Errno::ENOTDIR),
        });
        empty(found.map(|()| state.disk.remove(parent.0, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        if !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        state.step(to.0, Step::Change);
        let inode = state.child(parent, name);
        empty(inode.map(|inode| state.disk.rename(inode, (parent.0, name), (to.0, new_name))), reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().disk.bytes(inode.0) {
            Some(bytes) => {
                let start = bytes.len().min(offset as usize);
                reply.data(&bytes[start..bytes.len().min(start + size as usize)]);
            }
            None => reply.error(Errno::EISDIR),
        }
    }

    fn write(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        state.step(inode.0, Step::Change);
        state.disk.write(inode.0, offset as usize, data);
        reply.written(data.len() as u32);
    }

    fn fsync(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.state().sync(inode);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, inode: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        self.state().sync(inode);
        reply.ok();
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let state = self.state();
        let Some(names) = state.disk.names(inode.0) else { return reply.error(Errno::ENOTDIR) };
        for (index, (name, inode)) in names.iter().enumerate().skip(offset as usize) {
            let kind = if state.disk.names(*inode).is_some() { FileType::Directory } else { FileType::RegularFile };
            if reply.add(INodeNo(*inode), index as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }
}
