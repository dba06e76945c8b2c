//! A plan as one batch of netlink messages.

use std::ffi::{CStr, CString};
use std::net::IpAddr;
use std::ptr::NonNull;

use nftnl::expr::{
    Cmp, CmpOp, Conntrack, Counter, Expression, Immediate, Ipv4HeaderField, Ipv6HeaderField,
    Lookup, Meta, Nat, NatType, NetworkHeaderField, Payload, Register, RejectionType,
    TcpHeaderField, TransportHeaderField, Verdict,
};
use nftnl::nftnl_sys as sys;
use nftnl::set::{Set, SetKey};
use nftnl::{Chain, ChainType, FinalizedBatch, Hook, MsgType, Policy, ProtoFamily, Rule, Table};
use nix::libc;

use super::Error;
use crate::group::Gid;
use crate::installed::Installed;
use crate::plan::{self, Action, ChainHook, ChainKind, Match, Ruleset};

/// One transaction, ready to be sent.
pub struct Batch {
    finished: FinalizedBatch,
    /// What each message between begin and end is about, for error messages.
    objects: Vec<String>,
}

impl Batch {
    /// Replaces the table by `ruleset`, with `gid` for its group: add, delete, add, so that it
    /// succeeds whether or not the table exists and no packet ever meets half a table.
    #[must_use]
    pub fn replace(ruleset: &Ruleset, gid: Gid) -> Self {
        let table = Table::new(TABLE, ProtoFamily::Inet);
        let mut writer = Writer::removing(&table);
        writer.add(&table, || "table".into());
        let set = ports_set(&table);
        writer.add(&set, || format!("set {}", plan::PORTS_SET));
        // One element a message: libnftnl numbers those of a message, but reads only number 1.
        for port in &ruleset.ports {
            let mut element = ports_set(&table);
            element.add(&Port(*port));
            writer.batch.add_iter(element.elems_iter(), MsgType::Add);
            writer.objects.push(format!("set {}: port {port}", plan::PORTS_SET));
        }
        for planned in &ruleset.chains {
            let chain = chain(&table, planned);
            writer.add(&chain, || format!("chain {}", planned.name));
            for planned_rule in &planned.rules {
                let rule = rule(&chain, &set, gid, planned_rule);
                let text = || planned_rule.text(&ruleset.group);
                writer.add(&rule, || format!("chain {}: `{}`", planned.name, text()));
            }
        }
        writer.finish()
    }

    /// Removes the table: add, delete, so that it cannot fail where there is none.
    #[must_use]
    pub fn remove() -> Self {
        Writer::removing(&Table::new(TABLE, ProtoFamily::Inet)).finish()
    }

    /// What the table holds once this batch is applied: its own messages, read as the kernel's
    /// answers are.
    ///
    /// # Errors
    /// When libnftnl does not understand what it wrote.
    pub fn contents(&self) -> Result<Installed, Error> {
        let mut contents = Installed::default();
        for message in mnl::NlMessages::new(self.message()?) {
            super::readback::absorb(&mut contents, message.map_err(|_| Error::Malformed)?)?;
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
    fn removing(table: &Table) -> Self {
        let mut writer = Self { batch: nftnl::Batch::new(), objects: Vec::new() };
        writer.add(table, || "table".into());
        writer.batch.add(table, MsgType::Del);
        writer.objects.push("deletion of the table".into());
        writer
    }

    fn add(&mut self, message: &impl nftnl::NlMsg, object: impl Fn() -> String) {
        self.batch.add(message, MsgType::Add);
        self.objects.push(object());
    }

    fn finish(self) -> Batch {
        Batch { finished: self.batch.finalize(), objects: self.objects }
    }
}

/// An element of type `inet_service`.
struct Port(u16);

impl SetKey for Port {
    /// `TYPE_INET_SERVICE` of nftables' include/datatype.h.
    const TYPE: u32 = 13;
    const LEN: u32 = 2;

    fn data(&self) -> Box<[u8]> {
        self.0.to_be_bytes().into()
    }
}

fn ports_set(table: &Table) -> Set<'_, Port> {
    Set::new_named(PORTS_SET, 1, table, ProtoFamily::Inet)
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

fn rule<'a>(
    chain: &'a Chain<'_>,
    ports: &Set<'_, Port>,
    gid: Gid,
    planned: &plan::Rule,
) -> Rule<'a> {
    let mut rule = Rule::new(chain);
    for condition in &planned.matches {
        add_match(&mut rule, ports, gid, *condition);
    }
    rule.add_expr(&Counter);
    add_action(&mut rule, planned.action);
    rule
}

