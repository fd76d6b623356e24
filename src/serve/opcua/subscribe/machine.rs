//! The state table of a subscription (Part 4, 5.14.1.2), row by row under the table's own numbers. Rows 1–3 (Closed, Creating) and
//! 22–26 (transfer, deletion) are what the session's list of subscriptions does; a machine exists from row 3 on.

/// Where a subscription stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Notifications flow.
    Normal,
    /// Something is to be sent and no Publish request is there.
    Late,
    /// Nothing is to be told; keep-alives flow.
    KeepAlive,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing; a Publish request stays in line.
    Nothing,
    /// Send notifications with a Publish request.
    Notify,
    /// Send a keep-alive with a Publish request.
    KeepAlive,
    /// End the subscription.
    Close,
}

/// A row of the table and what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The row's number.
    pub row: u8,
    /// What is to be done.
    pub act: Act,
}

const fn row(row: u8, act: Act) -> Step {
    Step { row, act }
}

/// The variables of the table.
#[derive(Clone, Copy, Debug)]
pub struct Machine {
    state: State,
    publishing_enabled: bool,
    more_notifications: bool,
    message_sent: bool,
    keep_alive_counter: u32,
    lifetime_counter: u32,
    keep_alive: u32,
    lifetime: u32,
}

impl Machine {
    /// Row 3. `keep_alive` and `lifetime` are counts of publishing intervals, at least 1 and 3.
    pub const fn new(publishing_enabled: bool, keep_alive: u32, lifetime: u32) -> Self {
        Self {
            state: State::Normal,
            publishing_enabled,
            more_notifications: false,
            message_sent: false,
            keep_alive_counter: keep_alive,
            lifetime_counter: lifetime,
            keep_alive,
            lifetime,
        }
    }

    /// Rows 6–9, 12, 14–17, 27: the publishing timer expires. `queued`: a Publish request waits; `available`: there is something
    /// to tell.
    pub fn timer(&mut self, queued: bool, available: bool) -> Step {
        if self.lifetime_counter <= 1 {
            return row(27, Act::Close);
        }
        // StartPublishingTimer.
        self.lifetime_counter -= 1;
        let news = self.publishing_enabled && available;
        match self.state {
            State::Normal if queued && news => self.sends(6, State::Normal, Act::Notify),
            State::Normal if queued && !self.message_sent => self.sends(7, State::Normal, Act::KeepAlive),
            State::Normal if !queued && (!self.message_sent || news) => self.is_late(8),
            State::Normal => {
                self.state = State::KeepAlive;
                self.keep_alive_counter = self.keep_alive;
                // This silent interval counts: a keep-alive comes after `keep_alive` intervals, not one more.
                if self.keep_alive == 1 {
                    return self.keep_alive_timer(queued, news);
                }
                self.keep_alive_counter -= 1;
                row(9, Act::Nothing)
            }
            State::Late => row(12, Act::Nothing),
            State::KeepAlive => self.keep_alive_timer(queued, news),
        }
    }

    fn keep_alive_timer(&mut self, queued: bool, news: bool) -> Step {
        match (queued, news) {
            (true, true) => self.sends(14, State::Normal, Act::Notify),
            (true, false) if self.keep_alive_counter == 1 => {
                self.keep_alive_counter = self.keep_alive;
                self.sends(15, State::KeepAlive, Act::KeepAlive)
            }
            (_, false) if self.keep_alive_counter > 1 => {
                self.keep_alive_counter -= 1;
                row(16, Act::Nothing)
            }
            (false, _) | (true, false) => self.is_late(17),
        }
    }

    fn sends(&mut self, number: u8, state: State, act: Act) -> Step {
        self.state = state;
        self.message_sent = true;
        self.lifetime_counter = self.lifetime;
        row(number, act)
    }

    fn is_late(&mut self, number: u8) -> Step {
        self.state = State::Late;
        row(number, Act::Nothing)
    }

    /// Rows 4, 5, 10, 11, 13: a Publish request is there. The session has one line of them for all its subscriptions: one for which
    /// nothing is to be done leaves it to the next.
    pub fn publish(&mut self, available: bool) -> Step {
        let more = self.publishing_enabled && self.more_notifications;
        match self.state {
            State::Normal if more => self.sends(5, State::Normal, Act::Notify),
            State::Normal => {
                self.touch();
                row(4, Act::Nothing)
            }
            State::Late if more || (self.publishing_enabled && available) => self.sends(10, State::Normal, Act::Notify),
            State::Late => {
                self.keep_alive_counter = self.keep_alive;
                self.sends(11, State::KeepAlive, Act::KeepAlive)
            }
            State::KeepAlive => {
                self.touch();
                row(13, Act::Nothing)
            }
        }
    }

    /// True when a Publish request would be answered at once: rows 5, 10, 11.
    pub const fn wants_request(&self) -> bool {
        match self.state {
            State::Normal => self.publishing_enabled && self.more_notifications,
            State::Late => true,
            State::KeepAlive => false,
        }
    }

    /// Intervals until a keep-alive is due, and until the subscription ends.
    pub const fn counters(&self) -> (u32, u32) {
        (self.keep_alive_counter, self.lifetime_counter)
    }

    /// After notifications were sent: whether some are left.
    pub const fn set_more(&mut self, more: bool) {
        self.more_notifications = more;
    }

    /// Row 18: other counts.
    pub const fn modify(&mut self, keep_alive: u32, lifetime: u32) {
        self.keep_alive = keep_alive;
        self.lifetime = lifetime;
        if self.keep_alive_counter > keep_alive {
            self.keep_alive_counter = keep_alive;
        }
        self.touch();
    }

    /// Row 19.
    pub const fn set_publishing(&mut self, enabled: bool) {
        self.publishing_enabled = enabled;
        self.more_notifications = false;
        self.touch();
    }

