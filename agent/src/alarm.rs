//! Wakes tasks at their moments, each by one wake-up of the thread.
//!
//! tokio keeps timers in a wheel whose slots are 64 ms wide and wider. What is due in a later slot wakes the thread at the start
//! of that slot, to be sorted in, and once more when it is due: a program that has ten things a second to do is woken thirty
//! times, and it is wake-ups that cost. Here one timer of the kernel (`timerfd_create(2)`) stands at the first of all moments; it is
//! set once all who were woken have said what they wait for next, and only if another moment has become the first. What is
//! waited for all day waits here; timeouts, which hardly ever come about, stay with tokio, and so does everything where there is
//! no such timer.

use std::time::Instant;

/// Waits until `moment`. Cancel-safe.
pub(crate) async fn until(moment: Instant) {
    #[cfg(target_os = "linux")]
    if let Some(shared) = kernel::of_thread() {
        return kernel::until(&shared, moment).await;
    }
    tokio::time::sleep_until(moment.into()).await;
}

#[cfg(target_os = "linux")]
pub(crate) use kernel::Alarm;

#[cfg(target_os = "linux")]
mod kernel {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::convert::Infallible;
    use std::future::{Future, poll_fn};
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::pin::Pin;
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::clock;

    thread_local! {
        static OF_THREAD: RefCell<Option<Arc<Shared>>> = const { RefCell::new(None) };
    }

    /// A timer set to nothing is off.
    const AT_ONCE: Duration = Duration::from_nanos(1);

    /// The alarm of the thread that opened it, until it is dropped.
    #[derive(Debug)]
    pub(crate) struct Alarm {
        timer: AsyncFd<Timer>,
        shared: Arc<Shared>,
    }

    /// All that one thread waits for.
    #[derive(Debug, Default)]
    pub(super) struct Shared(Mutex<Waiting>);

    /// The kernel's timer, as the reactor wants it.
    #[derive(Debug)]
    struct Timer(TimerFd);

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    /// As many as there are tasks that wait.
    #[derive(Debug, Default)]
    struct Waiting {
        /// By their moments, and in the order in which they came.
        wakers: BTreeMap<(Instant, u64), Waker>,
        next: u64,
        /// The moment that the timer stands at.
        set_to: Option<Instant>,
        /// Who sets the timer; none while it has been called.
        driver: Option<Waker>,
    }

    impl Alarm {
        /// Opens the timer in the runtime that this is called in, for everything on this thread. [`Self::drive`] has to be polled
        /// beside what waits.
        ///
        /// # Errors
        /// As the operating system says; then tokio's timers are used.
        pub(crate) fn open() -> io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let timer = watch(Timer(timer))?;
            let shared = Arc::<Shared>::default();
            OF_THREAD.set(Some(Arc::clone(&shared)));
            Ok(Self { timer, shared })
        }

        /// Wakes who is due, each at its moment, for ever.
        pub(crate) async fn drive(&self) -> Infallible {
            poll_fn(|context| self.turn(context)).await
        }

