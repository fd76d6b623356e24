//! `send` and `call`: a test message or call straight through a Twilio profile, without a daemon.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{Failure, output::OutputArgs};
use crate::{
    engine::{
        gsm,
        io::{CallDocument, OutboxId, Outgoing, PlaceCall, SendFailure, Verb},
        people,
        plan::{Channel, Plan, TwilioDef, Voice},
        speech::{Tongue, spoken},
    },
    notify::{Notifier, twilio::Twilio},
};

/// Between the two times that a call speaks.
const BETWEEN: Duration = Duration::from_secs(1);

/// Sends a test text through a Twilio profile and says what Twilio answered
#[derive(clap::Args)]
#[command(
    after_help = "It is one attempt, outside the daemon's outbox: it counts in no statistics.\n\nExamples:\n  annunciator send +12223334444 \"Test of the alarm texts\"\n  annunciator send --profile spare +12223334444 \"Second account\" --output json"
)]
pub(super) struct SendArgs {
    #[command(flatten)]
    order: Order,
}

// No docstring: clap would show it instead of the commands' own.
#[derive(clap::Args)]
struct Order {
    /// Whom
    number: String,
    /// What
    message: String,
    /// Name of the [[twilio]] profile [default: the first]
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Places a test call through a Twilio profile, which speaks a message twice, and says what Twilio answered
#[derive(clap::Args)]
#[command(
    after_help = "It is one attempt, outside the daemon's outbox: it counts in no statistics, asks for no PIN and acknowledges nothing.\n\nExamples:\n  annunciator call +12223334444 \"Test of the alarm calls\"\n  annunciator call --profile spare +12223334444 \"Second account\" --output json"
)]
pub(super) struct CallArgs {
    #[command(flatten)]
    order: Order,
}

pub(super) async fn send(plan: &Plan, args: &SendArgs) -> Result<String, Failure> {
    let args = &args.order;
    let (twilio, to) = choose(plan, args)?;
    let size = gsm::measure(&args.message);
    // No row of the outbox has the number 0, so that a delivery report of this text is nobody's.
    let message = Outgoing {
        row: OutboxId(0),
        twilio: twilio.name.clone(),
        channel: Channel::Sms,
        to,
        body: args.message.clone(),
        call: None,
    };
    let accepted = Twilio::new(Arc::clone(&twilio))?.send(&message).await.map_err(|failure| refused(&failure))?;
    let facts = json!({ "sid": accepted.sid, "status": accepted.status, "segments": size.segments, "to": message.to });
    Ok(args.output.print(&facts, |_| {
        let plural = if size.segments == 1 { "" } else { "s" };
        let status = facts["status"].as_str().unwrap_or_default();
        format!("taken by Twilio: {}, {status}, {} segment{plural}\n", accepted.sid, size.segments)
    }))
}

pub(super) async fn call(plan: &Plan, args: &CallArgs) -> Result<String, Failure> {
    let args = &args.order;
    let (twilio, to) = choose(plan, args)?;
    // Spoken as the calls of this account's first voice profile are.
    let mut profiles = plan.profiles.values();
    let profile = profiles.find(|profile| profile.channel == Channel::Voice && profile.twilio == twilio.name);
    let voice = profile.map_or_else(Voice::default, |profile| profile.voice.clone());
    let words = spoken(&args.message, Tongue::of(&voice.language), &[]);
    let say = || Verb::Say(words.clone());
    let document = CallDocument {
        id: "0".to_owned(),
        turn: 0,
        profile: None,
        language: voice.language,
        voice: voice.voice,
        verbs: vec![say(), Verb::Pause(BETWEEN), say(), Verb::Hangup],
    };
    let message = Outgoing {
        row: OutboxId(0),
        twilio: twilio.name.clone(),
        channel: Channel::Voice,
        to,
        body: args.message.clone(),
        call: Some(PlaceCall { ring_timeout: voice.ring_timeout, machine_detection: false, document: Some(document) }),
    };
    let accepted = Twilio::new(Arc::clone(&twilio))?.send(&message).await.map_err(|failure| refused(&failure))?;
    let facts = json!({ "sid": accepted.sid, "status": accepted.status, "to": message.to });
    Ok(args.output.print(&facts, |_| {
        format!("taken by Twilio: {}, {}; it rings soon\n", accepted.sid, facts["status"].as_str().unwrap_or_default())
    }))
}

/// The Twilio profile and the number, normalised.
fn choose(plan: &Plan, args: &Order) -> Result<(Arc<TwilioDef>, String), Failure> {
    let twilio = profile(plan, args.profile.as_deref())?;
    let to = people::normalise(&args.number, plan.people.default_region.as_deref())?;
    if !plan.people.allows(&to) {
        return Err(Failure::Failed(format!("refused: {to} is not among [people] allow_numbers")));
    }
    Ok((twilio, to))
}

fn profile(plan: &Plan, name: Option<&str>) -> Result<Arc<TwilioDef>, String> {
    let names = || plan.twilio.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    match name {
        Some(name) => {
            plan.twilio.get(name).cloned().ok_or_else(|| format!("there is no Twilio profile {name}; there are: {}", names()))
        }
        None => plan.twilio.values().next().cloned().ok_or_else(|| "the configuration has no [[twilio]]".to_owned()),
    }
}

fn refused(failure: &SendFailure) -> String {
    match failure {
        SendFailure::Retry { code, reason, .. } => {
            let code = code.map_or_else(String::new, |code| format!(" (Twilio error {code})"));
            format!("not sent{code}: {reason}; try again")
        }
        SendFailure::Ambiguous { reason } => {
            format!("perhaps sent: {reason}; look into Twilio's log before you send it again")
        }
        SendFailure::Permanent { code: 0, reason, advice, .. } => format!("refused: {reason}: {advice}"),
        SendFailure::Permanent { code, reason, advice, .. } => format!("refused with Twilio error {code}: {reason}: {advice}"),
    }
}
