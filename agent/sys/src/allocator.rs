//! The C library's allocator, told to stay small (mallopt(3)).

/// What each setting becomes. The thresholds: what a report or a certificate takes for a moment goes back to the system.
#[cfg(target_env = "gnu")]
const SETTINGS: [(libc::c_int, libc::c_int); 3] = [
    (libc::M_ARENA_MAX, 1),
    (libc::M_MMAP_THRESHOLD, 64 * 1_024),
    (libc::M_TRIM_THRESHOLD, 64 * 1_024),
];

/// Keeps the heap to one arena, and gives back what was needed for a moment. Call it before the first thread starts.
///
/// By default glibc makes an arena for each thread that allocates while another does, and lets blocks of up to 32 MiB stay
/// in the heap once a block of such a size was freed. A program of one busy thread gains nothing by either. Without effect
/// on other C libraries.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "mallopt(3) is a foreign function")
)]
pub fn keep_small() {
    #[cfg(target_env = "gnu")]
    for (setting, value) in SETTINGS {
        // SAFETY: mallopt takes two numbers, locks the allocator itself, and refuses what it does not know with 0.
        let _refused_is_default = unsafe { libc::mallopt(setting, value) };
    }
}
