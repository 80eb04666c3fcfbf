//! From the types of the parser to our own.

use bgpkit_parser::models as wire;
use firstmile_routing::asn::Asn;
use firstmile_routing::path::{AsPath, Hop};

/// An AS path without what is inside of confederations (RFC 5065 §5.3: not seen outside).
pub fn path(from: &wire::AsPath) -> AsPath {
    let mut hops = Vec::with_capacity(8);
    for segment in from.iter_segments() {
        match segment {
            wire::AsPathSegment::AsSequence(asns) => {
                hops.extend(asns.iter().map(|asn| Hop::As(Asn(asn.to_u32()))));
            }
            wire::AsPathSegment::AsSet(asns) => {
                hops.push(Hop::Set(asns.iter().map(|asn| Asn(asn.to_u32())).collect()));
            }
            wire::AsPathSegment::ConfedSequence(_) | wire::AsPathSegment::ConfedSet(_) => {}
        }
    }
    AsPath::new(hops)
}
