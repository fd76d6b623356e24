//! The driver's keys in `[[source]]` and `[[tag]]`.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    address::{Address, Point, Table},
    format::{Format, Unusable},
    plan::Limits,
};
use crate::{
    config::{
        driver::Driver,
        reader::{Section, Spanned},
    },
    engine::plan::{Settings, TagTraits},
    tag::{DataType, Rank},
};

/// The driver as the configuration sees it.
pub const DRIVER: Driver = Driver { kind: "modbus", example: EXAMPLE, settings, address };

const EXAMPLE: &str = r#"[[source]]
name = "plc1"
kind = "modbus"
url = "tcp://192.0.2.10:502"    # or "rtu+tcp://192.0.2.10:4001", "rtu:///dev/ttyUSB0?baud=19200&parity=even&stop=1&data=8"
unit = 1                        # a tag's address may name another: "holding:100 unit=7"
poll = "500ms"                  # how often tags are read that do not say otherwise
timeout = "1s"                  # for one request; behind a gateway more than the gateway's own
connect_timeout = "3s"
max_gap = 16                    # registers (or 16 times as many bits) bridged to save a request
max_registers = 125             # the most the device answers at once
max_bits = 2000
pipeline = 1                    # requests outstanding on the connection
bit_write = "mask"              # function 22; "read-modify-write" races with the PLC

[[tag]]
path = "Plant/Line1/TankLevel"
type = "Float"
source = "plc1"
address = "holding:0"           # or coil:N discrete:N input:N, holding:N.bit, the classic 40001
format = "f32:cdab"
poll = "250ms"
"#;

/// The longest time between two reads of a tag.
pub const MAX_POLL: Duration = Duration::from_secs(24 * 3600);
/// Registers that function 16 writes at once (Application Protocol V1.1b3, 6.12).
pub const MAX_WRITE_REGISTERS: u16 = 123;
/// Coils that function 15 writes at once (6.11).
pub const MAX_WRITE_COILS: u16 = 1968;

const DEFAULT_PORT: u16 = 502;
const DEFAULT_GAP: i64 = 16;

/// A source's own keys.
#[derive(Clone, Debug, PartialEq)]
pub struct ModbusSettings {
    /// How the device is reached.
    pub transport: Transport,
    /// The unit of tags that name none.
    pub unit: u8,
    /// How often tags are read that do not say otherwise.
    pub poll: Duration,
    /// For one request.
    pub timeout: Duration,
    /// For the connection itself.
    pub connect_timeout: Duration,
    /// For coalescing reads.
    pub limits: Limits,
    /// Whether a bit of a register is written by reading and writing the whole register (else function 22).
    pub read_modify_write: bool,
}

/// How the device is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Modbus TCP (MBAP header).
    Tcp(Host),
    /// RTU frames with CRC in a TCP connection.
    RtuOverTcp(Host),
    /// A serial line.
    Rtu(Serial),
}

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Without brackets.
    pub name: String,
    /// TCP port.
    pub port: u16,
}

/// A serial line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serial {
    /// Of the device file.
    pub path: String,
    /// Bits per second.
    pub baud: u32,
    /// Parity bit.
    pub parity: Parity,
    /// 1 or 2.
    pub stop_bits: u8,
    /// 7 or 8.
    pub data_bits: u8,
}

/// Parity of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Parity {
    None,
    Even,
    Odd,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host) | Self::RtuOverTcp(host) => write!(f, "{}:{}", host.name, host.port),
            Self::Rtu(serial) => f.write_str(&serial.path),
        }
    }
}

