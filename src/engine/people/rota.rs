//! The rota: whom a roster contacts at an instant, and in which hours it has nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;

use super::{
    rotation::{hand_overs, turn},
    schedule::{Duty, Hours, OffDuty},
};
use crate::{
    engine::plan::{Cover, Plan, UserDef},
    tag::Timestamp,
};

const DAY: Duration = Duration::from_secs(86_400);
/// How much of the time ahead [`Rota::next_change`] looks at in one piece …
const PIECE: i64 = 32;
/// … and how many pieces at most: more than two years.
const PIECES: i64 = 24;

/// The plan's people together with the overrides that were made in operation.
#[derive(Clone, Copy, Debug)]
pub struct Rota<'p> {
    plan: &'p Plan,
    made: &'p BTreeMap<u64, Cover>,
}

/// One place of a roster at one instant: who would be contacted, if on duty.
#[derive(Clone, Copy, Debug)]
pub struct Place<'p> {
    /// Whose place it is: the user whom the roster names, or whose turn it is in the rotation that it names.
    pub holder: &'p Arc<UserDef>,
    /// Who is contacted: the holder, or who covers them.
    pub user: &'p Arc<UserDef>,
    /// The rotation that the roster names.
    pub rotation: Option<&'p str>,
}

impl Place<'_> {
    /// Somebody else is contacted in the holder's place.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        self.holder.name != self.user.name
    }
}

/// A time in which a roster contacts the same people.
#[cfg_attr(feature = "daemon", derive(utoipa::ToSchema))]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Period {
    /// Its first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub until: Timestamp,
    /// Who is on duty, in the order in which they are contacted, each once.
    pub users: Vec<String>,
}

impl<'p> Rota<'p> {
    /// The people of `plan`, and overrides by number that were made in operation; they go before those of the plan, the newest
    /// first.
    #[must_use]
    pub const fn new(plan: &'p Plan, made: &'p BTreeMap<u64, Cover>) -> Self {
        Self { plan, made }
    }

    /// The places of a roster at `now`, in order. A rotation is one place, the one of the user whose turn it is; whom an exception
    /// or holiday calls to duty beside them has a place too. Whether somebody is on duty is [`Rota::off_duty`]'s, asked when their
    /// turn comes. One person may have several places: they are contacted once.
    #[must_use]
    pub fn places(&self, roster: &str, now: Timestamp) -> Vec<Place<'p>> {
        let mut places = Vec::new();
        for entry in self.plan.rosters.get(roster).into_iter().flatten() {
            match self.plan.rotations.get(entry) {
                Some(rotation) => {
                    let turn = turn(rotation, now);
                    let named = rotation.users.iter().enumerate();
                    let users = named.filter_map(|(place, name)| Some((place, self.plan.users.get(name)?)));
                    let has_place = |(place, user): &(usize, &'p Arc<UserDef>)| *place == turn || self.is_called(user, now);
                    places.extend(users.filter(has_place).map(|(_, user)| self.place(user, Some(&rotation.name), now)));
                }
                None => places.extend(self.plan.users.get(entry).map(|user| self.place(user, None, now))),
            }
        }
        places
    }

    /// Why nobody is contacted for a place of `holder` at `now`; `None` when somebody is. `covered`: somebody else stands in.
    #[must_use]
    pub fn off_duty(&self, holder: &'p UserDef, covered: bool, now: Timestamp) -> Option<OffDuty<'p>> {
        match self.hours(holder)?.duty(now, covered) {
            Duty::Shift | Duty::Called => None,
            Duty::Off(reason) => Some(reason),
        }
    }

    /// Who is contacted for a roster at `now`, in order, each once.
    #[must_use]
    pub fn on_call(&self, roster: &str, now: Timestamp) -> Vec<&'p Arc<UserDef>> {
        let mut users: Vec<&Arc<UserDef>> = Vec::new();
        for place in self.places(roster, now) {
            if self.off_duty(place.holder, place.is_covered(), now).is_none()
                && !users.iter().any(|user| user.name == place.user.name)
            {
                users.push(place.user);
            }
        }
        users
    }

