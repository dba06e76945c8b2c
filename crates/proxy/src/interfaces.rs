//! The host's own addresses.

use std::net::IpAddr;

/// The addresses of this host's interfaces; none if the system does not tell.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    interfaces
        .filter_map(|interface| {
            let address = interface.address?;
            let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
            v4.or_else(|| Some(address.as_sockaddr_in6()?.ip().into()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_host_s_addresses_include_loopback() {
        assert!(addresses().contains(&Ipv4Addr::LOCALHOST.into()));
    }
}
