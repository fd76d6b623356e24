//! Where a tag lies on a server: a NodeId with its namespace by URI or index, or a browse path.

use std::{fmt, str::FromStr};

use opcua::types::{ByteString, Guid, Identifier, NodeId};

/// The longest string identifier in bytes (Part 3, 8.2.4).
const MAX_IDENTIFIER: usize = 4096;
/// The most elements of a browse path.
const MAX_ELEMENTS: usize = 32;
/// The Root folder.
const ROOT: u32 = 84;

/// A server's NamespaceArray.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces(pub Vec<String>);

impl Namespaces {
    /// The index of a namespace, the first of equals.
    #[must_use]
    pub fn index(&self, uri: &str) -> Option<u16> {
        self.0.iter().position(|known| known == uri)?.try_into().ok()
    }

    /// The namespace at an index.
    #[must_use]
    pub fn uri(&self, index: u16) -> Option<&str> {
        self.0.get(usize::from(index)).map(String::as_str).filter(|uri| !uri.is_empty())
    }
}

/// What stands in `address`, read but not yet resolved against a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAddress {
    /// `nsu=URI;s=Name`, `ns=2;i=5`, `i=2258`: Part 6, 5.3.1.10 and 5.3.1.11.
    Node(Namespace, Identifier),
    /// `/Objects/2:Plant/2:Level`: browse names from the Root folder on (Part 4, A.2), `&` before a reserved character.
    Path(Vec<(u16, String)>),
}

/// A namespace as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// Its place in the server's NamespaceArray, which may change when the server is configured anew.
    Index(u16),
    /// Its URI, looked up at every connect.
    Uri(String),
}

impl FromStr for NodeAddress {
    type Err = String;

    /// Fails with a fragment that says what was expected.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return path(text).map(Self::Path);
        }
        let (namespace, rest) = if let Some(rest) = text.strip_prefix("nsu=") {
            let at = identifier_start(rest).ok_or("expected an identifier after the namespace: nsu=URI;s=Name")?;
            let uri = rest[..at].replace("%3B", ";").replace("%25", "%");
            if uri.is_empty() {
                return Err("expected a namespace URI after nsu=".to_owned());
            }
            (Namespace::Uri(uri), &rest[at + 1..])
        } else if let Some(rest) = text.strip_prefix("ns=") {
            let (index, rest) = rest.split_once(';').ok_or("expected an identifier after the namespace: ns=2;s=Name")?;
            let index = index.parse().map_err(|_| format!("expected a namespace index of 0 to 65535, found {index:?}"))?;
            (Namespace::Index(index), rest)
        } else {
            (Namespace::Index(0), text)
        };
        Ok(Self::Node(namespace, identifier(rest)?))
    }
}

/// Where `;i=`, `;s=`, `;g=` or `;b=` begins.
fn identifier_start(text: &str) -> Option<usize> {
    ["i=", "s=", "g=", "b="].iter().filter_map(|kind| text.find(&format!(";{kind}"))).min()
}

fn identifier(text: &str) -> Result<Identifier, String> {
    let expected =
        || format!("expected i=number, s=text, g=GUID, b=base64, nsu=…, ns=… or a browse path /Objects/…, found {text:?}");
    let (kind, value) = text.split_once('=').ok_or_else(expected)?;
    match kind {
        "i" => {
            value.parse().map(Identifier::Numeric).map_err(|_| format!("expected a number of 0 to 4294967295, found {value:?}"))
        }
        "s" if value.is_empty() || value.len() > MAX_IDENTIFIER => Err(format!("expected 1 to {MAX_IDENTIFIER} bytes after s=")),
        "s" => Ok(Identifier::String(value.into())),
        "g" => Guid::from_str(value).map(Identifier::Guid).map_err(|_| format!("expected a GUID, found {value:?}")),
        "b" => ByteString::from_base64(value)
            .filter(|bytes| !bytes.is_null_or_empty())
            .map(Identifier::ByteString)
            .ok_or_else(|| format!("expected base64, found {value:?}")),
        _ => Err(expected()),
    }
}

fn path(text: &str) -> Result<Vec<(u16, String)>, String> {
    let mut names = vec![String::new()];
    // An escaped colon is part of the name, so that the index is cut off while reading.
    let mut indices: Vec<Option<u16>> = vec![None];
    let mut characters = text[1..].chars();
    while let Some(character) = characters.next() {
        let (name, index) = (names.last_mut().expect("never empty"), indices.last_mut().expect("never empty"));
        match character {
            '&' => name.push(characters.next().ok_or("expected a character after & in the browse path")?),
            '/' => {
                names.push(String::new());
                indices.push(None);
            }
            ':' if index.is_none() && !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) => {
                *index = Some(name.parse().map_err(|_| format!("expected a namespace index of 0 to 65535, found {name:?}"))?);
                name.clear();
            }
            _ => name.push(character),
        }
    }
    if names.iter().any(String::is_empty) {
        return Err("expected a browse name between the slashes: /Objects/2:Plant/2:Level".to_owned());
    }
    if names.len() > MAX_ELEMENTS {
        return Err(format!("expected at most {MAX_ELEMENTS} elements of a browse path"));
    }
    Ok(indices.into_iter().map(Option::unwrap_or_default).zip(names).collect())
}

