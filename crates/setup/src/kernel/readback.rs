//! Netlink messages, ours or the kernel's, as [`Installed`].

use nix::libc;

use super::object::{self, Object, Part};
use super::{Error, HEADER_SIZE, Header, Socket, dump};
use crate::installed::{Installed, InstalledRule};
use crate::privilege::NetAdmin;

/// Lists a table once.
pub(super) fn table(
    socket: &Socket,
    name: &str,
    net_admin: &NetAdmin,
) -> Result<Option<Installed>, Error> {
    let mut found = Installed::default();
    let lists: [(i32, &[&str]); 4] = [
        (libc::NFT_MSG_GETTABLE, &[]),
        (libc::NFT_MSG_GETCHAIN, &[]),
        (libc::NFT_MSG_GETSET, &[name]),
        (libc::NFT_MSG_GETRULE, &[name]),
    ];
    for (kind, names) in lists {
        let request = request(kind, names)?;
        dump(socket, &request, net_admin, |message| absorb(&mut found, name, message))?;
        if found.table_flags.is_none() {
            return Ok(None);
        }
    }
    for set in found.sets.keys().cloned().collect::<Vec<_>>() {
        let request = request(libc::NFT_MSG_GETSETELEM, &[name, &set])?;
        dump(socket, &request, net_admin, |message| absorb(&mut found, name, message))?;
    }
    Ok(Some(found))
}

/// Lists the names of the tables once.
pub(super) fn names(socket: &Socket, net_admin: &NetAdmin) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    let request = request(libc::NFT_MSG_GETTABLE, &[])?;
    dump(socket, &request, net_admin, |message| {
        let table = Object::parse(&object::TABLE, message)?;
        if table.number(object::NFTNL_TABLE_FAMILY) == libc::NFPROTO_INET as u32 {
            names.push(table.text(object::NFTNL_TABLE_NAME));
        }
        Ok(())
    })?;
    Ok(names)
}

/// Adds what a message says about the table `name`; other tables' are passed over.
pub(super) fn absorb(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let kind = i32::from(Header::parse(message)?.kind);
    match kind.checked_sub(SUBSYSTEM) {
        Some(libc::NFT_MSG_DELTABLE) => absorb_deletion(found, name, message),
        Some(libc::NFT_MSG_NEWTABLE) => absorb_table(found, name, message),
        Some(libc::NFT_MSG_NEWCHAIN) => absorb_chain(found, name, message),
        Some(libc::NFT_MSG_NEWSET) => absorb_set(found, name, message),
        Some(libc::NFT_MSG_NEWSETELEM) => absorb_elements(found, name, message),
        Some(libc::NFT_MSG_NEWRULE) => absorb_rule(found, name, message),
        _ => Ok(()),
    }
}

fn absorb_table(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let table = Object::parse(&object::TABLE, message)?;
    let family = table.number(object::NFTNL_TABLE_FAMILY);
    if is_of(name, &table.text(object::NFTNL_TABLE_NAME), family) {
        found.table_flags = Some(table.number(object::NFTNL_TABLE_FLAGS));
        found.owner = Some(table.number(object::NFTNL_TABLE_OWNER)).filter(|port| *port != 0);
    }
    Ok(())
}

fn absorb_deletion(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let table = Object::parse(&object::TABLE, message)?;
    if is_of(name, &table.text(object::NFTNL_TABLE_NAME), table.number(object::NFTNL_TABLE_FAMILY))
    {
        *found = Installed::default();
    }
    Ok(())
}

fn absorb_chain(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let chain = Object::parse(&object::CHAIN, message)?;
    let family = chain.number(object::NFTNL_CHAIN_FAMILY);
    if is_of(name, &chain.text(object::NFTNL_CHAIN_TABLE), family) {
        let entry = found.chains.entry(chain.text(object::NFTNL_CHAIN_NAME)).or_default();
        entry.header = format!(
            "type {} hook {} priority {} policy {}",
            chain.text(object::NFTNL_CHAIN_TYPE),
            chain.number(object::NFTNL_CHAIN_HOOKNUM),
            chain.number(object::NFTNL_CHAIN_PRIO) as i32,
            chain.number(object::NFTNL_CHAIN_POLICY),
        );
    }
    Ok(())
}

