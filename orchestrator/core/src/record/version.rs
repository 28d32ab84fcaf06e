//! The format version of written events.

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, marker::PhantomData};

/// The newest version. An event of a version after 1 has it as its first field, so that older versions refuse
/// it by name. A new kind of event needs no new version, because older versions refuse what they do not know,
/// but a kind whose form changes does.
const VERSION: u32 = FACTS;
/// The version of a plan whose edges are lists and not maps.
pub(crate) const EDGES_AS_LISTS: u32 = 2;
/// The version of an event whose reason is facts and not a sentence.
pub(crate) const FACTS: u32 = 3;

/// What [`versioned`] reads after it has checked the version.
pub(crate) trait Body: Sized {
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

/// Reads an event of any version up to [`VERSION`].
///
/// # Errors
/// The event cannot be parsed, or has a newer format version.
pub(crate) fn versioned<'de, T: Body, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Versioned(PhantomData))
}

struct Versioned<T>(PhantomData<T>);

impl<'de, T: Body> Visitor<'de> for Versioned<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        let mut first: Option<String> = map.next_key()?;
        if first.as_deref() == Some("version") {
            let version: u32 = map.next_value()?;
            if version > VERSION {
                return Err(A::Error::custom(format!("version {version}; this one knows up to {VERSION}")));
            }
            first = map.next_key()?;
        }
        T::read(MapAccessDeserializer::new(Rest { first, map }))
    }
}

/// A map whose first key has already been read. Nothing is buffered, since plans are large.
struct Rest<A> {
    first: Option<String>,
    map: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.first.take() {
            Some(key) => seed.deserialize(key.into_deserializer()).map(Some),
            None => self.map.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}
