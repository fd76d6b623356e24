//! The nodes of ours that every address space has: the methods of `System/Gateway/Twilio`, the structure type of the statistics,
//! and the metadata of our namespace.

use super::{
    super::wire::{Id, Identifier, STATISTICS_ENCODING},
    NAMESPACE, NAMESPACE_URI, STATISTICS_TYPE, TWILIO,
};
use crate::tag::DataType;

/// The number of the NamespaceMetadata object; its properties follow.
const METADATA: u32 = 10;

/// One argument of a method: name, DataType, what it is.
pub type Argument = (&'static str, Id<'static>, &'static str);

/// The methods of `System/Gateway/Twilio`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    SendMessage,
    PlaceCall,
    GetUser,
}

impl Method {
    const ALL: [Self; 3] = [Self::SendMessage, Self::PlaceCall, Self::GetUser];

    /// Its BrowseName.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendMessage => "SendMessage",
            Self::PlaceCall => "PlaceCall",
            Self::GetUser => "GetUser",
        }
    }

    /// What it does.
    pub const fn description(self) -> &'static str {
        match self {
            Self::SendMessage => "Sends a text; true when Twilio accepted it",
            Self::PlaceCall => "Calls and speaks the message",
            Self::GetUser => "Name, number and counters of one user",
        }
    }

    /// What goes in.
    pub const fn inputs(self) -> &'static [Argument] {
        const TEXT: Id<'static> = Id::numeric(0, 12);
        const INT64: Id<'static> = Id::numeric(0, 8);
        match self {
            Self::SendMessage => {
                const { &[("Number", TEXT, "Phone number, E.164 or national"), ("Message", TEXT, "Text of the message")] }
            }
            Self::PlaceCall => {
                const { &[("Number", TEXT, "Phone number, E.164 or national"), ("Message", TEXT, "Text to be spoken")] }
            }
            Self::GetUser => const { &[("Id", INT64, "Stable id of the user")] },
        }
    }

    /// What comes out.
    pub const fn outputs(self) -> &'static [Argument] {
        const BOOLEAN: Id<'static> = Id::numeric(0, 1);
        match self {
            Self::SendMessage | Self::PlaceCall => const { &[("Accepted", BOOLEAN, "True when Twilio accepted it")] },
            Self::GetUser => const { &[("User", STATISTICS_TYPE, "Name, number and counters of the user")] },
        }
    }
}

/// A property of the NamespaceMetadata object (Part 5, 6.3.13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Metadata {
    NamespaceUri,
    NamespaceVersion,
    NamespacePublicationDate,
    IsNamespaceSubset,
    StaticNodeIdTypes,
    StaticNumericNodeIdRange,
    StaticStringNodeIdPattern,
    DefaultRolePermissions,
    DefaultUserRolePermissions,
    DefaultAccessRestrictions,
    ConfigurationVersion,
}

impl Metadata {
    const ALL: [Self; 11] = [
        Self::NamespaceUri,
        Self::NamespaceVersion,
        Self::NamespacePublicationDate,
        Self::IsNamespaceSubset,
        Self::StaticNodeIdTypes,
        Self::StaticNumericNodeIdRange,
        Self::StaticStringNodeIdPattern,
        Self::DefaultRolePermissions,
        Self::DefaultUserRolePermissions,
        Self::DefaultAccessRestrictions,
        Self::ConfigurationVersion,
    ];

    /// BrowseName, DataType in namespace 0, ValueRank.
    pub const fn describe(self) -> (&'static str, u32, i32) {
        match self {
            Self::NamespaceUri => ("NamespaceUri", 12, -1),
            Self::NamespaceVersion => ("NamespaceVersion", 12, -1),
            Self::NamespacePublicationDate => ("NamespacePublicationDate", 13, -1),
            Self::IsNamespaceSubset => ("IsNamespaceSubset", 1, -1),
            Self::StaticNodeIdTypes => ("StaticNodeIdTypes", 256, 1),
            Self::StaticNumericNodeIdRange => ("StaticNumericNodeIdRange", 291, 1),
            Self::StaticStringNodeIdPattern => ("StaticStringNodeIdPattern", 12, -1),
            Self::DefaultRolePermissions => ("DefaultRolePermissions", 96, 1),
            Self::DefaultUserRolePermissions => ("DefaultUserRolePermissions", 96, 1),
            Self::DefaultAccessRestrictions => ("DefaultAccessRestrictions", 95, -1),
            Self::ConfigurationVersion => ("ConfigurationVersion", 20_998, -1),
        }
    }
}