impl Transport {
    /// Reads `tcp://host:port`, `rtu+tcp://host:port`, `rtu:///dev/ttyUSB0?baud=19200&parity=even&stop=1&data=8`.
    ///
    /// # Errors
    /// Says what is wrong and what would be right.
    pub fn parse(url: &str) -> Result<Self, Unusable> {
        let help = "for example `tcp://192.0.2.10:502`, `rtu+tcp://192.0.2.10:4001` or `rtu:///dev/ttyUSB0?baud=19200`";
        let (scheme, rest) = url.split_once("://").ok_or_else(|| Unusable::new("this is no address of a device", help))?;
        match scheme {
            "tcp" => Ok(Self::Tcp(host(rest)?)),
            "rtu+tcp" => Ok(Self::RtuOverTcp(host(rest)?)),
            "rtu" => Ok(Self::Rtu(serial(rest)?)),
            _ => Err(Unusable::new(format!("unknown scheme `{scheme}`"), help)),
        }
    }
}

fn host(text: &str) -> Result<Host, Unusable> {
    let help = "for example `tcp://192.0.2.10:502`, and `tcp://[2001:db8::1]:502` for IPv6";
    let text = text.strip_suffix('/').unwrap_or(text);
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or_else(|| Unusable::new("the bracket is not closed", help))?,
        None => text.find(':').map_or((text, ""), |colon| text.split_at(colon)),
    };
    let usable = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if name.is_empty() || !name.bytes().all(usable) {
        return Err(Unusable::new("this is no host name or address", help));
    }
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => DEFAULT_PORT,
        port => {
            let port = port.and_then(|port| port.parse().ok()).filter(|port| *port != 0);
            port.ok_or_else(|| Unusable::new("this is no port", "a port is 1 to 65535"))?
        }
    };
    Ok(Host { name: name.into(), port })
}

fn serial(text: &str) -> Result<Serial, Unusable> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    if path.is_empty() {
        return Err(Unusable::new("the device file is missing", "for example `rtu:///dev/ttyUSB0?baud=19200`"));
    }
    // The serial line guide's defaults (Modbus over Serial Line V1.02, 2.5.1): 19200 Bd, even parity.
    let mut serial = Serial { path: path.into(), baud: 19_200, parity: Parity::Even, stop_bits: 1, data_bits: 8 };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = |help: &str| Unusable::new(format!("`{value}` is no {key}"), help);
        match key {
            "baud" => {
                let baud = value.parse().ok().filter(|baud| (300..=4_000_000).contains(baud));
                serial.baud = baud.ok_or_else(|| wrong("300 to 4000000, usually 9600 or 19200"))?;
            }
            "parity" => {
                serial.parity = match value {
                    "none" => Parity::None,
                    "even" => Parity::Even,
                    "odd" => Parity::Odd,
                    _ => return Err(wrong("one of none, even, odd")),
                };
            }
            "stop" => serial.stop_bits = one_of(value, 1, 2).ok_or_else(|| wrong("1 or 2"))?,
            "data" => serial.data_bits = one_of(value, 7, 8).ok_or_else(|| wrong("7 or 8"))?,
            _ => return Err(Unusable::new(format!("unknown parameter `{key}`"), "one of baud, parity, stop, data")),
        }
    }
    Ok(serial)
}

fn one_of(text: &str, low: u8, high: u8) -> Option<u8> {
    text.parse().ok().filter(|number| (low..=high).contains(number))
}

