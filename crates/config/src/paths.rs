//! Which files there are to read.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::file::Error;
use crate::values::GroupName;

/// Where both programs look unless a file is named.
pub const FOLDER: &str = "/etc/bip324-proxy";

/// The first file in there; those of `config.d` come after it.
pub const DEFAULT_FILE: &str = "/etc/bip324-proxy/config.toml";

/// [`DEFAULT_FILE`], in whichever folder.
const FIRST: &str = "config.toml";

/// The group that a configuration most likely means which [`Layers::read`](crate::Layers::read)
/// refuses: the one that the last of its files names that does, among those that are TOML at all.
#[must_use]
pub fn likely_group(named: Option<&Path>, folder: &Path) -> Option<GroupName> {
    let tables = tables(named, folder);
    tables.iter().rev().find_map(|table| table.get("group")?.as_str()?.parse().ok())
}

/// The ports that such a configuration may mean: all that any of its files names in `ports`.
#[must_use]
pub fn likely_ports(named: Option<&Path>, folder: &Path) -> BTreeSet<NonZeroU16> {
    let tables = tables(named, folder);
    let named = tables.iter().filter_map(|table| table.get("ports")?.as_array()).flatten();
    named.filter_map(|port| u16::try_from(port.as_integer()?).ok()?.try_into().ok()).collect()
}

/// Those files that are TOML at all.
fn tables(named: Option<&Path>, folder: &Path) -> Vec<Table> {
    let first = || named.map_or_else(|| folder.join(FIRST), Path::to_owned);
    let paths = paths(named, folder).unwrap_or_else(|_| vec![first()]);
    paths.iter().filter_map(|path| fs::read_to_string(path).ok()?.parse().ok()).collect()
}

/// The files to read, in their order: the one that is named, or those that there are.
pub(crate) fn paths(named: Option<&Path>, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    if let Some(path) = named {
        return Ok(vec![path.to_owned()]);
    }
    let mut paths = listed(folder, |path| path.file_name() == Some(OsStr::new(FIRST)))?;
    paths.extend(listed(&folder.join("config.d"), is_drop_in)?);
    Ok(paths)
}

/// What is in a folder and `wanted`, in the order of the names. Asked of the folder, since a link that
/// leads nowhere is no missing file: the daemon's sandbox lets it list names, and not look at a link.
fn listed(folder: &Path, wanted: fn(&Path) -> bool) -> Result<Vec<PathBuf>, Error> {
    let unreadable = |error| Error::Read(folder.into(), error);
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(unreadable)?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if wanted(&path) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Hidden files are editors'.
fn is_drop_in(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    path.extension() == Some(OsStr::new("toml")) && !hidden
}
