//! How registers make a value, and back: encodings, word and byte order, strings, BCD.
//!
//! Modbus itself says only that a register is 16 bits, high byte first (Application Protocol V1.1b3, 4.2); everything above
//! one register is the device's habit, so it is stated per tag.

use crate::{
    engine::plan::Scale,
    tag::{DataType, StatusCode, Value},
};

/// The longest text in characters: what one read of 125 registers holds.
pub const MAX_TEXT: u16 = 250;

/// What the bits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Encoding {
    /// A whole register: zero is false, anything else true; true is written as 1.
    Bool,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
    /// Four decimal digits.
    Bcd16,
    /// Eight decimal digits.
    Bcd32,
    /// This many characters, two to a register, the first in the high byte; UTF-8, ended by a NUL, padded with NUL or space.
    Text(u16),
}

/// An encoding with its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// What the bits mean.
    pub encoding: Encoding,
    /// The least significant register comes first.
    pub swap_words: bool,
    /// The low byte of each register comes first.
    pub swap_bytes: bool,
}

/// Why a format or address cannot be used: what was found, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl Unusable {
    /// Both sentences.
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self { message: message.into(), help: help.into() }
    }
}

const NAMES: [(&str, Encoding); 11] = [
    ("bool", Encoding::Bool),
    ("u16", Encoding::U16),
    ("i16", Encoding::I16),
    ("u32", Encoding::U32),
    ("i32", Encoding::I32),
    ("u64", Encoding::U64),
    ("i64", Encoding::I64),
    ("f32", Encoding::F32),
    ("f64", Encoding::F64),
    ("bcd16", Encoding::Bcd16),
    ("bcd32", Encoding::Bcd32),
];

impl Format {
    /// The usual format, high word and high byte first.
    #[must_use]
    pub const fn plain(encoding: Encoding) -> Self {
        Self { encoding, swap_words: false, swap_bytes: false }
    }

