//! What a scenario can expect: the words behind `expect`.

use super::{
    long_path,
    play::{Outcome, Player},
    world::{Act, Seen},
};
use crate::{engine::record::JournalKind, tag::Value};

/// Acts that were seen and not expected, in a message.
const MAX_SHOWN: usize = 10;

impl Player<'_> {
    pub(super) fn expect(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["sms", who, pattern] => self.expect_text(who, pattern),
            ["call", who, pattern] => {
                let number = self.number(who);
                self.claim(|player, act| {
                    matches!(act, Act::Call { to, words, .. } if (*to == number || number == "*") && player.matches(pattern, words))
                })?;
                Ok(())
            }
            ["say", who, pattern] => {
                let number = self.number(who);
                self.claim(
                    |player, act| matches!(act, Act::Said { to, words, .. } if *to == number && player.matches(pattern, words)),
                )?;
                Ok(())
            }
            ["end-call", who, rest @ ..] => {
                let (number, pattern) = (self.number(who), rest.first().copied().unwrap_or("*"));
                self.claim(|player, act| matches!(act, Act::EndCall { to, words, .. } if *to == number && player.matches(pattern, words)))?;
                Ok(())
            }
            ["script", file] => {
                self.claim(|player, act| matches!(act, Act::Script { name, .. } if player.matches(file, name)))?;
                Ok(())
            }
            ["write", path, expected] => {
                let tag = self.rig.tag(path)?;
                self.claim(|player, act| {
                    matches!(act, Act::Write { tag: written, value } if *written == tag && player.matches(expected, &value.to_string()))
                })?;
                Ok(())
            }
            ["state", alarm, expected] => self.compare(self.view(alarm)?.state, expected),
            ["notification", alarm, expected] => self.compare(&self.view(alarm)?.notification, expected),
            ["value", path, expected] => {
                let shown = self.rig.shown.get(&self.rig.tag(path)?).map(Value::to_string).unwrap_or_default();
                self.compare(&shown, expected)
            }
            ["device", path, expected] => self.compare(&self.rig.device_value(self.rig.tag(path)?).to_string(), expected),
            ["outbox", expected] => {
                let views = self.rig.engine().ok_or("the program does not run")?.outbox_views();
                let waits = |state| ["queued", "sending", "ambiguous"].contains(&state);
                let open = views.iter().filter(|row| row.sid.is_none() && waits(row.state)).count();
                self.compare(&open.to_string(), expected)
            }
            ["journal", word, alarm, rest @ ..] => self.expect_journal(word, alarm, rest.first().copied().unwrap_or("*")),
            ["audit", word, pattern] => {
                let entries = self.rig.watch.audit.iter().filter(|entry| entry.time == self.rig.now);
                let entries = entries.filter(|entry| format!("{:?}", entry.kind) == *word);
                let found: Vec<_> = entries.map(|entry| entry.result.clone()).collect();
                if found.iter().any(|result| self.matches(pattern, result)) { Ok(()) } else { Err(format!("found {found:?}")) }
            }
            ["refused", pattern] => {
                let refused = self.refused.take().ok_or("it was not refused")?;
                self.compare(&refused, pattern)
            }
            ["attempts", least] => {
                let least = least.parse::<usize>().map_err(|_| "how many?")?;
                let attempts = self.rig.world.attempts;
                if attempts >= least { Ok(()) } else { Err(format!("there were {attempts}")) }
            }
            // Whatever was seen until now was expected before.
            ["nothing"] => {
                let rest: Vec<_> =
                    self.rig.world.acts.iter().filter(|seen| seen.surprises()).map(|seen| self.show(seen)).collect();
                if rest.is_empty() { Ok(()) } else { Err(rest.join("; ")) }
            }
            _ => Err("nothing of that kind can be expected".to_owned()),
        }
    }

    fn expect_text(&mut self, who: &str, pattern: &str) -> Outcome {
        let number = self.number(who);
        let found = self.claim(|player, act| match act {
            Act::Text(message) => (message.to == number || number == "*") && player.matches(pattern, &message.body),
            _ => false,
        })?;
        if let Act::Text(message) = found {
            let codes = message.body.split('#').skip(1);
            let code = codes.map(|code| code.chars().take_while(char::is_ascii_alphanumeric).collect::<String>()).last();
            self.last_code = code.unwrap_or_default();
        }
        Ok(())
    }

    /// An entry of this instant.
    fn expect_journal(&self, word: &str, alarm: &str, pattern: &str) -> Outcome {
        let (path, now, kind) = (long_path(alarm), self.rig.now, journal_kind(word)?);
        let entries = self.rig.watch.journal.iter().filter(|entry| entry.time == now && *entry.alarm == *path);
        let texts: Vec<_> = entries.filter(|entry| entry.kind == kind).map(|entry| entry.text.clone()).collect();
        if texts.iter().any(|text| self.matches(pattern, text)) { Ok(()) } else { Err(format!("found {texts:?}")) }
    }

    /// Takes the first act that fits from those not yet expected.
    fn claim(&mut self, fits: impl Fn(&Self, &Act) -> bool) -> Result<Act, String> {
        let place = self.rig.world.acts.iter().position(|seen| !seen.expected && fits(self, &seen.act));
        let Some(place) = place else {
            let rest = self.rig.world.acts.iter().filter(|seen| !seen.expected);
            let seen: Vec<_> = rest.rev().take(MAX_SHOWN).map(|seen| self.show(seen)).collect();
            return Err(format!("seen: {}", if seen.is_empty() { "nothing".to_owned() } else { seen.join("; ") }));
        };
        let seen: &mut Seen = &mut self.rig.world.acts[place];
        seen.expected = true;
        Ok(seen.act.clone())
    }

    fn compare(&self, found: &str, pattern: &str) -> Outcome {
        if self.matches(pattern, found) { Ok(()) } else { Err(format!("found {found:?}")) }
    }

    /// `*` stands for anything.
    fn matches(&self, pattern: &str, text: &str) -> bool {
        let pattern = self.fill(pattern);
        let mut parts = pattern.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let parts: Vec<&str> = parts.collect();
        let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
        for part in middle {
            let Some(place) = rest.find(part) else { return false };
            rest = &rest[place + part.len()..];
        }
        rest.ends_with(last)
    }
}

/// `PipelineStep` for [`JournalKind::PipelineStep`].
fn journal_kind(word: &str) -> Result<JournalKind, String> {
    let mut snake = String::new();
    for (place, letter) in word.char_indices() {
        if letter.is_uppercase() && place > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    serde_json::from_value(snake.into()).map_err(|_| format!("the journal knows no {word}"))
}
