//! How many requests one client may make: a bucket of tokens for each address, which a request takes one from.
//!
//! An address is that of the connection. What a request says of itself counts only when it comes from a proxy that is
//! trusted. Addresses of IPv6 are told apart by their network, of which one client has more than can be counted.
//!
//! The number of buckets is bounded. A bucket that is full again is as good as none, and is dropped; when there are too
//! many others, all who have none yet share one.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU32, Ordering},
};

use axum::{
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use governor::{
    Quota, RateLimiter,
    middleware::{NoOpMiddleware, StateInformationMiddleware},
    nanos::Nanos,
    state::keyed::DashMapStateStore,
};

use super::{
    options::{Network, RateLimit},
    reply::Refusal,
};
use crate::sys::Clock;

/// How many addresses have a bucket of their own at the same time.
const BUCKETS_MAX: usize = 65_536;

/// After how many requests buckets that are full are dropped.
const SWEEP_EVERY: u32 = 1_024;

/// Who shares a bucket when there are too many.
const CROWD: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// How much of an address of IPv6 is one client's.
const V6_PREFIX: u128 = !0 << 64;

/// Where the connection of a request comes from.
#[derive(Debug, Clone, Copy)]
pub(in crate::server) struct Peer(pub(in crate::server) IpAddr);

#[derive(Debug, Clone)]
struct Elapsed(Clock);

impl governor::clock::Clock for Elapsed {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.elapsed().into()
    }
}

type Buckets = RateLimiter<IpAddr, DashMapStateStore<IpAddr>, Elapsed, StateInformationMiddleware>;

/// The buckets of all clients.
#[derive(Debug)]
pub(super) struct Limiter {
    buckets: Buckets,
    burst: u32,
    trusted: Vec<Network>,
    requests: AtomicU32,
}

/// What a client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    burst: u32,
    remaining: Option<u32>,
}

impl Limiter {
    pub(super) fn new(limit: RateLimit, trusted: Vec<Network>, clock: Clock) -> Limiter {
        let quota = Quota::per_second(limit.per_second).allow_burst(limit.burst);
        let buckets =
            RateLimiter::<_, _, _, NoOpMiddleware<Nanos>>::new(quota, DashMapStateStore::default(), Elapsed(clock));
        let buckets = buckets.with_middleware();
        Limiter { buckets, burst: limit.burst.get(), trusted, requests: AtomicU32::new(0) }
    }

    /// Takes a token for a request.
    pub(super) fn take(&self, peer: IpAddr, headers: &HeaderMap) -> Allowance {
        let mut client = bucket(client(peer, headers, &self.trusted));
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        if count.is_multiple_of(SWEEP_EVERY) {
            self.sweep();
        }
        if self.buckets.len() >= BUCKETS_MAX {
            self.sweep();
            if self.buckets.len() >= BUCKETS_MAX {
                client = CROWD;
            }
        }
        let taken = self.buckets.check_key(&client);
        Allowance { burst: self.burst, remaining: taken.ok().map(|state| state.remaining_burst_capacity()) }
    }

    fn sweep(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }
}

impl Allowance {
    /// What the client is told whose bucket is empty.
    pub(super) fn refusal(self) -> Option<Response> {
        match self.remaining {
            Some(_) => None,
            None => Some(self.show(Refusal::too_many_requests().reply())),
        }
    }

    /// Tells the client what it has left.
    pub(super) fn show(self, mut reply: Response) -> Response {
        let headers = reply.headers_mut();
        headers.insert("x-ratelimit-limit", HeaderValue::from(self.burst));
        headers.insert("x-ratelimit-remaining", HeaderValue::from(self.remaining.unwrap_or(0)));
        headers.insert("x-ratelimit-reset", HeaderValue::from_static("1"));
        reply
    }
}

/// Whose request it is: the one before the first that is trusted, from behind. Everybody can put whatever one likes at
/// the front of the header.
fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    if !is_trusted(client) {
        return client;
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok());
    let forwarded: Vec<&str> = forwarded.flat_map(|value| value.split(',')).collect();
    for text in forwarded.iter().rev() {
        let Ok(address) = text.trim().parse::<IpAddr>() else { return client };
        client = address.to_canonical();
        if !is_trusted(client) {
            return client;
        }
    }
    if forwarded.is_empty() {
        let real = headers.get("x-real-ip").and_then(|value| value.to_str().ok()?.trim().parse::<IpAddr>().ok());
        return real.map_or(client, |real| real.to_canonical());
    }
    client
}

