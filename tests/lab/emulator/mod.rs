//! The link emulator: carries frames between two veth ends, later, or not at all.
//!
//! One thread serves all links. It learns from the kernel when a frame came (`SO_TIMESTAMPNS`), so only the moment of
//! sending can be late, not that of receiving; how late is counted ([`LatenessReport`]).

pub(crate) mod crossings;
pub(crate) mod lateness;
pub(crate) mod queue;
mod socket;

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::timerfd::{
    ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
};
use nix::time::{ClockId, clock_gettime};
use rand::RngExt;

use crossings::{Crossing, Crossings};
use lateness::{Lateness, LatenessReport};
pub(crate) use queue::Behaviour;
use queue::{Dice, Queue};
use socket::{Port, buffer};

/// Frames taken from one end before the others get their turn.
const TURN: usize = 32;
/// The timer wakes the thread this much early; the rest is waited for at the processor, which is exact. At a few hundred
/// frames a second that costs about 2 % of a core.
const EARLY: Duration = Duration::from_micros(60);
/// The event of the timer; ports have their own index.
const TIMER: u64 = u64::MAX;

/// A link to emulate: its two interfaces in the lab's namespace.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) interfaces: [String; 2],
    pub(crate) behaviour: Behaviour,
    /// Which of the two ends is a site's host, where one is: what passes there is booked.
    pub(crate) host: Option<usize>,
}

/// What the rest of the lab holds of the running emulator.
#[derive(Clone)]
pub(crate) struct Emulator {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    behaviours: Vec<Behaviour>,
    /// What a crossing costs beyond its delay; taken off the delay.
    own_cost: Duration,
    lateness: Lateness,
    /// By the port that a host's frames come from.
    crossings: BTreeMap<usize, Crossings>,
}

impl Shared {
    /// Books what came from a host, by the wall clock.
    fn book_leaving(&mut self, port: usize, frame: &[u8], at: Duration) {
        if let Some(crossings) = self.crossings.get_mut(&port) {
            crossings.leaves(frame, at);
        }
    }

    /// Books what was handed to an end, and how late.
    fn book_sent(&mut self, port: usize, frame: &[u8], at: Duration, late: Duration) {
        self.lateness.book(late);
        if let Some(crossings) = self.crossings.get_mut(&port) {
            crossings.comes(frame, at);
        }
    }
}

impl Emulator {
    /// Starts the emulator's thread.
    pub(crate) fn start(pairs: &[Pair]) -> anyhow::Result<Self> {
        let behaviours = pairs.iter().map(|pair| pair.behaviour).collect();
        let shared = Arc::new(Mutex::new(Shared {
            behaviours,
            own_cost: Duration::ZERO,
            lateness: Lateness::new(),
            crossings: hosts(pairs)
                .map(|port| (port, Crossings::default()))
                .collect(),
        }));
        let ports: Vec<Port> = (pairs.iter().flat_map(|pair| &pair.interfaces))
            .map(|interface| Port::open(interface))
            .collect::<Result<_, _>>()?;
        let engine = Engine::new(ports, Arc::clone(&shared))?;
        std::thread::Builder::new()
            .name("emulator".to_owned())
            .spawn(move || engine.run())
            .context("cannot start the emulator's thread")?;
        Ok(Self { shared })
    }

    /// Changes how a link behaves, both ways.
    pub(crate) fn change(&self, link: usize, change: impl FnOnce(&mut Behaviour)) {
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(behaviour) = shared.behaviours.get_mut(link) {
            change(behaviour);
        }
    }

    /// How a link behaves now.
    pub(crate) fn behaviour(&self, link: usize) -> Option<Behaviour> {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .behaviours
            .get(link)
            .copied()
    }

    /// Takes what a crossing costs in the kernel and here off every delay from now on.
    pub(crate) fn allow_for(&self, own_cost: Duration) {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .own_cost = own_cost;
    }

    /// What is taken off every delay.
    pub(crate) fn own_cost(&self) -> Duration {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .own_cost
    }

    /// What passed at the host of a link, oldest first; nothing where no host is.
    pub(crate) fn crossings(&self, link: usize) -> Vec<Crossing> {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let of_link = shared.crossings.range(2 * link..2 * link + 2);
        of_link
            .flat_map(|(_, crossings)| crossings.over())
            .collect()
    }

    /// The emulator's own error so far.
    pub(crate) fn lateness(&self) -> LatenessReport {
        self.shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lateness
            .report()
    }
}

struct Engine {
    ports: Vec<Port>,
    shared: Arc<Mutex<Shared>>,
    queue: Queue,
    epoll: Epoll,
    timer: TimerFd,
    buffer: Vec<u8>,
    armed: Option<Duration>,
}

