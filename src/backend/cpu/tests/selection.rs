//! The kernel table is sound, and the choice from it is the best that the instruction set allows.

use super::super::bindings::{self as c};
use super::super::kernels::{Acts, Isa, KernelSet, table};
use crate::ErrorKind;
use crate::dtype::DType;

#[test]
fn the_ids_of_the_header_are_those_of_the_format_table() {
    let ids = [
        (DType::F32, c::ORIBI_F32),
        (DType::F16, c::ORIBI_F16),
        (DType::Q4_0, c::ORIBI_Q4_0),
        (DType::Q4_1, c::ORIBI_Q4_1),
        (DType::Q5_0, c::ORIBI_Q5_0),
        (DType::Q5_1, c::ORIBI_Q5_1),
        (DType::Q8_0, c::ORIBI_Q8_0),
        (DType::Q8_1, c::ORIBI_Q8_1),
        (DType::Q2_K, c::ORIBI_Q2_K),
        (DType::Q3_K, c::ORIBI_Q3_K),
        (DType::Q4_K, c::ORIBI_Q4_K),
        (DType::Q5_K, c::ORIBI_Q5_K),
        (DType::Q6_K, c::ORIBI_Q6_K),
        (DType::Q8_K, c::ORIBI_Q8_K),
        (DType::IQ4_NL, c::ORIBI_IQ4_NL),
        (DType::IQ4_XS, c::ORIBI_IQ4_XS),
        (DType::BF16, c::ORIBI_BF16),
        (DType::MXFP4, c::ORIBI_MXFP4),
        (DType::IQ1_S, c::ORIBI_IQ1_S),
        (DType::IQ1_M, c::ORIBI_IQ1_M),
        (DType::IQ2_XXS, c::ORIBI_IQ2_XXS),
        (DType::IQ2_XS, c::ORIBI_IQ2_XS),
        (DType::IQ2_S, c::ORIBI_IQ2_S),
        (DType::IQ3_XXS, c::ORIBI_IQ3_XXS),
        (DType::IQ3_S, c::ORIBI_IQ3_S),
        (DType::TQ1_0, c::ORIBI_TQ1_0),
        (DType::TQ2_0, c::ORIBI_TQ2_0),
    ];
    for (dtype, id) in ids {
        assert_eq!(dtype as u32, id, "{dtype}");
    }
}

#[test]
fn rows_of_the_table_differ_and_are_named_after_their_instruction_set() {
    for (i, a) in table().iter().enumerate() {
        let suffix = if a.isa() == Isa::Scalar { "ref" } else { a.isa().name() };
        assert!(a.name().ends_with(&format!("_{suffix}")), "{a:?} needs {}", a.isa());
        for b in &table()[..i] {
            assert_ne!(a.name(), b.name());
            let same = (a.op(), a.dtype(), a.isa(), a.acts()) == (b.op(), b.dtype(), b.isa(), b.acts());
            assert!(!same, "{a:?} and {b:?} are the same row");
        }
    }
}

#[test]
fn every_portable_role_has_a_scalar_kernel() {
    let scalar = KernelSet::new(Isa::Scalar).unwrap();
    let best = KernelSet::new(Isa::detect()).unwrap();
    assert!(scalar.chosen().iter().all(|kernel| kernel.isa() == Isa::Scalar && !kernel.is_native()));
    let portable: Vec<_> = best.chosen().iter().filter(|kernel| !kernel.is_native()).collect();
    assert_eq!(scalar.chosen().len(), portable.len());
    for (a, b) in scalar.chosen().iter().zip(portable) {
        assert!((a.op(), a.dtype()) == (b.op(), b.dtype()) && a.isa() <= b.isa(), "{a:?} {b:?}");
    }
    assert_eq!(scalar.quantizer(Acts::Pairs).unwrap().name(), "oribi_quantize_acts_pairs_ref");
    assert_eq!(scalar.quantizer(Acts::F32).unwrap_err().kind(), ErrorKind::Internal);
}

#[test]
fn a_native_kernel_stands_beside_the_portable_one_and_never_in_its_place() {
    for set in Isa::ALL.iter().filter_map(|&isa| KernelSet::new(isa).ok()) {
        for dtype in super::dtypes() {
            let portable = set.weight(c::ORIBI_OP_MATMUL, dtype).unwrap();
            assert!(!portable.is_native(), "{portable:?}");
            match set.native(c::ORIBI_OP_MATMUL, dtype) {
                Some(native) => {
                    assert!(native.is_native() && native.dtype() == Some(dtype), "{native:?}");
                    assert!(native.isa() <= set.isa() && set.quantizer(Acts::Bf16).is_ok(), "{native:?}");
                }
                None => assert!(!matches!(set.isa(), Isa::Avx512Bf16 | Isa::Amx), "{dtype} has no native product"),
            }
        }
        assert!(!set.cache(c::ORIBI_OP_ATTENTION, DType::F16).unwrap().is_native());
        assert!(set.native(c::ORIBI_OP_ATTENTION, DType::F16).is_none_or(|kernel| kernel.is_native()));
        assert!(set.native(c::ORIBI_OP_RMS_NORM, DType::F16).is_none());
    }
}

#[test]
fn an_instruction_set_that_the_cpu_lacks_is_refused_by_name() {
    for &isa in Isa::ALL {
        match KernelSet::new(isa) {
            Ok(set) => assert!(set.isa() == isa && isa.is_available()),
            Err(error) => {
                assert!(!isa.is_available());
                assert_eq!(error.kind(), ErrorKind::Device);
                assert!(error.to_string().contains(isa.name()), "{error}");
            }
        }
        assert_eq!(isa.name().to_uppercase().parse::<Isa>().unwrap(), isa);
    }
    let error = "sse9".parse::<Isa>().unwrap_err();
    assert!(error.kind() == ErrorKind::InvalidArgument && error.to_string().contains("sse9"), "{error}");
}

#[test]
fn an_argument_wins_over_the_variable_and_an_unknown_name_is_an_error() {
    assert_eq!(Isa::choose_from(None, "").unwrap(), Isa::detect());
    assert_eq!(Isa::choose_from(None, "scalar").unwrap(), Isa::Scalar);
    assert_eq!(Isa::choose_from(Some(Isa::Scalar), "nonsense").unwrap(), Isa::Scalar);
    let error = Isa::choose_from(None, "nonsense").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("ORIBI_ISA"), "{error}");
}

#[test]
fn the_rows_of_instruction_sets_are_in_the_order_of_the_enum() {
    for (i, &isa) in Isa::ALL.iter().enumerate() {
        assert_eq!(isa as usize, i);
        assert_eq!(isa.name().parse::<Isa>().unwrap(), isa);
    }
}