fn add_match(rule: &mut Rule<'_>, ports: &Set<'_, Port>, gid: Gid, condition: Match) {
    match condition {
        Match::Client => add_meta(rule, &Meta::SkGid, gid.as_raw()),
        Match::OutLoopback => add_meta(rule, &Meta::Oif, LOOPBACK_INDEX),
        Match::OutElsewhere => {
            rule.add_expr(&Meta::Oif);
            rule.add_expr(&Cmp::new(CmpOp::Neq, LOOPBACK_INDEX));
        }
        Match::Ipv4 => add_meta(rule, &Meta::NfProto, NFPROTO_IPV4),
        Match::Ipv6 => add_meta(rule, &Meta::NfProto, NFPROTO_IPV6),
        Match::Address(address) => {
            // The kernel wants the family known before it looks into the network header.
            let (family, field) = match address {
                IpAddr::V4(_) => (NFPROTO_IPV4, NetworkHeaderField::Ipv4(Ipv4HeaderField::Daddr)),
                IpAddr::V6(_) => (NFPROTO_IPV6, NetworkHeaderField::Ipv6(Ipv6HeaderField::Daddr)),
            };
            add_meta(rule, &Meta::NfProto, family);
            rule.add_expr(&Payload::Network(field));
            rule.add_expr(&Cmp::new(CmpOp::Eq, address));
        }
        Match::Port(port) => {
            add_tcp_dport(rule);
            rule.add_expr(&Cmp::new(CmpOp::Eq, port.to_be_bytes().as_slice()));
        }
        Match::PeerPort => {
            add_tcp_dport(rule);
            rule.add_expr(&lookup(ports));
        }
        Match::Mark(mark) => {
            rule.add_expr(&Conntrack::Mark { set: false });
            rule.add_expr(&Cmp::new(CmpOp::Eq, mark));
        }
    }
}

fn add_meta(rule: &mut Rule<'_>, key: &Meta, value: impl nftnl::expr::ToSlice) {
    rule.add_expr(key);
    rule.add_expr(&Cmp::new(CmpOp::Eq, value));
}

fn add_tcp_dport(rule: &mut Rule<'_>) {
    add_meta(rule, &Meta::L4Proto, IPPROTO_TCP);
    rule.add_expr(&Payload::Transport(TransportHeaderField::Tcp(TcpHeaderField::Dport)));
}

fn add_action(rule: &mut Rule<'_>, action: Action) {
    match action {
        Action::Return => rule.add_expr(&Verdict::Return),
        Action::Drop => rule.add_expr(&Verdict::Drop),
        Action::Reset => rule.add_expr(&Verdict::Reject(RejectionType::TcpRst)),
        Action::SetMark(mark) => {
            rule.add_expr(&Immediate::new(mark, Register::Reg1));
            rule.add_expr(&Conntrack::Mark { set: true });
        }
        Action::Dnat(to) => {
            let family = match to.ip() {
                IpAddr::V4(ip) => {
                    rule.add_expr(&Immediate::new(ip.octets(), Register::Reg1));
                    ProtoFamily::Ipv4
                }
                IpAddr::V6(ip) => {
                    rule.add_expr(&Immediate::new(ip.octets(), Register::Reg1));
                    ProtoFamily::Ipv6
                }
            };
            rule.add_expr(&Immediate::new(to.port().to_be_bytes(), Register::Reg2));
            rule.add_expr(&dnat(family));
        }
    }
}

/// `tcp dport @ports`, last part.
fn lookup(ports: &Set<'_, Port>) -> impl Expression + use<> {
    Completed { expression: Lookup::new(ports), attributes: [(sys::NFTNL_EXPR_LOOKUP_FLAGS, 0)] }
}

/// `dnat` to the address in register 1 and the port in register 2.
fn dnat(family: ProtoFamily) -> impl Expression {
    let expression = Nat {
        nat_type: NatType::DNat,
        family,
        ip_register: Register::Reg1,
        port_register: Some(Register::Reg2),
    };
    let flags = NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED;
    let attributes = [
        (sys::NFTNL_EXPR_NAT_REG_ADDR_MAX, Register::Reg1.to_raw()),
        (sys::NFTNL_EXPR_NAT_REG_PROTO_MAX, Register::Reg2.to_raw()),
        (sys::NFTNL_EXPR_NAT_FLAGS, flags),
    ];
    Completed { expression, attributes }
}

/// An expression of nftnl's with the attributes that nftnl leaves to the kernel to fill in: with
/// them it is, to the letter, what the kernel gives when it is read back.
struct Completed<E, const N: usize> {
    expression: E,
    /// 32-bit attributes.
    attributes: [(u32, u32); N],
}

impl<E: Expression, const N: usize> Expression for Completed<E, N> {
    fn to_expr(&self, rule: &Rule<'_>) -> NonNull<sys::nftnl_expr> {
        let expression = self.expression.to_expr(rule);
        for (attribute, value) in self.attributes {
            // SAFETY: the expression is live, and both users name attributes that its type has
            // and that are 32 bits long.
            unsafe { sys::nftnl_expr_set_u32(expression.as_ptr(), attribute as u16, value) };
        }
        expression
    }
}

fn c_string(name: &str) -> CString {
    // A name of ours has no NUL; were there one, the name ends there.
    let name = name.split('\0').next().unwrap_or_default();
    CString::new(name).unwrap_or_default()
}

const TABLE: &CStr = c"bip324";
const PORTS_SET: &CStr = c"ports";

/// Index of `lo` in every network namespace (net/core/dev.h: LOOPBACK_IFINDEX).
const LOOPBACK_INDEX: u32 = 1;

const NFPROTO_IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const NFPROTO_IPV6: u8 = libc::NFPROTO_IPV6 as u8;
const IPPROTO_TCP: u8 = libc::IPPROTO_TCP as u8;

// Of linux/netfilter/nf_nat.h.
const NF_NAT_RANGE_MAP_IPS: u32 = 1 << 0;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
