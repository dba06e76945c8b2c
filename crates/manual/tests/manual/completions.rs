//! The shells understand their completions.

use std::process::Output;

use crate::written::{WRITTEN, expect_no_complaint, files, names, programs, read, run};

#[test]
fn every_file_has_the_name_by_which_its_shell_finds_it() {
    let programs = ["bip324-proxy", "bip324-run", "bip324-setup", "bip324ctl"];
    assert_eq!(names("completions/bash"), programs);
    assert_eq!(names("completions/zsh"), programs.map(|program| format!("_{program}")));
    assert_eq!(names("completions/fish"), programs.map(|program| format!("{program}.fish")));
}

#[test]
fn every_option_is_completed() {
    for (name, _, options) in programs() {
        let bash = read(&format!("completions/bash/{name}"));
        let zsh = read(&format!("completions/zsh/_{name}"));
        let fish = read(&format!("completions/fish/{name}.fish"));
        for option in options {
            assert!(bash.contains(&format!("--{option}")), "{name}: --{option}");
            assert!(zsh.contains(&format!("--{option}")), "{name}: --{option}");
            assert!(fish.contains(&format!("-l {option}")), "{name}: --{option}");
        }
    }
}

#[test]
fn each_shell_can_read_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        for file in files(&format!("completions/{shell}")) {
            expect_no_complaint(shell, shell, &["-n"], &file);
        }
    }
}

/// What bash does for `bip324-run WORDS<TAB>`, with bash-completion's own function replaced.
fn bash_completes(words: &str) -> String {
    let script = format!(
        r#"
        _command_offset() {{ echo "offset $1"; }}
        source "$0"
        COMP_WORDS=(bip324-run {words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        _bip324_run_client bip324-run "${{COMP_WORDS[-1]}}" "${{COMP_WORDS[-2]}}"
        echo "${{COMPREPLY[*]}}"
        "#
    );
    let file = WRITTEN.join("completions/bash/bip324-run");
    let Output { stdout, stderr, .. } = run("bash", "bash", &["-c", &script], &file);
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().trim().to_owned()
}

#[test]
fn bash_completes_options_and_then_the_client() {
    assert_eq!(bash_completes("--listen"), "--listen-port");
    assert_eq!(bash_completes("elec"), "offset 1");
    assert_eq!(bash_completes("--group g elec"), "offset 3");
    assert_eq!(bash_completes("--group = g elec --x"), "offset 4");
    assert_eq!(bash_completes("''"), "offset 1");
}

/// What fish offers for a line, one word each.
fn fish_completes(line: &str) -> Vec<String> {
    let script = format!("source $argv[1]; complete --do-complete '{line}'");
    let file = WRITTEN.join("completions/fish/bip324-run.fish");
    let Output { stdout, stderr, .. } = run("fish", "fish", &["--no-config", "-c", &script], &file);
    assert!(stderr.is_empty(), "{}", String::from_utf8_lossy(&stderr));
    let words = String::from_utf8(stdout).unwrap();
    words.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn fish_completes_options_and_then_the_client() {
    assert!(fish_completes("bip324-run --listen").contains(&"--listen-port".to_owned()));
    for line in ["bip324-run getcon", "bip324-run --group g getcon"] {
        assert!(fish_completes(line).contains(&"getconf".to_owned()), "{line}");
    }
}
