//! What runs inside the rig as programs of their own: the engine, and peers that are libraries.

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use firstmile_echo::engine::{Engine, Setup};
use firstmile_echo::packet::Family;
use firstmile_echo::{Clock, Completion, Ending, Request};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use surge_ping::{Client, Config, ICMP, PingIdentifier, PingSequence};
use tokio::task::JoinSet;

use crate::{clock, rig};

const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a flood looks at its own memory.
const TENTHS: u64 = 10;

/// One program.
#[derive(Subcommand, Debug)]
pub(crate) enum Child {
    /// The engine, one target; prints `seq rtt_ns clock delay_ns`
    Echo(Pace),
    /// surge-ping, one target; prints `seq rtt_ns`
    Surge(Pace),
    /// Handshakes; prints `port tcp_info_rtt_ns elapsed_ns retransmissions`
    Tcp(Pace),
    /// The engine, many targets; prints figures as `name value`
    Flood(Flood),
}

/// How many probes, how far apart.
#[derive(clap::Args, Debug)]
pub(crate) struct Pace {
    #[arg(long)]
    target: IpAddr,
    #[arg(long)]
    count: u16,
    #[arg(long)]
    interval_us: u64,
}

/// How hard to push.
#[derive(clap::Args, Debug)]
pub(crate) struct Flood {
    #[arg(long, default_value_t = 2_000)]
    targets: u32,
    #[arg(long)]
    count: u64,
    /// Probes a second; as fast as possible without it
    #[arg(long)]
    rate: Option<u64>,
    /// Reads and sends only so often; as soon as there is something without it
    #[arg(long)]
    tick_ms: Option<u64>,
    #[arg(long, default_value_t = 4_096)]
    capacity: usize,
}

/// Runs it.
pub(crate) fn run(child: &Child) -> anyhow::Result<()> {
    match child {
        Child::Echo(pace) => echo(pace),
        Child::Surge(pace) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("no runtime")?;
            runtime.block_on(surge(pace))
        }
        Child::Tcp(pace) => tcp(pace),
        Child::Flood(flood) => self::flood(flood),
    }
}

impl Pace {
    fn due(&self, started: Duration, index: u16) -> Duration {
        started + Duration::from_micros(self.interval_us) * u32::from(index)
    }
}

fn open(family: Family, capacity: usize) -> anyhow::Result<Engine> {
    let setup = Setup {
        family,
        capacity,
        timeout: TIMEOUT,
        source: None,
        interface: None,
        traffic_class: 0,
    };
    Engine::open(setup).context("no engine")
}

fn echo(pace: &Pace) -> anyhow::Result<()> {
    let family = match pace.target {
        IpAddr::V4(_) => Family::V4,
        IpAddr::V6(_) => Family::V6,
    };
    let mut engine = open(family, 1_024)?;
    let started = Engine::now().monotonic;
    let (mut sent, mut done) = (0, 0);
    let mut finished = Vec::new();
    while done < usize::from(pace.count) {
        let now = Engine::now().monotonic;
        if sent < pace.count && now >= pace.due(started, sent) {
            engine.send(&[Request {
                destination: pace.target,
                token: sent.into(),
            }]);
            sent += 1;
        }
        let due = (sent < pace.count).then(|| pace.due(started, sent));
        let idle_since = Engine::now();
        let until = due
            .into_iter()
            .chain(engine.next_expiry())
            .min()
            .unwrap_or(idle_since.monotonic);
        wait(&engine, until.saturating_sub(idle_since.monotonic));
        engine
            .receive(Some(idle_since), &mut finished)
            .context("the engine's socket broke")?;
        done += finished.len();
        finished.drain(..).for_each(|completion| print(&completion));
    }
    let counters = engine.counters();
    eprintln!("# {counters:?}");
    Ok(())
}

fn print(completion: &Completion) {
    if let Ending::Answered(answer) = &completion.ending {
        let clock = match answer.clock {
            Clock::Kernel => "kernel",
            Clock::User => "user",
        };
        println!(
            "{} {} {clock} {}",
            completion.token,
            answer.rtt.as_nanos(),
            answer.delay.as_nanos()
        );
    }
}

fn wait(engine: &Engine, at_most: Duration) {
    let mut watched = [PollFd::new(engine.as_fd(), PollFlags::POLLIN)];
    ppoll(&mut watched, Some(TimeSpec::from_duration(at_most)), None).ok();
}

