//! The checked configuration that the engine works from.
//!
//! `config` makes it from text, nothing else does; every reference in it is resolved, every limit is inside its range. What
//! survives a reload is keyed by name or path, never by a position in these lists.

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    script::Expression,
    tag::{DataType, TagId, TagPath, Value, ValueType},
};

/// Settings that only a driver understands: made by its `settings` function, handed back to it.
pub type Settings = Arc<dyn Any + Send + Sync>;

/// Everything that the configuration says, checked.
#[derive(Debug, Default)]
pub struct Plan {
    /// `[site] name`, for messages.
    pub site: String,
    /// All tags: configured ones, then the program's own (`System/…`, the variables of alarms). Ids come from [`crate::tag::Names`].
    pub tags: Vec<Arc<TagDef>>,
    /// Position in `tags` by id.
    pub tag_index: HashMap<TagId, usize>,
    /// All alarms, the system alarms of SPEC 6.4 among them.
    pub alarms: Vec<Arc<AlarmDef>>,
    /// Position in `alarms` by path.
    pub alarm_index: HashMap<Arc<str>, usize>,
    /// Connections to devices.
    pub sources: Vec<Arc<SourceDef>>,
    /// Twilio profiles by name.
    pub twilio: BTreeMap<String, Arc<TwilioDef>>,
    /// Notification profiles by name.
    pub profiles: BTreeMap<String, Arc<ProfileDef>>,
    /// Users by name.
    pub users: BTreeMap<String, Arc<UserDef>>,
    /// Rosters by name: users in order.
    pub rosters: BTreeMap<String, Vec<String>>,
    /// Schedules by name.
    pub schedules: BTreeMap<String, Arc<Schedule>>,
    /// Pipelines by name.
    pub pipelines: BTreeMap<String, Arc<PipelineDef>>,
    /// API tokens by name.
    pub tokens: BTreeMap<String, TokenDef>,
    /// `[alarms]`.
    pub alarm_rules: AlarmRules,
    /// `[throttle]`.
    pub throttle: Throttle,
    /// `[people]`.
    pub people: PeopleRules,
    /// Ids of the program's own tags.
    pub system: SystemTags,
}

impl Plan {
    /// The definition of `tag`, unless it was removed.
    #[must_use]
    pub fn tag(&self, tag: TagId) -> Option<&Arc<TagDef>> {
        self.tag_index.get(&tag).map(|index| &self.tags[*index])
    }

    /// The alarm at `path` (`<tag path>/Alarms/<name>`).
    #[must_use]
    pub fn alarm(&self, path: &str) -> Option<&Arc<AlarmDef>> {
        self.alarm_index.get(path).map(|index| &self.alarms[*index])
    }

    /// The user whose contact `number` (E.164) is.
    #[must_use]
    pub fn user_by_number(&self, number: &str) -> Option<&Arc<UserDef>> {
        self.users.values().find(|user| user.contacts.iter().any(|contact| contact.number == number))
    }
}

/// Who may do what; each includes the ones before it (SPEC 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    #[default]
    Viewer,
    /// Acknowledges, shelves, sends.
    Operator,
    /// Writes tags, takes out of service, reloads.
    Engineer,
}

impl Role {
    /// The word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Engineer => "engineer",
        }
    }
}

/// How urgent an alarm is (SPEC 1), in rising order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Priority {
    Diagnostic,
    #[default]
    Low,
    Medium,
    High,
    Critical,
}

