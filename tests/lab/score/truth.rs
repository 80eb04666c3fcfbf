//! Which class of move the forwarding tables show between two looks. Pure.

use crate::control::Truth;

/// AS of Microsoft's network, which plays itself.
const MICROSOFT: u32 = 8_075;

/// AS and metro of a router.
pub(super) type Place = (u32, Option<String>);

/// One path in the terms of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// ASes up to Microsoft's, each once.
    pub(super) ases: Vec<u32>,
    /// First router of Microsoft.
    pub(super) ingress: Option<String>,
    /// Its metro.
    pub(super) metro: Option<String>,
    /// Metro of the front door; absent when nothing answers.
    pub(super) door: Option<String>,
}

impl Stand {
    /// Reads a truth; `place` says the AS and the metro of a router.
    pub(super) fn of(truth: &Truth, place: &dyn Fn(&str) -> Option<Place>) -> Self {
        let mut stand = Self {
            door: truth.metro.clone(),
            ..Self::default()
        };
        for router in &truth.routers {
            let Some((asn, metro)) = place(router) else {
                continue;
            };
            if asn == MICROSOFT {
                stand.ingress = Some(router.clone());
                stand.metro = metro;
                return stand;
            }
            if stand.ases.last() != Some(&asn) {
                stand.ases.push(asn);
            }
        }
        stand
    }

    /// The class of the move from here, top down; `None`: the path is the same at every level.
    pub(super) fn moved_to(&self, after: &Self) -> Option<&'static str> {
        match () {
            () if self == after => None,
            () if after.door.is_none() => Some("unreachable"),
            () if self.ases.first() != after.ases.first() => Some("uplink"),
            () if self.ases != after.ases => Some("provider"),
            () if self.metro != after.metro => Some("geo"),
            () if self.ingress != after.ingress => Some("local"),
            () => Some("front_door_moved"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand(ases: &[u32], ingress: &str, metro: &str, door: &str) -> Stand {
        let word = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Stand {
            ases: ases.to_vec(),
            ingress: word(ingress),
            metro: word(metro),
            door: word(door),
        }
    }

    #[test]
    fn the_first_level_that_differs_names_the_move() {
        let usual = stand(&[64_502, 64_496], "icr01-ams", "AMS", "AMS");
        for (class, after) in [
            (None, usual.clone()),
            (Some("unreachable"), stand(&[64_502], "", "", "")),
            (
                Some("uplink"),
                stand(&[64_503, 64_496], "icr01-ams", "AMS", "AMS"),
            ),
            (
                Some("provider"),
                stand(&[64_502, 64_497], "icr01-fra", "FRA", "FRA"),
            ),
            (
                Some("geo"),
                stand(&[64_502, 64_496], "icr01-fra", "FRA", "FRA"),
            ),
            (
                Some("local"),
                stand(&[64_502, 64_496], "icr02-ams", "AMS", "AMS"),
            ),
            (
                Some("front_door_moved"),
                stand(&[64_502, 64_496], "icr01-ams", "AMS", "FRA"),
            ),
        ] {
            assert_eq!(usual.moved_to(&after), class, "{after:?}");
        }
    }
}
