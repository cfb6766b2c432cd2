//! Enums that are the value of a key: each name is written once, for sweep files, records and messages alike.

/// Defines an enum whose variants have names, with serde under those names.
macro_rules! named_enum {
    ($(#[$doc:meta])* $type:ident { $($(#[$about:meta])* $variant:ident = $name:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub enum $type {
            $($(#[$about])* #[serde(rename = $name)] $variant),+
        }

        impl $type {
            /// The names of all variants in sweep files.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// The name in sweep files.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// The variant called `name` in sweep files.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }
    };
}

/// [`named_enum`] for enums that are the value of a key.
macro_rules! choice {
    ($(#[$doc:meta])* $type:ident { $($body:tt)+ }) => {
        $crate::spec::named_enum!($(#[$doc])* $type { $($body)+ });

        impl $crate::spec::Field for $type {
            fn to_value(&self) -> $crate::spec::Value {
                $crate::spec::Value::Text(self.name().to_owned())
            }
            fn from_value(value: &$crate::spec::Value) -> Option<Self> {
                match value { $crate::spec::Value::Text(name) => Self::from_name(name), _ => None }
            }
        }
    };
}

pub(crate) use {choice, named_enum};

/// For `skip_serializing_if`: a key that came later is written only where it differs from its default, so that identities
/// and files of sweeps that do not use it stay as they are.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