impl Priority {
    /// All of them, rising.
    pub const ALL: [Self; 5] = [Self::Diagnostic, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The word of the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Diagnostic => "diagnostic",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A tag (SPEC 3).
#[derive(Debug)]
pub struct TagDef {
    /// Its cell in the table.
    pub id: TagId,
    /// Its name everywhere.
    pub path: TagPath,
    /// Type and rank of its value.
    pub value_type: ValueType,
    /// Where its value comes from.
    pub origin: Origin,
    /// Raw to engineering units; applied by the source room, both ways.
    pub scale: Option<Scale>,
    /// Symbol or UNECE code as configured.
    pub unit: Option<String>,
    /// Low and high end in engineering units.
    pub range: Option<(f64, f64)>,
    /// May be written by clients, pipelines, scripts, acknowledgements.
    pub writable: bool,
    /// The least role that may write it.
    pub write_role: Role,
    /// Thins publishing and history only.
    pub deadband: Option<f64>,
    /// How long its source may be quiet.
    pub stale_after: Option<Duration>,
    /// What is kept on a lost source.
    pub on_comm_loss: OnCommLoss,
    /// For people.
    pub description: String,
    /// Where it is browsed when that is not its path; only for the program's own tags.
    pub browse_parent: Option<String>,
}

/// Where a tag's value comes from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A device: the source's name and the driver's address.
    Source {
        /// Name of the source.
        source: Arc<str>,
        /// Made by the driver.
        address: Address,
    },
    /// Kept here.
    Memory {
        /// The first value.
        initial: Value,
        /// Survives restarts.
        retain: bool,
    },
    /// Computed from other tags.
    Derived(Arc<Expression>),
    /// The program's own: written by the engine or the daemon only, except for alarm command variables.
    System,
}

/// A driver's address of one tag.
#[derive(Clone)]
pub struct Address {
    /// As configured, for messages.
    pub text: Arc<str>,
    /// As the driver understood it.
    pub parsed: Settings,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Linear scaling of a raw range onto an engineering range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Raw low and high; they differ.
    pub raw: (f64, f64),
    /// Engineering low and high; they differ.
    pub eu: (f64, f64),
    /// Limits the result to `eu`.
    pub clamp: bool,
}

impl Scale {
    /// Raw to engineering units.
    #[must_use]
    pub fn to_eu(&self, raw: f64) -> f64 {
        let eu = (raw - self.raw.0) / (self.raw.1 - self.raw.0) * (self.eu.1 - self.eu.0) + self.eu.0;
        if self.clamp { eu.clamp(self.eu.0.min(self.eu.1), self.eu.0.max(self.eu.1)) } else { eu }
    }

    /// Engineering units to raw; never clamped, a write out of range is refused before.
    #[must_use]
    pub fn to_raw(&self, eu: f64) -> f64 {
        (eu - self.eu.0) / (self.eu.1 - self.eu.0) * (self.raw.1 - self.raw.0) + self.raw.0
    }
}

/// What a tag shows when its source is lost (SPEC 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCommLoss {
    /// The last value, `UncertainNoCommunicationLastUsableValue`.
    #[default]
    Hold,
    /// `BadNoCommunication`.
    Bad,
}

/// A connection to a device or server.
pub struct SourceDef {
    /// Unique.
    pub name: Arc<str>,
    /// The driver's name: `modbus`, `opcua`, `simulator`.
    pub kind: &'static str,
    /// The driver's own settings.
    pub settings: Settings,
    /// The whole `[[source]]` table and its tags as text: when it is unchanged, a reload leaves the session alone.
    pub fingerprint: u64,
    /// Ids of its state tags and system alarms.
    pub nodes: SourceNodes,
}

impl fmt::Debug for SourceDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceDef").field("name", &self.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// The tags `System/Gateway/Sources/<name>/…`.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct SourceNodes {
    pub connected: TagId,
    pub last_error: TagId,
    pub reconnects: TagId,
    pub good_tags: TagId,
    pub bad_tags: TagId,
    pub reads_per_second: TagId,
    pub write_errors: TagId,
}

/// An alarm (SPEC 6).
#[derive(Debug)]
pub struct AlarmDef {
    /// `<tag path>/Alarms/<name>`, unique.
    pub path: Arc<str>,
    /// The last part of the path.
    pub name: Arc<str>,
    /// The tag that it watches; for system alarms a tag of the program.
    pub tag: TagId,
    /// What makes it active.
    pub mode: Mode,
    /// Value hysteresis, in the tag's units.
    pub deadband: f64,
    /// How long the condition must hold.
    pub on_delay: Duration,
    /// How long it must have ended.
    pub off_delay: Duration,
    /// Urgency.
    pub priority: Priority,
    /// The body of its messages, a template, instead of the profile's.
    pub message: String,
    /// Notification when it becomes active.
    pub pipeline: Option<String>,
    /// Who acknowledges.
    pub ack_mode: AckMode,
    /// Stays until reset by an acknowledgement after it has cleared.
    pub latching: bool,
    /// May be shelved.
    pub shelving: bool,
    /// Suppressed while this Boolean tag is true and Good.
    pub suppressed_by: Option<TagId>,
    /// Associated data.
    pub data: BTreeMap<String, String>,
    /// Writes the acknowledgement to the PLC.
    pub write_back: Option<WriteBack>,
    /// Takes an acknowledgement from the PLC.
    pub ack_from: Option<AckFrom>,
    /// Notifies again when still active this long after its acknowledgement.
    pub re_alarm_after: Option<Duration>,
    /// Its plain variables.
    pub nodes: AlarmNodes,
}

