//! Attributes of the objects of sessions (Part 5, 6.3.6).

use super::{
    super::{
        diag::Table,
        ns0::{Core, attribute},
        space::Space,
        wire::Writer,
    },
    View,
    roles::More,
    status,
    values::{localized, put},
};
use crate::tag::{StatusCode, Value};

impl View {
    pub(super) fn session_variant(&self, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match attribute {
            attribute::DESCRIPTION => localized(w, ""),
            attribute::EVENT_NOTIFIER => put(w, &Value::Byte(0)),
            attribute::ROLE_PERMISSIONS | attribute::USER_ROLE_PERMISSIONS | attribute::ACCESS_RESTRICTIONS => {
                self.permissions(More::Nothing, attribute, w)
            }
            _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    /// A member is as its declaration says, but for its value and who may read it.
    pub(super) fn session_member_variant(
        &self,
        number: u32,
        member: u16,
        attribute: u32,
        w: &mut Writer,
    ) -> Result<(), StatusCode> {
        let member = Space::session_member(member);
        let (table, field) = Table::of_member(&member.path).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
        let may = table.is_for(self.role);
        match attribute {
            attribute::VALUE if may => {
                let session = self.space.session(number).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)?;
                let is_there = table.write_of(&session, field, &self.server, w);
                is_there.then_some(()).ok_or(StatusCode::BAD_NODE_ID_UNKNOWN)
            }
            attribute::VALUE => Err(StatusCode::BAD_USER_ACCESS_DENIED),
            attribute::ACCESS_LEVEL => put(w, &Value::Byte(1)),
            attribute::USER_ACCESS_LEVEL => put(w, &Value::Byte(may.into())),
            attribute::ROLE_PERMISSIONS | attribute::USER_ROLE_PERMISSIONS | attribute::ACCESS_RESTRICTIONS => {
                let more = if table == Table::Security { More::Secret } else { More::Nothing };
                self.permissions(more, attribute, w)
            }
            _ => {
                let declared = Core::get().attribute(member.declaration, attribute);
                w.0.extend_from_slice(declared.ok_or(status::BAD_ATTRIBUTE_ID_INVALID)?);
                Ok(())
            }
        }
    }
}
