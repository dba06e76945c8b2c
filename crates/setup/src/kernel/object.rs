//! libnftnl's objects behind a safe face: parse a message, read attributes, iterate, free.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

use nftnl::nftnl_sys as sys;
use nix::libc::{self, nlmsghdr};

use super::{Error, HEADER_SIZE};
use crate::installed::{Counter, Element};

pub(super) use sys::{
    NFTNL_CHAIN_FAMILY, NFTNL_CHAIN_HOOKNUM, NFTNL_CHAIN_NAME, NFTNL_CHAIN_POLICY,
    NFTNL_CHAIN_PRIO, NFTNL_CHAIN_TABLE, NFTNL_CHAIN_TYPE, NFTNL_RULE_CHAIN, NFTNL_RULE_FAMILY,
    NFTNL_RULE_TABLE, NFTNL_SET_FAMILY, NFTNL_SET_FLAGS, NFTNL_SET_KEY_TYPE, NFTNL_SET_NAME,
    NFTNL_SET_TABLE, NFTNL_TABLE_FAMILY, NFTNL_TABLE_FLAGS, NFTNL_TABLE_NAME, NFTNL_TABLE_OWNER,
};

/// libnftnl's functions for one kind of object. All of them take the object that `alloc` made.
pub(super) struct Kind<T: 'static> {
    alloc: unsafe extern "C" fn() -> *mut T,
    free: unsafe extern "C" fn(*const T),
    parse: unsafe extern "C" fn(*const nlmsghdr, *mut T) -> c_int,
    get_str: unsafe extern "C" fn(*const T, u16) -> *const c_char,
    get_u32: unsafe extern "C" fn(*const T, u16) -> u32,
}

pub(super) static TABLE: Kind<sys::nftnl_table> = Kind {
    alloc: sys::nftnl_table_alloc,
    free: sys::nftnl_table_free,
    parse: sys::nftnl_table_nlmsg_parse,
    get_str: sys::nftnl_table_get_str,
    get_u32: sys::nftnl_table_get_u32,
};

pub(super) static CHAIN: Kind<sys::nftnl_chain> = Kind {
    alloc: sys::nftnl_chain_alloc,
    free: sys::nftnl_chain_free,
    parse: sys::nftnl_chain_nlmsg_parse,
    get_str: sys::nftnl_chain_get_str,
    get_u32: sys::nftnl_chain_get_u32,
};

pub(super) static RULE: Kind<sys::nftnl_rule> = Kind {
    alloc: sys::nftnl_rule_alloc,
    free: sys::nftnl_rule_free,
    parse: sys::nftnl_rule_nlmsg_parse,
    get_str: sys::nftnl_rule_get_str,
    get_u32: sys::nftnl_rule_get_u32,
};

pub(super) static SET: Kind<sys::nftnl_set> = Kind {
    alloc: sys::nftnl_set_alloc,
    free: sys::nftnl_set_free,
    parse: sys::nftnl_set_nlmsg_parse,
    get_str: sys::nftnl_set_get_str,
    get_u32: sys::nftnl_set_get_u32,
};

/// A set as a list of elements describes it: its names and the elements.
pub(super) static ELEMENTS: Kind<sys::nftnl_set> = Kind {
    alloc: sys::nftnl_set_alloc,
    free: sys::nftnl_set_free,
    parse: sys::nftnl_set_elems_nlmsg_parse,
    get_str: sys::nftnl_set_get_str,
    get_u32: sys::nftnl_set_get_u32,
};

/// An object that a netlink message describes.
pub(super) struct Object<T: 'static> {
    raw: NonNull<T>,
    kind: &'static Kind<T>,
}

impl<T> Object<T> {
    /// Parses a message of the type that `kind` is about.
    pub(super) fn parse(kind: &'static Kind<T>, message: &[u8]) -> Result<Self, Error> {
        let header = message.as_ptr().cast::<nlmsghdr>();
        let length: [u8; 4] = super::bytes(message, 0)?;
        let whole = u32::from_ne_bytes(length) as usize == message.len();
        if message.len() < HEADER_SIZE + GENMSG_SIZE || !whole || !header.is_aligned() {
            return Err(Error::Malformed);
        }
        // SAFETY: it takes nothing.
        let raw = unsafe { (kind.alloc)() };
        let object = Self { raw: allocated(raw), kind };
        // SAFETY: the header is aligned and the message is as long as its header says; libnftnl
        // checks the attributes within and copies what it keeps.
        let parsed = unsafe { (kind.parse)(header, object.raw.as_ptr()) };
        if parsed < 0 { Err(Error::Malformed) } else { Ok(object) }
    }

    /// A string attribute; empty where it is not set.
    pub(super) fn text(&self, attribute: u32) -> String {
        // SAFETY: the object is live, and callers name attributes that are strings.
        unsafe { text((self.kind.get_str)(self.raw.as_ptr(), attribute as u16)) }
    }

    /// A 32-bit attribute; 0 where it is not set.
    pub(super) fn number(&self, attribute: u32) -> u32 {
        // SAFETY: the object is live, and callers name attributes that are 32 bits long.
        unsafe { (self.kind.get_u32)(self.raw.as_ptr(), attribute as u16) }
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        // SAFETY: `raw` came from `alloc` and is freed once.
        unsafe { (self.kind.free)(self.raw.as_ptr()) };
    }
}