/// When an alarm is active (SPEC 6.1).
#[derive(Clone, Debug)]
pub enum Mode {
    /// Value equals the setpoint.
    Equal(Setpoint),
    /// Value differs from the setpoint.
    NotEqual(Setpoint),
    /// Value above the setpoint.
    Above(Limit),
    /// Value below the setpoint.
    Below(Limit),
    /// Value between two setpoints.
    Between(Limit, Limit),
    /// Value below the first or above the second setpoint.
    Outside(Limit, Limit),
    /// Value outside the tag's `range`.
    OutOfRange,
    /// The tag's own quality is Bad while its source is connected.
    BadQuality,
    /// Every change of value; momentary, never stays active.
    AnyChange,
    /// A bit of an integer value.
    Bit {
        /// 0 is the least significant.
        position: u32,
        /// Active on zero instead of one.
        on_zero: bool,
    },
    /// An expression is true.
    Condition(Arc<Expression>),
    /// Magnitude of change per second over a window exceeds the setpoint; a negative setpoint watches falling.
    RateOfChange {
        /// Units per second.
        setpoint: Limit,
        /// The span over which the slope is taken.
        window: Duration,
    },
    /// Raised and cleared by the engine itself (SPEC 6.4).
    System,
}

/// A setpoint that is compared by order.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The number.
    pub setpoint: Setpoint,
    /// Equality counts as beyond.
    pub inclusive: bool,
}

/// A constant or a number that other tags give.
#[derive(Clone, Debug)]
pub enum Setpoint {
    /// Fixed.
    Constant(Value),
    /// `tag(path)` and arithmetic on it.
    Expression(Arc<Expression>),
}

/// Who acknowledges (SPEC 6.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AckMode {
    /// A person.
    #[default]
    Manual,
    /// Acknowledged when it clears.
    Auto,
    /// Never unacknowledged.
    Unused,
}

/// Writing an acknowledgement back to the PLC (SPEC 9).
#[derive(Clone, Debug)]
pub struct WriteBack {
    /// The target; writable.
    pub tag: TagId,
    /// What is written.
    pub mode: WriteBackMode,
    /// For `set` and the first half of `pulse`.
    pub value: Value,
    /// How long a pulse holds.
    pub hold: Duration,
    /// Gets the acknowledging user's name.
    pub user_tag: Option<TagId>,
    /// Gets the code.
    pub code_tag: Option<TagId>,
    /// Gets the time.
    pub time_tag: Option<TagId>,
    /// Replaces the read-back: confirmed when this tag takes this value.
    pub confirm: Option<(TagId, Value)>,
}

/// How an acknowledgement is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum WriteBackMode {
    Set,
    Pulse,
    Toggle,
    Increment,
}

/// The PLC acknowledges by changing `tag` to `value`.
#[derive(Clone, Debug)]
pub struct AckFrom {
    /// Watched.
    pub tag: TagId,
    /// The value that acknowledges.
    pub value: Value,
}

/// The plain variables of an alarm: consecutive ids in the order of [`AlarmNode`].
#[derive(Clone, Copy, Debug)]
pub struct AlarmNodes {
    /// Id of the first.
    pub first: TagId,
}

impl AlarmNodes {
    /// The id of one of them.
    #[must_use]
    pub const fn id(self, node: AlarmNode) -> TagId {
        TagId(self.first.0 + node as u32)
    }
}

/// The plain variables of an alarm (SPEC 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AlarmNode {
    Active,
    Acked,
    Shelved,
    State,
    Priority,
    ActiveTime,
    AckTime,
    AckUser,
    EventId,
    Ack,
    AckEvent,
    Shelve,
}

