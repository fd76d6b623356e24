//! Two instances of the program on one store: one acts, by the rules of [`lease`](crate::lease), and either may die, be stopped and go
//! on later, or be cut off from the store.
//!
//! The rig looks at one instance at a time; the other one waits here. What the program commits and does passes the same rules as in
//! the daemon.

use std::{collections::VecDeque, time::Duration};

use super::{
    Rig,
    rig::{Crash, MAX_TURNS, is_result},
};
use crate::{
    engine::{
        Engine,
        io::{Effect, Input},
        record::Record,
    },
    lease::{Row, Terms},
    tag::Timestamp,
};

/// How often the active instance looks for what was handed in.
const TAKE: Duration = Duration::from_millis(100);
/// Whoever was not answered tries again after so long.
const AGAIN: Duration = Duration::from_secs(2);

/// A fault of the lease's rules, for the tests of the tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// An instance that was stopped goes on where it stood, without a look at its lease.
    GoesOn,
    /// A commit does not look at the epoch.
    CommitsAnyway,
    /// What could not be committed is done all the same.
    ActsUncommitted,
    /// An input that was handed in is forgotten before what follows from it is committed.
    ForgetsHanded,
}

/// One instance.
#[derive(Default)]
pub(super) struct Side {
    engine: Option<Engine>,
    /// Which run of the program it is: answers find the one that asked.
    pub(super) run: u64,
    epoch: u64,
    until: Timestamp,
    next_beat: Timestamp,
    down: bool,
    frozen: bool,
    cut: bool,
    /// What was not yet done of the step in which it was stopped, and whether that was committed.
    unfinished: (Vec<Effect>, bool),
    /// What arrived while it was stopped.
    inbox: Vec<Input>,
    /// Records that could not be committed, and what waits for that.
    pub(super) buffered: Vec<Record>,
    pub(super) held: Vec<Effect>,
}

/// The two.
pub struct Pair {
    row: Row,
    terms: Terms,
    pub(super) sides: [Side; 2],
    /// The one that the rig looks at.
    pub(super) focus: usize,
    /// In the store.
    handed: VecDeque<Input>,
    take_due: Timestamp,
    /// The step is about the first of `handed`.
    taking: bool,
    random: fastrand::Rng,
    flaw: Option<Flaw>,
}

/// What a commit came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    Yes,
    /// The store cannot be reached.
    No,
    /// Another instance is active.
    Fenced,
}

impl Rig {
    /// From now on two instances run, on a lease of this length; to be said before anything runs.
    pub fn become_pair(&mut self, lease: Duration, seed: u64, flaw: Option<Flaw>) {
        let mut pair = Pair {
            row: Row::default(),
            terms: Terms { lease },
            sides: [Side::default(), Side::default()],
            focus: 0,
            handed: VecDeque::new(),
            take_due: self.now,
            taking: false,
            random: fastrand::Rng::with_seed(seed),
            flaw,
        };
        for side in &mut pair.sides {
            side.next_beat = self.now;
        }
        self.pair = Some(pair);
    }

    fn both(&mut self) -> &mut Pair {
        self.pair.as_mut().expect("two instances run")
    }

    fn look_at(&mut self, side: usize) {
        let Some(pair) = &mut self.pair else { return };
        if pair.focus != side {
            pair.sides[pair.focus].engine = self.engine.take();
            pair.focus = side;
            self.engine = pair.sides[side].engine.take();
        }
        self.world.asker = pair.sides[side].run;
    }

    fn has_engine(&self, side: usize) -> bool {
        let Some(pair) = &self.pair else { return false };
        if pair.focus == side { self.engine.is_some() } else { pair.sides[side].engine.is_some() }
    }

    /// An instance that may act by its own clock, and is not stopped.
    fn acting(&self) -> Option<usize> {
        let pair = self.pair.as_ref()?;
        let acts = |side: &usize| !pair.sides[*side].frozen && pair.sides[*side].until > self.now && self.has_engine(*side);
        [pair.focus, 1 - pair.focus].into_iter().find(acts)
    }

