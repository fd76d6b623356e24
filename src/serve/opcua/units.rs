//! Engineering units (Part 8, 5.6.3; UNECE Recommendation 20): code and symbol of what tags are measured in.

/// Where the codes come from, as EUInformation says it.
pub const NAMESPACE: &str = "http://www.opcfoundation.org/UA/units/un/cefact";

/// A unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// The code's ASCII bytes as a big-endian number; -1 for a unit that has no code.
    pub id: i32,
    /// The symbol.
    pub symbol: String,
}

/// Code, symbol, further spellings.
const UNITS: &[(&str, &str, &[&str])] = &[
    ("P1", "%", &["percent"]),
    ("C62", "1", &["one", "count", "pcs"]),
    ("59", "ppm", &[]),
    ("CEL", "°C", &["degC", "C"]),
    ("FAH", "°F", &["degF", "F"]),
    ("KEL", "K", &[]),
    ("BAR", "bar", &[]),
    ("MBR", "mbar", &[]),
    ("PAL", "Pa", &[]),
    ("A97", "hPa", &[]),
    ("KPA", "kPa", &[]),
    ("MPA", "MPa", &[]),
    ("PS", "psi", &[]),
    ("MMT", "mm", &[]),
    ("CMT", "cm", &[]),
    ("MTR", "m", &[]),
    ("KMT", "km", &[]),
    ("INH", "in", &[]),
    ("FOT", "ft", &[]),
    ("MTK", "m²", &["m2"]),
    ("LTR", "l", &["L"]),
    ("MLT", "ml", &["mL"]),
    ("MTQ", "m³", &["m3"]),
    ("GLL", "gal (US)", &["gal"]),
    ("MQH", "m³/h", &["m3/h"]),
    ("MQS", "m³/s", &["m3/s"]),
    ("L2", "l/min", &["L/min"]),
    ("G51", "l/s", &["L/s"]),
    ("E32", "l/h", &["L/h"]),
    ("G2", "gal (US) /min", &["gpm"]),
    ("MTS", "m/s", &[]),
    ("KMH", "km/h", &[]),
    ("2X", "m/min", &[]),
    ("RPM", "r/min", &["rpm", "1/min"]),
    ("HTZ", "Hz", &[]),
    ("KHZ", "kHz", &[]),
    ("AMP", "A", &[]),
    ("4K", "mA", &[]),
    ("VLT", "V", &[]),
    ("2Z", "mV", &[]),
    ("KVT", "kV", &[]),
    ("WTT", "W", &[]),
    ("KWT", "kW", &[]),
    ("MAW", "MW", &[]),
    ("D44", "var", &[]),
    ("KVR", "kvar", &[]),
    ("KVA", "kV·A", &["kVA"]),
    ("WHR", "W·h", &["Wh"]),
    ("KWH", "kW·h", &["kWh"]),
    ("MWH", "MW·h", &["MWh"]),
    ("JOU", "J", &[]),
    ("KJO", "kJ", &[]),
    ("OHM", "Ω", &["Ohm", "ohm"]),
    ("C26", "ms", &[]),
    ("SEC", "s", &[]),
    ("MIN", "min", &[]),
    ("HUR", "h", &[]),
    ("DAY", "d", &[]),
    ("GRM", "g", &[]),
    ("KGM", "kg", &[]),
    ("TNE", "t", &[]),
    ("KGS", "kg/s", &[]),
    ("E93", "kg/h", &[]),
    ("E18", "t/h", &[]),
    ("KMQ", "kg/m³", &["kg/m3"]),
    ("NEW", "N", &[]),
    ("B47", "kN", &[]),
    ("NU", "N·m", &["Nm"]),
    ("2N", "dB", &[]),
    ("DD", "°", &["deg"]),
    ("LUX", "lx", &["lux"]),
    ("Q30", "pH", &[]),
    ("H61", "mS/cm", &[]),
    ("AD", "byte", &[]),
];

/// The unit that a configuration means with `text`: a code, a symbol or a usual spelling; anything else is shown as it stands.
pub fn find(text: &str) -> Unit {
    let known = UNITS.iter().find(|(code, symbol, others)| *symbol == text || others.contains(&text) || *code == text);
    match known {
        Some((code, symbol, _)) => {
            let id = code.bytes().fold(0_i32, |id, byte| id << 8 | i32::from(byte));
            Unit { id, symbol: (*symbol).to_owned() }
        }
        None => Unit { id: -1, symbol: text.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_symbols_name_the_same_unit() {
        for (text, id, symbol) in [
            ("%", 20_529, "%"),
            ("CEL", 4_408_652, "°C"),
            ("°C", 4_408_652, "°C"),
            ("m3/h", 5_067_080, "m³/h"),
            ("bar", 4_342_098, "bar"),
            ("C26", 4_403_766, "ms"),
            ("furlong", -1, "furlong"),
        ] {
            assert_eq!(find(text), Unit { id, symbol: symbol.into() }, "{text}");
        }
    }
}