fn settings(section: &mut Section<'_>) -> Option<Settings> {
    let transport = section.required_string("url").and_then(|url| {
        Transport::parse(&url.value).map_err(|unusable| section.error(url.span.clone(), unusable.message, unusable.help)).ok()
    });
    let serial = matches!(transport, Some(Transport::Rtu(_)));
    let units = if matches!(transport, Some(Transport::Tcp(_))) { 0..=255 } else { 1..=247 };
    let unit = section.integer("unit", units).unwrap_or(1);
    let shortest = Duration::from_millis(1);
    let poll = section.duration("poll", shortest..=MAX_POLL).unwrap_or(Duration::from_secs(1));
    let timeout = section.duration("timeout", Duration::from_millis(10)..=Duration::from_secs(60));
    let connect_timeout = section.duration("connect_timeout", Duration::from_millis(100)..=Duration::from_secs(60));
    let limits = Limits {
        max_gap: narrow(section.integer("max_gap", 0..=125).unwrap_or(if serial { 4 } else { DEFAULT_GAP })),
        max_registers: narrow(section.integer("max_registers", 1..=125).unwrap_or(125)),
        max_bits: narrow(section.integer("max_bits", 1..=2000).unwrap_or(2000)),
    };
    // One outstanding request is what every device takes; more is not offered.
    section.integer("pipeline", 1..=1);
    let read_modify_write = section.one_of("bit_write", &[("mask", false), ("read-modify-write", true)]).unwrap_or_default();
    if read_modify_write {
        section.warning(
            section.key_span("bit_write"),
            "another bit of the register that the PLC changes between our read and our write is put back",
            "use \"mask\" (function 22) where the device has it",
        );
    }
    Some(Arc::new(ModbusSettings {
        transport: transport?,
        unit: u8::try_from(unit).ok()?,
        poll,
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        connect_timeout: connect_timeout.unwrap_or(Duration::from_secs(3)),
        limits,
        read_modify_write,
    }))
}

