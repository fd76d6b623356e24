//! A structure whose fields are variables of their own too, as diagnostics have them.

use super::super::wire::{Id, Writer};

/// An encoded structure that knows its fields.
#[derive(Debug)]
pub struct Structure {
    /// Of its encoding.
    type_id: Id<'static>,
    body: Writer,
    fields: Vec<Field>,
}

#[derive(Debug)]
struct Field {
    name: &'static str,
    kind: Kind,
    /// Where it ends in the body; it begins where the one before ends.
    end: usize,
}

/// What a Variant says before a field.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Of this built-in type (Part 6, 5.1.2).
    BuiltIn(u8),
    /// An array of it.
    ArrayOf(u8),
    /// A structure with this encoding in namespace 0.
    Structure(u32),
}

impl Structure {
    /// One without fields yet.
    pub fn new(type_id: Id<'static>) -> Self {
        Self { type_id, body: Writer::default(), fields: Vec::new() }
    }

    /// One more field; what `write` writes must be of that kind.
    pub fn put(&mut self, name: &'static str, kind: Kind, write: impl FnOnce(&mut Writer)) {
        write(&mut self.body);
        self.fields.push(Field { name, kind, end: self.body.0.len() });
    }

    /// Writes it as an ExtensionObject.
    pub fn write(&self, w: &mut Writer) {
        w.extension(self.type_id, |w| w.0.extend_from_slice(&self.body.0));
    }

    /// Writes one field as a Variant; false when there is none of this name.
    pub fn write_field(&self, name: &str, w: &mut Writer) -> bool {
        let Some(place) = self.fields.iter().position(|field| field.name == name) else { return false };
        let begin = place.checked_sub(1).map_or(0, |before| self.fields[before].end);
        let body = &self.body.0[begin..self.fields[place].end];
        match self.fields[place].kind {
            Kind::BuiltIn(kind) => w.u8(kind),
            Kind::ArrayOf(kind) => w.u8(kind | 0x80),
            Kind::Structure(encoding) => {
                w.u8(22);
                w.extension(Id::numeric(0, encoding), |w| w.0.extend_from_slice(body));
                return true;
            }
        }
        w.0.extend_from_slice(body);
        true
    }
}
