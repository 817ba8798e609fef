//! Finds the places of a file where a mutant can be.
//!
//! Left out: tests, `const` contexts, patterns, types, attributes, arguments of macros other than those of [`OPEN_MACROS`], and the test
//! cases and timed passes that src/ops declares, which are no code of the program.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{BinOp, Expr, ExprLit, Lit, ReturnType, Stmt, Type, UnOp};

use crate::site::{Kind, Site};

/// Macros whose arguments are plain expressions that run.
const OPEN_MACROS: [&str; 2] = ["vectorised", "vec"];

/// All places of a file, in the order of the text.
///
/// # Errors
/// If the text is no Rust.
pub fn collect(file: &str, source: &str) -> syn::Result<Vec<Site>> {
    let parsed = syn::parse_file(source)?;
    let mut finder = Finder { file, source, function: String::new(), in_function: false, sites: Vec::new() };
    finder.visit_file(&parsed);
    finder.sites.sort_by_key(|site| (site.start, site.end));
    Ok(finder.sites)
}

struct Finder<'a> {
    file: &'a str,
    source: &'a str,
    function: String,
    in_function: bool,
    sites: Vec<Site>,
}

/// Whether an item is compiled for tests alone, or is a test.
fn is_of_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let word = |meta: &syn::MetaList| {
            meta.tokens.to_string().split(|c: char| !c.is_alphanumeric()).any(|word| word == "test")
        };
        attribute.path().is_ident("test")
            || attribute.meta.require_list().is_ok_and(|list| list.path.is_ident("cfg") && word(list))
    })
}

/// Whether a condition binds names: its sides can't change places, nor can it be turned round.
fn binds(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        Expr::Paren(inner) => binds(&inner.expr),
        _ => false,
    }
}

/// One line, and not much of it.
fn short(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= 70 { line } else { line.chars().take(67).collect::<String>() + "..." }
}

/// The operator that a mutant has instead.
fn other_operator(operator: &BinOp) -> Option<(Kind, &'static str)> {
    let arithmetic = |other| Some((Kind::Arithmetic, other));
    let comparison = |other| Some((Kind::Comparison, other));
    match operator {
        BinOp::Add(_) => arithmetic("-"),
        BinOp::Sub(_) => arithmetic("+"),
        BinOp::Mul(_) => arithmetic("+"),
        BinOp::Div(_) => arithmetic("*"),
        BinOp::Rem(_) => arithmetic("/"),
        BinOp::Shl(_) => arithmetic(">>"),
        BinOp::Shr(_) => arithmetic("<<"),
        BinOp::BitAnd(_) => arithmetic("|"),
        BinOp::BitOr(_) => arithmetic("&"),
        BinOp::BitXor(_) => arithmetic("|"),
        BinOp::AddAssign(_) => arithmetic("-="),
        BinOp::SubAssign(_) => arithmetic("+="),
        BinOp::MulAssign(_) => arithmetic("+="),
        BinOp::DivAssign(_) => arithmetic("*="),
        BinOp::Lt(_) => comparison("<="),
        BinOp::Le(_) => comparison("<"),
        BinOp::Gt(_) => comparison(">="),
        BinOp::Ge(_) => comparison(">"),
        BinOp::Eq(_) => comparison("!="),
        BinOp::Ne(_) => comparison("=="),
        BinOp::And(_) => Some((Kind::Logic, "||")),
        BinOp::Or(_) => Some((Kind::Logic, "&&")),
        _ => None,
    }
}

/// What a function of this type can return at once.
fn early_return(output: &ReturnType) -> Option<&'static str> {
    let ReturnType::Type(_, of) = output else { return Some("") };
    let Type::Path(path) = &**of else { return None };
    let last = path.path.segments.last()?;
    let first_argument = match &last.arguments {
        syn::PathArguments::AngleBracketed(list) => list.args.first(),
        _ => None,
    };
    match last.ident.to_string().as_str() {
        "Result" => match first_argument {
            Some(syn::GenericArgument::Type(Type::Tuple(unit))) if unit.elems.is_empty() => Some("Ok(())"),
            Some(syn::GenericArgument::Type(Type::Path(path))) if path.path.is_ident("bool") => Some("Ok(true)"),
            _ => None,
        },
        "Option" => Some("None"),
        "Vec" => Some("Vec::new()"),
        "String" => Some("String::new()"),
        "bool" => Some("true"),
        "usize" | "u64" | "u32" | "i64" | "i32" => Some("1"),
        "f64" | "f32" => Some("1.0"),
        _ => None,
    }
}

