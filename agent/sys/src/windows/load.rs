//! How busy the processors are (`GetSystemTimes`): three numbers, where the performance counters of Windows load a library.

use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::System::Threading::GetSystemTimes;

/// Times of all processors together since boot, in 100 ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Times {
    idle: u64,
    /// Idle time included.
    kernel: u64,
    user: u64,
}

/// Looks at the processors from time to time.
#[derive(Debug, Default)]
pub struct Processors {
    last: Option<Times>,
}

impl Processors {
    /// The busy part of all processor time since the last call, in thousandths; 0 at the first one.
    pub fn busy_permille(&mut self) -> u32 {
        let Some(now) = read() else { return 0 };
        let last = self.last.replace(now);
        last.map_or(0, |last| busy_permille(last, now))
    }
}

fn busy_permille(last: Times, now: Times) -> u32 {
    let all = (now.kernel + now.user).saturating_sub(last.kernel + last.user);
    let idle = now.idle.saturating_sub(last.idle).min(all);
    let permille = ((all - idle) * 1000).checked_div(all).unwrap_or(0);
    u32::try_from(permille).unwrap_or(1000)
}

#[expect(unsafe_code, reason = "GetSystemTimes writes through pointers")]
fn read() -> Option<Times> {
    let [mut idle, mut kernel, mut user] = [FILETIME::default(); 3];
    // SAFETY: all three live through the call.
    let told = unsafe { GetSystemTimes(&raw mut idle, &raw mut kernel, &raw mut user) } != 0;
    let number =
        |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    told.then(|| Times {
        idle: number(idle),
        kernel: number(kernel),
        user: number(user),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busy_part_is_what_was_not_idle() {
        let times = |idle, kernel, user| Times { idle, kernel, user };
        for (last, now, want) in [
            (times(0, 0, 0), times(75, 80, 20), 250),
            (times(10, 10, 0), times(10, 20, 10), 1000),
            (times(5, 5, 5), times(5, 5, 5), 0),
            (times(9, 9, 9), times(1, 1, 1), 0),
        ] {
            assert_eq!(busy_permille(last, now), want);
        }
    }

    #[test]
    fn this_machine_tells() {
        assert!(read().is_some());
        let mut processors = Processors::default();
        assert_eq!(processors.busy_permille(), 0);
        assert!(processors.busy_permille() <= 1000);
    }
}
