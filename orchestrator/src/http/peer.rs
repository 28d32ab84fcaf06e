//! The client of a request: the peer of the connection or, if that is a proxy in `trusted_proxies`, the
//! client that the proxy names.
//!
//! A proxy on this machine connects from loopback for everyone, so a request with proxy headers
//! never counts as local. From other proxies the headers prove nothing and are ignored.

use crate::{config::Network, connection_limits::Origin};
use axum::http::{HeaderMap, HeaderName, header};
use std::net::{IpAddr, SocketAddr};

const FORWARDED: [HeaderName; 6] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
    header::VIA,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Without a proxy, judging by the headers.
    Direct,
    Trusted,
    /// Through a proxy that is not in `trusted_proxies`.
    Unknown,
}

/// The client of a request. Every request has one as an extension.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    ip: IpAddr,
    /// Whether the client's connection is encrypted.
    pub(super) tls: bool,
    pub(super) way: Way,
    /// Whether several clients may share the address.
    shared: bool,
}

impl Peer {
    /// The peer of a connection, before any request.
    pub(super) fn of_connection(ip: IpAddr, tls: bool, trusted: &[Network]) -> Self {
        Self { ip, tls, way: Way::Direct, shared: is_in(trusted, ip) }
    }

    /// The client of a request with these headers on this connection.
    pub(super) fn of_request(self, headers: &HeaderMap, trusted: &[Network]) -> Self {
        if !FORWARDED.iter().any(|name| headers.contains_key(name)) {
            return self;
        }
        if !is_in(trusted, self.ip) {
            return Self { way: Way::Unknown, ..self };
        }
        let ip = client(headers, trusted).unwrap_or(self.ip);
        Self { ip, tls: is_https(headers), way: Way::Trusted, shared: is_in(trusted, ip) }
    }

    /// Whether the client is a program on this machine, connected without a proxy.
    pub(super) fn is_this_machine(&self) -> bool {
        self.way == Way::Direct && self.ip.to_canonical().is_loopback()
    }

    /// The origin under which its connections are counted.
    pub(super) fn origin(&self) -> Origin {
        Origin::new(self.ip, self.shared)
    }

    pub(super) fn ip(&self) -> IpAddr {
        self.ip
    }
}

fn is_in(networks: &[Network], ip: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(ip))
}

/// The last listed address that is not a trusted proxy. Earlier addresses are unverified.
fn client(headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let listed: Vec<&str> = values(headers, &FORWARDED[0]).collect();
    let named = if listed.is_empty() { elements(headers, "for") } else { listed };
    let mut last = None;
    for text in named.into_iter().rev() {
        let Some(ip) = address(text) else { break };
        last = Some(ip);
        if !is_in(trusted, ip) {
            break;
        }
    }
    last
}

/// Whether the client used TLS to reach the nearest proxy. If both headers are present, both must
/// say so, because a proxy that sets one may pass on the other unchanged.
fn is_https(headers: &HeaderMap) -> bool {
    let protocols = [values(headers, &FORWARDED[1]).last(), elements(headers, "proto").pop()];
    let mut protocols = protocols.into_iter().flatten().peekable();
    protocols.peek().is_some() && protocols.all(|proto| proto.eq_ignore_ascii_case("https"))
}

/// The elements of a list header in all its lines.
fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim).filter(|text| !text.is_empty())
}

/// The value of one parameter in each element of `Forwarded` (RFC 7239).
fn elements<'h>(headers: &'h HeaderMap, key: &str) -> Vec<&'h str> {
    let of = |element: &'h str| {
        element.split(';').find_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then(|| value.trim().trim_matches('"'))
        })
    };
    values(headers, &header::FORWARDED).filter_map(of).collect()
}

/// Parses an address, with or without brackets (IPv6) and port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How a plain HTTP request from an address is classified. The trusted proxies are 10.0.0.0/8 and this
    /// machine, or none.
    fn seen(from: &str, trusting: bool, headers: &[(&'static str, &str)]) -> (Way, String, bool, bool) {
        let trusted: Vec<Network> = ["10.0.0.0/8", "127.0.0.1"].map(|text| text.parse().unwrap()).to_vec();
        let trusted = if trusting { &trusted[..] } else { &[] };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let peer = Peer::of_connection(from.parse().unwrap(), false, trusted).of_request(&map, trusted);
        (peer.way, peer.ip.to_string(), peer.tls, peer.is_this_machine())
    }

    #[test]
    fn without_trusted_proxies_their_headers_take_this_machine_away_and_give_nothing() {
        let own = ("127.0.0.1", (Way::Direct, "127.0.0.1".to_owned(), false, true));
        assert_eq!(seen(own.0, false, &[]), own.1);
        assert_eq!(seen(own.0, false, &[("user-agent", "curl")]), own.1);
        for name in
            ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "x-real-ip", "forwarded", "via"]
        {
            for value in ["127.0.0.1", "https", "for=127.0.0.1;proto=https", ""] {
                let unknown = (Way::Unknown, "127.0.0.1".to_owned(), false, false);
                assert_eq!(seen("127.0.0.1", false, &[(name, value)]), unknown, "{name}: {value}");
                assert_eq!(seen("203.0.113.9", true, &[(name, value)]).0, Way::Unknown, "{name}: {value}");
            }
        }
    }

    #[test]
    fn of_a_trusted_proxy_the_last_address_counts_that_is_not_a_proxys() {
        let from = |value: &str| seen("10.0.0.1", true, &[("x-forwarded-for", value)]).1;
        assert_eq!(from("203.0.113.9"), "203.0.113.9");
        assert_eq!(from("127.0.0.1, 198.51.100.1, 203.0.113.9 , 10.0.0.2"), "203.0.113.9");
        assert_eq!(from("203.0.113.9:4711"), "203.0.113.9");
        assert_eq!(from("[2001:db8::1]:80"), "2001:db8::1");
        assert_eq!(from("[2001:db8::1]"), "2001:db8::1");
        for nobody in ["unknown", "", "10.0.0.2; drop", "_hidden, garbage"] {
            assert_eq!(from(nobody), "10.0.0.1", "{nobody}");
        }
        let lines = [("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(seen("10.0.0.1", true, &lines).1, "203.0.113.9");
        let forwarded = [("forwarded", "for=198.51.100.1, For=\"[2001:db8::7]:80\";proto=https;by=10.0.0.1")];
        assert_eq!(seen("10.0.0.1", true, &forwarded), (Way::Trusted, "2001:db8::7".to_owned(), true, false));
    }

    #[test]
    fn only_a_trusted_proxy_that_says_https_everywhere_vouches_for_tls() {
        let tls = |headers: &[(&'static str, &str)]| seen("127.0.0.1", true, headers).2;
        assert!(tls(&[("x-forwarded-proto", "https")]));
        assert!(tls(&[("x-forwarded-proto", "HTTPS"), ("forwarded", "proto=https")]));
        for headers in [
            &[("x-forwarded-for", "203.0.113.9")][..],
            &[("x-forwarded-proto", "http")],
            &[("x-forwarded-proto", "https, http")],
            // The proxy sets the first header and passes on the second unchanged.
            &[("x-forwarded-proto", "http"), ("forwarded", "proto=https")],
            &[("forwarded", "proto=http"), ("x-forwarded-proto", "https")],
        ] {
            assert!(!tls(headers), "{headers:?}");
        }
        // Not even a program on this machine counts as local if it used the proxy.
        assert!(!seen("127.0.0.1", true, &[("x-forwarded-for", "127.0.0.1")]).3);
        assert!(seen("127.0.0.1", true, &[]).3);
    }
}