impl AlarmNode {
    /// All of them, in the order of their ids.
    pub const ALL: [Self; 12] = [
        Self::Active,
        Self::Acked,
        Self::Shelved,
        Self::State,
        Self::Priority,
        Self::ActiveTime,
        Self::AckTime,
        Self::AckUser,
        Self::EventId,
        Self::Ack,
        Self::AckEvent,
        Self::Shelve,
    ];

    /// Name, type, and whether role operator may write it.
    #[must_use]
    pub const fn describe(self) -> (&'static str, DataType, bool) {
        match self {
            Self::Active => ("Active", DataType::Boolean, false),
            Self::Acked => ("Acked", DataType::Boolean, false),
            Self::Shelved => ("Shelved", DataType::Boolean, false),
            Self::State => ("State", DataType::String, false),
            Self::Priority => ("Priority", DataType::Int32, false),
            Self::ActiveTime => ("ActiveTime", DataType::DateTime, false),
            Self::AckTime => ("AckTime", DataType::DateTime, false),
            Self::AckUser => ("AckUser", DataType::String, false),
            Self::EventId => ("EventId", DataType::String, false),
            Self::Ack => ("Ack", DataType::Boolean, true),
            Self::AckEvent => ("AckEvent", DataType::String, true),
            Self::Shelve => ("Shelve", DataType::Double, true),
        }
    }
}

/// `[[twilio]]`: an account and how to reach it (SPEC 3, 8).
#[derive(Debug)]
pub struct TwilioDef {
    /// Unique.
    pub name: String,
    /// `AC…`.
    pub account_sid: String,
    /// Signs webhooks, and sends unless an API key does.
    pub auth_token: Secret,
    /// A second token during rotation.
    pub auth_token_2: Option<Secret>,
    /// `SK…` and its secret.
    pub api_key: Option<(String, Secret)>,
    /// Number, short code or alphanumeric sender.
    pub from: Option<String>,
    /// `MG…`; wins over `from` for texts.
    pub messaging_service_sid: Option<String>,
    /// What Twilio calls back, without a trailing slash; `None` for outbound-only mode.
    pub external_url: Option<String>,
    /// A further URL that gets a copy of each status.
    pub status_callback: Option<String>,
    /// The body when nothing else gives one.
    pub default_message: String,
    /// Requests per second.
    pub sms_per_second: f64,
    /// Requests per second.
    pub calls_per_second: f64,
    /// Without a trailing slash.
    pub base_url: String,
    /// 1 to 36,000 s.
    pub validity_period: Duration,
    /// How often an outbound-only profile asks for replies and statuses.
    pub poll: Duration,
}

/// A text that appears in no log, error or answer.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// `[[profile]]`: how one kind of message is sent (SPEC 3, 7.3, 7.4).
#[derive(Debug)]
pub struct ProfileDef {
    /// Unique.
    pub name: String,
    /// Name of the Twilio profile.
    pub twilio: String,
    /// For people.
    pub description: String,
    /// The body, a template, when the alarm has none.
    pub message: Option<String>,
    /// Characters, 20 to 1,600.
    pub length_limit: Knob<u32>,
    /// What limits the length.
    pub fit: Fit,
    /// 0 to 900 s.
    pub cooldown: Knob<Duration>,
    /// Template of the cooldown's key instead of profile, step, alarm and contact.
    pub cooldown_key: Option<String>,
    /// Users must have given it.
    pub consent: Option<String>,
    /// Sends nothing and says so.
    pub disabled: Knob<bool>,
    /// Bodies are kept in the audit log.
    pub audit: bool,
    /// `$parameters` by name.
    pub parameters: BTreeMap<String, Parameter>,
}

/// A setting that is fixed or that a tag gives.
#[derive(Clone, Debug, PartialEq)]
pub enum Knob<T> {
    /// Fixed.
    Fixed(T),
    /// Taken from a tag at each use; `fallback` when the tag is not usable or out of range.
    Tag {
        /// The tag.
        tag: TagId,
        /// The key's default.
        fallback: T,
    },
}

/// What limits the length of a text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fit {
    /// At most one segment, and at most `length_limit` characters.
    #[default]
    Segment,
    /// At most `length_limit` characters.
    Characters,
}

/// Where a `$parameters` value comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameter {
    /// A tag's present value.
    Tag(TagId),
    /// A field of the alarm, such as `priority`.
    AlarmField(String),
    /// A fixed text.
    Constant(String),
}

