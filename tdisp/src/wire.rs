//! Reading and writing the integers and byte strings that every wire format here is made of.
//!
//! All formats are little-endian unless a method says `be`. A [`Reader`] never panics and never reads past
//! its input; [`Reader::all`] is the one place where leftover bytes are refused.

use alloc::vec::Vec;

/// Why bytes are not what they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends inside a field.
    #[error("{what}: {need} bytes wanted, {have} left")]
    Truncated {
        /// The field.
        what: &'static str,
        /// Bytes the field takes.
        need: usize,
        /// Bytes that were left.
        have: usize,
    },
    /// Bytes are left over after the last field.
    #[error("{extra} bytes left over after the last field")]
    Trailing {
        /// How many.
        extra: usize,
    },
    /// A field has a value that its format does not allow.
    #[error("{what} is {found:#x}, wanted {wanted}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What would have been right.
        wanted: &'static str,
    },
}

/// A cursor over received bytes.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Decodes the whole of `bytes` with `decode`; leftover bytes are an error.
    pub fn all<T>(
        bytes: &'a [u8],
        decode: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut reader = Self::new(bytes);
        let value = decode(&mut reader)?;
        match reader.remaining() {
            0 => Ok(value),
            extra => Err(DecodeError::Trailing { extra }),
        }
    }

    /// Bytes consumed so far.
    pub fn consumed(&self) -> usize {
        self.at
    }

    /// Bytes not consumed yet.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The next `need` bytes.
    pub fn take(&mut self, need: usize, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let have = self.remaining();
        let end = self.at.checked_add(need).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or(DecodeError::Truncated { what, need, have })?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// Everything that is left; may be empty.
    pub fn rest(&mut self) -> &'a [u8] {
        let rest = &self.bytes[self.at..];
        self.at = self.bytes.len();
        rest
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, what)?);
        Ok(array)
    }

    /// One byte.
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array(what)?))
    }

    /// Three bytes.
    pub fn u24(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        let [a, b, c] = self.array(what)?;
        Ok(u32::from_le_bytes([a, b, c, 0]))
    }

    /// Four bytes.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Four bytes, most significant first.
    pub fn u32_be(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Skips `need` reserved bytes: ignored on receive, whatever they hold.
    pub fn reserved(&mut self, need: usize) -> Result<(), DecodeError> {
        self.take(need, "reserved").map(drop)
    }
}

/// Appends fields to a byte vector.
pub trait Write {
    /// One byte.
    fn u8(&mut self, value: u8);
    /// Two bytes.
    fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }
    /// The low three bytes of `value`.
    fn u24(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes()[..3]);
    }
    /// Four bytes.
    fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }
    /// Four bytes, most significant first.
    fn u32_be(&mut self, value: u32) {
        self.bytes(&value.to_be_bytes());
    }
    /// Eight bytes.
    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }
    /// A byte string as it is.
    fn bytes(&mut self, value: &[u8]);
    /// `count` zero bytes: reserved fields and padding.
    fn zeros(&mut self, count: usize);
}

impl Write for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }
    fn bytes(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
    fn zeros(&mut self, count: usize) {
        self.resize(self.len() + count, 0);
    }
}

/// An integer on the wire whose values have names but whose unknown values are values too.
///
/// `open_enum! { /// doc pub struct Code(u8) { /// doc OK = 0, … } }` makes a newtype with one constant a
/// name; its `Debug` and `Display` print the name, or the number where there is none.
#[macro_export]
macro_rules! open_enum {
    ($(#[$meta:meta])* $vis:vis struct $name:ident($int:ty) { $($(#[$vmeta:meta])* $value:ident = $number:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis struct $name(pub $int);
        impl $name {
            $($(#[$vmeta])* $vis const $value: Self = Self($number);)*
            /// The standard's name of this value, if it has one.
            $vis fn name(self) -> Option<&'static str> {
                match self { $(Self::$value => Some(stringify!($value)),)* _ => None }
            }
        }
        impl ::core::fmt::Display for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{:#x}", self.0),
                }
            }
        }
        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    open_enum! {
        /// For the test.
        struct Fruit(u8) { /// A.
            APPLE = 1 }
    }

    #[test]
    fn integers_come_back_as_they_were_written() {
        let mut out = Vec::new();
        out.u8(1);
        out.u16(0x0203);
        out.u24(0x04_0506);
        out.u32(0x0708_090a);
        out.u32_be(0x0b0c_0d0e);
        out.u64(0x0f10_1112_1314_1516);
        out.zeros(2);
        let read = Reader::all(&out, |r| {
            assert_eq!((r.u8("a")?, r.u16("b")?, r.u24("c")?), (1, 0x0203, 0x04_0506));
            assert_eq!((r.u32("d")?, r.u32_be("e")?), (0x0708_090a, 0x0b0c_0d0e));
            assert_eq!(r.u64("f")?, 0x0f10_1112_1314_1516);
            r.reserved(2)
        });
        assert_eq!(read, Ok(()));
    }

    #[test]
    fn a_field_longer_than_the_input_is_truncated_and_names_itself() {
        let error = Reader::new(&[1, 2]).u32("length").unwrap_err();
        assert_eq!(
            error,
            DecodeError::Truncated {
                what: "length",
                need: 4,
                have: 2
            }
        );
        assert!(Reader::new(&[1]).take(usize::MAX, "huge").is_err());
    }

    #[test]
    fn leftover_bytes_are_refused() {
        assert_eq!(
            Reader::all(&[1, 2, 3], |r| r.u8("a")),
            Err(DecodeError::Trailing { extra: 2 })
        );
    }

    #[test]
    fn an_unknown_value_of_an_open_enum_is_a_value() {
        assert_eq!(alloc::format!("{} {:?}", Fruit::APPLE, Fruit(7)), "APPLE 0x7");
    }
}
