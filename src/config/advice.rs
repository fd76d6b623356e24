//! Warnings that need the whole configuration: nothing here stops a start, all of it surprises somebody at night.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    book::{Book, Kind},
    problems::{Place, Problem, Problems, Severity},
};
use crate::{
    engine::plan::{AckMode, AlarmDef, Channel, Mode, Notify, Plan, Priority, UserDef},
    tag::TagId,
};

/// Notes everything that works but will disappoint.
pub(super) fn give(plan: &Plan, book: &Book, problems: &mut Problems) {
    let mut advice = Advice { book, problems };
    advice.system_pipeline(plan);
    advice.alarms_that_vanish(plan);
    advice.alarms_without_pipeline(plan);
    advice.people(plan);
    advice.calls(plan);
}

struct Advice<'a> {
    book: &'a Book,
    problems: &'a mut Problems,
}

impl Advice<'_> {
    fn warn(&mut self, place: Option<Place>, message: String, help: &str, second: Option<(Place, String)>) {
        self.problems.push(Problem { severity: Severity::Warning, place, message, help: help.to_owned(), second });
    }

    fn place(&self, kind: Kind, name: &str) -> Option<Place> {
        self.book.place(kind, name).cloned()
    }

    fn tag_place(&self, tag: TagId) -> Option<Place> {
        self.book.tag_by_id(tag).map(|tag| tag.place.clone())
    }

    fn system_pipeline(&mut self, plan: &Plan) {
        if plan.alarm_rules.system_pipeline.is_none() {
            let message = "there is no [alarms] system_pipeline".to_owned();
            let help = "nobody is told when a source is lost, Twilio fails or nobody answers: name a pipeline there";
            self.warn(None, message, help, None);
        }
    }

    fn alarms_that_vanish(&mut self, plan: &Plan) {
        let mut first: BTreeMap<&str, &AlarmDef> = BTreeMap::new();
        for alarm in plan.alarms.iter().filter(|alarm| alarm.priority == Priority::Critical && vanishes(alarm)) {
            if let Some(pipeline) =
                alarm.pipeline.as_deref().filter(|name| plan.pipelines.get(*name).is_some_and(|def| def.end_on_clear))
            {
                first.entry(pipeline).or_insert(alarm);
            }
        }
        for (pipeline, alarm) in first {
            let message = format!("pipeline `{pipeline}` ends when the critical alarm `{}` clears, read or not", alarm.path);
            let help = "set `end_on_clear = false` so that somebody must acknowledge it";
            let second = self.tag_place(alarm.tag).map(|place| (place, "the alarm is on this tag".to_owned()));
            self.warn(self.place(Kind::Pipeline, pipeline), message, help, second);
        }
    }

    fn alarms_without_pipeline(&mut self, plan: &Plan) {
        let mut silent = plan.alarms.iter().filter(|alarm| {
            !matches!(alarm.mode, Mode::System) && alarm.pipeline.is_none() && alarm.priority >= Priority::Medium
        });
        let Some(first) = silent.next() else { return };
        let message = match silent.count() {
            0 => format!("alarm `{}` has no pipeline: nobody is told of it", first.path),
            more => format!(
                "alarm `{}` and {more} more of priority medium or above have no pipeline: nobody is told of them",
                first.path
            ),
        };
        self.warn(self.tag_place(first.tag), message, "add `pipeline = \"…\"`, or give them priority low", None);
    }

    fn people(&mut self, plan: &Plan) {
        let mut used = BTreeSet::new();
        for pipeline in plan.pipelines.values() {
            for notify in pipeline.notifies() {
                self.roster(plan, notify, &mut used);
            }
        }
    }

    /// What keeps calls from being placed, or from reaching anybody.
    fn calls(&mut self, plan: &Plan) {
        for profile in plan.profiles.values().filter(|profile| profile.channel == Channel::Voice) {
            let Some(twilio) = plan.twilio.get(&profile.twilio) else { continue };
            let place = self.place(Kind::Profile, &profile.name);
            let second = self.place(Kind::Twilio, &twilio.name).map(|place| (place, "over this account".to_owned()));
            if twilio.from.as_ref().is_none_or(|from| !from.starts_with('+')) {
                let message =
                    format!("profile `{}` cannot call: twilio profile `{}` has no phone number", profile.name, twilio.name);
                let help =
                    "give it a `from` with + and digits; a Messaging Service, a short code or a name cannot call".to_owned();
                self.problems.push(Problem { severity: Severity::Error, place, message, help, second });
            } else if twilio.external_url.is_none() {
                let message = format!("calls of profile `{}` reach nobody: Twilio cannot call back", profile.name);
                let help = if twilio.voice_without_url {
                    "they speak the alarm twice and take no PIN, so the next contact follows when one has ended; set `external_url`"
                } else {
                    "voice_without_url = false: none is placed; set `external_url`"
                };
                self.warn(place, message, help, second);
            }
        }
    }

    /// What keeps the users of a notify step from being told or from answering; each user once a profile.
    fn roster<'p>(&mut self, plan: &'p Plan, notify: &'p Notify, seen: &mut BTreeSet<(&'p str, &'p str)>) {
        let Some(profile) = plan.profiles.get(&notify.profile) else { return };
        let has_channel = |user: &Arc<UserDef>| user.contacts.iter().any(|contact| contact.channel == profile.channel);
        let mut users = plan.roster_users(&notify.roster).peekable();
        if users.peek().is_some() && !plan.roster_users(&notify.roster).any(has_channel) {
            let word = match profile.channel {
                Channel::Sms => "texts",
                Channel::Voice => "calls",
            };
            let message =
                format!("nobody on roster `{}` has a number for {word}: profile `{}` tells nobody", notify.roster, profile.name);
            let help = "add `contacts` to its users, or use another profile";
            self.warn(self.place(Kind::Roster, &notify.roster), message, help, None);
        }
        for user in users {
            if !seen.insert((&profile.name, &user.name)) {
                continue;
            }
            let place = self.place(Kind::User, &user.name);
            let roster = self.place(Kind::Roster, &notify.roster).map(|place| (place, "in this roster".to_owned()));
            if let Some(consent) = profile.consent.as_ref().filter(|consent| !user.consent.contains(consent)) {
                let message =
                    format!("user `{}` has not given the consent `{consent}`: profile `{}` skips them", user.name, profile.name);
                self.warn(place.clone(), message, "add it to their `consent` once they have agreed", roster.clone());
            }
            let schedule = user.schedule.as_ref().and_then(|name| plan.schedules.get(name));
            if let Some(schedule) = schedule.filter(|schedule| schedule.time_zone.is_none() && user.time_zone.is_none()) {
                let message =
                    format!("neither user `{}` nor schedule `{}` has a time zone: its times are UTC", user.name, schedule.name);
                self.warn(place.clone(), message, "add `time_zone = \"Europe/London\"` to one of them", None);
            }
            if user.contacts.is_empty() {
                let message = format!("user `{}` has no phone number: they are never told", user.name);
                self.warn(place.clone(), message, "add `phone` or `contacts`", roster.clone());
            }
            if user.pin.is_none() {
                let what = match profile.channel {
                    Channel::Sms => "they get texts and can acknowledge nothing by them",
                    Channel::Voice => "calls tell them nothing and go on to the next",
                };
                let message = format!("user `{}` has no PIN: {what}", user.name);
                self.warn(place, message, "add `pin_file` or `pin`", roster);
            } else if user.role < crate::engine::plan::Role::Operator {
                let what = match profile.channel {
                    Channel::Sms => "get texts",
                    Channel::Voice => "hear alarms",
                };
                let message = format!("user `{}` has role {}: they {what} and may not acknowledge", user.name, user.role.name());
                self.warn(place, message, "add roles = [\"operator\"]", roster);
            }
        }
    }
}

/// Clearing may end its notification: nobody acknowledges those with ack mode `unused`, and `any_change` never stays active.
fn vanishes(alarm: &AlarmDef) -> bool {
    alarm.ack_mode != AckMode::Unused && !matches!(alarm.mode, Mode::AnyChange)
}
