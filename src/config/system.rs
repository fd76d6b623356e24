//! The program's own tags (SPEC 5) and alarms (SPEC 6.4).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    engine::plan::{
        AckMode, AlarmDef, AlarmNode, AlarmNodes, Mode, Origin, Plan, Priority, Role, SourceNodes, SystemTags, TagDef, TagTraits,
    },
    tag::{DataType, Names, TagId, TagPath, ValueType},
};

/// What all paths of the program's own tags begin with.
const PREFIX: &str = "System/Gateway/";

/// Every tag below `System/Gateway/` that does not depend on the configuration.
const FIXED: [(&str, DataType, &str); 48] = [
    ("Version", DataType::String, "version of the program"),
    ("StartTime", DataType::DateTime, "when the program started"),
    ("Role", DataType::String, "active or standby"),
    ("ConfigErrors", DataType::Int32, "errors of the last reload, which was refused for them"),
    ("Twilio/CallMinutesReceived", DataType::Int32, "minutes of calls from users, each rounded up"),
    ("Twilio/CallMinutesSent", DataType::Int32, "minutes of calls to users, each rounded up"),
    ("Twilio/CallsReceived", DataType::Int32, "calls from users"),
    ("Twilio/CallsSent", DataType::Int32, "calls to users"),
    ("Twilio/MessagesReceived", DataType::Int32, "texts from users"),
    ("Twilio/MessagesSent", DataType::Int32, "texts to users that Twilio accepted"),
    ("Twilio/UserStatistics/Version", DataType::UInt32, "goes up when the dataset changed, last of all"),
    ("Twilio/UserStatistics/Json", DataType::String, "the dataset as JSON"),
    ("Twilio/MessagesDelivered", DataType::Int32, "texts that the carrier delivered"),
    ("Twilio/MessagesFailed", DataType::Int32, "texts that were refused or not delivered"),
    ("Twilio/CallsAnswered", DataType::Int32, "calls that somebody answered"),
    ("Twilio/CallsFailed", DataType::Int32, "calls that reached nobody"),
    ("Twilio/MessagesSentOther", DataType::Int32, "texts to numbers of no user"),
    ("Twilio/CallsSentOther", DataType::Int32, "calls to numbers of no user"),
    ("Twilio/CallsReceivedOther", DataType::Int32, "calls from numbers of no user"),
    ("Twilio/CallMinutesSentOther", DataType::Int32, "minutes of calls to numbers of no user"),
    ("Twilio/CallMinutesReceivedOther", DataType::Int32, "minutes of calls from numbers of no user"),
    ("Twilio/MessagesReceivedOther", DataType::Int32, "texts from numbers of no user"),
    ("Twilio/EventsDropped", DataType::Int32, "application events that no [[event]] maps"),
    ("Twilio/OutboxDepth", DataType::Int32, "messages and writes that wait"),
    ("Twilio/OldestUnsentSeconds", DataType::Double, "how long the oldest of them has waited, in seconds"),
    ("Twilio/LastError", DataType::String, "the last answer of Twilio that was an error, and what to do about it"),
    ("Twilio/UserStatistics", DataType::UserStatistics, "one row a user"),
    ("Certificate/Expires", DataType::DateTime, "when our own OPC UA certificate ends"),
    ("Drill/LastPassed", DataType::DateTime, "when somebody last answered a drill in time"),
    ("Drill/LastResult", DataType::String, "how the last drill ended"),
    ("Alarming/ActiveUnacked", DataType::Int32, "alarms"),
    ("Alarming/ActiveAcked", DataType::Int32, "alarms"),
    ("Alarming/ClearUnacked", DataType::Int32, "alarms"),
    ("Alarming/Shelved", DataType::Int32, "alarms silenced by a person"),
    ("Alarming/Suppressed", DataType::Int32, "alarms silenced by the plant's own logic"),
    ("Alarming/OutOfService", DataType::Int32, "alarms silenced by maintenance"),
    ("Alarming/AlarmsPer10Minutes", DataType::Int32, "alarm events that began in the last 10 minutes"),
    ("Alarming/InFlood", DataType::Boolean, "more than 10 alarms in 10 minutes"),
    ("Alarming/AlarmsPer24Hours", DataType::Int32, "alarm events that began in the last 24 hours; at most 300 are manageable"),
    ("Alarming/PeakPer10Minutes", DataType::Int32, "the most in any 10 minutes of the last 24 hours; at most 10 are manageable"),
    ("Alarming/FloodPercent", DataType::Double, "part of the last 24 hours in flood, in percent; the target is below 1"),
    ("Alarming/Standing", DataType::Int32, "alarms that are active; the target is fewer than 10"),
    ("Alarming/Stale", DataType::Int32, "alarms that have been active for more than 24 hours; the target is fewer than 5"),
    ("Alarming/Chattering", DataType::Int32, "alarms that chattered in the last 24 hours; the target is none"),
    ("Alarming/Fleeting", DataType::Int32, "alarm events of the last 24 hours that were over within 10 s; the target is none"),
    ("Alarming/BadActor", DataType::String, "the alarm that began most often in the last 24 hours"),
    ("Alarming/BadActorCount", DataType::Int32, "how often it began"),
    (
        "Alarming/AckMedianSeconds",
        DataType::Double,
        "time to acknowledge in the last 24 hours, median, in seconds; 0 without any",
    ),
];

