//! What can happen in a scenario: the words of a line that does not begin with `expect`.

use super::{
    long_path,
    phone::Phone,
    play::{Outcome, Player, What},
    script::{clock, duration},
    world::{Device, Mood, Scripts},
};
use crate::{
    engine::{
        io::{Command, DeliveryState},
        plan::Cover,
        record::JournalKind,
    },
    tag::StatusCode,
};

impl Player<'_> {
    pub(super) fn act(&mut self, verb: &str, words: &[&str]) -> Outcome {
        match (verb, words) {
            ("set", [path, value]) => {
                let tag = self.rig.tag(path)?;
                let value = self.value(tag, value)?;
                self.rig.set(tag, value);
            }
            ("quality", [path, status]) => {
                let (tag, status) = (self.rig.tag(path)?, status_code(status)?);
                self.rig.set_quality(tag, status);
            }
            ("source", [name, state @ ("up" | "down")]) => self.rig.set_source(name, *state == "up"),
            ("device", [path, rest @ ..]) => {
                let tag = self.rig.tag(path)?;
                self.rig.world.devices.insert(tag, device(rest)?);
            }
            ("twilio", [rest @ .., "for", who]) => {
                let number = self.number(who);
                self.rig.world.moods.insert(number, mood(rest)?);
            }
            ("twilio", ["list", state @ ("works" | "fails")]) => self.rig.world.list_fails = *state == "fails",
            ("twilio", rest) => self.rig.world.mood = mood(rest)?,
            ("status", [who, word, rest @ ..]) => self.status(who, word, rest.first().copied())?,
            ("reply", [who, body]) => {
                let (number, body) = (self.number(who), self.fill(body));
                self.rig.inbound(&number, &body);
            }
            ("scripts", ["work"]) => self.rig.world.scripts = Scripts::Work,
            ("scripts", ["fail", reason]) => self.rig.world.scripts = Scripts::Fail((*reason).to_owned()),
            ("scripts", ["hang"]) => self.rig.world.scripts = Scripts::Hang,
            ("send", [number, body]) => {
                let number = self.number(number);
                self.command(&[], Command::SendText { twilio: None, number, body: (*body).to_owned() });
            }
            ("identify", [user_id, phone, consent @ ..]) => {
                let consent = Some(consent.iter().map(|word| (*word).to_owned()).collect());
                let phone = Some(self.number(phone));
                self.command(&[], Command::Identify { user_id: (*user_id).to_owned(), phone, consent });
            }
            ("forget", [user_id]) => self.command(&[], Command::Forget { user_id: (*user_id).to_owned() }),
            ("track", [user_id, event, properties]) => {
                let properties =
                    serde_json::from_str(&properties.replace('\'', "\"")).map_err(|error| format!("properties: {error}"))?;
                let (user_id, event) = ((*user_id).to_owned(), (*event).to_owned());
                self.command(&[], Command::Track { user_id, event, properties });
            }
            ("cover", [user, covers, from, until, rest @ ..]) => {
                let at =
                    |text: &str| clock(text).map(|since| self.rig.start + since).ok_or("`cover WHO FOR-WHOM HH:MM:SS HH:MM:SS`");
                let (from, until) = (at(from)?, at(until)?);
                let cover = Cover { user: (*user).to_owned(), covers: (*covers).to_owned(), from, until, note: String::new() };
                self.command(rest, Command::SetOverride(cover));
            }
            ("drill", rest) => self.command(rest, Command::StartDrill),
            ("uncover", [number, rest @ ..]) => {
                let number = number.parse().map_err(|_| "which override?")?;
                self.command(rest, Command::RemoveOverride { number });
            }
            ("phone", [who, rest @ ..]) => {
                let phone = self.phone(rest)?;
                let number = self.call_number(who);
                self.rig.world.phones.insert(number, phone);
            }
            ("keys", [who, keys]) => {
                let (number, keys) = (self.call_number(who), self.fill(keys));
                self.rig.world.press(self.rig.now, &number, &keys)?;
            }
            ("hang-up", [who]) => {
                let number = self.call_number(who);
                self.rig.world.hang_up(self.rig.now, &number)?;
            }
            ("dial", [who]) => {
                let number = self.call_number(who);
                self.rig.world.dial(self.rig.now, &number);
            }
            ("call", [who, message]) => {
                let number = self.call_number(who);
                self.command(&[], Command::PlaceCall { twilio: None, number, message: (*message).to_owned() });
            }
            ("clock", [way @ ("forward" | "back"), span]) => {
                let span = duration(span)?;
                self.rig.jump(*way == "forward", span);
            }
            ("stop", []) => self.rig.stop_program(),
            ("start", []) => self.rig.start_program(),
            ("restart", []) => {
                self.rig.stop_program();
                self.rig.start_program();
            }
            ("reload", [part, old, new]) => self.reload(part, old, new)?,
            ("ack" | "ack-event" | "shelve" | "out-of-service" | "in-service", [alarm, rest @ ..]) => {
                return self.on_alarm(verb, alarm, rest);
            }
            _ => return Err(format!("nothing is called `{verb}` with {} words behind it", words.len())),
        }
        Ok(())
    }

    /// What a person does with an alarm.
    fn on_alarm(&mut self, verb: &str, alarm: &str, words: &[&str]) -> Outcome {
        let path = long_path(alarm);
        let note = String::new();
        match (verb, words) {
            ("ack", rest) => self.command(rest, Command::Acknowledge { alarm: path.into(), note }),
            ("ack-event", [which, rest @ ..]) => {
                let journal = self.rig.watch.journal.iter();
                let raised = journal.filter(|entry| entry.kind == JournalKind::Raised && *entry.alarm == *path);
                let place = which.parse::<usize>().ok().and_then(|which| which.checked_sub(1)).ok_or("which event?")?;
                let event = raised.filter_map(|entry| entry.event).nth(place).ok_or("there is no such event")?;
                self.command(rest, Command::AcknowledgeEvent { alarm: Some(path.into()), event, note });
            }
            ("shelve", [minutes, rest @ ..]) => {
                let minutes = minutes.parse().map_err(|_| "how many minutes?")?;
                self.command(rest, Command::Shelve { alarm: path.into(), minutes, note });
            }
            (_, rest) => {
                let out = verb == "out-of-service";
                self.command(rest, Command::OutOfService { alarm: path.into(), out, note });
            }
        }
        Ok(())
    }

    /// Asks for something, as `by` says or as bob.
    fn command(&mut self, rest: &[&str], command: Command) {
        let user = if let ["by", user] = rest { user } else { "bob" };
        let request = self.rig.command(user, command);
        self.settle();
        let Some(outcome) = self.rig.answers.remove(&request) else { return };
        let refused = !outcome.status.is_good();
        let words = format!("{}{}", if refused { "refused: " } else { "" }, outcome.message);
        self.moment(self.rig.now, What::Answer, words);
        self.refused = refused.then_some(outcome.message);
    }

    /// What a phone does.
    fn phone(&self, words: &[&str]) -> Result<Phone, String> {
        let keys = |keys: &str| self.fill(keys).split_whitespace().map(str::to_owned).collect();
        Ok(match words {
            ["rings"] => Phone::Rings,
            ["busy"] => Phone::Busy,
            ["fails"] => Phone::Fails,
            ["voicemail"] => Phone::Voicemail,
            ["answers"] => Phone::Answers(Vec::new()),
            ["answers", pressed] => Phone::Answers(keys(pressed)),
            ["hangs-up"] => Phone::HangsUp(Vec::new()),
            ["hangs-up", pressed] => Phone::HangsUp(keys(pressed)),
            _ => {
                return Err(
                    "a phone `rings`, is `busy`, `fails`, `voicemail`, `answers \"KEYS\"` or `hangs-up \"KEYS\"`".to_owned()
                );
            }
        })
    }

    fn status(&mut self, who: &str, word: &str, code: Option<&str>) -> Outcome {
        let number = self.number(who);
        let message = self.rig.world.messages.iter().rev().find(|message| message.to == number).cloned();
        let message = message.ok_or("no text went there")?;
        let status = DeliveryState::parse(word).ok_or("unknown status")?;
        self.rig.world.status(self.rig.now, &message, status, code.and_then(|code| code.parse().ok()));
        Ok(())
    }

    /// Replaces some text of the configuration (or of the tags) and reloads.
    fn reload(&mut self, part: &str, old: &str, new: &str) -> Outcome {
        let mut setup = self.setup.clone();
        let files = match part {
            "config" => &mut setup.config,
            "tags" => &mut setup.tags,
            _ => return Err("`reload config` or `reload tags`".to_owned()),
        };
        let (old, new) = (old.replace('\'', "\""), new.replace('\'', "\""));
        if !files.iter().any(|file| file.text.contains(&old)) {
            return Err(format!("{old:?} is not there to be replaced"));
        }
        for file in files {
            file.text = file.text.replace(&old, &new);
        }
        self.rig.reload(&setup).map_err(|problems| format!("the new configuration is wrong:\n{problems}"))?;
        self.setup = setup;
        Ok(())
    }
}

