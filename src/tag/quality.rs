//! Quality: the OPC UA StatusCode of a value.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An OPC UA StatusCode (Part 4, 7.39; codes from the official `StatusCode.csv`): bits 31–30 are the severity (00 Good, 01
/// Uncertain, 10 Bad).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StatusCode(pub u32);

macro_rules! status_codes {
    ($($(#[$doc:meta])* $constant:ident $name:literal = $code:literal;)*) => {
        impl StatusCode {
            $(#[doc = concat!("`", $name, "`.")] $(#[$doc])* pub const $constant: Self = Self($code);)*

            /// The standard's name of the code without its info bits, when it is one that this program uses.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 & 0xFFFF_0000 {
                    $($code => Some($name),)*
                    _ => None,
                }
            }
        }
    };
}

status_codes! {
    /// The value is as the device gave it.
    GOOD "Good" = 0x0000_0000;
    /// The value was forced by a person.
    GOOD_LOCAL_OVERRIDE "GoodLocalOverride" = 0x0096_0000;
    /// A write was accepted but limited.
    GOOD_CLAMPED "GoodClamped" = 0x0030_0000;
    /// The device took the write and goes on working at it.
    GOOD_COMPLETES_ASYNCHRONOUSLY "GoodCompletesAsynchronously" = 0x002E_0000;
    /// The quality is uncertain for no stated reason.
    UNCERTAIN "Uncertain" = 0x4000_0000;
    /// The link is lost; this is the last good value.
    UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE "UncertainNoCommunicationLastUsableValue" = 0x408F_0000;
    /// The source is quiet; this is the last good value.
    UNCERTAIN_LAST_USABLE_VALUE "UncertainLastUsableValue" = 0x4090_0000;
    /// A configured default, not yet a real value.
    UNCERTAIN_INITIAL_VALUE "UncertainInitialValue" = 0x4092_0000;
    /// The value lies beyond its engineering range.
    UNCERTAIN_ENGINEERING_UNITS_EXCEEDED "UncertainEngineeringUnitsExceeded" = 0x4094_0000;
    /// The value is bad for no stated reason.
    BAD "Bad" = 0x8000_0000;
    BAD_UNEXPECTED_ERROR "BadUnexpectedError" = 0x8001_0000;
    BAD_INTERNAL_ERROR "BadInternalError" = 0x8002_0000;
    BAD_RESOURCE_UNAVAILABLE "BadResourceUnavailable" = 0x8004_0000;
    BAD_COMMUNICATION_ERROR "BadCommunicationError" = 0x8005_0000;
    BAD_TIMEOUT "BadTimeout" = 0x800A_0000;
    BAD_NOTHING_TO_DO "BadNothingToDo" = 0x800F_0000;
    BAD_TOO_MANY_OPERATIONS "BadTooManyOperations" = 0x8010_0000;
    BAD_USER_ACCESS_DENIED "BadUserAccessDenied" = 0x801F_0000;
    /// The link to the device is down and no last value exists.
    BAD_NO_COMMUNICATION "BadNoCommunication" = 0x8031_0000;
    /// Nothing was read yet.
    BAD_WAITING_FOR_INITIAL_DATA "BadWaitingForInitialData" = 0x8032_0000;
    BAD_NODE_ID_UNKNOWN "BadNodeIdUnknown" = 0x8034_0000;
    BAD_NOT_READABLE "BadNotReadable" = 0x803A_0000;
    BAD_NOT_WRITABLE "BadNotWritable" = 0x803B_0000;
    BAD_OUT_OF_RANGE "BadOutOfRange" = 0x803C_0000;
    BAD_NOT_SUPPORTED "BadNotSupported" = 0x803D_0000;
    BAD_NOT_FOUND "BadNotFound" = 0x803E_0000;
    BAD_OBJECT_DELETED "BadObjectDeleted" = 0x803F_0000;
    BAD_WRITE_NOT_SUPPORTED "BadWriteNotSupported" = 0x8073_0000;
    BAD_TYPE_MISMATCH "BadTypeMismatch" = 0x8074_0000;
    BAD_CONFIGURATION_ERROR "BadConfigurationError" = 0x8089_0000;
    BAD_NOT_CONNECTED "BadNotConnected" = 0x808A_0000;
    BAD_DEVICE_FAILURE "BadDeviceFailure" = 0x808B_0000;
    BAD_SENSOR_FAILURE "BadSensorFailure" = 0x808C_0000;
    /// Disabled on purpose.
    BAD_OUT_OF_SERVICE "BadOutOfService" = 0x808D_0000;
    BAD_CONDITION_ALREADY_DISABLED "BadConditionAlreadyDisabled" = 0x8098_0000;
    BAD_CONDITION_DISABLED "BadConditionDisabled" = 0x8099_0000;
    BAD_EVENT_ID_UNKNOWN "BadEventIdUnknown" = 0x809A_0000;
    BAD_INVALID_ARGUMENT "BadInvalidArgument" = 0x80AB_0000;
    BAD_INVALID_STATE "BadInvalidState" = 0x80AF_0000;
    BAD_CONDITION_ALREADY_ENABLED "BadConditionAlreadyEnabled" = 0x80CC_0000;
    BAD_CONDITION_BRANCH_ALREADY_ACKED "BadConditionBranchAlreadyAcked" = 0x80CF_0000;
    BAD_CONDITION_ALREADY_SHELVED "BadConditionAlreadyShelved" = 0x80D1_0000;
    BAD_CONDITION_NOT_SHELVED "BadConditionNotShelved" = 0x80D2_0000;
    BAD_SHELVING_TIME_OUT_OF_RANGE "BadShelvingTimeOutOfRange" = 0x80D3_0000;
}

impl StatusCode {
    /// Severity 00.
    #[must_use]
    pub const fn is_good(self) -> bool {
        self.0 >> 30 == 0
    }

    /// Severity 01.
    #[must_use]
    pub const fn is_uncertain(self) -> bool {
        self.0 >> 30 == 1
    }

    /// Severity 10 (and the reserved 11).
    #[must_use]
    pub const fn is_bad(self) -> bool {
        self.0 >> 31 == 1
    }

    /// True when alarms may be evaluated on a value of this quality: Good, or an Uncertain that the device itself sent. What
    /// this program marks when a source is lost or quiet is not usable (SPEC 4).
    #[must_use]
    pub const fn is_usable(self) -> bool {
        let code = self.0 & 0xFFFF_0000;
        !self.is_bad()
            && code != Self::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE.0
            && code != Self::UNCERTAIN_LAST_USABLE_VALUE.0
            && code != Self::UNCERTAIN_INITIAL_VALUE.0
    }

    /// The worse of two qualities: Bad over Uncertain over Good; the first of two equals.
    #[must_use]
    pub const fn worst(self, other: Self) -> Self {
        if other.0 >> 30 > self.0 >> 30 { other } else { self }
    }
}

impl fmt::Display for StatusCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "0x{:08X}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severity_is_in_the_top_bits() {
        assert!(StatusCode::GOOD.is_good() && StatusCode(0x0000_0480).is_good());
        assert!(StatusCode::UNCERTAIN_LAST_USABLE_VALUE.is_uncertain());
        assert!(StatusCode::BAD_TIMEOUT.is_bad());
        assert_eq!(StatusCode::GOOD.worst(StatusCode::BAD), StatusCode::BAD);
        assert_eq!(StatusCode::BAD_TIMEOUT.worst(StatusCode::UNCERTAIN), StatusCode::BAD_TIMEOUT);
    }

    #[test]
    fn what_we_mark_ourselves_is_not_usable() {
        assert!(StatusCode::UNCERTAIN_ENGINEERING_UNITS_EXCEEDED.is_usable());
        assert!(!StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE.is_usable());
        assert!(!StatusCode::BAD_WAITING_FOR_INITIAL_DATA.is_usable());
        assert_eq!(StatusCode(0x0000_0480).to_string(), "Good");
        assert_eq!(StatusCode(0x1234_0000).to_string(), "0x12340000");
    }
}
