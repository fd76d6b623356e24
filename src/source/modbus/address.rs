//! Where a value lies in a Modbus device: table, address, bit, unit.

use std::{fmt, time::Duration};

use super::format::{Format, Unusable};

/// The four tables of a device (Application Protocol V1.1b3, 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Single bits, read and written.
    Coil,
    /// Single bits, read only.
    Discrete,
    /// 16-bit registers, read and written.
    Holding,
    /// 16-bit registers, read only.
    Input,
}

impl Table {
    /// The word that stands before the colon.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Coil => "coil",
            Self::Discrete => "discrete",
            Self::Holding => "holding",
            Self::Input => "input",
        }
    }

    /// True for the tables of single bits.
    #[must_use]
    pub const fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }

    /// True for the tables that can be written.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::Coil | Self::Holding)
    }

    const fn of_digit(digit: u8) -> Option<Self> {
        Some(match digit {
            b'0' => Self::Coil,
            b'1' => Self::Discrete,
            b'3' => Self::Input,
            b'4' => Self::Holding,
            _ => return None,
        })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Which table.
    pub table: Table,
    /// As on the wire, from zero.
    pub number: u16,
    /// Bit of the register, 0 the least significant.
    pub bit: Option<u8>,
    /// The unit, when it is not the source's.
    pub unit: Option<u8>,
}

/// Everything that the driver knows about one tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// The unit (slave) that holds it.
    pub unit: u8,
    /// Which table.
    pub table: Table,
    /// The first register or bit, as on the wire.
    pub address: u16,
    /// A single bit of a register.
    pub bit: Option<u8>,
    /// What the registers mean; of no account for bits.
    pub format: Format,
    /// Elements of an array; `None` for a single value.
    pub elements: Option<u16>,
    /// How often it is read.
    pub poll: Duration,
}

impl Point {
    /// Registers (or bits, in a table of bits) that it covers; always read by one request.
    #[must_use]
    pub const fn span(&self) -> u16 {
        let elements = match self.elements {
            Some(elements) => elements,
            None => 1,
        };
        if self.table.is_bits() || self.bit.is_some() { elements } else { self.format.registers().saturating_mul(elements) }
    }
}

impl Address {
    /// Reads `coil:12`, `holding:100.3`, `40001`, `400001`, `4x00020`, each with `unit=7` after it.
    ///
    /// # Errors
    /// Says what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, Unusable> {
        let mut words = text.split([' ', ';', ',']).filter(|word| !word.is_empty());
        let place = words.next().unwrap_or_default();
        let mut address = match place.split_once(':') {
            Some((table, number)) => named(table, number)?,
            None => classic(place)?,
        };
        for word in words {
            let unit = word
                .strip_prefix("unit=")
                .ok_or_else(|| Unusable::new(format!("`{word}` does not belong here"), "only `unit=7` may follow the address"))?;
            let unit = unit.parse().map_err(|_| Unusable::new(format!("`{unit}` is no unit"), "a unit is 0 to 255"))?;
            if address.unit.replace(unit).is_some() {
                return Err(Unusable::new("the unit is given twice", "keep one"));
            }
        }
        Ok(address)
    }
}

fn named(table: &str, number: &str) -> Result<Address, Unusable> {
    let table = match table {
        "coil" => Table::Coil,
        "discrete" => Table::Discrete,
        "holding" => Table::Holding,
        "input" => Table::Input,
        _ => {
            let known = "one of coil, discrete, holding, input, for example `holding:100`";
            return Err(Unusable::new(format!("unknown table `{table}`"), known));
        }
    };
    let (number, bit) = split_bit(table, number)?;
    let number = digits(number).and_then(|number| u16::try_from(number).ok());
    let number = number.ok_or_else(|| Unusable::new("this is no address", "addresses are 0 to 65535, as on the wire"))?;
    Ok(Address { table, number, bit, unit: None })
}

