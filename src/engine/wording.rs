//! What is wrong with the wording of messages: journalled once, never a reason not to send.

use super::{
    Engine,
    io::Via,
    record::{AuditKind, JournalKind},
    template::TemplateError,
};

/// Mistakes that are remembered as told, until the configuration changes; further ones are not told.
const MAX_NOTED: usize = 1000;

impl Engine {
    /// Journals mistakes that were found while a message about `alarm` was written, each once a profile (or, with none, once an
    /// alarm).
    pub(super) fn note_wording(&mut self, alarm: &str, profile: &str, problems: &[TemplateError]) {
        let Some(index) = self.plan.alarm_index.get(alarm).copied() else { return };
        for problem in problems {
            let (whose, who) = if profile.is_empty() { ("message", alarm) } else { ("profile", profile) };
            let words = format!("{whose} {who}: {problem}");
            if self.wording_noted.len() < MAX_NOTED && self.wording_noted.insert(words.clone()) {
                self.journal(index, JournalKind::Wording, None, &words);
            }
        }
    }

    /// The same for an application event, which no journal is about: the audit log has it.
    pub(super) fn note_event_wording(&mut self, event: &str, problem: &TemplateError) {
        let words = format!("event {event}: {problem}");
        if self.wording_noted.len() < MAX_NOTED && self.wording_noted.insert(words.clone()) {
            self.audit(AuditKind::Wording, "system", Via::System, event, words, "sent all the same", Vec::new(), None);
        }
    }
}