/// The ranges above keep every number within 16 bits.
fn narrow(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

fn address(section: &mut Section<'_>, tag: &TagTraits, source: &Settings) -> Option<Settings> {
    let source = source.downcast_ref::<ModbusSettings>()?;
    let place = section.required_string("address");
    let format = section.string("format");
    let poll = section.duration("poll", Duration::from_millis(1)..=MAX_POLL).unwrap_or(source.poll);
    let place = place?;
    let refuse = |span: &Spanned<String>, unusable: Unusable| {
        section.error(span.span.clone(), unusable.message, unusable.help);
    };
    let parsed = Address::parse(&place.value).and_then(|parsed| usable_unit(parsed, source)).map_err(|unusable| {
        refuse(&place, unusable);
    });
    let parsed_format = format.as_ref().map(|format| {
        Format::parse(&format.value).map_err(|unusable| {
            refuse(format, unusable);
        })
    });
    let parsed_format = parsed_format.transpose();
    let (parsed, parsed_format) = (parsed.ok()?, parsed_format.ok()?);
    let point = point(parsed, parsed_format, tag, source, poll);
    point.map(|point| Arc::new(point) as Settings).map_err(|unusable| refuse(format.as_ref().unwrap_or(&place), unusable)).ok()
}

fn usable_unit(address: Address, source: &ModbusSettings) -> Result<Address, Unusable> {
    let on_a_line = !matches!(source.transport, Transport::Tcp(_));
    match address.unit {
        // Unit 0 is the broadcast, which nobody answers (Modbus over Serial Line V1.02, 2.2).
        Some(unit) if on_a_line && !(1..=247).contains(&unit) => {
            Err(Unusable::new(format!("no device on a serial line has unit {unit}"), "units are 1 to 247"))
        }
        _ => Ok(address),
    }
}

/// Puts address, format and type together.
fn point(
    address: Address,
    format: Option<Format>,
    tag: &TagTraits,
    source: &ModbusSettings,
    poll: Duration,
) -> Result<Point, Unusable> {
    let data_type = tag.value_type.data_type;
    let elements = match tag.value_type.rank {
        Rank::Scalar => None,
        Rank::Array(0) => {
            return Err(Unusable::new("an array needs its length here", format!("for example `{data_type}[8]`")));
        }
        Rank::Array(length) => Some(u16::try_from(length).unwrap_or(u16::MAX)),
    };
    if tag.writable && !address.table.is_writable() {
        let table = address.table;
        return Err(Unusable::new(
            format!("nothing in the table `{table}` can be written"),
            "take `writable` away, or use a coil or holding",
        ));
    }
    let single_bits = address.table.is_bits() || address.bit.is_some();
    let format = if single_bits { bits(address, format, tag)? } else { registers(format, tag)? };
    let unit = address.unit.unwrap_or(source.unit);
    let point = Point { unit, table: address.table, address: address.number, bit: address.bit, format, elements, poll };
    in_reach(point, tag.writable, source)
}

/// A coil, a discrete input, or a bit of a register.
fn bits(address: Address, format: Option<Format>, tag: &TagTraits) -> Result<Format, Unusable> {
    let bool = Format::default_for(DataType::Boolean).unwrap_or_else(|| unreachable!("a Boolean has a format"));
    if format.is_some_and(|format| format != bool) {
        return Err(Unusable::new("a bit has no format", "leave `format` out"));
    }
    if tag.value_type.data_type != DataType::Boolean {
        let found = tag.value_type.data_type;
        return Err(Unusable::new(format!("a bit cannot be of type {found}"), "the type is Boolean"));
    }
    if address.bit.is_some() && tag.value_type.rank != Rank::Scalar {
        return Err(Unusable::new("bits of registers cannot make an array", "one tag for each bit"));
    }
    if tag.scale.is_some() {
        return Err(Unusable::new("a bit has no scale", "leave `scale` out"));
    }
    Ok(bool)
}

fn registers(format: Option<Format>, tag: &TagTraits) -> Result<Format, Unusable> {
    let data_type = tag.value_type.data_type;
    let format = match format {
        Some(format) => format,
        // What a scaled tag's type says nothing about is what its registers hold.
        None if tag.scale.is_some() => {
            return Err(Unusable::new("a scaled tag needs its `format`", "what the registers hold, for example `u16`"));
        }
        None => Format::default_for(data_type).ok_or_else(|| {
            let help = "a String needs `format = \"string:N\"`; Modbus has no form of the other types";
            Unusable::new(format!("registers say nothing about a {data_type}"), help)
        })?,
    };
    format.fits(data_type, tag.scale.is_some())?;
    if tag.scale.is_some() && !data_type.is_numeric() {
        return Err(Unusable::new(format!("a {data_type} has no scale"), "leave `scale` out"));
    }
    Ok(format)
}

/// One request must reach all of it: what is read by two may be torn.
fn in_reach(point: Point, writable: bool, source: &ModbusSettings) -> Result<Point, Unusable> {
    let span = point.span();
    if u32::from(point.address) + u32::from(span) > 65_536 {
        return Err(Unusable::new(format!("it reaches beyond {} 65535", point.table), "a smaller address or length"));
    }
    let bits = point.table.is_bits();
    let unit = if bits { "bits" } else { "registers" };
    let most = if bits { source.limits.max_bits } else { source.limits.max_registers };
    if span > most {
        return Err(Unusable::new(format!("{span} {unit} do not fit one request"), format!("at most {most} do")));
    }
    let most = if bits { MAX_WRITE_COILS } else { MAX_WRITE_REGISTERS };
    let writes = point.table != Table::Input && writable;
    if writes && span > most {
        return Err(Unusable::new(format!("{span} {unit} cannot be written at once"), format!("at most {most} can")));
    }
    Ok(point)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config::reader::{Loader, read_text},
        engine::plan::Scale,
    };

    fn read<T>(text: &str, read: impl FnOnce(&mut Section<'_>) -> T) -> (T, Vec<String>) {
        let loader = Loader { env: &|_| None, read_file: &|_: &Path| Err("no such file".into()) };
        let (result, problems) = read_text("test.toml", text, loader, read);
        (result, problems.list.iter().map(|problem| problem.message.clone()).collect())
    }

    fn source(text: &str) -> (Option<ModbusSettings>, Vec<String>) {
        let (made, problems) = read(text, settings);
        (made.map(|made| made.downcast_ref::<ModbusSettings>().unwrap().clone()), problems)
    }

    fn def(value_type: &str) -> TagTraits {
        TagTraits::of(value_type.parse().unwrap())
    }

    fn tag(text: &str, tag: &TagTraits) -> (Option<Point>, Vec<String>) {
        let source = source("url = \"tcp://plc\"\nmax_registers = 100").0.unwrap();
        let source: Settings = Arc::new(source);
        let (made, problems) = read(text, |section| address(section, tag, &source));
        (made.map(|made| *made.downcast_ref::<Point>().unwrap()), problems)
    }

    #[test]
    fn a_source_has_defaults() {
        let (found, problems) = source("url = \"tcp://plc\"");
        let limits = Limits { max_gap: 16, max_registers: 125, max_bits: 2000 };
        let expected = ModbusSettings {
            transport: Transport::Tcp(Host { name: "plc".into(), port: 502 }),
            unit: 1,
            poll: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            connect_timeout: Duration::from_secs(3),
            limits,
            read_modify_write: false,
        };
        assert_eq!((found, problems), (Some(expected), Vec::new()));
    }

    #[test]
    fn every_transport() {
        let host = |name: &str, port| Host { name: name.into(), port };
        let serial = Serial { path: "/dev/ttyUSB0".into(), baud: 9600, parity: Parity::None, stop_bits: 2, data_bits: 7 };
        for (url, expected) in [
            ("tcp://192.0.2.10:1502", Transport::Tcp(host("192.0.2.10", 1502))),
            ("tcp://[2001:db8::1]:1502/", Transport::Tcp(host("2001:db8::1", 1502))),
            ("tcp://[2001:db8::1]", Transport::Tcp(host("2001:db8::1", 502))),
            ("rtu+tcp://gateway:4001", Transport::RtuOverTcp(host("gateway", 4001))),
            ("rtu:///dev/ttyUSB0?baud=9600&parity=none&stop=2&data=7", Transport::Rtu(serial)),
        ] {
            assert_eq!(Transport::parse(url), Ok(expected), "{url}");
        }
    }

    #[test]
    fn bad_sources_are_refused_with_every_problem() {
        for (text, expected) in [
            ("", &["`url` is missing"] as &[&str]),
            ("url = \"plc:502\"", &["this is no address of a device"]),
            ("url = \"udp://plc:502\"", &["unknown scheme `udp`"]),
            ("url = \"tcp://:502\"", &["this is no host name or address"]),
            ("url = \"tcp://plc:0\"", &["this is no port"]),
            ("url = \"tcp://plc:70000\"", &["this is no port"]),
            ("url = \"tcp://[::1\"", &["the bracket is not closed"]),
            ("url = \"rtu://\"", &["the device file is missing"]),
            ("url = \"rtu:///dev/x?baud=1\"", &["`1` is no baud"]),
            ("url = \"rtu:///dev/x?parity=mark\"", &["`mark` is no parity"]),
            ("url = \"rtu:///dev/x?bits=8\"", &["unknown parameter `bits`"]),
            ("url = \"rtu:///dev/x\"\nunit = 0", &["`unit` is out of range"]),
            ("url = \"tcp://plc\"\nunit = 256\npipeline = 2", &["`unit` is out of range", "`pipeline` is out of range"]),
            (
                "url = \"tcp://plc\"\nmax_registers = 126\nmax_bits = 0",
                &["`max_registers` is out of range", "`max_bits` is out of range"],
            ),
        ] {
            assert_eq!(source(text).1, expected, "{text}");
        }
        let (found, problems) = source("url = \"tcp://plc\"\nbit_write = \"read-modify-write\"");
        assert!(found.unwrap().read_modify_write);
        assert_eq!(problems.len(), 1, "a warning");
    }

    #[test]
    fn a_tag_takes_what_it_does_not_say_from_its_source_and_type() {
        let (point, problems) = tag("address = \"holding:7\"", &def("Int32"));
        let point = point.unwrap_or_else(|| panic!("{problems:?}"));
        assert_eq!((point.unit, point.poll), (1, Duration::from_secs(1)));
        assert_eq!((point.format, point.span()), (Format::parse("i32").unwrap(), 2));
        let (point, _) = tag("address = \"holding:7 unit=9\"\nformat = \"u16\"\npoll = \"50ms\"", &def("Float[8]"));
        let point = point.unwrap();
        assert_eq!((point.unit, point.poll, point.span()), (9, Duration::from_millis(50), 8));
        let (point, _) = tag("address = \"coil:1\"", &def("Boolean[20]"));
        assert_eq!(point.unwrap().span(), 20);
    }

    #[test]
    fn bad_tags_are_refused() {
        let scale = Some(Scale { raw: (0.0, 1.0), eu: (0.0, 2.0), clamp: false });
        let with = |value_type: &str, writable: bool, scaled: bool| {
            let scale = if scaled { scale } else { None };
            TagTraits { scale, writable, ..def(value_type) }
        };
        for (text, tag_def, expected) in [
            ("", def("Float"), "`address` is missing"),
            ("address = \"holding\"", def("Float"), "`holding` is no Modbus address"),
            ("address = \"holding:1\"\nformat = \"f31\"", def("Float"), "unknown format `f31`"),
            ("address = \"holding:1\"\nformat = \"f32\"", def("Int16"), "a tag of type Int16 cannot have this format"),
            ("address = \"holding:1\"\nformat = \"u16\"", def("Boolean"), "a tag of type Boolean cannot have this format"),
            ("address = \"holding:1\"", def("String"), "registers say nothing about a String"),
            ("address = \"holding:1\"", def("DateTime"), "registers say nothing about a DateTime"),
            ("address = \"holding:1\"", with("Float", false, true), "a scaled tag needs its `format`"),
            ("address = \"holding:1\"\nformat = \"bool\"", with("Boolean", false, true), "a Boolean has no scale"),
            ("address = \"holding:1.2\"", def("Int16"), "a bit cannot be of type Int16"),
            ("address = \"holding:1.2\"\nformat = \"u16\"", def("Boolean"), "a bit has no format"),
            ("address = \"holding:1.2\"", def("Boolean[2]"), "bits of registers cannot make an array"),
            ("address = \"coil:1\"", with("Boolean", false, true), "a bit has no scale"),
            ("address = \"discrete:1\"", with("Boolean", true, false), "nothing in the table `discrete` can be written"),
            ("address = \"input:1\"", with("Int16", true, false), "nothing in the table `input` can be written"),
            ("address = \"holding:1\"", def("Int16[]"), "an array needs its length here"),
            ("address = \"holding:0\"", def("Int16[101]"), "101 registers do not fit one request"),
            ("address = \"coil:0\"", def("Boolean[2001]"), "2001 bits do not fit one request"),
            ("address = \"coil:0\"", with("Boolean[1969]", true, false), "1969 bits cannot be written at once"),
            ("address = \"holding:65535\"", def("Float"), "it reaches beyond holding 65535"),
        ] {
            assert_eq!(tag(text, &tag_def), (None, vec![expected.to_owned()]), "{text}");
        }
        let on_a_line: Settings = Arc::new(source("url = \"rtu:///dev/x\"").0.unwrap());
        let (point, problems) = read("address = \"coil:1 unit=0\"", |section| address(section, &def("Boolean"), &on_a_line));
        assert!(point.is_none());
        assert_eq!(problems, ["no device on a serial line has unit 0"]);
    }

    #[test]
    fn the_example_is_read() {
        let (found, problems) = read(EXAMPLE, |section| {
            let mut table = section.sections("source").remove(0);
            let made = settings(&mut table).unwrap();
            table.ignore_rest();
            let mut table = section.sections("tag").remove(0);
            let point = address(&mut table, &def("Float"), &made);
            table.ignore_rest();
            point.map(|point| *point.downcast_ref::<Point>().unwrap())
        });
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(found.unwrap().span(), 2);
    }
}
