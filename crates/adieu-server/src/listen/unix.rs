//! Creates and removes Unix sockets.
//!
//! 1. A socket has its mode, owner and group before a process can connect: until `listen`, the system refuses every connection.
//! 2. A socket that a killed server has left behind is replaced. A file of another kind, and a socket that a server listens on, are not.
//! 3. The socket is removed when the server stops, unless another one has taken its place.

use std::{
    fs::{self, File},
    io::{Error, ErrorKind, Result},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, lchown},
    path::{Path, PathBuf},
};

use nix::unistd::{Group, User};
use rustix::fs::{FlockOperation, flock};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{UnixListener, UnixStream};

use crate::config::Settings;

/// The system allows fewer if `net.core.somaxconn` is smaller. A process that connects when so many wait gets an error at once; with TCP
/// it would try again.
const BACKLOG: i32 = 4096;

/// Who may connect to a socket.
#[derive(Debug)]
pub(crate) struct Access {
    mode: u32,
    owner: Option<u32>,
    group: Option<u32>,
}

impl Access {
    /// Looks up the owner and the group of the settings.
    ///
    /// # Errors
    /// If this system has no such user or group.
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let id = |what: &str, name: &Option<String>, find: &dyn Fn(&str) -> nix::Result<Option<u32>>| {
            let Some(name) = name else { return Ok(None) };
            match name.parse() {
                Ok(number) => Ok(Some(number)),
                Err(_) => find(name)?.map(Some).ok_or_else(|| {
                    Error::new(
                        ErrorKind::NotFound,
                        format!("unix_socket_{what}: there is no {what} {name:?} on this system"),
                    )
                }),
            }
        };
        let user = |name: &str| Ok(User::from_name(name)?.map(|user| user.uid.as_raw()));
        let group = |name: &str| Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()));
        Ok(Self {
            mode: settings.unix_socket_mode.bits(),
            owner: id("owner", &settings.unix_socket_owner, &user)?,
            group: id("group", &settings.unix_socket_group, &group)?,
        })
    }
}

/// The file of a socket, which is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Its device and inode. The system does not assign them again while the socket is open.
    id: (u64, u64),
}

impl SocketFile {
    /// Listens on a new socket with this path.
    pub(super) async fn bind(path: &Path, access: &Access) -> Result<(Self, UnixListener)> {
        let address = address_of(path)?;
        // Another server that starts now must not take the socket for abandoned before it listens.
        let _lock = lock_folder(path)?;
        remove_abandoned(path).await?;
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&address)?;
        let metadata = fs::symlink_metadata(path)?;
        let file = Self { path: path.to_owned(), id: (metadata.dev(), metadata.ino()) };
        if access.owner.is_some() || access.group.is_some() {
            lchown(path, access.owner, access.group).map_err(|error| {
                Error::new(error.kind(), format!("cannot set unix_socket_owner or unix_socket_group: {error}"))
            })?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok((file, UnixListener::from_std(socket.into())?))
    }

    fn remove(&self) -> Result<()> {
        let _lock = lock_folder(&self.path)?;
        let metadata = fs::symlink_metadata(&self.path)?;
        if (metadata.dev(), metadata.ino()) == self.id { fs::remove_file(&self.path) } else { Ok(()) }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove()
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %self.path.display(), "could not remove the Unix socket");
        }
    }
}

/// Checks, without changing anything, that there can be a socket with this path.
///
/// # Errors
/// If the path is too long, or that of a file of another kind.
pub(crate) fn check(path: &Path) -> Result<()> {
    address_of(path)?;
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => Err(not_a_socket()),
        _ => Ok(()),
    }
}

fn address_of(path: &Path) -> Result<SockAddr> {
    SockAddr::unix(path).map_err(|_| {
        let length = path.as_os_str().len();
        Error::new(ErrorKind::InvalidInput, format!("the path is too long for a Unix socket ({length} bytes)"))
    })
}

fn not_a_socket() -> Error {
    Error::new(ErrorKind::AlreadyExists, "the file exists and is not a socket")
}

/// Waits until no other server creates or removes a socket in this folder.
fn lock_folder(path: &Path) -> Result<File> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let lock =
        File::open(folder).map_err(|error| Error::new(error.kind(), format!("cannot open its folder: {error}")))?;
    flock(&lock, FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Removes the socket of a server that has ended without removing it.
async fn remove_abandoned(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(not_a_socket()),
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        // That of a server whose queue of new connections is full.
        Err(error) if error.kind() != ErrorKind::WouldBlock => {
            Err(Error::new(error.kind(), format!("cannot find out whether another server listens on it: {error}")))
        }
        _ => Err(Error::new(ErrorKind::AddrInUse, "another server listens on it")),
    }
}
