//! Attributes of the nodes of ours: tags, folders, alarms with their members, and what is always there.

use super::{
    super::{
        ns0::{Core, attribute},
        space::{Fixed, Kind, Metadata, NAMESPACE_URI, NodeRef, Property},
        wire::{Id, Writer},
    },
    View, data_type_id,
    roles::{self, More},
    status,
    values::{arguments, field, localized, property, put, range_value, structure_definition, unit_value},
};
use crate::{
    engine::plan::{Role, TagDef},
    tag::{DataType, Rank, StatusCode, Value},
};

const STRUCTURE_DEFINITION: Id<'static> = Id::numeric(0, 122);
/// A write sets the whole array (Part 3, 8.58).
const WRITE_FULL_ARRAY_ONLY: u32 = 1 << 10;

impl View {
    pub(super) fn own_variant(&self, index: u32, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match (self.space.kind(index), attribute) {
            (kind, attribute::DESCRIPTION) => localized(
                w,
                match kind {
                    Kind::Tag(def) => &def.description,
                    Kind::Fixed(Fixed::Method(method)) => method.description(),
                    Kind::Folder | Kind::Alarm(_) | Kind::Fixed(_) => "",
                },
            ),
            (kind, attribute::ROLE_PERMISSIONS | attribute::USER_ROLE_PERMISSIONS | attribute::ACCESS_RESTRICTIONS) => {
                let more = match kind {
                    Kind::Tag(def) => More::of_tag(def),
                    Kind::Fixed(Fixed::Method(_)) => More::Call(Role::Operator),
                    Kind::Folder | Kind::Alarm(_) | Kind::Fixed(_) => More::Nothing,
                };
                self.permissions(more, attribute, w)
            }
            (Kind::Tag(def), _) => self.tag_variant(def, attribute, w),
            (Kind::Alarm(_), attribute::EVENT_NOTIFIER) => put(w, &Value::Byte(0)),
            (Kind::Folder, attribute::EVENT_NOTIFIER) => {
                let is_notifier = self.space.is_notifier(NodeRef::Own(index));
                put(w, &Value::Byte(is_notifier.into()))
            }
            (Kind::Fixed(fixed), _) => self.fixed_variant(fixed, attribute, w),
            (Kind::Folder | Kind::Alarm(_), _) => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    pub(super) fn permissions(&self, more: More, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match attribute {
            attribute::ACCESS_RESTRICTIONS => return put(w, &Value::UInt16(0)),
            attribute::ROLE_PERMISSIONS if self.role < Role::Engineer => return Err(StatusCode::BAD_USER_ACCESS_DENIED),
            attribute::ROLE_PERMISSIONS => roles::write(more, Role::Engineer, w),
            _ => roles::write(more, self.role, w),
        }
        Ok(())
    }

    fn tag_variant(&self, def: &TagDef, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match attribute {
            attribute::DATA_TYPE => {
                w.u8(17);
                w.id(data_type_id(def.value_type.data_type));
                Ok(())
            }
            attribute::VALUE_RANK => put(w, &Value::Int32(if def.value_type.rank == Rank::Scalar { -1 } else { 1 })),
            attribute::ARRAY_DIMENSIONS => match def.value_type.rank {
                Rank::Scalar => put(w, &Value::Null),
                Rank::Array(length) => put(w, &Value::Array(DataType::UInt32, [Value::UInt32(length)].into())),
            },
            attribute::ACCESS_LEVEL => put(w, &Value::Byte(1 | u8::from(def.writable) << 1 | u8::from(def.history) << 2)),
            attribute::USER_ACCESS_LEVEL => {
                let may_write = def.writable && self.role >= def.write_role;
                put(w, &Value::Byte(1 | u8::from(may_write) << 1 | u8::from(def.history) << 2))
            }
            attribute::ACCESS_LEVEL_EX => {
                let whole = if def.value_type.rank == Rank::Scalar { 0 } else { WRITE_FULL_ARRAY_ONLY };
                put(w, &Value::UInt32(1 | u32::from(def.writable) << 1 | u32::from(def.history) << 2 | whole))
            }
            attribute::MINIMUM_SAMPLING_INTERVAL => put(w, &Value::Double(0.0)),
            attribute::HISTORIZING => put(w, &Value::Boolean(def.history)),
            _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    pub(super) fn property_variant(&self, owner: u32, which: Property, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match attribute {
            attribute::DESCRIPTION => localized(w, ""),
            attribute::VALUE => match (which, self.space.tag(owner)) {
                (Property::Version, _) => put(w, &Value::string(self.space.version(owner).to_string())),
                (Property::Range, Some(def)) => range_value(def, w),
                (Property::Units, Some(def)) => unit_value(def, w),
                (Property::Range | Property::Units, None) => Err(StatusCode::BAD_NODE_ID_UNKNOWN),
            },
            _ => property(w, attribute, Id::numeric(0, which.data_type()), -1),
        }
    }

    /// A member is as its declaration says, but for its id, its value and who may call it.
    pub(super) fn member_variant(&self, alarm: u32, member: u16, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        let (Some(def), member) = (self.space.alarm(alarm), self.space.member(alarm, member)) else {
            return Err(StatusCode::BAD_NODE_ID_UNKNOWN);
        };
        let declared = Core::get().attribute(member.declaration, attribute);
        let method = || roles::standard_method(Core::get().id(member.declaration));
        match attribute {
            attribute::VALUE if member.class() == 2 && !member.is_arguments() => {
                self.server.conditions.catch_up(&self.server.events);
                let value = self.server.conditions.member(&def.path, &member.path);
                return field(&value.ok_or(StatusCode::BAD_WAITING_FOR_INITIAL_DATA)?, w);
            }
            attribute::EXECUTABLE if member.class() == 4 => return put(w, &Value::Boolean(true)),
            attribute::USER_EXECUTABLE if member.class() == 4 => {
                return put(w, &Value::Boolean(method().is_some_and(|least| self.role >= least)));
            }
            attribute::ROLE_PERMISSIONS | attribute::USER_ROLE_PERMISSIONS | attribute::ACCESS_RESTRICTIONS => {
                return self.permissions(method().map_or(More::Nothing, More::Call), attribute, w);
            }
            attribute::ACCESS_LEVEL | attribute::USER_ACCESS_LEVEL if member.class() == 2 => return put(w, &Value::Byte(1)),
            _ => {}
        }
        w.0.extend_from_slice(declared.ok_or(status::BAD_ATTRIBUTE_ID_INVALID)?);
        Ok(())
    }

    fn fixed_variant(&self, fixed: Fixed, attribute: u32, w: &mut Writer) -> Result<(), StatusCode> {
        match (fixed, attribute) {
            (Fixed::Encoding | Fixed::Metadata, attribute::EVENT_NOTIFIER) => put(w, &Value::Byte(0)),
            (Fixed::Method(_), attribute::EXECUTABLE) => put(w, &Value::Boolean(true)),
            (Fixed::Method(_), attribute::USER_EXECUTABLE) => put(w, &Value::Boolean(self.role >= Role::Operator)),
            (Fixed::DataType, attribute::IS_ABSTRACT) => put(w, &Value::Boolean(false)),
            (Fixed::DataType, attribute::DATA_TYPE_DEFINITION) => {
                w.u8(22);
                w.extension(STRUCTURE_DEFINITION, structure_definition);
                Ok(())
            }
            (Fixed::Arguments(method, input), attribute::VALUE) => {
                arguments(if input { method.inputs() } else { method.outputs() }, w);
                Ok(())
            }
            (Fixed::Arguments(..), _) => property(w, attribute, Id::numeric(0, 296), 1),
            (Fixed::Property(which), attribute::VALUE) => self.metadata(which, w),
            (Fixed::Property(which), _) => {
                let (_, data_type, rank) = which.describe();
                property(w, attribute, Id::numeric(0, data_type), rank)
            }
            _ => Err(status::BAD_ATTRIBUTE_ID_INVALID),
        }
    }

    fn metadata(&self, which: Metadata, w: &mut Writer) -> Result<(), StatusCode> {
        match which {
            Metadata::NamespaceUri => put(w, &Value::string(NAMESPACE_URI)),
            Metadata::NamespaceVersion => put(w, &Value::string(self.space.version.to_string())),
            Metadata::ConfigurationVersion => put(w, &Value::UInt32(self.space.version)),
            Metadata::NamespacePublicationDate => put(w, &Value::DateTime(self.server.started)),
            Metadata::IsNamespaceSubset => put(w, &Value::Boolean(false)),
            Metadata::StaticNodeIdTypes => {
                w.array(6, 0);
                Ok(())
            }
            Metadata::StaticNumericNodeIdRange => {
                w.array(12, 0);
                Ok(())
            }
            Metadata::StaticStringNodeIdPattern => put(w, &Value::string("")),
            Metadata::DefaultRolePermissions => self.permissions(More::Nothing, attribute::ROLE_PERMISSIONS, w),
            Metadata::DefaultUserRolePermissions => self.permissions(More::Nothing, attribute::USER_ROLE_PERMISSIONS, w),
            Metadata::DefaultAccessRestrictions => self.permissions(More::Nothing, attribute::ACCESS_RESTRICTIONS, w),
        }
    }
}
