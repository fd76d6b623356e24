//! `simulate`: the simulators alone, for commissioning and tests.

use std::{net::SocketAddr, time::Duration};

use super::{
    Failure,
    run::{Asked, Signals},
};
use crate::simulate::{
    modbus_plc::{MAP, Plc},
    twilio::{Options, Simulator, VoiceUrls},
};

/// The simulators alone, for commissioning and tests; ctrl-C ends them
#[derive(clap::Subcommand)]
#[command(
    after_help = "Examples:\n  annunciator simulate modbus-plc --listen 127.0.0.1:5020\n  annunciator simulate twilio --inbound-url http://127.0.0.1:8088/main/system/twilio-sms/inbound/main\n  curl -d '4711' http://127.0.0.1:8090/simulator/phones/+12223334444/text\n  curl -X PUT -d busy http://127.0.0.1:8090/simulator/phones/+12223334444/voice\n  annunciator simulate twilio --call-second 1000 --voice-url http://127.0.0.1:8088/main/system/twilio-voice/inbound/main"
)]
pub(super) enum SimulateCommand {
    /// A Modbus TCP PLC with a tank, a pump, trips and acknowledge coils
    ModbusPlc(ModbusPlcArgs),
    /// Twilio's messages and calls API, with phones that can answer
    Twilio(TwilioArgs),
}

#[derive(clap::Args)]
pub(super) struct ModbusPlcArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:5020")]
    listen: SocketAddr,
}

#[derive(clap::Args)]
pub(super) struct TwilioArgs {
    /// Where it listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Where texts from the simulated phones are sent to
    #[arg(long, value_name = "URL")]
    inbound_url: Option<String>,
    /// What is asked when a simulated phone calls
    #[arg(long, value_name = "URL")]
    voice_url: Option<String>,
    /// Where the end of such a call is reported to
    #[arg(long, value_name = "URL")]
    voice_status_url: Option<String>,
    /// How long a second of speech, silence and ringing takes in calls, milliseconds; 1000 to take part by hand
    #[arg(long, value_name = "MS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    call_second: u64,
    /// Account SID
    #[arg(long, value_name = "SID", env = "TWILIO_ACCOUNT_SID", default_value = "AC00000000000000000000000000000001")]
    account_sid: String,
    /// Auth token; it signs the webhooks
    #[arg(long, value_name = "TOKEN", env = "TWILIO_AUTH_TOKEN", default_value = "simulated-auth-token", hide_env_values = true)]
    auth_token: String,
}

pub(super) async fn simulate(command: SimulateCommand) -> Result<String, Failure> {
    let mut signals = Signals::new()?;
    match command {
        SimulateCommand::ModbusPlc(args) => {
            let running = Plc::start(args.listen).await.map_err(|error| cannot_listen(args.listen, &error))?;
            println!("Modbus TCP PLC on {}", running.addr);
            for point in MAP {
                println!("  {:<12} {:<9} {}", point.address, point.format, point.what);
            }
            stopped(&mut signals).await;
            running.stop().await;
        }
        SimulateCommand::Twilio(args) => {
            let options = Options {
                account_sid: args.account_sid,
                auth_token: args.auth_token,
                inbound_url: args.inbound_url,
                voice_urls: VoiceUrls { voice: args.voice_url, status: args.voice_status_url },
                call_second: Duration::from_millis(args.call_second),
                ..Options::default()
            };
            let running = Simulator::start(args.listen, options).await.map_err(|error| cannot_listen(args.listen, &error))?;
            println!("Twilio simulator on {}", running.url());
            stopped(&mut signals).await;
            running.stop().await;
        }
    }
    Ok(String::new())
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    format!("failed to listen on {address}: {error} (--listen chooses another address)")
}

async fn stopped(signals: &mut Signals) {
    while let Asked::Reload = signals.next().await {}
}
