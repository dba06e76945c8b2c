//! The keys of the configuration file, as a list of a man page.

use bip324_config::{KEYS, Key, Reader};

/// Each key with what it is for, its type and its default.
pub(crate) fn list() -> String {
    KEYS.iter().map(item).collect()
}

fn item(key: &Key) -> String {
    let Key { name, kind, default, doc, .. } = *key;
    let reader = match key.reader {
        Reader::Daemon => "bip324-proxy",
        Reader::Setup => "bip324-setup",
        Reader::Both => "bip324-proxy and bip324-setup",
    };
    let change = if key.reload { "reload" } else { "restart" };
    format!(
        ".TP\n\\fB{}\\fR = \\fI{}\\fR\n{}\n.br\nType: {}.\nRead by {}; a change takes a {change}.\n",
        escaped(name),
        escaped(default),
        escaped(doc),
        escaped(kind),
        escaped(reader),
    )
}

/// Text as roff has it. None of it begins a line with a dot or an apostrophe.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}
