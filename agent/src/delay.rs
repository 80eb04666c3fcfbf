//! How late this program runs: what is in every time that is stamped here and not by the kernel.
//!
//! Between a reply and the stamp that user space gives it lie two waits: for the processor, which Linux counts for each
//! thread (`/proc/thread-self/schedstat`, the second number), and behind other tasks of the one thread that runs all probes.
//! [`Delays`] is told by the runtime when the thread goes to sleep and when it wakes, and reads the first; a [`Watch`] around
//! a future sees the second each time the future is polled. Their sum, at its largest, is how much of a phase may be our own
//! doing. It costs two clock readings a poll and one read of a file a turn, both only while something is watched.
//!
//! The runtime also says that it wakes when it did not sleep, because something lay ready. That may have been so since it
//! looked the last time: then the turn before counts as waiting.
//!
//! Where the system does not count the first wait, what the echo engine saw stands for it: how long replies lay ready.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::clock;

/// A thread that was away for less, waits for the processor apart, has not slept: it found something ready.
const LEAST_SLEEP: Duration = Duration::from_micros(50);

/// What the program knows of its own lateness. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Delays(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    started: Instant,
    processor: Processor,
    watched: AtomicUsize,
    /// Since when whoever is polled now may have waited, nanoseconds since `started`.
    woke_ns: AtomicU64,
    /// When the thread last looked what is ready.
    looked_ns: AtomicU64,
    /// When it was about to sleep.
    parked_ns: AtomicU64,
    /// How long it had waited for the processor then.
    waited_ns: AtomicU64,
    /// The last thing that the echo engine saw.
    echo: Mutex<Option<Seen>>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    at: Instant,
    delay: Duration,
}

impl Default for Delays {
    fn default() -> Self {
        Self(Arc::new(Shared {
            started: clock::now(),
            processor: Processor::default(),
            watched: AtomicUsize::new(0),
            woke_ns: AtomicU64::new(0),
            looked_ns: AtomicU64::new(0),
            parked_ns: AtomicU64::new(0),
            waited_ns: AtomicU64::new(0),
            echo: Mutex::new(None),
        }))
    }
}

impl Delays {
    /// The runtime's thread is about to sleep, if nothing is ready. For `on_thread_park`.
    pub(crate) fn on_sleep(&self) {
        if self.0.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        // What was waited for until here is no part of the sleep.
        self.keep_waited();
        let now = self.since_start(clock::now());
        self.0.parked_ns.store(now, Ordering::Relaxed);
    }

    /// The runtime's thread wakes: whoever is polled from now on waited at least since then. For `on_thread_unpark`.
    pub(crate) fn on_wake(&self) {
        if self.0.watched.load(Ordering::Relaxed) == 0 {
            return;
        }
        let waited = nanos(self.0.processor.waited_since_last().unwrap_or_default());
        let now = self.since_start(clock::now());
        let away = now.saturating_sub(self.0.parked_ns.load(Ordering::Relaxed));
        let looked = self.0.looked_ns.swap(now, Ordering::Relaxed);
        if away.saturating_sub(waited) < nanos(LEAST_SLEEP) {
            self.0.waited_ns.fetch_max(waited, Ordering::Relaxed);
            self.0.woke_ns.store(looked, Ordering::Relaxed);
        } else {
            self.0.waited_ns.store(waited, Ordering::Relaxed);
            self.0.woke_ns.store(now, Ordering::Relaxed);
        }
    }

    /// Keeps what the thread has waited since it was last asked, for whoever is polled next; `None` where nobody counts.
    fn keep_waited(&self) -> Option<Duration> {
        let waited = self.0.processor.waited_since_last()?;
        self.0.waited_ns.fetch_max(nanos(waited), Ordering::Relaxed);
        Some(waited)
    }

    /// Books how long a reply lay ready before it was taken.
    pub(crate) fn on_echo(&self, at: Instant, delay: Duration) {
        let mut echo = self.0.echo.lock().unwrap_or_else(PoisonError::into_inner);
        *echo = Some(Seen { at, delay });
    }

    /// Begins to watch. Put what takes the times into [`Watch::over`], and ask [`Watch::take`] at the end of each phase.
    pub(crate) fn watch(&self) -> Watch {
        if self.0.watched.fetch_add(1, Ordering::Relaxed) == 0 {
            // What was waited for before is nobody's.
            self.0.processor.waited_since_last();
            self.0.waited_ns.store(0, Ordering::Relaxed);
            let now = self.since_start(clock::now());
            for since in [&self.0.woke_ns, &self.0.looked_ns, &self.0.parked_ns] {
                since.store(now, Ordering::Relaxed);
            }
        }
        Watch {
            delays: self.clone(),
            began: clock::now(),
            largest_ns: AtomicU64::new(0),
        }
    }

