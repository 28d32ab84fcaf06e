//! Parsing addresses and building URLs.

use super::*;

#[test]
fn segments_and_queries_are_escaped_below_any_prefix() {
    let call = Call::get(&["why", "cat/na me-1?x=#"]).query("name", Some("a&b"));
    for (address, want) in [
        ("http://nas:8100", "http://nas:8100/api/v1/why/cat%2Fna%20me-1%3Fx=%23?name=a%26b"),
        ("http://nas/swarm/", "http://nas/swarm/api/v1/why/cat%2Fna%20me-1%3Fx=%23?name=a%26b"),
    ] {
        let url = url_of(&call, &parse_address(address).unwrap()).unwrap();
        assert_eq!(url.as_str(), want);
    }
}

#[test]
fn what_is_no_address_is_refused_with_an_example() {
    for bad in ["nas:8100", "nas", "", "ftp://nas", "http://u:p@nas", "http://nas/?a=b"] {
        assert!(parse_address(bad).is_err(), "{bad}");
    }
    assert!(!parse_address("http://u:pass1@nas").unwrap_err().contains("pass1"));
    assert!(parse_address("nas:8100").unwrap_err().contains("http://nas:8100"));
}
