//! The probes of a target as futures: each owns what it needs, and says what it found.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use firstmile_wire::v1::{Protocol, TraceKind};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::prober::Prober;
use crate::clock;
use crate::config::Target;
use crate::net::dns::Answer;
use crate::net::handshake::Handshake;
use crate::net::https::Exchange;
use crate::net::quic::QuicFound;
use crate::net::tcp;
use crate::net::trace::{RoundResult, TraceError};
use crate::probe::Measured;
use crate::probe::trace::TracePlan;
use crate::schedule::rounds::Round;
use crate::timekeeper::Timekeeper;

/// A probe under way.
pub(super) type Probing = BoxFuture<'static, Finding>;

/// What a probe found.
pub(super) enum Finding {
    Resolved {
        /// Of A and of AAAA, one of each resolver.
        answers: [Vec<Answer>; 2],
        delay: Option<Duration>,
    },
    Pulse {
        protocol: Protocol,
        destination: IpAddr,
        at: Instant,
        measured: Measured,
    },
    Https {
        destination: IpAddr,
        at: Instant,
        exchange: Exchange,
    },
    Tls {
        destination: IpAddr,
        at: Instant,
        handshake: Handshake,
    },
    Quic {
        destination: IpAddr,
        at: Instant,
        found: QuicFound,
        /// Of the RTT and of the handshake.
        delays: [Option<Duration>; 2],
    },
    Round {
        destination: IpAddr,
        round: Round,
        result: Result<RoundResult, TraceError>,
    },
    /// A round of other packets than those that count.
    Evidence {
        destination: IpAddr,
        result: Result<RoundResult, TraceError>,
    },
    /// Under way while the machine slept or its clock was set: it says nothing.
    Spoiled(Box<Finding>),
}

/// The probes of a target that are under way. What ends in another era than it began in is spoiled.
pub(super) struct UnderWay {
    probes: FuturesUnordered<Probing>,
    keeper: Timekeeper,
}

impl UnderWay {
    pub(super) fn new(keeper: Timekeeper) -> Self {
        Self {
            probes: FuturesUnordered::new(),
            keeper,
        }
    }

    /// Starts a probe.
    pub(super) fn push(&self, probe: Probing) {
        let (keeper, began) = (self.keeper.clone(), self.keeper.era());
        self.probes.push(Box::pin(async move {
            let finding = probe.await;
            if keeper.era() == began {
                finding
            } else {
                Finding::Spoiled(Box::new(finding))
            }
        }));
    }

    /// Starts several.
    pub(super) fn extend(&self, probes: impl IntoIterator<Item = Probing>) {
        probes.into_iter().for_each(|probe| self.push(probe));
    }

    pub(super) fn len(&self) -> usize {
        self.probes.len()
    }

    /// What the next one found; `None` when none is under way.
    pub(super) async fn next(&mut self) -> Option<Finding> {
        self.probes.next().await
    }
}

/// Asks every resolver for both families at once.
pub(super) fn resolve(prober: &Arc<Prober>, name: String) -> Probing {
    let prober = Arc::clone(prober);
    Box::pin(async move {
        let watch = prober.delays.watch();
        let both = async {
            tokio::join!(
                prober.dns.resolve_everywhere(&name, false),
                prober.dns.resolve_everywhere(&name, true)
            )
        };
        let (v4, v6) = watch.over(both).await;
        Finding::Resolved {
            answers: [v4, v6],
            delay: Some(watch.take()),
        }
    })
}

/// One echo request.
pub(super) fn echo(prober: &Arc<Prober>, destination: IpAddr) -> Probing {
    let prober = Arc::clone(prober);
    Box::pin(async move {
        let at = clock::now();
        let watch = prober.delays.watch();
        let measured = watch.over(prober.echo.echo(destination)).await;
        let measured = match measured.scheduling_delay {
            Some(delay) => {
                prober.delays.on_echo(clock::now(), delay);
                measured
            }
            None => measured.delayed_by(Some(watch.take())),
        };
        Finding::Pulse {
            protocol: Protocol::Icmp,
            destination,
            at,
            measured,
        }
    })
}

/// One connection, closed at once.
pub(super) fn connect(prober: &Arc<Prober>, to: SocketAddr) -> Probing {
    let prober = Arc::clone(prober);
    Box::pin(async move {
        let at = clock::now();
        let watch = prober.delays.watch();
        let measured = watch
            .over(tcp::connect_by(prober.exit, to, prober.plan.probe_timeout))
            .await
            .delayed_by(Some(watch.take()));
        Finding::Pulse {
            protocol: Protocol::Tcp,
            destination: to.ip(),
            at,
            measured,
        }
    })
}

