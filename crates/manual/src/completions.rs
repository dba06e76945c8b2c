//! The shells' completions, under the names by which their own folders find them.

use std::path::PathBuf;

use clap_complete::Shell;

use crate::programs::Program;

/// The completions of a program: path below the folder of all, and text.
pub(crate) fn of(program: Program) -> Vec<(PathBuf, Vec<u8>)> {
    let name = program.name();
    let files = [
        (Shell::Bash, format!("bash/{name}")),
        (Shell::Zsh, format!("zsh/_{name}")),
        (Shell::Fish, format!("fish/{name}.fish")),
    ];
    files.map(|(shell, path)| (path.into(), text(shell, program))).into()
}

fn text(shell: Shell, program: Program) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut program.command(), program.name(), &mut text);
    text.extend_from_slice(addition(shell, program));
    text
}

/// What clap_complete does not know for this shell: that a whole command follows the options.
const fn addition(shell: Shell, program: Program) -> &'static [u8] {
    match (program, shell) {
        (Program::Run, Shell::Bash) => {
            include_bytes!("../../../packaging/completions/bip324-run.bash")
        }
        (Program::Run, Shell::Fish) => {
            include_bytes!("../../../packaging/completions/bip324-run.fish")
        }
        _ => b"",
    }
}
