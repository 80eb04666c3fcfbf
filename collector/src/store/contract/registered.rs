//! Promises about what is registered, and about tokens.

use std::time::Duration;

use firstmile_peering::answer::Change;
use firstmile_peering::id::{Kind, ResourceId};
use firstmile_peering::model::{Envelope, Properties, Resource, Service};

use super::*;
use crate::auth::token::{Role, Token, digest_of};
use crate::store::StoreError;

fn service(name: &str, provider: &str) -> Resource {
    Resource {
        id: ResourceId {
            subscription: "s1".to_owned(),
            group: "Net".to_owned(),
            kind: Kind::PeeringService,
            names: vec![name.to_owned()],
        },
        envelope: Envelope::default(),
        properties: Properties::Service(Service {
            peering_service_provider: Some(provider.to_owned()),
            ..Service::default()
        }),
    }
}

pub(crate) async fn what_is_registered_stays_until_it_is_deleted(store: &impl Store) {
    let organisation = default_organisation();
    let put = |resource: &Resource| Change::Put(Box::new(resource.clone()));
    let (first, second) = (service("Bern", "one"), service("basel", "one"));
    let changes = vec![put(&first), put(&second)];
    let change = store.change_resources(&organisation, changes, T0, "somebody", "made two");
    change.await.unwrap();
    let moved = service("Bern", "other");
    let changes = vec![put(&moved), Change::Delete(second.id.clone())];
    let change = store.change_resources(&organisation, changes, T0, "somebody", "changed two");
    change.await.unwrap();
    let kept = store.resources(&organisation).await.unwrap();
    assert_eq!(kept.all().collect::<Vec<_>>(), [&moved]);
    let elsewhere = store.resources(&other_organisation()).await.unwrap();
    assert!(elsewhere.is_empty());
    let again = store.resources(&organisation).await.unwrap();
    assert_eq!(*again, *kept, "whoever else asked meanwhile");
}

pub(crate) async fn a_token_is_found_by_its_digest_until_it_is_taken_back(store: &impl Store) {
    let organisation = default_organisation();
    let minute = Duration::from_mins(1);
    let make = |now| Token::make(organisation.clone(), "ci", Role::Viewer, minute, now).unwrap();
    let (token, secret) = make(T0);
    store.put_token(&token, "somebody").await.unwrap();
    let found = store.token(&digest_of(&secret)).await.unwrap();
    assert_eq!(found.as_ref(), Some(&token));
    assert_eq!(store.token(&digest_of("guess")).await.unwrap(), None);
    assert_eq!(store.tokens(&other_organisation()).await.unwrap(), []);
    let (namesake, _) = make(T0);
    let error = store.put_token(&namesake, "somebody").await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
    let (successor, _) = make(T0 + MINUTE);
    store.put_token(&successor, "somebody").await.unwrap();
    assert_eq!(store.tokens(&organisation).await.unwrap(), [successor]);
    assert_eq!(store.token(&token.digest).await.unwrap(), None);
    for want in [true, false] {
        let gone = store.revoke_token(&organisation, "ci", T0, "somebody");
        assert_eq!(gone.await.unwrap(), want);
    }
}
