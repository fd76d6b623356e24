//! Which values of a tag's past a ReadRawModifiedDetails means, page by page (Part 11, 6.4.3.2). No I/O: `fetch` gives stretches.

use std::future::Future;

use crate::tag::{Moment, Past, PastValue, StatusCode, Timestamp, Value};

/// Fewer than two of start, end and number were given (Part 11, 6.4.3.2).
pub const BAD_HISTORY_OPERATION_INVALID: StatusCode = StatusCode(0x8071_0000);
/// There is no value beyond this end.
pub const BAD_BOUND_NOT_FOUND: StatusCode = StatusCode(0x80D7_0000);

/// What a client asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Null for none.
    pub start: Timestamp,
    /// Null for none.
    pub end: Timestamp,
    /// Values in one answer; zero for all.
    pub most: u32,
    /// Wants the values just outside too.
    pub bounds: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Begin,
    /// After this value.
    Values(Moment),
    /// All values were told, the bound at the end was not.
    End,
}

/// A walk through the past, and how far it has come.
#[derive(Clone, Debug)]
pub struct Walk {
    newest_first: bool,
    /// Where it begins, in its own direction; values at this time belong to it.
    from: Timestamp,
    /// Where it ends; values at this time do not belong to it.
    to: Option<Timestamp>,
    bounds: bool,
    /// Values in one answer.
    page: u32,
    /// Values that are still wanted in all; `None` without such a number.
    left: Option<u32>,
    stage: Stage,
}

impl Walk {
    /// The walk that a client asks for, with at most `page` values in an answer.
    ///
    /// # Errors
    /// `Bad_HistoryOperationInvalid`.
    pub fn new(asked: Asked, page: u32) -> Result<Self, StatusCode> {
        let Asked { start, end, most, bounds } = asked;
        let (from, to, newest_first) = match (start.is_null(), end.is_null()) {
            (false, false) => (start, Some(end), start > end),
            (false, true) if most > 0 => (start, None, false),
            // Without a start the walk goes back from the end.
            (true, false) if most > 0 => (end, None, true),
            _ => return Err(BAD_HISTORY_OPERATION_INVALID),
        };
        // With both ends the number is that of one answer, with one end it is that of all values.
        let left = to.is_none().then_some(most);
        let page = if most == 0 { page } else { most.min(page) };
        Ok(Self { newest_first, from, to, bounds, page, left, stage: Stage::Begin })
    }

    /// The next values; true when more follow.
    ///
    /// # Errors
    /// What `fetch` says.
    pub async fn next<F>(&mut self, tag: &str, fetch: impl Fn(Past) -> F) -> Result<(Vec<PastValue>, bool), StatusCode>
    where
        F: Future<Output = Result<Vec<PastValue>, StatusCode>>,
    {
        let room = self.left.map_or(self.page, |left| left.min(self.page));
        let mut told = Vec::new();
        if self.stage != Stage::End {
            let wanted = Past { limit: room.saturating_add(1), ..self.values(tag) };
            let values = fetch(wanted).await?;
            let is_exact = values.first().is_some_and(|value| value.at.time == self.from);
            if self.stage == Stage::Begin && self.bounds && !is_exact {
                told.push(bound(fetch(self.before_begin(tag)).await?, self.from));
            }
            let free = (room as usize).saturating_sub(told.len());
            let all = values.len() <= free;
            told.extend(values.into_iter().take(free));
            if !all {
                let last = told.last().filter(|_| free > 0).map(|value| value.at);
                self.stage = Stage::Values(last.unwrap_or_else(|| self.begin()));
                return Ok(self.page_of(told));
            }
            // One moment, met exactly, has no outside.
            let is_met = self.to == Some(self.from) && is_exact;
            if !self.bounds || self.to.is_none() || is_met {
                return Ok((told, false));
            }
            self.stage = Stage::End;
            if told.len() >= room as usize {
                return Ok(self.page_of(told));
            }
        }
        if let Some(to) = self.to {
            told.push(bound(fetch(self.after_end(tag, to)).await?, to));
        }
        Ok((told, false))
    }

    fn page_of(&mut self, told: Vec<PastValue>) -> (Vec<PastValue>, bool) {
        let count = u32::try_from(told.len()).unwrap_or(u32::MAX);
        self.left = self.left.map(|left| left.saturating_sub(count));
        (told, self.left != Some(0))
    }

    /// Just before the first value, in the walk's direction.
    const fn begin(&self) -> Moment {
        if self.newest_first { Moment::after(self.from) } else { Moment::before(self.from) }
    }

    /// The values that are still to come.
    fn values(&self, tag: &str) -> Past {
        let begin = match self.stage {
            Stage::Values(last) => last,
            Stage::Begin | Stage::End => self.begin(),
        };
        let end = match self.to {
            // One moment: all values at it.
            Some(to) if to == self.from => Moment::after(to),
            Some(to) if self.newest_first => Moment::after(to),
            Some(to) => Moment::before(to),
            None if self.newest_first => FIRST,
            None => LAST,
        };
        let (after, before) = if self.newest_first { (end, begin) } else { (begin, end) };
        Past { tag: tag.into(), after, before, newest_first: self.newest_first, limit: 1 }
    }

    fn before_begin(&self, tag: &str) -> Past {
        let (after, before) =
            if self.newest_first { (Moment::after(self.from), LAST) } else { (FIRST, Moment::before(self.from)) };
        Past { tag: tag.into(), after, before, newest_first: !self.newest_first, limit: 1 }
    }

    fn after_end(&self, tag: &str, to: Timestamp) -> Past {
        let (after, before) = match self.newest_first {
            true => (FIRST, Moment::after(to)),
            false if to == self.from => (Moment::after(to), LAST),
            false => (Moment::before(to), LAST),
        };
        Past { tag: tag.into(), after, before, newest_first: self.newest_first, limit: 1 }
    }
}

