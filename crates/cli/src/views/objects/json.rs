//! Objects as JSON.

use serde_json::{Map, Value as Json, json};
use spyhole_session::objects::{
    Difference, ObjectAnswer, ObjectGroup, ObjectReport, Outcome, Tree, What,
};

use super::Extent;
use crate::failure::Kind;
use crate::views::json::place;

pub(crate) fn report(report: &ObjectReport, extent: Extent) -> Json {
    json!({
        "path": report.path,
        "answers": report.answers.iter().map(|one| answer(one, extent)).collect::<Json>(),
        "groups": report.groups.iter().map(group).collect::<Json>(),
        "not_loaded": report.not_loaded.iter().copied().map(place).collect::<Vec<_>>(),
    })
}

pub(super) fn answer(answer: &ObjectAnswer, extent: Extent) -> Json {
    let (found, error) = match &answer.outcome {
        Outcome::Found(found) => (Some(found), Json::Null),
        Outcome::Nowhere(nowhere) => (
            None,
            json!({
                "kind": "nowhere",
                "message": nowhere.message,
                "step": nowhere.step,
                "near": nowhere.near,
            }),
        ),
        Outcome::Failed(error) => (
            None,
            json!({
                "kind": Kind::from(error.kind).name(),
                "message": error.message,
                "step": null,
                "near": [],
            }),
        ),
    };
    json!({
        "pid": answer.place.pid,
        "interpreter": answer.place.interpreter,
        "ok": found.is_some(),
        "tree": found.map(|found| tree(&found.tree, 0, extent)),
        "torn": found.is_some_and(|found| found.torn),
        "note": found.and_then(|found| found.note.as_ref()),
        "error": error,
        "group": answer.group,
    })
}

fn tree(one: &Tree, depth: usize, extent: Extent) -> Json {
    let mut object = Map::new();
    object.insert("type".into(), Json::from(&*one.type_name));
    object.insert("repr".into(), Json::from(&*one.repr));
    object.insert("length".into(), one.length.into());
    let mut truncated = one.truncated;
    if depth < extent.depth {
        if let Some(items) = &one.items {
            truncated |= items.len() > extent.items;
            let items = items.iter().take(extent.items).map(|item| {
                json!({"key": item.key.as_deref(), "value": tree(&item.value, depth + 1, extent)})
            });
            object.insert("items".into(), items.collect());
        }
        if let Some(attributes) = &one.attributes {
            truncated |= attributes.len() > extent.items;
            let attributes = attributes.iter().take(extent.items);
            let attributes: Map<String, Json> = attributes
                .map(|(name, value)| (name.to_string(), tree(value, depth + 1, extent)))
                .collect();
            object.insert("attrs".into(), attributes.into());
        }
    } else {
        truncated |= one.items.is_some() || one.attributes.is_some();
    }
    object.insert("truncated".into(), truncated.into());
    object.insert("address".into(), one.address.to_string().into());
    if let Some(proxy) = &one.through {
        object.insert("through".into(), Json::from(&**proxy));
    }
    if !one.not_run.is_empty() {
        object.insert("not_run".into(), one.not_run.clone().into());
    }
    object.into()
}

fn group(group: &ObjectGroup) -> Json {
    json!({
        "members": group.members.iter().copied().map(place).collect::<Vec<_>>(),
        "is_error": group.is_error,
        "differs": differences(&group.differs),
        "truncated": group.cut,
    })
}

pub(super) fn differences(all: &[Difference]) -> Json {
    all.iter().map(difference).collect()
}

fn difference(one: &Difference) -> Json {
    let (what, path) = match &one.what {
        What::MissingKey(key) => ("missing-key", format!("{}[{key}]", one.path)),
        What::ExtraKey(key) => ("extra-key", format!("{}[{key}]", one.path)),
        What::MissingMember => ("missing-member", one.path.clone()),
        What::ExtraMember => ("extra-member", one.path.clone()),
        What::MissingItem => ("missing-item", one.path.clone()),
        What::ExtraItem => ("extra-item", one.path.clone()),
        What::MissingAttribute(name) => ("missing-attribute", format!("{}.{name}", one.path)),
        What::ExtraAttribute(name) => ("extra-attribute", format!("{}.{name}", one.path)),
        What::Value => ("value", one.path.clone()),
        What::Type => ("type", one.path.clone()),
        What::Order => ("order", one.path.clone()),
    };
    json!({"path": path, "what": what, "majority": one.majority, "here": one.here})
}
