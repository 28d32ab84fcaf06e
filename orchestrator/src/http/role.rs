//! The roles of callers.

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Anyone, without a credential.
    Anyone,
    /// Drones.
    Drone,
    /// The admin.
    Admin,
    /// The admin and drones.
    AdminOrDrone,
}
