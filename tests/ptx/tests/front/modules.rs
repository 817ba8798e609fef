//! Declarations, scopes and places.

use ptx_machine::text::ast::*;
use ptx_machine::text::parse;

use crate::front::{kernel, refusal, sample_module};

fn module(text: &str) -> Module {
    parse(&format!(".version 8.7\n.target sm_90a, debug\n.address_size 64\n{text}"))
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn module_error(text: &str) -> String {
    match parse(&format!(".version 8.7\n.target sm_80\n{text}")) {
        Ok(module) => panic!("{text} is accepted: {module:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn variables_have_sizes_alignments_and_values() {
    let module = module(
        ".global .align 4 .b8 bytes[6] = {1, 2, 255};\n\
         .const .f32 kernel[2][3] = {{.5, 1.0}, {0f40000000}};\n\
         .global .v4 .f32 four;\n\
         .visible .global .u16 list[] = {1, -1, 3};\n\
         .shared .align 16 .b8 tile[2048];\n\
         .extern .shared .align 1024 .b8 rest[];\n\
         .global .s64 a, b[2];\n",
    );
    let said: Vec<(&str, Space, u32, u64, bool)> =
        module.variables.iter().map(|v| (v.name.as_str(), v.space, v.align, v.bytes, v.dynamic)).collect();
    assert_eq!(
        said,
        [
            ("bytes", Space::Global, 4, 6, false),
            ("kernel", Space::Const, 4, 24, false),
            ("four", Space::Global, 16, 16, false),
            ("list", Space::Global, 2, 6, false),
            ("tile", Space::Shared, 16, 2048, false),
            ("rest", Space::Shared, 1024, 0, true),
            ("a", Space::Global, 8, 8, false),
            ("b", Space::Global, 8, 16, false),
        ]
    );
    assert_eq!(module.variables[0].initial, [1, 2, 255, 0, 0, 0]);
    let floats: Vec<u8> = [0.5f32, 1.0, 0.0, 2.0, 0.0, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!(module.variables[1].initial, floats);
    assert_eq!(module.variables[3].initial, [1, 0, 255, 255, 3, 0]);
    assert!(module.variables[2].initial.is_empty());
    assert_eq!((module.version, module.target.as_str()), ((8, 7), "sm_90a"));
}

#[test]
fn a_kernels_head_is_kept() {
    let text = ".visible .entry k(\n\
                .param .u64 .ptr .global .align 16 in,\n\
                .param .align 8 .b8 dims[72],\n\
                .param .f32 scale\n\
                )\n.maxntid 16, 16\n.minnctapersm 2\n.reqnctapercluster 2, 1, 1\n.maxnreg 64\n{ ret; }\n\
                .weak .entry empty .reqntid 32 .explicitcluster { }";
    let module = module(text);
    let kernel = &module.kernels[0];
    let said: Vec<(&str, u32, u64)> = kernel.parameters.iter().map(|p| (p.name.as_str(), p.align, p.bytes)).collect();
    assert_eq!(said, [("in", 8, 8), ("dims", 8, 72), ("scale", 4, 4)]);
    assert_eq!(kernel.max_threads, Some([16, 16, 1]));
    assert_eq!(kernel.min_blocks_per_multiprocessor, Some(2));
    assert_eq!(kernel.cluster, Some([2, 1, 1]));
    assert_eq!((module.kernels[1].required_threads, module.kernels[1].cluster), (Some([32, 1, 1]), Some([0; 3])));
    assert!(module.kernels[1].body.is_empty());
}

/// A name that is declared again in inner braces is another register there, and the outer one behind them.
#[test]
fn scopes_have_registers_of_their_own() {
    let kernel = kernel(
        "mov.u32 %r1, 1; { .reg .b32 %r<2>; .reg .b32 t; mov.u32 %r1, 2; mov.u32 t, 3; mov.u32 %r2, 4; } mov.u32 %r1, 5;",
    )
    .expect("scopes are known");
    let written: Vec<u32> = kernel
        .body
        .iter()
        .filter_map(|instruction| match instruction.op {
            Op::Mov { d, .. } => Some(d.0),
            _ => None,
        })
        .collect();
    assert_eq!(written[0], written[4]);
    assert!(![written[0], written[3]].contains(&written[1]));
    assert_eq!(written[3], written[0] + 1, "%r2 is beyond the inner range and so the outer register");
    assert_eq!(kernel.registers[written[1] as usize].name, "%r1");
    assert!(refusal("{ .reg .b32 t; } mov.u32 t, 1;").contains("found `t`"));
}

/// The same label in two scopes, a branch out of a scope, a label at the end.
#[test]
fn labels_belong_to_their_scope() {
    let kernel = kernel("{ L: bra L; } { L: bra L; bra END; } trap; END:").expect("labels are known");
    let targets: Vec<u32> = kernel
        .body
        .iter()
        .filter_map(|instruction| match instruction.op {
            Op::Bra { target, .. } => Some(target),
            _ => None,
        })
        .collect();
    assert_eq!(targets, [0, 1, 4]);
    assert!(refusal("bra L; { L: }").contains("a branch to `L`"));
    let kernel =
        crate::front::kernel("ts: .branchtargets A, B, A; @%p1 brx.idx.uni %r1, ts; A: trap; B:").expect("a list");
    assert_eq!(
        kernel.body[0].op,
        Op::BrxIdx {
            index: match crate::front::op("mov.u32 %r2, %r1;") {
                Op::Mov { a, .. } => a,
                other => panic!("{other:?}"),
            },
            targets: vec![1, 2, 1],
            uniform: true
        }
    );
    assert!(kernel.body[0].guard.is_some_and(|guard| !guard.negated));
}

/// `.local` is no `.loc`, and `.loc` refers to the places that it was inlined at.
#[test]
fn places_say_where_code_was_inlined() {
    let kernel = kernel(
        ".loc 1 50 3\n.loc 2 16 5, function_name $L__info_string0, inlined_at 1 50 3\nadd.u32 %r1, %r1, 1;\n\
         .loc 3 7 9, function_name $L__info_string0+12, inlined_at 2 16 5\n.local .b8 more[8];\nadd.u32 %r1, %r1, 2;\n\
         .loc 1 51 1\n",
    )
    .expect("places are known");
    let chain = |i: usize| {
        let first = kernel.body[i].place.map(|place| kernel.places[place as usize]);
        let chain = std::iter::successors(first, |place| place.inlined_at.map(|outer| kernel.places[outer as usize]));
        chain.map(|place| (place.file, place.line, place.column)).collect::<Vec<_>>()
    };
    assert_eq!(chain(0), [(2, 16, 5), (1, 50, 3)]);
    assert_eq!(chain(1), [(3, 7, 9), (2, 16, 5), (1, 50, 3)]);
    assert_eq!(chain(2), [(1, 51, 1)]);
    assert_eq!(kernel.body[0].line, 27, "the third line behind the 24 of head.ptx");
    assert_eq!(kernel.variables.len(), 2);
}

#[test]
fn directives_that_are_not_known_are_refused_by_name() {
    let errors = [
        (".func f() { }", "found `.func`"),
        (".extern .func (.param .b32 r) vprintf(.param .b64 a);", "found `.func`"),
        (".alias f, g;", "found the directive `.alias`"),
        (".tex .u32 t;", "found the directive `.tex`"),
        (".entry k() .abi_preserve 3 { }", "found the directive `.abi_preserve` of a kernel"),
        (".global .u64 p = gl;", "found `gl`, expected a constant: addresses as initial values"),
        (".global .u64 p[2] = {generic(gl), 0};", "found `generic`"),
        (".global .b8 g[];", "found `g` without a size"),
        (".global .b8 g[2] = {1, 2, 3};", "found more values than elements"),
        (".global .b8 g[4294967296][4294967296][16];", "found the size of `g`"),
        (".global .align 3 .b8 g;", "found alignment 3"),
        (".section .text { }", "found the section `.text`"),
        (".pragma \"unheard of\";", "found the pragma \"unheard of\""),
        (".address_size 32", "found addresses of 32 bits"),
        (".entry k() { ret; } .entry k() { ret; }", "found a second declaration of `k`"),
        (".entry k() { .reg .b32 %r<99999999>; }", "found 99999999 registers"),
        (".entry k() { ret;", "found the end of the text"),
        (".entry k(.param .b32 a, .param .b32 a) { }", "found a second declaration of `a`"),
        (".file 1 \"no end", "found a text without its end"),
        ("/* no end", "found `/*`"),
        (".global .b8 \u{e4};", "found the character 'ä'"),
    ];
    for (text, found) in errors {
        let error = module_error(text);
        assert!(error.starts_with("line 3 of the PTX: ") && error.contains(found), "{text}: {error}");
    }
    assert!(parse(".target sm_90").is_err_and(|error| error.to_string().contains("expected PTX, which begins with")));
    assert!(parse("").is_err());
}

/// The output of nvcc, as it is read: numbers counted in the text by hand or by grep.
#[test]
fn samples_of_nvcc_are_read() {
    let reduce = sample_module("reduce.ptx");
    let names: Vec<&str> = reduce.kernels.iter().map(|kernel| kernel.name.as_str()).collect();
    assert_eq!(names, ["row_sums", "choose"]);
    assert_eq!(reduce.kernels[0].max_threads, Some([256, 1, 1]));
    let scales = reduce.variables.iter().find(|variable| variable.name == "scales").expect("a constant");
    let values: Vec<u8> = [1.0f32, 0.5, 0.25, 0.125].iter().flat_map(|value| value.to_le_bytes()).collect();
    assert_eq!((scales.space, &scales.initial), (Space::Const, &values));
    assert!(reduce.variables.iter().any(|variable| variable.dynamic && variable.space == Space::Shared));
    let shuffles = reduce.kernels[0].body.iter().filter(|instruction| matches!(instruction.op, Op::Shfl { .. }));
    assert_eq!(shuffles.count(), 10);

    let hopper = sample_module("hopper.ptx");
    let tile = &hopper.kernels[0];
    assert_eq!((hopper.target.as_str(), tile.cluster), ("sm_90a", Some([2, 1, 1])));
    assert_eq!((tile.parameters[0].align, tile.parameters[0].bytes), (64, 128));
    let count = |known: fn(&Op) -> bool| tile.body.iter().filter(|instruction| known(&instruction.op)).count();
    let text = String::from_utf8(crate::front::sample("hopper.ptx")).expect("PTX is ASCII");
    assert_eq!(count(|op| matches!(op, Op::Wgmma { .. })), text.matches("wgmma.mma_async").count());
    assert_eq!(count(|op| matches!(op, Op::CpAsyncBulkTensor { .. })), text.matches("cp.async.bulk.tensor").count());
    let waits = count(|op| matches!(op, Op::Mbarrier(Mbarrier::Wait { .. })));
    assert_eq!(waits, text.matches("mbarrier.try_wait").count());
    assert!(waits > 1, "the wait's labels stand in the text more than once");

    // An inlined function's place leads to the line that calls it.
    let path = reduce.files.iter().find(|(_, path)| path == "reduce.cu").expect("the source is a file").0;
    let kernel = &reduce.kernels[0];
    let shuffle = kernel.body.iter().find(|instruction| matches!(instruction.op, Op::Shfl { .. })).expect("a shuffle");
    let mut place = kernel.places[shuffle.place.expect("it has a place") as usize];
    while let Some(outer) = place.inlined_at {
        place = kernel.places[outer as usize];
    }
    assert_eq!((place.file, place.line), (path, 20), "sum = warp_sum(sum) in reduce.cu");
    sample_module("halves.ptx");
}