impl Engine {
    fn new(ports: Vec<Port>, shared: Arc<Mutex<Shared>>) -> anyhow::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("cannot make an epoll")?;
        for (port, index) in ports.iter().zip(0..) {
            epoll
                .add(port.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, index))
                .context("cannot watch a port")?;
        }
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer =
            TimerFd::new(TimerClock::CLOCK_MONOTONIC, flags).context("cannot make a timer")?;
        epoll
            .add(timer.as_fd(), EpollEvent::new(EpollFlags::EPOLLIN, TIMER))
            .context("cannot watch the timer")?;
        let queue = Queue::new(ports.len());
        Ok(Self {
            ports,
            shared,
            queue,
            epoll,
            timer,
            buffer: buffer(),
            armed: None,
        })
    }

    /// Runs until nobody holds the emulator any more.
    fn run(mut self) {
        urgent();
        let mut events = vec![EpollEvent::empty(); 64];
        while Arc::strong_count(&self.shared) > 1 {
            self.send_due();
            self.arm();
            let ready = self
                .epoll
                .wait(&mut events, EpollTimeout::NONE)
                .unwrap_or(0);
            for event in events.iter().take(ready) {
                if event.data() == TIMER {
                    self.armed = None;
                    // The count of expirations is of no use; the timer is armed anew for the next frame.
                    self.timer.wait().ok();
                } else {
                    self.take(usize::try_from(event.data()).unwrap_or(usize::MAX));
                    self.send_due();
                }
            }
        }
    }

    /// Takes what waits at a port. The other port of its link is where it will leave.
    fn take(&mut self, port: usize) {
        for _ in 0..TURN {
            let Some(source) = self.ports.get(port) else {
                return;
            };
            // An error is a link going down: nothing to take.
            let Ok(Some(received)) =
                source.receive(&mut self.buffer, || gettime(ClockId::CLOCK_REALTIME))
            else {
                return;
            };
            let arrived = gettime(ClockId::CLOCK_MONOTONIC).saturating_sub(received.age);
            let mut rng = rand::rng();
            let dice = Dice {
                loss: rng.random(),
                jitter: rng.random(),
            };
            let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
            let behaviour = shared.behaviours.get(port / 2).copied().unwrap_or_default();
            // A delay that is shorter than the cost cannot be made right.
            let own_cost = if behaviour.delay >= shared.own_cost {
                shared.own_cost
            } else {
                Duration::ZERO
            };
            let left = gettime(ClockId::CLOCK_REALTIME).saturating_sub(received.age);
            shared.book_leaving(port, &received.frame, left);
            drop(shared);
            self.queue.push(
                port ^ 1,
                arrived.saturating_sub(own_cost),
                behaviour,
                dice,
                received.frame,
            );
        }
    }

    fn send_due(&mut self) {
        while let Some(leaving) = self.queue.pop(gettime(ClockId::CLOCK_MONOTONIC) + EARLY) {
            let mut now = gettime(ClockId::CLOCK_MONOTONIC);
            while now < leaving.due {
                std::hint::spin_loop();
                now = gettime(ClockId::CLOCK_MONOTONIC);
            }
            let late = now.saturating_sub(leaving.due);
            let sent = self
                .ports
                .get(leaving.direction)
                .map(|port| port.send(&leaving.frame));
            if let Some(Ok(())) = sent {
                let came = gettime(ClockId::CLOCK_REALTIME);
                let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
                shared.book_sent(leaving.direction, &leaving.frame, came, late);
            }
        }
    }

    fn arm(&mut self) {
        let next = self.queue.next_due();
        if next == self.armed {
            return;
        }
        self.armed = next;
        if let Some(due) = next {
            let at = Expiration::OneShot(due.saturating_sub(EARLY).into());
            // It fails for a negative or unrepresentable time only, which a monotonic clock never shows.
            self.timer
                .set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
                .ok();
        }
    }
}

/// The ports that hosts are behind.
fn hosts(pairs: &[Pair]) -> impl Iterator<Item = usize> {
    let ends = pairs.iter().enumerate();
    ends.filter_map(|(link, pair)| Some(2 * link + pair.host?))
}

/// Asks for exact wake-ups, and for the processor before all others where the system allows it.
fn urgent() {
    nix::sys::prctl::set_timerslack(1).ok();
    let thread = nix::unistd::gettid().to_string();
    let real_time = std::process::Command::new("chrt")
        .args(["--fifo", "--pid", "10", &thread])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .status();
    drop(real_time);
}

fn gettime(clock: ClockId) -> Duration {
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}
