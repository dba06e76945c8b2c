//! Writes the man pages and shell completions of the programs, as a package installs them.

#![forbid(unsafe_code)]

mod completions;
mod keys;
mod page;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;

use crate::page::Page;
use crate::programs::Program;

/// Writes the man pages and shell completions of the programs.
#[derive(Debug, Parser)]
#[command(
    name = "bip324-manual",
    version,
    after_help = "DIR/man holds the pages, DIR/completions one folder each for bash, zsh and fish; \
                  every file has the name that its system's folder wants."
)]
struct Arguments {
    /// Folder to write to; made where it is missing
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

fn main() -> Result<()> {
    write_all(&Arguments::parse().folder)
}

fn write_all(folder: &Path) -> Result<()> {
    for page in Page::ALL {
        write(&folder.join("man").join(page.file_name()), page.render()?.as_bytes())?;
    }
    for program in Program::ALL {
        for (path, text) in completions::of(program) {
            write(&folder.join("completions").join(path), &text)?;
        }
    }
    Ok(())
}

fn write(path: &Path, text: &[u8]) -> Result<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        fs::write(path, text)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
