//! Reading what agents of every age send: a field that is junk is as good as absent, and never the reason
//! to lose the rest of a message.

use std::borrow::Cow;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

const NULL: &str = "null";

/// A field that is absent when it is null, empty or of a wrong type or form.
pub fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    // Null is what most absent fields are, and an error with its text costs more than all the rest of a field.
    Ok(if raw.get() == NULL { None } else { serde_json::from_str::<T>(raw.get()).ok() })
}

/// A text field that is absent when it is null, empty, of another type, or does not parse.
pub fn parsed<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(borrowed(raw).and_then(|text| text.parse().ok()))
}

/// A text as it stands in the message; copied only where it has escapes.
fn borrowed(raw: &RawValue) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    if raw.get() == NULL { None } else { serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0) }
}

/// A text field, empty when it is null or of another type.
pub fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str::<String>(raw.get()).unwrap_or_default())
}

/// A list without those of its items that are junk; empty when it is null or no list.
pub fn list<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    let items = serde_json::from_str::<Vec<&RawValue>>(raw.get()).unwrap_or_default();
    Ok(items.into_iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect())
}

/// As [`list`], but absent stays distinguishable from empty.
pub fn optional_list<'de, D, T>(deserializer: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: for<'a> Deserialize<'a>,
{
    let raw = <&RawValue>::deserialize(deserializer)?;
    let items = if raw.get() == NULL { None } else { serde_json::from_str::<Vec<&RawValue>>(raw.get()).ok() };
    Ok(items.map(|items| items.into_iter().filter_map(|item| serde_json::from_str(item.get()).ok()).collect()))
}

/// A field that takes its default when it is null or of a wrong type or form.
pub fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + for<'a> Deserialize<'a>,
{
    optional(deserializer).map(Option::unwrap_or_default)
}
