//! Limits connections: their number, the size of a request's head, and how long a client may read nothing. Strangers,
//! workstations, drones and admins have separate budgets, so that a connection without a credential never
//! displaces one with a credential.
//!
//! A connection belongs to a stranger until a request on it proves who the caller is. If a budget is full,
//! the holder with the most connections loses the one that has been idle for longest. Drones and admins lose
//! only connections without a request in progress; without such a connection, the new one is refused.

use crate::config::Limits;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use swarm_common::{id::DroneId, state::Caller, wire::view::ConnectionsView};
use tokio_util::sync::CancellationToken;

/// Largest request head in bytes.
pub(crate) const HEAD_BYTES: usize = 64 * 1024;

/// Largest number of header lines in a request.
pub(crate) const HEADERS: usize = 64;

/// How long a client may read nothing. The kernel reports a socket as writable only when a third of its
/// buffer is free, which takes minutes on a slow line.
pub(crate) const STALLED: Duration = Duration::from_secs(600);

/// The source of connections for counting: an IPv4 address or an IPv6 /64, which one machine may use as a
/// whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    address: IpAddr,
    /// Whether several clients share the address: a trusted proxy, or this machine, which may run a proxy.
    shared: bool,
}

impl Origin {
    /// The origin of an address. `shared` is set if a known proxy uses it.
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// Not identified yet.
    Stranger(Origin),
    /// A client that downloaded published files.
    Workstation(Origin),
    Drone(DroneId),
    /// An admin, or a reader of the metrics.
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

    /// Whether a single holder may use only a part of the budget.
    fn is_bounded(self) -> bool {
        match self {
            Self::Stranger(origin) | Self::Workstation(origin) => !origin.shared,
            Self::Drone(_) => true,
            Self::Admin => false,
        }
    }
}

/// The budget of this kind of caller is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) Caller);

/// The table of all connections.
#[derive(Clone)]
pub(crate) struct ConnectionLimiter(Arc<Inner>);

struct Inner {
    /// The budgets in the order of [`Caller::ALL`].
    shares: [usize; 4],
    /// Maximum connections of one address or drone within a budget.
    each: usize,
    began: Instant,
    table: Mutex<Table>,
    turned_away: [AtomicU64; 4],
}

#[derive(Default)]
struct Table {
    next: u64,
    connections: BTreeMap<u64, OpenConnection>,
}

struct OpenConnection {
    holder: Holder,
    state: Arc<State>,
}

/// State of a connection that is accessed without locking the table.
struct State {
    /// Time of the last request's head or response's end, in microseconds since the start.
    quiet_since: AtomicU64,
    requests: AtomicU32,
    given_up: CancellationToken,
}

/// A connection's entry in the table. Freed when dropped.
pub(crate) struct ConnectionPermit {
    limiter: ConnectionLimiter,
    id: u64,
    state: Arc<State>,
}

