//! Placing calls: how long they ring, what they say where Twilio cannot call us back, and what an alarm sounds like.

use super::{
    phrases::{self, Phrase},
    speech::{self, Tongue},
};
use crate::engine::{
    Engine,
    io::{CallDocument, OutboxId, Outgoing, PlaceCall, Verb},
    outbox::{Item, Purpose, Text},
    plan::{Channel, TwilioDef, Voice},
    throttle::short_name,
};

/// Characters of a message that somebody has spoken.
pub(in crate::engine) const MAX_MESSAGE: usize = 1000;
/// Characters of one alarm as it is spoken.
const MAX_ALARM: usize = 600;
/// Characters that a call without webhooks says, twice: a document in the request has 4,000 (Twilio, "Create a Call").
const MAX_INLINE: usize = 1500;
/// Alarms that such a call names.
const INLINE_NAMED: usize = 5;

impl Engine {
    /// One attempt, as it leaves.
    pub(in crate::engine) fn outgoing(&self, row: OutboxId, text: &Text) -> Outgoing {
        let call = (text.channel == Channel::Voice).then(|| self.place_call(row, text));
        let (twilio, to, body) = (text.twilio.clone(), text.to.clone(), text.body.clone());
        Outgoing { row, twilio, channel: text.channel, to, body, call }
    }

    fn place_call(&self, row: OutboxId, text: &Text) -> PlaceCall {
        let profile = match &text.purpose {
            Purpose::Alarm { profile, .. } => Some(profile.as_str()),
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } => None,
        };
        let voice = self.voice(profile);
        let inline = self.plan.twilio.get(&text.twilio).is_some_and(|twilio| twilio.external_url.is_none());
        PlaceCall {
            ring_timeout: voice.ring_timeout,
            machine_detection: voice.machine_detection && !inline && text.purpose != Purpose::Manual,
            document: inline.then(|| self.inline_document(row, profile, text)),
        }
    }

    /// Says everything twice; there is nobody whom keys would reach.
    fn inline_document(&self, row: OutboxId, profile: Option<&str>, text: &Text) -> CallDocument {
        let (language, voice) = self.tongue_of(profile, &text.to);
        let tongue = Tongue::of(&language);
        let words = match &text.purpose {
            Purpose::Alarm { items, .. } => self.inline_words(profile, items, &text.to, tongue),
            Purpose::Answer(_) | Purpose::Manual | Purpose::Event { .. } => speech::spoken(&text.body, tongue, &[]),
        };
        let words: String = words.chars().take(MAX_INLINE).collect();
        let pause = Verb::Pause(std::time::Duration::from_secs(1));
        let verbs = vec![pause.clone(), Verb::Say(words.clone()), pause, Verb::Say(words), Verb::Hangup];
        CallDocument { id: row.0.to_string(), turn: 0, profile: profile.map(str::to_owned), language, voice, verbs }
    }

    fn inline_words(&self, profile: Option<&str>, items: &[Item], number: &str, tongue: Tongue) -> String {
        let mut lines = Vec::new();
        for item in items.iter().take(INLINE_NAMED) {
            lines.push(self.alarm_words(profile, &item.alarm, number, tongue));
            lines.push(Phrase::HowToText.say(tongue, &[&speech::spell(self.code_of(&item.alarm))]));
        }
        if items.len() > INLINE_NAMED {
            lines.push(Phrase::AndMore.say(tongue, &[&(items.len() - INLINE_NAMED).to_string()]));
        }
        lines.join(" ")
    }

    /// An alarm as it is spoken: the profile's words, else its urgency, place and message.
    pub(super) fn alarm_words(&self, profile: Option<&str>, alarm: &str, number: &str, tongue: Tongue) -> String {
        let Some(index) = self.plan.alarm_index.get(alarm).copied() else { return String::new() };
        let profile = profile.and_then(|name| self.plan.profiles.get(name));
        let message = match profile {
            Some(profile) => self.sentence(profile, alarm, number).0,
            None => self.alarms[index].alarm.newest().map(|event| event.captured.message.clone()).unwrap_or_default(),
        };
        let text = if profile.is_some_and(|profile| profile.message.is_some()) {
            message
        } else {
            let priority = phrases::priority(self.plan.alarms[index].priority, tongue);
            format!("{priority}. {}. {message}", short_name(alarm))
        };
        let mut words: String = speech::spoken(&text, tongue, &[self.code_of(alarm)]).chars().take(MAX_ALARM).collect();
        if !words.ends_with(['.', '!', '?']) {
            words.push('.');
        }
        words
    }

    /// An alarm's name as it is spoken.
    pub(super) fn name_words(alarm: &str, tongue: Tongue) -> String {
        speech::spoken(&short_name(alarm), tongue, &[])
    }

    /// What a call is about, in one line.
    pub(in crate::engine) fn call_line(&self, items: &[Item]) -> String {
        let mut line: Vec<String> = items.iter().take(INLINE_NAMED).map(|item| self.short_line(&item.alarm)).collect();
        if items.len() > INLINE_NAMED {
            line.push(format!("and {} more", items.len() - INLINE_NAMED));
        }
        format!("call: {}", line.join("; "))
    }

    pub(super) fn voice(&self, profile: Option<&str>) -> Voice {
        profile.and_then(|name| self.plan.profiles.get(name)).map_or_else(Voice::default, |profile| profile.voice.clone())
    }

    /// Language and voice for whoever has this number: the user's, else the profile's. A voice speaks one language.
    pub(super) fn tongue_of(&self, profile: Option<&str>, number: &str) -> (String, Option<String>) {
        let Voice { language, voice, .. } = self.voice(profile);
        let user = self.plan.user_by_number(number);
        let own_voice = user.and_then(|user| user.voice.clone());
        match user.and_then(|user| user.language.clone()) {
            Some(own) => {
                let voice = own_voice.or_else(|| voice.filter(|_| own == language));
                (own, voice)
            }
            None => (language, own_voice.or(voice)),
        }
    }
}

/// Why this Twilio profile can place no call.
pub(in crate::engine) fn cannot_call(twilio: &TwilioDef) -> Option<&'static str> {
    if twilio.from.as_ref().is_none_or(|from| !from.starts_with('+')) {
        return Some("calls need a phone number as `from`");
    }
    (twilio.external_url.is_none() && !twilio.voice_without_url).then_some("no external_url, and voice_without_url = false")
}
