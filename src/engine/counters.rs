//! Counting: exact, durable, one count a SID (SPEC 10); and the `UserStatistics` dataset.

use std::collections::BTreeMap;

use super::{
    Engine,
    record::{Direction, Record, StateKind, Stored},
    view::UserStatistics,
};
use crate::tag::{DataType, Sample, StatusCode, Structure, TagId, Timestamp, Value};

/// Ids of users that the configuration gives none start here.
pub(super) const FIRST_USER_ID: i64 = 1001;

/// The columns of the dataset, in order: fields of `TwilioUserStatisticsType` and their types (SPEC 5).
pub const COLUMNS: [(&str, DataType); 8] = [
    ("Username", DataType::String),
    ("PhoneNumber", DataType::String),
    ("MessagesReceived", DataType::Int32),
    ("MessagesSent", DataType::Int32),
    ("CallsReceived", DataType::Int32),
    ("CallsSent", DataType::Int32),
    ("CallMinutesReceived", DataType::Int32),
    ("CallMinutesSent", DataType::Int32),
];

/// Counters by name: `Twilio/MessagesSent`, `Twilio/Users/<name>/MessagesSent`.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub values: BTreeMap<String, Count>,
    pub dataset_version: u32,
}

#[derive(Clone, Copy, Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Count {
    pub value: i64,
    pub changed: Timestamp,
}

impl Engine {
    pub(super) fn count(&mut self, name: &str) {
        self.count_by(name, 1);
    }

    fn count_by(&mut self, name: &str, by: u32) {
        let now = self.now;
        let count = self.counters.values.entry(name.to_owned()).or_default();
        count.value += i64::from(by);
        count.changed = now;
        self.dirty.counters.insert(name.to_owned());
    }

    /// One SID more, for a user or for others.
    pub(super) fn count_message(&mut self, direction: Direction, user: Option<&str>) {
        let column = match direction {
            Direction::Sent => "MessagesSent",
            Direction::Received => "MessagesReceived",
        };
        self.count_for(column, user, 1);
    }

    /// One call more, for a user or for others.
    pub(super) fn count_call(&mut self, direction: Direction, user: Option<&str>) {
        let column = match direction {
            Direction::Sent => "CallsSent",
            Direction::Received => "CallsReceived",
        };
        self.count_for(column, user, 1);
    }

    /// The minutes of one finished call.
    pub(super) fn count_call_minutes(&mut self, direction: Direction, user: Option<&str>, minutes: u32) {
        let column = match direction {
            Direction::Sent => "CallMinutesSent",
            Direction::Received => "CallMinutesReceived",
        };
        self.count_for(column, user, minutes);
    }

    fn count_for(&mut self, column: &str, user: Option<&str>, by: u32) {
        match user {
            Some(user) => {
                self.count_by(&format!("Twilio/{column}"), by);
                self.count_by(&format!("Twilio/Users/{user}/{column}"), by);
                self.dirty.statistics = true;
            }
            None => self.count_by(&format!("Twilio/{column}Other"), by),
        }
    }

    /// The dataset's rows by ascending id, numbers whole.
    #[must_use]
    pub fn user_statistics(&self) -> Vec<UserStatistics> {
        let figure = |user: &str, column: &str| {
            let count = self.counters.values.get(&format!("Twilio/Users/{user}/{column}")).map_or(0, |count| count.value);
            saturate(count)
        };
        let mut rows: Vec<UserStatistics> = self
            .user_ids
            .iter()
            .map(|(name, id)| UserStatistics {
                id: *id,
                username: name.clone(),
                phone_number: self
                    .plan
                    .users
                    .get(name)
                    .and_then(|user| user.contacts.first())
                    .map(|contact| contact.number.clone())
                    .unwrap_or_default(),
                messages_received: figure(name, "MessagesReceived"),
                messages_sent: figure(name, "MessagesSent"),
                calls_received: figure(name, "CallsReceived"),
                calls_sent: figure(name, "CallsSent"),
                call_minutes_received: figure(name, "CallMinutesReceived"),
                call_minutes_sent: figure(name, "CallMinutesSent"),
            })
            .collect();
        rows.sort_by_key(|row| row.id);
        rows
    }

