//! Proxy library.
