//! Copies of delivery reports for a further URL (`status_callback` of a Twilio profile): signed anew for that URL, so that the
//! receiver can verify them as if they came from Twilio.
//!
//! A copy is a courtesy: what cannot be delivered after [`ATTEMPTS`] is dropped and logged, and never delays the answer to Twilio.

use std::{sync::Arc, time::Duration};

use reqwest::{Client, Url};
use tokio::sync::mpsc;

use crate::{
    engine::plan::TwilioDef,
    notify::signature::{self, Payload},
};

/// Copies that may wait; further ones are dropped.
pub const MAX_WAITING: usize = 256;
/// How often one copy is tried.
pub const ATTEMPTS: u32 = 3;
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(500);

/// Where reports are handed in; the courier behind it ends with the last clone.
#[derive(Clone)]
pub(super) struct Copies(mpsc::Sender<Copy>);

struct Copy {
    profile: Arc<TwilioDef>,
    form: Vec<(String, String)>,
}

impl Copies {
    /// Starts the courier; needs a tokio runtime.
    pub(super) fn start() -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(deliver_all(receiver));
        Self(sender)
    }

    /// Sends a copy of `form` where `profile` wants one.
    pub(super) fn send(&self, profile: &Arc<TwilioDef>, form: Vec<(String, String)>) {
        if profile.status_callback.is_some() && self.0.try_send(Copy { profile: profile.clone(), form }).is_err() {
            tracing::warn!(twilio = profile.name, waiting = MAX_WAITING, "dropped the copy of a delivery report: too many wait");
        }
    }
}

async fn deliver_all(mut copies: mpsc::Receiver<Copy>) {
    let mut client = None;
    while let Some(copy) = copies.recv().await {
        if client.is_none() {
            client = build_client();
        }
        let delivered = match &client {
            Some(client) => deliver(client, &copy).await,
            None => false,
        };
        if !delivered {
            tracing::warn!(twilio = copy.profile.name, "failed to deliver the copy of a delivery report to status_callback");
        }
    }
}

fn build_client() -> Option<Client> {
    // The first to install one wins; whichever it is, it works here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none());
    // A machine without trusted roots can still deliver without TLS.
    builder().build().or_else(|_| builder().tls_certs_only([]).build()).ok()
}

async fn deliver(client: &Client, copy: &Copy) -> bool {
    let Some(Ok(mut url)) = copy.profile.status_callback.as_deref().map(str::parse::<Url>) else { return false };
    url.set_fragment(None);
    let signature = signature::sign(copy.profile.auth_token.expose(), url.as_str(), Payload::Form(&copy.form));
    for attempt in 1..=ATTEMPTS {
        let request = client.post(url.clone()).header("X-Twilio-Signature", &signature).form(&copy.form);
        if request.send().await.is_ok_and(|response| response.status().is_success()) {
            return true;
        }
        if attempt < ATTEMPTS {
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }
    false
}
