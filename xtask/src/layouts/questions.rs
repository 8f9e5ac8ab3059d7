//! What the rows of the version table say, and how the headers are asked for it.
//!
//! It knows C expressions; of a name with several, the first one that the headers of a version know counts.

/// A name of the rows and the C expressions that may give it.
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) expressions: &'static [&'static str],
}

const fn ask(name: &'static str, expressions: &'static [&'static str]) -> Question {
    Question { name, expressions }
}

/// In the order in which the rows list them.
pub(super) const QUESTIONS: &[Question] = &[
    ask("runtime.interpreters", &["offsetof(_PyRuntimeState, interpreters.head)"]),
    ask("runtime.gil_locked", &["offsetof(_PyRuntimeState, ceval.gil.locked)"]),
    ask("runtime.gil_holder", &["offsetof(_PyRuntimeState, ceval.gil.last_holder)"]),
    ask("runtime.eval_breaker", &["offsetof(_PyRuntimeState, ceval.eval_breaker)"]),
    ask("runtime.gil_drop_request", &["offsetof(_PyRuntimeState, ceval.gil_drop_request)"]),
    ask("interpreter.next", &["offsetof(PyInterpreterState, next)"]),
    ask("interpreter.id", &["offsetof(PyInterpreterState, id)"]),
    ask(
        "interpreter.threads",
        &[
            "offsetof(PyInterpreterState, threads.head)",
            "offsetof(PyInterpreterState, tstate_head)",
        ],
    ),
    ask(
        "interpreter.modules",
        &["offsetof(PyInterpreterState, imports.modules)", "offsetof(PyInterpreterState, modules)"],
    ),
    ask("interpreter.gil", &["offsetof(PyInterpreterState, ceval.gil)"]),
    ask("interpreter.finalizing", &["offsetof(PyInterpreterState, finalizing)"]),
    ask("interpreter.eval_breaker", &["offsetof(PyInterpreterState, ceval.eval_breaker)"]),
    ask("interpreter.gil_drop_request", &["offsetof(PyInterpreterState, ceval.gil_drop_request)"]),
    ask("gil.locked", &["offsetof(struct _gil_runtime_state, locked)"]),
    ask("gil.holder", &["offsetof(struct _gil_runtime_state, last_holder)"]),
    ask("gil.interval", &["offsetof(struct _gil_runtime_state, interval)"]),
    ask("gil.switches", &["offsetof(struct _gil_runtime_state, switch_number)"]),
    ask("thread.next", &["offsetof(PyThreadState, next)"]),
    ask("thread.interpreter", &["offsetof(PyThreadState, interp)"]),
    ask("thread.ident", &["offsetof(PyThreadState, thread_id)"]),
    ask("thread.eval_breaker", &["offsetof(PyThreadState, eval_breaker)"]),
    ask("thread.native_id", &["offsetof(PyThreadState, native_thread_id)"]),
    ask(
        "thread.frame",
        &[
            "offsetof(PyThreadState, current_frame)",
            "offsetof(PyThreadState, frame)",
            "offsetof(PyThreadState, cframe)",
        ],
    ),
    ask("thread.c_stack", &["offsetof(PyThreadState, cframe)"]),
    ask("cframe.frame", &["offsetof(_PyCFrame, current_frame)", "offsetof(CFrame, current_frame)"]),
    ask(
        "frame.previous",
        &["offsetof(_PyInterpreterFrame, previous)", "offsetof(PyFrameObject, f_back)"],
    ),
    ask(
        "frame.code",
        &[
            "offsetof(_PyInterpreterFrame, f_executable)",
            "offsetof(_PyInterpreterFrame, f_code)",
            "offsetof(PyFrameObject, f_code)",
        ],
    ),
    ask(
        "frame.position",
        &[
            "offsetof(_PyInterpreterFrame, instr_ptr)",
            "offsetof(_PyInterpreterFrame, prev_instr)",
            "offsetof(PyFrameObject, f_lasti)",
        ],
    ),
    ask(
        "frame.globals",
        &["offsetof(_PyInterpreterFrame, f_globals)", "offsetof(PyFrameObject, f_globals)"],
    ),
    ask("frame.owner", &["offsetof(_PyInterpreterFrame, owner)"]),
    ask(
        "frame.locals",
        &["offsetof(_PyInterpreterFrame, localsplus)", "offsetof(PyFrameObject, f_localsplus)"],
    ),
    ask(
        "frame.namespace",
        &["offsetof(_PyInterpreterFrame, f_locals)", "offsetof(PyFrameObject, f_locals)"],
    ),
    ask("frame.of_object", &["offsetof(PyFrameObject, f_frame)"]),
    ask("frame.operands", &["offsetof(PyFrameObject, f_valuestack)"]),
    ask(
        "frame.suspended_end",
        &[
            "offsetof(_PyInterpreterFrame, stackpointer)",
            "offsetof(_PyInterpreterFrame, stacktop)",
            "offsetof(PyFrameObject, f_stackdepth)",
            "offsetof(PyFrameObject, f_stacktop)",
        ],
    ),
    ask("frame.block_count", &["offsetof(PyFrameObject, f_iblock)"]),
    ask("frame.blocks", &["offsetof(PyFrameObject, f_blockstack)"]),
    ask("code.name", &["offsetof(PyCodeObject, co_name)"]),
    ask("code.flags", &["offsetof(PyCodeObject, co_flags)"]),
    ask("code.qualified_name", &["offsetof(PyCodeObject, co_qualname)"]),
    ask("code.file", &["offsetof(PyCodeObject, co_filename)"]),
    ask("code.first_line", &["offsetof(PyCodeObject, co_firstlineno)"]),
    ask(
        "code.lines",
        &["offsetof(PyCodeObject, co_linetable)", "offsetof(PyCodeObject, co_lnotab)"],
    ),
    ask("code.instructions", &["offsetof(PyCodeObject, co_code_adaptive)"]),
    ask("code.all_locals", &["offsetof(PyCodeObject, co_localsplusnames)"]),
    ask("code.kinds", &["offsetof(PyCodeObject, co_localspluskinds)"]),
    ask("code.stack_size", &["offsetof(PyCodeObject, co_stacksize)"]),
    ask("code.handlers", &["offsetof(PyCodeObject, co_exceptiontable)"]),
    ask("code.bytes", &["offsetof(PyCodeObject, co_code)"]),
    ask("code.variables", &["offsetof(PyCodeObject, co_varnames)"]),
    ask("code.cells", &["offsetof(PyCodeObject, co_cellvars)"]),
    ask("code.free", &["offsetof(PyCodeObject, co_freevars)"]),
    ask("object.type", &["offsetof(PyObject, ob_type)"]),
    ask("object.size", &["offsetof(PyVarObject, ob_size)"]),
    ask("type.name", &["offsetof(PyTypeObject, tp_name)"]),
    ask("type.basic_size", &["offsetof(PyTypeObject, tp_basicsize)"]),
    ask("type.item_size", &["offsetof(PyTypeObject, tp_itemsize)"]),
    ask("type.repr", &["offsetof(PyTypeObject, tp_repr)"]),
    ask("type.flags", &["offsetof(PyTypeObject, tp_flags)"]),
    ask("type.dict", &["offsetof(PyTypeObject, tp_dict)"]),
    ask("type.mro", &["offsetof(PyTypeObject, tp_mro)"]),
    ask("type.members", &["offsetof(PyTypeObject, tp_members)"]),
    ask("type.get", &["offsetof(PyTypeObject, tp_descr_get)"]),
    ask("type.set", &["offsetof(PyTypeObject, tp_descr_set)"]),
    ask("type.dict_offset", &["offsetof(PyTypeObject, tp_dictoffset)"]),
    ask("type.heap_name", &["offsetof(PyHeapTypeObject, ht_name)"]),
    ask("type.qualified_name", &["offsetof(PyHeapTypeObject, ht_qualname)"]),
    ask("type.cached_keys", &["offsetof(PyHeapTypeObject, ht_cached_keys)"]),
    ask("text.length", &["offsetof(PyASCIIObject, length)"]),
    ask("text.state", &["offsetof(PyASCIIObject, state)"]),
    ask("text.ascii_data", &["sizeof(PyASCIIObject)"]),
    ask("text.compact_data", &["sizeof(PyCompactUnicodeObject)"]),
    ask("text.pointer", &["offsetof(PyUnicodeObject, data)"]),
    ask("bytes.data", &["offsetof(PyBytesObject, ob_sval)"]),
    ask("bytearray.start", &["offsetof(PyByteArrayObject, ob_start)"]),
    ask("tuple.items", &["offsetof(PyTupleObject, ob_item)"]),
    ask("list.items", &["offsetof(PyListObject, ob_item)"]),
    ask("dict.used", &["offsetof(PyDictObject, ma_used)"]),
    ask("dict.keys", &["offsetof(PyDictObject, ma_keys)"]),
    ask("dict.values", &["offsetof(PyDictObject, ma_values)"]),
    ask("dict.length", &["sizeof(PyDictObject)"]),
    ask("values.items", &["offsetof(PyDictValues, values)"]),
    ask("values.valid", &["offsetof(PyDictValues, valid)"]),
    ask("set.used", &["offsetof(PySetObject, used)"]),
    ask("set.mask", &["offsetof(PySetObject, mask)"]),
    ask("set.table", &["offsetof(PySetObject, table)"]),
    ask(
        "int.tag",
        &["offsetof(PyLongObject, long_value.lv_tag)", "offsetof(PyVarObject, ob_size)"],
    ),
    ask(
        "int.digits",
        &["offsetof(PyLongObject, long_value.ob_digit)", "offsetof(PyLongObject, ob_digit)"],
    ),
    ask("float.value", &["offsetof(PyFloatObject, ob_fval)"]),
    ask("complex.value", &["offsetof(PyComplexObject, cval)"]),
    ask("cell.value", &["offsetof(PyCellObject, ob_ref)"]),
    ask("function.qualified_name", &["offsetof(PyFunctionObject, func_qualname)"]),
    ask("function.code", &["offsetof(PyFunctionObject, func_code)"]),
    ask("function.module", &["offsetof(PyFunctionObject, func_module)"]),
    ask("method.function", &["offsetof(PyMethodObject, im_func)"]),
    ask("method.self", &["offsetof(PyMethodObject, im_self)"]),
    // `PyModuleObject` is in no header before 3.11 (Objects/moduleobject.c): the dict is its first field.
    ask("module.dict", &["offsetof(PyModuleObject, md_dict)", "sizeof(PyObject)"]),
    ask("slice.start", &["offsetof(PySliceObject, start)"]),
    ask("exception.args", &["offsetof(PyBaseExceptionObject, args)"]),
    ask("builtin.definition", &["offsetof(PyCFunctionObject, m_ml)"]),
    ask("builtin.self", &["offsetof(PyCFunctionObject, m_self)"]),
    ask("descriptor.owner", &["offsetof(PyDescrObject, d_type)"]),
    ask("descriptor.name", &["offsetof(PyDescrObject, d_name)"]),
    ask("descriptor.member", &["offsetof(PyMemberDescrObject, d_member)"]),
    ask("member.kind", &["offsetof(PyMemberDef, type)"]),
    ask("member.offset", &["offsetof(PyMemberDef, offset)"]),
    ask("generator.qualified_name", &["offsetof(PyGenObject, gi_qualname)"]),
    ask(
        "generator.frame",
        &["offsetof(PyGenObject, gi_iframe)", "offsetof(PyGenObject, gi_frame)"],
    ),
    // Where neither the generator nor its frame has a state, it has a flag.
    ask(
        "generator.state",
        &[
            "offsetof(PyGenObject, gi_frame_state)",
            "offsetof(PyGenObject, gi_running)",
            "offsetof(PyFrameObject, f_state)",
        ],
    ),
    ask("function.closure", &["offsetof(PyFunctionObject, func_closure)"]),
    ask("type.subclasses", &["offsetof(PyTypeObject, tp_subclasses)"]),
    ask("gc.head", &["sizeof(PyGC_Head)"]),
    ask("thread.running_task", &["offsetof(struct _PyThreadStateImpl, asyncio_running_task)"]),
    ask("thread.tasks", &["offsetof(struct _PyThreadStateImpl, asyncio_tasks_head)"]),
    ask("interpreter.tasks", &["offsetof(PyInterpreterState, asyncio_tasks_head)"]),
    ask("weakref.object", &["offsetof(PyWeakReference, wr_object)"]),
    ask("date.data", &["offsetof(PyDateTime_Date, data)"]),
    ask("time.has_zone", &["offsetof(PyDateTime_Time, hastzinfo)"]),
    ask("time.data", &["offsetof(PyDateTime_Time, data)"]),
    ask("time.fold", &["offsetof(PyDateTime_Time, fold)"]),
    ask("time.zone", &["offsetof(PyDateTime_Time, tzinfo)"]),
    ask("datetime.data", &["offsetof(PyDateTime_DateTime, data)"]),
    ask("datetime.fold", &["offsetof(PyDateTime_DateTime, fold)"]),
    ask("datetime.zone", &["offsetof(PyDateTime_DateTime, tzinfo)"]),
    ask("delta.days", &["offsetof(PyDateTime_Delta, days)"]),
    // Where the process publishes its own numbers (3.13+).
    ask(
        "published.runtime.interpreters",
        &["offsetof(_Py_DebugOffsets, runtime_state.interpreters_head)"],
    ),
    ask("published.interpreter.next", &["offsetof(_Py_DebugOffsets, interpreter_state.next)"]),
    ask("published.interpreter.id", &["offsetof(_Py_DebugOffsets, interpreter_state.id)"]),
    ask(
        "published.interpreter.threads",
        &["offsetof(_Py_DebugOffsets, interpreter_state.threads_head)"],
    ),
    ask(
        "published.interpreter.modules",
        &["offsetof(_Py_DebugOffsets, interpreter_state.imports_modules)"],
    ),
    ask("published.interpreter.gil", &["offsetof(_Py_DebugOffsets, interpreter_state.ceval_gil)"]),
    ask("published.thread.next", &["offsetof(_Py_DebugOffsets, thread_state.next)"]),
    ask("published.thread.interpreter", &["offsetof(_Py_DebugOffsets, thread_state.interp)"]),
    ask("published.thread.ident", &["offsetof(_Py_DebugOffsets, thread_state.thread_id)"]),
    ask(
        "published.thread.native_id",
        &["offsetof(_Py_DebugOffsets, thread_state.native_thread_id)"],
    ),
    ask("published.thread.frame", &["offsetof(_Py_DebugOffsets, thread_state.current_frame)"]),
    ask("published.frame.previous", &["offsetof(_Py_DebugOffsets, interpreter_frame.previous)"]),
    ask("published.frame.code", &["offsetof(_Py_DebugOffsets, interpreter_frame.executable)"]),
    ask("published.frame.position", &["offsetof(_Py_DebugOffsets, interpreter_frame.instr_ptr)"]),
    ask("published.frame.owner", &["offsetof(_Py_DebugOffsets, interpreter_frame.owner)"]),
    ask("published.frame.locals", &["offsetof(_Py_DebugOffsets, interpreter_frame.localsplus)"]),
    ask("published.code.name", &["offsetof(_Py_DebugOffsets, code_object.name)"]),
    ask("published.code.qualified_name", &["offsetof(_Py_DebugOffsets, code_object.qualname)"]),
    ask("published.code.file", &["offsetof(_Py_DebugOffsets, code_object.filename)"]),
    ask("published.code.first_line", &["offsetof(_Py_DebugOffsets, code_object.firstlineno)"]),
    ask("published.code.lines", &["offsetof(_Py_DebugOffsets, code_object.linetable)"]),
    ask(
        "published.code.instructions",
        &["offsetof(_Py_DebugOffsets, code_object.co_code_adaptive)"],
    ),
    ask("published.code.all_locals", &["offsetof(_Py_DebugOffsets, code_object.localsplusnames)"]),
    ask("published.code.kinds", &["offsetof(_Py_DebugOffsets, code_object.localspluskinds)"]),
    ask("published.tuple.items", &["offsetof(_Py_DebugOffsets, tuple_object.ob_item)"]),
    ask("published.bytes.data", &["offsetof(_Py_DebugOffsets, bytes_object.ob_sval)"]),
    ask("published.text.length", &["offsetof(_Py_DebugOffsets, unicode_object.length)"]),
    ask("published.text.state", &["offsetof(_Py_DebugOffsets, unicode_object.state)"]),
    ask(
        "published.text.ascii_data",
        &["offsetof(_Py_DebugOffsets, unicode_object.asciiobject_size)"],
    ),
    ask(
        "published.debugger_support.enabled",
        &["offsetof(_Py_DebugOffsets, debugger_support.remote_debugging_enabled)"],
    ),
];

/// The beginning of the program; which headers there are differs from version to version.
pub(super) const HEAD: &str = r#"#define Py_BUILD_CORE 1
#include <stddef.h>
#include <stdio.h>
#include <Python.h>
#include <frameobject.h>
#include <structmember.h>
#include <datetime.h>
#define HAS(name) __has_include(name)
#if HAS("internal/pystate.h")
#include "internal/pystate.h"
#endif
#if HAS("internal/pycore_pystate.h")
#include "internal/pycore_pystate.h"
#endif
#if HAS("internal/pycore_runtime.h")
#include "internal/pycore_runtime.h"
#endif
#if HAS("internal/pycore_interp.h")
#include "internal/pycore_interp.h"
#endif
#if HAS("internal/pycore_frame.h")
#include "internal/pycore_frame.h"
#endif
#if HAS("internal/pycore_interpframe_structs.h")
#include "internal/pycore_interpframe_structs.h"
#endif
#if HAS("internal/pycore_tstate.h")
#include "internal/pycore_tstate.h"
#endif
#if HAS("internal/pycore_dict.h")
#include "internal/pycore_dict.h"
#endif
#if HAS("internal/pycore_moduleobject.h")
#include "internal/pycore_moduleobject.h"
#endif
#if HAS("internal/pycore_debug_offsets.h")
#include "internal/pycore_debug_offsets.h"
#endif
"#;
