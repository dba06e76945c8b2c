//! Who a program runs as.

use crate::prerequisite::{CLIENT_GROUP, CLIENT_USER, DAEMON_USER};

/// The user and groups of a program, and the way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Root, for nodes and for tools that change the kernel's state.
    Root,
    /// The daemon's own user and group.
    Daemon,
    /// The ordinary user with the clients' group as primary group, by `sudo -g`.
    Sudo,
    /// The same by `sg`.
    Sg,
    /// The same by `setpriv`, and no other group.
    Setpriv,
    /// The ordinary user, the clients' group only supplementary: not redirected.
    Supplementary,
}

impl Identity {
    /// The command line that runs `program`, given with its arguments, under this identity.
    pub fn wrap(self, program: &[String]) -> Vec<String> {
        let line = match self {
            Self::Root => return program.to_vec(),
            Self::Daemon => setpriv(DAEMON_USER, DAEMON_USER, "--clear-groups"),
            Self::Sudo => format!("sudo -n -u {CLIENT_USER} -g {CLIENT_GROUP} --"),
            Self::Sg => {
                // `sg` takes one line for a shell.
                let member = setpriv(CLIENT_USER, CLIENT_USER, MEMBER);
                let line = format!("{member} sg {CLIENT_GROUP} -c");
                return words(&line).chain([quote(program)]).collect();
            }
            Self::Setpriv => setpriv(CLIENT_USER, CLIENT_GROUP, "--clear-groups"),
            Self::Supplementary => setpriv(CLIENT_USER, CLIENT_USER, MEMBER),
        };
        words(&line).chain(program.iter().cloned()).collect()
    }
}

fn setpriv(user: &str, group: &str, others: &str) -> String {
    format!("setpriv --reuid={user} --regid={group} {others}")
}

fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(' ').map(str::to_owned)
}

/// A shell line that stands for exactly these words.
fn quote(words: &[String]) -> String {
    let quoted = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''")));
    quoted.collect::<Vec<_>>().join(" ")
}

/// Membership in the clients' group beside the user's own.
const MEMBER: &str = "--groups=bip324";

#[cfg(test)]
mod tests {
    use super::*;

    fn line(identity: Identity) -> String {
        identity.wrap(&["echo".into(), "it's".into()]).join(" ")
    }

    #[test]
    fn a_word_with_a_quote_survives_the_shell_of_sg() {
        let end = r"sg bip324 -c 'echo' 'it'\''s'";
        assert!(line(Identity::Sg).ends_with(end), "{}", line(Identity::Sg));
    }

    #[test]
    fn the_group_is_primary_or_supplementary() {
        assert!(line(Identity::Setpriv).contains("--regid=bip324 "));
        assert!(line(Identity::Supplementary).contains("--regid=bip324-test --groups=bip324 "));
        assert_eq!(line(Identity::Root), "echo it's");
    }
}
