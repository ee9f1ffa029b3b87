//! Reads the arguments of a message into values of Rust, and tells missing, repeated and mistyped arguments apart.

use alloc::borrow::ToOwned;
use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Message, TypedData};

/// A type that the value of an argument can have.
pub trait FromArg<'b>: Sized {
    /// The expected value in words, for errors: `an integer`.
    const EXPECTED: &'static str;

    /// Returns the value, or `None` if it has another type or is out of range.
    fn from_value(value: TypedData<'b>) -> Option<Self>;

    /// Returns the value of an argument that is missing or has no value; by default there is none, which is an error.
    fn absent() -> Option<Self> {
        None
    }
}

/// A message whose arguments are known; [`from_message!`](crate::from_message) implements it.
pub trait FromMessage<'b>: Sized {
    /// The name of the `spoe-message` section.
    const NAME: &'static str;

    /// Reads the arguments.
    ///
    /// # Errors
    /// An argument is missing, repeated or has another type.
    fn from_message(message: &Message<'b>) -> Result<Self, BadArg>;
}

/// The error of an argument that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadArg {
    /// The name of the message.
    pub message: String,
    /// The name of the argument; empty for one without a name.
    pub arg: String,
    /// The fault of the argument.
    pub fault: ArgFault,
}

/// The fault of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgFault {
    /// The message has no such argument: HAProxy's configuration names none.
    Missing,
    /// The argument has no value, because HAProxy's sample is absent.
    NoValue,
    /// The message has the argument more than once.
    Repeated,
    /// The value has another type, or is out of range.
    Mistyped {
        /// The expected value, in words.
        expected: &'static str,
        /// The type of the value that was found, as SPOE.txt names it.
        found: &'static str,
    },
}

impl fmt::Display for BadArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, arg, fault } = self;
        write!(f, "the argument \"{}\" of the message {} ", arg.escape_debug(), message.escape_debug())?;
        match fault {
            ArgFault::Missing => f.write_str("is missing"),
            ArgFault::NoValue => f.write_str("has no value"),
            ArgFault::Repeated => f.write_str("is there more than once"),
            ArgFault::Mistyped { expected, found } => write!(f, "is of the type {found}; expected {expected}"),
        }
    }
}

impl core::error::Error for BadArg {}

impl<'b> Message<'b> {
    /// Returns the value of the argument called `name`, or of the one without a name for `""`. With an `Option`, an argument that is
    /// missing or has no value is `None`.
    ///
    /// ```
    /// use core::net::IpAddr;
    /// use spoa_core::wire::{MessageEncoder, Messages};
    ///
    /// let mut payload = Vec::new();
    /// MessageEncoder::begin(&mut payload, "check").arg("tries", 3_i64)?;
    /// let message = Messages::decode(&payload)?.next().expect("there is a message");
    /// assert_eq!(message.get::<u32>("tries")?, 3);
    /// assert_eq!(message.get::<Option<IpAddr>>("ip")?, None);
    /// let error = message.get::<IpAddr>("ip").expect_err("there is no such argument");
    /// assert_eq!(error.to_string(), "the argument \"ip\" of the message check is missing");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The argument is missing, has no value, is there more than once, or has another type than `T`.
    pub fn get<T: FromArg<'b>>(&self, name: &str) -> Result<T, BadArg> {
        let bad =
            |fault| BadArg { message: String::from_utf8_lossy(self.name()).into_owned(), arg: name.to_owned(), fault };
        let mut values = self.args().filter(|(arg, _)| *arg == name.as_bytes()).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => T::absent().ok_or_else(|| bad(ArgFault::Missing)),
            (Some(_), Some(_)) => Err(bad(ArgFault::Repeated)),
            (Some(TypedData::Null), None) => T::absent().ok_or_else(|| bad(ArgFault::NoValue)),
            (Some(value), None) => T::from_value(value)
                .ok_or_else(|| bad(ArgFault::Mistyped { expected: T::EXPECTED, found: value.type_name() })),
        }
    }

    /// Returns the message as `T`, or `None` if it has another name.
    ///
    /// # Errors
    /// An argument cannot be used.
    pub fn parse<T: FromMessage<'b>>(&self) -> Result<Option<T>, BadArg> {
        if self.name() == T::NAME.as_bytes() { T::from_message(self).map(Some) } else { Ok(None) }
    }
}

/// An argument that may be missing or have no value.
impl<'b, T: FromArg<'b>> FromArg<'b> for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: TypedData<'b>) -> Option<Self> {
        T::from_value(value).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

macro_rules! from_arg {
    ($($type:ty: $expected:literal, $value:ident => $read:expr;)*) => {$(
        impl<'b> FromArg<'b> for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value($value: TypedData<'b>) -> Option<Self> {
                $read
            }
        }
    )*};
}
from_arg! {
    bool: "a boolean", value => value.as_bool();
    i64: "an integer", value => value.as_i64();
    i32: "an integer of 32 bits", value => value.as_i64()?.try_into().ok();
    u32: "an integer from 0 to 4294967295", value => value.as_i64()?.try_into().ok();
    u16: "an integer from 0 to 65535", value => value.as_i64()?.try_into().ok();
    u64: "an integer of 0 or more", value => match value {
        TypedData::Uint64(value) => Some(value),
        value => value.as_i64()?.try_into().ok(),
    };
    IpAddr: "an address", value => value.as_ip();
    Ipv4Addr: "an IPv4 address", value => if let TypedData::Ipv4(address) = value { Some(address) } else { None };
    Ipv6Addr: "an IPv6 address", value => if let TypedData::Ipv6(address) = value { Some(address) } else { None };
    &'b str: "a string in UTF-8", value => value.as_str();
    &'b [u8]: "a string or binary data", value => value.as_bytes();
    String: "a string in UTF-8", value => value.as_str().map(ToOwned::to_owned);
    TypedData<'b>: "a value", value => Some(value);
}