impl Finder<'_> {
    fn text(&self, span: Span) -> &str {
        &self.source[span.byte_range()]
    }

    fn add(&mut self, kind: Kind, span: Span, after: &str, text: String) {
        let range = span.byte_range();
        self.add_at(kind, span, (range.start, range.end), short(self.text(span)), short(after), text);
    }

    fn add_at(
        &mut self,
        kind: Kind,
        span: Span,
        (start, end): (usize, usize),
        before: String,
        after: String,
        text: String,
    ) {
        if !self.in_function {
            return;
        }
        let (line, column) = (span.start().line, span.start().column + 1);
        let (file, function) = (self.file.to_owned(), self.function.clone());
        self.sites.push(Site { file, line, column, start, end, kind, function, before, after, text });
    }

    /// One of two expressions, by the switch.
    fn add_choice(&mut self, kind: Kind, span: Span, after: &str) {
        let text = format!("(if is(#) {{ {after} }} else {{ {} }})", self.text(span));
        self.add(kind, span, after, text);
    }

    fn binary(&mut self, node: &syn::ExprBinary) {
        let Some((kind, other)) = other_operator(&node.op) else { return };
        if binds(&node.left) || binds(&node.right) {
            return;
        }
        let range = |span: Span| span.byte_range();
        let (whole, operator) = (range(node.span()), range(node.op.span()));
        let after =
            format!("{}{other}{}", &self.source[whole.start..operator.start], &self.source[operator.end..whole.end]);
        self.add_choice(kind, node.span(), &after);
    }

    fn literal(&mut self, node: &ExprLit) {
        let span = node.span();
        match &node.lit {
            Lit::Int(number) => {
                let Ok(value) = number.base10_parse::<u128>() else { return };
                self.add_choice(Kind::Integer, span, &format!("{}{}", value + 1, number.suffix()));
            }
            Lit::Float(number) => {
                let Ok(value) = number.base10_parse::<f64>() else { return };
                self.add_choice(Kind::Float, span, &format!("{:?}{}", value + 1.0, number.suffix()));
            }
            Lit::Bool(flag) => self.add_choice(Kind::Integer, span, if flag.value { "false" } else { "true" }),
            _ => {}
        }
    }

    fn condition(&mut self, condition: &Expr) {
        if !binds(condition) {
            let text = self.text(condition.span());
            let (after, text) = (format!("!({text})"), format!("(is(#) != ({text}))"));
            self.add(Kind::Condition, condition.span(), &after, text);
        }
    }

    fn arguments(&mut self, arguments: &syn::punctuated::Punctuated<Expr, syn::Token![,]>) {
        let plain = |argument: &Expr| match argument {
            Expr::Path(_) | Expr::Field(_) => true,
            Expr::Reference(inner) => {
                inner.mutability.is_none() && matches!(*inner.expr, Expr::Path(_) | Expr::Field(_))
            }
            _ => false,
        };
        let pairs: Vec<(&Expr, &Expr)> = arguments.iter().zip(arguments.iter().skip(1)).collect();
        for (first, second) in pairs {
            let (a, b) = (self.text(first.span()), self.text(second.span()));
            if !plain(first) || !plain(second) || a == b {
                continue;
            }
            // Both are replaced, and evaluated in their order: names and fields, so the order is no matter.
            let text = format!("if is(#) {{ {b} }} else {{ {a} }}, if is(#) {{ {a} }} else {{ {b} }}");
            let (before, after) = (short(&format!("{a}, {b}")), short(&format!("{b}, {a}")));
            let ends = (first.span().byte_range().start, second.span().byte_range().end);
            self.add_at(Kind::Arguments, first.span(), ends, before, after, text);
        }
    }

    /// Walks through a function's body, unless it is no code of the program.
    fn within(&mut self, signature: &syn::Signature, attributes: &[syn::Attribute], body: Option<&syn::Block>) {
        let Some(body) = body else { return };
        if signature.constness.is_some() || is_of_tests(attributes) || self.declares_cases(signature) {
            return;
        }
        let outer = (std::mem::replace(&mut self.function, signature.ident.to_string()), self.in_function);
        self.in_function = true;
        let inside = self.text(body.span()).trim_matches(['{', '}']).trim().to_owned();
        if let Some(value) = early_return(&signature.output).filter(|value| !inside.is_empty() && *value != inside) {
            let at = body.brace_token.span.open().byte_range().end;
            let text = format!(" if is(#) {{ return {value}; }} ");
            let before = format!("fn {}", signature.ident);
            self.add_at(
                Kind::Body,
                signature.ident.span(),
                (at, at),
                before,
                format!("return {value};").replace(" ;", ";"),
                text,
            );
        }
        visit::visit_block(self, body);
        (self.function, self.in_function) = outer;
    }

    /// Test cases and timed passes of operations.
    fn declares_cases(&self, signature: &syn::Signature) -> bool {
        let of_cases = |text: &str| ["Case<", "Pass<", "Case <", "Pass <"].iter().any(|word| text.contains(word));
        self.file.starts_with("src/ops/") && of_cases(self.text(signature.output.span()))
    }
}

