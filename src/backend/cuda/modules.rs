//! Compiling the kernels when they are first needed, with NVIDIA's compiler library (NVRTC), and keeping what it made.
//!
//! What was compiled is kept in the folder `cuda` of the cache (`ORIBI_CACHE`, or `~/.cache/oribi`), under a name of module, architecture
//! and a hash over the sources, the options and the versions of compiler and library. Where that folder cannot be written nothing is
//! kept, and nothing is lost but time. Where there is no such library the code is what is [built in](super::builtin).

use std::ffi::{CStr, CString, c_char, c_int};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use cudarc::nvrtc::sys;
use twox_hash::{XxHash3_64, XxHash3_128};

use super::builtin;
use super::sources::{HEADERS, Module};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, ErrorKind, Result, bail};

/// How every module is compiled. Multiplications and additions stay apart, as in the sources.
const OPTIONS: &[&CStr] = &[c"--std=c++20", c"-default-device", c"--fmad=false"];

/// The oldest NVRTC that is known to compile the kernels.
const MIN_VERSION: (c_int, c_int) = (12, 0);

/// `ORIBI_CUDA_CODE=built-in` in the environment: as if there were no compiler.
const CODE_VARIABLE: &str = "ORIBI_CUDA_CODE";

/// The compiler, unless built-in code is to be used.
fn compiler() -> Option<Compiler> {
    let is_unwanted = std::env::var_os(CODE_VARIABLE).is_some_and(|value| value == "built-in");
    if is_unwanted { None } else { Compiler::find().ok() }
}

/// Where the code comes from, for people.
pub(super) fn origin() -> String {
    match compiler() {
        Some(Compiler { version: (major, minor) }) => format!("kernels compiled by NVRTC {major}.{minor}"),
        None => "built-in kernels for sm_80".to_owned(),
    }
}

/// The code of a module for an architecture, such as 90 for `sm_90`: what was kept, or else what the compiler makes of it. A compiler that is
/// older than the architecture makes an intermediate form (PTX) for the latest that it knows, which the driver compiles. Without a
/// compiler it is the built-in code.
///
/// # Errors
/// `Device` where the compiler cannot compile for the architecture.
pub(super) fn code(module: &Module, architecture: u32) -> Result<Vec<u8>> {
    let Some(compiler) = compiler() else { return Ok(builtin::codes(std::slice::from_ref(module))?.swap_remove(0)) };
    let kept = folder().map(|folder| folder.join(compiler.file_name(module, architecture)));
    if let Some(code) = kept.as_deref().and_then(read) {
        return Ok(code);
    }
    let code = compiler.compile(module, architecture)?;
    if let Some(kept) = kept {
        // A cache that cannot be written costs time alone.
        let _ = write(&kept, &code);
    }
    Ok(code)
}

/// The [`code`] of several modules, compiled on as many threads as there are cores.
///
/// # Errors
/// Those of [`code`].
pub(super) fn codes(modules: &[Module], architecture: u32) -> Result<Vec<Vec<u8>>> {
    if compiler().is_none() {
        return builtin::codes(modules);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            match modules.get(i) {
                Some(module) => done.push((i, code(module, architecture))),
                None => return done,
            }
        }
    };
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from).min(modules.len());
    let mut done = std::thread::scope(|scope| {
        // A thread that cannot be had is not missed: this one goes on until all is done.
        let spawn = |_| std::thread::Builder::new().name("oribi-nvrtc".to_owned()).spawn_scoped(scope, work).ok();
        let threads: Vec<_> = (1..n_threads).filter_map(spawn).collect();
        let mut done = work();
        for thread in threads {
            done.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_by_key(|&(i, _)| i);
    done.into_iter().map(|(_, code)| code).collect()
}

/// Forget the code that was kept: it could not be loaded.
pub(super) fn forget(module: &Module, architecture: u32) {
    if let (Some(compiler), Some(folder)) = (compiler(), folder()) {
        let _ = std::fs::remove_file(folder.join(compiler.file_name(module, architecture)));
    }
}

/// Where compiled modules are kept.
fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("ORIBI_CACHE").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
    Some(named.or_else(|| Some(home()?.join(".cache").join("oribi")))?.join("cuda"))
}

/// Bytes of the checksum that follows the code in a file.
const CHECKSUM_BYTES: usize = 8;

/// The code in a file; nothing where it is not there or damaged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(path).ok()?;
    let code = bytes.len().checked_sub(CHECKSUM_BYTES)?;
    let is_whole = bytes[code..] == XxHash3_64::oneshot(&bytes[..code]).to_le_bytes();
    bytes.truncate(code);
    is_whole.then_some(bytes)
}

