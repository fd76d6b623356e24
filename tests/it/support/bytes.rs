//! OPC UA Binary by hand: what the client made of bytes sends, and what the fuzz targets begin with. Needs nothing of this program.

pub const OPEN: u32 = 446;
pub const GET_ENDPOINTS: u32 = 428;
pub const CREATE_SESSION: u32 = 461;
pub const ACTIVATE_SESSION: u32 = 467;
pub const CLOSE_SESSION: u32 = 473;
pub const BROWSE: u32 = 527;
pub const READ: u32 = 631;
pub const WRITE: u32 = 673;
pub const CALL: u32 = 712;
pub const CREATE_ITEMS: u32 = 751;
pub const CREATE_SUBSCRIPTION: u32 = 787;
pub const PUBLISH: u32 = 826;
pub const DELETE_SUBSCRIPTIONS: u32 = 847;
pub const FAULT: u32 = 397;

/// The little-endian number at a place.
pub fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The little-endian double at a place.
pub fn double(bytes: &[u8], at: usize) -> f64 {
    f64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

pub fn text(text: &str) -> Vec<u8> {
    [&count(text.len())[..], text.as_bytes()].concat()
}

pub fn count(count: usize) -> Vec<u8> {
    u32::try_from(count).unwrap().to_le_bytes().to_vec()
}

/// A null NodeId.
pub fn null() -> Vec<u8> {
    vec![0, 0]
}

/// A NodeId of namespace 0.
pub fn id(id: u32) -> Vec<u8> {
    [&[2, 0, 0][..], &id.to_le_bytes()].concat()
}

/// The NodeId of a tag.
pub fn tag(path: &str) -> Vec<u8> {
    [&[3, 2, 0][..], &text(path)].concat()
}

/// An ExtensionObject with a binary body.
pub fn extension(kind: u32, body: &[u8]) -> Vec<u8> {
    [&id(kind)[..], &[1], &count(body.len()), body].concat()
}

/// The encoded authentication token in what follows the header of a CreateSession response: an opaque NodeId of 32 bytes behind the
/// SessionId, which is longer from the 65,536th on.
pub fn token_of(made: &[u8]) -> Vec<u8> {
    let place = if made[0] == 1 { 4 } else { 7 };
    made[place..place + 1 + 2 + 4 + 32].to_vec()
}

/// A request up to and with its header.
pub fn request(kind: u32, session: &[u8], additional: &[u8]) -> Vec<u8> {
    let handle = 4711_u32.to_le_bytes();
    [&id(kind)[..], session, &[0; 8], &handle, &[0; 4], &[0xFF; 4], &[0; 4], additional].concat()
}

/// An ExtensionObject that is null.
pub const NOTHING_MORE: &[u8] = &[0, 0, 0];

/// A ReadValueId.
pub fn target(node: &[u8], attribute: u32, range: &str) -> Vec<u8> {
    [node, &attribute.to_le_bytes(), &text(range), &[0, 0], &text("")].concat()
}
