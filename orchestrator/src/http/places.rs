//! Places for connections, in four budgets, so that a connection without a credential never
//! takes the place of one that has one: strangers, workstations, drones and admins each have
//! their own.
//!
//! A connection is a stranger's until a request on it proves whose it is. If a budget is full,
//! room is made: whoever has the most places gives the one up that has been quiet for longest.
//! Among drones and admins only a connection without a request gives way; of those that are
//! left none may be wasted, so one more is refused.

use crate::config::Limits;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Instant,
};
use swarm_common::{id::DroneId, state::Caller, wire::view::ConnectionsView};
use tokio_util::sync::CancellationToken;

/// Where a connection comes from, as far as it is counted: an address, and for IPv6 the /64 that
/// one machine has to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    address: IpAddr,
    /// Many people's: this machine's, whose proxy may stand for everybody, or a trusted proxy's.
    shared: bool,
}

impl Origin {
    /// That of an address; `shared` if a proxy is known to be there.
    pub(crate) fn new(address: IpAddr, shared: bool) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)))
            }
            other => other,
        };
        Self { address, shared: shared || address.is_loopback() }
    }
}

/// Whose a place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Nobody knows yet.
    Stranger(Origin),
    /// It was given published files.
    Workstation(Origin),
    /// A drone.
    Drone(DroneId),
    /// An admin, or what reads the metrics.
    Admin,
}

impl Holder {
    fn caller(self) -> Caller {
        match self {
            Self::Stranger(_) => Caller::Stranger,
            Self::Workstation(_) => Caller::Workstation,
            Self::Drone(_) => Caller::Drone,
            Self::Admin => Caller::Admin,
        }
    }

    /// Whether it is one of many, so that it may have only a part of the budget.
    fn is_bounded(self) -> bool {
        match self {
            Self::Stranger(origin) | Self::Workstation(origin) => !origin.shared,
            Self::Drone(_) => true,
            Self::Admin => false,
        }
    }
}

/// There is no room for one more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Caller);

/// All places.
#[derive(Clone)]
pub(crate) struct Places(Arc<Inner>);

struct Inner {
    /// Connections of each budget, in the order of [`Caller::ALL`].
    shares: [usize; 4],
    /// Connections of one address or drone in a budget.
    each: usize,
    began: Instant,
    table: Mutex<Table>,
    turned_away: [AtomicU64; 4],
}

#[derive(Default)]
struct Table {
    next: u64,
    held: BTreeMap<u64, Held>,
}

struct Held {
    holder: Holder,
    state: Arc<State>,
}

/// What is known of a connection without asking the table.
struct State {
    /// Microseconds from the beginning to its last request's head or answer's end.
    quiet_since: AtomicU64,
    /// Requests that are being answered.
    requests: AtomicU32,
    given_up: CancellationToken,
}

/// The place of a connection, until it is dropped.
pub(crate) struct Place {
    places: Places,
    id: u64,
    state: Arc<State>,
}

