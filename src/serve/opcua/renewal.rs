//! Looks after our own certificate while the server runs: warns before its end, has the next one made, and shows that one to clients
//! once it is in force. Channels that are open keep to the certificate that they were opened with.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{Server, conditions::Certificate};
use crate::{clock, pki::Renewal};

/// How often the certificate is looked at.
const PERIOD: Duration = Duration::from_secs(60);

/// Runs until `stop`.
pub async fn look_after(server: Arc<Server>, stop: CancellationToken) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = period.tick() => {}
        }
        let looking = Arc::clone(&server);
        // Files are read, and once in five years a key is made.
        let Ok(seen) = tokio::task::spawn_blocking(move || look(&looking)).await else { continue };
        match seen {
            Ok(Some(renewal)) if told.as_ref() != Some(&renewal) => {
                server.gateway.own_certificate(renewal.until, words(&renewal));
                told = Some(renewal);
            }
            Ok(_) => {}
            Err(error) => tracing::error!("failed to {error}"),
        }
    }
}

fn look(server: &Server) -> Result<Option<Renewal>, String> {
    let renewal = server.pki.look_after_own(clock::now())?;
    let own = server.pki.own(&server.settings.application_uri, &[])?;
    if own.certificate.thumbprint() != server.own.load().certificate.thumbprint() {
        tracing::warn!(thumbprint = own.certificate.thumbprint().as_hex_string(), "the OPC UA server shows its new certificate");
        server.conditions.set_certificate(Certificate::of(&own.certificate));
        server.own.store(Arc::new(own));
    }
    Ok(renewal)
}

/// What people are told of a certificate that ends soon.
fn words(renewal: &Renewal) -> Option<String> {
    let Renewal { until, soon: true, next, issued } = renewal else { return None };
    Some(match next {
        Some(next) => format!("our OPC UA certificate ends on {until}: let peers trust the next one, thumbprint {next}"),
        None if *issued => format!("our OPC UA certificate ends on {until}: have its authority renew it"),
        None => format!("our OPC UA certificate ends on {until}: run `annunciator pki renew`"),
    })
}
