//! Reports of uses: batched, sent from one task, never lost in silence.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use procura_wire::{UseReport, UseReports};
use tokio::{
    sync::{
        mpsc::{self, OwnedPermit},
        watch,
    },
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    error::Error,
    http::{Broker, Post, TRIES},
};

/// Uses that may be under way or unsent at a time; a further one waits to begin.
const BUFFER: usize = 1024;
/// Uses in one report; the broker takes no more.
const BATCH: usize = 256;
/// How long the first use of a batch waits for others.
const WAIT: Duration = Duration::from_secs(1);
/// Pause before a batch that the broker did not take is sent again.
const PAUSE: Duration = Duration::from_secs(2);
/// How often it is sent again once the client is shutting down.
const LAST_TRIES: u32 = 5;

/// Takes reports and sends them.
pub(crate) struct Reporter {
    reports: mpsc::Sender<UseReport>,
    stop: watch::Sender<bool>,
    /// Answers how many reports were lost.
    task: Mutex<Option<JoinHandle<usize>>>,
}

impl Reporter {
    pub(crate) fn start(broker: Arc<Broker>) -> Self {
        let (reports, receiver) = mpsc::channel(BUFFER);
        let (stop, stopping) = watch::channel(false);
        let sender = Sending {
            broker,
            receiver,
            stopping,
            lost: 0,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the one task of the client; its handle is kept and awaited"
        )]
        let task = tokio::spawn(sender.run());
        Self {
            reports,
            stop,
            task: Mutex::new(Some(task)),
        }
    }

    /// Room for one report.
    pub(crate) async fn reserve(&self) -> Result<OwnedPermit<UseReport>, Error> {
        self.reports.clone().reserve_owned().await.map_err(|_| Error::ShutDown)
    }

    pub(crate) async fn shut_down(&self) -> Result<(), Error> {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        match task {
            None => Ok(()),
            Some(task) => match task.await {
                Ok(0) => Ok(()),
                Ok(lost) => Err(Error::Unreported(lost)),
                Err(_) => Err(Error::ShutDown),
            },
        }
    }
}

/// The task's side.
struct Sending {
    broker: Arc<Broker>,
    receiver: mpsc::Receiver<UseReport>,
    stopping: watch::Receiver<bool>,
    lost: usize,
}

impl Sending {
    async fn run(mut self) -> usize {
        loop {
            let batch = self.collect().await;
            if batch.is_empty() {
                return self.lost;
            }
            self.deliver(batch).await;
        }
    }

    /// The next batch; an empty one when no use is under way and none can begin any more.
    async fn collect(&mut self) -> Vec<UseReport> {
        let mut batch = Vec::new();
        let mut deadline: Option<Instant> = None;
        while batch.len() < BATCH {
            let report = tokio::select! {
                biased;
                _ = self.stopping.wait_for(|stop| *stop), if !self.receiver.is_closed() => {
                    // Uses under way keep their place and are still received.
                    self.receiver.close();
                    continue;
                }
                report = receive(&mut self.receiver, deadline) => report,
            };
            let Some(report) = report else { break };
            batch.push(report);
            deadline.get_or_insert_with(|| Instant::now() + WAIT);
        }
        batch
    }

    /// Sends a batch until the broker has it. A batch that it refuses is sent again one by one, so that only
    /// what is wrong is lost.
    async fn deliver(&mut self, batch: Vec<UseReport>) {
        match self.send(&batch).await {
            Ok(()) => {}
            Err(error) if is_final(&error) && batch.len() > 1 => {
                for report in batch {
                    let one = [report];
                    if let Err(error) = self.send(&one).await {
                        self.lose(&one, &error);
                    }
                }
            }
            Err(error) => self.lose(&batch, &error),
        }
    }

    async fn send(&mut self, batch: &[UseReport]) -> Result<(), Error> {
        let body = UseReports { uses: batch.to_vec() };
        let mut last_tries = LAST_TRIES;
        loop {
            let error = match self.broker.send(Post::Uses(&body), TRIES).await {
                Ok(_) => return Ok(()),
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => error,
            };
            if self.receiver.is_closed() || *self.stopping.borrow() {
                last_tries -= 1;
                if last_tries == 0 {
                    return Err(error);
                }
            }
            tracing::warn!(%error, uses = batch.len(), "uses could not be reported yet");
            sleep(PAUSE).await;
        }
    }

    fn lose(&mut self, batch: &[UseReport], error: &Error) {
        self.lost += batch.len();
        for report in batch {
            let (issuance, call) = (&report.issuance_id, report.tool_call_id.as_deref());
            tracing::error!(issuance, call, %error, "a use could not be reported");
        }
    }
}

/// Whether the broker said that the reports themselves are at fault. Anything else may pass: a secret that has
/// expired is replaced, a broker that is away comes back.
fn is_final(error: &Error) -> bool {
    matches!(error, Error::Refused(refusal) if matches!(refusal.status, 400 | 413))
}

/// The next report; `None` at the deadline, or when there will be none.
async fn receive(receiver: &mut mpsc::Receiver<UseReport>, deadline: Option<Instant>) -> Option<UseReport> {
    match deadline {
        None => receiver.recv().await,
        Some(deadline) => timeout_at(deadline, receiver.recv()).await.ok().flatten(),
    }
}
