//! Conditions of pipelines: expressions that may ask about the alarm event too, `alarm.priority >= high && tag("Plant/Manned")`.

use std::{collections::BTreeMap, fmt};

use rhai::{Dynamic, ImmutableString, Scope};

use super::{
    Expression, ExpressionError,
    expression::to_dynamic,
    gate::{self, Room},
};
use crate::tag::{Reading, TagId, Value};

/// The words for the five priorities, rising; each stands for its rank from 0 to 4, as in the alarm's variable `Priority`.
pub(super) const PRIORITIES: [&str; 5] = ["diagnostic", "low", "medium", "high", "critical"];

/// What may stand after `alarm.`.
pub(super) const FIELDS: [&str; 10] = ["priority", "active", "acked", "value", "state", "name", "path", "tag", "message", "data"];

/// A name that a condition uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Name {
    Priority,
    Active,
    Acked,
    Value,
    State,
    Own,
    Path,
    Tag,
    Message,
    Data(String),
    Pass,
    Told,
    Reached,
}

impl Name {
    /// The field of an alarm, but for `data`, which needs a key.
    pub(super) fn of_field(word: &str) -> Option<Self> {
        Some(match word {
            "priority" => Self::Priority,
            "active" => Self::Active,
            "acked" => Self::Acked,
            "value" => Self::Value,
            "state" => Self::State,
            "name" => Self::Own,
            "path" => Self::Path,
            "tag" => Self::Tag,
            "message" => Self::Message,
            _ => return None,
        })
    }
}

/// What a condition may ask of the alarm event that walks through the pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// 0 (diagnostic) to 4 (critical).
    pub priority: u8,
    /// The condition of the alarm is true.
    pub active: bool,
    /// Its newest event is acknowledged.
    pub acked: bool,
    /// Captured when the event began.
    pub value: &'a Value,
    /// `ActiveUnacked` and so on.
    pub state: &'a str,
    /// The last part of the path.
    pub name: &'a str,
    /// `<tag path>/Alarms/<name>`.
    pub path: &'a str,
    /// Path of the tag.
    pub tag: &'a str,
    /// Captured when the event began.
    pub message: &'a str,
    /// Associated data, captured when the event began; what is not there is an empty text.
    pub data: &'a BTreeMap<String, String>,
    /// How often this step was entered, this time included.
    pub pass: u32,
    /// How many phone numbers were told.
    pub told: u32,
    /// Somebody who was told has shown a valid PIN.
    pub reached: bool,
}

/// A compiled condition.
pub struct Condition {
    expression: Expression,
    names: Box<[(ImmutableString, Name)]>,
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Condition({:?})", self.expression.source())
    }
}

impl Condition {
    /// Compiles `source`; `resolve` gives the ids of the paths in it.
    ///
    /// # Errors
    /// As [`Expression::compile`], and for a field that alarms do not have.
    pub fn compile(source: &str, resolve: &dyn Fn(&str) -> Option<TagId>) -> Result<Self, ExpressionError> {
        let (expression, names) = Expression::compile_in(Room::Pipeline, source, resolve)?;
        let variables = (0..).map(|index| gate::named_variable(index).into());
        Ok(Self { expression, names: variables.zip(names).collect() })
    }

    /// The tags that it reads, each once.
    #[must_use]
    pub fn inputs(&self) -> &[TagId] {
        self.expression.inputs()
    }

    /// The text as written.
    #[must_use]
    pub fn source(&self) -> &str {
        self.expression.source()
    }

    /// True when it is true now. A tag that alarms must not use, a missing value, a result that is no Boolean and whatever else
    /// cannot be computed are false.
    #[must_use]
    pub fn holds(&self, read: &dyn Fn(TagId) -> Reading, facts: &Facts<'_>) -> bool {
        let mut scope = Scope::with_capacity(self.names.len() + self.inputs().len());
        for (variable, name) in &self.names {
            let Some(value) = value_of(name, facts) else { return false };
            scope.push_dynamic(variable.clone(), value);
        }
        let (value, status) = self.expression.evaluate_in(scope, read);
        status.is_usable() && value == Value::Boolean(true)
    }
}