/// The system alarms that do not belong to a source: name, the tag that they stand beside, message.
const ALARMS: [(&str, &str, &str); 9] = [
    ("TwilioFailed", "Twilio/LastError", "Texts are not going out: Twilio does not accept them or cannot be reached"),
    ("NobodyReached", "Alarming/ActiveUnacked", "Nobody acknowledged an alarm: everybody on its pipeline was told"),
    ("AckNotConfirmed", "Alarming/ActiveAcked", "An acknowledgement did not reach the PLC"),
    ("StoreFailed", "Twilio/OutboxDepth", "The store cannot be written: check the disk"),
    ("SmsBudget", "Twilio/MessagesSent", "The day's budget of text segments is used up"),
    ("OptedOut", "Twilio/MessagesReceived", "Somebody on duty has opted out of texts (STOP); they must text START"),
    ("DrillFailed", "Drill/LastPassed", "Nobody answered the drill"),
    ("CertificateExpiring", "Certificate/Expires", "Our OPC UA certificate ends soon: let peers trust the next one"),
    ("PinLocked", "Twilio/MessagesReceivedOther", "A number is locked for wrong PINs"),
];

/// Collects the program's own tags while a configuration is read.
pub(super) struct Own<'n> {
    names: &'n mut Names,
    pub tags: Vec<TagDef>,
    /// Of the variables of alarms, which all alarms have alike.
    alarm_traits: [Option<Arc<TagTraits>>; AlarmNode::ALL.len()],
    pub system: SystemTags,
}

impl<'n> Own<'n> {
    pub fn new(names: &'n mut Names) -> Self {
        Self { names, tags: Vec::new(), alarm_traits: Default::default(), system: SystemTags::default() }
    }

    /// The id of a path of the configuration, and the path as earlier configurations have it.
    pub fn intern(&mut self, path: TagPath) -> (TagId, TagPath) {
        let id = self.names.intern(path);
        (id, self.names.path(id).clone())
    }

    /// All tags are known.
    pub fn finish(&mut self) -> (Vec<TagDef>, SystemTags) {
        self.names.rest();
        (std::mem::take(&mut self.tags), std::mem::take(&mut self.system))
    }

    /// Declares `System/Gateway/<name>`.
    fn tag(&mut self, name: &str, value_type: ValueType, description: &str) -> TagId {
        let path = TagPath::new(&format!("{PREFIX}{name}")).expect("names of the configuration are segments of a path");
        let (id, path) = self.intern(path);
        let def = TagDef::new(id, path, Origin::System, TagTraits::of(value_type));
        self.tags.push(TagDef { description: description.into(), ..def });
        self.system.0.insert(name.to_owned(), id);
        id
    }

    fn scalar(&mut self, name: &str, data_type: DataType, description: &str) -> TagId {
        self.tag(name, ValueType::scalar(data_type), description)
    }

    /// Declares the plain variables of the alarm at `path`. Their ids follow one another, since a path keeps its id and all of an
    /// alarm's are given at once; `None` when one of the paths belonged to another tag before.
    pub fn alarm_nodes(&mut self, path: &str) -> Option<AlarmNodes> {
        let mut first = None;
        let mut consecutive = true;
        for (offset, node) in (0u32..).zip(AlarmNode::ALL) {
            let (name, data_type, writable) = node.describe();
            let (id, path) = self.intern(TagPath::new(&format!("{path}/{name}")).ok()?);
            let first = *first.get_or_insert(id);
            consecutive &= id.0 == first.0 + offset;
            let traits = TagTraits { writable, write_role: Role::Operator, ..TagTraits::of(ValueType::scalar(data_type)) };
            let traits = Arc::clone(self.alarm_traits[offset as usize].get_or_insert_with(|| Arc::new(traits)));
            self.tags.push(TagDef { id, path, origin: Origin::System, traits, description: Box::default() });
        }
        first.filter(|_| consecutive).map(|first| AlarmNodes { first })
    }
}

