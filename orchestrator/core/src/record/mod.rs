//! The format of the journal and the saved state, in types of its own: the API's types may change, but what
//! was written must stay readable.
//!
//! In memory, events and the state have the API's types. `#[serde(with = "crate::record")]` at a field writes
//! it as the type of this module that corresponds to it, and reads it back from that. When a type of the API
//! changes, the conversion does not compile until it is decided how the change is recorded. The types here
//! only change in ways that leave every old journal readable (`tests/rules/golden.rs`): new fields have a
//! default, old fields stay. Unknown fields are ignored.

mod artifact;
mod attempt;
mod base;
mod drone;
pub(crate) mod plan;
mod profile;
mod reply;
mod version;

pub(crate) use attempt::Rejection;
pub(crate) use drone::Offline;
pub(crate) use version::{Body, EDGES_AS_LISTS, FACTS, versioned};

use crate::shared::Shared;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use swarm_common::{cpv::Cpv, digest::Digest, id::*, name::Name, state::*, time::TimeMs};

/// A type in memory that is recorded as another type.
pub(crate) trait Recorded: Sized {
    /// The type that is written and read.
    type As;

    /// Converts to the recorded form.
    fn record(&self) -> Self::As;

    /// Converts from the recorded form.
    fn restore(written: Self::As) -> Self;
}

/// Serialises the recorded form of a value.
pub(crate) fn serialize<T, S>(value: &T, to: S) -> Result<S::Ok, S::Error>
where
    T: Recorded<As: Serialize>,
    S: Serializer,
{
    value.record().serialize(to)
}

/// Deserialises a value from its recorded form.
pub(crate) fn deserialize<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: Recorded<As: Deserialize<'de>>,
    D: Deserializer<'de>,
{
    T::As::deserialize(from).map(T::restore)
}

/// Whether the value is the one that a missing field stands for.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Implements [`Recorded`] for types that are recorded unchanged. No type of the API may be among them.
macro_rules! as_they_are {
    ($($type:ty)*) => {$(
        impl Recorded for $type {
            type As = Self;

            fn record(&self) -> Self {
                self.clone()
            }

            fn restore(written: Self) -> Self {
                written
            }
        }
    )*};
}

as_they_are! {
    bool u8 u32 u64 f64 String
    Cpv Digest Name TimeMs RunId PackageId AttemptId DroneId
    FailureClass FailureCause Phase
}

/// Defines the recorded forms of structs. Each has the fields of the struct that it records.
macro_rules! structs {
    ($($(#[$meta:meta])* $name:ident of $source:ty { $($(#[$of_field:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub(crate) struct $name {
            $($(#[$of_field])* pub(super) $field: $type,)*
        }

        impl $crate::record::Recorded for $source {
            type As = $name;

            fn record(&self) -> $name {
                let Self { $($field),* } = self;
                $name { $($field: $crate::record::Recorded::record($field)),* }
            }

            fn restore(written: $name) -> Self {
                Self { $($field: $crate::record::Recorded::restore(written.$field)),* }
            }
        }
    )*};
}
use structs;

/// Defines the recorded forms of enums. For a variant with a value, the value is recorded.
macro_rules! enums {
    ($($(#[$meta:meta])* $name:ident of $source:ty {
        $($(#[$of_variant:meta])* $variant:ident $(($value:ident: $type:ty))? $({ $($field:ident: $of:ty),* })?,)*
    })*) => {$(
        #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
        $(#[$meta])*
        pub(crate) enum $name {
            $($(#[$of_variant])* $variant $(($type))? $({ $($field: $of),* })?,)*
        }

        impl $crate::record::Recorded for $source {
            type As = $name;

            fn record(&self) -> $name {
                match self {
                    $(Self::$variant $(($value))? $({ $($field),* })? => $name::$variant
                        $(($crate::record::Recorded::record($value)))?
                        $({ $($field: $crate::record::Recorded::record($field)),* })?,)*
                }
            }

            fn restore(written: $name) -> Self {
                match written {
                    $($name::$variant $(($value))? $({ $($field),* })? => Self::$variant
                        $(($crate::record::Recorded::restore($value)))?
                        $({ $($field: $crate::record::Recorded::restore($field)),* })?,)*
                }
            }
        }
    )*};
}
use enums;

impl<T: Recorded> Recorded for Vec<T> {
    type As = Vec<T::As>;

    fn record(&self) -> Self::As {
        self.iter().map(T::record).collect()
    }

    fn restore(written: Self::As) -> Self {
        written.into_iter().map(T::restore).collect()
    }
}

impl<T: Recorded> Recorded for Option<T> {
    type As = Option<T::As>;

    fn record(&self) -> Self::As {
        self.as_ref().map(T::record)
    }

    fn restore(written: Self::As) -> Self {
        written.map(T::restore)
    }
}

impl<T: Recorded> Recorded for Box<T> {
    type As = Box<T::As>;

    fn record(&self) -> Self::As {
        Box::new((**self).record())
    }

    fn restore(written: Self::As) -> Self {
        Self::new(T::restore(*written))
    }
}

impl<T: Recorded> Recorded for Shared<T> {
    type As = T::As;

    fn record(&self) -> Self::As {
        (**self).record()
    }

    fn restore(written: Self::As) -> Self {
        T::restore(written).into()
    }
}

impl<T: Ord + Clone> Recorded for BTreeSet<T> {
    type As = Self;

    fn record(&self) -> Self {
        self.clone()
    }

    fn restore(written: Self) -> Self {
        written
    }
}

impl<K: Ord + Clone, T: Recorded> Recorded for BTreeMap<K, T> {
    type As = BTreeMap<K, T::As>;

    fn record(&self) -> Self::As {
        self.iter().map(|(key, value)| (key.clone(), value.record())).collect()
    }

    fn restore(written: Self::As) -> Self {
        written.into_iter().map(|(key, value)| (key, T::restore(value))).collect()
    }
}

impl<A: Recorded, B: Recorded> Recorded for (A, B) {
    type As = (A::As, B::As);

    fn record(&self) -> Self::As {
        (self.0.record(), self.1.record())
    }

    fn restore(written: Self::As) -> Self {
        (A::restore(written.0), B::restore(written.1))
    }
}
