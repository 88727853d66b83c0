//! How a struct of the model becomes what is stored, and back. The macros make a struct (or an enum) of the
//! same fields and both conversions; they name every field, so none is forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nixfleet_protocol::{BootId, CommandId, Commit, Epoch, HostId, InstanceId, JournalId, LockHash, Op, RunId, Time};

/// What is stored of a type of the model.
pub(crate) trait Frozen: Sized {
    /// The type of the model.
    type Live;
    /// To disk.
    fn freeze(live: &Self::Live) -> Self;
    /// From disk.
    fn thaw(self) -> Self::Live;
}

macro_rules! as_it_is {
    ($($type:ty),* $(,)?) => {$(
        impl Frozen for $type {
            type Live = Self;

            fn freeze(live: &Self) -> Self {
                live.clone()
            }

            fn thaw(self) -> Self {
                self
            }
        }
    )*};
}

// Ids and ops are stored as their text or their bytes, a time as milliseconds, a duration as seconds and
// nanoseconds.
as_it_is!(bool, u8, u32, u64, i32, f64, String, Duration);
as_it_is!(BootId, CommandId, Commit, Epoch, HostId, InstanceId, JournalId, LockHash, Op, RunId, Time);

impl<T: Frozen> Frozen for Option<T> {
    type Live = Option<T::Live>;

    fn freeze(live: &Self::Live) -> Self {
        live.as_ref().map(T::freeze)
    }

    fn thaw(self) -> Self::Live {
        self.map(T::thaw)
    }
}

impl<T: Frozen> Frozen for Vec<T> {
    type Live = Vec<T::Live>;

    fn freeze(live: &Self::Live) -> Self {
        live.iter().map(T::freeze).collect()
    }

    fn thaw(self) -> Self::Live {
        self.into_iter().map(T::thaw).collect()
    }
}

impl<T: Frozen + Clone> Frozen for Arc<[T]> {
    type Live = Arc<[T::Live]>;

    fn freeze(live: &Self::Live) -> Self {
        live.iter().map(T::freeze).collect()
    }

    fn thaw(self) -> Self::Live {
        self.iter().cloned().map(T::thaw).collect()
    }
}

impl<T: Frozen> Frozen for BTreeMap<Commit, T> {
    type Live = BTreeMap<Commit, T::Live>;

    fn freeze(live: &Self::Live) -> Self {
        live.iter().map(|(commit, value)| (commit.clone(), T::freeze(value))).collect()
    }

    fn thaw(self) -> Self::Live {
        self.into_iter().map(|(commit, value)| (commit, value.thaw())).collect()
    }
}

/// `Name = path::to::Live { field: Type, …; skip field, … }`: skipped fields come back as their default.
macro_rules! frozen_structs {
    ($($name:ident = $live:path { $($field:ident: $type:ty),* $(,)? $(; skip $($skipped:ident),*)? })*) => {$(
        #[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
        pub(crate) struct $name {
            $($field: $type,)*
        }

        impl Frozen for $name {
            type Live = $live;

            fn freeze(live: &Self::Live) -> Self {
                type Live = $live;
                let Live { $($field,)* $($($skipped: _,)*)? } = live;
                Self { $($field: Frozen::freeze($field),)* }
            }

            fn thaw(self) -> Self::Live {
                type Live = $live;
                Live { $($field: self.$field.thaw(),)* $($($skipped: Default::default(),)*)? }
            }
        }
    )*};
}

/// `Name = path::to::Live { Variant, … }`: the order is what is on disk. New ones go to the end.
macro_rules! frozen_enums {
    ($($name:ident = $live:path { $($variant:ident),* $(,)? })*) => {$(
        #[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
        pub(crate) enum $name {
            $($variant,)*
        }

        impl Frozen for $name {
            type Live = $live;

            fn freeze(live: &Self::Live) -> Self {
                type Live = $live;
                match live {
                    $(Live::$variant => Self::$variant,)*
                }
            }

            fn thaw(self) -> Self::Live {
                type Live = $live;
                match self {
                    $(Self::$variant => Live::$variant,)*
                }
            }
        }
    )*};
}

pub(super) use {frozen_enums, frozen_structs};
