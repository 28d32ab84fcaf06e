//! The one task that owns the swarm's state.
