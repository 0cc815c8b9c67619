//! Where PostgreSQL's programs lie, and as whom they run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::geteuid;

use crate::servers::servers_dir;

/// The oldest major version that cdc-agent supports.
const OLDEST: u32 = 14;

/// The folder with `initdb` and `postgres` of a major version, if it is installed: Debian's, or the
/// one that `install.sh` downloaded.
pub fn bin_dir(major: u32) -> Option<PathBuf> {
    let places = [
        PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
        servers_dir().join(format!("postgres-{major}/bin")),
    ];
    places.into_iter().find(|place| place.join("postgres").exists())
}

/// The newest major version from 14 on among the system's packages, else among the downloads.
pub fn system_version() -> Option<u32> {
    let system = versions(Path::new("/usr/lib/postgresql"), "");
    system.or_else(|| versions(&servers_dir(), "postgres-"))
}

fn versions(dir: &Path, prefix: &str) -> Option<u32> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    let major = |entry: fs::DirEntry| {
        let major = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
        (major >= OLDEST && entry.path().join("bin/postgres").exists()).then_some(major)
    };
    entries.filter_map(major).max()
}

/// The user that the server runs as: nobody special if we are not root, which PostgreSQL refuses.
#[derive(Debug, Clone, Copy)]
pub(super) struct ServerUser(Option<(u32, u32)>);

impl ServerUser {
    pub(super) fn choose() -> Self {
        if !geteuid().is_root() {
            return Self(None);
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
        let user = lookup(&passwd, "postgres").or_else(|| lookup(&passwd, "nobody"));
        Self(Some(user.expect("root needs a user postgres or nobody to run PostgreSQL as")))
    }

    /// Makes a command run as this user.
    pub(super) fn run(self, command: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
    }

    /// Gives a file or folder to this user.
    pub(super) fn own(self, path: &Path) {
        if let Some((uid, gid)) = self.0 {
            chown(path, Some(uid), Some(gid)).expect("root can give a file away");
        }
    }

    /// The same folder if this user can get there, else a copy of it that it can reach: a checkout
    /// below `/root` is closed to everybody else.
    pub(super) fn reachable(self, bin: PathBuf) -> PathBuf {
        let Some((uid, gid)) = self.0 else { return bin };
        let bin = bin.canonicalize().unwrap_or(bin);
        let closed = bin.ancestors().any(|dir| !may_enter(dir, uid, gid));
        if !closed {
            return bin;
        }
        let home = bin.parent().expect("the programs lie in a folder bin");
        let name = home.file_name().expect("the version has a folder").to_string_lossy();
        // What `install.sh` has noted, or when a package was built.
        let version = fs::read_to_string(home.join("VERSION")).unwrap_or_default();
        let built = fs::metadata(bin.join("postgres")).map_or(0, |file| file.mtime());
        let stamp = format!("{}.{built}", version.trim());
        let copy = std::env::temp_dir().join(format!("cdc-testkit-servers.{name}.{stamp}"));
        if !copy.exists() {
            let half = copy.with_extension(format!("half.{}", std::process::id()));
            let copied = Command::new("cp").arg("-a").arg(home).arg(&half).status();
            assert!(copied.is_ok_and(|status| status.success()), "no copy of {}", home.display());
            // Another process may have been quicker: then its copy serves.
            let _moved = fs::rename(&half, &copy);
        }
        let owner = fs::metadata(&copy).map(|copy| copy.uid());
        assert!(owner.is_ok_and(|owner| owner == 0), "{} is not root's", copy.display());
        copy.join("bin")
    }
}

fn lookup(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn may_enter(dir: &Path, uid: u32, gid: u32) -> bool {
    let Ok(metadata) = fs::metadata(dir) else { return false };
    let mode = metadata.permissions().mode();
    match (metadata.uid() == uid, metadata.gid() == gid) {
        (true, _) => mode & 0o100 != 0,
        (false, true) => mode & 0o010 != 0,
        (false, false) => mode & 0o001 != 0,
    }
}
