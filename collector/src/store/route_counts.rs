//! How routes to registered prefixes fared, month by month, as a store keeps it.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use firstmile_routing::counts::RouteCounts;
use firstmile_wire::ids::OrganisationId;
use ipnet::IpNet;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::StoreResult;

/// A month of UTC, written `2026-11`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(Date);

/// A text is no month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a month is written as in 2026-11")]
pub struct MonthError;

impl Month {
    /// The month of a time.
    pub fn of(unix_ms: i64) -> Self {
        let at = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
        Self(at.to_zoned(TimeZone::UTC).date().first_of_month())
    }
}

impl FromStr for Month {
    type Err = MonthError;

    fn from_str(text: &str) -> Result<Self, MonthError> {
        if text.len() != "2026-11".len() {
            return Err(MonthError);
        }
        let first = format!("{text}-01").parse();
        first.map(Self).map_err(|_| MonthError)
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.0.year(), self.0.month())
    }
}

/// The part of a store that keeps how routes fared.
#[async_trait]
pub trait RouteMonths: Send + Sync + 'static {
    /// Adds what was counted to what a month has already, all or nothing.
    async fn add_route_counts(
        &self,
        organisation: &OrganisationId,
        month: Month,
        counts: Vec<(IpNet, RouteCounts)>,
    ) -> StoreResult<()>;
    /// What was counted in a month, by prefix.
    async fn route_counts(
        &self,
        organisation: &OrganisationId,
        month: Month,
    ) -> StoreResult<Vec<(IpNet, RouteCounts)>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_as_it_is_written() {
        let november = Month::of(1_795_523_157_072);
        assert_eq!(november.to_string(), "2026-11");
        assert_eq!("2026-11".parse(), Ok(november));
        assert!(Month::of(1_795_523_157_072 + 31 * 86_400_000) > november);
        for bad in [
            "",
            "2026",
            "2026-13",
            "2026-1",
            "2026-11-01",
            "november",
            "20é6-1",
        ] {
            assert_eq!(bad.parse::<Month>(), Err(MonthError), "{bad}");
        }
    }
}
