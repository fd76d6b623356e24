//! The nodes of namespace 0 that live: ServerStatus, the namespace array, capabilities and limits as they are enforced.

use super::{
    Server, diag,
    limits::Limits,
    space::NAMESPACE_URI,
    wire::{Id, Writer},
};
use crate::{
    clock,
    tag::{StatusCode, Timestamp, Value},
};

/// What BuildInfo calls this program.
pub const PRODUCT: &str = "Annunciator";
/// Its ProductUri.
pub const PRODUCT_URI: &str = "urn:annunciator";
const BUILD_INFO: Id<'static> = Id::numeric(0, 340);
const DIAGNOSTICS_SUMMARY: Id<'static> = Id::numeric(0, 861);
const SERVER_STATUS: Id<'static> = Id::numeric(0, 864);

/// Writes the Value (a Variant) of node `id` of namespace 0; false when it does not live here.
///
/// # Errors
/// The status of what is not kept.
pub fn write(server: &Server, id: u32, w: &mut Writer) -> Result<bool, StatusCode> {
    let limits = &server.settings.limits;
    if let Some(counter) = diag::counter(server, id) {
        w.variant(&Value::UInt32(counter));
        return Ok(true);
    }
    if let Some(value) = limit(limits, id) {
        w.variant(&value);
        return Ok(true);
    }
    match id {
        2254 => texts(w, &[&server.settings.application_uri]),
        2255 => texts(w, &["http://opcfoundation.org/UA/", &server.settings.application_uri, NAMESPACE_URI]),
        2256 => extension(w, |w| w.extension(SERVER_STATUS, |w| server_status(server, w))),
        2257 => w.variant(&Value::DateTime(server.started)),
        2258 => w.variant(&Value::DateTime(clock::now())),
        2259 => w.variant(&Value::Int32(0)),
        2260 => extension(w, |w| w.extension(BUILD_INFO, build_info)),
        2262 => w.variant(&Value::string(PRODUCT_URI)),
        2261 | 2263 => w.variant(&Value::string(PRODUCT)),
        2264 | 2265 => w.variant(&Value::string(env!("CARGO_PKG_VERSION"))),
        2266 => w.variant(&Value::DateTime(Timestamp::NULL)),
        2267 => w.variant(&Value::Byte(server.gateway.redundancy().level)),
        2269 => texts(w, &["http://opcfoundation.org/UA-Profile/Server/MicroEmbeddedDevice2017"]),
        2271 => texts(w, &["en"]),
        2294 | 2994 => w.variant(&Value::Boolean(true)),
        2992 => w.variant(&Value::UInt32(0)),
        2993 => {
            w.u8(21);
            w.localized_text("");
        }
        2275 => extension(w, |w| w.extension(DIAGNOSTICS_SUMMARY, |w| diag::write_summary(server, w))),
        // RedundancySupport: None, or Warm (Part 5, 12.5).
        3709 => w.variant(&Value::Int32(if server.gateway.redundancy().servers.is_empty() { 0 } else { 2 })),
        11_314 => {
            let servers = server.gateway.redundancy().servers;
            texts(w, &servers.iter().map(|(uri, _)| uri.as_str()).collect::<Vec<_>>());
        }
        // Each subscription samples at its own intervals.
        2289 => return Err(StatusCode::BAD_NOT_SUPPORTED),
        _ => return Ok(false),
    }
    Ok(true)
}

/// ServerCapabilities and OperationLimits, as enforced.
fn limit(limits: &Limits, id: u32) -> Option<Value> {
    let whole = |count: usize| Value::UInt32(u32::try_from(count).unwrap_or(u32::MAX));
    Some(match id {
        2272 => Value::Double(limits.sampling.as_secs_f64() * 1_000.0),
        2735 | 2737 => Value::UInt16(u16::try_from(limits.continuation_points).unwrap_or(u16::MAX)),
        2736 => Value::UInt16(0),
        // Arrays and texts are bounded by the message that holds them.
        11_702 | 11_703 | 12_911 => whole(limits.message),
        11_705 => whole(limits.nodes_per_read),
        11_707 => whole(limits.nodes_per_write),
        11_709 => whole(limits.methods_per_call),
        11_710 => whole(limits.nodes_per_browse),
        11_712 => whole(limits.paths_per_translate),
        11_711 => whole(limits.nodes_per_register),
        12_165 => whole(limits.nodes_per_history_read),
        // HistoryServerCapabilities: raw values are read, nothing is changed from outside.
        11_193 | 19_091 => Value::Boolean(true),
        11_196..=11_200 | 11_242 | 11_275 | 11_281..=11_283 | 11_502 => Value::Boolean(false),
        11_273 => Value::UInt32(limits.history_values),
        11_274 => Value::UInt32(0),
        11_714 => whole(limits.items_per_call),
        24_095 => whole(limits.sessions),
        24_096 => whole(limits.subscriptions),
        24_097 => whole(limits.items),
        24_098 => whole(limits.subscriptions_per_session),
        24_099 => whole(limits.select_clauses),
        24_100 => whole(limits.filter_elements),
        24_104 => whole(limits.items_per_subscription),
        31_916 => Value::UInt32(limits.queue),
        _ => return None,
    })
}

fn texts(w: &mut Writer, texts: &[&str]) {
    w.array(12, texts.len());
    for text in texts {
        w.text(text);
    }
}

fn extension(w: &mut Writer, body: impl FnOnce(&mut Writer)) {
    w.u8(22);
    body(w);
}

fn server_status(server: &Server, w: &mut Writer) {
    w.time(server.started);
    w.time(clock::now());
    w.i32(0);
    build_info(w);
    w.u32(0);
    w.localized_text("");
}

fn build_info(w: &mut Writer) {
    w.text(PRODUCT_URI);
    w.text(PRODUCT);
    w.text(PRODUCT);
    w.text(env!("CARGO_PKG_VERSION"));
    w.text(env!("CARGO_PKG_VERSION"));
    w.time(Timestamp::NULL);
}