fn mood(words: &[&str]) -> Result<Mood, String> {
    Ok(match words {
        ["accepts"] => Mood::Accepts,
        ["down"] => Mood::Down,
        ["busy"] => Mood::Busy,
        ["refuses", code] => Mood::Refuses(code.parse().map_err(|_| "which code?")?),
        ["loses-answer"] => Mood::LosesAnswer,
        ["loses-request"] => Mood::LosesRequest,
        _ => return Err("Twilio `accepts`, is `down` or `busy`, `refuses CODE`, `loses-answer`, `loses-request`".to_owned()),
    })
}

fn device(words: &[&str]) -> Result<Device, String> {
    Ok(match words {
        ["works"] => Device::Works,
        ["fails", status] => Device::Fails(status_code(status)?),
        ["loses-answer"] => Device::LosesAnswer,
        ["ignores"] => Device::Ignores,
        ["hangs"] => Device::Hangs,
        _ => return Err("a device `works`, `fails STATUS`, `loses-answer`, `ignores` or `hangs`".to_owned()),
    })
}

fn status_code(name: &str) -> Result<StatusCode, String> {
    let known = [
        StatusCode::BAD,
        StatusCode::BAD_TIMEOUT,
        StatusCode::BAD_NOT_WRITABLE,
        StatusCode::BAD_DEVICE_FAILURE,
        StatusCode::BAD_SENSOR_FAILURE,
        StatusCode::BAD_COMMUNICATION_ERROR,
        StatusCode::UNCERTAIN,
    ];
    known.into_iter().find(|code| code.name() == Some(name)).ok_or_else(|| format!("unknown status {name}"))
}
