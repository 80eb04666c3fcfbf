//! The address book of one path: who answered where, with decayed counts. It is the baseline.
//!
//! Values of a layer (ASes, metros, routers) are read off the addresses by the tables of the moment. So a replaced table changes what
//! the baseline means and never that it is known: an address that was there before is no news whatever it is called today.

use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::hop::{Hop, Meaning, Seen};
use crate::view::View;

/// Addresses kept: a path of nine hops with four members each has 36. More would break the 4 kB of a path.
const ENTRIES_MAX: usize = 36;
/// Share of its role's support below which an address is novel.
const NOVEL_SHARE: f32 = 0.01;
/// Share of the handoffs by which an AS is one that hands over.
const HANDOFF_SHARE: f32 = 0.05;
/// Share of the rounds from the first hop on by which an AS is one that carries the path.
const CARRIER_SHARE: f32 = 0.8;
/// Counts below which an address is novel whatever its share.
const NOVEL_COUNT: f32 = 2.0;
/// Half-life of supports, seconds of observation.
const HALF_LIFE_S: f64 = 6.0 * 3600.0;
/// A count that what a refresh found fades to within two days: then it is novel again.
const FORGOTTEN: f32 = 0.01;
/// A gap between rounds longer than this does not let supports fade further, seconds.
const FADE_MAX_S: f64 = 300.0;

/// Where on the path an address answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// First public hop.
    First,
    /// A provider's hop.
    Transit,
    /// Last mapped hop before Microsoft.
    Handoff,
    /// First hop in Microsoft's network.
    Ingress,
    /// Behind the ingress.
    Inside,
}

const ROLES: usize = 5;

impl Role {
    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

/// One address of the baseline.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Entry {
    #[serde(rename = "a")]
    address: IpAddr,
    #[serde(rename = "r")]
    roles: u8,
    /// Found by a refresh, whose extra flows see what the pinned ones do not: known without a count.
    #[serde(rename = "f", default, skip_serializing_if = "std::ops::Not::not")]
    refreshed: bool,
    #[serde(rename = "n")]
    count: f32,
    /// Key of its router when it was last read, so that keys kept elsewhere can follow a replaced table.
    #[serde(rename = "k", default)]
    router: u32,
    /// Origin AS; 0: not known.
    #[serde(skip)]
    asn: u32,
    #[serde(skip)]
    metro: Option<NonZeroU32>,
    #[serde(skip)]
    microsoft: bool,
    #[serde(skip)]
    resolved: bool,
}

impl Entry {
    fn read(&mut self, hop: &Hop) {
        self.router = hop.router;
        self.asn = hop.asn.unwrap_or_default();
        self.metro = hop.metro;
        self.microsoft = hop.microsoft;
        self.resolved = hop.resolved;
    }

    const fn is(&self, role: Role) -> bool {
        self.roles & role.bit() != 0
    }
}

/// The baseline of one path.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Entry>", into = "Vec<Entry>")]
pub struct Book {
    entries: Vec<Entry>,
    support: [f32; ROLES],
}

impl From<Vec<Entry>> for Book {
    fn from(entries: Vec<Entry>) -> Self {
        let mut book = Self {
            entries,
            support: [0.0; ROLES],
        };
        book.sum();
        book
    }
}

impl From<Book> for Vec<Entry> {
    fn from(book: Book) -> Self {
        book.entries
    }
}

/// Handoffs behind the first hop are the usual ones if they are seen this often, beside the one seen most.
const BEHIND_SHARE: f32 = 0.3;

impl Book {
    /// Reads the tables again: after they were replaced, and after the book came back from the store. Says which keys of
    /// routers changed, from what to what.
    pub fn reread(&mut self, meaning: &impl Meaning) -> Vec<(u32, u32)> {
        let mut changed = Vec::new();
        for entry in &mut self.entries {
            let hop = meaning.hop(entry.address);
            if entry.router != hop.router {
                changed.push((entry.router, hop.router));
            }
            entry.read(&hop);
        }
        changed
    }

