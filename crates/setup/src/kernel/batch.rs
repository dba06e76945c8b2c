//! Changes of whole tables as one transaction.

use std::ffi::{CString, c_char, c_void};

use nftnl::nftnl_sys as sys;
use nftnl::set::{Set, SetKey};
use nftnl::{Chain, ChainType, FinalizedBatch, Hook, MsgType, NlMsg, Policy, ProtoFamily, Table};
use nix::libc;

use super::Error;
use super::rule::rule;
use crate::group::Gid;
use crate::installed::{self, Installed};
use crate::plan::{self, ChainHook, ChainKind, Ruleset};

/// A change of a table, whether or not it stands.
#[derive(Debug, Clone, Copy)]
pub enum Change<'a> {
    /// Puts the ruleset in the place of its table.
    Put {
        /// What is to stand.
        ruleset: &'a Ruleset,
        /// The ruleset's group.
        gid: Gid,
        /// Who may change it from then on.
        tenure: Tenure,
    },
    /// Removes the table of that name.
    Remove(&'a str),
}

/// Who may change a table, and what becomes of it when the socket that made it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tenure {
    /// Anybody may, and it stays.
    Free,
    /// Only that socket may, and it goes with the socket (Linux 5.12).
    Owned,
    /// Only that socket may; it stays, and is then anybody's (Linux 6.9).
    Persistent,
}

impl Tenure {
    const fn flags(self) -> u32 {
        match self {
            Self::Free => 0,
            Self::Owned => installed::OWNER,
            Self::Persistent => installed::OWNER | installed::PERSIST,
        }
    }
}

/// One transaction, ready to be sent.
pub struct Batch {
    finished: FinalizedBatch,
    /// What each message between begin and end is about, for error messages.
    objects: Vec<String>,
}

impl Batch {
    /// Makes all of `changes`, or none: no packet ever meets half a table, or both or neither of
    /// two tables of which one replaces the other.
    #[must_use]
    pub fn new(changes: &[Change<'_>]) -> Self {
        let mut writer = Writer { batch: nftnl::Batch::new(), objects: Vec::new() };
        for change in changes {
            match *change {
                Change::Put { ruleset, gid, tenure } => writer.put(ruleset, gid, tenure),
                Change::Remove(table) => writer.remove(table),
            }
        }
        Self { finished: writer.batch.finalize(), objects: writer.objects }
    }

    /// What `table` holds once this batch is applied: its own messages, read as the kernel's
    /// answers are. Empty where the batch removes it.
    ///
    /// # Errors
    /// When libnftnl does not understand what it wrote.
    pub fn contents(&self, table: &str) -> Result<Installed, Error> {
        let mut contents = Installed::default();
        for message in mnl::NlMessages::new(self.message()?) {
            let message = message.map_err(|_| Error::Malformed)?;
            super::readback::absorb(&mut contents, table, message)?;
        }
        Ok(contents)
    }

    /// The bytes to send, in one piece.
    pub(super) fn message(&self) -> Result<&[u8], Error> {
        let mut pages = self.finished.iter();
        match (pages.next(), pages.next()) {
            (Some(page), None) => Ok(page),
            _ => Err(Error::TooLarge),
        }
    }

    /// Numbers of the messages that the kernel acknowledges, with what each is about.
    pub(super) fn sequence_numbers(&self) -> impl Iterator<Item = (u32, &str)> {
        let numbers = self.finished.sequence_numbers();
        // Since Linux 6.10 the begin and end of a batch are acknowledged too.
        let framed = numbers.len() > self.objects.len();
        let begin = framed.then_some("the batch's begin");
        let end = framed.then_some("the batch's end");
        let objects = self.objects.iter().map(String::as_str);
        numbers.zip(begin.into_iter().chain(objects).chain(end))
    }
}

/// Adds messages to a batch and remembers what they are about.
struct Writer {
    batch: nftnl::Batch,
    objects: Vec<String>,
}

impl Writer {
    /// Add and delete, so that it cannot fail where there is no table.
    fn remove(&mut self, table: &str) {
        let any = TableMessage { name: c_string(table), flags: None };
        self.write(&any, MsgType::Add, || format!("table {table}"));
        self.write(&any, MsgType::Del, || format!("deletion of table {table}"));
    }