/// One HTTPS exchange.
pub(super) fn https(prober: &Arc<Prober>, target: &Target, destination: IpAddr) -> Probing {
    let (prober, target) = (Arc::clone(prober), target.clone());
    Box::pin(async move {
        let at = clock::now();
        let watch = Arc::new(prober.delays.watch());
        let lateness = Some(Arc::clone(&watch));
        let timeout = prober.plan.probe_timeout;
        let asking = (prober.https).exchange(&target, destination, timeout, lateness);
        let exchange = watch.over(asking).await;
        Finding::Https {
            destination,
            at,
            exchange,
        }
    })
}

/// One TLS handshake.
pub(super) fn tls(prober: &Arc<Prober>, target: &Target, destination: IpAddr) -> Probing {
    let (prober, target) = (Arc::clone(prober), target.clone());
    Box::pin(async move {
        let at = clock::now();
        let to = SocketAddr::new(destination, target.port);
        let watch = prober.delays.watch();
        let timeout = prober.plan.probe_timeout;
        let shaking = (prober.tls).shake(&target.host, to, timeout, Some(&watch));
        let handshake = watch.over(shaking).await;
        Finding::Tls {
            destination,
            at,
            handshake,
        }
    })
}

/// One QUIC handshake.
pub(super) fn quic(prober: &Arc<Prober>, target: &Target, destination: IpAddr) -> Probing {
    let (prober, target) = (Arc::clone(prober), target.clone());
    Box::pin(async move {
        let at = clock::now();
        let to = SocketAddr::new(destination, target.port);
        let watch = prober.delays.watch();
        let shaking = prober
            .quic
            .shake(&target.host, to, prober.plan.probe_timeout);
        let found = watch.over(shaking).await;
        let waited = watch.waited();
        let delays = delays_of_quic(found.delay, waited, Some(watch.take()));
        Finding::Quic {
            destination,
            at,
            found,
            delays,
        }
    })
}

/// How late the RTT and the end of a QUIC handshake were stamped: by how late its packets were read, by how long the
/// processor was waited for until the end, and by how late the probe was polled, which is all there is without packets.
/// quinn's own work after the last packet is part of a handshake, and no lateness.
fn delays_of_quic(
    packets: Option<Duration>,
    waited: Option<Duration>,
    polled: Option<Duration>,
) -> [Option<Duration>; 2] {
    let rtt = packets.or(polled);
    [rtt, rtt.max(waited)]
}

/// One path round, until `cut`.
pub(super) fn trace(
    prober: &Arc<Prober>,
    to: SocketAddr,
    round: Round,
    plan: TracePlan,
    cut: CancellationToken,
) -> Probing {
    let prober = Arc::clone(prober);
    Box::pin(async move {
        let result = prober.tracer.round_until(to, plan, cut).await;
        Finding::Round {
            destination: to.ip(),
            round,
            result,
        }
    })
}

/// One round of packets of `kind`, which are evidence; its sockets are open as long as it lasts.
pub(super) fn evidence(
    prober: &Arc<Prober>,
    to: SocketAddr,
    kind: TraceKind,
    plan: TracePlan,
) -> Probing {
    let prober = Arc::clone(prober);
    Box::pin(async move {
        let flows = u16::try_from(plan.flows.len()).unwrap_or(1);
        let tracer = prober.tracer.beside(kind, flows);
        Finding::Evidence {
            destination: to.ip(),
            result: tracer.round(to, plan).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_the_processor_after_the_last_packet_is_in_the_handshake_alone() {
        let ms = |ms| Some(Duration::from_millis(ms));
        for (name, packets, waited, polled, want) in [
            (
                "waited after the last packet",
                ms(1),
                ms(30),
                ms(40),
                [ms(1), ms(30)],
            ),
            ("packets read late", ms(20), ms(3), ms(40), [ms(20), ms(20)]),
            ("no packet came", None, ms(3), ms(4), [ms(4), ms(4)]),
            ("nobody counts", ms(1), None, ms(40), [ms(1), ms(1)]),
        ] {
            assert_eq!(delays_of_quic(packets, waited, polled), want, "{name}");
        }
    }
}
