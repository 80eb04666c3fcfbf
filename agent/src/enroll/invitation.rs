//! What an administrator hands to an agent: a join string, and after it, where this site reaches the collector by another
//! address than the join string says, that address.

use firstmile_wire::join::{JoinString, JoinStringError};
use url::Url;

/// A join string that leads where this site reaches the collector. Its CA is checked whatever the address.
#[derive(Debug)]
pub(crate) struct Invitation {
    pub(crate) join: JoinString,
}

/// The text of a file that somebody wrote: UTF-8, or UTF-16 as PowerShell's `>` has it, with or without a mark at the start.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let text = match bytes.strip_prefix(&[0xff, 0xfe]) {
        Some(units) => {
            let (pairs, _) = units.as_chunks::<2>();
            let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
            String::from_utf16_lossy(&units)
        }
        None => String::from_utf8_lossy(bytes).into_owned(),
    };
    text.trim_start_matches('\u{feff}').to_owned()
}

/// Why a text is no invitation.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvitationError {
    #[error("this is no join string")]
    Join(#[source] JoinStringError),
    #[error(
        "{got:?} is no address of a collector; write it as https://collector.example:8443, or leave it out"
    )]
    Collector { got: String },
}

impl Invitation {
    /// Reads the words of a file or command line. `collector` comes before the address in `text`.
    ///
    /// # Errors
    /// See [`InvitationError`]; none of them shows the secret.
    pub(crate) fn read(text: &str, collector: Option<&str>) -> Result<Self, InvitationError> {
        let mut words = text.split_whitespace();
        let mut join: JoinString = words
            .next()
            .unwrap_or_default()
            .parse()
            .map_err(InvitationError::Join)?;
        if let Some(address) = collector.or_else(|| words.next()) {
            join.collector = address_of(address)?;
        }
        Ok(Self { join })
    }
}

fn address_of(text: &str) -> Result<Url, InvitationError> {
    let refused = || InvitationError::Collector {
        got: text.chars().take(256).collect(),
    };
    let url = Url::parse(text).map_err(|_| refused())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let named = url.username().is_empty() && url.password().is_none() && url.host_str().is_some();
    if url.scheme() == "https" && bare && named {
        Ok(url)
    } else {
        Err(refused())
    }
}

#[cfg(test)]
mod tests {
    use firstmile_wire::join::{CaHash, JoinSecret};

    use super::*;

    fn join() -> JoinString {
        JoinString {
            collector: Url::parse("https://collector.example:8443/").expect("a URL"),
            ca: CaHash([1; 32]),
            secret: JoinSecret::new([7; 24]),
        }
    }

    #[test]
    fn an_address_beside_the_join_string_is_where_the_agent_goes() {
        let join = join();
        for (text, option, want) in [
            (join.to_string(), None, "https://collector.example:8443/"),
            (
                format!("  {join}\r\n"),
                None,
                "https://collector.example:8443/",
            ),
            (
                format!("{join} https://branch.example"),
                None,
                "https://branch.example/",
            ),
            (
                format!("{join}\nhttps://192.0.2.7:443\n"),
                None,
                "https://192.0.2.7/",
            ),
            (
                format!("{join} https://branch.example"),
                Some("https://[2001:db8::1]:8443"),
                "https://[2001:db8::1]:8443/",
            ),
        ] {
            let read = Invitation::read(&text, option).expect("an invitation").join;
            assert_eq!(read.collector.as_str(), want);
            assert_eq!((read.ca, &read.secret), (join.ca, &join.secret));
        }
    }

    #[test]
    fn a_file_is_read_however_its_editor_writes() {
        let join = join().to_string();
        let wide: Vec<u8> = join.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for bytes in [
            join.clone().into_bytes(),
            [b"\xef\xbb\xbf", join.as_bytes()].concat(),
            [b"\xff\xfe", wide.as_slice()].concat(),
        ] {
            let read = Invitation::read(&text_of(&bytes), None).expect("an invitation");
            assert_eq!(read.join.to_string(), join);
        }
    }

    #[test]
    fn what_is_no_invitation_is_refused_without_its_secret() {
        let join = join().to_string();
        let secret = JoinSecret::new([7; 24]).to_text();
        for text in [
            String::new(),
            "fm2.a.b.c".to_owned(),
            join.replace('.', ":"),
            format!("{join} http://branch.example"),
            format!("{join} branch.example:8443"),
            format!("{join} https://branch.example/path"),
            format!("{join} https://user:word@branch.example"),
        ] {
            let error = Invitation::read(&text, None).expect_err("no invitation");
            let shown = format!("{:#}", anyhow::Error::from(error));
            assert!(!shown.contains(&secret), "{shown}");
        }
    }
}
