//! The only module that speaks wasmtime's C API: it puts the WASI functions into a linker of the PyPI package.
//!
//! The library is the one that Python has loaded already; its functions are looked up by name, so nothing is linked
//! at build time. Layouts are those of `wasmtime/extern.h` and `wasmtime/val.h` of the pinned minor version, which
//! the Python face checks before it calls in here.
#![allow(unsafe_code)]

use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::NonNull;

use crate::errno::Errno;
use crate::guest::Guest;
use crate::wasi::{
    Args, FUNCTIONS, Function, Kind, MAX_PARAMS, MODULE, Memory, Stop, UNSTABLE_MODULE, perform, unstable_functions,
};

/// `wasmtime_val_raw_t`: a union of 16 bytes whose first word holds an integer.
#[repr(C)]
union ValRaw {
    bits: u64,
    v128: [u8; 16],
}

/// `wasmtime_memory_t`: 24 bytes that only wasmtime reads.
#[repr(C)]
#[derive(Clone, Copy)]
struct MemoryHandle([u64; 3]);

/// `wasmtime_extern_t`: a kind, and a union whose largest member is a memory.
#[repr(C)]
struct Extern {
    kind: u8,
    of: MemoryHandle,
}

/// `WASMTIME_EXTERN_MEMORY`.
const EXTERN_MEMORY: u8 = 3;

type Caller = c_void;
type Context = c_void;
type Trap = c_void;
type Callback = unsafe extern "C" fn(*mut c_void, *mut Caller, *mut ValRaw, usize) -> *mut Trap;

/// `wasm_valtype_vec_t`.
#[repr(C)]
struct ValtypeVec {
    size: usize,
    data: *mut *mut c_void,
}

/// The functions of the C API that are used.
struct Api {
    linker_define_func_unchecked: unsafe extern "C" fn(
        *mut c_void,
        *const c_char,
        usize,
        *const c_char,
        usize,
        *const c_void,
        Callback,
        *mut c_void,
        Option<unsafe extern "C" fn(*mut c_void)>,
    ) -> *mut c_void,
    caller_export_get: unsafe extern "C" fn(*mut Caller, *const c_char, usize, *mut Extern) -> bool,
    caller_context: unsafe extern "C" fn(*mut Caller) -> *mut Context,
    memory_data: unsafe extern "C" fn(*const Context, *const MemoryHandle) -> *mut u8,
    memory_data_size: unsafe extern "C" fn(*const Context, *const MemoryHandle) -> usize,
    trap_new: unsafe extern "C" fn(*const c_char, usize) -> *mut Trap,
    functype_new: unsafe extern "C" fn(*mut ValtypeVec, *mut ValtypeVec) -> *mut c_void,
    functype_delete: unsafe extern "C" fn(*mut c_void),
    valtype_new: unsafe extern "C" fn(u8) -> *mut c_void,
    valtype_vec_new: unsafe extern "C" fn(*mut ValtypeVec, usize, *const *mut c_void),
}

const RTLD_NOW: c_int = 2;
const RTLD_NOLOAD: c_int = 4;

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

/// The library at `path`, which must be loaded already.
fn library_at(path: &str) -> Result<NonNull<c_void>, String> {
    let name = CString::new(path).map_err(|_| format!("{path:?}: not a path"))?;
    // SAFETY: a valid C string; NOLOAD runs no initialiser.
    let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW | RTLD_NOLOAD) };
    NonNull::new(library).ok_or_else(|| format!("{path}: wasmtime's library is not loaded"))
}

fn symbol(library: NonNull<c_void>, path: &str, name: &str) -> Result<NonNull<c_void>, String> {
    let text = CString::new(name).map_err(|_| format!("{name:?}: not a symbol"))?;
    // SAFETY: a live handle and a valid C string.
    let address = unsafe { dlsym(library.as_ptr(), text.as_ptr()) };
    NonNull::new(address).ok_or_else(|| format!("{path}: this wasmtime has no {name}"))
}