    /// True when some roster would contact `user` at `now`. Of somebody whom no roster names only the schedule counts.
    #[must_use]
    pub fn is_on_call(&self, user: &'p UserDef, now: Timestamp) -> bool {
        let mut named = false;
        for roster in self.plan.rosters.keys() {
            if self.on_call(roster, now).iter().any(|contacted| contacted.name == user.name) {
                return true;
            }
            named |= self.plan.roster_users(roster).any(|member| member.name == user.name);
        }
        !named && self.hours(user).is_none_or(|hours| !matches!(hours.duty(now, false), Duty::Off(_)))
    }

    /// Who is on duty from `from` for `days` days, without a gap between the periods.
    #[must_use]
    pub fn timeline(&self, roster: &str, from: Timestamp, days: u32) -> Vec<Period> {
        let end = from + DAY * days;
        let mut bounds = self.bounds(roster, from, i64::from(days));
        bounds.insert(from);
        let mut periods: Vec<Period> = Vec::new();
        for at in bounds.range(from..end) {
            let users = self.on_call(roster, *at).into_iter().map(|user| user.name.clone()).collect();
            match periods.last_mut() {
                Some(last) if last.users == users => {}
                last => {
                    if let Some(last) = last {
                        last.until = *at;
                    }
                    periods.push(Period { from: *at, until: end, users });
                }
            }
        }
        periods
    }

    /// The next instant at which a roster contacts somebody else; `None` when it stays as it is for two years.
    #[must_use]
    pub fn next_change(&self, roster: &str, now: Timestamp) -> Option<Timestamp> {
        let names = |at| self.on_call(roster, at).into_iter().map(|user| user.name.as_str()).collect::<Vec<_>>();
        let present = names(now);
        (0..PIECES).find_map(|piece| {
            let from = now + DAY * u32::try_from(piece * PIECE).unwrap_or(0);
            let bounds = self.bounds(roster, from, PIECE);
            bounds.into_iter().filter(|at| *at > now).find(|at| names(*at) != present)
        })
    }

    /// Every instant in a span of days from `from` at which something may change for a roster; some beyond it may be among them.
    #[must_use]
    pub fn bounds(&self, roster: &str, from: Timestamp, days: i64) -> BTreeSet<Timestamp> {
        let entries = self.plan.rosters.get(roster).into_iter().flatten();
        let rotations = entries.filter_map(|entry| self.plan.rotations.get(entry));
        let mut bounds: BTreeSet<Timestamp> = rotations.flat_map(|rotation| hand_overs(rotation, from, days)).collect();
        for hours in self.plan.roster_users(roster).filter_map(|user| self.hours(user)) {
            bounds.extend(hours.bounds(from, days));
        }
        bounds.extend(self.covers().flat_map(|cover| [cover.from, cover.until]));
        bounds
    }

    fn place(&self, holder: &'p Arc<UserDef>, rotation: Option<&'p str>, now: Timestamp) -> Place<'p> {
        Place { holder, user: self.stands_in(&holder.name, now).unwrap_or(holder), rotation }
    }

    /// Who covers `holder`, and who covers them in turn. Two who have swapped (each covers the other) are no circle to walk: each
    /// stands in for the other.
    fn stands_in(&self, holder: &str, now: Timestamp) -> Option<&'p Arc<UserDef>> {
        let direct = self.cover_of(holder, now)?;
        let mut seen = vec![holder, &direct.name];
        let mut last = direct;
        while let Some(next) = self.cover_of(&last.name, now) {
            if seen.contains(&next.name.as_str()) {
                return Some(direct);
            }
            seen.push(&next.name);
            last = next;
        }
        Some(last)
    }

    fn cover_of(&self, holder: &str, now: Timestamp) -> Option<&'p Arc<UserDef>> {
        let active = self.covers().filter(|cover| cover.covers == holder && cover.from <= now && now < cover.until);
        active.filter_map(|cover| self.plan.users.get(&cover.user)).last()
    }

    fn covers(&self) -> impl Iterator<Item = &'p Cover> {
        self.plan.overrides.iter().chain(self.made.values())
    }

    fn is_called(&self, user: &'p UserDef, now: Timestamp) -> bool {
        self.hours(user).is_some_and(|hours| hours.duty(now, false) == Duty::Called)
    }

    fn hours(&self, user: &'p UserDef) -> Option<Hours<'p>> {
        let schedule = self.plan.schedules.get(user.schedule.as_ref()?)?;
        Some(Hours::new(schedule, &self.plan.holidays, user.time_zone.as_deref()))
    }
}
