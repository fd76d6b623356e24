//! What becomes of a call: it rings, somebody answers or not, the documents are spoken, keys are pressed, and each step is
//! reported where that was asked for.

use std::sync::Arc;

use reqwest::Url;
use tokio::sync::mpsc;

use super::{
    super::{
        Event, Shared,
        api::Parameters,
        courier::{self, Hook, Page},
    },
    hand::Hand,
    record::{Call, CallLine, Detection, Reports, Source, Status, Voice, VoiceMode},
    twiml::{self, Gather, Problem, Target, Verb},
};
use crate::clock;

/// Documents in one call; then Twilio is taken to have had enough of a loop.
const MAX_DOCUMENTS: usize = 100;
/// Verbs in one call, repeats of a text included.
const MAX_VERBS: usize = 1000;
/// A call has four events and a verdict about who answered.
const MAX_CALLBACKS: usize = 5;
/// Characters that are spoken in a second.
const SPEECH: usize = 15;
/// Twilio's words when it cannot go on.
const APOLOGY: &str = "We are sorry, an application error has occurred. Goodbye.";

type Callbacks = mpsc::Sender<(Hook, Parameters)>;

/// From queued to the end.
pub(super) async fn live(shared: &Arc<Shared>, sid: &str) {
    let Some((over, phone, hand)) =
        shared.state().calls.get(sid).map(|call| (call.over.clone(), call.phone().to_owned(), call.hand.clone()))
    else {
        return;
    };
    let voice = shared.state().voices.get(&phone).cloned().unwrap_or_default();
    let (callbacks, waiting) = mpsc::channel(MAX_CALLBACKS);
    let reports = voice.reports;
    let living = async {
        let mut life = Life { shared, sid, phone, voice, hand, callbacks, verbs: 0, fallen_back: false, rejected: false };
        if let Some((status, sip)) = over.run_until_cancelled(life.dial()).await {
            let event = life.call(|call| {
                call.end(status, sip);
                call.event()
            });
            if let Some(event) = event {
                shared.tell(event);
            }
        }
        life.report("completed");
    };
    tokio::join!(living, deliver(shared, reports, waiting));
}

/// Reports are independent of the call, as real ones are; they keep their order unless the phone was told otherwise.
async fn deliver(shared: &Arc<Shared>, how: Reports, mut waiting: mpsc::Receiver<(Hook, Parameters)>) {
    let mut kept = Vec::new();
    while let Some((hook, parameters)) = waiting.recv().await {
        let times = match how {
            Reports::InOrder => 1,
            Reports::Repeated => 2,
            Reports::Reversed | Reports::Lost => 0,
        };
        for _ in 0..times {
            courier::ask(shared, &hook, parameters.clone()).await;
        }
        kept.push((hook, parameters));
    }
    match how {
        Reports::InOrder | Reports::Lost => return,
        Reports::Repeated => {}
        Reports::Reversed => kept.reverse(),
    }
    for (hook, parameters) in kept {
        courier::ask(shared, &hook, parameters).await;
    }
}

struct Life<'a> {
    shared: &'a Arc<Shared>,
    sid: &'a str,
    phone: String,
    /// How the phone behaves; what it has pressed is taken out.
    voice: Voice,
    hand: Arc<Hand>,
    callbacks: Callbacks,
    verbs: usize,
    fallen_back: bool,
    /// A call to the account that it does not take.
    rejected: bool,
}