/// What a fixed node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// A method.
    Method(Method),
    /// The InputArguments (true) or OutputArguments of a method.
    Arguments(Method, bool),
    /// `TwilioUserStatisticsType`.
    DataType,
    /// Its Default Binary.
    Encoding,
    /// The NamespaceMetadata of our namespace.
    Metadata,
    /// A property of it.
    Property(Metadata),
}

impl Fixed {
    /// How many there are.
    pub const COUNT: u32 = 3 * 3 + 3 + 11;

    /// The one at a place below [`Self::COUNT`].
    pub const fn at(place: u32) -> Self {
        match place {
            0..3 => Self::Method(Method::ALL[place as usize]),
            3..6 => Self::Arguments(Method::ALL[place as usize - 3], true),
            6..9 => Self::Arguments(Method::ALL[place as usize - 6], false),
            9 => Self::DataType,
            10 => Self::Encoding,
            11 => Self::Metadata,
            _ => Self::Property(Metadata::ALL[(place as usize - 12) % Metadata::ALL.len()]),
        }
    }

    /// All of them by place.
    pub fn all() -> impl Iterator<Item = (u32, Self)> {
        (0..Self::COUNT).map(|place| (place, Self::at(place)))
    }

    /// The place of the node with this id.
    pub fn find(identifier: Identifier<'_>) -> Option<u32> {
        match identifier {
            Identifier::Text(path) if !path.starts_with(TWILIO) => None,
            _ => Self::all().find(|(_, fixed)| fixed.with_id(|id| id.identifier == identifier)).map(|(place, _)| place),
        }
    }

    /// Calls `with` with its NodeId.
    pub fn with_id<T>(self, with: impl FnOnce(Id<'_>) -> T) -> T {
        match self {
            Self::Method(method) => with(Id::text(NAMESPACE, &format!("{TWILIO}/{}", method.name()))),
            Self::Arguments(method, _) => {
                with(Id::text(NAMESPACE, &format!("{TWILIO}/{}/0:{}", method.name(), self.browse_name().1)))
            }
            Self::DataType => with(STATISTICS_TYPE),
            Self::Encoding => with(STATISTICS_ENCODING),
            Self::Metadata => with(Id::numeric(NAMESPACE, METADATA)),
            Self::Property(property) => with(Id::numeric(NAMESPACE, METADATA + 1 + property as u32)),
        }
    }

    /// Its BrowseName: namespace and name.
    pub const fn browse_name(self) -> (u16, &'static str) {
        match self {
            Self::Method(method) => (NAMESPACE, method.name()),
            Self::Arguments(_, true) => (0, "InputArguments"),
            Self::Arguments(_, false) => (0, "OutputArguments"),
            Self::DataType => (NAMESPACE, DataType::UserStatistics.name()),
            Self::Encoding => (0, "Default Binary"),
            Self::Metadata => (NAMESPACE, NAMESPACE_URI),
            Self::Property(property) => (0, property.describe().0),
        }
    }

    /// Its NodeClass (Part 3, 8.29).
    pub const fn class(self) -> u32 {
        match self {
            Self::Encoding | Self::Metadata => 1,
            Self::Arguments(..) | Self::Property(_) => 2,
            Self::Method(_) => 4,
            Self::DataType => 64,
        }
    }

    /// Its type definition; zero for nodes that have none.
    pub const fn type_definition(self) -> u32 {
        match self {
            Self::Encoding => 76,
            Self::Metadata => 11_616,
            Self::Arguments(..) | Self::Property(_) => 68,
            Self::Method(_) | Self::DataType => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_by_its_own_id() {
        for (place, fixed) in Fixed::all() {
            assert_eq!(fixed.with_id(|id| Fixed::find(id.identifier)), Some(place), "{fixed:?}");
        }
        assert_eq!(Fixed::at(Fixed::COUNT - 1), Fixed::Property(Metadata::ConfigurationVersion));
    }
}
