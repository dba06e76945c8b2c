//! The command line, as `scripts/bench` hands it on.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

use crate::FIGURES;

/// What to measure, of whom, and where to write it.
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) strict: bool,
    pub(crate) json: PathBuf,
    /// The command that starts another proxy.
    pub(crate) against: Option<String>,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            quick: false,
            strict: false,
            json: PathBuf::from("target/bench.json"),
            against: None,
            only: Vec::new(),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--quick" => options.quick = true,
                "--strict" => options.strict = true,
                "--json" => options.json = value()?.into(),
                "--against" => options.against = Some(value()?),
                "--only" => options.only.extend(value()?.split(',').map(str::to_owned)),
                // What cargo hands to every benchmark.
                "--bench" => {}
                _ => bail!("{word}: see ./scripts/bench --help"),
            }
        }
        for word in &options.only {
            let names = FIGURES.map(|(name, _)| name);
            ensure!(names.contains(&word.as_str()), "--only {word}: one of {}", names.join(", "));
        }
        Ok(options)
    }

    /// Whether these figures are to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// One number for a quick run, and one for a whole one.
    pub(crate) fn pick<T>(&self, quick: T, whole: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// For the head of the table.
    pub(crate) fn text(&self) -> String {
        format!("{}, {} run", self.proxy(), self.pick("quick", "whole"))
    }

    /// What is measured.
    pub(crate) fn proxy(&self) -> &str {
        self.against.as_deref().unwrap_or("bip324-proxy")
    }
}