/// Defines a struct that holds the arguments of a message, and its [`FromMessage`].
///
/// An argument has the name of its field, unless another one follows the type. Fields have the types of
/// [`FromArg`].
///
/// ```
/// use core::net::IpAddr;
/// use spoa_core::wire::{MessageEncoder, Messages};
///
/// spoa_core::from_message! {
///     /// `args ip=src user=req.hdr(x-user) path`
///     #[derive(Debug, PartialEq)]
///     struct Check<'m> = "check" {
///         ip: IpAddr,
///         user: Option<&'m str>,
///         path: &'m [u8] = "",
///     }
/// }
///
/// let mut payload = Vec::new();
/// let ip = IpAddr::from([192, 0, 2, 1]);
/// MessageEncoder::begin(&mut payload, "check").arg("ip", ip)?.arg("", "/admin")?;
/// let message = Messages::decode(&payload)?.next().expect("there is a message");
/// assert_eq!(message.parse::<Check<'_>>()?, Some(Check { ip, user: None, path: b"/admin" }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[macro_export]
macro_rules! from_message {
    (@arg $field:ident) => { stringify!($field) };
    (@arg $field:ident $arg:literal) => { $arg };
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident<$life:lifetime> = $message:literal {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(= $arg:literal)?),* $(,)?
        }
    ) => {
        $(#[$meta])* $vis struct $name<$life> { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl<$life> $crate::wire::FromMessage<$life> for $name<$life> {
            const NAME: &'static str = $message;

            fn from_message(message: &$crate::wire::Message<$life>) -> Result<Self, $crate::wire::BadArg> {
                Ok(Self { $($field: message.get($crate::from_message!(@arg $field $($arg)?))?),* })
            }
        }
    };
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident = $message:literal {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty $(= $arg:literal)?),* $(,)?
        }
    ) => {
        $(#[$meta])* $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl<'m> $crate::wire::FromMessage<'m> for $name {
            const NAME: &'static str = $message;

            fn from_message(message: &$crate::wire::Message<'m>) -> Result<Self, $crate::wire::BadArg> {
                Ok(Self { $($field: message.get($crate::from_message!(@arg $field $($arg)?))?),* })
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::wire::{MessageEncoder, Messages};

    crate::from_message! {
        #[derive(Debug, PartialEq)]
        struct Login = "login" { user: String, tries: Option<u16>, ip: IpAddr = "src" }
    }

    fn login(args: &[(&str, TypedData<'_>)]) -> Result<Option<Login>, BadArg> {
        let mut payload = Vec::new();
        let mut encoder = MessageEncoder::begin(&mut payload, "login");
        for (name, value) in args {
            encoder.arg(name, *value).expect("there are few arguments");
        }
        Messages::decode(&payload).expect("it is a message").next().expect("there is one").parse()
    }

    #[test]
    fn each_fault_of_an_argument_is_told_apart() {
        let (user, ip) = (("user", TypedData::from("alice")), ("src", TypedData::Ipv4(Ipv4Addr::LOCALHOST)));
        let found = |tries| Ok(Some(Login { user: "alice".into(), tries, ip: Ipv4Addr::LOCALHOST.into() }));
        assert_eq!(login(&[user, ip]), found(None));
        assert_eq!(login(&[user, ("tries", TypedData::Null), ip]), found(None));
        assert_eq!(login(&[ip, ("tries", TypedData::Int64(3)), user]), found(Some(3)));
        for (args, error) in [
            (&[user][..], "the argument \"src\" of the message login is missing"),
            (&[("user", TypedData::Null), ip], "the argument \"user\" of the message login has no value"),
            (&[user, ip, user], "the argument \"user\" of the message login is there more than once"),
            (
                &[user, ip, ("tries", TypedData::Int64(-1))],
                "the argument \"tries\" of the message login is of the type INT64; expected an integer from 0 to 65535",
            ),
            (
                &[("user", TypedData::String(b"\xff")), ip],
                "the argument \"user\" of the message login is of the type STRING; expected a string in UTF-8",
            ),
        ] {
            assert_eq!(login(args).expect_err(error).to_string(), error);
        }
    }

    #[test]
    fn integers_are_read_over_their_whole_range() {
        fn read<'b, T: FromArg<'b>>(value: impl Into<TypedData<'b>>) -> Option<T> {
            T::from_value(value.into())
        }
        assert_eq!(read::<u64>(u64::MAX), Some(u64::MAX));
        assert_eq!(read::<i64>(u64::MAX), None);
        assert_eq!((read::<u32>(i64::from(u32::MAX)), read::<u32>(1_i64 << 32)), (Some(u32::MAX), None));
        assert_eq!((read::<i32>(i64::from(i32::MIN)), read::<i32>(i64::MIN)), (Some(i32::MIN), None));
        assert_eq!((read::<u64>(-1_i32), read::<bool>(1_i64)), (None, None));
    }
}