    /// Gives every user an id: the configuration's, the one of before, or the next from 1001 on.
    pub(super) fn allocate_user_ids(&mut self) {
        let users: Vec<_> = self.plan.users.values().cloned().collect();
        for user in &users {
            if let Some(id) = user.id {
                self.set_user_id(&user.name, id);
            }
        }
        for user in users.iter().filter(|user| user.id.is_none()) {
            if !self.user_ids.contains_key(&user.name) {
                let highest = self.user_ids.values().copied().max().unwrap_or(0);
                self.set_user_id(&user.name, highest.max(FIRST_USER_ID - 1) + 1);
            }
        }
    }

    fn set_user_id(&mut self, name: &str, id: i64) {
        if self.user_ids.insert(name.to_owned(), id) == Some(id) {
            return;
        }
        self.effects_record(Record::State { kind: StateKind::User, key: name.to_owned(), value: Some(Stored::of(&id)) });
        self.dirty.statistics = true;
    }

    /// Publishes the counters that changed.
    pub(super) fn publish_counters(&mut self) {
        for name in std::mem::take(&mut self.dirty.counters) {
            let count = self.counters.values.get(&name).copied().unwrap_or_default();
            let value = Some(Stored::of(&count));
            self.effects_record(Record::State { kind: StateKind::Counter, key: name.clone(), value });
            self.publish_system(&name, Value::Int32(saturate(count.value)), count.changed);
        }
        if std::mem::take(&mut self.dirty.statistics) {
            self.publish_statistics();
        }
    }

    /// Publishes every counter, after a start or a reload.
    pub(super) fn publish_all_counters(&mut self) {
        let now = self.now;
        let names: Vec<String> = self
            .plan
            .system
            .0
            .iter()
            .filter(|(name, id)| name.starts_with("Twilio/") && self.is_counter(**id))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            let count = self.counters.values.get(&name).copied().unwrap_or(Count { value: 0, changed: now });
            self.publish_system(&name, Value::Int32(saturate(count.value)), count.changed);
        }
        self.dirty.statistics = true;
    }

    fn is_counter(&self, id: TagId) -> bool {
        self.plan.tag(id).is_some_and(|def| {
            def.value_type == crate::tag::ValueType::scalar(DataType::Int32) && !def.path.ends_with("/OutboxDepth")
        })
    }

    fn publish_statistics(&mut self) {
        let now = self.now;
        let rows = self.user_statistics();
        let rows: Vec<Vec<Value>> = rows.into_iter().map(|row| self.dataset_row(row)).collect();
        let structure = |fields: &Vec<Value>| {
            Value::Structure(std::sync::Arc::new(Structure {
                data_type: DataType::UserStatistics,
                fields: fields.clone().into(),
            }))
        };
        let dataset = Value::Array(DataType::UserStatistics, rows.iter().map(structure).collect());
        self.publish_system("Twilio/UserStatistics", dataset, now);
        for (place, (name, data_type)) in COLUMNS.into_iter().enumerate() {
            let column = Value::Array(data_type, rows.iter().map(|row| row[place].clone()).collect());
            self.publish_system(&format!("Twilio/UserStatistics/Columns/{name}"), column, now);
        }
        let json_rows: Vec<Vec<serde_json::Value>> = rows.iter().map(|row| row.iter().map(Value::to_json).collect()).collect();
        let json = serde_json::json!({ "columns": COLUMNS.map(|(name, _)| name), "rows": json_rows }).to_string();
        self.publish_system("Twilio/UserStatistics/Json", Value::string(json), now);
        self.counters.dataset_version = self.counters.dataset_version.wrapping_add(1);
        self.dirty.engine = true;
        self.publish_system("Twilio/UserStatistics/Version", Value::UInt32(self.counters.dataset_version), now);
    }

    fn dataset_row(&self, row: UserStatistics) -> Vec<Value> {
        let number = self.plan.people.published(&row.phone_number);
        let figures = [
            row.messages_received,
            row.messages_sent,
            row.calls_received,
            row.calls_sent,
            row.call_minutes_received,
            row.call_minutes_sent,
        ];
        [Value::string(row.username), Value::string(number)].into_iter().chain(figures.map(Value::Int32)).collect()
    }

    /// Publishes `System/Gateway/<name>`, if the plan has it.
    pub(super) fn publish_system(&mut self, name: &str, value: Value, time: Timestamp) {
        if let Some(tag) = self.plan.system.get(name) {
            self.publish(Sample { tag, value, status: StatusCode::GOOD, source_time: time });
        }
    }
}

fn saturate(count: i64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
