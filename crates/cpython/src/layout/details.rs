//! Places within the kinds of objects that only their values need.
//!
//! The first part comes from the headers, as all numbers of the rows. What no header shows is in [`Unlisted`].

use super::{LayoutError, Numbers};

#[derive(Clone, Copy, Debug)]
pub struct Details {
    /// The dict of a module's or a class's frame.
    pub frame_namespace: u64,
    /// A frame within its frame object; without it, that is the frame.
    pub frame_of_object: Option<u64>,
    pub code_flags: u64,
    pub type_repr: u64,
    pub type_members: u64,
    /// `tp_descr_get` and `tp_descr_set`.
    pub type_get: u64,
    pub type_set: u64,
    pub type_heap_name: u64,
    /// Bytes of a dict, behind which the kinds of dict in C have what is their own.
    pub dict_length: u64,
    pub function_module: u64,
    pub function_code: u64,
    pub slice_start: u64,
    pub exception_args: u64,
    pub builtin_definition: u64,
    pub builtin_self: u64,
    pub descriptor_owner: u64,
    pub descriptor_name: u64,
    pub descriptor_member: u64,
    pub member_kind: u64,
    pub member_offset: u64,
    /// Generators, coroutines and asynchronous generators.
    pub generator_name: u64,
    pub weakref_object: u64,
    pub date_data: u64,
    pub has_zone: u64,
    pub time_data: u64,
    pub time_fold: u64,
    pub time_zone: u64,
    pub datetime_data: u64,
    pub datetime_fold: u64,
    pub datetime_zone: u64,
    pub delta_days: u64,
    pub unlisted: Unlisted,
}

impl Details {
    pub(super) fn build(n: &Numbers) -> Result<Self, LayoutError> {
        Ok(Self {
            frame_namespace: n.get("frame.namespace")?,
            frame_of_object: n.find("frame.of_object"),
            code_flags: n.get("code.flags")?,
            type_repr: n.get("type.repr")?,
            type_members: n.get("type.members")?,
            type_get: n.get("type.get")?,
            type_set: n.get("type.set")?,
            type_heap_name: n.get("type.heap_name")?,
            dict_length: n.get("dict.length")?,
            function_module: n.get("function.module")?,
            function_code: n.get("function.code")?,
            slice_start: n.get("slice.start")?,
            exception_args: n.get("exception.args")?,
            builtin_definition: n.get("builtin.definition")?,
            builtin_self: n.get("builtin.self")?,
            descriptor_owner: n.get("descriptor.owner")?,
            descriptor_name: n.get("descriptor.name")?,
            descriptor_member: n.get("descriptor.member")?,
            member_kind: n.get("member.kind")?,
            member_offset: n.get("member.offset")?,
            generator_name: n.get("generator.qualified_name")?,
            weakref_object: n.get("weakref.object")?,
            date_data: n.get("date.data")?,
            has_zone: n.get("time.has_zone")?,
            time_data: n.get("time.data")?,
            time_fold: n.get("time.fold")?,
            time_zone: n.get("time.zone")?,
            datetime_data: n.get("datetime.data")?,
            datetime_fold: n.get("datetime.fold")?,
            datetime_zone: n.get("datetime.zone")?,
            delta_days: n.get("delta.days")?,
            unlisted: UNLISTED,
        })
    }
}

/// Places in structures that are in no header: read from the debug information of 3.6 to 3.13, where they are the same
/// in each, and tested on values of every version.
#[derive(Clone, Copy, Debug)]
pub struct Unlisted {
    /// `rangeobject` (`Objects/rangeobject.c`): start, stop, step.
    pub range_start: u64,
    /// `mappingproxyobject` (`Objects/descrobject.c`) and the views of dicts (`Objects/dictobject.c`).
    pub viewed: u64,
    /// `wrapperobject` (`Objects/descrobject.c`).
    pub wrapper_descriptor: u64,
    pub wrapper_self: u64,
    /// `classmethod` and `staticmethod` (`Objects/funcobject.c`).
    pub wrapped: u64,
    /// `dequeobject` (`Modules/_collectionsmodule.c`).
    pub deque_left: u64,
    pub deque_left_index: u64,
    pub deque_most: u64,
    /// Its blocks: the link to the left, so many items, the link to the right.
    pub block_items: u64,
    pub block_length: u64,
    /// `defdictobject` (same file), behind the dict.
    pub default_factory: u64,
    /// `_odictobject` and `_odictnode` (`Objects/odictobject.c`): the first node behind the dict, and in a node its key
    /// and the next.
    pub ordered_first: u64,
    pub node_key: u64,
    pub node_next: u64,
    /// `partialobject` (`Modules/_functoolsmodule.c`): function, positional and keyword arguments.
    pub partial_function: u64,
    pub partial_arguments: u64,
    pub partial_keywords: u64,
    /// `lockobject` and `rlockobject` (`Modules/_threadmodule.c`).
    pub lock_locked: u64,
    /// What both of them and `simplequeueobject` (`Modules/_queuemodule.c`) wait on: the address of a semaphore, or from
    /// where locks are [`super::Locks::Mutex`] on, a byte.
    pub lock_semaphore: u64,
    pub rlock_owner: u64,
    pub rlock_count: u64,
    /// `PyDateTime_TimeZone` (`Modules/_datetimemodule.c`): offset and name.
    pub zone_offset: u64,
    pub zone_name: u64,
    /// `PyDecObject` and `mpd_t` (`Modules/_decimal/_decimal.c`, `libmpdec/mpdecimal.h`).
    pub decimal_flags: u64,
    pub decimal_exponent: u64,
    pub decimal_digits: u64,
    pub decimal_length: u64,
    pub decimal_words: u64,
}

const UNLISTED: Unlisted = Unlisted {
    range_start: 16,
    viewed: 16,
    wrapper_descriptor: 16,
    wrapper_self: 24,
    wrapped: 16,
    deque_left: 24,
    deque_left_index: 40,
    deque_most: 64,
    block_items: 8,
    block_length: 64,
    default_factory: 0,
    ordered_first: 0,
    node_key: 0,
    node_next: 16,
    partial_function: 16,
    partial_arguments: 24,
    partial_keywords: 32,
    lock_locked: 32,
    lock_semaphore: 16,
    rlock_owner: 24,
    rlock_count: 32,
    zone_offset: 16,
    zone_name: 24,
    decimal_flags: 24,
    decimal_exponent: 32,
    decimal_digits: 40,
    decimal_length: 48,
    decimal_words: 64,
};
