//! The roles of callers.

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Anyone,
    Drone,
    Admin,
    AdminOrDrone,
}
