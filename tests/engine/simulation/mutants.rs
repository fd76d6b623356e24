//! Faults of the program that the simulation must find, each by the rule that it breaks. They are made by meddling with what enters
//! and leaves the engine, with the rows that it is restored from, or with its configuration: the program itself has no branch for
//! them.

use annunciator::{
    engine::{
        io::{Command, Effect, Effects, Input, Outcome, Outgoing},
        plan::Channel,
        record::{Record, StateKind, StateRow},
    },
    scenario::{Rig, pair::Flaw, rig::LosesMessage, watch::Watch},
    tag::Value,
};

use super::plant::{PEOPLE, ZONE};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// A restart forgets acknowledgements.
    ForgetsAcknowledgements,
    /// What was being sent at a crash is sent again without a look at Twilio's list.
    SendsAgain,
    /// Texts that wait are lost in a restart.
    LosesQueue,
    /// The second half of a pulse is never written.
    NeverResets,
    /// A SID is counted again by the next report.
    CountsTwice,
    /// Attempts are not committed before they are made.
    ActsFirst,
    /// Whoever acknowledges is answered, and nothing follows.
    IgnoresAcknowledgements,
    /// Twilio's list is searched, and what is found is not seen.
    SendsTwice,
    /// A first text is dropped because the phone was texted shortly before.
    CooldownDropsFirst,
    /// A critical alarm is dropped because the person has had enough messages.
    BudgetDropsCritical,
    /// A bare PIN acknowledges whatever is open.
    TakesAnyPin,
    /// Summer time is not known.
    OffByAnHour,
    /// The end of a pulse is forgotten in a restart.
    ForgetsPulses,
    /// Whoever shelves is answered, and nothing follows.
    TellsShelved,
}

impl Mutant {
    pub const ALL: [Self; 14] = [
        Self::ForgetsAcknowledgements,
        Self::SendsAgain,
        Self::LosesQueue,
        Self::NeverResets,
        Self::CountsTwice,
        Self::ActsFirst,
        Self::IgnoresAcknowledgements,
        Self::SendsTwice,
        Self::CooldownDropsFirst,
        Self::BudgetDropsCritical,
        Self::TakesAnyPin,
        Self::OffByAnHour,
        Self::ForgetsPulses,
        Self::TellsShelved,
    ];