    /// ResetLifetimeCounter: rows 4, 13, 18–21, 23, and every other service that names the subscription.
    pub const fn touch(&mut self) {
        self.lifetime_counter = self.lifetime;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEP_ALIVE: u32 = 3;
    const LIFETIME: u32 = 9;

    #[derive(Clone, Copy)]
    enum Event {
        /// Publish request queued, notifications available.
        Timer(bool, bool),
        /// Notifications available.
        Publish(bool),
    }

    fn machine(state: State) -> Machine {
        Machine { state, message_sent: true, ..Machine::new(true, KEEP_ALIVE, LIFETIME) }
    }

    #[test]
    fn every_row_of_the_table() {
        use Act::{Close, KeepAlive, Nothing, Notify};
        use Event::{Publish, Timer};
        let normal = machine(State::Normal);
        let fresh = Machine { message_sent: false, ..normal };
        let late = machine(State::Late);
        let alive = machine(State::KeepAlive);
        let last = Machine { keep_alive_counter: 1, ..alive };
        let off = |machine: Machine| Machine { publishing_enabled: false, ..machine };
        let more = |machine: Machine| Machine { more_notifications: true, ..machine };
        let old = |machine: Machine| Machine { lifetime_counter: 1, ..machine };
        let cases = [
            (normal, Publish(true), 4, Nothing, State::Normal),
            (off(more(normal)), Publish(true), 4, Nothing, State::Normal),
            (more(normal), Publish(true), 5, Notify, State::Normal),
            (normal, Timer(true, true), 6, Notify, State::Normal),
            (fresh, Timer(true, true), 6, Notify, State::Normal),
            (fresh, Timer(true, false), 7, KeepAlive, State::Normal),
            (off(fresh), Timer(true, true), 7, KeepAlive, State::Normal),
            (fresh, Timer(false, false), 8, Nothing, State::Late),
            (normal, Timer(false, true), 8, Nothing, State::Late),
            (normal, Timer(true, false), 9, Nothing, State::KeepAlive),
            (normal, Timer(false, false), 9, Nothing, State::KeepAlive),
            (off(normal), Timer(true, true), 9, Nothing, State::KeepAlive),
            (late, Publish(true), 10, Notify, State::Normal),
            (more(late), Publish(false), 10, Notify, State::Normal),
            (late, Publish(false), 11, KeepAlive, State::KeepAlive),
            (off(late), Publish(true), 11, KeepAlive, State::KeepAlive),
            (late, Timer(false, true), 12, Nothing, State::Late),
            (alive, Publish(true), 13, Nothing, State::KeepAlive),
            (alive, Timer(true, true), 14, Notify, State::Normal),
            (last, Timer(true, true), 14, Notify, State::Normal),
            (last, Timer(true, false), 15, KeepAlive, State::KeepAlive),
            (off(last), Timer(true, true), 15, KeepAlive, State::KeepAlive),
            (alive, Timer(true, false), 16, Nothing, State::KeepAlive),
            (alive, Timer(false, false), 16, Nothing, State::KeepAlive),
            (off(alive), Timer(false, true), 16, Nothing, State::KeepAlive),
            (last, Timer(false, false), 17, Nothing, State::Late),
            (alive, Timer(false, true), 17, Nothing, State::Late),
            (last, Timer(false, true), 17, Nothing, State::Late),
            (old(normal), Timer(false, true), 27, Close, State::Normal),
            (old(late), Timer(false, true), 27, Close, State::Late),
            (old(alive), Timer(false, false), 27, Close, State::KeepAlive),
        ];
        for (place, (before, event, wanted, act, state)) in cases.into_iter().enumerate() {
            let mut after = before;
            let step = match event {
                Timer(queued, available) => after.timer(queued, available),
                Publish(available) => after.publish(available),
            };
            assert_eq!((step, after.state), (row(wanted, act), state), "case {place}: {before:?}");
            let is_reset = after.lifetime_counter == LIFETIME;
            // Rows that answer or take a request begin the lifetime anew; a timer alone uses it up.
            assert_eq!(is_reset, matches!(wanted, 4 | 5 | 6 | 7 | 10 | 11 | 13 | 14 | 15), "row {wanted}");
        }
    }

    #[test]
    fn services_begin_the_lifetime_anew() {
        let aged = || Machine { lifetime_counter: 2, more_notifications: true, ..machine(State::Late) };
        let (mut row_18, mut row_19, mut row_20) = (aged(), aged(), aged());
        row_18.modify(2, 30);
        assert_eq!((row_18.lifetime_counter, row_18.keep_alive_counter, row_18.state), (30, 2, State::Late));
        row_19.set_publishing(false);
        assert_eq!((row_19.lifetime_counter, row_19.more_notifications, row_19.wants_request()), (LIFETIME, false, true));
        row_20.touch();
        assert_eq!(row_20.lifetime_counter, LIFETIME);
    }

    #[test]
    fn keep_alives_come_after_just_as_many_intervals() {
        for keep_alive in 1..5 {
            let mut machine = Machine::new(true, keep_alive, 3 * keep_alive);
            let sent: Vec<u32> = (1..40).filter(|_| machine.timer(true, false).act == Act::KeepAlive).collect();
            let wanted: Vec<u32> = (1..40).filter(|interval| (interval - 1) % keep_alive == 0).collect();
            assert_eq!(sent, wanted, "keep-alive count {keep_alive}");
        }
    }

    #[test]
    fn a_subscription_without_requests_lives_for_its_lifetime() {
        let mut machine = Machine::new(true, KEEP_ALIVE, LIFETIME);
        let lived = (1..100).find(|_| machine.timer(false, true).act == Act::Close);
        assert_eq!(lived, Some(LIFETIME));
    }
}