/// Write the code to a file, which appears when it is whole.
fn write(path: &Path, code: &[u8]) -> Result<()> {
    let what = || format!("write {}", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(what(), e))?;
    }
    let mut file = AtomicFile::create(path)?;
    let checksum = XxHash3_64::oneshot(code).to_le_bytes();
    file.write_all(code).and_then(|()| file.write_all(&checksum)).map_err(|e| Error::io(what(), e))?;
    file.commit()
}

/// NVRTC.
struct Compiler {
    version: (c_int, c_int),
}

impl Compiler {
    fn find() -> Result<Compiler> {
        // SAFETY: loads a library by its usual names.
        if !unsafe { sys::is_culib_present() } {
            bail!(
                Device,
                "NVIDIA's compiler library (libnvrtc) was not found: it is part of the CUDA toolkit, and alone in the Python \
                 package nvidia-cuda-nvrtc; LD_LIBRARY_PATH says where"
            );
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the library is there; the function writes both numbers.
        check(unsafe { sys::nvrtcVersion(&mut major, &mut minor) }, "tell its version")?;
        if (major, minor) < MIN_VERSION {
            bail!(Device, "NVIDIA's compiler library (libnvrtc) has version {major}.{minor}; 12.0 is needed");
        }
        Ok(Compiler { version: (major, minor) })
    }

    /// The name of a module's code, different whenever the code may differ.
    fn file_name(&self, module: &Module, architecture: u32) -> String {
        let mut hash = XxHash3_128::new();
        let mut put = |bytes: &[u8]| {
            hash.write(&(bytes.len() as u64).to_le_bytes());
            hash.write(bytes);
        };
        put(env!("CARGO_PKG_VERSION").as_bytes());
        put(format!("{:?}", self.version).as_bytes());
        OPTIONS.iter().for_each(|option| put(option.to_bytes()));
        put(module.definition().unwrap_or_default().as_bytes());
        put(module.source().as_bytes());
        HEADERS.iter().for_each(|(name, text)| [name, text].iter().for_each(|part| put(part.as_bytes())));
        format!("{}-sm_{architecture}-{:032x}.bin", module.name(), hash.finish_128())
    }

    /// The latest architecture that the compiler knows, up to this one.
    fn target(&self, architecture: u32) -> Result<u32> {
        let mut n = 0;
        // SAFETY: the functions write a count, and then so many numbers.
        let known = unsafe {
            check(sys::nvrtcGetNumSupportedArchs(&mut n), "tell its architectures")?;
            let mut known: Vec<c_int> = vec![0; n.max(0) as usize];
            check(sys::nvrtcGetSupportedArchs(known.as_mut_ptr()), "tell its architectures")?;
            known
        };
        match known.into_iter().map(|known| known as u32).filter(|&known| known <= architecture).max() {
            Some(target) => Ok(target),
            None => {
                let (major, minor) = self.version;
                bail!(
                    Device,
                    "NVIDIA's compiler library (libnvrtc) {major}.{minor} cannot compile for sm_{architecture}"
                )
            }
        }
    }

    fn compile(&self, module: &Module, architecture: u32) -> Result<Vec<u8>> {
        let target = self.target(architecture)?;
        let is_own = target == architecture;
        let mut options: Vec<CString> = OPTIONS.iter().map(|&option| option.to_owned()).collect();
        let kind = if is_own { "sm" } else { "compute" };
        options.push(c_string(&format!("--gpu-architecture={kind}_{target}"))?);
        options.extend(module.definition().as_deref().map(c_string).transpose()?);
        let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        let program = Program::new(module)?;
        // SAFETY: the program is alive, and so are the options.
        let status = unsafe { sys::nvrtcCompileProgram(program.0, options.len() as c_int, options.as_ptr()) };
        if status != sys::nvrtcResult::NVRTC_SUCCESS {
            let name = module.name();
            bail!(Device, "compiling {name} for {kind}_{target} failed ({status:?}): {}", program.log());
        }
        let mut len = 0;
        // SAFETY: the program is compiled; the functions write a length, and then so many bytes.
        unsafe {
            let of_code = |code: &mut Vec<u8>| match is_own {
                true => sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()),
                false => sys::nvrtcGetPTX(program.0, code.as_mut_ptr().cast()),
            };
            let size = if is_own { sys::nvrtcGetCUBINSize } else { sys::nvrtcGetPTXSize };
            check(size(program.0, &mut len), "give its code")?;
            let mut code = vec![0u8; len];
            check(of_code(&mut code), "give its code")?;
            Ok(code)
        }
    }
}

/// A program of NVRTC.
struct Program(sys::nvrtcProgram);

