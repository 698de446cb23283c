//! Fields of a message as they are found: name, place, value, meaning.
//!
//! The codecs of [`tdisp::spdm::msg`] refuse a message that is wrong. A person who debugs wants to see it all the same,
//! up to where it goes wrong and with the place of everything, so that messages are read a second time here: by a
//! [`Walk`], which takes field after field and keeps what it took, whatever the next one brings. What the codecs say is
//! shown beside it.

use std::ops::Range;

use tdisp::wire::{DecodeError, Reader};

/// One field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The specification's name.
    pub name: String,
    /// Which bytes of the message it is.
    pub at: Range<usize>,
    /// Its value.
    pub value: Value,
    /// What the value stands for; empty where it stands for itself.
    pub meaning: String,
    /// What it is made of.
    pub inside: Vec<Field>,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer, printed with as many digits as the field has.
    Int(u64),
    /// A byte string: the bytes at the field's place.
    Bytes(Vec<u8>),
    /// Only what is inside.
    Group,
}

/// Takes the fields of one message, one after the other.
#[derive(Debug)]
pub struct Walk<'a> {
    reader: Reader<'a>,
    base: usize,
    fields: Vec<Field>,
}

impl<'a> Walk<'a> {
    /// Starts at the first byte; `base` is what places are counted from.
    pub fn new(bytes: &'a [u8], base: usize) -> Self {
        Self {
            reader: Reader::new(bytes),
            base,
            fields: Vec::new(),
        }
    }

    /// What was taken.
    pub fn into_fields(self) -> Vec<Field> {
        self.fields
    }

    /// How many bytes were taken.
    pub fn consumed(&self) -> usize {
        self.reader.consumed()
    }

    /// How many are left.
    pub fn remaining(&self) -> usize {
        self.reader.remaining()
    }

    /// One byte.
    pub fn u8(&mut self, name: &'static str) -> Result<u8, DecodeError> {
        let value = self.reader.u8(name)?;
        self.push(name, 1, Value::Int(value.into()));
        Ok(value)
    }

    /// Two bytes.
    pub fn u16(&mut self, name: &'static str) -> Result<u16, DecodeError> {
        let value = self.reader.u16(name)?;
        self.push(name, 2, Value::Int(value.into()));
        Ok(value)
    }

    /// Three bytes.
    pub fn u24(&mut self, name: &'static str) -> Result<u32, DecodeError> {
        let value = self.reader.u24(name)?;
        self.push(name, 3, Value::Int(value.into()));
        Ok(value)
    }

    /// Four bytes.
    pub fn u32(&mut self, name: &'static str) -> Result<u32, DecodeError> {
        let value = self.reader.u32(name)?;
        self.push(name, 4, Value::Int(value.into()));
        Ok(value)
    }

    /// Eight bytes.
    pub fn u64(&mut self, name: &'static str) -> Result<u64, DecodeError> {
        let value = self.reader.u64(name)?;
        self.push(name, 8, Value::Int(value));
        Ok(value)
    }

    /// A byte string.
    pub fn bytes(&mut self, name: &'static str, size: usize) -> Result<&'a [u8], DecodeError> {
        let taken = self.reader.take(size, name)?;
        self.push(name, size, Value::Bytes(taken.to_vec()));
        Ok(taken)
    }

    /// Everything that is left; no field if nothing is.
    pub fn rest(&mut self, name: &'static str) -> &'a [u8] {
        let rest = self.reader.rest();
        if !rest.is_empty() {
            self.push(name, rest.len(), Value::Bytes(rest.to_vec()));
        }
        rest
    }

    /// Reserved bytes: a field only if they are not zero.
    pub fn reserved(&mut self, size: usize) -> Result<(), DecodeError> {
        let taken = self.reader.take(size, "Reserved")?;
        if taken.iter().any(|byte| *byte != 0) {
            self.push("Reserved", size, Value::Bytes(taken.to_vec()));
            self.means("not zero");
        }
        Ok(())
    }

    /// Says what the last field stands for.
    pub fn means(&mut self, meaning: impl Into<String>) {
        if let Some(last) = self.fields.last_mut() {
            last.meaning = meaning.into();
        }
    }

    /// Takes fields that belong together. What was taken before an error stays.
    pub fn group<T>(
        &mut self,
        name: impl Into<String>,
        take: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let start = self.reader.consumed();
        let outside = std::mem::take(&mut self.fields);
        let result = take(self);
        let inside = std::mem::replace(&mut self.fields, outside);
        self.fields.push(Field {
            name: name.into(),
            at: self.base + start..self.base + self.reader.consumed(),
            value: Value::Group,
            meaning: String::new(),
            inside,
        });
        result
    }

    /// Takes what is in the last field, a byte string, apart. What cannot be read there is said, and is no error here.
    pub fn inside(&mut self, take: impl FnOnce(&mut Walk<'_>) -> Result<(), DecodeError>) {
        let Some(last) = self.fields.last_mut() else {
            return;
        };
        let Value::Bytes(bytes) = &last.value else { return };
        let mut walk = Walk::new(bytes, last.at.start);
        let result = take(&mut walk);
        let left = walk.remaining();
        let inside = walk.into_fields();
        match result {
            Err(error) => note(&mut last.meaning, &error.to_string()),
            Ok(()) if left > 0 => note(&mut last.meaning, &format!("{left} bytes left over")),
            Ok(()) => {}
        }
        last.inside = inside;
    }

    /// Where the next field begins.
    pub fn place(&self) -> usize {
        self.base + self.reader.consumed()
    }

    /// Everything that is left, without taking it.
    pub fn peek(&self) -> &'a [u8] {
        self.reader.clone().rest()
    }

    /// Takes everything that is left as `fields`, whose places are counted from the first byte of it; it is at `base`.
    pub fn adopt(&mut self, mut fields: Vec<Field>, base: usize) {
        self.reader.rest();
        shift(&mut fields, base);
        self.fields.append(&mut fields);
    }

    /// The last field.
    pub fn last(&mut self) -> Option<&mut Field> {
        self.fields.last_mut()
    }

    fn push(&mut self, name: &str, size: usize, value: Value) {
        let end = self.base + self.reader.consumed();
        self.fields.push(Field {
            name: name.into(),
            at: end - size..end,
            value,
            meaning: String::new(),
            inside: Vec::new(),
        });
    }
}

/// Moves fields, which count from a message's first byte, to where the message is.
pub fn shift(fields: &mut [Field], by: usize) {
    for field in fields {
        field.at = field.at.start + by..field.at.end + by;
        shift(&mut field.inside, by);
    }
}

/// Adds to what a field means.
pub fn note(meaning: &mut String, more: &str) {
    if !meaning.is_empty() {
        meaning.push_str("; ");
    }
    meaning.push_str(more);
}

/// Looks fields up by name.
pub trait Fields {
    /// The first field of that name; not inside others.
    fn field(&self, name: &str) -> Option<&Field>;

    /// The value of an integer field.
    fn int(&self, name: &str) -> Option<u64> {
        match self.field(name)?.value {
            Value::Int(value) => Some(value),
            _ => None,
        }
    }

    /// The bytes of a byte string.
    fn string(&self, name: &str) -> Option<&[u8]> {
        match &self.field(name)?.value {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

impl Fields for [Field] {
    fn field(&self, name: &str) -> Option<&Field> {
        self.iter().find(|field| field.name == name)
    }
}