/// `[[user]]` (SPEC 3).
#[derive(Debug)]
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
    /// The highest of `roles`.
    pub role: Role,
    /// Name of the schedule; `None` for always.
    pub schedule: Option<String>,
    /// For schedules without one, and for messages.
    pub time_zone: Option<String>,
    /// What they agreed to.
    pub consent: Vec<String>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// A text.
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
    /// Off duty from, until (local times).
    pub except: Vec<(jiff::civil::DateTime, jiff::civil::DateTime)>,
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

/// `[[pipeline]]` (SPEC 7.1).
#[derive(Debug)]
pub struct PipelineDef {
    /// Unique.
    pub name: String,
    /// Clearing ends it.
    pub end_on_clear: bool,
    /// In order.
    pub steps: Vec<Step>,
    /// How often a `jump` may enter one step.
    pub max_passes: u32,
}

/// One step of a pipeline.
#[derive(Debug)]
pub struct Step {
    /// Unique in its pipeline.
    pub name: Option<String>,
    /// What it does.
    pub action: Action,
}

/// What a step does. `switch`, `set`, `script` and `jump` join with the next issue.
#[derive(Debug)]
pub enum Action {
    /// Tells people.
    Notify(Notify),
    /// Waits.
    Delay(Duration),
}

/// A notify step (SPEC 7.1).
#[derive(Debug)]
pub struct Notify {
    /// Name of the notification profile.
    pub profile: String,
    /// Name of the roster.
    pub roster: String,
    /// One after the other or all at once.
    pub order: Order,
    /// From Twilio's acceptance of one contact's text to the next contact.
    pub wait: Duration,
    /// From the start of one round to the next.
    pub repeat: Duration,
    /// Rounds, at least 1.
    pub times: u32,
    /// Many alarm events in one text.
    pub consolidate: Option<Consolidate>,
}

/// The order in which a notify step tells its roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Order {
    #[default]
    Sequential,
    Broadcast,
}

/// Consolidation (SPEC 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consolidate {
    /// Alarms of this long go in one text.
    pub wait: Duration,
    /// At least this long between two texts of no higher priority.
    pub every: Duration,
    /// At most this many by name.
    pub n: u32,
}

/// `[alarms]`.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmRules {
    /// Alarms already active at the very first start are notified.
    pub notify_initial: bool,
    /// How long a needed tag may be unusable.
    pub unusable_after: Duration,
    /// Pipeline of the system alarms.
    pub system_pipeline: Option<String>,
    /// Longest shelving by priority, in the order of [`Priority::ALL`].
    pub max_shelve: [Duration; 5],
    /// How long a write-back is tried.
    pub ack_timeout: Duration,
    /// From a pipeline's last message to NobodyReached.
    pub unanswered_after: Duration,
    /// Roster that NobodyReached tells.
    pub fallback: Option<String>,
}

impl Default for AlarmRules {
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            notify_initial: true,
            unusable_after: Duration::from_secs(60),
            system_pipeline: None,
            max_shelve: [minutes(1440), minutes(1440), minutes(480), minutes(120), minutes(30)],
            ack_timeout: Duration::from_secs(60),
            unanswered_after: minutes(10),
            fallback: None,
        }
    }
}

/// `[throttle]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Throttle {
    /// Marks and holds chattering alarms.
    pub chatter: Option<Chatter>,
    /// SmsBudget is raised when a day's texts have this many segments.
    pub segments_per_day: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { chatter: Some(Chatter::default()), segments_per_day: 1000 }
    }
}

/// When an alarm chatters (SPEC 6.2, 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chatter {
    /// This many activations …
    pub activations: u32,
    /// … within this time.
    pub per: Duration,
    /// It is told at most once in this time.
    pub hold: Duration,
}

impl Default for Chatter {
    fn default() -> Self {
        Self { activations: 3, per: Duration::from_secs(60), hold: Duration::from_secs(600) }
    }
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

/// The program's own tags that the engine or the daemon writes, by what stands after `System/Gateway/`, such as
/// `Twilio/MessagesSent`. Users' figures are `Twilio/Users/<name>/<column>`.
#[derive(Clone, Debug, Default)]
pub struct SystemTags(pub HashMap<String, TagId>);

impl SystemTags {
    /// The id of `System/Gateway/<name>`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<TagId> {
        self.0.get(name).copied()
    }
}