fn absorb_set(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let set = Object::parse(&object::SET, message)?;
    let family = set.number(object::NFTNL_SET_FAMILY);
    if is_of(name, &set.text(object::NFTNL_SET_TABLE), family) {
        let entry = found.sets.entry(set.text(object::NFTNL_SET_NAME)).or_default();
        entry.header = format!(
            "key type {} flags {:#x}",
            set.number(object::NFTNL_SET_KEY_TYPE),
            set.number(object::NFTNL_SET_FLAGS),
        );
    }
    Ok(())
}

fn absorb_elements(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let set = Object::parse(&object::ELEMENTS, message)?;
    let family = set.number(object::NFTNL_SET_FAMILY);
    if is_of(name, &set.text(object::NFTNL_SET_TABLE), family) {
        let entry = found.sets.entry(set.text(object::NFTNL_SET_NAME)).or_default();
        entry.elements.extend(set.elements());
    }
    Ok(())
}

fn absorb_rule(found: &mut Installed, name: &str, message: &[u8]) -> Result<(), Error> {
    let rule = Object::parse(&object::RULE, message)?;
    let family = rule.number(object::NFTNL_RULE_FAMILY);
    if is_of(name, &rule.text(object::NFTNL_RULE_TABLE), family) {
        let entry = found.chains.entry(rule.text(object::NFTNL_RULE_CHAIN)).or_default();
        entry.rules.push(describe(rule.parts()));
    }
    Ok(())
}

fn is_of(name: &str, table: &str, family: u32) -> bool {
    table == name && family == libc::NFPROTO_INET as u32
}

/// A rule's expressions, the counter's values apart.
fn describe((parts, client): (Vec<Part>, Option<u32>)) -> InstalledRule {
    let mut counter = None;
    let expressions: Vec<String> = parts
        .into_iter()
        .map(|part| match part {
            Part::Counter(values) => {
                counter = Some(values);
                "[ counter ]".to_owned()
            }
            Part::Other(text) => format!("[ {text} ]"),
        })
        .collect();
    InstalledRule { expressions: expressions.join(" "), counter, client }
}

/// A request to list what `kind` says. In each of them attribute 1 is a table's name and
/// attribute 2 a set's (linux/netfilter/nf_tables.h).
fn request(kind: i32, names: &[&str]) -> Result<Vec<u8>, Error> {
    let mut attributes = Vec::new();
    for (number, name) in (1_u16..).zip(names) {
        let length = u16::try_from(ATTRIBUTE_HEADER_SIZE + name.len() + 1);
        attributes.extend(length.map_err(|_| Error::Malformed)?.to_ne_bytes());
        attributes.extend(number.to_ne_bytes());
        attributes.extend(name.as_bytes());
        attributes.push(0);
        attributes.resize(attributes.len().next_multiple_of(4), 0);
    }
    let genmsg = [libc::NFPROTO_INET as u8, 0, 0, 0];
    let length = HEADER_SIZE + genmsg.len() + attributes.len();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;

    let mut message = Vec::with_capacity(length);
    message.extend((length as u32).to_ne_bytes());
    message.extend(((SUBSYSTEM + kind) as u16).to_ne_bytes());
    message.extend((flags as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence number and port id
    message.extend(genmsg);
    message.extend(attributes);
    Ok(message)
}

/// Upper byte of the type of nftables' messages.
const SUBSYSTEM: i32 = libc::NFNL_SUBSYS_NFTABLES << 8;

/// `sizeof(struct nlattr)`.
const ATTRIBUTE_HEADER_SIZE: usize = 4;
