//! JSON merge patch (RFC 7396): an absent field stays, an explicit null clears.

use serde::{Deserialize, Deserializer};

/// Reads a field that is present: `null` becomes `Some(None)`. With `#[serde(default)]` an absent one stays `None`.
///
/// # Errors
/// Those of the value itself.
pub fn present<'de, T, D>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::<T>::deserialize(deserializer).map(Some)
}