fn bucket(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & V6_PREFIX)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sys::ManualClock;

    fn limiter(time: &ManualClock, trusted: &[&str]) -> Limiter {
        let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
        Limiter::new(RateLimit::default(), trusted, Clock::manual(time.clone()))
    }

    fn forwarded(name: &'static str, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn a_bucket_empties_and_fills_up_again() {
        let time = ManualClock::default();
        let limiter = limiter(&time, &[]);
        let take = |last: u8| limiter.take(IpAddr::from([192, 0, 2, last]), &HeaderMap::new()).remaining;
        for remaining in (0..30).rev() {
            assert_eq!(take(1), Some(remaining));
        }
        assert_eq!((take(1), take(2)), (None, Some(29)));
        time.advance(Duration::from_millis(100));
        assert_eq!((take(1), take(1)), (Some(0), None));
        time.advance(Duration::from_secs(3));
        assert_eq!(take(1), Some(29));
    }

    /// One client of IPv6 has a whole network of addresses.
    #[test]
    fn a_network_of_addresses_is_one_client() {
        let limiter = limiter(&ManualClock::default(), &[]);
        let take = |text: &str| limiter.take(text.parse().unwrap(), &HeaderMap::new()).remaining;
        assert_eq!(take("2001:db8:0:1::1"), Some(29));
        assert_eq!(take("2001:db8:0:1:ffff::2"), Some(28));
        assert_eq!(take("2001:db8:0:2::1"), Some(29));
        assert_eq!((take("192.0.2.1"), take("::ffff:192.0.2.1")), (Some(29), Some(28)));
    }

    #[test]
    fn buckets_are_dropped_when_they_are_full_and_bounded_when_they_are_not() {
        let time = ManualClock::default();
        let limiter = limiter(&time, &[]);
        let take = |number: u32| limiter.take(IpAddr::from(number.to_be_bytes()), &HeaderMap::new());
        let count = u32::try_from(BUCKETS_MAX).unwrap();
        for number in 0..count + 40 {
            take(number);
        }
        assert!(limiter.buckets.len() <= BUCKETS_MAX + 1);
        assert_eq!(take(count + 41).remaining, None, "the bucket of the crowd is empty");
        time.advance(Duration::from_secs(4));
        take(0);
        limiter.sweep();
        assert_eq!(limiter.buckets.len(), 1);
    }

    /// A stranger could otherwise have a bucket for every request, and empty those of others.
    #[test]
    fn who_a_request_is_for_is_believed_of_trusted_proxies_alone() {
        let check = |trusted: &[&str], peer: &str, headers: &HeaderMap, expected: &str| {
            let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
            let found = client(peer.parse().unwrap(), headers, &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{headers:?}");
        };
        let one = forwarded("x-forwarded-for", &["198.51.100.9"]);
        check(&[], "192.0.2.1", &one, "192.0.2.1");
        check(&["10.0.0.0/8"], "192.0.2.1", &one, "192.0.2.1");
        check(&["10.0.0.0/8"], "10.1.1.1", &one, "198.51.100.9");
        check(&["10.0.0.0/8"], "::ffff:10.1.1.1", &one, "198.51.100.9");
        // The front of the header is the client's own claim.
        let chain = forwarded("x-forwarded-for", &["203.0.113.5, 198.51.100.9", "10.2.2.2"]);
        check(&["10.0.0.0/8"], "10.1.1.1", &chain, "198.51.100.9");
        check(&["10.0.0.0/8"], "10.1.1.1", &forwarded("x-forwarded-for", &["198.51.100.9, junk"]), "10.1.1.1");
        check(&["10.0.0.0/8"], "10.1.1.1", &forwarded("x-real-ip", &["198.51.100.9"]), "198.51.100.9");
        check(&["10.0.0.0/8"], "192.0.2.1", &forwarded("x-real-ip", &["198.51.100.9"]), "192.0.2.1");
        check(&["10.0.0.0/8"], "10.1.1.1", &HeaderMap::new(), "10.1.1.1");
    }
}
