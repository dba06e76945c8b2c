//! The man pages say what the programs do, and every viewer can show them.

use std::fs;

use bip324_config::KEYS;
use clap::CommandFactory;

use crate::written::{expect_no_complaint, files, names, programs, read};

#[test]
fn every_page_has_a_name_with_its_section() {
    let pages =
        ["bip324-proxy.8", "bip324-proxy.toml.5", "bip324-run.1", "bip324-setup.8", "bip324ctl.1"];
    assert_eq!(names("man"), pages);
}

#[test]
fn every_option_is_in_its_page() {
    for (name, page, options) in programs() {
        for option in options {
            let option = option.replace('-', "\\-");
            assert!(page.contains(&format!("\\fB\\-\\-{option}\\fR")), "{name}: --{option}");
        }
    }
}

#[test]
fn every_key_of_the_configuration_is_in_its_page() {
    let page = read("man/bip324-proxy.toml.5");
    for key in KEYS {
        assert!(page.contains(&format!("\n.TP\n\\fB{}\\fR = ", key.name)), "{}", key.name);
    }
}

#[test]
fn every_command_is_in_its_page() {
    for (page, program) in [
        ("man/bip324-setup.8", bip324_setup::cli::Cli::command()),
        ("man/bip324ctl.1", bip324_ctl::cli::Cli::command()),
    ] {
        let page = read(page);
        for command in program.get_subcommands().map(clap::Command::get_name) {
            assert!(page.contains(&format!("\n.SS {command}\n")), "{command}");
        }
    }
}

#[test]
fn every_exit_code_is_in_a_page() {
    let setup = read("man/bip324-setup.8") + &read("man/bip324-run.1");
    for (source, pages) in [
        (include_str!("../../../setup/src/exit.rs"), setup),
        (include_str!("../../../ctl/src/exit.rs"), read("man/bip324ctl.1")),
    ] {
        let codes =
            source.lines().filter_map(|line| line.trim().strip_suffix(',')?.split(" = ").nth(1));
        let codes: Vec<&str> = codes.filter(|code| code.parse::<u8>().is_ok()).collect();
        assert!(codes.len() > 10, "{codes:?}");
        for code in codes {
            assert!(pages.contains(&format!("\n.TP\n.B {code}\n")), "{code}");
        }
    }
}

#[test]
fn nothing_is_left_of_the_sources_placeholders() {
    for path in files("man") {
        let page = fs::read_to_string(&path).unwrap();
        assert!(!page.contains(".\\\"@") && !page.contains('@'), "{}", path.display());
        assert!(!page.contains('`'), "{}", path.display());
        assert!(page.starts_with(".TH ") && page.contains(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn groff_and_mandoc_find_nothing_to_complain_of() {
    for page in files("man") {
        expect_no_complaint("groff", "groff-base", &["-man", "-ww", "-z", "-Tutf8"], &page);
        expect_no_complaint("mandoc", "mandoc", &["-T", "lint", "-W", "warning"], &page);
    }
}