    fn put(&mut self, ruleset: &Ruleset, gid: Gid, tenure: Tenure) {
        self.remove(ruleset.table);
        let message = TableMessage { name: c_string(ruleset.table), flags: Some(tenure.flags()) };
        self.write(&message, MsgType::Add, || format!("table {}", ruleset.table));
        let table = Table::new(c_string(ruleset.table), ProtoFamily::Inet);
        let set = ports_set(&table);
        self.write(&set, MsgType::Add, || format!("set {}", plan::PORTS_SET));
        // One element a message: libnftnl numbers those of a message, but reads only number 1.
        for port in &ruleset.ports {
            let mut element = ports_set(&table);
            element.add(&Port(*port));
            self.batch.add_iter(element.elems_iter(), MsgType::Add);
            self.objects.push(format!("set {}: port {port}", plan::PORTS_SET));
        }
        for planned in &ruleset.chains {
            let chain = chain(&table, planned);
            self.write(&chain, MsgType::Add, || format!("chain {}", planned.name));
            for planned_rule in &planned.rules {
                let rule = rule(&chain, &set, gid, planned_rule);
                let text = || planned_rule.text(&ruleset.group);
                self.write(&rule, MsgType::Add, || format!("chain {}: `{}`", planned.name, text()));
            }
        }
    }

    fn write(&mut self, message: &impl NlMsg, kind: MsgType, object: impl Fn() -> String) {
        self.batch.add(message, kind);
        self.objects.push(object());
    }
}

/// A table with flags of its own. nftnl's always says 0, which neither makes an owned table nor
/// passes for one that stands: the kernel takes it for an attempt to change the flags
/// (`nf_tables_updtable` in net/netfilter/nf_tables_api.c).
struct TableMessage {
    name: CString,
    /// `NFTA_TABLE_FLAGS`; where there are none, a table that stands keeps its own.
    flags: Option<u32>,
}

// SAFETY: a header and two short attributes are far smaller than the largest message.
unsafe impl NlMsg for TableMessage {
    unsafe fn write(&self, buffer: *mut c_void, sequence: u32, kind: MsgType) {
        let kind = match kind {
            MsgType::Add => libc::NFT_MSG_NEWTABLE,
            MsgType::Del => libc::NFT_MSG_DELTABLE,
        };
        // SAFETY: the caller's buffer holds the largest message; the table lives until it is
        // freed, once, and libnftnl copies the name.
        unsafe {
            let table = super::object::allocated(sys::nftnl_table_alloc()).as_ptr();
            let family = ProtoFamily::Inet as u32;
            sys::nftnl_table_set_u32(table, sys::NFTNL_TABLE_FAMILY as u16, family);
            sys::nftnl_table_set_str(table, sys::NFTNL_TABLE_NAME as u16, self.name.as_ptr());
            if let Some(flags) = self.flags {
                sys::nftnl_table_set_u32(table, sys::NFTNL_TABLE_FLAGS as u16, flags);
            }
            let header = sys::nftnl_nlmsg_build_hdr(
                buffer.cast::<c_char>(),
                kind as u16,
                ProtoFamily::Inet as u16,
                libc::NLM_F_ACK as u16,
                sequence,
            );
            sys::nftnl_table_nlmsg_build_payload(header, table);
            sys::nftnl_table_free(table);
        }
    }
}

/// An element of type `inet_service`.
pub(super) struct Port(u16);

impl SetKey for Port {
    /// `TYPE_INET_SERVICE` of nftables' include/datatype.h.
    const TYPE: u32 = 13;
    const LEN: u32 = 2;

    fn data(&self) -> Box<[u8]> {
        self.0.to_be_bytes().into()
    }
}

fn ports_set(table: &Table) -> Set<'_, Port> {
    Set::new_named(c"ports", 1, table, ProtoFamily::Inet)
}

fn chain<'a>(table: &'a Table, planned: &plan::Chain) -> Chain<'a> {
    let mut chain = Chain::new(c_string(planned.name), table);
    chain.set_type(match planned.kind {
        ChainKind::Nat => ChainType::Nat,
        ChainKind::Filter => ChainType::Filter,
    });
    let hook = match planned.hook {
        ChainHook::Output => Hook::Out,
        ChainHook::Postrouting => Hook::PostRouting,
    };
    chain.set_hook(hook, planned.priority);
    chain.set_policy(Policy::Accept);
    chain
}

fn c_string(name: &str) -> CString {
    // A name of ours has no NUL; were there one, the name ends there.
    let name = name.split('\0').next().unwrap_or_default();
    CString::new(name).unwrap_or_default()
}