/// The state tags of a source.
pub(super) fn source_nodes(own: &mut Own<'_>, source: &str) -> SourceNodes {
    let mut scalar =
        |name: &str, data_type, description: &str| own.scalar(&format!("Sources/{source}/{name}"), data_type, description);
    SourceNodes {
        connected: scalar("Connected", DataType::Boolean, "the session is up"),
        last_error: scalar("LastError", DataType::String, "why it was lost or never made"),
        reconnects: scalar("Reconnects", DataType::Int32, "sessions made after the first"),
        good_tags: scalar("GoodTags", DataType::Int32, "tags whose value is usable"),
        bad_tags: scalar("BadTags", DataType::Int32, "tags whose value is not usable"),
        reads_per_second: scalar("ReadsPerSecond", DataType::Double, "requests that the device answered"),
        write_errors: scalar("WriteErrors", DataType::Int32, "writes that the device did not take"),
    }
}

/// Declares everything that does not belong to a source or a configured alarm.
pub(super) fn declare(own: &mut Own<'_>, plan: &Plan) {
    for (name, data_type, description) in FIXED {
        let value_type =
            if data_type == DataType::UserStatistics { ValueType::array(data_type) } else { ValueType::scalar(data_type) };
        own.tag(name, value_type, description);
    }
    for (column, data_type) in crate::engine::COLUMNS {
        own.tag(&format!("Twilio/UserStatistics/Columns/{column}"), ValueType::array(data_type), "");
        for user in plan.users.keys() {
            own.scalar(&format!("Twilio/Users/{user}/{column}"), data_type, "");
        }
    }
}

/// The system alarms; `declare` came before.
pub(super) fn alarms(own: &mut Own<'_>, plan: &Plan) -> Vec<Arc<AlarmDef>> {
    let mut alarms = Vec::new();
    let pipeline = plan.alarm_rules.system_pipeline.as_deref();
    for source in &plan.sources {
        let folder = format!("Sources/{}", source.name);
        for (name, tag, message) in [
            (
                "CommLoss",
                source.nodes.connected,
                format!("Source {} does not answer: its tags and alarms hold their state", source.name),
            ),
            (
                "TagsUnusable",
                source.nodes.bad_tags,
                format!("Source {} has tags that alarms need and that have no usable value", source.name),
            ),
        ] {
            alarms.extend(alarm(own, &format!("{folder}/Alarms/{name}"), tag, message, pipeline));
        }
    }
    for (name, tag, message) in ALARMS {
        let Some(tag) = own.system.get(tag) else { continue };
        alarms.extend(alarm(own, &format!("Alarms/{name}"), tag, message.to_owned(), pipeline));
    }
    alarms.extend(drill(own, plan));
    alarms.into_iter().map(Arc::new).collect()
}

/// The alarm that a drill raises. It ends with the drill, whether somebody acknowledged it or not.
fn drill(own: &mut Own<'_>, plan: &Plan) -> Option<AlarmDef> {
    let tag = own.system.get("Drill/LastResult")?;
    let pipeline = plan.drill.as_ref().map(|drill| drill.pipeline.as_str());
    let def = alarm(own, "Alarms/Drill", tag, "This is a drill".to_owned(), pipeline)?;
    Some(AlarmDef { ack_mode: AckMode::Auto, shelving: false, ..def })
}

fn alarm(own: &mut Own<'_>, name: &str, tag: TagId, message: String, pipeline: Option<&str>) -> Option<AlarmDef> {
    let path = format!("{PREFIX}{name}");
    // Nothing but the program can have paths below `System`, so their ids cannot have been given apart.
    let nodes = own.alarm_nodes(&path)?;
    Some(AlarmDef {
        name: name.rsplit('/').next().unwrap_or(name).into(),
        path: path.into(),
        tag,
        mode: Mode::System,
        deadband: 0.0,
        on_delay: Duration::ZERO,
        off_delay: Duration::ZERO,
        priority: Priority::High,
        message,
        pipeline: pipeline.map(str::to_owned),
        clear_pipeline: None,
        ack_pipeline: None,
        ack_mode: AckMode::Manual,
        latching: false,
        shelving: true,
        suppressed_by: None,
        data: BTreeMap::new(),
        write_back: None,
        ack_from: None,
        re_alarm_after: None,
        nodes,
    })
}
