//! What the machine must have, and what to run where it does not.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use nix::unistd::{Group, User, geteuid};

/// Group whose connections are redirected.
pub const CLIENT_GROUP: &str = "bip324";
/// User the daemon runs as, with a primary group of its own.
pub const DAEMON_USER: &str = "_bip324";
/// Ordinary user that the clients run as; a member of [`CLIENT_GROUP`], which is not its primary group.
pub const CLIENT_USER: &str = "bip324-test";

/// Checks root, the programs that every namespace test uses, the group and both users.
///
/// # Errors
///
/// Names the first thing that is absent and the command that brings it.
pub fn check() -> Result<()> {
    ensure!(geteuid().is_root(), "network namespaces need root: run sudo ./scripts/test");
    for program in ["ip", "nft", "ss", "tcpdump", "setpriv", "sudo", "sg", "timeout"] {
        ensure!(on_path(program), "`{program}` is not installed: run ./scripts/get base");
    }
    client_gid()?;
    for user in [DAEMON_USER, CLIENT_USER] {
        let found = User::from_name(user)?;
        ensure!(found.is_some(), "no user `{user}`: ./scripts/test makes it and removes it");
    }
    Ok(())
}

/// The group id of [`CLIENT_GROUP`].
///
/// # Errors
///
/// Where the group does not exist.
pub fn client_gid() -> Result<nix::unistd::Gid> {
    let group = Group::from_name(CLIENT_GROUP)?;
    Ok(group.with_context(|| format!("no group `{CLIENT_GROUP}`: run ./scripts/test"))?.gid)
}

/// User and group id of [`CLIENT_USER`].
///
/// # Errors
///
/// Where the user does not exist.
pub fn client_user() -> Result<User> {
    User::from_name(CLIENT_USER)?
        .with_context(|| format!("no user `{CLIENT_USER}`: ./scripts/test makes it"))
}

/// Folder of our own programs: the cargo profile folder that this test was built into.
///
/// # Errors
///
/// Where the test does not run from a cargo target folder.
pub fn built_programs() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test.parent().and_then(Path::parent);
    Ok(profile.context("the test does not run from a cargo target folder")?.to_owned())
}

/// Folder of the real node and clients: `$REAL_DIR`, or `target/real` beside the cargo profiles.
///
/// # Errors
///
/// As [`built_programs`].
pub fn real_programs() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("REAL_DIR") {
        return Ok(dir.into());
    }
    let target = built_programs()?;
    Ok(target.parent().context("the cargo profile folder has no parent")?.join("real"))
}

/// Fails with the command that builds our own program `name` where it has not been built.
///
/// # Errors
///
/// Where the program is absent.
pub fn built(name: &str) -> Result<()> {
    let path = built_programs()?.join(name);
    let package = if name == "bip324ctl" { "bip324-ctl" } else { name };
    ensure!(path.exists(), "{} is absent: run cargo build -p {package}", path.display());
    Ok(())
}

/// Fails with the `scripts/get` line that brings the real program `name` where it is absent.
///
/// # Errors
///
/// Where the program is absent.
pub fn real(name: &str) -> Result<()> {
    let path = real_programs()?.join("bin").join(name);
    let part = match name {
        "bitcoind" | "bitcoin-cli" => "knots",
        client => client.split('-').next().unwrap_or(client),
    };
    ensure!(path.exists(), "{} is absent: run ./scripts/get {part}", path.display());
    Ok(())
}

/// Fails with the `scripts/get` line that brings the program `name` of Debian's where it is absent.
///
/// # Errors
///
/// Where it is on no PATH.
pub fn program(name: &str, part: &str) -> Result<()> {
    ensure!(on_path(name), "`{name}` is not installed: run ./scripts/get {part}");
    Ok(())
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}
