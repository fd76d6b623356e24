//! When a condition is told of anew: after every change of its alarm, and when the quality of what it watches changes.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use super::{Condition, Limits};
use crate::{
    engine::{
        Engine, Slot,
        alarm::{Alarm, Around},
        detect,
        io::Effect,
        plan::{AlarmDef, Mode},
        values::SourceState,
    },
    tag::{StatusCode, TagId},
};

impl Engine {
    /// Snapshots of all alarms that anything ever happened to. The others are [`Condition::normal`].
    #[must_use]
    pub fn conditions(&self) -> Vec<Arc<Condition>> {
        self.alarms.iter().filter_map(|slot| slot.told.clone()).collect()
    }

    /// Tells of the alarm when it is not as it was told last.
    pub(in crate::engine) fn tell(&mut self, index: usize) {
        let def = Arc::clone(&self.plan.alarms[index]);
        let around = self.around(&def);
        let slot = &mut self.alarms[index];
        let told = slot.told.clone();
        let before = told.unwrap_or_else(|| Arc::new(Condition::normal(Arc::clone(&def.path), around.severity)));
        let Some(condition) = slot.alarm.tell(&def, &before, &around) else { return };
        let condition = Arc::new(condition);
        slot.told = Some(Arc::clone(&condition));
        self.dirty.alarms.insert(index);
        self.effects.push(Effect::Condition(condition));
    }

    /// At a start: alarms are as they are, and that is no news.
    pub(in crate::engine) fn resume_conditions(&mut self) {
        for index in 0..self.alarms.len() {
            let def = Arc::clone(&self.plan.alarms[index]);
            let around = self.around(&def);
            let slot = &mut self.alarms[index];
            if slot.alarm == Alarm::default() {
                continue;
            }
            let condition = Arc::new(slot.alarm.resume(&def, &around));
            slot.told = Some(Arc::clone(&condition));
            self.effects.push(Effect::Condition(condition));
        }
    }

    /// An alarm that is no longer configured.
    pub(in crate::engine) fn forget_condition(&mut self, slot: &mut Slot) {
        if let Some(told) = slot.told.take() {
            let last = slot.alarm.farewell(&told, self.now);
            self.effects.push(Effect::Condition(Arc::new(last)));
        }
    }

    /// What the tag of the alarm holds, or its quality, has changed: it may be beyond another limit, or of another quality.
    pub(in crate::engine) fn follow_input(&mut self, index: usize) {
        let Some(told) = self.alarms[index].told.clone().filter(|told| told.trunk.retain) else { return };
        let moved = self.note_limits(index);
        if moved || !is_same_quality(told.state.quality, self.quality(&self.plan.alarms[index])) {
            self.tell(index);
        }
    }

    /// Notes beyond which limits an active alarm is; what cannot be told stays. True when that changed.
    pub(in crate::engine) fn note_limits(&mut self, index: usize) -> bool {
        let def = Arc::clone(&self.plan.alarms[index]);
        let Some(tag) = self.plan.tag(def.tag).filter(|_| self.alarms[index].alarm.state().is_active()) else { return false };
        let found = detect::limits(&def, tag, &self.reading(def.tag), &|tag: TagId| self.reading(tag));
        found.is_some_and(|(high, low)| self.alarms[index].alarm.set_limits(Limits { high, low }))
    }

    fn around(&self, def: &AlarmDef) -> Around {
        // A stream of its own: ids of events do not depend on who looks at conditions.
        let mut hasher = DefaultHasher::new();
        def.path.hash(&mut hasher);
        Around {
            quality: self.quality(def),
            severity: self.plan.alarm_rules.severity[def.priority as usize],
            blank: self.random.branch(hasher.finish()).uuid(),
            now: self.now,
        }
    }

    /// Of what the alarm watches (Part 9, 5.14.2): a lost source is `Bad_CommunicationError`.
    fn quality(&self, def: &AlarmDef) -> StatusCode {
        if matches!(def.mode, Mode::System) {
            return StatusCode::GOOD;
        }
        let source = self.source_of(def.tag).and_then(|source| self.sources.get(&source));
        if source.is_some_and(SourceState::is_lost) {
            return StatusCode::BAD_COMMUNICATION_ERROR;
        }
        self.reading(def.tag).status
    }
}

/// Two qualities whose codes are the same, whatever their info bits.
pub(in crate::engine) const fn is_same_quality(a: StatusCode, b: StatusCode) -> bool {
    a.0 & 0xFFFF_0000 == b.0 & 0xFFFF_0000
}
