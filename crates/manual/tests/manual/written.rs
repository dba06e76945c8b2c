//! The files as the program writes them, and the tools that read them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use clap::CommandFactory;

/// What the program writes.
pub(crate) static WRITTEN: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("manual");
    if folder.exists() {
        fs::remove_dir_all(&folder).unwrap();
    }
    let status = Command::new(env!("CARGO_BIN_EXE_bip324-manual")).arg(&folder).status().unwrap();
    assert!(status.success());
    folder
});

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(WRITTEN.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files in a folder, by name.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(WRITTEN.join(folder)).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

pub(crate) fn names(folder: &str) -> Vec<String> {
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    files(folder).iter().map(name).collect()
}

/// Runs a tool of Debian's package of that name.
pub(crate) fn run(tool: &str, package: &str, arguments: &[&str], file: &Path) -> Output {
    let mut command = Command::new(tool);
    command.args(arguments).arg(file);
    command.output().unwrap_or_else(|error| panic!("{tool}: {error}: apt-get install {package}"))
}

pub(crate) fn expect_no_complaint(tool: &str, package: &str, arguments: &[&str], file: &Path) {
    let Output { status, stdout, stderr } = run(tool, package, arguments, file);
    let said = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success() && said.is_empty(), "{tool} {}: {status}\n{said}", file.display());
}

/// Every program's command line, its main page, and the long options in it.
pub(crate) fn programs() -> [(&'static str, String, Vec<String>); 4] {
    let of = |name, page, command: clap::Command| (name, read(page), long_options(command));
    [
        of("bip324-proxy", "man/bip324-proxy.8", bip324_proxy::cli::Cli::command()),
        of("bip324-setup", "man/bip324-setup.8", bip324_setup::cli::Cli::command()),
        of("bip324-run", "man/bip324-run.1", bip324_setup::cli::run::Cli::command()),
        of("bip324ctl", "man/bip324ctl.1", bip324_ctl::cli::Cli::command()),
    ]
}

/// Of the command and all below it.
pub(crate) fn long_options(mut command: clap::Command) -> Vec<String> {
    command = command.disable_help_subcommand(true);
    command.build();
    let mut options = Vec::new();
    let mut commands = vec![&command];
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
        options.extend(shown.filter_map(|argument| argument.get_long()).map(str::to_owned));
    }
    assert!(options.len() > 4, "{options:?}");
    options
}
