//! The configuration as text that can be read back.

use std::fmt;

use crate::keys::{KEYS, Key};
use crate::layers::Layers;

/// The file that is shipped: every key with what it is for, commented out.
#[must_use]
pub fn template() -> String {
    let mut text = TEMPLATE.to_owned();
    for key in KEYS {
        text += "\n";
        text += &about(key);
        text += &format!("#{} = {}\n", key.name, key.default);
    }
    text
}

/// The configuration that holds, every key with what it is for and where its value comes from. To
/// read it back is to get the same.
impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# The configuration of bip324-proxy that is in effect.\n")?;
        for (key, value) in self.effective() {
            write!(f, "\n{}# From {}.\n", about(key), self.origin(key.name))?;
            match value {
                Some(value) => writeln!(f, "{} = {value}", key.name)?,
                None => writeln!(f, "#{} = {}", key.name, key.default)?,
            }
        }
        Ok(())
    }
}

/// What a key is for, as comments.
fn about(key: &Key) -> String {
    let change = if key.reload { "a reload" } else { "a restart" };
    let kind = format!("Type: {}. A change takes {change}.", key.kind);
    [key.doc, &kind].map(comment).concat()
}

/// A paragraph as lines of comment.
fn comment(paragraph: &str) -> String {
    let mut text = String::new();
    let mut line = "#".to_owned();
    for word in paragraph.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            text += &line;
            text += "\n";
            line = "#".to_owned();
        }
        line += " ";
        line += word;
    }
    text + &line + "\n"
}

const TEMPLATE: &str = "\
# Configuration of bip324-proxy and bip324-setup. Nothing has to be set: lines that are commented
# out with a bare # show the defaults. Files in config.d/*.toml beside this one are read after it,
# in the order of their names; the last that has a key wins, and the command line wins over all.
#
# bip324-proxy --check-config says whether this is understood, --print-config what is in effect.
# systemctl reload bip324-proxy bip324-guard reads it again.
";

const WIDTH: usize = 100;

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::file::File;
    use crate::settings::Settings;
    use crate::values::Log;

    /// To write it anew: `BLESS=1 cargo test -p bip324-config`.
    #[test]
    fn the_shipped_file_is_the_template() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/config.toml");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, template()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), template());
    }

    #[test]
    fn the_shipped_file_says_nothing_and_uncommented_names_the_defaults() {
        let parse = |text: &str| File::parse(text, Path::new("x")).unwrap();
        assert_eq!(parse(&template()).settings, Settings::default());
        let uncomment = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_alphabetic()) => rest.to_owned(),
            _ => line.to_owned(),
        };
        let text = template().lines().map(uncomment).collect::<Vec<_>>().join("\n");
        let file = parse(&text);
        assert_eq!(file.lines.len(), KEYS.len());
        let Settings { group: Some(_), listen: Some(_), control: Some(_), .. } = &file.settings
        else {
            panic!("{text}");
        };
        let silent = Settings { group: None, listen: None, control: None, ..file.settings };
        assert_eq!(silent, Settings::default().with_defaults());
    }

    fn read(file: &Path, command_line: Settings) -> Layers {
        Layers::read(Some(file), Path::new("/none"), command_line).unwrap()
    }

    #[test]
    fn what_is_in_effect_reads_back_to_the_same() {
        let said = "ports = [18444, 8333]\nlisten = ['127.0.0.1:9']\nmax_sessions = 7\n";
        for said in ["", said, "group = 'clients'\non_exit = 'open'\nfallback = 'v1'\n"] {
            let file = std::env::temp_dir().join(format!("bip324-again-{}", std::process::id()));
            std::fs::write(&file, said).unwrap();
            let line = Settings { log: Some(Log::Debug), ..Settings::default() };
            let layers = read(&file, line);
            let printed = layers.to_string();
            assert!(printed.contains("# From the command line.\nlog = \"debug\"\n"), "{printed}");
            std::fs::write(&file, &printed).unwrap();
            let again = read(&file, Settings::default());
            assert_eq!(layers.changes(&again), []);
            assert_eq!(layers.settings().clone().with_defaults(), *again.settings());
            std::fs::remove_file(file).unwrap();
        }
    }

    #[test]
    fn each_value_in_effect_says_where_it_comes_from() {
        let path = std::env::temp_dir().join(format!("bip324-from-{}", std::process::id()));
        std::fs::write(&path, "\nmax_sessions = 7\n").unwrap();
        let printed = read(&path, Settings::default()).to_string();
        std::fs::remove_file(&path).unwrap();
        let from = format!("# From {}:2.\nmax_sessions = 7\n", path.display());
        assert!(printed.contains(&from), "{printed}");
        assert!(printed.contains("# From the default.\nmax_memory = 64\n"), "{printed}");
        assert!(printed.contains("# From the default.\n#group = \"bip324\"\n"), "{printed}");
    }

    #[test]
    fn comments_fit_a_screen() {
        for line in template().lines() {
            assert!(line.len() <= WIDTH, "{line}");
        }
    }
}