    /// The instance that the rig looks at may act by its own clock.
    pub(super) fn holds_lease(&self) -> bool {
        self.pair.as_ref().is_none_or(|pair| pair.sides[pair.focus].until > self.now || pair.flaw == Some(Flaw::GoesOn))
    }

    pub(super) fn is_alone(&self) -> bool {
        self.pair.as_ref().is_none_or(|pair| pair.flaw == Some(Flaw::ActsUncommitted))
    }

    /// A run of the program begins on the side that the rig looks at.
    pub(super) fn begins_run(&mut self) {
        self.runs_begun += 1;
        if let Some(pair) = &mut self.pair {
            let side = &mut pair.sides[pair.focus];
            side.run = self.runs_begun;
            (side.unfinished, side.inbox, side.buffered, side.held) = Default::default();
        }
        self.world.asker = self.runs_begun;
    }

    /// Puts records where the next commit finds them, and says whether there is one.
    pub(super) fn try_commit(&mut self, records: Vec<Record>) -> (Committed, Vec<Record>) {
        let Some(pair) = &mut self.pair else { return (Committed::Yes, records) };
        let (epoch, flaw) = (pair.row.epoch, pair.flaw);
        let side = &mut pair.sides[pair.focus];
        side.buffered.extend(records);
        if side.cut {
            return (Committed::No, Vec::new());
        }
        if side.epoch != epoch && flaw != Some(Flaw::CommitsAnyway) {
            return (Committed::Fenced, Vec::new());
        }
        let records = std::mem::take(&mut side.buffered);
        if std::mem::take(&mut pair.taking) && flaw != Some(Flaw::ForgetsHanded) {
            pair.handed.pop_front();
        }
        (Committed::Yes, records)
    }

    /// The process on the side that the rig looks at dies.
    pub(super) fn side_dies(&mut self) {
        let Some(pair) = &mut self.pair else { return };
        let side = &mut pair.sides[pair.focus];
        (side.down, side.frozen, side.until, pair.taking) = (true, false, Timestamp::NULL, false);
    }

    /// The process is stopped, with this left to do of a step that is committed or not.
    pub(super) fn side_freezes(&mut self, unfinished: Vec<Effect>, committed: bool) {
        let Some(pair) = &mut self.pair else { return };
        let side = &mut pair.sides[pair.focus];
        (side.frozen, side.unfinished) = (true, (unfinished, committed));
    }

    /// Something happens to one of the two, as the random numbers will: it is started again, goes on, is stopped, cut off from the
    /// store or connected again, or hands over in order.
    pub fn strike(&mut self) {
        let random = &mut self.both().random;
        let (side, what) = (random.usize(..2), random.u8(..24));
        let one = &self.both().sides[side];
        let (down, frozen, cut) = (one.down, one.frozen, one.cut);
        match what {
            0..6 if down => self.start_side(side),
            0..6 if frozen => self.go_on(side),
            0..6 if cut => self.mend(side),
            6 if !down && !frozen => {
                self.note(&format!("  instance {side} is stopped"));
                self.both().sides[side].frozen = true;
            }
            7 if !down && !cut => {
                self.note(&format!("  instance {side} is cut off"));
                self.both().sides[side].cut = true;
            }
            8 if !down && !frozen && !cut && self.acting() == Some(side) => {
                self.note(&format!("  instance {side} hands over"));
                self.both().row.holder = None;
                self.step_down(side);
            }
            9 if !down && !frozen => {
                self.look_at(side);
                self.note(&format!("  instance {side} dies"));
                self.stop_program();
                self.look_at_the_acting();
            }
            _ => {}
        }
    }

    fn start_side(&mut self, side: usize) {
        let now = self.now;
        let one = &mut self.both().sides[side];
        (one.down, one.cut, one.next_beat) = (false, false, now);
    }

    fn mend(&mut self, side: usize) {
        self.note(&format!("  instance {side} reaches the store"));
        self.both().sides[side].cut = false;
        if self.acting() == Some(side) {
            // What waited for the store is tried again by itself.
            self.look_at(side);
            self.step(Input::Tick);
        }
    }

    fn step_down(&mut self, side: usize) {
        self.look_at(side);
        self.engine = None;
        let one = &mut self.both().sides[side];
        one.until = Timestamp::NULL;
        (one.unfinished, one.inbox, one.buffered, one.held) = Default::default();
        self.world.ask_again(self.now);
    }

