//! Echo without rights: Windows sends, matches and times out, this program only asks and stamps.
//!
//! The stamps are of the performance counter, around the call, by a thread of the system's pool: samples say `CLOCK_USER`.
//! Where the door cannot be opened, and this is an administrator, surge-ping's raw socket stands in.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use firstmile_sys::windows::icmp::{Completion, Echo, Request, Status};
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tracing::debug;

use crate::net::icmp::{EchoEngine, SurgeEngine};
use crate::net::route;
use crate::probe::{Clock, Measured, Outcome};

/// TTL of an echo, as ping sends it.
const TTL: u8 = 128;

/// Bytes after the ICMP header: what fits a cookie many times over, as much as ping sends.
const PAYLOAD_BYTES: usize = 32;

/// One door for each family, opened when first needed and again after it could not be.
pub(crate) struct WindowsEngine {
    v4: Mutex<Option<Echo>>,
    v6: Mutex<Option<Echo>>,
    timeout: Duration,
    fallback: SurgeEngine,
}

impl WindowsEngine {
    /// Makes an engine; nothing is opened yet.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            v4: Mutex::new(None),
            v6: Mutex::new(None),
            timeout,
            fallback: SurgeEngine::new(rand::random(), timeout),
        }
    }

    /// `None` while the network is not up yet: asked for again with each probe.
    fn door(&self, ipv6: bool) -> Option<Echo> {
        let slot = if ipv6 { &self.v6 } else { &self.v4 };
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.is_none() {
            match Echo::open(ipv6) {
                Ok(door) => *slot = Some(door),
                Err(error) => debug!(%error, ipv6, "no echo by the system yet"),
            }
        }
        slot.clone()
    }
}

impl EchoEngine for WindowsEngine {
    fn echo(&self, destination: IpAddr) -> BoxFuture<'_, Measured> {
        Box::pin(async move {
            let Some(door) = self.door(destination.is_ipv6()) else {
                return self.fallback.echo(destination).await;
            };
            let (done, completion) = oneshot::channel();
            let payload: [u8; PAYLOAD_BYTES] = rand::random();
            let request = Request {
                destination,
                ttl: TTL,
                payload: &payload,
                timeout: self.timeout,
            };
            // Who asked may have stopped waiting.
            let tell = move |completion| {
                done.send(completion).ok();
            };
            if let Err(error) = door.send(&request, tell) {
                return route::outcome_of(&error, destination).into();
            }
            match completion.await {
                Ok(completion) => measured(&completion, destination, self.timeout),
                Err(_) => Outcome::LocalError.into(),
            }
        })
    }

    /// The system's own door is bound to no address.
    fn renew(&self) {
        self.fallback.renew();
    }
}

/// What a completion says. A router's "unreachable" is loss, this machine's is a state of the site.
fn measured(completion: &Completion, destination: IpAddr, timeout: Duration) -> Measured {
    let outcome = match completion.status {
        // Windows waits in steps of its timer: what came after our timeout is late, hence lost (RFC 6673 §4.3).
        Status::Answered if completion.elapsed >= timeout => Outcome::Timeout,
        Status::Answered if completion.from != Some(destination) || !completion.payload_intact => {
            Outcome::LocalError
        }
        Status::Answered => Outcome::Answered(completion.elapsed),
        Status::TimedOut => Outcome::Timeout,
        Status::NoRoute if route::source_for(destination).is_err() => Outcome::NoRoute,
        Status::TimeExceeded | Status::Unreachable(_) | Status::NoRoute => Outcome::Unreachable,
        Status::Prohibited => Outcome::Filtered,
        Status::Other(status) => {
            debug!(status, %destination, "the system says something else of an echo");
            Outcome::LocalError
        }
    };
    Measured {
        outcome,
        clock: Clock::User,
        scheduling_delay: None,
        reply_ttl: completion.reply_ttl,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(2);

    #[tokio::test]
    async fn loopback_answers_without_rights_and_many_at_once() {
        let engine = WindowsEngine::new(TIMEOUT);
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let probes = (0..50).map(|_| engine.echo(loopback));
        for measured in futures::future::join_all(probes).await {
            assert!(
                matches!(measured.outcome, Outcome::Answered(rtt) if rtt > Duration::ZERO && rtt < TIMEOUT),
                "{measured:?}"
            );
            assert_eq!(measured.clock, Clock::User);
        }
    }

    #[test]
    fn only_an_answer_of_the_destination_in_time_and_whole_is_an_answer() {
        let destination = IpAddr::from([192, 0, 2, 1]);
        let router = IpAddr::from([192, 0, 2, 254]);
        let rtt = Duration::from_millis(20);
        let answer = Completion {
            from: Some(destination),
            status: Status::Answered,
            elapsed: rtt,
            reply_ttl: 57,
            payload_intact: true,
        };
        let with = |status| Completion {
            from: Some(router),
            status,
            ..answer
        };
        for (name, completion, want) in [
            ("answer", answer, Outcome::Answered(rtt)),
            (
                "late",
                Completion {
                    elapsed: TIMEOUT,
                    ..answer
                },
                Outcome::Timeout,
            ),
            ("of another", with(Status::Answered), Outcome::LocalError),
            (
                "with another payload",
                Completion {
                    payload_intact: false,
                    ..answer
                },
                Outcome::LocalError,
            ),
            ("silence", with(Status::TimedOut), Outcome::Timeout),
            (
                "no way",
                with(Status::Unreachable(0x0301)),
                Outcome::Unreachable,
            ),
            ("firewall", with(Status::Prohibited), Outcome::Filtered),
            ("unknown", with(Status::Other(11_050)), Outcome::LocalError),
        ] {
            let measured = measured(&completion, destination, TIMEOUT);
            assert_eq!(measured.outcome, want, "{name}");
            assert_eq!(measured.reply_ttl, 57, "{name}");
        }
    }
}
