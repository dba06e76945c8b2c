//! A planned rule as libnftnl's expressions.

use std::net::IpAddr;
use std::ptr::NonNull;

use nftnl::expr::{
    Bitwise, Cmp, CmpOp, Conntrack, Counter, Expression, IcmpCode, Immediate, Ipv4HeaderField,
    Ipv6HeaderField, Lookup, Meta, Nat, NatType, NetworkHeaderField, Payload, Register,
    RejectionType, States, TcpHeaderField, TransportHeaderField, Verdict,
};
use nftnl::nftnl_sys as sys;
use nftnl::set::Set;
use nftnl::{Chain, ProtoFamily, Rule};
use nix::libc;

use super::batch::Port;
use crate::group::Gid;
use crate::plan::{self, Action, Match};

/// The rule that `planned` describes, with `gid` for the group.
pub(super) fn rule<'a>(
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
        Match::Tcp => add_meta(rule, &Meta::L4Proto, IPPROTO_TCP),
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
        Match::Owned => {
            // The expression itself ends the rule where there is no owner, hence no group.
            rule.add_expr(&Meta::SkGid);
            rule.add_expr(&Cmp::new(CmpOp::Neq, u32::MAX));
        }
        Match::Forgotten => {
            let states = States::INVALID | States::NEW | States::UNTRACKED;
            rule.add_expr(&Conntrack::State);
            rule.add_expr(&Bitwise::new(states.bits(), 0u32));
            rule.add_expr(&Cmp::new(CmpOp::Neq, 0u32));
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
        Action::Prohibit => {
            rule.add_expr(&Verdict::Reject(RejectionType::Icmp(IcmpCode::AdminProhibited)));
        }
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

/// Index of `lo` in every network namespace (net/core/dev.h: LOOPBACK_IFINDEX).
const LOOPBACK_INDEX: u32 = 1;

const NFPROTO_IPV4: u8 = libc::NFPROTO_IPV4 as u8;
const NFPROTO_IPV6: u8 = libc::NFPROTO_IPV6 as u8;
const IPPROTO_TCP: u8 = libc::IPPROTO_TCP as u8;

// Of linux/netfilter/nf_nat.h.
const NF_NAT_RANGE_MAP_IPS: u32 = 1 << 0;
const NF_NAT_RANGE_PROTO_SPECIFIED: u32 = 1 << 1;