    /// What whoever finds it says, one of these.
    pub const fn signs(self) -> &'static [&'static str] {
        match self {
            Self::ForgetsAcknowledgements | Self::IgnoresAcknowledgements => &["was acknowledged"],
            Self::SendsAgain | Self::SendsTwice => &["sent twice although the list shows it"],
            Self::LosesQueue => &["was never told", "is not committed"],
            Self::NeverResets | Self::ForgetsPulses => &["a pulse was never ended"],
            Self::CountsTwice => &["is counted twice"],
            Self::ActsFirst => &["sent without a committed attempt", "is not committed"],
            Self::CooldownDropsFirst | Self::BudgetDropsCritical => &["was never told"],
            Self::TakesAnyPin => &["a bare PIN acknowledged"],
            Self::OffByAnHour => &["off duty"],
            Self::TellsShelved => &["is shelved"],
        }
    }

    /// The zone of the schedules in the engine's configuration.
    pub const fn zone(self) -> &'static str {
        match self {
            Self::OffByAnHour => "Etc/UTC",
            _ => ZONE,
        }
    }

    pub fn meddle_with(self, rig: &mut Rig) {
        rig.meddle = self.effects();
        rig.meddle_rows = self.rows();
        rig.meddle_input = self.inputs();
        rig.meddle_send = self.sends();
    }

    fn effects(self) -> Option<fn(&mut Effects)> {
        match self {
            Self::NeverResets => Some(|effects| {
                for effect in effects {
                    if let Effect::Write { writes, .. } = effect {
                        writes.retain(|(_, value)| *value != Value::Boolean(false));
                    }
                }
            }),
            Self::CountsTwice => Some(|effects| {
                let counted = effects.iter().find(|effect| matches!(effect, Effect::Record(Record::Ledger(_)))).cloned();
                effects.splice(0..0, counted);
            }),
            Self::ActsFirst => Some(|effects| {
                let attempt = |effect: &Effect| match effect {
                    Effect::Record(Record::State { kind: StateKind::Outbox, value: Some(row), .. }) => {
                        row.json()["job"]["Text"]["state"].get("Sending").is_some()
                    }
                    _ => false,
                };
                effects.retain(|effect| !attempt(effect));
            }),
            _ => None,
        }
    }

    fn rows(self) -> Option<fn(&mut Vec<StateRow>)> {
        match self {
            Self::ForgetsAcknowledgements => Some(|rows| {
                for row in rows.iter_mut().filter(|row| row.kind == StateKind::Alarm && row.value["state"] == "acknowledged") {
                    row.value["state"] = "unacknowledged".into();
                    row.value["newest"]["acknowledged"] = serde_json::Value::Null;
                }
                for row in rows.iter_mut().filter(|row| row.kind == StateKind::Run) {
                    row.value["closed"] = serde_json::Value::Null;
                    row.value["stage"] = "Enter".into();
                }
            }),
            Self::SendsAgain => Some(|rows| {
                for row in rows.iter_mut().filter(|row| row.kind == StateKind::Outbox) {
                    let state = &mut row.value["job"]["Text"]["state"];
                    if state.get("Sending").is_some() || state.get("Ambiguous").is_some() {
                        *state = "Queued".into();
                    }
                }
            }),
            Self::LosesQueue => Some(|rows| {
                rows.retain(|row| row.kind != StateKind::Outbox || row.value["job"]["Text"]["state"] != "Queued");
            }),
            Self::ForgetsPulses => Some(|rows| {
                rows.retain(|row| row.kind != StateKind::Outbox || row.value["job"].get("WriteBack").is_none());
            }),
            _ => None,
        }
    }

    fn inputs(self) -> Option<fn(&mut Input) -> Option<Outcome>> {
        match self {
            Self::IgnoresAcknowledgements => Some(|input| {
                matches!(input, Input::Command { command: Command::Acknowledge { .. }, .. }).then(|| Outcome::good("done"))
            }),
            Self::TellsShelved => Some(|input| {
                matches!(input, Input::Command { command: Command::Shelve { .. }, .. }).then(|| Outcome::good("done"))
            }),
            Self::SendsTwice => Some(|input| {
                if let Input::LookupResult { result: Ok(found), .. } = input {
                    found.clear();
                }
                None
            }),
            Self::TakesAnyPin => Some(|input| {
                if let Input::Inbound { text, .. } = input
                    && PEOPLE.iter().any(|person| person.2 == text.body)
                {
                    text.body.push_str(" ALL");
                }
                None
            }),
            _ => None,
        }
    }

    fn sends(self) -> Option<LosesMessage> {
        match self {
            Self::CooldownDropsFirst => Some(|watch, world, message, now| {
                let purpose = &purpose(watch, message);
                let lately = world.messages.iter().any(|sent| sent.to == message.to && now.since(sent.created).as_secs() < 180);
                lately && message.channel == Channel::Sms && purpose["priority"] != "critical" && purpose.is_object()
            }),
            Self::BudgetDropsCritical => Some(|watch, world, message, now| {
                let hour = |sent: &&_| -> bool {
                    let sent: &annunciator::scenario::world::Message = sent;
                    sent.to == message.to && now.since(sent.created).as_secs() < 3600
                };
                world.messages.iter().filter(hour).count() >= 6 && purpose(watch, message)["priority"] == "critical"
            }),
            _ => None,
        }
    }
}

/// Faults of the lease's rules.
pub const FLAWS: [Flaw; 4] = [Flaw::GoesOn, Flaw::CommitsAnyway, Flaw::ActsUncommitted, Flaw::ForgetsHanded];

/// What whoever finds them says, one of these.
pub const fn signs_of(flaw: Flaw) -> &'static [&'static str] {
    match flaw {
        Flaw::GoesOn => &["sent twice although the list shows it", "was acknowledged", "has ended", "was never told"],
        Flaw::CommitsAnyway => &["counted twice", "sent twice", "is not committed", "is given twice"],
        Flaw::ActsUncommitted => &["sent without a committed attempt", "is not committed"],
        Flaw::ForgetsHanded => &["is lost"],
    }
}

fn purpose(watch: &Watch, message: &Outgoing) -> serde_json::Value {
    let row = watch.store.get(&(StateKind::Outbox, message.row.0.to_string()));
    row.map(|row| row["job"]["Text"]["purpose"]["Alarm"].clone()).unwrap_or_default()
}