impl NodeAddress {
    /// The NodeId on a server with these namespaces; `None` for a browse path, which only the server can translate.
    ///
    /// # Errors
    /// A fragment when the server has no such namespace.
    pub fn node_id(&self, namespaces: &Namespaces) -> Result<Option<NodeId>, String> {
        let Self::Node(namespace, identifier) = self else { return Ok(None) };
        let index = match namespace {
            Namespace::Index(index) => *index,
            Namespace::Uri(uri) => namespaces.index(uri).ok_or_else(|| format!("the server has no namespace {uri:?}"))?,
        };
        Ok(Some(NodeId::new(index, identifier.clone())))
    }

    /// The browse names from the Root folder on; `None` for a NodeId.
    #[must_use]
    pub fn path(&self) -> Option<&[(u16, String)]> {
        match self {
            Self::Path(names) => Some(names),
            Self::Node(..) => None,
        }
    }

    /// Where browse paths begin.
    #[must_use]
    pub fn root() -> NodeId {
        NodeId::new(0, ROOT)
    }
}

/// A NodeId as an address that survives a change of the server's namespace indices.
#[must_use]
pub fn stable(node: &NodeId, namespaces: &Namespaces) -> String {
    match namespaces.uri(node.namespace) {
        _ if node.namespace == 0 => format!("{}", Id(&node.identifier)),
        Some(uri) => format!("nsu={};{}", uri.replace('%', "%25").replace(';', "%3B"), Id(&node.identifier)),
        None => format!("ns={};{}", node.namespace, Id(&node.identifier)),
    }
}

struct Id<'a>(&'a Identifier);

impl fmt::Display for Id<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Identifier::Numeric(number) => write!(f, "i={number}"),
            Identifier::String(text) => write!(f, "s={}", text.as_ref()),
            Identifier::Guid(guid) => write!(f, "g={guid}"),
            Identifier::ByteString(bytes) => write!(f, "b={}", bytes.as_base64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespaces() -> Namespaces {
        Namespaces(["http://opcfoundation.org/UA/", "urn:server", "urn:plant;v=1%"].map(str::to_owned).to_vec())
    }

    #[test]
    fn node_ids_are_read_and_written_back() {
        let map = namespaces();
        for (text, stable_text) in [
            ("i=2258", "i=2258"),
            ("ns=1;s=A;s=B", "nsu=urn:server;s=A;s=B"),
            ("nsu=urn:plant%3Bv=1%25;s=Tank/Level", "nsu=urn:plant%3Bv=1%25;s=Tank/Level"),
            ("ns=7;i=4", "ns=7;i=4"),
            ("ns=1;g=72962b91-fa75-4ae6-8d28-b404dc7daf63", "nsu=urn:server;g=72962b91-fa75-4ae6-8d28-b404dc7daf63"),
            ("ns=1;b=TQ==", "nsu=urn:server;b=TQ=="),
        ] {
            let node = text.parse::<NodeAddress>().unwrap().node_id(&map).unwrap().unwrap();
            assert_eq!(stable(&node, &map), stable_text, "{text}");
        }
    }

    #[test]
    fn a_namespace_that_the_server_does_not_have_is_named() {
        let address: NodeAddress = "nsu=urn:other;i=1".parse().unwrap();
        assert!(address.node_id(&namespaces()).unwrap_err().contains("urn:other"));
    }

    #[test]
    fn browse_paths_have_escapes() {
        let address: NodeAddress = "/Objects/2:Plant/2:A&/B/10&:30/3:4:5".parse().unwrap();
        let expected = [(0, "Objects"), (2, "Plant"), (2, "A/B"), (0, "10:30"), (3, "4:5")];
        assert_eq!(address, NodeAddress::Path(expected.map(|(index, name)| (index, name.to_owned())).to_vec()));
        assert_eq!(address.path().unwrap().len(), 5);
    }

    #[test]
    fn what_is_no_address_is_refused_with_a_reason() {
        for bad in [
            "",
            "Level",
            "x=1",
            "i=-1",
            "i=",
            "s=",
            "g=1",
            "b=",
            "b=***",
            "ns=2",
            "ns=70000;i=1",
            "nsu=;i=1",
            "nsu=urn:a",
            "/",
            "/a//b",
            "/a/",
            "/a&",
            "/99999:a",
        ] {
            assert!(bad.parse::<NodeAddress>().is_err(), "{bad:?}");
        }
    }
}
