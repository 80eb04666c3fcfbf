//! Pages of code that only the start of a program needed (madvise(2), `MADV_DONTNEED`).

use std::io;
use std::ops::Range;

/// Gives back all pages of code; those that are needed again are read again from the page cache, which costs a fault of a
/// microsecond for each sixteen. Says how many bytes were asked to go.
///
/// # Errors
/// When `/proc/self/maps` cannot be read. A mapping that the kernel does not let go stays, which is no error.
#[expect(unsafe_code, reason = "madvise(2) takes an address")]
pub fn give_back_code() -> io::Result<usize> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let mut given_back = 0;
    for range in code(&maps) {
        let at = std::ptr::without_provenance_mut(range.start);
        // SAFETY: the range is a private mapping of a file that may be executed and not written: its pages are those of the
        // file, so that what is let go reads the same when it is touched again. No reference of ours points into it.
        if unsafe { libc::madvise(at, range.len(), libc::MADV_DONTNEED) } == 0 {
            given_back += range.len();
        }
    }
    Ok(given_back)
}

/// The mappings of code in `maps` (proc(5)): private, of a file, executable, never written. What the loader has relocated is
/// none of them.
fn code(maps: &str) -> impl Iterator<Item = Range<usize>> {
    maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, permissions) = (words.next()?, words.next()?);
        let path = words.nth(3)?;
        if permissions != "r-xp" || !path.starts_with('/') {
            return None;
        }
        let (start, end) = range.split_once('-')?;
        let number = |text| usize::from_str_radix(text, 16).ok();
        Some(number(start)?..number(end)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_that_is_read_from_a_file_is_given_back() {
        let maps = "\
5500000000-5500001000 r--p 00000000 fe:00 1      /usr/bin/agent
5500001000-5500003000 r-xp 00001000 fe:00 1      /usr/bin/agent
5500003000-5500004000 rw-p 00003000 fe:00 1      /usr/bin/agent
5500004000-5500005000 rw-p 00000000 00:00 0      [heap]
7f00000000-7f00001000 r-xp 00000000 00:00 0
7f00001000-7f00002000 rwxp 00000000 fe:00 2      /usr/lib/patched.so
7f00002000-7f00003000 r-xp 00000000 00:00 0      [vdso]
damaged
";
        let ranges: Vec<_> = code(maps).map(|range| (range.start, range.end)).collect();
        assert_eq!(ranges, [(0x55_0000_1000, 0x55_0000_3000)]);
    }

    #[test]
    fn a_program_goes_on_without_the_pages_it_gave_back() {
        let given_back = give_back_code().expect("maps");
        assert!(given_back > 4_096, "{given_back}");
        assert!(give_back_code().expect("maps") > 0);
    }
}
