//! Counting calls.

use std::{sync::Arc, time::Duration};

use tonic::Code;

use crate::{
    sys::Clock,
    telemetry::{Metrics, Rpc},
};

/// A call that is under way. It counts as started when it is made, and as ended when it is dropped: cancelled, unless
/// its status was told before.
#[derive(Debug)]
pub(super) struct Call {
    metrics: Arc<Metrics>,
    clock: Clock,
    path: String,
    began: Duration,
    code: Code,
}

impl Call {
    /// Begins a call of the method at this path, which is not counted when the path is no method's.
    pub(super) fn begin(metrics: &Arc<Metrics>, clock: &Clock, path: &str) -> Call {
        let (metrics, clock) = (metrics.clone(), clock.clone());
        let call = Call { began: clock.elapsed(), path: path.to_owned(), metrics, clock, code: Code::Cancelled };
        if let Some(rpc) = call.rpc() {
            rpc.started();
        }
        call
    }

    /// Tells how the call ends.
    pub(super) fn ends(&mut self, code: Code) {
        self.code = code;
    }

    /// The counters of the method.
    pub(super) fn rpc(&self) -> Option<&Rpc> {
        self.metrics.rpc(&self.path)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let took = self.clock.elapsed().saturating_sub(self.began);
        if let Some(rpc) = self.rpc() {
            rpc.handled(self.code as i32, took);
        }
    }
}