impl Api {
    /// Look the functions up in the library at `path`, which must be loaded already.
    #[expect(
        clippy::missing_transmute_annotations,
        reason = "the type of the field that it goes to says it"
    )]
    fn load(path: &str) -> Result<Self, String> {
        let library = library_at(path)?;
        macro_rules! function {
            ($name:literal) => {
                // SAFETY: the symbol has the signature that the pinned version's headers declare for it, which the
                // field that it is stored in repeats.
                unsafe { std::mem::transmute::<*mut c_void, _>(symbol(library, path, $name)?.as_ptr()) }
            };
        }
        Ok(Self {
            linker_define_func_unchecked: function!("wasmtime_linker_define_func_unchecked"),
            caller_export_get: function!("wasmtime_caller_export_get"),
            caller_context: function!("wasmtime_caller_context"),
            memory_data: function!("wasmtime_memory_data"),
            memory_data_size: function!("wasmtime_memory_data_size"),
            trap_new: function!("wasmtime_trap_new"),
            functype_new: function!("wasm_functype_new"),
            functype_delete: function!("wasm_functype_delete"),
            valtype_new: function!("wasm_valtype_new"),
            valtype_vec_new: function!("wasm_valtype_vec_new"),
        })
    }

    fn valtypes(&self, kinds: &[Kind]) -> ValtypeVec {
        let types: Vec<_> = kinds
            .iter()
            .map(|kind| match kind {
                Kind::I32 => 0,
                Kind::I64 => 1,
            })
            // SAFETY: 0 and 1 are WASM_I32 and WASM_I64.
            .map(|kind| unsafe { (self.valtype_new)(kind) })
            .collect();
        let mut vec = ValtypeVec {
            size: 0,
            data: std::ptr::null_mut(),
        };
        // SAFETY: the types were just made, and the vector takes them over.
        unsafe { (self.valtype_vec_new)(&mut vec, types.len(), types.as_ptr()) };
        vec
    }
}

/// How a signal handler stops the wasm that an engine runs: its epoch moves on.
pub struct Interrupt {
    engine: *mut c_void,
    increment_epoch: unsafe extern "C" fn(*mut c_void),
}

// SAFETY: wasmtime's engine may be used from any thread, and the function does one atomic addition.
unsafe impl Send for Interrupt {}
// SAFETY: as above.
unsafe impl Sync for Interrupt {}

impl Interrupt {
    /// # Safety
    /// `engine` is a `wasm_engine_t` of the library at `library` that lives until the process ends.
    pub unsafe fn of(engine: *mut c_void, library: &str) -> Result<Self, String> {
        let address = symbol(library_at(library)?, library, "wasmtime_engine_increment_epoch")?;
        // SAFETY: the signature of the pinned version's header.
        let increment_epoch =
            unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut c_void)>(address.as_ptr()) };
        Ok(Self {
            engine,
            increment_epoch,
        })
    }

    /// Safe in a signal handler.
    pub fn interrupt(&self) {
        // SAFETY: the engine lives, see `of`.
        unsafe { (self.increment_epoch)(self.engine) }
    }
}

/// What all callbacks of one linker share. Made once per Keep, and never freed: the linker may call until the
/// process ends.
struct Link {
    api: Api,
    guest: *mut Guest,
    memory: Option<MemoryHandle>,
}

/// What one callback gets as its environment.
struct Binding {
    link: *mut Link,
    function: &'static Function,
}

