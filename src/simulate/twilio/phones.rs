//! The phones on the other side, and the simulator's own routes under `/simulator/`.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{Path, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    Event, Shared,
    api::Parameters,
    calls::{self, Call, CallRecord, Voice, set_voice},
    courier,
    faults::Fault,
    messages::e164,
    state::{MAX_MARKS, Message, State as Memory, VoiceUrls},
};
use crate::tag::Timestamp;

/// Longest text that a phone sends, characters; Twilio cuts what is longer.
const MAX_TEXT: usize = 1600;
const STOP_WORDS: [&str; 8] = ["STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"];
const START_WORDS: [&str; 3] = ["START", "YES", "UNSTOP"];
const HELP_WORDS: [&str; 2] = ["HELP", "INFO"];

/// A text on a phone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhoneText {
    /// `SM…`
    pub sid: String,
    /// True for one that the phone sent.
    pub sent_by_phone: bool,
    /// Sender.
    pub from: String,
    /// Recipient.
    pub to: String,
    /// What it says.
    pub body: String,
    /// Twilio's word.
    pub status: String,
    /// When Twilio got it.
    pub time: Timestamp,
}

/// What became of a text that a phone sent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TextOutcome {
    /// `SM…`
    pub sid: String,
    /// HTTP status that the webhook was answered with; `None` without a webhook or an answer.
    pub webhook_status: Option<u16>,
}

/// The simulator's own routes.
pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/simulator/phones/{number}", get(phone))
        .route("/simulator/phones/{number}/text", post(text))
        .route("/simulator/phones/{number}/reachable", put(reachable))
        .route("/simulator/phones/{number}/voice", put(voice))
        .route("/simulator/phones/{number}/call", post(dial))
        .route("/simulator/phones/{number}/answer", post(answer))
        .route("/simulator/phones/{number}/keys", post(keys))
        .route("/simulator/phones/{number}/hang-up", post(hang_up))
        .route("/simulator/calls", get(all_calls))
        .route("/simulator/calls/{sid}", get(call))
        .route("/simulator/requests", get(requests))
        .route("/simulator/webhooks", get(webhooks))
        .route("/simulator/faults", post(add_fault).delete(clear_faults))
        .route("/simulator/inbound-url", put(inbound_url))
        .route("/simulator/voice-urls", put(voice_urls))
}

/// The texts of one phone, oldest first.
pub(super) fn inbox(shared: &Shared, number: &str) -> Vec<PhoneText> {
    let text = |message: &Message| PhoneText {
        sid: message.sid.clone(),
        sent_by_phone: message.direction == "inbound",
        from: message.from.clone().unwrap_or_default(),
        to: message.to.clone(),
        body: message.body.clone(),
        status: message.status.to_owned(),
        time: message.created,
    };
    shared.state().of_phone(number).map(text).collect()
}

/// A phone sends a text: to `to`, else to whoever texted it last, else to the account's first number. Resolves when the inbound
/// webhook was answered.
pub(super) async fn send(shared: &Arc<Shared>, from: &str, to: Option<String>, body: &str) -> Result<TextOutcome, String> {
    let from = e164(from).ok_or_else(|| format!("send from {from}: it is not a number in E.164"))?;
    let body: String = body.chars().take(MAX_TEXT).collect();
    let (message, url) = {
        let mut state = shared.state();
        let partner = state.of_phone(&from).rev().find_map(|message| match message.direction {
            "inbound" => Some(message.to.clone()),
            _ => message.from.clone(),
        });
        let to = to.or(partner).or_else(|| shared.options.numbers.first().cloned());
        let to = to.ok_or("send a text: nobody has texted this phone yet, so name the recipient as `to`")?;
        let mut message = Message::new("inbound", "received", Some(from), to, body);
        let service = shared.options.messaging_services.iter().find(|(_, pool)| pool.contains(&message.to));
        message.service = service.map(|(sid, _)| sid.clone());
        state.messages.add(message.clone());
        obey_keyword(&mut state, &message);
        (message, state.inbound_url.clone())
    };
    shared.tell(Event::Inbound {
        sid: message.sid.clone(),
        from: message.from.clone().unwrap_or_default(),
        to: message.to.clone(),
        body: message.body.clone(),
    });
    let webhook_status = match url {
        Some(url) => courier::deliver(shared, &url, inbound_parameters(&message, &shared.options.account_sid)).await.status,
        None => None,
    };
    Ok(TextOutcome { sid: message.sid, webhook_status })
}