impl<'a> Visit<'a> for Finder<'_> {
    fn visit_item_mod(&mut self, node: &'a syn::ItemMod) {
        if !is_of_tests(&node.attrs) {
            visit::visit_item_mod(self, node);
        }
    }

    fn visit_item_impl(&mut self, node: &'a syn::ItemImpl) {
        if !is_of_tests(&node.attrs) {
            visit::visit_item_impl(self, node);
        }
    }

    fn visit_item_fn(&mut self, node: &'a syn::ItemFn) {
        self.within(&node.sig, &node.attrs, Some(&node.block));
    }

    fn visit_impl_item_fn(&mut self, node: &'a syn::ImplItemFn) {
        self.within(&node.sig, &node.attrs, Some(&node.block));
    }

    fn visit_trait_item_fn(&mut self, node: &'a syn::TraitItemFn) {
        self.within(&node.sig, &node.attrs, node.default.as_ref());
    }

    fn visit_item_const(&mut self, _: &'a syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'a syn::ItemStatic) {}
    fn visit_item_enum(&mut self, _: &'a syn::ItemEnum) {}
    fn visit_item_macro(&mut self, _: &'a syn::ItemMacro) {}
    fn visit_impl_item_const(&mut self, _: &'a syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'a syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'a syn::ExprConst) {}
    fn visit_pat(&mut self, _: &'a syn::Pat) {}
    fn visit_type(&mut self, _: &'a Type) {}
    fn visit_attribute(&mut self, _: &'a syn::Attribute) {}
    fn visit_generic_argument(&mut self, _: &'a syn::GenericArgument) {}

    fn visit_macro(&mut self, node: &'a syn::Macro) {
        if !OPEN_MACROS.iter().any(|name| node.path.is_ident(name)) {
            return;
        }
        let list = syn::punctuated::Punctuated::<Expr, syn::Token![,]>::parse_terminated;
        let items = node.parse_body_with(list).map(|list| list.into_iter().collect::<Vec<_>>());
        let repeated = |input: syn::parse::ParseStream<'_>| {
            let (element, _, count) =
                (input.parse::<Expr>()?, input.parse::<syn::Token![;]>()?, input.parse::<Expr>()?);
            Ok(vec![element, count])
        };
        for expression in items.or_else(|_| node.parse_body_with(repeated)).unwrap_or_default() {
            Finder::expression(self, &expression);
        }
    }

    fn visit_expr(&mut self, node: &'a Expr) {
        self.expression(node);
    }

    fn visit_arm(&mut self, node: &'a syn::Arm) {
        if let Some((_, guard)) = &node.guard {
            self.condition(guard);
        }
        visit::visit_arm(self, node);
    }

    fn visit_stmt(&mut self, node: &'a Stmt) {
        self.statement(node);
        visit::visit_stmt(self, node);
    }
}

impl Finder<'_> {
    fn expression(&mut self, node: &Expr) {
        match node {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) if matches!(unary.op, UnOp::Not(_) | UnOp::Neg(_)) => {
                let inner = self.text(unary.expr.span()).to_owned();
                self.add_choice(Kind::Sign, unary.span(), &inner);
            }
            Expr::Lit(literal) => self.literal(literal),
            Expr::If(branch) => self.condition(&branch.cond),
            Expr::While(repeated) => self.condition(&repeated.cond),
            Expr::Call(call) => self.arguments(&call.args),
            Expr::MethodCall(call) => self.arguments(&call.args),
            _ => {}
        }
        match node {
            // The length of an array is a constant.
            Expr::Repeat(array) => self.expression(&array.expr),
            _ => visit::visit_expr(self, node),
        }
    }

    fn statement(&mut self, node: &Stmt) {
        let Stmt::Expr(expression, Some(_)) = node else { return };
        let removable = match expression {
            Expr::Assign(_) | Expr::MethodCall(_) | Expr::Call(_) => true,
            Expr::Binary(binary) => matches!(other_operator(&binary.op), Some((Kind::Arithmetic, _))),
            Expr::Try(tried) => matches!(*tried.expr, Expr::MethodCall(_) | Expr::Call(_)),
            _ => false,
        };
        if removable {
            let text = format!("if !is(#) {{ {} }}", self.text(node.span()));
            self.add(Kind::Statement, node.span(), "", text);
        }
    }
}
