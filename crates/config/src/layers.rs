//! Files over one another, and the command line over them.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::file::{Error, File};
use crate::keys::{KEYS, Key};
use crate::paths::paths;
use crate::settings::Settings;

/// A configuration, and what each part of it comes from.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    settings: Settings,
    origins: BTreeMap<&'static str, Origin>,
    files: Vec<PathBuf>,
}

/// Where a value comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    #[default]
    Default,
    /// A file and a line of it.
    File(PathBuf, usize),
    /// The command line.
    CommandLine,
}

impl Layers {
    /// Reads the file that is named; otherwise `config.toml` in `folder`, and over it, key by key and
    /// in the order of their names, the files of `config.d` there that end in `.toml`. Of those that
    /// are not named none has to be there. Over all of them comes what the command line `said`.
    ///
    /// # Errors
    /// A file cannot be read, or says what is not understood, or what cannot be beside the rest.
    pub fn read(named: Option<&Path>, folder: &Path, said: Settings) -> Result<Self, Error> {
        let mut layers = Self::default();
        for path in paths(named, folder)? {
            layers.add(File::read(&path)?);
        }
        layers.add_command_line(said);
        layers.check_ports()?;
        Ok(layers)
    }

    pub(crate) fn add(&mut self, file: File) {
        let File { path, settings, lines } = file;
        self.settings = settings.over(std::mem::take(&mut self.settings));
        for (key, line) in lines {
            self.origins.insert(key, Origin::File(path.clone(), line));
        }
        self.files.push(path);
    }

    fn add_command_line(&mut self, said: Settings) {
        for key in values(&said).keys() {
            if let Some(key) = KEYS.iter().find(|known| known.name == key) {
                self.origins.insert(key.name, Origin::CommandLine);
            }
        }
        self.settings = said.over(std::mem::take(&mut self.settings));
    }

    /// A redirected packet would look like one that escaped the redirect. Where no file says so, it is
    /// the command line that clashes, with itself or with a default.
    fn check_ports(&self) -> Result<(), Error> {
        let listen = self.settings.listen_port();
        let ports = self.settings.clone().with_defaults().ports.unwrap_or_default();
        if !ports.into_iter().map(NonZeroU16::get).any(|port| port == listen) {
            return Ok(());
        }
        let ports = format!("`ports`: {listen} is the daemon's own port, see `listen`");
        let listen = format!("`listen`: port {listen} is redirected, see `ports`");
        match (self.origin("ports"), self.origin("listen")) {
            (Origin::File(path, line), _) => Err(Error::Content { path, line, reason: ports }),
            (_, Origin::File(path, line)) => Err(Error::Content { path, line, reason: listen }),
            _ => Ok(()),
        }
    }

    /// What they say together.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The files that were read, in their order.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Where the value of a key comes from.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or_default()
    }

    /// Each key and what holds for it: a value of TOML, or nothing, where silence is not the same as
    /// naming the default.
    pub(crate) fn effective(&self) -> impl Iterator<Item = (&'static Key, Option<String>)> {
        let values = values(&self.settings.clone().with_defaults());
        KEYS.iter().map(move |key| (key, values.get(key.name).map(toml::Value::to_string)))
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::CommandLine => f.write_str("the command line"),
        }
    }
}

