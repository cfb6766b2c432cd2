//! Enums that are the value of a key: each name is written once, for sweep files, records and messages alike.

/// Defines an enum whose variants have names, with serde under those names.
macro_rules! named {
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

/// [`named`] for enums that are the value of a key.
macro_rules! choice {
    ($(#[$doc:meta])* $type:ident { $($body:tt)+ }) => {
        $crate::spec::choice::named!($(#[$doc])* $type { $($body)+ });

        impl $crate::spec::value::Field for $type {
            fn to_value(&self) -> $crate::spec::Value {
                $crate::spec::Value::Text(self.name().to_owned())
            }
            fn from_value(value: &$crate::spec::Value) -> Option<Self> {
                match value { $crate::spec::Value::Text(name) => Self::from_name(name), _ => None }
            }
        }
    };
}

pub(super) use {choice, named};