async fn surge(pace: &Pace) -> anyhow::Result<()> {
    let client = Client::new(
        &Config::builder()
            .kind(match pace.target {
                IpAddr::V4(_) => ICMP::V4,
                IpAddr::V6(_) => ICMP::V6,
            })
            .sock_type_hint(socket2::Type::DGRAM)
            .build(),
    )
    .context("surge-ping opened no socket")?;
    let mut interval = tokio::time::interval(Duration::from_micros(pace.interval_us));
    let mut tasks = JoinSet::new();
    for seq in 0..pace.count {
        interval.tick().await;
        let (client, target) = (client.clone(), pace.target);
        tasks.spawn(async move {
            let mut pinger = client.pinger(target, PingIdentifier(7)).await;
            pinger.timeout(TIMEOUT);
            (seq, pinger.ping(PingSequence(seq), &[0; 56]).await)
        });
    }
    while let Some(joined) = tasks.join_next().await {
        if let Ok((seq, Ok((_, rtt)))) = joined {
            println!("{seq} {}", rtt.as_nanos());
        }
    }
    Ok(())
}

fn tcp(pace: &Pace) -> anyhow::Result<()> {
    let started = clock::monotonic();
    for index in 0..pace.count {
        let early = pace.due(started, index).saturating_sub(clock::monotonic());
        clock::pass(u16::try_from(early.as_millis()).unwrap_or(u16::MAX));
        let before = clock::monotonic();
        let stream = TcpStream::connect(SocketAddr::new(pace.target, rig::PORT))
            .context("the target does not answer")?;
        let elapsed = clock::monotonic().saturating_sub(before);
        let info = firstmile_sys::tcp_info::read(stream.as_fd()).context("no TCP_INFO")?;
        let port = stream.local_addr().context("no local port")?.port();
        println!(
            "{port} {} {} {}",
            info.rtt.as_nanos(),
            elapsed.as_nanos(),
            info.retransmissions
        );
    }
    Ok(())
}

fn flood(flood: &Flood) -> anyhow::Result<()> {
    let mut engine = open(Family::V4, flood.capacity)?;
    let targets: Vec<IpAddr> = rig::targets(flood.targets).map(IpAddr::V4).collect();
    let mut addresses = targets.iter().copied().cycle();
    let started = clock::monotonic();
    let (mut launched, mut done, mut answered) = (0u64, 0u64, 0u64);
    let (mut resident, mut next_tenth) = (Vec::new(), 1);
    let mut finished = Vec::new();
    let mut batch: Vec<Request> = Vec::new();
    let mut ticks = 0u32;
    while done < flood.count {
        let elapsed = clock::monotonic().saturating_sub(started);
        let allowed = flood
            .rate
            .map_or(launched + 64, |rate| due_by(rate, elapsed))
            .min(flood.count);
        let wanted = usize::try_from(allowed.saturating_sub(launched))
            .unwrap_or(usize::MAX)
            .min(4_096);
        while batch.len() < wanted {
            let destination = addresses.next().context("no targets")?;
            batch.push(Request {
                destination,
                token: 0,
            });
        }
        let sent = engine.send(&batch);
        batch.drain(..sent);
        launched += u64::try_from(sent).unwrap_or(0);
        engine
            .receive(None, &mut finished)
            .context("the engine's socket broke")?;
        for completion in finished.drain(..) {
            done += 1;
            answered += u64::from(matches!(completion.ending, Ending::Answered(_)));
        }
        while next_tenth <= TENTHS && done >= flood.count / TENTHS * next_tenth {
            resident.push(resident_kib()?);
            next_tenth += 1;
        }
        if let Some(tick) = flood.tick_ms {
            ticks += 1;
            let next = started + Duration::from_millis(tick) * ticks;
            let early = next.saturating_sub(clock::monotonic());
            clock::pass(u16::try_from(early.as_millis()).unwrap_or(u16::MAX));
        } else if sent == 0 {
            wait(&engine, Duration::from_millis(1));
        }
    }
    let wall = clock::monotonic().saturating_sub(started);
    println!("wall_us {}", wall.as_micros());
    println!("answered {answered}");
    println!("lost {}", done - answered);
    println!("kernel_stamped {}", engine.counters().kernel_stamped);
    for (tenth, (all, anonymous)) in (1..).zip(&resident) {
        println!("kib_{tenth} {all}");
        println!("anonymous_kib_{tenth} {anonymous}");
    }
    println!(
        "open_files {}",
        std::fs::read_dir("/proc/self/fd")
            .context("no /proc")?
            .count()
            .saturating_sub(1)
    );
    eprintln!("# {:?}", engine.counters());
    Ok(())
}

/// Probes due after `elapsed` at `rate` a second.
fn due_by(rate: u64, elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
}

/// Resident memory, and how much of it is not read from files.
fn resident_kib() -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string("/proc/self/status").context("no /proc")?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let line = line.with_context(|| format!("no {name} in /proc/self/status"))?;
        let number = line.trim().trim_end_matches(" kB");
        number
            .parse()
            .with_context(|| format!("{name} is no number"))
    };
    Ok((value("VmRSS:")?, value("RssAnon:")?))
}
