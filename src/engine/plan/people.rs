//! Users, schedules and `[people]` (SPEC 3, 7.2).

use serde::{Deserialize, Serialize};

use super::{Priority, Role, Secret};
use crate::tag::Timestamp;

/// `[[user]]` (SPEC 3).
#[derive(Debug, Default)]
pub struct UserDef {
    /// Unique.
    pub name: String,
    /// Stable; `None` until the daemon allocates one from 1001 on.
    pub id: Option<i64>,
    /// In the order in which they are tried.
    pub contacts: Vec<Contact>,
    /// 4 to 10 digits.
    pub pin: Option<Secret>,
    /// argon2, for console, API and OPC UA.
    pub password_hash: Option<Secret>,
    /// Thumbprint of the certificate that logs in over OPC UA: SHA-1 or SHA-256 in small hexadecimal digits.
    pub certificate: Option<String>,
    /// The highest of `roles`.
    pub role: Role,
    /// Name of the schedule; `None` for always.
    pub schedule: Option<String>,
    /// For schedules without one, and for messages.
    pub time_zone: Option<String>,
    /// What they agreed to.
    pub consent: Vec<String>,
    /// BCP 47, instead of the voice profile's.
    pub language: Option<String>,
    /// Instead of the voice profile's.
    pub voice: Option<String>,
}

/// One way to reach a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// By text or call.
    pub channel: Channel,
    /// E.164.
    pub number: String,
    /// Less urgent alarms do not use it.
    pub min_priority: Priority,
}

/// How a contact is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A text.
    #[default]
    Sms,
    /// A call.
    Voice,
}

/// `[[token]]`: a program that uses the HTTP API.
#[derive(Clone, Debug)]
pub struct TokenDef {
    /// `None` is role `sender`: only sends and application events.
    pub role: Option<Role>,
    /// argon2.
    pub hash: Secret,
}

/// `[[schedule]]`: when a user is on call (SPEC 7.2).
#[derive(Debug, PartialEq)]
pub struct Schedule {
    /// Unique.
    pub name: String,
    /// IANA name; the user's when left out.
    pub time_zone: Option<String>,
    /// Weekly shifts.
    pub weekly: Vec<Shift>,
    /// When it is otherwise.
    pub except: Vec<Exception>,
}

/// A time in which a schedule's shifts do not count (SPEC 7.2).
#[derive(Clone, Debug, PartialEq)]
pub struct Exception {
    /// Local start.
    pub from: jiff::civil::DateTime,
    /// The first local time after it.
    pub until: jiff::civil::DateTime,
    /// People are on duty all the time; else off duty.
    pub on_duty: bool,
}

/// `[[holiday]]` (SPEC 7.2). Its times are local in each schedule's zone. Whoever has no schedule is always on duty.
#[derive(Clone, Debug, PartialEq)]
pub struct Holiday {
    /// Unique.
    pub name: String,
    /// When, and whether people are on duty then.
    pub time: Exception,
    /// Names of the schedules; all when empty.
    pub schedules: Vec<String>,
}

/// `[[rotation]]`: users who take turns (SPEC 7.2). A roster names it where it could name a user.
#[derive(Clone, Debug, PartialEq)]
pub struct Rotation {
    /// Unique, also among users.
    pub name: String,
    /// In the order of their turns.
    pub users: Vec<String>,
    /// Days of one turn, 1 to 366.
    pub days: u32,
    /// The date on which a turn of the first user begins.
    pub first: jiff::civil::Date,
    /// The local time at which turns begin.
    pub hand_over: jiff::civil::Time,
    /// IANA name; UTC without.
    pub time_zone: Option<String>,
}

/// An override: whenever somebody would be contacted in this time, somebody else is, in their place (SPEC 7.2). From
/// `[[override]]`, or made in operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cover {
    /// Name of the user who stands in.
    pub user: String,
    /// Name of the user who is not contacted.
    pub covers: String,
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// For people.
    #[serde(default)]
    pub note: String,
}

/// A weekly shift; it runs past midnight when `to` is not after `from`.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The days on which it starts.
    pub days: Vec<jiff::civil::Weekday>,
    /// Local start.
    pub from: jiff::civil::Time,
    /// Local end; `None` is 24:00.
    pub to: Option<jiff::civil::Time>,
}

/// `[people]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeopleRules {
    /// ISO 3166 code for numbers without a country code.
    pub default_region: Option<String>,
    /// How numbers are published over OPC UA and the API.
    pub publish_phone: PublishPhone,
    /// Numbers (or prefixes ending in `*`) that may be texted; empty for all.
    pub allow_numbers: Vec<String>,
}

impl PeopleRules {
    /// True for a number in E.164 that may be texted.
    #[must_use]
    pub fn allows(&self, number: &str) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => number.starts_with(prefix),
            None => *pattern == number,
        };
        self.allow_numbers.is_empty() || self.allow_numbers.iter().any(fits)
    }

    /// `number` as `publish_phone` lets it be seen.
    #[must_use]
    pub fn published(&self, number: &str) -> String {
        match self.publish_phone {
            PublishPhone::Full => number.to_owned(),
            PublishPhone::Masked if !number.is_empty() => crate::engine::people::mask_number(number),
            PublishPhone::Masked | PublishPhone::None => String::new(),
        }
    }
}

/// How much of a phone number is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishPhone {
    /// `+1•••4444`.
    #[default]
    Masked,
    /// All of it.
    Full,
    /// Nothing.
    None,
}