/// What is said. Plain data with string keys: there is nothing that could fail.
fn values(settings: &Settings) -> Table {
    Table::try_from(settings).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::values::{Direct, Log};
    use crate::{likely_group, likely_ports};

    /// A folder with these files, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let unique = format!("bip324-config-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(unique);
            fs::create_dir_all(&folder).unwrap();
            let folder = Self(folder);
            for (name, text) in files {
                let path = folder.0.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            folder
        }

        fn read(&self) -> Result<Layers, String> {
            Layers::read(None, &self.0, Settings::default()).map_err(|error| error.to_string())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn later_files_win_key_by_key() {
        let folder = Folder::new(
            "order",
            &[
                ("config.toml", "log = 'warn'\nmax_sessions = 1\n\ndirect = 'off'\n"),
                ("config.d/20-b.toml", "max_sessions = 3\n"),
                ("config.d/10-a.toml", "\nmax_sessions = 2\ndirect = 'any'\n"),
                ("config.d/30-c.toml.dpkg-old", "nonsense"),
                ("config.d/.30-c.toml", "nonsense"),
                ("config.d/README", "nonsense"),
            ],
        );
        let layers = folder.read().unwrap();
        let said = layers.settings();
        assert_eq!((said.log, said.max_sessions), (Some(Log::Warn), Some(3)));
        assert_eq!(said.direct, Some(Direct::Any));
        let from = |file: &str, line| Origin::File(folder.0.join(file), line);
        assert_eq!(layers.origin("log"), from("config.toml", 1));
        assert_eq!(layers.origin("max_sessions"), from("config.d/20-b.toml", 1));
        assert_eq!(layers.origin("direct"), from("config.d/10-a.toml", 3));
        assert_eq!(layers.origin("group"), Origin::Default);
        let files = ["config.toml", "config.d/10-a.toml", "config.d/20-b.toml"];
        assert_eq!(layers.files(), files.map(|file| folder.0.join(file)));
    }

    #[test]
    fn the_command_line_wins() {
        let folder = Folder::new("line", &[("config.toml", "log = 'warn'\nmax_sessions = 1\n")]);
        let said = Settings { log: Some(Log::Debug), ..Settings::default() };
        let layers = Layers::read(None, &folder.0, said).unwrap();
        assert_eq!(layers.settings().log, Some(Log::Debug));
        assert_eq!(layers.settings().max_sessions, Some(1));
        assert_eq!(layers.origin("log"), Origin::CommandLine);
        assert_ne!(layers.origin("max_sessions"), Origin::CommandLine);
    }

    #[test]
    fn nothing_has_to_be_there_but_what_is_named() {
        let folder = Folder::new("missing", &[]);
        let layers = folder.read().unwrap();
        assert_eq!((layers.settings(), layers.files().len()), (&Settings::default(), 0));
        assert!(Layers::read(None, &folder.0.join("none"), Settings::default()).is_ok());

        let named = folder.0.join("named.toml");
        let said = Layers::read(Some(&named), &folder.0, Settings::default()).unwrap_err();
        assert!(matches!(said, Error::Read(ref path, _) if *path == named), "{said}");
    }

    #[test]
    fn a_named_file_is_all_there_is() {
        let files = [("config.toml", "log = 'warn'\n"), ("other/x.toml", "direct = 'any'\n")];
        let folder = Folder::new("named", &files);
        let named = folder.0.join("other/x.toml");
        let layers = Layers::read(Some(&named), &folder.0, Settings::default()).unwrap();
        let direct = Some(Direct::Any);
        assert_eq!(*layers.settings(), Settings { direct, ..Settings::default() });
    }

    #[test]
    fn what_is_there_must_be_readable() {
        let folder = Folder::new("folder", &[("config.toml/x", "")]);
        let said = folder.read().unwrap_err();
        assert!(said.starts_with("cannot read ") && said.ends_with("config.toml"), "{said}");

        let folder = Folder::new("file", &[("config.d", "")]);
        let said = folder.read().unwrap_err();
        assert!(said.starts_with("cannot read ") && said.ends_with("config.d"), "{said}");

        let folder = Folder::new("latin", &[("config.d/x.toml", "")]);
        fs::write(folder.0.join("config.d/x.toml"), b"# \xe4\n").unwrap();
        let said = folder.read().unwrap_err();
        assert!(said.starts_with("cannot read ") && said.ends_with("x.toml"), "{said}");
    }

    #[test]
    fn an_error_names_the_file_that_has_it() {
        let folder = Folder::new(
            "error",
            &[("config.toml", "log = 'info'\n"), ("config.d/10-a.toml", "\n\nmax_session = 2\n")],
        );
        let said = folder.read().unwrap_err();
        let at = folder.0.join("config.d/10-a.toml").display().to_string();
        assert_eq!(said, at + ":3: unknown key `max_session`: did you mean `max_sessions`?");
    }

    #[test]
    fn group_and_ports_of_a_configuration_that_is_refused_can_still_be_told() {
        let folder = Folder::new(
            "likely",
            &[
                ("config.toml", "group = 'first'\nports = [18333, 0, 'x', 70000]\nnonsense = 1\n"),
                ("config.d/10.toml", "group = 'second'\nports = [8333]\n"),
                ("config.d/20.toml", "group = '2nd'\n"),
                ("config.d/30.toml", "group = "),
            ],
        );
        assert!(folder.read().is_err());
        let likely = |named: Option<&str>| {
            let named = named.map(|name| folder.0.join(name));
            likely_group(named.as_deref(), &folder.0).map(|group| group.to_string())
        };
        assert_eq!(likely(None).as_deref(), Some("second"));
        assert_eq!(likely(Some("config.toml")).as_deref(), Some("first"));
        assert_eq!(likely(Some("config.d/30.toml")), None);
        assert_eq!(likely(Some("missing.toml")), None);
        let ports = likely_ports(None, &folder.0);
        assert!(ports.into_iter().map(NonZeroU16::get).eq([8333, 18333]));
        assert!(likely_ports(Some(&folder.0.join("config.d/30.toml")), &folder.0).is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_no_missing_file() {
        let folder = Folder::new("link", &[]);
        std::os::unix::fs::symlink("/none", folder.0.join("config.toml")).unwrap();
        assert!(folder.read().unwrap_err().ends_with("config.toml"));
    }

    #[test]
    fn the_daemon_s_own_port_is_not_redirected() {
        let folder = Folder::new(
            "ports",
            &[
                ("config.toml", "\nports = [8333, 2000]\n"),
                ("config.d/a.toml", "listen = ['127.0.0.1:2000']\n"),
            ],
        );
        let said = folder.read().unwrap_err();
        assert!(
            said.ends_with("config.toml:2: `ports`: 2000 is the daemon's own port, see `listen`"),
            "{said}"
        );
        let folder = Folder::new("default-port", &[("config.toml", "ports = [1324]\n")]);
        assert!(folder.read().unwrap_err().contains(":1: `ports`: 1324 is the daemon's own"));
        let listen = [("config.toml", "\nlisten = ['[::1]:8333']\n")];
        let said = Folder::new("redirected", &listen).read().unwrap_err();
        assert!(said.ends_with(":2: `listen`: port 8333 is redirected, see `ports`"), "{said}");
    }

    /// A clash of the files counts only as far as the command line leaves it.
    #[test]
    fn ports_are_judged_as_they_are_in_effect() {
        let clash = "\nports = [2000]\nlisten = ['127.0.0.1:2000']\n";
        let folder = Folder::new("effect", &[("config.toml", clash)]);
        let read = |line: &str| {
            let said = toml::from_str(line).unwrap();
            Layers::read(None, &folder.0, said).map_err(|error| error.to_string())
        };
        assert!(read("").is_err());
        assert!(read("ports = [8333]").is_ok() && read("listen = ['[::1]:1324']").is_ok());
        // Nor is one that the command line makes with a file let pass.
        let said = read("ports = [1, 2000]").unwrap_err();
        assert!(said.ends_with(":3: `listen`: port 2000 is redirected, see `ports`"), "{said}");
        // What no file says is no file's fault.
        assert!(read("ports = [9]\nlisten = ['[::1]:9']").is_ok());
    }
}