    /// Reads `u16`, `f32:cdab`, `i64:ghefcdab`, `string:20`, `string:20:badc`.
    ///
    /// # Errors
    /// An unknown name or order, an order that the width does not have, a text length out of range.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let encoding =
            if name == "string" {
                let length = parts.next().and_then(|length| length.parse().ok());
                let length = length.filter(|length| (1..=MAX_TEXT).contains(length));
                Encoding::Text(length.ok_or_else(|| {
                    Unusable::new("a string needs its length in characters, 1 to 250", "for example `string:20`")
                })?)
            } else {
                let known = NAMES.iter().find(|(known, _)| *known == name);
                known
                    .ok_or_else(|| {
                        Unusable::new(
                            format!("unknown format `{name}`"),
                            "one of u16, i16, u32, i32, u64, i64, f32, f64, bool, bcd16, bcd32, string:N",
                        )
                    })?
                    .1
            };
        let mut format = Self::plain(encoding);
        if let Some(order) = parts.next() {
            (format.swap_words, format.swap_bytes) = order_of(encoding, order)?;
        }
        match parts.next() {
            Some(rest) => Err(Unusable::new(format!("`{rest}` does not belong here"), "a format is `name` or `name:order`")),
            None => Ok(format),
        }
    }

    /// What a tag of this type has when it states no format; `None` when that cannot be known.
    #[must_use]
    pub const fn default_for(data_type: DataType) -> Option<Self> {
        Some(Self::plain(match data_type {
            DataType::Boolean => Encoding::Bool,
            DataType::SByte | DataType::Int16 => Encoding::I16,
            DataType::Byte | DataType::UInt16 => Encoding::U16,
            DataType::Int32 => Encoding::I32,
            DataType::UInt32 => Encoding::U32,
            DataType::Int64 => Encoding::I64,
            DataType::UInt64 => Encoding::U64,
            DataType::Float => Encoding::F32,
            DataType::Double => Encoding::F64,
            _ => return None,
        }))
    }

    /// Registers of one element.
    #[must_use]
    pub const fn registers(self) -> u16 {
        match self.encoding {
            Encoding::Bool | Encoding::U16 | Encoding::I16 | Encoding::Bcd16 => 1,
            Encoding::U32 | Encoding::I32 | Encoding::F32 | Encoding::Bcd32 => 2,
            Encoding::U64 | Encoding::I64 | Encoding::F64 => 4,
            Encoding::Text(length) => length.div_ceil(2),
        }
    }

    /// Whether values of `data_type` can come from this format.
    ///
    /// # Errors
    /// Says which type or format would fit.
    pub fn fits(self, data_type: DataType, scaled: bool) -> Result<(), Unusable> {
        let floating = matches!(self.encoding, Encoding::F32 | Encoding::F64);
        let (fits, help) = match self.encoding {
            Encoding::Bool => (data_type == DataType::Boolean, "a bool is a tag of type Boolean"),
            Encoding::Text(_) => (data_type == DataType::String, "a string is a tag of type String"),
            _ if data_type == DataType::Boolean => {
                (false, "for a Boolean use the format bool (zero or not) or a bit: `holding:100.3`")
            }
            _ if floating && data_type.is_integer() && !scaled => {
                (false, "digits would be lost: use the type Float or Double, or a scale")
            }
            _ => (data_type.is_numeric(), "a number is a tag of a numeric type"),
        };
        let message = || format!("a tag of type {data_type} cannot have this format");
        if fits { Ok(()) } else { Err(Unusable::new(message(), help)) }
    }

    /// The value that `words` hold, exactly [`Format::registers`] of them.
    ///
    /// # Errors
    /// `BadTypeMismatch` when the bits are no value of the format (a BCD digit above nine, text that is not UTF-8),
    /// `BadOutOfRange` when the value is not one of `data_type` (NaN and infinities too).
    pub fn decode(self, words: &[u16], data_type: DataType, scale: Option<&Scale>) -> Result<Value, StatusCode> {
        let number = |raw: f64| {
            let value = scale.map_or(raw, |scale| scale.to_eu(raw));
            let value = if value.is_finite() { data_type.from_f64(value) } else { None };
            value.ok_or(StatusCode::BAD_OUT_OF_RANGE)
        };
        let integer = |raw: i128| {
            #[allow(clippy::cast_precision_loss)]
            let value = if scale.is_some() { return number(raw as f64) } else { data_type.from_i128(raw) };
            value.ok_or(StatusCode::BAD_OUT_OF_RANGE)
        };
        let bits = || self.bits(words);
        #[allow(clippy::cast_possible_truncation)]
        match self.encoding {
            Encoding::Bool => Ok(Value::Boolean(bits() != 0)),
            Encoding::U16 | Encoding::U32 | Encoding::U64 => integer(bits().into()),
            Encoding::I16 => integer((bits() as u16).cast_signed().into()),
            Encoding::I32 => integer((bits() as u32).cast_signed().into()),
            Encoding::I64 => integer(bits().cast_signed().into()),
            Encoding::F32 => number(f32::from_bits(bits() as u32).into()),
            Encoding::F64 => number(f64::from_bits(bits())),
            Encoding::Bcd16 => integer(from_bcd(bits(), 4)?),
            Encoding::Bcd32 => integer(from_bcd(bits(), 8)?),
            Encoding::Text(length) => self.text(words, usize::from(length)),
        }
    }

    /// Appends the registers of `value`, a value in engineering units.
    ///
    /// # Errors
    /// `BadOutOfRange` when the format cannot hold it, `BadTypeMismatch` when it is of another kind.
    pub fn encode(self, value: &Value, scale: Option<&Scale>, words: &mut Vec<u16>) -> Result<(), StatusCode> {
        let raw_type = match self.encoding {
            Encoding::Text(length) => {
                let text = value.as_str().ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
                return self.put_text(text, usize::from(length), words);
            }
            Encoding::Bool => {
                let value = value.as_bool().ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
                self.put(u64::from(value), words);
                return Ok(());
            }
            Encoding::U16 | Encoding::Bcd16 => DataType::UInt16,
            Encoding::I16 => DataType::Int16,
            Encoding::U32 | Encoding::Bcd32 => DataType::UInt32,
            Encoding::I32 => DataType::Int32,
            Encoding::U64 => DataType::UInt64,
            Encoding::I64 => DataType::Int64,
            Encoding::F32 => DataType::Float,
            Encoding::F64 => DataType::Double,
        };
        let raw = if let (None, Some(integer)) = (scale, value.as_i128()) {
            raw_type.from_i128(integer)
        } else {
            let number = value.as_f64().ok_or(StatusCode::BAD_TYPE_MISMATCH)?;
            let raw = scale.map_or(number, |scale| scale.to_raw(number));
            if raw.is_finite() { raw_type.from_f64(raw) } else { None }
        };
        let bits = match raw.ok_or(StatusCode::BAD_OUT_OF_RANGE)? {
            Value::Float(value) => u64::from(value.to_bits()),
            Value::Double(value) => value.to_bits(),
            integer => {
                let integer = integer.as_i128().unwrap_or_default();
                match self.encoding {
                    Encoding::Bcd16 => to_bcd(integer, 4)?,
                    Encoding::Bcd32 => to_bcd(integer, 8)?,
                    // Two's complement: the low bits are the register's.
                    #[allow(clippy::cast_possible_truncation)]
                    _ => integer.cast_unsigned() as u64,
                }
            }
        };
        self.put(bits, words);
        Ok(())
    }

    /// The registers as one number, the first the most significant unless swapped.
    fn bits(self, words: &[u16]) -> u64 {
        let join = |bits: u64, word: &u16| bits << 16 | u64::from(self.word(*word));
        if self.swap_words { words.iter().rev().fold(0, join) } else { words.iter().fold(0, join) }
    }

    fn put(self, bits: u64, words: &mut Vec<u16>) {
        let count = self.registers();
        for index in 0..count {
            let place = if self.swap_words { index } else { count - 1 - index };
            #[allow(clippy::cast_possible_truncation)]
            let word = (bits >> (16 * place)) as u16;
            words.push(self.word(word));
        }
    }

    const fn word(self, word: u16) -> u16 {
        if self.swap_bytes { word.swap_bytes() } else { word }
    }

    fn text(self, words: &[u16], length: usize) -> Result<Value, StatusCode> {
        let mut buffer = [0; MAX_TEXT as usize];
        for (pair, word) in buffer.chunks_exact_mut(2).zip(words) {
            pair.copy_from_slice(&self.word(*word).to_be_bytes());
        }
        let bytes = &buffer[..length];
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(length);
        let text = std::str::from_utf8(&bytes[..end]).map_err(|_| StatusCode::BAD_TYPE_MISMATCH)?;
        Ok(Value::string(text.trim_end_matches(' ')))
    }

    fn put_text(self, text: &str, length: usize, words: &mut Vec<u16>) -> Result<(), StatusCode> {
        let bytes = text.as_bytes();
        if bytes.len() > length {
            return Err(StatusCode::BAD_OUT_OF_RANGE);
        }
        let byte = |index: usize| bytes.get(index).copied().unwrap_or(0);
        let word = |index: usize| self.word(u16::from_be_bytes([byte(2 * index), byte(2 * index + 1)]));
        words.extend((0..usize::from(self.registers())).map(word));
        Ok(())
    }
}