/// Define every WASI function of both snapshots in a linker.
///
/// # Safety
/// `linker` is a live `wasmtime_linker_t` of the library at `library`. `guest` stays where it is until the process
/// ends, and while the linker's functions run nobody else uses it.
pub unsafe fn define_all(linker: *mut c_void, library: &str, guest: *mut Guest) -> Result<(), String> {
    let link = Box::into_raw(Box::new(Link {
        api: Api::load(library)?,
        guest,
        memory: None,
    }));
    let newer = FUNCTIONS.iter().map(|function| (MODULE, function));
    let older = unstable_functions().map(|function| (UNSTABLE_MODULE, function));
    for (module, function) in newer.chain(older) {
        let binding = Box::into_raw(Box::new(Binding { link, function }));
        // SAFETY: just made and never freed; no callback runs while functions are being defined.
        let api = unsafe { &(*link).api };
        let mut params = api.valtypes(function.params);
        let mut results = api.valtypes(if function.returns { &[Kind::I32] } else { &[] });
        // SAFETY: both vectors were just made and are taken over; the strings are given with their lengths; the
        // linker is live; the callback and its environment live for ever.
        let error = unsafe {
            let functype = (api.functype_new)(&mut params, &mut results);
            let error = (api.linker_define_func_unchecked)(
                linker,
                module.as_ptr().cast(),
                module.len(),
                function.name.as_ptr().cast(),
                function.name.len(),
                functype,
                call,
                binding.cast(),
                None,
            );
            (api.functype_delete)(functype);
            error
        };
        if !error.is_null() {
            return Err(format!("wasmtime refused to define {module}.{}", function.name));
        }
    }
    Ok(())
}

/// What wasmtime calls: `values` holds the arguments, and takes the result.
unsafe extern "C" fn call(env: *mut c_void, caller: *mut Caller, values: *mut ValRaw, count: usize) -> *mut Trap {
    // SAFETY: `env` is the binding that `define_all` gave, which lives for ever; so does its link.
    let (binding, link) = unsafe {
        let binding = &*env.cast::<Binding>();
        (binding, &mut *binding.link)
    };
    let params = binding.function.params.len();
    assert!(params <= count && params <= MAX_PARAMS);
    let mut words = [0u64; MAX_PARAMS];
    for (index, word) in words.iter_mut().enumerate().take(params) {
        // SAFETY: wasmtime gives `count` initialised values; integers are in the first word.
        *word = unsafe { (*values.add(index)).bits };
    }
    let mut memory = Memory::new(link.memory(caller));
    // SAFETY: the guest lives for ever, and nobody else uses it while the workload runs (see `define_all`); WASI
    // functions do not call back into wasm, so this is the only reference.
    let guest = unsafe { &mut *link.guest };
    let answer = perform(binding.function, guest, &mut memory, &Args(&words[..params]));
    let errno = match answer {
        Ok(()) => Errno::SUCCESS,
        Err(Stop::Errno(errno)) => errno,
        Err(Stop::Exit) => return link.trap("proc_exit"),
        Err(Stop::Deadline) => return link.trap("deadline"),
    };
    // SAFETY: the function returns an i32, so there is room for one value.
    unsafe { (*values).bits = u64::from(errno.0) };
    std::ptr::null_mut()
}

impl Link {
    /// The workload's memory during this call; empty if it exports none, so that every address faults.
    fn memory(&mut self, caller: *mut Caller) -> &'static mut [u8] {
        if self.memory.is_none() {
            self.memory = self.exported_memory(caller);
        }
        let Some(handle) = &self.memory else { return &mut [] };
        // SAFETY: the caller is live during the call and the handle is of its store. The memory neither moves nor
        // shrinks before the call returns, because no wasm runs meanwhile, and the slice is dropped before that. It
        // is not a shared memory: modules that use one are refused.
        unsafe {
            let context = (self.api.caller_context)(caller);
            let base = (self.api.memory_data)(context, handle);
            let len = (self.api.memory_data_size)(context, handle);
            if base.is_null() {
                &mut []
            } else {
                std::slice::from_raw_parts_mut(base, len)
            }
        }
    }

    fn exported_memory(&self, caller: *mut Caller) -> Option<MemoryHandle> {
        let mut found = Extern {
            kind: 0,
            of: MemoryHandle([0; 3]),
        };
        let name = "memory";
        // SAFETY: the caller is live, the name is given with its length, and `found` is large enough for any extern.
        let exists = unsafe { (self.api.caller_export_get)(caller, name.as_ptr().cast(), name.len(), &mut found) };
        (exists && found.kind == EXTERN_MEMORY).then_some(found.of)
    }

    /// A trap that unwinds the workload.
    fn trap(&self, message: &str) -> *mut Trap {
        // SAFETY: the message is given with its length; wasmtime takes the trap over.
        unsafe { (self.api.trap_new)(message.as_ptr().cast(), message.len()) }
    }
}