impl Object<sys::nftnl_set> {
    /// The elements, in no particular order.
    pub(super) fn elements(&self) -> Vec<Element> {
        let mut elements = Vec::new();
        // SAFETY: the set is live and outlives the iterator, which is destroyed once; a key is
        // as long as `length` says and is copied at once.
        unsafe {
            let iterator = allocated(sys::nftnl_set_elems_iter_create(self.raw.as_ptr())).as_ptr();
            while let Some(element) = NonNull::new(sys::nftnl_set_elems_iter_next(iterator)) {
                let mut length = 0;
                let key = sys::NFTNL_SET_ELEM_KEY as u16;
                let data = sys::nftnl_set_elem_get(element.as_ptr(), key, &raw mut length);
                // The one kind of element that the kernel describes without a key.
                elements.push(if data.is_null() {
                    Element::CatchAll
                } else {
                    let key = std::slice::from_raw_parts(data.cast(), length as usize);
                    Element::Key(key.to_vec())
                });
            }
            sys::nftnl_set_elems_iter_destroy(iterator);
        }
        elements
    }
}

/// An expression of a rule.
pub(super) enum Part {
    Counter(Counter),
    /// Name and arguments as libnftnl prints them.
    Other(String),
}

impl Object<sys::nftnl_rule> {
    /// The expressions in order of evaluation, and the group whose packets they are about, if it is
    /// one group's.
    pub(super) fn parts(&self) -> (Vec<Part>, Option<u32>) {
        let (mut parts, mut client, mut after_group) = (Vec::new(), None, false);
        // SAFETY: the rule is live and outlives the iterator, which is destroyed once.
        unsafe {
            let iterator = allocated(sys::nftnl_expr_iter_create(self.raw.as_ptr())).as_ptr();
            while let Some(expression) = NonNull::new(sys::nftnl_expr_iter_next(iterator)) {
                let expression = expression.as_ptr();
                if after_group {
                    client = client.or_else(|| compared(expression));
                }
                after_group = loads_group(expression);
                parts.push(part(expression));
            }
            sys::nftnl_expr_iter_destroy(iterator);
        }
        (parts, client)
    }
}

/// Whether it loads the group of the packet's socket, `meta skgid`.
///
/// # Safety
/// `expression` must be live.
unsafe fn loads_group(expression: *const sys::nftnl_expr) -> bool {
    // SAFETY: every expression has a name; the key of a meta expression is 32 bits long.
    unsafe {
        name(expression) == "meta"
            && sys::nftnl_expr_is_set(expression, sys::NFTNL_EXPR_META_KEY as u16)
            && sys::nftnl_expr_get_u32(expression, sys::NFTNL_EXPR_META_KEY as u16)
                == libc::NFT_META_SKGID as u32
    }
}

/// The number that it requires of what was loaded, if it is a comparison with one of 32 bits.
///
/// # Safety
/// `expression` must be live.
unsafe fn compared(expression: *const sys::nftnl_expr) -> Option<u32> {
    // SAFETY: every expression has a name; a comparison has a 32-bit operation, and data that are as
    // long as `length` says and are copied at once.
    unsafe {
        if name(expression) != "cmp"
            || sys::nftnl_expr_get_u32(expression, sys::NFTNL_EXPR_CMP_OP as u16)
                != libc::NFT_CMP_EQ as u32
        {
            return None;
        }
        let mut length = 0;
        let data = sys::NFTNL_EXPR_CMP_DATA as u16;
        let data = sys::nftnl_expr_get(expression, data, &raw mut length).cast::<u8>();
        if data.is_null() {
            return None;
        }
        let data = std::slice::from_raw_parts(data, length as usize);
        data.try_into().ok().map(u32::from_ne_bytes)
    }
}

/// # Safety
/// `expression` must be live.
unsafe fn name(expression: *const sys::nftnl_expr) -> String {
    // SAFETY: every expression has a name.
    unsafe { text(sys::nftnl_expr_get_str(expression, sys::NFTNL_EXPR_NAME as u16)) }
}

/// # Safety
/// `expression` must be live.
unsafe fn part(expression: *const sys::nftnl_expr) -> Part {
    // SAFETY: every expression has a name; a counter has these two 64-bit attributes.
    unsafe {
        let name = name(expression);
        if name == "counter" {
            return Part::Counter(Counter {
                packets: sys::nftnl_expr_get_u64(expression, sys::NFTNL_EXPR_CTR_PACKETS as u16),
                bytes: sys::nftnl_expr_get_u64(expression, sys::NFTNL_EXPR_CTR_BYTES as u16),
            });
        }
        Part::Other(format!("{name} {}", arguments(expression)))
    }
}

/// An expression's arguments, cut off at a length that none of ours reaches.
///
/// # Safety
/// `expression` must be live.
unsafe fn arguments(expression: *const sys::nftnl_expr) -> String {
    let mut buffer = [0_u8; 512];
    // SAFETY: the buffer is as long as stated, and what is written ends with a NUL.
    unsafe {
        sys::nftnl_expr_snprintf(
            buffer.as_mut_ptr().cast(),
            buffer.len(),
            expression,
            sys::NFTNL_OUTPUT_DEFAULT,
            0,
        );
    }
    let printed = CStr::from_bytes_until_nul(&buffer).unwrap_or_default();
    printed.to_string_lossy().trim().to_owned()
}

/// What libnftnl allocated. Null means out of memory: nothing better can be done than to abort, as
/// nftnl does.
pub(super) fn allocated<T>(raw: *mut T) -> NonNull<T> {
    NonNull::new(raw).unwrap_or_else(|| std::process::abort())
}

/// # Safety
/// `string` must be null or a C string.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

/// `sizeof(struct nfgenmsg)`, which follows the header in each message of nftables.
pub(super) const GENMSG_SIZE: usize = 4;
