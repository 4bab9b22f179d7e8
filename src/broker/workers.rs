//! Threads for work that takes longer than other requests on the same thread may wait for.
//!
//! They are started when there is such work for the first time, and end with the last handle. Jobs are taken in the order in
//! which they come; whoever has one waits while too many are waiting. A job that has begun is finished, also when nobody
//! waits for it any more, so it has to be short: one block of events.

use std::{
    num::NonZero,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use super::BrokerError;

/// How many threads there are at most; there are no more than processors.
const WORKERS_MAX: usize = 8;

/// How many jobs wait before those who bring more have to.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// A cheap handle.
#[derive(Debug, Clone, Default)]
pub(super) struct Workers {
    jobs: Arc<OnceLock<mpsc::Sender<Job>>>,
}

impl Workers {
    /// Does work on a thread where nobody else waits.
    ///
    /// # Errors
    ///
    /// When the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BrokerError> {
        self.begin(work).await?.done().await
    }

    /// Has work done on a thread where nobody else waits, and does not wait for it.
    ///
    /// # Errors
    ///
    /// When there is no such thread any more.
    pub(super) async fn begin<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Begun<T>, BrokerError> {
        let (reply, done) = oneshot::channel();
        // Whoever waited may be gone.
        let job: Job = Box::new(move || drop(reply.send(work())));
        self.jobs.get_or_init(start).send(job).await.map_err(|_| BrokerError::Closed)?;
        Ok(Begun(done))
    }
}

/// Work that has been begun.
#[derive(Debug)]
pub(super) struct Begun<T>(oneshot::Receiver<T>);

impl<T> Begun<T> {
    /// Waits until it is done.
    ///
    /// # Errors
    ///
    /// When it panicked.
    pub(super) async fn done(self) -> Result<T, BrokerError> {
        self.0.await.map_err(|_| BrokerError::Closed)
    }
}

fn start() -> mpsc::Sender<Job> {
    let (jobs, waiting) = mpsc::channel::<Job>(WAITING_MAX);
    let waiting = Arc::new(Mutex::new(waiting));
    let workers = thread::available_parallelism().map_or(1, NonZero::get).min(WORKERS_MAX);
    for _ in 0..workers {
        let waiting = waiting.clone();
        let work = move || {
            // The lock is free again before the job begins.
            let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
            while let Some(job) = next() {
                job();
            }
        };
        thread::Builder::new().name("ensign-query".to_owned()).spawn(work).expect("a thread can be started");
    }
    jobs
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn work_is_done_on_threads_of_its_own_and_answered() {
        let workers = Workers::default();
        let here = thread::current().id();
        let there =
            workers.run(|| (thread::current().id(), thread::current().name().map(str::to_owned))).await.unwrap();
        assert_ne!(there.0, here);
        assert_eq!(there.1.as_deref(), Some("ensign-query"));
        let mut all = Vec::new();
        for number in 0..3 * WAITING_MAX {
            let workers = workers.clone();
            all.push(tokio::spawn(async move { workers.run(move || number).await.unwrap() }));
        }
        for (number, done) in all.into_iter().enumerate() {
            assert_eq!(done.await.unwrap(), number);
        }
    }

    #[tokio::test]
    async fn whoever_no_longer_waits_holds_nobody_up() {
        let workers = Workers::default();
        let barrier = Arc::new(Barrier::new(2));
        let held = {
            let (workers, barrier) = (workers.clone(), barrier.clone());
            tokio::spawn(async move { workers.run(move || barrier.wait().is_leader()).await })
        };
        tokio::task::yield_now().await;
        held.abort();
        barrier.wait();
        assert_eq!(workers.run(|| 1).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        let workers = Workers::default();
        let failed = workers.run(|| panic!("a test's panic")).await;
        assert!(matches!(failed, Err(BrokerError::Closed)), "{failed:?}");
    }
}
