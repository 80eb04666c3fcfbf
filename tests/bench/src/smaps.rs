//! What the resident memory of a process is made of, from `/proc/PID/smaps` (proc(5)).

use std::collections::BTreeMap;

/// A part of a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// The program's own instructions.
    Code,
    /// The program's constants, and what the loader reads of it.
    Constants,
    /// The program's variables, and tables of addresses that the loader fills in.
    Data,
    /// Shared libraries, all of each.
    Libraries,
    Heap,
    /// Stacks, and what allocators of other threads have.
    Anonymous,
    Rest,
}

impl Part {
    /// For people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Code => "program: code",
            Self::Constants => "program: constants",
            Self::Data => "program: data, relocated",
            Self::Libraries => "shared libraries",
            Self::Heap => "heap",
            Self::Anonymous => "stacks and other anonymous",
            Self::Rest => "rest",
        }
    }
}

/// Resident KiB by part; `program` is the path of the executable.
pub(crate) fn parts(smaps: &str, program: &str) -> BTreeMap<Part, u64> {
    let mut parts = BTreeMap::new();
    let mut part = Part::Rest;
    for line in smaps.lines() {
        if let Some(kib) = line.strip_prefix("Rss:") {
            let kib: u64 = kib.trim().trim_end_matches(" kB").parse().unwrap_or(0);
            *parts.entry(part).or_default() += kib;
        } else if let Some(next) = mapping(line, program) {
            part = next;
        }
    }
    parts
}

/// `5581c0a00000-5581c0a40000 r-xp 00040000 fe:00 1234   /usr/bin/program`
fn mapping(line: &str, program: &str) -> Option<Part> {
    let mut words = line.split_whitespace();
    let (range, permissions) = (words.next()?, words.next()?);
    if !range.contains('-') || permissions.len() != 4 {
        return None;
    }
    let name = words.nth(3).unwrap_or_default();
    Some(match name {
        "" | "[stack]" => Part::Anonymous,
        "[heap]" => Part::Heap,
        name if name == program && permissions.contains('x') => Part::Code,
        name if name == program && permissions.starts_with("rw") => Part::Data,
        name if name == program => Part::Constants,
        name if name.starts_with('/') => Part::Libraries,
        _ => Part::Rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_counts_as_one_part() {
        let line = |permissions: &str, name: &str, kib: u32| {
            format!(
                "5581c0a00000-5581c0a40000 {permissions} 00000000 fe:00 1234    {name}\nSize: 9999 kB\nRss:  {kib} kB\nPss: 1 kB\nVmFlags: rd mr\n"
            )
        };
        let smaps = [
            line("r--p", "/usr/bin/agent", 1),
            line("r-xp", "/usr/bin/agent", 2),
            line("rw-p", "/usr/bin/agent", 4),
            line("rw-p", "[heap]", 8),
            line("rw-p", "", 16),
            line("rw-p", "[stack]", 32),
            line("r-xp", "/usr/lib/libc.so.6", 64),
            line("r-xp", "[vdso]", 128),
        ]
        .concat();
        let seen: Vec<_> = parts(&smaps, "/usr/bin/agent").into_iter().collect();
        assert_eq!(
            seen,
            [
                (Part::Code, 2),
                (Part::Constants, 1),
                (Part::Data, 4),
                (Part::Libraries, 64),
                (Part::Heap, 8),
                (Part::Anonymous, 48),
                (Part::Rest, 128),
            ]
        );
    }
}