    /// An input that was not answered comes again: after a moment, so that it finds somebody else.
    pub(super) fn bring_again(&mut self, input: Input) {
        let pause = if self.pair.is_some() { AGAIN } else { self.world.latency };
        self.world.after_pause(self.now, pause, input);
    }

    /// A stopped process goes on: first with what it had left to do.
    fn go_on(&mut self, side: usize) {
        self.note(&format!("  instance {side} goes on"));
        let now = self.now;
        let one = &mut self.both().sides[side];
        (one.frozen, one.next_beat) = (false, now);
        let ((unfinished, committed), inbox) = (std::mem::take(&mut one.unfinished), std::mem::take(&mut one.inbox));
        if !self.has_engine(side) {
            return;
        }
        self.look_at(side);
        self.act(unfinished, committed);
        for input in inbox {
            self.step(input);
        }
        if self.holds_lease() && self.runs() {
            // What its sources have meanwhile.
            self.connect_all();
        }
        self.look_at_the_acting();
    }

    fn look_at_the_acting(&mut self) {
        if let Some(side) = self.acting() {
            self.look_at(side);
        }
    }

    /// Everything works again; once an instance is active it goes on alone.
    pub fn settle(&mut self) {
        for side in 0..2 {
            if self.both().sides[side].down {
                self.start_side(side);
            }
            self.mend(side);
            if self.both().sides[side].frozen {
                self.go_on(side);
            }
        }
        self.both().flaw = None;
        for _ in 0..MAX_TURNS {
            if self.acting().is_some() {
                self.look_at_the_acting();
                let (run, handed) = (self.world.asker, std::mem::take(&mut self.both().handed));
                self.pair = None;
                self.world.forget_answers(|other| other != run);
                return handed.into_iter().for_each(|input| self.world.after_pause(self.now, TAKE, input));
            }
            let until = self.now + Duration::from_secs(10);
            if !self.advance(until) {
                break;
            }
        }
        self.rule(Err("no instance becomes active".to_owned()));
    }

    /// Beats, what was handed in, and leases that are over: when the next of these is.
    pub(super) fn next_of_pair(&self) -> Option<Timestamp> {
        let pair = self.pair.as_ref()?;
        let beats = pair.sides.iter().filter(|side| !side.down && !side.frozen).map(|side| side.next_beat);
        let takes = self.acting().is_some_and(|side| !pair.sides[side].cut) && !pair.handed.is_empty();
        beats.chain(takes.then_some(pair.take_due)).min()
    }

    /// Lets what is due of these happen; false when nothing is.
    pub(super) fn advance_pair(&mut self) -> bool {
        self.end_leases();
        let now = self.now;
        let Some(pair) = &self.pair else { return false };
        let due = |side: &usize| !pair.sides[*side].down && !pair.sides[*side].frozen && pair.sides[*side].next_beat <= now;
        if let Some(side) = [0, 1].into_iter().find(due) {
            let runs = self.runs_begun;
            self.beat(side);
            self.idle = self.runs_begun == runs;
            self.look_at_the_acting();
            return true;
        }
        let takes = self.acting().filter(|side| !pair.sides[*side].cut && !pair.handed.is_empty() && pair.take_due <= now);
        let Some(side) = takes else { return false };
        self.look_at(side);
        // One after the other, so that whoever looks on sees what came of each.
        let forgets = self.both().flaw == Some(Flaw::ForgetsHanded);
        let handed = &mut self.both().handed;
        if let Some(input) = if forgets { handed.pop_front() } else { handed.front().cloned() } {
            if self.both().random.u8(..20) == 0 {
                self.crash = Some(Crash::BeforeCommit);
            }
            self.both().taking = true;
            self.step(input);
            if let Some(pair) = &mut self.pair {
                pair.taking = false;
            }
        }
        true
    }

    /// Whoever finds that its time is over ends, unless it is stopped and finds nothing.
    fn end_leases(&mut self) {
        for side in 0..2 {
            let now = self.now;
            let one = &self.both().sides[side];
            let over = !one.frozen && one.until <= now;
            if over && self.has_engine(side) {
                self.note(&format!("  the lease of instance {side} is over"));
                self.step_down(side);
            }
        }
        self.look_at_the_acting();
    }