impl ConnectionLimiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self(Arc::new(Inner {
            shares: std::array::from_fn(|n| Caller::ALL.get(n).map_or(1, |&caller| limits.share(caller))),
            each: limits.connections_per_address,
            began: Instant::now(),
            table: Mutex::default(),
            turned_away: Default::default(),
        }))
    }

    /// Registers an accepted connection. Always succeeds: if needed, the stranger that has been idle
    /// for longest is closed.
    pub(crate) fn take(&self, origin: Origin) -> Arc<ConnectionPermit> {
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
            table.connections.insert(id, OpenConnection { holder, state: state.clone() });
        } else {
            state.given_up.cancel();
        }
        drop(table);
        Arc::new(ConnectionPermit { limiter: self.clone(), id, state })
    }

    /// Numbers for status and metrics.
    pub(crate) fn view(&self) -> Vec<ConnectionsView> {
        let table = self.table();
        let of = |caller: Caller| {
            table.connections.values().filter(|connection| connection.holder.caller() == caller).count()
        };
        let rows = Caller::ALL.iter().zip(self.0.shares).zip(&self.0.turned_away);
        rows.map(|((&of_whom, limit), turned_away)| ConnectionsView {
            of: of_whom,
            open: of(of_whom) as u64,
            limit: limit as u64,
            turned_away: turned_away.load(Ordering::Relaxed),
        })
        .collect()
    }

    /// Closes another connection if `holder` may not have one more otherwise.
    fn make_room(&self, table: &mut Table, holder: Holder, id: u64) -> Result<(), Full> {
        let caller = holder.caller();
        let mut many: BTreeMap<Holder, usize> = BTreeMap::new();
        for (_, connection) in table
            .connections
            .iter()
            .filter(|&(&other, connection)| other != id && connection.holder.caller() == caller)
        {
            *many.entry(connection.holder).or_default() += 1;
        }
        let own = many.get(&holder).copied().unwrap_or(0);
        let alone = holder.is_bounded() && own >= self.0.each;
        if !alone && many.values().sum::<usize>() < self.0.shares[caller as usize] {
            return Ok(());
        }
        let may_go = |connection: &OpenConnection| {
            let share = many.get(&connection.holder).copied().unwrap_or(0);
            match caller {
                Caller::Stranger => true,
                Caller::Workstation => connection.is_idle() || share > own + 1,
                Caller::Drone | Caller::Admin => connection.is_idle(),
            }
        };
        let candidates = table.connections.iter().filter(|&(&other, connection)| {
            let rival =
                if alone { connection.holder == holder } else { connection.holder.caller() == caller };
            other != id && rival && may_go(connection)
        });
        // Strangers can prolong a request with a slow body, so only the age counts.
        let rank = |(id, connection): &(&u64, &OpenConnection)| {
            let idle = caller != Caller::Stranger && connection.is_idle();
            let quiet_since = connection.state.quiet_since.load(Ordering::Relaxed);
            (idle, many.get(&connection.holder).copied(), Reverse((quiet_since, **id)))
        };
        let first = candidates.max_by_key(rank).map(|(&id, _)| id);
        self.0.turned_away[caller as usize].fetch_add(1, Ordering::Relaxed);
        let gone = first.and_then(|id| table.connections.remove(&id)).ok_or(Full(caller))?;
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

impl OpenConnection {
    fn is_idle(&self) -> bool {
        self.state.requests.load(Ordering::Relaxed) == 0
    }
}

impl ConnectionPermit {
    /// Waits until this connection has to be closed to make room for another.
    pub(crate) async fn given_up(&self) {
        self.state.given_up.cancelled().await;
    }

    /// Records who the caller is, once a request has proved it.
    ///
    /// # Errors
    /// The budget is full, and none of its connections may be closed.
    pub(crate) fn proved(&self, holder: Holder) -> Result<(), Full> {
        let mut table = self.limiter.table();
        let current = match table.connections.get(&self.id).map(|connection| connection.holder) {
            // The connection lost its permit and is being closed.
            None => return Ok(()),
            Some(current) => current,
        };
        let has_credential = matches!(current, Holder::Drone(_) | Holder::Admin);
        // Drones and admins may fetch packages too.
        if current == holder || (has_credential && matches!(holder, Holder::Workstation(_))) {
            return Ok(());
        }
        self.limiter.make_room(&mut table, holder, self.id)?;
        if let Some(connection) = table.connections.get_mut(&self.id) {
            connection.holder = holder;
        }
        Ok(())
    }

    /// Counts the connection as a stranger's again, because it carries requests of several clients.
    pub(crate) fn is_strangers(&self, origin: Origin) {
        let holder = Holder::Stranger(origin);
        let mut table = self.limiter.table();
        if table.connections.get(&self.id).is_some_and(|connection| connection.holder != holder)
            && self.limiter.make_room(&mut table, holder, self.id).is_ok()
            && let Some(connection) = table.connections.get_mut(&self.id)
        {
            connection.holder = holder;
        }
    }

    /// Marks a request as in progress until the returned value is dropped.
    pub(crate) fn answering(self: &Arc<Self>) -> Answering {
        self.state.requests.fetch_add(1, Ordering::Relaxed);
        self.stir();
        Answering(self.clone())
    }

    fn stir(&self) {
        self.state.quiet_since.store(self.limiter.now(), Ordering::Relaxed);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limiter.table().connections.remove(&self.id);
    }
}

pub(crate) struct Answering(Arc<ConnectionPermit>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.stir();
        self.0.state.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
