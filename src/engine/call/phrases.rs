//! What calls say besides the alarms' own words, by language: one table, so that a further language is one column.
//!
//! `{}` stand for what is filled in, in order.

use super::speech::Tongue;
use crate::engine::plan::Priority;

/// Something that a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Phrase {
    AskPin,
    AskPinAgain,
    WrongPin,
    NoPin,
    Locked,
    Goodbye,
    NotUnderstood,
    ManyAlarms,
    Position,
    Over,
    AndMore,
    PressAck,
    PressAckAll,
    PressRepeat,
    PressNext,
    PressPass,
    Acknowledged,
    PlcTook,
    PlcPending,
    PlcTextFollows,
    PlcDidNot,
    Already,
    NoLongerOpen,
    NotAllowed,
    UnknownKey,
    NoMore,
    PassedOn,
    NobodyElse,
    NothingOpen,
    AcknowledgedBy,
    AlarmOver,
    HowToText,
}

impl Phrase {
    /// The words, with `values` filled in.
    #[must_use]
    pub fn say(self, tongue: Tongue, values: &[&str]) -> String {
        let (english, german) = self.words();
        let words = match tongue {
            Tongue::English => english,
            Tongue::German => german,
        };
        let mut parts = words.split("{}");
        let mut said = parts.next().unwrap_or_default().to_owned();
        for (place, part) in parts.enumerate() {
            said.push_str(values.get(place).copied().unwrap_or_default());
            said.push_str(part);
        }
        said
    }

    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::AskPin => {
                ("This is Annunciator. Please enter your PIN.", "Hier ist Annunciator. Bitte geben Sie Ihre PIN ein.")
            }
            Self::AskPinAgain => ("Please enter your PIN.", "Bitte geben Sie Ihre PIN ein."),
            Self::WrongPin => ("That PIN is wrong.", "Diese PIN ist falsch."),
            Self::NoPin => (
                "This call needs a PIN, and you have none. The next person is being told.",
                "Dieser Anruf braucht eine PIN, und Sie haben keine. Die nächste Person wird verständigt.",
            ),
            Self::Locked => (
                "Too many wrong PINs. This number is locked until {}. The next person is being told.",
                "Zu viele falsche PINs. Diese Nummer ist bis {} gesperrt. Die nächste Person wird verständigt.",
            ),
            Self::Goodbye => ("Goodbye.", "Auf Wiederhören."),
            Self::NotUnderstood => {
                ("This call has ended. Please call again.", "Dieser Anruf ist beendet. Bitte rufen Sie wieder an.")
            }
            Self::ManyAlarms => ("{} alarms.", "{} Alarme."),
            Self::Position => ("Alarm {} of {}.", "Alarm {} von {}."),
            Self::Over => ("It is no longer active.", "Er steht nicht mehr an."),
            Self::AndMore => ("And {} more.", "Und {} weitere."),
            Self::PressAck => ("Press 1 to acknowledge it.", "Drücken Sie 1, um ihn zu quittieren."),
            Self::PressAckAll => {
                ("Press 2 to acknowledge all {} that you have heard.", "Drücken Sie 2, um alle {} gehörten zu quittieren.")
            }
            Self::PressRepeat => ("Press 3 to hear it again.", "Drücken Sie 3, um ihn noch einmal zu hören."),
            Self::PressNext => ("Press 4 for the next one.", "Drücken Sie 4 für den nächsten."),
            Self::PressPass => ("Press 9 to pass it on.", "Drücken Sie 9, um ihn weiterzugeben."),
            Self::Acknowledged => ("Acknowledged: {}.", "Quittiert: {}."),
            Self::PlcTook => ("The controller took it.", "Die Steuerung hat es übernommen."),
            Self::PlcPending => ("The controller is being told.", "Die Steuerung wird verständigt."),
            Self::PlcTextFollows => (
                "The controller has not confirmed it yet. You will get a text.",
                "Die Steuerung hat es noch nicht bestätigt. Sie bekommen eine Nachricht.",
            ),
            Self::PlcDidNot => (
                "The controller did not take it. Look at the plant.",
                "Die Steuerung hat es nicht übernommen. Sehen Sie nach der Anlage.",
            ),
            Self::Already => ("{} was acknowledged by {} at {}.", "{} wurde von {} um {} quittiert."),
            Self::NoLongerOpen => ("{} is no longer open.", "{} ist nicht mehr offen."),
            Self::NotAllowed => ("Your role may not acknowledge.", "Ihre Rolle darf nicht quittieren."),
            Self::UnknownKey => ("Key {} does nothing here.", "Taste {} ist hier ohne Wirkung."),
            Self::NoMore => ("There are no more alarms.", "Es gibt keine weiteren Alarme."),
            Self::PassedOn => ("Passed on.", "Weitergegeben."),
            Self::NobodyElse => ("There is nobody to pass it on to.", "Es gibt niemanden, an den er weitergegeben werden kann."),
            Self::NothingOpen => ("No alarms are open.", "Es sind keine Alarme offen."),
            Self::AcknowledgedBy => {
                ("{} has acknowledged it. Nothing is left to do.", "{} hat quittiert. Es ist nichts mehr zu tun.")
            }
            Self::AlarmOver => ("The alarm is over. Nothing is left to do.", "Der Alarm ist vorbei. Es ist nichts mehr zu tun."),
            Self::HowToText => (
                "To acknowledge, text your PIN and the code {}.",
                "Zum Quittieren senden Sie Ihre PIN und den Code {} als Nachricht.",
            ),
        }
    }
}

/// A priority as it is spoken.
#[must_use]
pub const fn priority(priority: Priority, tongue: Tongue) -> &'static str {
    let (english, german) = match priority {
        Priority::Diagnostic => ("Diagnostic", "Diagnose"),
        Priority::Low => ("Low priority", "Niedrige Priorität"),
        Priority::Medium => ("Medium priority", "Mittlere Priorität"),
        Priority::High => ("High priority", "Hohe Priorität"),
        Priority::Critical => ("Critical", "Kritisch"),
    };
    match tongue {
        Tongue::English => english,
        Tongue::German => german,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_filled_in_in_order() {
        assert_eq!(Phrase::Position.say(Tongue::English, &["1", "3"]), "Alarm 1 of 3.");
        assert_eq!(Phrase::Position.say(Tongue::German, &["1", "3"]), "Alarm 1 von 3.");
        assert_eq!(
            Phrase::Already.say(Tongue::English, &["Pump, Trip", "bob", "14:05"]),
            "Pump, Trip was acknowledged by bob at 14:05."
        );
        assert_eq!(Phrase::Goodbye.say(Tongue::English, &["unused"]), "Goodbye.");
    }
}
