//! What names of Microsoft's backbone routers say: `[<interface>.]<role><number>.<metro><site>.ntwk.msn.net`.

/// A router as its name describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Router {
    /// The router without its interface, lower case.
    pub key: String,
    /// Metro and site as written, such as `ams21`.
    pub place: String,
    /// Letters of the place, such as `ams`.
    pub code: String,
    /// Whether its role makes it a router behind the ingress.
    pub backbone: bool,
}

/// Reads a name; `None`: not one of Microsoft's backbone.
pub(super) fn router(name: &str) -> Option<Router> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let labels: Vec<&str> = name.strip_suffix(".ntwk.msn.net")?.split('.').collect();
    let (place, key) = match labels.as_slice() {
        // The legacy form has the place first: ams-96cbe-1a.
        [.., last] if last.contains('-') => (last.split('-').next()?, (*last).to_owned()),
        [.., role, last] => (*last, format!("{role}.{last}")),
        [last] => (*last, (*last).to_owned()),
        [] => return None,
    };
    let code = letters(place).to_owned();
    let role = key.split('.').next().map_or("", letters);
    let backbone = matches!(role, "ibr" | "rwa");
    (!code.is_empty()).then(|| Router {
        place: place.to_owned(),
        code,
        backbone,
        key,
    })
}

/// The letters that a place or code begins with.
pub(super) fn letters(text: &str) -> &str {
    let end = text
        .find(|letter: char| !letter.is_ascii_alphabetic())
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_of_one_router_share_a_key_and_other_names_say_nothing() {
        for (name, want) in [
            (
                "ae67-0.ier02.bog30.ntwk.msn.net",
                Some(("ier02.bog30", "bog", false)),
            ),
            (
                "be-1.ier02.BOG30.ntwk.msn.net.",
                Some(("ier02.bog30", "bog", false)),
            ),
            (
                "icr01.ams21.ntwk.msn.net",
                Some(("icr01.ams21", "ams", false)),
            ),
            (
                "be-9-0.ibr01.ch4.ntwk.msn.net",
                Some(("ibr01.ch4", "ch", true)),
            ),
            (
                "xe-0-0-1-0.co2-96c-1b.ntwk.msn.net",
                Some(("co2-96c-1b", "co", false)),
            ),
            ("edge.example.net", None),
            ("msn.net", None),
        ] {
            let read = router(name);
            let got = read
                .as_ref()
                .map(|router| (router.key.as_str(), router.code.as_str(), router.backbone));
            assert_eq!(got, want, "{name}");
        }
    }
}