impl Program {
    fn new(module: &Module) -> Result<Program> {
        let texts = |of: fn(&(&str, &str)) -> String| -> Result<Vec<CString>> {
            HEADERS.iter().map(|header| c_string(&of(header))).collect()
        };
        let (names, headers) = (texts(|h| h.0.to_string())?, texts(|h| h.1.to_string())?);
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let (name_pointers, header_pointers) = (pointers(&names), pointers(&headers));
        let (source, name) = (c_string(module.source())?, c_string(module.file)?);
        let mut program = std::ptr::null_mut();
        // SAFETY: all strings live during the call, which copies them; both arrays have as many entries.
        let status = unsafe {
            sys::nvrtcCreateProgram(
                &mut program,
                source.as_ptr(),
                name.as_ptr(),
                headers.len() as c_int,
                header_pointers.as_ptr(),
                name_pointers.as_ptr(),
            )
        };
        check(status, "take a program")?;
        Ok(Program(program))
    }

    /// What the compiler said.
    fn log(&self) -> String {
        let mut len = 0;
        // SAFETY: the program is alive; the functions write a length, and then so many bytes.
        unsafe {
            if sys::nvrtcGetProgramLogSize(self.0, &mut len) != sys::nvrtcResult::NVRTC_SUCCESS {
                return String::new();
            }
            let mut log = vec![0u8; len];
            if sys::nvrtcGetProgramLog(self.0, log.as_mut_ptr().cast()) != sys::nvrtcResult::NVRTC_SUCCESS {
                return String::new();
            }
            String::from_utf8_lossy(&log).trim_end_matches('\0').trim().to_string()
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: created in `new`, and nobody uses it any more.
        let _ = unsafe { sys::nvrtcDestroyProgram(&mut self.0) };
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(ErrorKind::Internal, "a source of the CUDA kernels holds a zero byte"))
}

fn check(status: sys::nvrtcResult, what: &str) -> Result<()> {
    if status != sys::nvrtcResult::NVRTC_SUCCESS {
        bail!(Device, "NVIDIA's compiler library (libnvrtc) did not {what}: {status:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_not_taken_for_code() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("a.cubin");
        assert_eq!(read(&path), None);
        write(&path, b"some code").unwrap();
        assert_eq!(read(&path).as_deref(), Some(&b"some code"[..]));
        let whole = std::fs::read(&path).unwrap();
        for i in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[i] ^= 4;
            std::fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path), None, "byte {i}");
            std::fs::write(&path, &whole[..i]).unwrap();
            assert_eq!(read(&path), None, "{i} bytes");
        }
    }

    #[test]
    fn code_is_kept_under_a_name_of_all_that_it_depends_on() {
        let name = |version, kernel: &str, architecture| {
            Compiler { version }.file_name(&Module::with_kernel(kernel).unwrap(), architecture)
        };
        let names = [
            name((12, 8), "oribi_norm", 80),
            name((12, 9), "oribi_norm", 80),
            name((12, 8), "oribi_norm", 90),
            name((12, 8), "oribi_embed_q4_k", 80),
            name((12, 8), "oribi_embed_q6_k", 80),
        ];
        for (i, one) in names.iter().enumerate() {
            assert!(names[..i].iter().all(|other| other != one), "{one}");
        }
        assert!(names[0].starts_with("norm-sm_80-") && names[3].starts_with("embed-q4_k-sm_80-"), "{names:?}");
    }

    /// Needs the compiler and no GPU: that the sources which are part of the library are all that is needed.
    #[test]
    fn modules_are_compiled_where_there_is_a_compiler() {
        let compiler = match Compiler::find() {
            Ok(compiler) => compiler,
            Err(e) => return println!("not run: {e}"),
        };
        for kernel in ["oribi_norm", "oribi_matmul_q4_k_8", "oribi_embed_f16", "oribi_attend_split_q8_0_4"] {
            let module = Module::with_kernel(kernel).unwrap();
            let code = compiler.compile(&module, 80).unwrap();
            assert!(code.starts_with(b"\x7fELF"), "{kernel}");
            let name = kernel.as_bytes();
            assert!(code.windows(name.len()).any(|window| window == name), "{kernel}");
        }
        // Several at once, in their order.
        let kernels = ["oribi_softcap", "oribi_glu", "oribi_sum_squares"];
        let modules = kernels.map(|kernel| Module::with_kernel(kernel).unwrap());
        for (kernel, code) in kernels.iter().zip(codes(&modules, 80).unwrap()) {
            assert!(code.windows(kernel.len()).any(|window| window == kernel.as_bytes()), "{kernel}");
        }
        let norm = Module::with_kernel("oribi_norm").unwrap();
        let error = compiler.compile(&norm, 7).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Device);
        // An architecture that is newer than the compiler: text for the driver, which ends with zero.
        let text = String::from_utf8(compiler.compile(&norm, 9999).unwrap()).unwrap();
        assert!(text.contains(".target sm_") && text.contains("oribi_norm") && text.ends_with('\0'), "{text}");
    }
}