/// Reads an order; the letters are the bytes of the value from the most significant, in the order of the wire.
fn order_of(encoding: Encoding, order: &str) -> Result<(bool, bool), Unusable> {
    let format = Format::plain(encoding);
    let orders: &[(&str, bool, bool)] = match (encoding, format.registers()) {
        (Encoding::Text(_), _) | (_, 1) => {
            &[("ab", false, false), ("ba", false, true), ("abcd", false, false), ("badc", false, true)]
        }
        (_, 2) => &[("abcd", false, false), ("cdab", true, false), ("badc", false, true), ("dcba", true, true)],
        _ => &[
            ("abcdefgh", false, false),
            ("ghefcdab", true, false),
            ("badcfehg", false, true),
            ("hgfedcba", true, true),
            ("abcd", false, false),
            ("cdab", true, false),
            ("badc", false, true),
            ("dcba", true, true),
        ],
    };
    let found = orders.iter().find(|(name, ..)| *name == order);
    found.map(|(_, words, bytes)| (*words, *bytes)).ok_or_else(|| {
        let known: Vec<_> = orders.iter().map(|(name, ..)| *name).collect();
        Unusable::new(format!("`{order}` is no order of this format"), format!("one of {}", known.join(", ")))
    })
}

fn from_bcd(bits: u64, digits: u32) -> Result<i128, StatusCode> {
    (0..digits).rev().try_fold(0, |number, place| {
        let digit = (bits >> (4 * place)) & 0xF;
        if digit > 9 { Err(StatusCode::BAD_TYPE_MISMATCH) } else { Ok(number * 10 + i128::from(digit)) }
    })
}