    /// How late whoever is polled now may be, or the stamp of a packet that is read now; something has to be watched.
    pub(crate) fn at(&self, now: Instant) -> Duration {
        let woke = self.0.woke_ns.load(Ordering::Relaxed);
        let behind_others = self.since_start(now).saturating_sub(woke);
        Duration::from_nanos(self.0.waited_ns.load(Ordering::Relaxed) + behind_others)
    }

    fn since_start(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.0.started))
    }
}

/// A watch over one probe: the largest delay since it began, or since it was last asked.
#[derive(Debug)]
pub(crate) struct Watch {
    delays: Delays,
    began: Instant,
    largest_ns: AtomicU64,
}

impl Watch {
    /// Runs `future` and notes how late each of its polls came.
    pub(crate) async fn over<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let mut polled = false;
        std::future::poll_fn(|context| -> Poll<F::Output> {
            // The first poll answers nothing: what it stamps is the start, taken when it ran.
            if std::mem::replace(&mut polled, true) {
                self.note(self.delays.at(clock::now()));
            }
            future.as_mut().poll(context)
        })
        .await
    }

    /// The largest delay since the last call, or since the watch began. Where the system does not count waits for the
    /// processor they are missing in it. To be called at the end of a phase, in the poll that stamps it.
    pub(crate) fn take(&self) -> Duration {
        // The thread may have lost the processor since it woke, in the middle of a poll.
        let lost = self.delays.keep_waited();
        let own = Duration::from_nanos(self.largest_ns.swap(0, Ordering::Relaxed));
        let lost = lost.or_else(|| self.echo_since_began());
        own.max(lost.unwrap_or_default())
    }

    /// How long the thread has waited for the processor since it last slept; `None` where nobody counts. The work of other
    /// tasks, and our own, is not in it.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.delays.keep_waited()?;
        let waited = self.delays.0.waited_ns.load(Ordering::Relaxed);
        Some(Duration::from_nanos(waited))
    }

    fn note(&self, delay: Duration) {
        self.largest_ns.fetch_max(nanos(delay), Ordering::Relaxed);
    }

    fn echo_since_began(&self) -> Option<Duration> {
        let echo = self
            .delays
            .0
            .echo
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        echo.filter(|seen| seen.at >= self.began)
            .map(|seen| seen.delay)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.delays.0.watched.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The kernel's count of how long the runtime's thread waited for a processor.
#[derive(Debug, Default)]
struct Processor {
    #[cfg_attr(
        not(any(test, target_os = "linux")),
        expect(dead_code, reason = "read where the kernel counts; tests set it")
    )]
    file: OnceLock<Option<std::fs::File>>,
    last_ns: AtomicU64,
}

impl Processor {
    /// How much it has waited since the last call; `None` where nobody counts.
    fn waited_since_last(&self) -> Option<Duration> {
        let total = self.total_ns()?;
        let last = self.last_ns.swap(total, Ordering::Relaxed);
        Some(Duration::from_nanos(total.saturating_sub(last)))
    }

    /// The file is of the thread that opens it: the one that runs all probes.
    #[cfg(target_os = "linux")]
    fn total_ns(&self) -> Option<u64> {
        use std::os::unix::fs::FileExt;

        let open = || std::fs::File::open("/proc/thread-self/schedstat").ok();
        let file = self.file.get_or_init(open).as_ref()?;
        let mut bytes = [0; 80];
        let length = file.read_at(&mut bytes, 0).ok()?;
        waited_ns(bytes.get(..length)?)
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "Linux counts")]
    fn total_ns(&self) -> Option<u64> {
        None
    }
}