fn value_of(name: &Name, facts: &Facts<'_>) -> Option<Dynamic> {
    let text = |text: &str| Dynamic::from(ImmutableString::from(text));
    Some(match name {
        Name::Priority => Dynamic::from_int(facts.priority.into()),
        Name::Active => Dynamic::from_bool(facts.active),
        Name::Acked => Dynamic::from_bool(facts.acked),
        Name::Value => to_dynamic(facts.value)?,
        Name::State => text(facts.state),
        Name::Own => text(facts.name),
        Name::Path => text(facts.path),
        Name::Tag => text(facts.tag),
        Name::Message => text(facts.message),
        Name::Data(key) => text(facts.data.get(key).map_or("", String::as_str)),
        Name::Pass => Dynamic::from_int(facts.pass.into()),
        Name::Told => Dynamic::from_int(facts.told.into()),
        Name::Reached => Dynamic::from_bool(facts.reached),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        engine::plan::Priority,
        tag::{StatusCode, Timestamp},
    };

    const GOOD: TagId = TagId(0);
    const BAD: TagId = TagId(1);
    const LOST: TagId = TagId(2);

    fn resolve(path: &str) -> Option<TagId> {
        Some(match path {
            "Good" => GOOD,
            "Bad" => BAD,
            "Lost" => LOST,
            _ => return None,
        })
    }

    fn check(source: &str, expected: bool) {
        let data = BTreeMap::from([("sop".to_owned(), "SOP-114".to_owned())]);
        let facts = Facts {
            priority: 3,
            active: true,
            acked: false,
            value: &Value::Double(91.5),
            state: "ActiveUnacked",
            name: "High",
            path: "Plant/Level/Alarms/High",
            tag: "Plant/Level",
            message: "Tank high",
            data: &data,
            pass: 2,
            told: 5,
            reached: false,
        };
        let read = |tag: TagId| {
            let (value, status) = match tag {
                GOOD => (Value::Int32(7), StatusCode::GOOD),
                LOST => (Value::Int32(7), StatusCode::UNCERTAIN_NO_COMMUNICATION_LAST_USABLE_VALUE),
                _ => (Value::Null, StatusCode::BAD),
            };
            Reading { value, status, source_time: Timestamp::default(), version: 0 }
        };
        let condition = Condition::compile(source, &resolve).unwrap_or_else(|error| panic!("{source}: {error}"));
        assert_eq!(condition.holds(&read, &facts), expected, "{source}");
    }

    #[test]
    fn conditions_know_the_alarm() {
        for (source, expected) in [
            ("alarm.priority >= high", true),
            ("alarm.priority == critical", false),
            ("alarm.priority > medium && alarm.priority < critical", true),
            ("alarm.priority >= diagnostic", true),
            ("alarm.active && !alarm.acked", true),
            ("alarm.value > 90.0", true),
            ("alarm.value - 90 > 2", false),
            ("alarm.state == \"ActiveUnacked\"", true),
            ("alarm.name.starts_with(\"Hi\")", true),
            ("alarm.path == alarm.tag + \"/Alarms/\" + alarm.name", true),
            ("alarm.data[\"sop\"] == \"SOP-114\"", true),
            ("alarm.data.sop.ends_with(\"114\")", true),
            ("alarm.data.missing == \"\"", true),
            ("alarm.message.contains(\"high\")", true),
            ("pass == 2 && told > 4 && !reached", true),
            ("tag(\"Good\") == 7 && alarm.priority >= low", true),
            ("if tag(\"Good\") > 5 { alarm.active } else { false }", true),
        ] {
            check(source, expected);
        }
    }

    #[test]
    fn what_cannot_be_computed_is_false() {
        for source in [
            "tag(\"Bad\") == 7 || true",
            "tag(\"Lost\") == 7",
            "alarm.priority",
            "alarm.data.sop > 3",
            "alarm.name + 1 == 2",
            "1 / 0 == 1",
        ] {
            check(source, false);
        }
    }

    #[test]
    fn mistakes_have_a_place_and_a_remedy() {
        for (source, place, message, help) in [
            ("alarm.prority > low", "prority", "an alarm has no field `prority`", "did you mean `priority`?"),
            ("priority > low", "priority", "`priority` is not part of expressions", "did you mean `alarm.priority`?"),
            ("alarm.priority > hihg", "hihg", "`hihg` is not part of expressions", "did you mean `high`?"),
            ("alarm.name.pass > 1", "pass", "`pass` is not part of expressions", "a tag is written tag(\"path\")"),
            ("alarm.data > 1", "data", "`data` needs one fixed key", "write alarm.data[\"sop\"] or alarm.data.sop"),
            ("tag(\"None\")", "\"None\"", "there is no tag `None`", ""),
        ] {
            let error = Condition::compile(source, &resolve).unwrap_err();
            assert_eq!((error.message.as_str(), error.help.as_str()), (message, help), "{source}");
            assert_eq!(&source[error.span.unwrap()], place, "{source}");
        }
        let error = Condition::compile("alarm == 5", &resolve).unwrap_err();
        assert!(error.help.contains("priority, active"), "{}", error.help);
    }

    #[test]
    fn other_expressions_know_no_alarm() {
        for source in ["alarm.priority >= 3", "high > 3", "pass > 1"] {
            assert!(Expression::compile(source, &resolve).is_err(), "{source}");
        }
    }

    #[test]
    fn the_priorities_are_those_of_the_plan() {
        assert_eq!(PRIORITIES, Priority::ALL.map(Priority::name));
    }
}