fn to_bcd(number: i128, digits: u32) -> Result<u64, StatusCode> {
    let mut rest = u64::try_from(number).map_err(|_| StatusCode::BAD_OUT_OF_RANGE)?;
    let mut bits = 0;
    for place in 0..digits {
        bits |= (rest % 10) << (4 * place);
        rest /= 10;
    }
    if rest == 0 { Ok(bits) } else { Err(StatusCode::BAD_OUT_OF_RANGE) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(format: &str, data_type: DataType, words: &[u16], value: &Value) {
        let format = Format::parse(format).unwrap();
        assert_eq!(usize::from(format.registers()), words.len());
        assert_eq!(format.decode(words, data_type, None).as_ref(), Ok(value));
        let mut back = Vec::new();
        format.encode(value, None, &mut back).unwrap();
        assert_eq!(back, words);
    }

    #[test]
    fn every_format_and_order() {
        check("u16", DataType::UInt16, &[0xABCD], &Value::UInt16(0xABCD));
        check("u16:ba", DataType::UInt16, &[0xCDAB], &Value::UInt16(0xABCD));
        check("i16", DataType::Int32, &[0xFFFE], &Value::Int32(-2));
        check("bool", DataType::Boolean, &[1], &Value::Boolean(true));
        for (order, words) in
            [("abcd", [0xAABB, 0xCCDD]), ("cdab", [0xCCDD, 0xAABB]), ("badc", [0xBBAA, 0xDDCC]), ("dcba", [0xDDCC, 0xBBAA])]
        {
            check(&format!("u32:{order}"), DataType::UInt32, &words, &Value::UInt32(0xAABB_CCDD));
        }
        for (order, words) in [
            ("abcdefgh", [0x0102, 0x0304, 0x0506, 0x0708]),
            ("ghefcdab", [0x0708, 0x0506, 0x0304, 0x0102]),
            ("badcfehg", [0x0201, 0x0403, 0x0605, 0x0807]),
            ("hgfedcba", [0x0807, 0x0605, 0x0403, 0x0201]),
            ("cdab", [0x0708, 0x0506, 0x0304, 0x0102]),
        ] {
            check(&format!("i64:{order}"), DataType::Int64, &words, &Value::Int64(0x0102_0304_0506_0708));
        }
        check("i32", DataType::Int32, &[0xFFFF, 0xFFFF], &Value::Int32(-1));
        check("f32:cdab", DataType::Float, &[0x0000, 0x42A3], &Value::Float(81.5));
        check("f64", DataType::Double, &[0x3FF8, 0, 0, 0], &Value::Double(1.5));
        check("bcd16", DataType::UInt16, &[0x1234], &Value::UInt16(1234));
        check("bcd32:cdab", DataType::UInt32, &[0x5678, 0x1234], &Value::UInt32(12_345_678));
        check("string:5", DataType::String, &[0x5075, 0x6D70, 0x3100], &Value::string("Pump1"));
        check("string:4:badc", DataType::String, &[0x7550, 0x706D], &Value::string("Pump"));
    }

    #[test]
    fn texts_end_at_nul_and_lose_their_padding() {
        let format = Format::parse("string:6").unwrap();
        let decode = |words: &[u16]| format.decode(words, DataType::String, None);
        assert_eq!(decode(&[0x4142, 0x2020, 0x2020]), Ok(Value::string("AB")));
        assert_eq!(decode(&[0x4100, 0x4242, 0x4242]), Ok(Value::string("A")));
        assert_eq!(decode(&[0xFFFF, 0, 0]), Err(StatusCode::BAD_TYPE_MISMATCH));
        let long = format.encode(&Value::string("1234567"), None, &mut Vec::new());
        assert_eq!(long, Err(StatusCode::BAD_OUT_OF_RANGE));
    }

    #[test]
    fn what_a_type_cannot_hold_is_out_of_range() {
        let decode = |format: &str, words: &[u16], data_type| Format::parse(format).unwrap().decode(words, data_type, None);
        assert_eq!(decode("u16", &[256], DataType::Byte), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(decode("i16", &[0xFFFF], DataType::UInt16), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(decode("f32", &[0x7FC0, 0], DataType::Float), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(decode("f32", &[0x7F80, 0], DataType::Double), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(decode("bcd16", &[0x00A0], DataType::UInt16), Err(StatusCode::BAD_TYPE_MISMATCH));
        let encode = |format: &str, value: Value| Format::parse(format).unwrap().encode(&value, None, &mut Vec::new());
        assert_eq!(encode("u16", Value::Int32(-1)), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(encode("bcd16", Value::Int32(10_000)), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(encode("u32", Value::Double(f64::NAN)), Err(StatusCode::BAD_OUT_OF_RANGE));
        assert_eq!(encode("u16", Value::string("1")), Err(StatusCode::BAD_TYPE_MISMATCH));
    }

    #[test]
    fn scaling_goes_both_ways() {
        let scale = Scale { raw: (0.0, 27_648.0), eu: (0.0, 100.0), clamp: true };
        let format = Format::parse("u16").unwrap();
        assert_eq!(format.decode(&[13_824], DataType::Float, Some(&scale)), Ok(Value::Float(50.0)));
        assert_eq!(format.decode(&[30_000], DataType::Float, Some(&scale)), Ok(Value::Float(100.0)), "clamped");
        let mut words = Vec::new();
        format.encode(&Value::Float(50.0), Some(&scale), &mut words).unwrap();
        assert_eq!(words, [13_824]);
        let beyond = format.encode(&Value::Float(300.0), Some(&scale), &mut words);
        assert_eq!(beyond, Err(StatusCode::BAD_OUT_OF_RANGE));
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for (text, message) in [
            ("", "unknown format ``"),
            ("f16", "unknown format `f16`"),
            ("u32:acbd", "`acbd` is no order of this format"),
            ("u16:cdab", "`cdab` is no order of this format"),
            ("string", "a string needs its length in characters, 1 to 250"),
            ("string:0", "a string needs its length in characters, 1 to 250"),
            ("string:251", "a string needs its length in characters, 1 to 250"),
            ("string:4:dcba", "`dcba` is no order of this format"),
            ("u32:abcd:x", "`x` does not belong here"),
        ] {
            assert_eq!(Format::parse(text).unwrap_err().message, message, "{text}");
        }
        let fits = |format: &str, data_type, scaled| Format::parse(format).unwrap().fits(data_type, scaled).is_ok();
        assert!(fits("f32", DataType::Double, false) && fits("f32", DataType::Int16, true));
        assert!(!fits("f32", DataType::Int16, false) && !fits("u16", DataType::Boolean, false));
        assert!(!fits("string:2", DataType::Float, false) && !fits("bool", DataType::Int16, false));
        assert!(!fits("u16", DataType::String, true) && !fits("u16", DataType::DateTime, false));
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_itself(bits: u64, swap_words: bool, swap_bytes: bool) {
            for (encoding, data_type) in [
                (Encoding::U64, DataType::UInt64),
                (Encoding::I64, DataType::Int64),
                (Encoding::U32, DataType::UInt32),
                (Encoding::I32, DataType::Int32),
                (Encoding::I16, DataType::Int16),
            ] {
                let format = Format { encoding, swap_words, swap_bytes };
                let mut words = Vec::new();
                format.put(bits, &mut words);
                let value = format.decode(&words, data_type, None).unwrap();
                let mut back = Vec::new();
                format.encode(&value, None, &mut back).unwrap();
                prop_assert_eq!(back, words);
            }
        }

        #[test]
        fn no_registers_make_decoding_panic(words: [u16; 4], scaled: bool) {
            let scale = Scale { raw: (0.0, 1.0), eu: (-5.0, 5.0), clamp: false };
            for (_, encoding) in NAMES {
                let format = Format::plain(encoding);
                for data_type in DataType::CONFIGURABLE {
                    let words = &words[..usize::from(format.registers())];
                    drop(format.decode(words, data_type, scaled.then_some(&scale)));
                }
            }
        }
    }
}
