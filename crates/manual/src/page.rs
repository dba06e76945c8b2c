//! The man pages: written by hand in packaging/man, but for what the programs themselves know better.
//!
//! | in the source | in the page |
//! |---|---|
//! | `@version@` | the version |
//! | `.\"@options` | the options of the program |
//! | `.\"@commands` | a subsection for each subcommand, with its options |
//! | `.\"@keys` | the keys of the configuration file |

use anyhow::{Context, Result, bail};
use clap::{Arg, Command};
use clap_mangen::Man;

use crate::keys;
use crate::programs::Program;

/// A man page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    file_name: &'static str,
    source: &'static str,
}

macro_rules! page {
    ($file_name:literal) => {
        Page {
            file_name: $file_name,
            source: include_str!(concat!("../../../packaging/man/", $file_name)),
        }
    };
}

impl Page {
    /// Every page there is.
    pub(crate) const ALL: [Self; 5] = [
        page!("bip324-proxy.8"),
        page!("bip324-setup.8"),
        page!("bip324-run.1"),
        page!("bip324ctl.1"),
        page!("bip324-proxy.toml.5"),
    ];

    /// Name of its file, which ends in the section.
    pub(crate) const fn file_name(self) -> &'static str {
        self.file_name
    }

    /// The whole page.
    pub(crate) fn render(self) -> Result<String> {
        let mut page = String::new();
        for line in self.source.lines() {
            let line = match line.strip_prefix(".\\\"@") {
                None => line.replace("@version@", env!("CARGO_PKG_VERSION")) + "\n",
                Some("options") => options(self.command()?)?,
                Some("commands") => commands(self.command()?)?,
                Some("keys") => keys::list(),
                Some(other) => bail!("{}: nothing is known as {other:?}", self.file_name),
            };
            page.push_str(&line);
        }
        Ok(page)
    }

    /// The command line of the program that it is about.
    fn command(self) -> Result<Command> {
        let about = |program: &Program| self.file_name.strip_prefix(program.name());
        let is_about = |program: &Program| about(program).is_some_and(|end| end.len() == 2);
        let program = Program::ALL.into_iter().find(is_about);
        Ok(program.with_context(|| format!("{} is about no program", self.file_name))?.command())
    }
}

/// What clap says of each option, without a heading.
fn options(command: Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command).render_options_section(&mut text)?;
    let text = String::from_utf8(text)?;
    let (_, text) = text.split_once(".SH OPTIONS\n").context("clap_mangen wrote no options")?;
    let text = text.replace(VALUES_AS_MANGEN_HAS_THEM, VALUES).replace("\\*(Aq", "\\(aq");
    Ok(quoted_in_bold(&text))
}

/// A subsection for each subcommand, and one for the options that several share; those that may also
/// stand before a command are not repeated.
fn commands(mut command: Command) -> Result<String> {
    command.build();
    let commands: Vec<&Command> = command.get_subcommands().collect();
    let takers = |option: &Arg| -> Vec<&str> {
        let takes =
            |command: &&&Command| command.get_arguments().any(|other| is_same(other, option));
        commands.iter().filter(takes).map(|command| command.get_name()).collect()
    };
    let is_shared = |option: &&Arg| takers(option).len() > 1;

    let mut text = String::new();
    let mut shared: Vec<&Arg> = Vec::new();
    for command in &commands {
        let about = command.get_long_about().or_else(|| command.get_about()).cloned();
        text += &format!(".SS {}\n", command.get_name());
        text += &paragraphs(&about.unwrap_or_default().to_string());
        // The source says of `--help` that all have it.
        let is_own = |option: &&Arg| option.get_id() != "help" && !option.is_global_set();
        let options = command.get_arguments().filter(is_own);
        let (common, own): (Vec<_>, Vec<_>) = options.partition(is_shared);
        text += &options_alone(own)?;
        for option in common {
            if !shared.iter().any(|other| is_same(other, option)) {
                shared.push(option);
            }
        }
    }
    text += ".SS Options of several commands\n";
    for option in shared {
        text += &options_alone(vec![option])?;
        let takers = takers(option);
        if takers.len() < commands.len() {
            text += &format!(".br\nOf \\fB{}\\fR.\n", takers.join("\\fR, \\fB"));
        }
    }
    Ok(text)
}

/// A help text, whose last sentence and whose heading have no full stop.
fn paragraphs(text: &str) -> String {
    let paragraph = |text: &str| format!("{}.\n", text.trim_end_matches('.').replace('-', "\\-"));
    let paragraphs: Vec<String> = text.split("\n\n").map(paragraph).collect();
    quoted_in_bold(&paragraphs.join(".PP\n"))
}

fn is_same(one: &Arg, other: &Arg) -> bool {
    let text = |option: &Arg| option.get_help().map(ToString::to_string);
    one.get_id() == other.get_id() && text(one) == text(other)
}

fn options_alone(options_alone: Vec<&Arg>) -> Result<String> {
    if options_alone.is_empty() {
        return Ok(String::new());
    }
    options(Command::new("").disable_help_flag(true).args(options_alone.into_iter().cloned()))
}

/// Sets in bold what help texts have in backticks, for a terminal that has no bold.
fn quoted_in_bold(text: &str) -> String {
    let mut fonts = ["\\fB", "\\fR"].into_iter().cycle();
    let mut bold = String::new();
    for (at, part) in text.split('`').enumerate() {
        if at > 0 {
            bold.extend(fonts.next());
        }
        bold.push_str(part);
    }
    bold
}

/// An empty line and an indent of its own, which groff and mandoc understand differently.
const VALUES_AS_MANGEN_HAS_THEM: &str = ".br\n\n.br\n\\fIPossible values:\\fR\n.RS 14\n";
const VALUES: &str = ".RS\n";