/// The second number of `schedstat`: nanoseconds spent waiting on a run queue.
#[cfg_attr(
    not(any(test, target_os = "linux")),
    expect(dead_code, reason = "Linux counts")
)]
fn waited_ns(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    text.split_whitespace().nth(1)?.parse().ok()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn runtime(delays: &Delays) -> tokio::runtime::Runtime {
        let (told, sleeping) = (delays.clone(), delays.clone());
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || sleeping.on_sleep())
            .on_thread_unpark(move || told.on_wake())
            .build()
            .expect("a runtime")
    }

    /// Keeps the thread busy, as a task that computes does.
    fn compute(time: Duration) {
        let end = clock::now() + time;
        while clock::now() < end {
            std::hint::spin_loop();
        }
    }

    #[cfg(target_os = "linux")] // nobody counts elsewhere
    #[test]
    fn a_probe_behind_another_task_knows_how_long_it_waited() {
        let delays = Delays::default();
        runtime(&delays).block_on(async {
            let (ready, wait) = tokio::sync::oneshot::channel();
            let other = async {
                tokio::time::sleep(5 * MS).await;
                ready.send(()).expect("somebody waits");
                compute(20 * MS);
            };
            let watch = delays.watch();
            // `join!` polls in the order written: the other task computes before the probe is looked at.
            let ((), got) = tokio::join!(other, watch.over(wait));
            got.expect("sent");
            let delay = watch.take();
            assert!(delay >= 20 * MS, "{delay:?}");
            let rest = watch.take();
            assert!(rest < delay, "{rest:?} is of after the first question");
        });
    }

    /// The reply comes while another task computes; when that is done the runtime looks, and finds it without sleeping.
    #[test]
    fn a_reply_that_lay_ready_while_another_task_computed_is_known_to_be_late() {
        let delays = Delays::default();
        // As on a system without the file: what is measured is the other task alone.
        delays.0.processor.file.set(None).expect("first use");
        runtime(&delays).block_on(async {
            let peer = std::net::UdpSocket::bind("127.0.0.1:0").expect("a loopback port");
            let socket = tokio::net::UdpSocket::bind("127.0.0.1:0")
                .await
                .expect("a loopback port");
            let to = socket.local_addr().expect("an address");
            let watched = delays.clone();
            let tasks = tokio_util::task::TaskTracker::new();
            let probe = tasks.spawn(async move {
                let watch = watched.watch();
                let mut buffer = [0; 8];
                let received = watch.over(socket.recv(&mut buffer)).await;
                received.expect("a reply");
                watch.take()
            });
            let other = tasks.spawn(async move {
                tokio::time::sleep(5 * MS).await;
                peer.send_to(b"reply", to).expect("sent");
                compute(20 * MS);
            });
            other.await.expect("it computes");
            let delay = probe.await.expect("it ends");
            assert!(delay >= 19 * MS, "{delay:?}");
        });
    }

    /// Each look of the runtime, as it calls us, with a sleep or without.
    #[test]
    fn only_a_sleep_ends_a_wait() {
        let delays = Delays::default();
        delays.0.processor.file.set(None).expect("first use");
        let watch = delays.watch();
        let late = || delays.at(clock::now());
        compute(5 * MS);
        assert!(late() >= 5 * MS, "since the watch began");
        delays
            .0
            .waited_ns
            .fetch_max(nanos(7 * MS), Ordering::Relaxed);
        delays.on_sleep();
        delays.on_wake();
        assert!(
            late() >= 12 * MS,
            "it has not slept, and what was kept stays"
        );
        delays.on_sleep();
        delays.on_wake();
        let again = late();
        assert!(
            again >= 7 * MS && again < 12 * MS,
            "the turn before took nothing: {again:?}"
        );
        delays.on_sleep();
        compute(MS);
        delays.on_wake();
        assert!(late() < 5 * MS, "it has slept");
        drop(watch);
    }

    #[test]
    fn the_numbers_of_the_kernel_are_read_as_they_stand() {
        for (text, want) in [
            ("1181043 3400421 17\n", Some(3_400_421)),
            ("0 0 0\n", Some(0)),
            ("12\n", None),
            ("a b c", None),
            ("", None),
        ] {
            assert_eq!(waited_ns(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn where_nobody_counts_echoes_of_the_same_time_stand_for_it() {
        let delays = Delays::default();
        // As on a system without the file.
        delays.0.processor.file.set(None).expect("first use");
        let before = clock::now();
        delays.on_echo(before, 9 * MS);
        compute(MS);
        let watch = delays.watch();
        let nothing = watch.take();
        assert_eq!(
            nothing,
            Duration::ZERO,
            "an echo before the probe says nothing"
        );
        delays.on_echo(clock::now(), 2 * MS);
        assert_eq!(watch.take(), 2 * MS);
        watch.note(3 * MS);
        assert_eq!(
            watch.take(),
            3 * MS,
            "what this program knows itself counts"
        );
        assert_eq!(watch.waited(), None);
    }

    /// Two threads share one processor: whichever waits is told so by the kernel.
    #[cfg(target_os = "linux")]
    #[test]
    fn waiting_for_the_processor_is_seen() {
        use nix::sched::{CpuSet, sched_setaffinity};
        use nix::unistd::Pid;

        let mut one = CpuSet::new();
        one.set(0).expect("there is a processor");
        sched_setaffinity(Pid::from_raw(0), &one).expect("the thread may be pinned");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Inherits the one processor.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let delays = Delays::default();
            let watch = delays.watch();
            compute(50 * MS);
            let (delay, waited) = (watch.take(), watch.waited());
            stop.store(true, Ordering::Relaxed);
            assert!(waited.expect("Linux counts") > MS, "{waited:?}");
            assert!(delay > MS, "{delay:?}");
        });
    }
}
