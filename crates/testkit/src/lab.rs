//! The two joined namespaces of one test, and its folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::identity::Identity;
use crate::namespace::{Namespace, join, keep};
use crate::prerequisite;

/// A host under test and its peer, joined by a veth pair, with a folder for logs and data.
#[derive(Debug)]
pub struct Lab {
    /// Where rules, daemon and clients are.
    pub host: Namespace,
    /// Where the node is.
    pub peer: Namespace,
    folder: Folder,
}

impl Lab {
    /// Checks the prerequisites, makes a lab and runs `test` in it.
    ///
    /// # Errors
    ///
    /// What is missing, or the error of `test`, after the end of every log has been printed.
    pub fn run(test: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        prerequisite::check()?;
        let host = Namespace::create("host")?;
        let lab =
            Self { peer: Namespace::create("peer")?, folder: Folder::create(host.name())?, host };
        join(&lab.host, &lab.peer)?;
        let result = test(&lab);
        if result.is_err() {
            lab.folder.show_logs();
        }
        result
    }

    /// The folder of this test. Anybody may enter it.
    pub fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Home of the client user; belongs to it.
    pub fn home(&self) -> PathBuf {
        self.folder().join(HOME)
    }

    /// Path of our own program `name` for [`Self::command`].
    ///
    /// # Errors
    ///
    /// Where it has not been built.
    pub fn built(&self, name: &str) -> Result<String> {
        prerequisite::built(name)?;
        Ok(self.folder().join(BUILT).join(name).display().to_string())
    }

    /// Path of the real program `name` for [`Self::command`].
    ///
    /// # Errors
    ///
    /// Where `scripts/get` has not brought it.
    pub fn real(&self, name: &str) -> Result<String> {
        prerequisite::real(name)?;
        Ok(self.folder().join(REAL).join("bin").join(name).display().to_string())
    }

    /// A command in `namespace` as `identity`. Our programs and the real ones are mounted into the
    /// test's folder, seen by this command alone, because the checkout may lie below a folder
    /// that only root can enter.
    ///
    /// # Errors
    ///
    /// Where the folders of the programs are unknown.
    pub fn command(
        &self,
        namespace: &Namespace,
        identity: Identity,
        program: &[String],
    ) -> Result<Command> {
        let home = format!("HOME={}", self.home().display());
        let words = [&["env".to_owned(), home], program].concat();
        let mut command = namespace.command("sh");
        command.args(["-euc", MOUNT_AND_EXEC, "sh"]);
        command.args([prerequisite::built_programs()?, self.folder().join(BUILT)]);
        command.args([prerequisite::real_programs()?, self.folder().join(REAL)]);
        command.args(identity.wrap(&words));
        Ok(command)
    }
}

/// A folder below /tmp, removed when dropped.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create(name: &str) -> Result<Self> {
        // Not `temp_dir()`: $TMPDIR may be a place that only its owner can enter.
        let path = Path::new("/tmp").join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        let folder = Self(path);
        fs::set_permissions(&folder.0, fs::Permissions::from_mode(0o755))?;
        for part in [BUILT, REAL, HOME] {
            fs::create_dir(folder.0.join(part))?;
        }
        let client = prerequisite::client_user()?;
        chown(folder.0.join(HOME), Some(client.uid.as_raw()), Some(client.gid.as_raw()))?;
        Ok(folder)
    }

    /// Prints the end of each log in it.
    fn show_logs(&self) {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.extension() == Some("log".as_ref()) {
                let text =
                    String::from_utf8_lossy(&fs::read(&path).unwrap_or_default()).into_owned();
                let lines: Vec<_> = text.lines().collect();
                let end = lines.split_at(lines.len().saturating_sub(LOG_LINES)).1;
                eprintln!("--- {}\n{}", path.display(), end.join("\n"));
            }
        }
        eprintln!("--- BIP324_TEST_KEEP=1 keeps namespaces and folders");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
        }
        if keep() {
            eprintln!("kept: {}", self.0.display());
        } else if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}

/// Arguments: two pairs of source and mount point, then the command line. `ip netns exec` has given
/// this shell a mount namespace of its own.
const MOUNT_AND_EXEC: &str = r#"
    for _ in built real; do
        [ ! -d "$1" ] || mount --bind "$1" "$2"
        shift 2
    done
    # What is configured on this machine is not under test.
    [ ! -d /etc/bip324-proxy ] || mount -t tmpfs none /etc/bip324-proxy
    exec "$@"
"#;

const BUILT: &str = "built";
const REAL: &str = "real";
const HOME: &str = "home";

/// Lines of each log that a failed test shows.
const LOG_LINES: usize = 25;
