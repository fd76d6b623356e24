//! The figures that the standards have targets for. Their numbers are from secondary sources: ISA-18.2-2016's table of recommended
//! alarm performance metrics, EEMUA publication 191. Where they say "about", [`Figure::met`] takes a tolerance that is named here.

use serde::Serialize;

use super::Kpis;
use crate::engine::plan::Priority;

const ISA: &str = "ISA-18.2";
const EEMUA: &str = "EEMUA 191";

/// A figure beside its target.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figure {
    /// For programs; never changes.
    pub key: &'static str,
    /// For people.
    pub name: &'static str,
    /// What was found; `None` when there is nothing to judge by.
    pub value: Option<f64>,
    /// `%`, `s`, or nothing for a count.
    pub unit: &'static str,
    /// What the standard wants, in words; empty where it wants nothing.
    pub target: &'static str,
    /// Whose target it is.
    pub source: &'static str,
    /// Whether the target is met; `None` where there is no target or no value.
    pub met: Option<bool>,
}

/// All of them, in the order in which they are shown.
#[allow(clippy::cast_precision_loss)]
pub(super) fn figures(kpis: &Kpis) -> Vec<Figure> {
    let load = &kpis.alarms;
    let share = |wanted: &[Priority]| -> Option<f64> {
        let found = kpis.priorities.iter().filter(|share| wanted.contains(&share.priority));
        (load.activations > 0).then(|| found.map(|share| share.share).sum())
    };
    let unacceptable = load.bands.last().map(|band| band.percent);
    vec![
        // One in ten minutes is the target, two the ceiling.
        figure("average_per_10_minutes", "Alarms per 10 minutes, average", Some(load.average_per_10_minutes), "").below(
            "about 1, at most 2",
            ISA,
            |value| value <= 2.0,
        ),
        figure("per_day", "Alarms per day", Some(load.per_day), "").below("about 150, at most 300", ISA, |value| value <= 300.0),
        figure("peak_per_10_minutes", "Most alarms in 10 minutes", Some(load.peak_per_10_minutes as f64), "").below(
            "at most 10",
            ISA,
            |value| value <= 10.0,
        ),
        figure("intervals_over_10", "10-minute intervals with more than 10 alarms", unacceptable, "%").below(
            "less than 1 %",
            ISA,
            |value| value < 1.0,
        ),
        figure("flood_time", "Time in flood", Some(kpis.floods.percent_of_time), "%")
            .below("less than 1 %", ISA, |value| value < 1.0),
        figure(
            "bad_actor_share",
            "Share of the 10 most frequent alarms",
            (load.activations > 0).then_some(kpis.bad_actors.share),
            "%",
        )
        .below("1 to 5 %", ISA, |value| value <= 5.0),
        figure("chattering_alarms", "Chattering alarms", Some(kpis.chattering.len() as f64), "")
            .below("none", ISA, |value| value == 0.0),
        figure("fleeting_events", "Fleeting alarm events", Some(kpis.fleeting.events as f64), "")
            .below("none", ISA, |value| value == 0.0),
        figure("stale_peak", "Stale alarms at once, at most", Some(kpis.stale.peak as f64), "").below(
            "fewer than 5",
            ISA,
            |value| value < 5.0,
        ),
        figure("standing_average", "Standing alarms, average", Some(kpis.standing.average), "").below(
            "fewer than 10",
            EEMUA,
            |value| value < 10.0,
        ),
        // "About" is taken as ten, five and five points of a hundred.
        figure("share_low", "Share of priority low", share(&[Priority::Diagnostic, Priority::Low]), "%").below(
            "about 80 %",
            ISA,
            |value| value >= 70.0,
        ),
        figure("share_medium", "Share of priority medium", share(&[Priority::Medium]), "%")
            .below("about 15 %", ISA, |value| value <= 20.0),
        figure("share_high", "Share of priorities high and critical", share(&[Priority::High, Priority::Critical]), "%").below(
            "about 5 %",
            ISA,
            |value| value <= 10.0,
        ),
        figure("share_critical", "Share of priority critical", share(&[Priority::Critical]), "%").below(
            "less than 1 %",
            ISA,
            |value| value < 1.0,
        ),
        figure("ack_median", "Time to acknowledge, median", kpis.acknowledgement.all.median_seconds, "s"),
        figure("ack_p90", "Time to acknowledge, 9 in 10 within", kpis.acknowledgement.all.p90_seconds, "s"),
        figure("reached_median", "From message to person reached, median", kpis.reached.all.median_seconds, "s"),
        figure("reached_p90", "From message to person reached, 9 in 10 within", kpis.reached.all.p90_seconds, "s"),
        figure("never_reached", "Alarm events that were told and reached nobody", Some(kpis.reached.never as f64), ""),
    ]
}

fn figure(key: &'static str, name: &'static str, value: Option<f64>, unit: &'static str) -> Figure {
    Figure { key, name, value, unit, target: "", source: "", met: None }
}

impl Figure {
    fn below(self, target: &'static str, source: &'static str, met: fn(f64) -> bool) -> Self {
        Self { target, source, met: self.value.map(met), ..self }
    }
}
