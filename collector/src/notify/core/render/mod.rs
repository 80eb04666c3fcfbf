//! A notice in the words of each channel.

pub mod alertmanager;
pub mod mail;
pub mod slack;
pub mod syslog;
pub mod teams;
pub mod webhook;

/// At most `most` characters of a text, with a sign that it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars()
        .take(most.saturating_sub(1))
        .chain(['…'])
        .collect()
}