    /// All addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.entries.iter().map(|entry| entry.address)
    }

    /// Lets supports fade by `elapsed` seconds of observation.
    pub fn fade(&mut self, elapsed: f64) {
        let factor = (-elapsed.clamp(0.0, FADE_MAX_S) / HALF_LIFE_S).exp2();
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a factor between 0 and 1 loses only digits"
        )]
        let factor = factor as f32;
        for entry in &mut self.entries {
            entry.count *= factor;
            entry.refreshed &= entry.count >= FORGOTTEN;
        }
        self.sum();
    }

    /// Takes a flow of a usual round in. `weight` above 1 lets newcomers pass at once what a single count would not.
    pub fn admit(&mut self, view: &View, weight: f32, refresh: bool) {
        let handoff = view.handoff.map(|seen| seen.address);
        let mut take = |seen: &Seen, role| self.count(seen, role, weight, refresh);
        if let Some((_, seen)) = &view.first {
            take(seen, Role::First);
        }
        for seen in &view.transit {
            let role = if handoff == Some(seen.address) {
                Role::Handoff
            } else {
                Role::Transit
            };
            take(seen, role);
        }
        if let Some(seen) = &view.ingress {
            take(seen, Role::Ingress);
        }
        for seen in &view.inside {
            take(seen, Role::Inside);
        }
    }

    fn count(&mut self, seen: &Seen, role: Role, weight: f32, refresh: bool) {
        let floor = if weight > 1.0 {
            self.entry_ticket(role)
        } else {
            0.0
        };
        if let Some(entry) = self
            .entries
            .iter_mut()
            .find(|entry| entry.address == seen.address)
        {
            // An ingress that is silent now and then must not make one of the router behind it.
            let demoted =
                role == Role::Ingress && entry.is(Role::Inside) && !entry.is(Role::Ingress);
            if !demoted {
                entry.roles |= role.bit();
            }
            entry.count = (entry.count + 1.0).max(floor);
            entry.refreshed |= refresh;
            return;
        }
        if self.entries.len() >= ENTRIES_MAX {
            let smallest = self
                .entries
                .iter()
                .enumerate()
                .min_by(|one, other| one.1.count.total_cmp(&other.1.count));
            if let Some((index, _)) = smallest {
                self.entries.swap_remove(index);
            }
        }
        if self.entries.capacity() < ENTRIES_MAX {
            let more = ENTRIES_MAX - self.entries.len();
            self.entries.reserve_exact(more);
        }
        let mut entry = Entry {
            address: seen.address,
            roles: role.bit(),
            refreshed: refresh,
            count: floor.max(1.0),
            router: 0,
            asn: 0,
            metro: None,
            microsoft: false,
            resolved: false,
        };
        entry.read(&seen.hop);
        self.entries.push(entry);
    }

    /// A count that makes a value known, for one that took its time to be admitted.
    fn entry_ticket(&self, role: Role) -> f32 {
        (self.support(role) * NOVEL_SHARE * 2.0).max(NOVEL_COUNT)
    }

    fn sum(&mut self) {
        self.support = [0.0; ROLES];
        for entry in &self.entries {
            for (index, support) in self.support.iter_mut().enumerate() {
                if entry.roles & (1 << index) != 0 {
                    *support += entry.count;
                }
            }
        }
    }

    /// Counts of a role.
    pub fn support(&self, role: Role) -> f32 {
        self.support.get(role as usize).copied().unwrap_or_default()
    }

    fn is_known(&self, entry: &Entry, role: Role) -> bool {
        entry.refreshed || entry.count >= NOVEL_COUNT.max(self.support(role) * NOVEL_SHARE)
    }

    fn known(&self, role: Role) -> impl Iterator<Item = &Entry> {
        self.entries
            .iter()
            .filter(move |entry| entry.is(role) && self.is_known(entry, role))
    }

    /// Whether an address is of the baseline, wherever it answered.
    pub fn knows(&self, address: IpAddr) -> bool {
        self.entries.iter().any(|entry| {
            entry.address == address
                && (entry.refreshed
                    || entry.count >= NOVEL_COUNT && self.is_known(entry, role_of(entry)))
        })
    }

    /// Whether an address is of the baseline in this role.
    pub fn knows_as(&self, address: IpAddr, role: Role) -> bool {
        self.known(role).any(|entry| entry.address == address)
    }

    /// Whether an AS carried the path before, as uplink, in transit or as handoff.
    pub fn knows_as_number(&self, asn: u32) -> bool {
        let carries = |entry: &&Entry| entry.asn == asn && !entry.microsoft;
        self.known(Role::Transit).any(|entry| carries(&entry))
            || self.known(Role::Handoff).any(|entry| carries(&entry))
            || self.known(Role::First).any(|entry| carries(&entry))
    }

    /// Whether an AS handed over a part of the path to Microsoft before: a wrongly mapped hop now and then is none.
    pub fn knows_handoff(&self, asn: u32) -> bool {
        let by_as = self
            .known(Role::Handoff)
            .filter(|entry| entry.asn == asn && !entry.microsoft);
        by_as.map(|entry| entry.count).sum::<f32>() >= self.support(Role::Handoff) * HANDOFF_SHARE
    }

    /// ASes that most of what was seen from the first hop on went through.
    pub fn carriers(&self) -> impl Iterator<Item = u32> {
        let enough = self.support(Role::First) * CARRIER_SHARE;
        let mut sums: Vec<(u32, f32)> = Vec::new();
        let on_the_way = |entry: &&Entry| entry.is(Role::Transit) || entry.is(Role::Handoff);
        for entry in self.entries.iter().filter(on_the_way) {
            if entry.microsoft || entry.asn == 0 {
                continue;
            }
            match sums.iter_mut().find(|(asn, _)| *asn == entry.asn) {
                Some((_, sum)) => *sum += entry.count,
                None => sums.push((entry.asn, entry.count)),
            }
        }
        let carries = move |(asn, sum): (u32, f32)| (enough > 0.0 && sum >= enough).then_some(asn);
        sums.into_iter().filter_map(carries)
    }

    /// Whether an AS was the uplink before.
    pub fn knows_uplink(&self, asn: u32) -> bool {
        self.known(Role::First).any(|entry| entry.asn == asn)
    }

    /// Whether a router was the ingress before.
    pub fn knows_router(&self, router: u32) -> bool {
        self.known(Role::Ingress)
            .any(|entry| entry.router == router)
    }

    /// Whether every ingress that carries some of the path is known by name or alias set.
    pub fn ingresses_are_resolved(&self) -> bool {
        let enough = self.support(Role::Ingress) * 0.05;
        let mut carrying = self
            .entries
            .iter()
            .filter(|entry| entry.is(Role::Ingress) && entry.count >= enough)
            .peekable();
        carrying.peek().is_some() && carrying.all(|entry| entry.resolved)
    }

    /// Whether the metro was that of an ingress or of a router behind it before.
    pub fn knows_metro(&self, metro: NonZeroU32) -> bool {
        let there = |entry: &Entry| entry.metro == Some(metro);
        self.known(Role::Ingress).any(there) || self.known(Role::Inside).any(there)
    }

    /// Whether the metro of most of what entered Microsoft's network is known: by the ingress, or by what is behind it.
    pub fn knows_its_metro(&self) -> bool {
        let of = |placed: bool, wanted: fn(&Entry) -> bool| -> f32 {
            let matching = self
                .entries
                .iter()
                .filter(|entry| wanted(entry) && (!placed || entry.metro.is_some()));
            matching.map(|entry| entry.count).sum()
        };
        let mostly = |wanted: fn(&Entry) -> bool| {
            let all = of(false, wanted);
            all > 0.0 && of(true, wanted) >= 0.5 * all
        };
        mostly(|entry| entry.is(Role::Ingress))
            || mostly(|entry| entry.is(Role::Ingress) || entry.is(Role::Inside))
    }

    /// The address with most support in a role whose router and metro pass `wanted`.
    pub fn usual(
        &self,
        role: Role,
        wanted: impl Fn(u32, Option<NonZeroU32>) -> bool,
    ) -> Option<IpAddr> {
        self.entries
            .iter()
            .filter(|entry| entry.is(role) && wanted(entry.router, entry.metro))
            .max_by(|one, other| one.count.total_cmp(&other.count))
            .map(|entry| entry.address)
    }

    /// The AS with most support in a role.
    pub fn usual_asn(&self, role: Role, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        let mut sums: Vec<(u32, f32)> = Vec::new();
        for entry in self.entries.iter().filter(|entry| entry.is(role)) {
            let asn = entry.asn;
            if asn == 0 || !wanted(asn) {
                continue;
            }
            match sums.iter_mut().find(|(known, _)| *known == asn) {
                Some((_, sum)) => *sum += entry.count,
                None => sums.push((asn, entry.count)),
            }
        }
        let most = sums.iter().max_by(|one, other| one.1.total_cmp(&other.1));
        most.map(|(asn, _)| *asn)
    }

    /// The AS that usually hands over to Microsoft. A site's own edge is the last hop before Microsoft whenever the provider
    /// behind it is silent: as long as others are seen there often enough, it is none.
    pub fn usual_handoff(&self) -> Option<u32> {
        let handoffs = || self.entries.iter().filter(|entry| entry.is(Role::Handoff));
        let most = handoffs().map(|entry| entry.count).fold(0.0, f32::max);
        let behind = handoffs().filter(|entry| !entry.is(Role::First) && entry.asn != 0);
        let seen = behind.max_by(|one, other| one.count.total_cmp(&other.count));
        match seen.filter(|entry| entry.count >= most * BEHIND_SHARE) {
            Some(entry) => Some(entry.asn),
            None => self.usual_asn(Role::Handoff, |_| true),
        }
    }

    /// Whether a name or an alias set says which router it is.
    pub fn is_resolved(&self, router: u32) -> bool {
        let mut of_router = self.entries.iter().filter(|entry| entry.router == router);
        of_router.any(|entry| entry.resolved)
    }

    /// Metro of a router.
    pub fn metro_of(&self, router: u32) -> Option<NonZeroU32> {
        let mut of_router = self.entries.iter().filter(|entry| entry.router == router);
        of_router.find_map(|entry| entry.metro)
    }

    /// Routers that carried a twentieth or more of a role.
    pub fn members(&self, role: Role) -> usize {
        let enough = self.support(role) * 0.05;
        let carrying = self.entries.iter().filter(|entry| entry.is(role));
        let mut sums: Vec<(u32, f32)> = Vec::new();
        for entry in carrying {
            match sums.iter_mut().find(|(router, _)| *router == entry.router) {
                Some((_, sum)) => *sum += entry.count,
                None => sums.push((entry.router, entry.count)),
            }
        }
        sums.iter().filter(|(_, sum)| *sum >= enough).count()
    }

    /// Forgets everything: the path is learned afresh.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.sum();
    }

    /// Bytes that a full book holds on the heap.
    pub const fn most_bytes() -> usize {
        ENTRIES_MAX * size_of::<Entry>()
    }

    /// Bytes that the book holds on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }
}

/// The role by which an address is weighed when any will do.
fn role_of(entry: &Entry) -> Role {
    [
        Role::Ingress,
        Role::Handoff,
        Role::Inside,
        Role::First,
        Role::Transit,
    ]
    .into_iter()
    .find(|role| entry.is(*role))
    .unwrap_or(Role::Transit)
}
