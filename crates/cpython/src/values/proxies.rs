//! Objects that stand for others: those that keep the other one are followed.
//!
//! It knows Django's `LazyObject` and settings (`django/utils/functional.py`, `django/conf/__init__.py`), `weakref.proxy`
//! (`Objects/weakrefobject.c`), and the proxies of Werkzeug and Celery, which ask the context of whoever asks.

use std::sync::Arc;

use spyhole_proc::Address;

use super::Values;
use super::classes::Class;
use super::steps::StepError;

/// How a proxy leads to what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proxy {
    /// This attribute has it.
    Attribute(&'static str),
    /// This attribute has where a name is looked for that it has not itself.
    Fallback(&'static str),
    /// A weak reference.
    Weak,
    /// It depends on who asks.
    Context,
}

/// Proxies of proxies that are followed.
const HOPS_AT_MOST: usize = 16;

impl Values<'_> {
    pub(super) fn proxy_of(&mut self, class: &Class) -> Option<Proxy> {
        class.bases.iter().find_map(|base| {
            let class = self.classes.get(*base)?;
            Some(match &*class.name {
                "django.utils.functional.LazyObject" => Proxy::Attribute("_wrapped"),
                "django.conf.UserSettingsHolder" => Proxy::Fallback("default_settings"),
                "weakproxy"
                | "weakcallableproxy"
                | "weakref.ProxyType"
                | "weakref.CallableProxyType" => Proxy::Weak,
                "werkzeug.local.LocalProxy" | "celery.local.Proxy" => Proxy::Context,
                _ => return None,
            })
        })
    }

    /// What a proxy stands for; `None`: the object is none.
    pub(super) fn stands_for(&mut self, at: Address) -> Result<Option<Address>, StepError> {
        let class = self.class_of(at)?;
        let name = match self.proxy_of(&class) {
            None | Some(Proxy::Fallback(_)) => return Ok(None),
            Some(Proxy::Context) => return Err(StepError::Context { kind: class.name.clone() }),
            Some(Proxy::Weak) => {
                let to = at.plus(self.reader.layout.details.weakref_object);
                let to = self.reader.memory.pointer(to).map_err(|_| StepError::Unreadable)?;
                let is_dead = to == self.reader.types.none;
                return if is_dead { Err(StepError::Dead) } else { Ok(Some(to)) };
            }
            Some(Proxy::Attribute(name)) => name,
        };
        // `empty`, a bare `object()`, until somebody asks it for something.
        let kept = self.reader.attribute(at, name);
        let is_empty = |at: Address, own: &mut Self| {
            own.class_of(at).is_ok_and(|class| &*class.name == "object")
        };
        match kept {
            Some(kept) if !is_empty(kept, self) => Ok(Some(kept)),
            _ => Err(StepError::NotSetUp { kind: class.name.clone() }),
        }
    }

    /// The object behind proxies, and what the first of them is if it is one.
    pub fn followed(&mut self, at: Address) -> Result<(Address, Option<Arc<str>>), StepError> {
        let mut passed = vec![at];
        let mut here = at;
        while let Some(next) = self.stands_for(here)? {
            if passed.contains(&next) || passed.len() == HOPS_AT_MOST {
                return Err(StepError::Ring);
            }
            passed.push(next);
            here = next;
        }
        Ok((here, if passed.len() > 1 { Some(self.type_name(at)) } else { None }))
    }
}