        fn turn(&self, context: &mut Context<'_>) -> Poll<Infallible> {
            // Until it is pending: only then the reactor tells of the timer again.
            while let Poll::Ready(Ok(mut ready)) = self.timer.poll_read_ready(context) {
                ready.clear_ready();
            }
            let now = clock::now();
            let mut waiting = self.shared.waiting();
            waiting.driver = Some(context.waker().clone());
            let due = waiting.take_due(now);
            let first = waiting.wakers.keys().next().map(|(moment, _)| *moment);
            if let Some(first) = first.filter(|first| waiting.set_to != Some(*first)) {
                let left = first.saturating_duration_since(now).max(AT_ONCE);
                let at = Expiration::OneShot(TimeSpec::from_duration(left));
                match self.timer.get_ref().0.set(at, TimerSetTimeFlags::empty()) {
                    Ok(()) => waiting.set_to = Some(first),
                    Err(error) => {
                        tracing::warn!(%error, "the timer cannot be set, probes come late");
                    }
                }
            }
            drop(waiting);
            due.into_iter().for_each(Waker::wake);
            Poll::Pending
        }
    }

    impl Drop for Alarm {
        fn drop(&mut self) {
            OF_THREAD.set(None);
        }
    }

    impl Shared {
        fn waiting(&self) -> MutexGuard<'_, Waiting> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    impl Waiting {
        fn take_due(&mut self, now: Instant) -> Vec<Waker> {
            if self.set_to.is_some_and(|set_to| set_to <= now) {
                self.set_to = None;
            }
            let mut due = Vec::new();
            while let Some(first) = self.wakers.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            due
        }

        /// Books one who waits. Gives who has to set the timer, if that is later.
        fn book(&mut self, key: (Instant, u64), waker: Waker) -> Option<Waker> {
            self.wakers.insert(key, waker);
            let is_first = self.set_to.is_none_or(|set_to| key.0 < set_to);
            is_first.then(|| self.driver.take()).flatten()
        }
    }

    pub(super) fn of_thread() -> Option<Arc<Shared>> {
        OF_THREAD.with_borrow(Clone::clone)
    }

    pub(super) async fn until(shared: &Shared, moment: Instant) {
        let ring = Ring {
            shared,
            moment,
            number: None,
        };
        ring.await;
    }

    #[expect(
        deprecated,
        reason = "what comes after it is unsafe; the descriptor is the timer's own and stays open as long"
    )]
    fn watch(timer: Timer) -> io::Result<AsyncFd<Timer>> {
        AsyncFd::with_interest(timer, Interest::READABLE)
    }

    /// One who waits.
    struct Ring<'a> {
        shared: &'a Shared,
        moment: Instant,
        /// Its place among those of one moment, once it waits.
        number: Option<u64>,
    }

    impl Future for Ring<'_> {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            if clock::now() >= self.moment {
                return Poll::Ready(());
            }
            let mut waiting = self.shared.waiting();
            let number = self.number.unwrap_or_else(|| {
                waiting.next += 1;
                waiting.next
            });
            let driver = waiting.book((self.moment, number), context.waker().clone());
            drop(waiting);
            self.number = Some(number);
            driver.into_iter().for_each(Waker::wake);
            Poll::Pending
        }
    }

    impl Drop for Ring<'_> {
        fn drop(&mut self) {
            if let Some(number) = self.number {
                let mut waiting = self.shared.waiting();
                waiting.wakers.remove(&(self.moment, number));
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use std::sync::atomic::{AtomicU32, Ordering};

        use super::*;

        const MS: Duration = Duration::from_millis(1);

        /// Runs `work` in a runtime that has an alarm, and says how often its thread woke.
        fn run<F: Future>(work: F) -> (F::Output, u32) {
            let wakes = Arc::<AtomicU32>::default();
            let count = Arc::clone(&wakes);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_unpark(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                })
                .build()
                .expect("a runtime");
            let output = runtime.block_on(async {
                let alarm = Alarm::open().expect("a timer");
                tokio::select! {
                    never = alarm.drive() => match never {},
                    output = work => output,
                }
            });
            (output, wakes.load(Ordering::Relaxed))
        }

        #[test]
        fn each_is_woken_and_none_before_its_moment() {
            let ((), _) = run(async {
                let start = clock::now();
                let wait = async |ms: u32| {
                    let moment = start + MS * ms;
                    crate::alarm::until(moment).await;
                    assert!(clock::now() >= moment, "{ms}");
                };
                tokio::join!(wait(70), wait(0), wait(20), wait(130), wait(20));
            });
        }

        #[test]
        fn a_thread_that_never_sleeps_wakes_all_the_same() {
            let ((), _) = run(async {
                let stop = AtomicU32::new(0);
                let busy = async {
                    let patience = clock::now() + Duration::from_mins(1);
                    while stop.load(Ordering::Relaxed) == 0 {
                        assert!(clock::now() < patience, "nobody was woken");
                        tokio::task::yield_now().await;
                    }
                };
                let late = async {
                    // The second of them becomes the first while the timer stands at a later one.
                    let far = clock::now() + Duration::from_hours(1);
                    tokio::select! {
                        () = crate::alarm::until(far) => unreachable!("an hour"),
                        () = crate::alarm::until(clock::now() + 20 * MS) => {}
                    }
                    stop.store(1, Ordering::Relaxed);
                };
                tokio::join!(busy, late);
            });
        }

        #[test]
        fn who_stops_waiting_is_forgotten_and_keeps_nobody() {
            let (left, _) = run(async {
                let far = clock::now() + Duration::from_hours(1);
                let near = clock::now() + 5 * MS;
                for _ in 0..100 {
                    tokio::select! {
                        biased;
                        () = crate::alarm::until(far) => unreachable!("an hour"),
                        () = tokio::task::yield_now() => {}
                    }
                }
                tokio::select! {
                    () = crate::alarm::until(far) => unreachable!("an hour"),
                    () = crate::alarm::until(near) => {}
                }
                let shared = of_thread().expect("opened");
                shared.waiting().wakers.len()
            });
            assert_eq!(left, 0);
        }

        #[test]
        fn a_task_that_works_past_a_moment_does_not_lose_it() {
            run(async {
                let moment = clock::now() + 5 * MS;
                let busy = async {
                    while clock::now() < moment + 10 * MS {
                        tokio::task::yield_now().await;
                    }
                };
                tokio::join!(crate::alarm::until(moment), busy);
                // And one that is over already.
                crate::alarm::until(moment).await;
            });
        }

        #[test]
        fn a_moment_far_off_costs_one_wake_up() {
            // Each of them lies in a later slot of the runtime's wheel than the one before.
            let moments = [70, 130, 200_u32];
            let ((), wakes) = run(async {
                for ms in moments {
                    crate::alarm::until(clock::now() + MS * ms).await;
                }
            });
            assert!(wakes <= 3, "{wakes}: no sorting in between");
        }
    }
}