    fn beat(&mut self, side: usize) {
        let (now, terms) = (self.now, self.both().terms);
        let pair = self.both();
        let (late, took) = (Duration::from_millis(pair.random.u64(..100)), Duration::from_millis(pair.random.u64(..400)));
        pair.sides[side].next_beat = now + terms.pace() + late;
        if pair.sides[side].cut {
            return;
        }
        match pair.row.beat(side as u64, true, now, terms) {
            Some(epoch) => {
                let goes_on = pair.sides[side].epoch == epoch;
                let one = &mut pair.sides[side];
                one.until = one.until.max(now - took + terms.room());
                one.epoch = epoch;
                if !(goes_on && self.has_engine(side)) {
                    self.note(&format!("  instance {side} becomes active"));
                    self.look_at(side);
                    self.start_program();
                }
            }
            None if self.has_engine(side) => self.step_down(side),
            None => {}
        }
    }

    /// An input reaches the pair.
    pub(super) fn input_to_pair(&mut self, input: Input) {
        let outside = matches!(input, Input::Inbound { .. } | Input::Status { .. } | Input::Call { .. } | Input::Command { .. });
        if !outside {
            if let Some(side) = self.acting() {
                self.look_at(side);
                self.step(input);
            }
            return;
        }
        let side = self.both().random.usize(..2);
        let one = &self.both().sides[side];
        let (gone, cut) = (one.down || one.frozen, one.cut);
        if !gone && self.acting() == Some(side) {
            self.look_at(side);
            return self.step(input);
        }
        if gone || cut {
            // A person sees that nobody answers; Twilio tries again.
            if !matches!(input, Input::Command { .. }) {
                self.world.after_pause(self.now, AGAIN, input);
            }
            return;
        }
        let due = self.now + TAKE;
        if let Input::Inbound { text, .. } = &input {
            self.taken.push(text.sid.clone());
        }
        self.both().handed.push_back(input);
        self.both().take_due = due;
        self.note(&format!("  instance {side} hands in"));
    }

    /// An answer to what a run of the program has asked for.
    pub(super) fn result_for(&mut self, run: u64, input: Input) {
        debug_assert!(is_result(&input));
        let Some(side) = (0..2).find(|side| self.both().sides[*side].run == run && self.has_engine(*side)) else { return };
        if self.both().sides[side].frozen {
            return self.both().sides[side].inbox.push(input);
        }
        self.look_at(side);
        self.step(input);
        self.look_at_the_acting();
    }

    /// The clock was set forward: spans stay as long as they are.
    pub(super) fn shift_pair(&mut self, span: Duration) {
        let Some(pair) = &mut self.pair else { return };
        pair.row.renewed = pair.row.renewed + span;
        pair.take_due = pair.take_due + span;
        for side in &mut pair.sides {
            side.next_beat = side.next_beat + span;
            if side.until != Timestamp::NULL {
                side.until = side.until + span;
            }
        }
    }

    /// The step is about something that lies in the store until it is committed.
    pub(super) fn is_handed(&self) -> bool {
        self.pair.as_ref().is_some_and(|pair| pair.taking)
    }

    /// What waited for the store to be reached.
    pub(super) fn take_held(&mut self) -> Vec<Effect> {
        self.pair.as_mut().map(|pair| std::mem::take(&mut pair.sides[pair.focus].held)).unwrap_or_default()
    }

    pub(super) fn hold(&mut self, effect: Effect) {
        if let Some(pair) = &mut self.pair {
            pair.sides[pair.focus].held.push(effect);
        }
    }

    /// A commit was refused: another instance is active.
    pub(super) fn lose_lease(&mut self) {
        self.note("  fenced");
        let side = self.both().focus;
        self.step_down(side);
    }

    /// The instance that the rig looks at is one that acts.
    pub(super) fn looks_at_the_acting(&self) -> bool {
        self.pair.as_ref().is_none_or(|pair| self.acting() == Some(pair.focus))
    }
}
