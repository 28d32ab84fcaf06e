//! Which connections are closed to make room for others.

use super::*;

/// 8 connections for strangers, 8 for workstations, 12 for drones and 4 for admins; 3 per address
/// or drone.
fn limiter() -> ConnectionLimiter {
    ConnectionLimiter::new(&Limits { connections: 32, connections_per_address: 3, ..Limits::default() })
}

fn at(address: &str) -> Origin {
    Origin::new(address.parse().unwrap(), false)
}

fn is_given_up(permit: &ConnectionPermit) -> bool {
    permit.state.given_up.is_cancelled()
}

/// `(open, turned away)` for one kind of caller.
fn count(limiter: &ConnectionLimiter, caller: Caller) -> (u64, u64) {
    let view = limiter.view();
    let row = view.iter().find(|row| row.of == caller).unwrap();
    (row.open, row.turned_away)
}

/// Takes permits, each idle since a different time.
fn take(limiter: &ConnectionLimiter, origin: Origin, count: u64) -> Vec<Arc<ConnectionPermit>> {
    let one = |n: u64| {
        let permit = limiter.take(origin);
        permit.state.quiet_since.store(n, Ordering::Relaxed);
        permit
    };
    (0..count).map(one).collect()
}

#[test]
fn of_one_address_the_longest_quiet_stranger_gives_way_and_other_addresses_none() {
    let limiter = limiter();
    let other = limiter.take(at("192.0.2.9"));
    let crowd = take(&limiter, at("192.0.2.1"), 20);
    let gone = crowd.iter().filter(|permit| is_given_up(permit)).count();
    assert_eq!((gone, is_given_up(&other)), (17, false));
    assert!(crowd.iter().rev().take(3).all(|permit| !is_given_up(permit)), "the newest stay");
    assert_eq!(count(&limiter, Caller::Stranger), (4, 17));
    drop(crowd);
    assert_eq!(count(&limiter, Caller::Stranger), (1, 17));
}

#[test]
fn addresses_of_one_ipv6_network_count_as_one_and_mapped_ones_as_ipv4() {
    assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
    assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
    assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
    for shared in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
        assert!(at(shared).shared, "{shared}");
    }
    assert!(!at("192.0.2.1").shared && Origin::new("192.0.2.1".parse().unwrap(), true).shared);
}

#[test]
fn when_all_places_of_strangers_are_taken_the_address_with_the_most_gives_way() {
    let limiter = limiter();
    let crowd = take(&limiter, at("127.0.0.1"), 7);
    let few = take(&limiter, at("192.0.2.1"), 1);
    let _more = take(&limiter, at("192.0.2.2"), 3);
    assert_eq!(crowd.iter().map(|permit| is_given_up(permit)).collect::<Vec<_>>()[..3], [true; 3]);
    assert!(!is_given_up(&few[0]) && crowd[3..].iter().all(|permit| !is_given_up(permit)));
    // This includes a stranger in the middle of a request.
    let _slow_body = crowd[3].answering();
    crowd[3].state.quiet_since.store(0, Ordering::Relaxed);
    let _one = limiter.take(at("192.0.2.3"));
    assert!(is_given_up(&crowd[3]));
}

#[test]
fn strangers_take_no_place_of_whom_is_known_and_one_drone_none_of_another() {
    let limiter = limiter();
    let drone = |n: u64| Holder::Drone(DroneId(n));
    let known = limiter.take(at("127.0.0.1"));
    known.proved(drone(1)).unwrap();
    let admin = limiter.take(at("127.0.0.1"));
    admin.proved(Holder::Admin).unwrap();
    let _crowd = take(&limiter, at("127.0.0.1"), 20);
    assert!(!is_given_up(&known) && !is_given_up(&admin));

    let greedy: Vec<_> = (0..3).map(|_| limiter.take(at("127.0.0.1"))).collect();
    let asking: Vec<_> = greedy.iter().map(|permit| permit.answering()).collect();
    greedy.iter().for_each(|permit| permit.proved(drone(2)).unwrap());
    let fourth = limiter.take(at("127.0.0.1"));
    assert_eq!(fourth.proved(drone(2)), Err(Full(Caller::Drone)));
    assert_eq!(fourth.proved(drone(3)), Ok(()));
    // A connection without a request makes room for another one of the same drone.
    drop(asking);
    assert_eq!(limiter.take(at("127.0.0.1")).proved(drone(2)), Ok(()));
    assert_eq!(greedy.iter().filter(|permit| is_given_up(permit)).count(), 1);
    assert!(!is_given_up(&known));
    assert_eq!(count(&limiter, Caller::Drone).1, 2);
}

#[test]
fn a_download_gives_way_only_to_an_address_that_has_fewer() {
    let limiter = limiter();
    let download = |address: &str| {
        let permit = limiter.take(at(address));
        permit.proved(Holder::Workstation(at(address))).map(|()| (permit.answering(), permit))
    };
    // A proxy on this machine may use the whole budget, but does not displace its own connections.
    let crowd: Vec<_> = (0..8).map(|_| download("127.0.0.1").unwrap()).collect();
    assert!(download("127.0.0.1").is_err());
    let _other = download("192.0.2.1").unwrap();
    assert_eq!(crowd.iter().filter(|(_, permit)| is_given_up(permit)).count(), 1);
    assert_eq!(count(&limiter, Caller::Workstation), (8, 2));
}

#[test]
fn a_proxys_connection_is_whose_request_it_brings() {
    let limiter = limiter();
    let permit = limiter.take(Origin::new("10.0.0.1".parse().unwrap(), true));
    permit.proved(Holder::Drone(DroneId(1))).unwrap();
    permit.is_strangers(at("192.0.2.1"));
    assert_eq!((count(&limiter, Caller::Drone).0, count(&limiter, Caller::Stranger).0), (0, 1));
    // From now on it counts for that address, like a direct connection.
    let _own = take(&limiter, at("192.0.2.1"), 3);
    assert_eq!(count(&limiter, Caller::Stranger), (3, 1));
    permit.is_strangers(at("192.0.2.2"));
    assert_eq!(count(&limiter, Caller::Stranger), (3, 1));
}

#[test]
fn who_is_known_stays_so_when_it_fetches_packages() {
    let limiter = limiter();
    let permit = limiter.take(at("192.0.2.1"));
    permit.proved(Holder::Workstation(at("192.0.2.1"))).unwrap();
    permit.proved(Holder::Drone(DroneId(1))).unwrap();
    permit.proved(Holder::Workstation(at("192.0.2.1"))).unwrap();
    assert_eq!((count(&limiter, Caller::Drone).0, count(&limiter, Caller::Workstation).0), (1, 0));
}