impl Life<'_> {
    /// Does something with the call; `None` when it was dropped as the oldest.
    fn call<T>(&self, act: impl FnOnce(&mut Call) -> T) -> Option<T> {
        self.shared.state().calls.get_mut(self.sid).map(act)
    }

    fn report(&self, event: &str) {
        let report = self.call(|call| call.happened(event, &self.shared.options.account_sid)).flatten();
        if let Some(report) = report {
            // There is room for every event of a call.
            let _ = self.callbacks.try_send(report);
        }
    }

    fn note(&self, line: CallLine) {
        self.shared.tell(Event::InCall { sid: self.sid.to_owned(), phone: self.phone.clone(), line: line.clone() });
        self.call(|call| call.note(line));
    }

    fn problem(&self, (code, message): Problem) {
        self.note(CallLine::Error { code, message });
    }

    fn advance(&self, status: Status, event: &str) {
        if let Some(told) = self.call(|call| call.advance(status).then(|| call.event())).flatten() {
            self.shared.tell(told);
            self.report(event);
        }
    }

    /// Lets time of the call pass.
    async fn pass(&self, seconds: u32) {
        tokio::time::sleep(self.shared.options.call_second * seconds).await;
        self.call(|call| call.talked = call.talked.saturating_add(seconds));
    }

    /// Rings and, if somebody answers, talks; gives the last status and its SIP code.
    async fn dial(&mut self) -> (Status, u16) {
        let options = &self.shared.options;
        tokio::time::sleep(options.ring_after).await;
        let dialled = self.call(|call| {
            call.started = Some(clock::now());
            call.seconds = self.voice.seconds;
            (call.order.inbound, call.order.timeout)
        });
        let Some((inbound, timeout)) = dialled else { return (Status::Failed, 500) };
        self.report("initiated");
        if inbound {
            // The account's number rings until its first document, which may reject the call.
            self.advance(Status::Ringing, "ringing");
            self.talk().await;
            return if self.rejected { (Status::Busy, 603) } else { (Status::Completed, 200) };
        }
        if self.shared.state().unreachable.contains(&self.phone) {
            return (Status::Failed, 480);
        }
        if self.voice.mode == VoiceMode::Failed {
            return (Status::Failed, 404);
        }
        self.advance(Status::Ringing, "ringing");
        let no_answer = tokio::time::sleep(options.call_second * timeout);
        match self.voice.mode {
            VoiceMode::NoAnswer => {
                no_answer.await;
                return (Status::NoAnswer, 487);
            }
            VoiceMode::Hand => {
                let hand = self.hand.clone();
                tokio::select! {
                    () = hand.answered.cancelled() => {}
                    () = no_answer => return (Status::NoAnswer, 487),
                }
            }
            _ => tokio::time::sleep(options.answer_after).await,
        }
        if self.voice.mode == VoiceMode::Busy {
            return (Status::Busy, 486);
        }
        self.answer().await;
        (Status::Completed, 200)
    }

    /// Somebody or something takes the call. Unless it is looked for in the background, nothing is said before the verdict.
    async fn answer(&mut self) {
        let detection =
            self.call(|call| call.order.detection.map(|detection| (detection, call.order.verdict.is_some()))).flatten();
        self.advance(Status::InProgress, "answered");
        let machine = self.voice.mode == VoiceMode::Machine;
        if machine {
            self.voice.digits.clear();
        }
        let Some((detection, background)) = detection else { return self.talk().await };
        let who = match (machine, detection) {
            (false, _) => "human",
            (true, Detection::Start) => "machine_start",
            (true, Detection::MessageEnd) => "machine_end_beep",
        };
        let seconds = self.shared.options.detection_seconds;
        if !background {
            self.pass(seconds).await;
            self.call(|call| call.answered_by = Some(who));
            return self.talk().await;
        }
        let (shared, sid, callbacks) = (self.shared, self.sid, self.callbacks.clone());
        let detecting = async {
            tokio::time::sleep(shared.options.call_second * seconds).await;
            let report = shared.state().calls.get_mut(sid).and_then(|call| {
                call.answered_by = Some(who);
                call.verdict(&shared.options.account_sid, seconds)
            });
            // There is room for it.
            if let Some(report) = report {
                _ = callbacks.try_send(report);
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = self.talk() => {}
            () = detecting => {}
        }
    }

    /// One document after the other, until one ends without a next one.
    async fn talk(&mut self) {
        let mut next = self.call(|call| call.order.source.clone());
        for _ in 0..MAX_DOCUMENTS {
            // The API may have sent the call elsewhere.
            let turn = self.call(|call| {
                call.left = tokio_util::sync::CancellationToken::new();
                (call.detour.take(), call.left.clone())
            });
            let Some((detour, left)) = turn else { return };
            let Some(source) = detour.or(next) else { return };
            next = left.run_until_cancelled(self.document(source)).await.flatten();
        }
        self.problem((11215, format!("the call went through {MAX_DOCUMENTS} documents")));
    }

    /// Speaks one document; gives the next one.
    async fn document(&mut self, source: Source) -> Option<Source> {
        let url = match &source {
            Source::Inline(_) => None,
            Source::Fetch { hook, .. } => Some(hook.url.clone()),
        };
        let read = match source {
            Source::Inline(text) => twiml::read(&text),
            Source::Fetch { hook, more } => self.fetch(&hook, more).await,
        };
        let verbs = match read {
            Ok((verbs, warnings)) => {
                for warning in warnings {
                    self.problem(warning);
                }
                verbs
            }
            Err(problem) => return self.fall_back(problem, url).await,
        };
        if !self.take_inbound(&verbs) {
            return None;
        }
        for verb in verbs {
            match verb {
                Verb::Say { .. } | Verb::Pause(_) => self.speak(&verb).await?,
                Verb::Gather(gather) => match self.gather(&gather).await {
                    Some(keys) => return self.target(&gather.action, url.as_deref(), keys),
                    None => self.step()?,
                },
                Verb::Redirect(target) => return self.target(&target, url.as_deref(), Vec::new()),
                Verb::Hangup | Verb::Reject => return None,
            }
        }
        None
    }

    /// A call to the account is taken with its first document, unless that rejects it.
    fn take_inbound(&mut self, verbs: &[Verb]) -> bool {
        let rings = self.call(|call| call.order.inbound && call.status == Status::Ringing).unwrap_or(false);
        self.rejected = rings && verbs.first() == Some(&Verb::Reject);
        if rings && !self.rejected {
            self.advance(Status::InProgress, "answered");
        }
        !self.rejected
    }

    async fn fetch(&self, hook: &Hook, more: Vec<(&'static str, String)>) -> Result<(Vec<Verb>, Vec<Problem>), Problem> {
        let account = &self.shared.options.account_sid;
        let parameters = self.call(|call| call.parameters(account, call.status.word()));
        let mut parameters = parameters.unwrap_or_default();
        parameters.extend(more.into_iter().map(|(key, value)| (key.to_owned(), value)));
        let (_, page) = courier::ask(self.shared, hook, parameters).await;
        let page = page.ok_or_else(|| (11205, format!("no answer from {}", hook.url)))?;
        let Page { status: 200..=299, content_type: Some(kind), body } = page else {
            return Err((11200, format!("{} answered {} or without a content type", hook.url, page.status)));
        };
        let body = body.ok_or_else(|| (11750, "the document is longer than 64 kB, or broke off".to_owned()))?;
        let text = String::from_utf8(body).map_err(|_| (12100, "document parse failure: it is not UTF-8".to_owned()))?;
        match kind.split(';').next().unwrap_or_default().trim().to_lowercase().as_str() {
            "text/xml" | "application/xml" | "text/html" => twiml::read(&text),
            "text/plain" => Ok((vec![Verb::Say { text, times: 1 }], Vec::new())),
            other => Err((12300, format!("{other} is no content type for a document"))),
        }
    }

    /// Once to the FallbackUrl, else an apology.
    async fn fall_back(&mut self, problem: Problem, url: Option<String>) -> Option<Source> {
        let code = problem.0;
        self.problem(problem);
        let hook = self.call(|call| call.order.fallback.clone()).flatten().filter(|_| !self.fallen_back);
        self.fallen_back = true;
        if let Some(hook) = hook {
            let more = vec![("ErrorCode", code.to_string()), ("ErrorUrl", url.unwrap_or_default())];
            return Some(Source::Fetch { hook, more });
        }
        self.speak(&Verb::Say { text: APOLOGY.into(), times: 1 }).await?;
        None
    }

    /// Counts a verb; `None` when there were too many.
    fn step(&mut self) -> Option<()> {
        self.verbs += 1;
        if self.verbs > MAX_VERBS {
            self.problem((12200, format!("the call went through {MAX_VERBS} verbs")));
            return None;
        }
        Some(())
    }

    async fn speak(&mut self, verb: &Verb) -> Option<()> {
        match verb {
            Verb::Say { text, times } => {
                let seconds = u32::try_from(text.chars().count().div_ceil(SPEECH)).unwrap_or(u32::MAX);
                let mut spoken = 0;
                while *times == 0 || spoken < *times {
                    self.step()?;
                    self.note(CallLine::Said { text: text.clone() });
                    self.pass(seconds).await;
                    spoken += 1;
                }
            }
            Verb::Pause(seconds) => {
                self.step()?;
                self.pass(*seconds).await;
            }
            _ => {}
        }
        Some(())
    }

    /// Prompts and takes what the phone presses; gives the parameters for the action, `None` to fall through.
    async fn gather(&mut self, gather: &Gather) -> Option<Vec<(&'static str, String)>> {
        let taken = if self.voice.mode == VoiceMode::Hand { self.by_hand(gather).await? } else { self.by_script(gather).await? };
        if !taken.pressed.is_empty() {
            self.note(CallLine::Pressed { keys: taken.pressed });
        }
        if taken.digits.is_empty() && !gather.on_empty {
            return None;
        }
        let finish = taken.finished.map(String::from).unwrap_or_default();
        Some(vec![("Digits", taken.digits), ("FinishedOnKey", finish), ("msg", "Gather End".into())])
    }

    /// What was set for the phone before the call; the prompt is heard to its end.
    async fn by_script(&mut self, gather: &Gather) -> Option<Keys> {
        for verb in &gather.prompt {
            self.speak(verb).await?;
        }
        if self.voice.digits.is_empty() && self.voice.hangs_up {
            let ended = self.call(|call| {
                call.end(Status::Completed, 200);
                call.event()
            });
            if let Some(event) = ended {
                self.shared.tell(event);
            }
            // Whoever lets the call live notices that it is over.
            std::future::pending::<()>().await;
        }
        let pressed = if self.voice.digits.is_empty() { String::new() } else { self.voice.digits.remove(0) };
        let mut taken = Keys::default();
        pressed.chars().for_each(|key| taken.add(gather, key));
        if !taken.ended {
            self.pass(gather.timeout).await;
        }
        Some(taken)
    }

    /// What somebody presses meanwhile; the first key ends the prompt.
    async fn by_hand(&mut self, gather: &Gather) -> Option<Keys> {
        let hand = self.hand.clone();
        let prompt = async {
            for verb in &gather.prompt {
                self.speak(verb).await?;
            }
            Some(())
        };
        tokio::select! {
            spoken = prompt => spoken?,
            () = hand.wait() => {}
        }
        let mut taken = Keys::default();
        while !taken.ended {
            match hand.key(self.shared.options.call_second * gather.timeout).await {
                Some(key) => taken.add(gather, key),
                None => break,
            }
        }
        if taken.pressed.is_empty() {
            self.call(|call| call.talked = call.talked.saturating_add(gather.timeout));
        }
        Some(taken)
    }

    /// Where a verb leads, relative to the document's own URL.
    fn target(&self, target: &Target, document: Option<&str>, more: Vec<(&'static str, String)>) -> Option<Source> {
        let wanted = target.url.as_deref().or(document).unwrap_or_default();
        let base = document.and_then(|url| url.parse::<Url>().ok());
        let url = Url::options().base_url(base.as_ref()).parse(wanted).ok().map(String::from);
        match url.filter(|url| courier::is_callable(url)) {
            Some(url) => Some(Source::Fetch { hook: Hook { url, by_get: target.by_get }, more }),
            None => {
                self.problem((11100, format!("'{wanted}' is not a valid URL here")));
                None
            }
        }
    }
}

/// The keys of one Gather.
#[derive(Debug, Default, PartialEq, Eq)]
struct Keys {
    /// Until it ended; what comes later is lost.
    pressed: String,
    digits: String,
    finished: Option<char>,
    /// By the number of keys or the finish key, not by the timeout.
    ended: bool,
}

impl Keys {
    fn add(&mut self, gather: &Gather, key: char) {
        if self.ended {
            return;
        }
        self.pressed.push(key);
        if gather.finish == Some(key) {
            self.finished = Some(key);
            self.ended = true;
        } else {
            self.digits.push(key);
            self.ended = gather.keys == Some(self.digits.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_end_a_gather_as_twilio_says() {
        let rows = [
            (None, Some('#'), "4711#", "4711#", "4711", Some('#'), true),
            (None, Some('#'), "4711", "4711", "4711", None, false),
            (Some(1), Some('#'), "12", "1", "1", None, true),
            (Some(4), None, "1#2*", "1#2*", "1#2*", None, true),
            (None, Some('*'), "12*34", "12*", "12", Some('*'), true),
            (None, Some('#'), "#", "#", "", Some('#'), true),
            (None, Some('#'), "", "", "", None, false),
        ];
        for (keys, finish, script, pressed, digits, finished, ended) in rows {
            let target = Target { url: None, by_get: false };
            let gather = Gather { action: target, keys, finish, timeout: 5, on_empty: false, prompt: vec![] };
            let expected = Keys { pressed: pressed.into(), digits: digits.into(), finished, ended };
            let mut keys = Keys::default();
            script.chars().for_each(|key| keys.add(&gather, key));
            assert_eq!(keys, expected, "{script}");
        }
    }
}
