//! Wakes tasks at their moments, each by one wake-up of the thread.
//!
//! tokio keeps timers in a wheel whose slots are 64 ms wide and wider. What is due in a later slot wakes the thread at the start
//! of that slot, to be sorted in, and once more when it is due: a program that has ten things a second to do is woken thirty
//! times, and it is wake-ups that cost. Here one timer of the kernel (`timerfd_create(2)`) stands at the first of all moments; it is
//! set when the thread is about to sleep, and only if another moment has become the first. What is waited for all day waits
//! here; timeouts, which hardly ever come about, stay with tokio, and so does everything where there is no such timer.

use std::time::Instant;

/// Waits until `moment`. Cancel-safe.
pub(crate) async fn until(moment: Instant) {
    #[cfg(target_os = "linux")]
    if let Some(alarm) = Alarm::of_thread() {
        return alarm.until(moment).await;
    }
    tokio::time::sleep_until(moment.into()).await;
}

#[cfg(target_os = "linux")]
pub(crate) use kernel::Alarm;

#[cfg(target_os = "linux")]
mod kernel {
    use std::cell::RefCell;
    use std::collections::BTreeMap;
    use std::future::Future;
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::pin::Pin;
    use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
    use std::task::{Context, Poll, Waker};
    use std::time::{Duration, Instant};

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    use crate::clock;

    thread_local! {
        static OF_THREAD: RefCell<Option<Alarm>> = const { RefCell::new(None) };
    }

    /// A timer set to nothing is off.
    const AT_ONCE: Duration = Duration::from_nanos(1);

    /// All that one thread waits for. Cheap to clone; all clones are one.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Alarm(Arc<Shared>);

    #[derive(Debug, Default)]
    struct Shared {
        timer: OnceLock<AsyncFd<Timer>>,
        waiting: Mutex<Waiting>,
    }

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
    }

    impl Alarm {
        /// Opens the timer in the runtime that this is called in, for everything on this thread. The runtime has to call
        /// [`Self::on_sleep`] and [`Self::on_wake`].
        ///
        /// # Errors
        /// As the operating system says; then tokio's timers are used.
        pub(crate) fn open(&self) -> io::Result<()> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let timer = watch(Timer(timer))?;
            if self.0.timer.set(timer).is_ok() {
                OF_THREAD.set(Some(self.clone()));
            }
            Ok(())
        }

        /// Nobody on this thread uses it any more.
        pub(crate) fn close() {
            OF_THREAD.set(None);
        }

        pub(super) fn of_thread() -> Option<Self> {
            OF_THREAD.with_borrow(Clone::clone)
        }

        /// The thread is about to sleep, unless somebody is due. For `on_thread_park`.
        pub(crate) fn on_sleep(&self) {
            let Some(timer) = self.0.timer.get() else {
                return;
            };
            let now = clock::now();
            self.wake_due(now);
            let mut waiting = self.waiting();
            let first = waiting.wakers.keys().next().map(|(moment, _)| *moment);
            let Some(first) = first.filter(|first| waiting.set_to != Some(*first)) else {
                return;
            };
            let left = first.saturating_duration_since(now).max(AT_ONCE);
            let at = Expiration::OneShot(TimeSpec::from_duration(left));
            match timer.get_ref().0.set(at, TimerSetTimeFlags::empty()) {
                Ok(()) => waiting.set_to = Some(first),
                Err(error) => tracing::warn!(%error, "the timer cannot be set, probes come late"),
            }
        }

        /// The thread wakes. For `on_thread_unpark`.
        pub(crate) fn on_wake(&self) {
            if self.0.timer.get().is_some() {
                self.wake_due(clock::now());
            }
        }

        fn wake_due(&self, now: Instant) {
            let mut waiting = self.waiting();
            if waiting.set_to.is_some_and(|set_to| set_to <= now) {
                waiting.set_to = None;
            }
            let mut due = Vec::new();
            while let Some(first) = waiting.wakers.first_entry()
                && first.key().0 <= now
            {
                due.push(first.remove());
            }
            drop(waiting);
            due.into_iter().for_each(Waker::wake);
        }

        pub(super) async fn until(&self, moment: Instant) {
            let ring = Ring {
                alarm: self,
                moment,
                number: None,
            };
            ring.await;
        }

        fn waiting(&self) -> MutexGuard<'_, Waiting> {
            let waiting = self.0.waiting.lock();
            waiting.unwrap_or_else(PoisonError::into_inner)
        }
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
        alarm: &'a Alarm,
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
            let mut waiting = self.alarm.waiting();
            let number = self.number.unwrap_or_else(|| {
                waiting.next += 1;
                waiting.next
            });
            let key = (self.moment, number);
            waiting.wakers.insert(key, context.waker().clone());
            drop(waiting);
            self.number = Some(number);
            Poll::Pending
        }
    }

    impl Drop for Ring<'_> {
        fn drop(&mut self) {
            if let Some(number) = self.number {
                let mut waiting = self.alarm.waiting();
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
            let (alarm, wakes) = (Alarm::default(), Arc::<AtomicU32>::default());
            let (sleeping, waking, count) = (alarm.clone(), alarm.clone(), Arc::clone(&wakes));
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .on_thread_park(move || sleeping.on_sleep())
                .on_thread_unpark(move || {
                    count.fetch_add(1, Ordering::Relaxed);
                    waking.on_wake();
                })
                .build()
                .expect("a runtime");
            let output = runtime.block_on(async {
                alarm.open().expect("a timer");
                work.await
            });
            Alarm::close();
            (output, wakes.load(Ordering::Relaxed))
        }

        #[test]
        fn each_is_woken_at_its_moment_and_none_before() {
            let ((), _) = run(async {
                let start = clock::now();
                let order = Mutex::new(Vec::new());
                let wait = async |ms: u32| {
                    let moment = start + MS * ms;
                    crate::alarm::until(moment).await;
                    assert!(clock::now() >= moment, "{ms}");
                    order.lock().expect("no panic").push(ms);
                };
                tokio::join!(wait(70), wait(0), wait(20), wait(130), wait(20));
                let order = order.into_inner().expect("no panic");
                assert_eq!(order, [0, 20, 20, 70, 130]);
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
                let alarm = Alarm::of_thread().expect("opened");
                alarm.waiting().wakers.len()
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