/// Twilio answers its own words itself, and calls the webhook all the same.
fn obey_keyword(state: &mut Memory, message: &Message) {
    let word = message.body.trim().to_uppercase();
    let phone = message.from.clone().unwrap_or_default();
    let senders = std::iter::once(&message.to).chain(&message.service).map(|sender| (sender.clone(), phone.clone()));
    let answer = if STOP_WORDS.contains(&word.as_str()) {
        if state.opted_out.len() < MAX_MARKS {
            state.opted_out.extend(senders);
        }
        "You have successfully been unsubscribed. You will not receive any more messages from this number. Reply START to resubscribe."
    } else if START_WORDS.contains(&word.as_str()) {
        for pair in senders {
            state.opted_out.remove(&pair);
        }
        "You have successfully been re-subscribed to messages from this number. Reply HELP for help. Reply STOP to unsubscribe."
    } else if HELP_WORDS.contains(&word.as_str()) {
        "Reply STOP to unsubscribe. Msg&Data Rates May Apply."
    } else {
        return;
    };
    state.messages.add(Message::new("outbound-reply", "delivered", Some(message.to.clone()), phone, answer.to_owned()));
}

/// What an inbound webhook carries, empty values included (Twilio, "Twilio's request to your application").
fn inbound_parameters(message: &Message, account: &str) -> Parameters {
    let mut parameters = vec![
        ("ToCountry", "US".to_owned()),
        ("ToState", String::new()),
        ("SmsMessageSid", message.sid.clone()),
        ("NumMedia", "0".into()),
        ("ToCity", String::new()),
        ("FromZip", String::new()),
        ("SmsSid", message.sid.clone()),
        ("FromState", String::new()),
        ("SmsStatus", "received".into()),
        ("FromCity", String::new()),
        ("Body", message.body.clone()),
        ("FromCountry", "US".into()),
        ("To", message.to.clone()),
        ("ToZip", String::new()),
        ("NumSegments", message.segments().to_string()),
        ("MessageSid", message.sid.clone()),
        ("AccountSid", account.into()),
        ("From", message.from.clone().unwrap_or_default()),
        ("ApiVersion", "2010-04-01".into()),
    ];
    parameters.extend(message.service.clone().map(|service| ("MessagingServiceSid", service)));
    parameters.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

async fn phone(State(shared): State<Arc<Shared>>, Path(number): Path<String>) -> Response {
    let messages = inbox(&shared, &number);
    let state = shared.state();
    let calls: Vec<CallRecord> = state.calls.oldest().filter(|call| call.phone() == number).map(Call::record).collect();
    Json(json!({ "number": number, "messages": messages, "calls": calls })).into_response()
}

async fn all_calls(State(shared): State<Arc<Shared>>) -> Response {
    let calls: Vec<CallRecord> = shared.state().calls.oldest().map(Call::record).collect();
    Json(json!({ "calls": calls })).into_response()
}

async fn call(State(shared): State<Arc<Shared>>, Path(sid): Path<String>) -> Response {
    match shared.state().calls.get(&sid).map(Call::record) {
        Some(call) => Json(call).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The body is JSON (`{"mode": "answer", "digits": ["4711#"], "seconds": 42}`) or the mode itself (`busy`).
async fn voice(State(shared): State<Arc<Shared>>, Path(number): Path<String>, body: Bytes) -> Response {
    let voice = if body.trim_ascii().starts_with(b"{") {
        serde_json::from_slice::<Voice>(&body)
    } else {
        let word = String::from_utf8_lossy(&body);
        let mode = serde_json::from_value(json!(word.trim().trim_matches('"')));
        mode.map(|mode| Voice { mode, ..Voice::default() })
    };
    let outcome = voice.map_err(|error| format!("read how the phone answers: {error}"));
    match outcome.and_then(|voice| set_voice(&shared, &number, voice)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&format!("failed to {error}")),
    }
}

/// The phone calls the account's number. The body is empty, or the number.
async fn dial(State(shared): State<Arc<Shared>>, Path(number): Path<String>, to: String) -> Response {
    let to = Some(to.trim().to_owned()).filter(|to| !to.is_empty());
    match calls::inbound(&shared, &number, to) {
        Ok(sid) => Json(json!({ "sid": sid })).into_response(),
        Err(error) => refuse(&format!("failed to {error}")),
    }
}

/// Takes the call that rings at a phone in mode `hand`.
async fn answer(State(shared): State<Arc<Shared>>, Path(number): Path<String>) -> Response {
    done(calls::answer(&shared, &number))
}

/// The body is the keys.
async fn keys(State(shared): State<Arc<Shared>>, Path(number): Path<String>, keys: String) -> Response {
    done(calls::press(&shared, &number, keys.trim()))
}

async fn hang_up(State(shared): State<Arc<Shared>>, Path(number): Path<String>) -> Response {
    done(calls::hang_up(&shared, &number))
}

fn done(outcome: Result<(), String>) -> Response {
    match outcome {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refuse(&format!("failed to {error}")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoiceUrlsBody {
    #[serde(default)]
    voice: Option<String>,
    #[serde(default)]
    status: Option<String>,
}

/// What is asked when somebody calls: `{"voice": "…", "status": "…"}`; what is left out is not asked.
async fn voice_urls(State(shared): State<Arc<Shared>>, Json(urls): Json<VoiceUrlsBody>) -> Response {
    let VoiceUrlsBody { voice, status } = urls;
    if [&voice, &status].into_iter().flatten().any(|url| !courier::is_callable(url)) {
        return refuse("a URL is neither http nor https, or its host has an underscore");
    }
    shared.state().voice_urls = VoiceUrls { voice, status };
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
struct Text {
    body: String,
    #[serde(default)]
    to: Option<String>,
}

/// The body is JSON (`{"body": "…", "to": "…"}`) or the text itself.
async fn text(State(shared): State<Arc<Shared>>, Path(number): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let is_json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    let text = if is_json {
        serde_json::from_slice::<Text>(&body).map_err(|error| error.to_string())
    } else {
        Ok(Text { body: String::from_utf8_lossy(&body).into_owned(), to: None })
    };
    match text {
        Ok(text) => match send(&shared, &number, text.to, &text.body).await {
            Ok(outcome) => Json(outcome).into_response(),
            Err(error) => refuse(&format!("failed to {error}")),
        },
        Err(error) => refuse(&format!("failed to read the text: {error}")),
    }
}

/// The body is `true` or `false`.
async fn reachable(State(shared): State<Arc<Shared>>, Path(number): Path<String>, Json(reachable): Json<bool>) -> StatusCode {
    let mut state = shared.state();
    if reachable {
        state.unreachable.remove(&number);
    } else if state.unreachable.len() < MAX_MARKS {
        state.unreachable.insert(number);
    }
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    after: u64,
}

/// The log of API requests, oldest first; `?after=N` leaves out the first N.
async fn requests(State(shared): State<Arc<Shared>>, Query(since): Query<Since>) -> Response {
    let state = shared.state();
    let requests: Vec<_> = state.requests.iter().filter(|request| request.number > since.after).collect();
    Json(json!({ "seen": state.requests_seen, "requests": requests })).into_response()
}

async fn webhooks(State(shared): State<Arc<Shared>>) -> Response {
    Json(json!({ "webhooks": shared.state().webhooks })).into_response()
}

async fn add_fault(State(shared): State<Arc<Shared>>, Json(fault): Json<Fault>) -> Response {
    if shared.state().faults.add(fault) {
        StatusCode::NO_CONTENT.into_response()
    } else {
        refuse("too many faults, or count is 0")
    }
}

async fn clear_faults(State(shared): State<Arc<Shared>>) -> StatusCode {
    shared.state().faults.clear();
    StatusCode::NO_CONTENT
}

/// The body is the URL that inbound texts are sent to; an empty one ends that.
async fn inbound_url(State(shared): State<Arc<Shared>>, url: String) -> Response {
    let url = url.trim();
    if !url.is_empty() && !courier::is_callable(url) {
        return refuse("the inbound URL is neither http nor https, or its host has an underscore");
    }
    shared.state().inbound_url = (!url.is_empty()).then(|| url.to_owned());
    StatusCode::NO_CONTENT.into_response()
}

fn refuse(why: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({ "error": why }))).into_response()
}
