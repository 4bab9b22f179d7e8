//! `ensign status`: the server's health.

use std::time::Duration;

use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    human::{self, Span},
    output::Detail,
};
use crate::{
    client::{Client, ClientError, Health, ServerStatus},
    model::Durability,
};

/// How far apart the attempts of --wait are.
const PAUSE: Duration = Duration::from_millis(50);

/// Show the server's health
///
/// Needs no credentials. With --wait it returns as soon as the server is healthy.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign status
  $ ensign status --wait 30s && ensign topic list")]
pub(super) struct Args {
    /// Wait until the server is healthy, for at most this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "10s")]
    wait: Option<Span>,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let endpoint = context.target()?.endpoint()?;
        let address = endpoint.address().to_string();
        let limit = self.wait.map(|span| span.0);
        let status = context.block_on(async |context| {
            let client = Client::new(endpoint, None, context.clock.clone())?;
            let started = context.clock.elapsed();
            loop {
                let asked = client.status().await;
                let waited = context.clock.elapsed().saturating_sub(started);
                let goes_on = limit.is_some_and(|limit| waited < limit);
                match asked {
                    Ok(status) if status.health == Health::Healthy || !goes_on => return Ok(status),
                    Err(error) if !goes_on || !is_passing(&error) => return Err(error.into()),
                    Ok(_) | Err(_) => context.clock.sleep(PAUSE).await,
                }
            }
        })?;
        context.output.detail(detail(&address, &status))?;
        match status.health {
            Health::Healthy => Ok(()),
            health => Err(CliError::unreachable(format!("{address} is {}", health.name()))),
        }
    }
}

/// Whether waiting can help.
fn is_passing(error: &ClientError) -> bool {
    error.is_retryable()
}

fn detail(address: &str, status: &ServerStatus) -> Detail {
    let mut fields = vec![
        ("endpoint", address.to_owned()),
        ("status", status.health.name().to_owned()),
        ("version", status.version.clone()),
        ("uptime", human::duration(status.uptime)),
    ];
    if let Some(durability) = status.durability {
        fields.push(("durability", durability.name().to_owned()));
    }
    let value = json!({
        "endpoint": address,
        "status": status.health.name(),
        "version": status.version,
        "uptime_seconds": status.uptime.as_secs(),
        "durability": status.durability.map(Durability::name),
    });
    Detail { fields, value }
}