/// One-based, the first digit names the table; five or six digits, or `4x00020`.
fn classic(text: &str) -> Result<Address, Unusable> {
    let help = "for example `holding:0` (from zero), or the classic `40001` (from one)";
    let unusable = || Unusable::new(format!("`{text}` is no Modbus address"), help);
    let table = text.bytes().next().and_then(Table::of_digit).ok_or_else(unusable)?;
    let (number, bit) = split_bit(table, &text[1..])?;
    let (number, most) = match number.strip_prefix('x') {
        Some(number) if (1..=5).contains(&number.len()) => (number, 65_536),
        None if number.len() == 4 => (number, 9999),
        None if number.len() == 5 => (number, 65_536),
        _ => return Err(unusable()),
    };
    let number = digits(number).ok_or_else(unusable)?;
    let from_zero = number.checked_sub(1).filter(|_| number <= most).and_then(|number| u16::try_from(number).ok());
    let number = from_zero
        .ok_or_else(|| Unusable::new(format!("`{text}` is out of range"), format!("the classic form counts from 1 to {most}")))?;
    Ok(Address { table, number, bit, unit: None })
}

fn split_bit(table: Table, number: &str) -> Result<(&str, Option<u8>), Unusable> {
    let Some((number, bit)) = number.split_once('.') else { return Ok((number, None)) };
    if table.is_bits() {
        return Err(Unusable::new(format!("a {table} has no bits"), "leave out what follows the point"));
    }
    let bit = digits(bit).and_then(|bit| u8::try_from(bit).ok()).filter(|bit| *bit < 16);
    let bit = bit.ok_or_else(|| Unusable::new("this is no bit of a register", "bits are 0 (least significant) to 15"))?;
    Ok((number, Some(bit)))
}

/// Digits only: no sign, no space.
fn digits(text: &str) -> Option<u32> {
    if text.is_empty() || text.len() > 5 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_notation() {
        for (text, table, number, bit, unit) in [
            ("coil:0", Table::Coil, 0, None, None),
            ("discrete:65535", Table::Discrete, 65_535, None, None),
            ("holding:100", Table::Holding, 100, None, None),
            ("holding:100.3", Table::Holding, 100, Some(3), None),
            ("input:7.15 unit=7", Table::Input, 7, Some(15), Some(7)),
            ("holding:1;unit=255", Table::Holding, 1, None, Some(255)),
            ("40001", Table::Holding, 0, None, None),
            ("400001", Table::Holding, 0, None, None),
            ("465536", Table::Holding, 65_535, None, None),
            ("30001", Table::Input, 0, None, None),
            ("10001", Table::Discrete, 0, None, None),
            ("00001", Table::Coil, 0, None, None),
            ("09999 unit=3", Table::Coil, 9998, None, Some(3)),
            ("40010.2", Table::Holding, 9, Some(2), None),
            ("4x00020", Table::Holding, 19, None, None),
            ("4x1", Table::Holding, 0, None, None),
        ] {
            assert_eq!(Address::parse(text), Ok(Address { table, number, bit, unit }), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for (text, message) in [
            ("", "`` is no Modbus address"),
            ("holding", "`holding` is no Modbus address"),
            ("register:1", "unknown table `register`"),
            ("holding:65536", "this is no address"),
            ("holding:-1", "this is no address"),
            ("holding:", "this is no address"),
            ("holding:1.16", "this is no bit of a register"),
            ("coil:1.0", "a coil has no bits"),
            ("40000", "`40000` is out of range"),
            ("465537", "`465537` is out of range"),
            ("4x0", "`4x0` is out of range"),
            ("20001", "`20001` is no Modbus address"),
            ("50001", "`50001` is no Modbus address"),
            ("4001", "`4001` is no Modbus address"),
            ("4000001", "`4000001` is no Modbus address"),
            ("coil:1 unit=256", "`256` is no unit"),
            ("coil:1 unit=1 unit=2", "the unit is given twice"),
            ("coil:1 poll=2", "`poll=2` does not belong here"),
            ("é0001", "`é0001` is no Modbus address"),
            ("4é001", "`4é001` is no Modbus address"),
        ] {
            assert_eq!(Address::parse(text).unwrap_err().message, message, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic(text in "[0-9a-z:.=; é-]{0,24}") {
            drop(Address::parse(&text));
        }
    }
}
