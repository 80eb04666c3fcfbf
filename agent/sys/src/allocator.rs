//! The C library's allocator, told to stay small (mallopt(3)).

/// What each setting becomes. The thresholds: what a report or a certificate takes for a moment goes back to the system.
#[cfg(target_env = "gnu")]
const SETTINGS: [(libc::c_int, libc::c_int); 3] = [
    (libc::M_ARENA_MAX, 1),
    (libc::M_MMAP_THRESHOLD, 64 * 1_024),
    (libc::M_TRIM_THRESHOLD, 64 * 1_024),
];

/// Gives pages of the heap back that nothing is left in (`malloc_trim(3)`), wherever they are in it. It walks the heap: for each
/// megabyte some tens of microseconds, in which no other thread gets memory. Without effect on other C libraries.
#[cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "malloc_trim(3) is a foreign function")
)]
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, locks the allocator itself, and touches no block that is in use.
    let _whether_any = unsafe { libc::malloc_trim(0) };
}

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