impl Places {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            shares: std::array::from_fn(|n| Caller::ALL.get(n).map_or(1, |&caller| limits.share(caller))),
            each: limits.connections_per_address,
            began: Instant::now(),
            table: Mutex::default(),
            turned_away: Default::default(),
        }))
    }

    /// A place for a connection that was just accepted. There always is one: the stranger that
    /// has been quiet for longest makes room.
    pub(crate) fn take(&self, origin: Origin) -> Arc<Place> {
        let holder = Holder::Stranger(origin);
        let state = Arc::new(State {
            quiet_since: AtomicU64::new(self.now()),
            requests: AtomicU32::new(0),
            given_up: CancellationToken::new(),
        });
        let mut table = self.table();
        let id = table.next;
        table.next += 1;
        if self.make_room(&mut table, holder, id).is_ok() {
            table.held.insert(id, Held { holder, state: state.clone() });
        } else {
            state.given_up.cancel();
        }
        drop(table);
        Arc::new(Place { places: self.clone(), id, state })
    }

    /// How many there are of each kind.
    pub(crate) fn view(&self) -> Vec<ConnectionsView> {
        let table = self.table();
        let of = |caller: Caller| table.held.values().filter(|held| held.holder.caller() == caller).count();
        let rows = Caller::ALL.iter().zip(self.0.shares).zip(&self.0.turned_away);
        rows.map(|((&of_whom, limit), turned_away)| ConnectionsView {
            of: of_whom,
            open: of(of_whom) as u64,
            limit: limit as u64,
            turned_away: turned_away.load(Ordering::Relaxed),
        })
        .collect()
    }

    /// Has another connection give its place up if `holder` is to have one more.
    fn make_room(&self, table: &mut Table, holder: Holder, id: u64) -> Result<(), Full> {
        let caller = holder.caller();
        let mut many: BTreeMap<Holder, usize> = BTreeMap::new();
        for (_, held) in
            table.held.iter().filter(|&(&other, held)| other != id && held.holder.caller() == caller)
        {
            *many.entry(held.holder).or_default() += 1;
        }
        let own = many.get(&holder).copied().unwrap_or(0);
        let alone = holder.is_bounded() && own >= self.0.each;
        if !alone && many.values().sum::<usize>() < self.0.shares[caller as usize] {
            return Ok(());
        }
        let may_go = |held: &Held| {
            let share = many.get(&held.holder).copied().unwrap_or(0);
            match caller {
                Caller::Stranger => true,
                Caller::Workstation => held.is_idle() || share > own + 1,
                Caller::Drone | Caller::Admin => held.is_idle(),
            }
        };
        let candidates = table.held.iter().filter(|&(&other, held)| {
            let rival = if alone { held.holder == holder } else { held.holder.caller() == caller };
            other != id && rival && may_go(held)
        });
        // A stranger with a request is as slow as its body: only its age counts.
        let rank = |(id, held): &(&u64, &Held)| {
            let idle = caller != Caller::Stranger && held.is_idle();
            let quiet_since = held.state.quiet_since.load(Ordering::Relaxed);
            (idle, many.get(&held.holder).copied(), Reverse((quiet_since, **id)))
        };
        let first = candidates.max_by_key(rank).map(|(&id, _)| id);
        self.0.turned_away[caller as usize].fetch_add(1, Ordering::Relaxed);
        let gone = first.and_then(|id| table.held.remove(&id)).ok_or(Full(caller))?;
        gone.state.given_up.cancel();
        Ok(())
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Held {
    fn is_idle(&self) -> bool {
        self.state.requests.load(Ordering::Relaxed) == 0
    }
}

impl Place {
    /// Waits until the connection has to make room for another one.
    pub(crate) async fn given_up(&self) {
        self.state.given_up.cancelled().await;
    }

    /// A request proved whose the connection is.
    ///
    /// # Errors
    /// That budget is full of connections with requests.
    pub(crate) fn proved(&self, holder: Holder) -> Result<(), Full> {
        let mut table = self.places.table();
        let current = match table.held.get(&self.id).map(|held| held.holder) {
            // It gave its place up and ends.
            None => return Ok(()),
            Some(current) => current,
        };
        let known = matches!(current, Holder::Drone(_) | Holder::Admin);
        // Who has a credential may fetch packages, too.
        if current == holder || (known && matches!(holder, Holder::Workstation(_))) {
            return Ok(());
        }
        self.places.make_room(&mut table, holder, self.id)?;
        if let Some(held) = table.held.get_mut(&self.id) {
            held.holder = holder;
        }
        Ok(())
    }

    /// The connection is a stranger's again, since it brings requests of many.
    pub(crate) fn is_strangers(&self, origin: Origin) {
        let holder = Holder::Stranger(origin);
        let mut table = self.places.table();
        if table.held.get(&self.id).is_some_and(|held| held.holder != holder)
            && self.places.make_room(&mut table, holder, self.id).is_ok()
            && let Some(held) = table.held.get_mut(&self.id)
        {
            held.holder = holder;
        }
    }

    /// A request's head has come: until the value is dropped it is being answered.
    pub(crate) fn answering(self: &Arc<Self>) -> Answering {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.stir();
        Answering(self.clone())
    }

    fn stir(&self) {
        self.state.quiet_since.store(self.places.now(), Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.table().held.remove(&self.id);
    }
}

/// A request that is being answered.
pub(crate) struct Answering(Arc<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.stir();
        self.0.state.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
