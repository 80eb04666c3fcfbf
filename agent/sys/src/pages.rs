//! Pages that only the start of a program needed (madvise(2), `MADV_DONTNEED`).

use std::io;
use std::ops::Range;

/// Gives back all pages of code and constants, the program's and those of its libraries; those that are needed again are
/// read again from the page cache, which costs a fault of a microsecond for each sixteen. Says how many bytes were asked to
/// go.
///
/// # Errors
/// When `/proc/self/smaps` cannot be read. A mapping that the kernel does not let go stays, which is no error.
#[expect(unsafe_code, reason = "madvise(2) takes an address")]
pub fn give_back_clean() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/smaps")?;
    let mut given_back = 0;
    for range in clean(&maps) {
        let at = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the range is a private mapping of a file that may not be written and has no page of its own: all its pages
        // are those of the file, so that what is let go reads the same when it is touched again. Nobody writes to it meanwhile:
        // the loader, the only one who could, makes what it relocates unwritable after it has done so, and then the mapping
        // has pages of its own.
        if unsafe { libc::madvise(at, range.len(), libc::MADV_DONTNEED) } == 0 {
            given_back += range.len();
        }
    }
    Ok(given_back)
}

/// The mappings in `maps` (proc(5), `/proc/PID/smaps`) that are private, of a file, not to be written, and as the file has
/// them: no page was changed (`Anonymous:`), in memory or swapped out (`Swap:`).
fn clean(maps: &str) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut candidate = None;
    for line in maps.lines() {
        if let Some(value) = line.strip_prefix("Anonymous:") {
            candidate = candidate.filter(|_| is_nothing(value));
        } else if let Some(value) = line.strip_prefix("Swap:") {
            ranges.extend(candidate.take().filter(|_| is_nothing(value)));
        } else if let Some((range, is_of_file)) = mapping(line) {
            candidate = is_of_file.then_some(range);
        }
    }
    ranges
}

fn is_nothing(value: &str) -> bool {
    value.split_ascii_whitespace().next() == Some("0")
}

/// The range of the mapping that a line begins, and whether it is a file's and cannot be written.
fn mapping(line: &str) -> Option<(Range<usize>, bool)> {
    let mut words = line.split_ascii_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    let (start, end) = range.split_once('-')?;
    let path = words.nth(3).unwrap_or_default();
    let number = |text| usize::from_str_radix(text, 16).ok();
    let is_of_file = matches!(permissions, "r-xp" | "r--p") && path.starts_with('/');
    Some((number(start)?..number(end)?, is_of_file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_as_the_file_has_it_is_given_back() {
        let untouched = "Rss: 4 kB\nAnonymous: 0 kB\nSwap: 0 kB\nSwapPss: 0 kB\nVmFlags: rd mr\n";
        let relocated = "Rss: 4 kB\nAnonymous: 4 kB\nSwap: 0 kB\n";
        let swapped = "Rss: 0 kB\nAnonymous: 0 kB\nSwap: 4 kB\n";
        let maps = [
            (
                "5500000000-5500001000 r--p 00000000 fe:00 1      /usr/bin/agent",
                untouched,
            ),
            (
                "5500001000-5500003000 r-xp 00001000 fe:00 1      /usr/bin/agent",
                untouched,
            ),
            (
                "5500003000-5500004000 r--p 00003000 fe:00 1      /usr/bin/agent",
                relocated,
            ),
            (
                "5500004000-5500005000 r--p 00004000 fe:00 1      /usr/bin/agent",
                swapped,
            ),
            (
                "5500005000-5500006000 rw-p 00005000 fe:00 1      /usr/bin/agent",
                untouched,
            ),
            (
                "5500006000-5500007000 rw-p 00000000 00:00 0      [heap]",
                relocated,
            ),
            ("7f00000000-7f00001000 r-xp 00000000 00:00 0", untouched),
            (
                "7f00001000-7f00002000 rwxp 00000000 fe:00 2      /usr/lib/patched.so",
                untouched,
            ),
            (
                "7f00002000-7f00003000 r-xp 00000000 00:00 0      [vdso]",
                untouched,
            ),
            (
                "7f00003000-7f00004000 r--s 00000000 fe:00 3      /var/cache/shared",
                untouched,
            ),
            ("damaged", "Anonymous:\nSwap:\n"),
        ]
        .map(|(header, rest)| format!("{header}\n{rest}"))
        .concat();
        let ranges: Vec<_> = clean(&maps)
            .into_iter()
            .map(|range| (range.start, range.end))
            .collect();
        assert_eq!(
            ranges,
            [
                (0x55_0000_0000, 0x55_0000_1000),
                (0x55_0000_1000, 0x55_0000_3000)
            ]
        );
    }

    #[test]
    fn a_program_goes_on_without_the_pages_it_gave_back() {
        let given_back = give_back_clean().expect("smaps");
        assert!(given_back > 4_096, "{given_back}");
        assert!(give_back_clean().expect("smaps") > 0);
    }
}
