//! `send`: a test message straight through a Twilio profile, without a daemon.

use std::sync::Arc;

use serde_json::json;

use super::{Failure, output::OutputArgs};
use crate::{
    engine::{
        gsm,
        io::{OutboxId, Outgoing, SendFailure},
        people,
        plan::{Channel, Plan, TwilioDef},
    },
    notify::{Notifier, twilio::Twilio},
};

/// Sends a test text through a Twilio profile and says what Twilio answered
#[derive(clap::Args)]
#[command(
    after_help = "It is one attempt, outside the daemon's outbox: it counts in no statistics.\n\nExamples:\n  annunciator send +12223334444 \"Test of the alarm texts\"\n  annunciator send --profile spare +12223334444 \"Second account\" --output json"
)]
pub(super) struct SendArgs {
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

pub(super) async fn send(plan: &Plan, args: &SendArgs) -> Result<String, Failure> {
    let twilio = choose(plan, args.profile.as_deref())?;
    let to = people::normalise(&args.number, plan.people.default_region.as_deref())?;
    if !plan.people.allows(&to) {
        return Err(Failure::Failed(format!("refused: {to} is not among [people] allow_numbers")));
    }
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

fn choose(plan: &Plan, name: Option<&str>) -> Result<Arc<TwilioDef>, String> {
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
            format!("perhaps sent: {reason}; look into Twilio's message log before you send it again")
        }
        SendFailure::Permanent { code: 0, reason, advice, .. } => format!("refused: {reason}: {advice}"),
        SendFailure::Permanent { code, reason, advice, .. } => format!("refused with Twilio error {code}: {reason}: {advice}"),
    }
}
