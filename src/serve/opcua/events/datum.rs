//! A value while a where clause is evaluated: every built-in type that an operand can have.

use std::{fmt, sync::Arc};

use super::{
    super::{
        space::NAMESPACE,
        wire::{self, Id, Identifier, Incoming, Malformed, Read, Reader, Writer, built_in},
    },
    Field,
};
use crate::tag::{StatusCode, Value};

/// The identifier of a NodeId.
#[derive(Clone, Debug, PartialEq)]
pub enum Name {
    /// Numeric.
    Number(u32),
    /// String.
    Text(Arc<str>),
    /// Guid, as encoded.
    Guid([u8; 16]),
    /// Opaque.
    Bytes(Arc<[u8]>),
}

/// A NodeId.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Index in the NamespaceArray.
    pub namespace: u16,
    /// Unique in the namespace.
    pub name: Name,
}

impl Node {
    /// One of the standard.
    pub const fn standard(id: u32) -> Self {
        Self { namespace: 0, name: Name::Number(id) }
    }

    /// Copies what was read.
    pub fn of(id: Id<'_>) -> Self {
        let name = match id.identifier {
            Identifier::Numeric(number) => Name::Number(number),
            Identifier::Text(text) => Name::Text(text.into()),
            Identifier::Guid(bytes) => Name::Guid(guid(bytes)),
            Identifier::Opaque(bytes) => Name::Bytes(bytes.into()),
        };
        Self { namespace: id.namespace, name }
    }