fn bound(found: Vec<PastValue>, at: Timestamp) -> PastValue {
    let missing = PastValue { at: Moment { time: at, received: at }, value: Value::Null, status: BAD_BOUND_NOT_FOUND };
    found.into_iter().next().unwrap_or(missing)
}

const FIRST: Moment = Moment::before(Timestamp::from_ticks(i64::MIN));
const LAST: Moment = Moment::after(Timestamp::from_ticks(i64::MAX));

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The values of the examples in Part 11, 6.4.3.2 and Annex A, as minutes after five.
    const KEPT: [i64; 5] = [0, 2, 3, 5, 6];

    fn minute(minute: i64) -> Timestamp {
        if minute == NONE { Timestamp::NULL } else { Timestamp::from_ticks((300 + minute) * 600_000_000) }
    }

    const NONE: i64 = i64::MIN;

    fn fetch(past: &Past) -> Vec<PastValue> {
        let value = |m: &i64| PastValue {
            at: Moment { time: minute(*m), received: minute(*m + 60) },
            value: Value::Int64(*m),
            status: StatusCode::GOOD,
        };
        let mut values: Vec<_> = KEPT.iter().map(value).filter(|value| past.after < value.at && value.at < past.before).collect();
        if past.newest_first {
            values.reverse();
        }
        values.truncate(past.limit as usize);
        values
    }

    /// The pages of a whole walk; a missing bound is shown as its minute plus 1000.
    fn walk(start: i64, end: i64, most: u32, bounds: bool, page: u32) -> Vec<Vec<i64>> {
        let asked = Asked { start: minute(start), end: minute(end), most, bounds };
        let mut walk = Walk::new(asked, page).unwrap();
        let mut pages = Vec::new();
        loop {
            let next = std::pin::pin!(walk.next("T", |past| std::future::ready(Ok(fetch(&past)))));
            let Poll::Ready(Ok((values, more))) = next.poll(&mut Context::from_waker(Waker::noop())) else { panic!() };
            let show = |value: PastValue| match value.value {
                Value::Int64(minute) => minute,
                _ => value.at.time.ticks() / 600_000_000 - 300 + 1_000,
            };
            pages.push(values.into_iter().map(show).collect());
            if !more {
                return pages;
            }
            assert!(pages.len() < 20);
        }
    }

    #[test]
    fn the_examples_of_the_standard() {
        let cases: &[(i64, i64, u32, bool, &[i64])] = &[
            (0, 5, 0, true, &[0, 2, 3, 5]),
            (0, 5, 0, false, &[0, 2, 3]),
            (1, 4, 0, true, &[0, 2, 3, 5]),
            (1, 4, 0, false, &[2, 3]),
            (5, 0, 0, true, &[5, 3, 2, 0]),
            (5, 0, 0, false, &[5, 3, 2]),
            (4, 1, 0, true, &[5, 3, 2, 0]),
            (4, 1, 0, false, &[3, 2]),
            (4, 1, 0, false, &[3, 2]),
            (1, NONE, 3, true, &[0, 2, 3]),
            (1, NONE, 3, false, &[2, 3, 5]),
            (0, NONE, 3, true, &[0, 2, 3]),
            (0, NONE, 3, false, &[0, 2, 3]),
            (NONE, 6, 3, true, &[6, 5, 3]),
            (NONE, 6, 3, false, &[6, 5, 3]),
            (NONE, 6, 6, true, &[6, 5, 3, 2, 0]),
            (NONE, 4, 2, true, &[5, 3]),
            (-12, -2, 0, true, &[988, 0]),
            (-12, -2, 0, false, &[]),
            (7, 12, 0, true, &[6, 1_012]),
            (7, 12, 0, false, &[]),
            (12, 7, 0, true, &[1_012, 6]),
            (0, 0, 0, true, &[0]),
            (0, 0, 0, false, &[0]),
            (1, 1, 0, true, &[0, 2]),
            (1, 1, 0, false, &[]),
        ];
        for (start, end, most, bounds, wanted) in cases {
            let pages = walk(*start, *end, *most, *bounds, 100);
            assert_eq!(pages, [wanted.to_vec()], "{start} to {end}, {most}, bounds {bounds}");
        }
    }

    #[test]
    fn pages_join_without_a_gap() {
        for (start, end) in [(0, 6), (1, 6), (-1, 7), (6, 0), (7, 1), (4, 4), (2, 2)] {
            for bounds in [true, false] {
                let whole = walk(start, end, 0, bounds, 100).concat();
                for page in 1..6 {
                    let pages = walk(start, end, page, bounds, 100);
                    assert!(pages.iter().all(|values| values.len() <= page as usize), "{pages:?}");
                    assert_eq!(pages.concat(), whole, "{start} to {end} by {page}, bounds {bounds}");
                    assert_eq!(walk(start, end, 0, bounds, page), pages, "the server's own limit does the same");
                }
            }
        }
        assert_eq!(walk(0, NONE, 4, false, 3), [vec![0, 2, 3], vec![5]]);
        assert_eq!(walk(NONE, 6, 9, false, 3), [vec![6, 5, 3], vec![2, 0]]);
    }

    #[test]
    fn two_of_three_must_be_given() {
        for (start, end, most) in [(NONE, NONE, 0), (NONE, NONE, 5), (0, NONE, 0), (NONE, 0, 0)] {
            let asked = Asked { start: minute(start), end: minute(end), most, bounds: false };
            assert_eq!(Walk::new(asked, 10).err(), Some(BAD_HISTORY_OPERATION_INVALID), "{start} {end} {most}");
        }
    }
}
