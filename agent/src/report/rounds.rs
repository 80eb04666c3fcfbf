//! Path rounds in their wire form. Pure.

use firstmile_wire::v1;

use crate::probe::met::MultipathHop;
use crate::probe::trace::{FlowPath, Place, Silence, Stream};
use crate::probe::{address_bytes, micros};

pub(super) fn wire_flow(flow_id: u32, flow_label: u32, flow: &FlowPath) -> v1::TraceFlow {
    v1::TraceFlow {
        flow_id,
        hops: flow.hops.iter().map(wire_hop).collect(),
        destination_ttl: flow.destination_ttl.map_or(0, u32::from),
        first_ttl: u32::from(flow.first_ttl),
        flow_label,
        loops: flow.loops,
    }
}

fn wire_hop(place: &Place) -> v1::TraceHop {
    let silent = v1::TraceHop {
        ttl: u32::from(place.ttl),
        silence: match place.silence {
            Silence::None => v1::Silence::Unspecified,
            Silence::Silent => v1::Silence::Silent,
            Silence::RateLimited => v1::Silence::RateLimited,
        }
        .into(),
        also: place.also.iter().copied().map(address_bytes).collect(),
        ..v1::TraceHop::default()
    };
    let Some(hop) = &place.hop else {
        return silent;
    };
    v1::TraceHop {
        address: address_bytes(hop.address),
        rtt_us: micros(hop.rtt),
        reply_ttl: u32::from(hop.reply_ttl),
        icmp: u32::from(hop.icmp),
        mpls: hop.mpls.entries().to_vec(),
        rewrites: u32::from(hop.rewrites.bits()),
        quoted_ttl: u32::from(hop.quoted_ttl),
        ..silent
    }
}

pub(super) const fn wire_stream(stream: Stream) -> v1::TraceStream {
    match stream {
        Stream::Full => v1::TraceStream::Full,
        Stream::Tail(_) => v1::TraceStream::Tail,
        Stream::Burst(_) => v1::TraceStream::Burst,
        Stream::Refresh => v1::TraceStream::Refresh,
    }
}

pub(super) fn wire_multipath(hop: &MultipathHop) -> v1::MultipathHop {
    v1::MultipathHop {
        ttl: u32::from(hop.ttl),
        addresses: hop.addresses.iter().copied().map(address_bytes).collect(),
        probes: hop.probes,
        complete: hop.complete,
        per_packet: hop.per_packet,
    }
}