    /// The number of an id in namespace 0.
    pub const fn as_standard(&self) -> Option<u32> {
        match self {
            Self { namespace: 0, name: Name::Number(id) } => Some(*id),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.as_standard() == Some(0)
    }

    fn parse(text: &str) -> Option<Self> {
        let (namespace, rest) = match text.strip_prefix("ns=") {
            Some(rest) => {
                let (namespace, rest) = rest.split_once(';')?;
                (namespace.parse().ok()?, rest)
            }
            None => (0, text),
        };
        let (kind, id) = rest.split_at_checked(2)?;
        let name = match kind {
            "i=" => Name::Number(id.parse().ok()?),
            "s=" => Name::Text(id.into()),
            "g=" => Name::Guid(parse_guid(id)?),
            _ => return None,
        };
        Some(Self { namespace, name })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace != 0 {
            write!(f, "ns={};", self.namespace)?;
        }
        match &self.name {
            Name::Number(number) => write!(f, "i={number}"),
            Name::Text(text) => write!(f, "s={text}"),
            Name::Guid(bytes) => write!(f, "g={}", guid_text(bytes)),
            Name::Bytes(bytes) => {
                f.write_str("b=")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    /// No value, or one that cannot be told.
    Null,
    /// Of a type that tags have; never `Null`.
    Value(Value),
    /// A NodeId.
    Node(Node),
    /// An ExpandedNodeId; true when it names another server or a namespace by its URI, which no node here has.
    Expanded(Node, bool),
    /// A Guid, as encoded.
    Guid([u8; 16]),
    /// A StatusCode.
    Status(u32),
    /// A QualifiedName.
    Qualified(u16, Arc<str>),
    /// A LocalizedText; its locale takes no part in comparisons.
    Localized(Arc<str>),
    /// Of a type that cannot be compared, such as a structure.
    Other,
}

/// Built-in types (Part 6, 5.1.2) that are named here.
pub mod kind {
    #![allow(missing_docs)]
    pub const BOOLEAN: u8 = 1;
    pub const SBYTE: u8 = 2;
    pub const BYTE: u8 = 3;
    pub const INT16: u8 = 4;
    pub const UINT16: u8 = 5;
    pub const INT32: u8 = 6;
    pub const UINT32: u8 = 7;
    pub const INT64: u8 = 8;
    pub const UINT64: u8 = 9;
    pub const FLOAT: u8 = 10;
    pub const DOUBLE: u8 = 11;
    pub const STRING: u8 = 12;
    pub const DATE_TIME: u8 = 13;
    pub const GUID: u8 = 14;
    pub const BYTE_STRING: u8 = 15;
    pub const NODE_ID: u8 = 17;
    pub const EXPANDED_NODE_ID: u8 = 18;
    pub const STATUS_CODE: u8 = 19;
    pub const QUALIFIED_NAME: u8 = 20;
    pub const LOCALIZED_TEXT: u8 = 21;
}

impl Datum {
    /// A truth.
    pub const fn truth(truth: bool) -> Self {
        Self::Value(Value::Boolean(truth))
    }

    /// What a field holds. A StatusCode in place of a value counts as null (Part 4, 7.7.3).
    pub fn of(field: &Field) -> Self {
        match field {
            Field::Value(Value::Null) | Field::Bad(_) => Self::Null,
            Field::Value(value) => Self::Value(value.clone()),
            Field::Standard(id) => Self::Node(Node::standard(*id)),
            Field::Node(path) => Self::Node(Node { namespace: NAMESPACE, name: Name::Text(Arc::clone(path)) }),
            Field::Opaque(bytes) => Self::Node(Node { namespace: NAMESPACE, name: Name::Bytes(Arc::clone(bytes)) }),
            Field::Text(text) => Self::Localized(Arc::clone(text)),
            Field::Status(StatusCode(status)) => Self::Status(*status),
            Field::Encoded(bytes) => Self::read(&mut Reader::new(bytes)).unwrap_or(Self::Other),
        }
    }

    /// Reads a Variant.
    ///
    /// # Errors
    /// When it is malformed, or nested deeper than [`wire::MAX_DEPTH`].
    pub fn read(reader: &mut Reader<'_>) -> Read<Self> {
        let mut own = *reader;
        let datum = match own.u8()? {
            kind::GUID => Self::Guid(guid(own.take(16)?)),
            kind::NODE_ID => Self::Node(Node::of(own.id()?)),
            kind::EXPANDED_NODE_ID => {
                let (id, elsewhere) = own.expanded_id()?;
                Self::Expanded(Node::of(id), elsewhere)
            }
            kind::STATUS_CODE => Self::Status(own.u32()?),
            kind::QUALIFIED_NAME => {
                let (namespace, name) = own.qualified_name()?;
                Self::Qualified(namespace, name.into())
            }
            kind::LOCALIZED_TEXT => Self::Localized(own.localized_text()?.into()),
            _ => {
                return Ok(match reader.variant()? {
                    Incoming::Value(Value::Null) => Self::Null,
                    Incoming::Value(value) => Self::Value(value),
                    Incoming::Foreign => Self::Other,
                });
            }
        };
        *reader = own;
        Ok(datum)
    }

    /// Its built-in type; `None` for null, arrays and what cannot be compared.
    pub fn kind(&self) -> Option<u8> {
        Some(match self {
            Self::Null | Self::Other | Self::Value(Value::Array(..) | Value::Structure(_)) => return None,
            Self::Value(value) => built_in(value.data_type()?),
            Self::Node(_) => kind::NODE_ID,
            Self::Expanded(..) => kind::EXPANDED_NODE_ID,
            Self::Guid(_) => kind::GUID,
            Self::Status(_) => kind::STATUS_CODE,
            Self::Qualified(..) => kind::QUALIFIED_NAME,
            Self::Localized(_) => kind::LOCALIZED_TEXT,
        })
    }

    /// True for null, and for the null NodeId.
    pub fn is_null(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Node(node) | Self::Expanded(node, false) => node.is_null(),
            _ => false,
        }
    }

    /// The truth of a Boolean; `None` (NULL) for everything that does not resolve to one.
    pub fn as_truth(&self) -> Option<bool> {
        match self {
            Self::Value(Value::Boolean(truth)) => Some(*truth),
            _ => None,
        }
    }

    /// The type that a NodeId names, when it is one of namespace 0.
    pub const fn as_standard(&self) -> Option<u32> {
        match self {
            Self::Node(node) | Self::Expanded(node, false) => node.as_standard(),
            _ => None,
        }
    }
}

/// A NodeId in a text.
pub fn parse_node(text: &str) -> Option<Node> {
    Node::parse(text)
}

/// The sixteen bytes of a Guid that [`Reader`] gave.
fn guid(bytes: &[u8]) -> [u8; 16] {
    bytes.try_into().unwrap_or_default()
}

/// `72962B91-FA75-4AE6-8D28-B404DC7DAF63`; the first three groups are little-endian on the wire (Part 6, 5.2.2.6).
pub fn guid_text(bytes: &[u8; 16]) -> String {
    const ORDER: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let mut text = String::with_capacity(36);
    for (place, byte) in ORDER.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = fmt::Write::write_fmt(&mut text, format_args!("{:02x}", bytes[byte]));
    }
    text
}

/// The Guid in a text.
pub fn parse_guid(text: &str) -> Option<[u8; 16]> {
    let text = text.trim_matches(['{', '}']);
    let groups: Vec<&str> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    if groups.len() != lengths.len() || groups.iter().zip(lengths).any(|(group, length)| group.len() != length) {
        return None;
    }
    let digits = groups.concat();
    let number = digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u128::from_str_radix(&digits, 16).ok())??;
    let mut bytes = number.to_be_bytes();
    bytes[..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    Some(bytes)
}

/// An encoded Variant for [`Field::Encoded`].
pub fn encoded(write: impl FnOnce(&mut Writer)) -> Field {
    let mut w = Writer::default();
    write(&mut w);
    Field::Encoded(w.0.into())
}

const _: () = assert!(wire::MAX_DEPTH < 16, "literals are read by recursion");

/// What cannot be read is no literal.
pub fn literal(bytes: &[u8]) -> Read<Datum> {
    let mut reader = Reader::new(bytes);
    let datum = Datum::read(&mut reader)?;
    if reader.rest().is_empty() { Ok(datum) } else { Err(Malformed) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_ids_and_guids_as_texts() {
        for text in ["i=2041", "ns=2;s=Plant/Line1", "ns=1;g=72962b91-fa75-4ae6-8d28-b404dc7daf63"] {
            assert_eq!(Node::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "2041", "i=", "i=-1", "ns=2", "ns=x;i=1", "i", "ä=1", "g=72962b91"] {
            assert_eq!(Node::parse(text), None, "{text}");
        }
        assert_eq!(parse_guid("72962B91-FA75-4AE6-8D28-B404DC7DAF63").unwrap()[..4], [0x91, 0x2B, 0x96, 0x72]);
    }

    #[test]
    fn literals_of_every_type() {
        let field = |field: Field| {
            let mut w = Writer::default();
            field.write(&mut w);
            literal(&w.0)
        };
        assert_eq!(field(Field::Standard(2_041)), Ok(Datum::Node(Node::standard(2_041))));
        assert_eq!(field(Field::Text("hot".into())), Ok(Datum::Localized("hot".into())));
        assert_eq!(field(Field::Status(StatusCode::BAD)), Ok(Datum::Status(StatusCode::BAD.0)));
        assert_eq!(field(Field::Value(Value::Int32(7))), Ok(Datum::Value(Value::Int32(7))));
        assert_eq!(field(Field::Value(Value::Null)), Ok(Datum::Null));
        assert_eq!(literal(&[6, 1, 0, 0, 0, 0]), Err(Malformed));
        assert_eq!(literal(&[20, 0]), Err(Malformed));
        // DataValue and DiagnosticInfo do not nest here.
        assert_eq!(literal(&[23, 1].repeat(1_000)), Err(Malformed));
        assert_eq!(literal(&[25, 0x40].repeat(1_000)), Err(Malformed));
    }
}
