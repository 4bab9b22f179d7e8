//! `grpc.health.v1`: whether the server serves. It knows one service, `default`, which the empty name means too.

use std::{sync::Arc, time::Duration};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use super::State;
use crate::server::lifecycle::Phase;

/// How often a watch looks whether events can still be stored, of which nobody tells it.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The status of a service; one that nobody knows is no error here.
pub(super) fn check(state: &State, request: &HealthCheckRequest) -> HealthCheckResponse {
    let status = if is_known(request) { serving(state, state.lifecycle.phase()) } else { ServingStatus::Unknown };
    HealthCheckResponse { status: status.into() }
}

/// The status of a service now and whenever it changes. Ends when the server stops, which it says before.
pub(super) fn watch(
    state: Arc<State>,
    request: &HealthCheckRequest,
) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send + use<> {
    let phases = state.lifecycle.phases();
    stream::unfold(Watch { state, phases, known: is_known(request), told: None }, |mut watch| async {
        let status = watch.next().await?;
        Some((Ok(HealthCheckResponse { status: status.into() }), watch))
    })
}

struct Watch {
    state: Arc<State>,
    phases: watch::Receiver<Phase>,
    known: bool,
    told: Option<ServingStatus>,
}

impl Watch {
    /// The next status that was not told yet.
    async fn next(&mut self) -> Option<ServingStatus> {
        loop {
            let phase = *self.phases.borrow_and_update();
            let status = if self.known { serving(&self.state, phase) } else { ServingStatus::ServiceUnknown };
            if self.told != Some(status) {
                self.told = Some(status);
                return Some(status);
            }
            if phase == Phase::Stopping {
                return None;
            }
            // Nothing is lost when one of them is dropped: the phase is read anew each time around.
            tokio::select! {
                changed = self.phases.changed() => changed.ok()?,
                () = self.state.clock.sleep(LOOK_AGAIN) => {}
            }
        }
    }
}

fn serving(state: &State, phase: Phase) -> ServingStatus {
    if phase == Phase::Serving && (state.healthy)() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn is_known(request: &HealthCheckRequest) -> bool {
    matches!(request.service.as_str(), "" | "default")
}
