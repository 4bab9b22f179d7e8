//! The protocol is other people's as much as ours: a name or a number that changes breaks every client there is.

use std::fmt::Write as _;

use ensign::api::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

/// Everything that a client can see of `proto/`: a deliberate change of it changes this file too.
const PINNED: &str = include_str!("../data/protocol.txt");

#[test]
fn the_protocol_is_pinned() {
    let found = listing();
    if found == PINNED {
        return;
    }
    let copy = concat!(env!("CARGO_TARGET_TMPDIR"), "/protocol.txt");
    std::fs::write(copy, &found).unwrap();
    let missing = PINNED.lines().filter(|line| !found.lines().any(|other| other == *line));
    let added = found.lines().filter(|line| !PINNED.lines().any(|other| other == *line));
    let changes: Vec<String> =
        missing.map(|line| format!("- {line}")).chain(added.map(|line| format!("+ {line}"))).collect();
    panic!("proto/ differs from tests/data/protocol.txt; it would be {copy}:\n{}", changes.join("\n"));
}

/// Nothing in the files is left to be understood later: no options that change the encoding, no extensions, no groups.
#[test]
fn the_files_are_plain_proto3() {
    for file in own_files() {
        let name = file.name();
        assert_eq!(file.syntax(), "proto3", "{name}");
        assert!(file.options.is_none(), "{name} has options");
        assert!(file.extension.is_empty(), "{name} has extensions");
        for message in &file.message_type {
            assert!(message.reserved_range.is_empty() && message.reserved_name.is_empty(), "{name}");
            assert!(message.field.iter().all(|field| !field.proto3_optional()), "{name}");
        }
    }
}

#[test]
fn every_part_is_described() {
    for file in own_files() {
        let described: Vec<&[i32]> = file
            .source_code_info
            .iter()
            .flat_map(|info| &info.location)
            .filter(|location| !location.leading_comments().trim().is_empty())
            .map(|location| location.path.as_slice())
            .collect();
        let mut missing = Vec::new();
        for (at, message) in (0..).zip(&file.message_type) {
            check_message(&[4, at], message, &described, &mut missing);
        }
        for (at, service) in (0..).zip(&file.service) {
            for (method_at, method) in (0..).zip(&service.method) {
                if !described.contains(&&[6, at, 2, method_at][..]) {
                    missing.push(method.name().to_owned());
                }
            }
        }
        assert!(missing.is_empty(), "{} says nothing about {missing:?}", file.name());
    }
}

fn check_message(path: &[i32], message: &DescriptorProto, described: &[&[i32]], missing: &mut Vec<String>) {
    if is_map_entry(message) {
        return;
    }
    let mut check = |tail: &[i32], name: &str| {
        if !described.contains(&&[path, tail].concat()[..]) {
            missing.push(format!("{}.{name}", message.name()));
        }
    };
    check(&[], "");
    for (at, field) in (0..).zip(&message.field) {
        check(&[2, at], field.name());
    }
    for (at, kind) in (0..).zip(&message.enum_type) {
        check(&[4, at], kind.name());
        for (value_at, value) in (0..).zip(&kind.value) {
            check(&[4, at, 2, value_at], value.name());
        }
    }
    for (at, nested) in (0..).zip(&message.nested_type) {
        check_message(&[path, &[3, at]].concat(), nested, described, missing);
    }
}

/// The files in `proto/`, without the well-known ones that they import.
fn own_files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut files: Vec<FileDescriptorProto> =
        set.file.into_iter().filter(|file| !file.name().starts_with("google/")).collect();
    files.sort_by(|a, b| a.name().cmp(b.name()));
    files
}

fn listing() -> String {
    let mut out = String::new();
    for file in own_files() {
        writeln!(out, "file {}: package {}", file.name(), file.package()).unwrap();
        let mut imports = file.dependency.clone();
        imports.sort();
        for import in imports {
            writeln!(out, "  import {import}").unwrap();
        }
        for service in &file.service {
            writeln!(out, "\nservice {}.{}", file.package(), service.name()).unwrap();
            for method in &service.method {
                let stream = |streaming: bool| if streaming { "stream " } else { "" };
                writeln!(
                    out,
                    "  {}({}{}) returns ({}{})",
                    method.name(),
                    stream(method.client_streaming()),
                    short(method.input_type(), file.package()),
                    stream(method.server_streaming()),
                    short(method.output_type(), file.package()),
                )
                .unwrap();
            }
        }
        for message in &file.message_type {
            list_message(&mut out, file.package(), "", message);
        }
        for kind in &file.enum_type {
            list_enum(&mut out, "", kind);
        }
        out.push('\n');
    }
    out
}

fn list_message(out: &mut String, package: &str, outer: &str, message: &DescriptorProto) {
    let name = format!("{outer}{}", message.name());
    writeln!(out, "\nmessage {name}").unwrap();
    for field in &message.field {
        let oneof = field
            .oneof_index
            .map(|at| format!(" (oneof {})", message.oneof_decl[usize::try_from(at).unwrap()].name()))
            .unwrap_or_default();
        writeln!(out, "  {name}.{} {} = {}{oneof}", field.name(), kind_of(message, field, package), field.number())
            .unwrap();
    }
    for kind in &message.enum_type {
        list_enum(out, &format!("{name}."), kind);
    }
    for nested in message.nested_type.iter().filter(|nested| !is_map_entry(nested)) {
        list_message(out, package, &format!("{name}."), nested);
    }
}

fn list_enum(out: &mut String, outer: &str, kind: &EnumDescriptorProto) {
    let alias =
        if kind.options.as_ref().is_some_and(prost_types::EnumOptions::allow_alias) { " (aliases)" } else { "" };
    let name = format!("{outer}{}", kind.name());
    writeln!(out, "\nenum {name}{alias}").unwrap();
    for value in &kind.value {
        writeln!(out, "  {name}.{} = {}", value.name(), value.number()).unwrap();
    }
}

fn kind_of(message: &DescriptorProto, field: &FieldDescriptorProto, package: &str) -> String {
    let entry = message
        .nested_type
        .iter()
        .filter(|nested| is_map_entry(nested))
        .find(|nested| field.type_name().ends_with(&format!(".{}.{}", message.name(), nested.name())));
    if let Some(entry) = entry {
        let part = |at: usize| kind_of(entry, &entry.field[at], package);
        return format!("map<{}, {}>", part(0), part(1));
    }
    let repeated = if field.label() == Label::Repeated { "repeated " } else { "" };
    let kind = match field.r#type() {
        Type::Message => short(field.type_name(), package),
        Type::Enum => format!("enum {}", short(field.type_name(), package)),
        scalar => scalar.as_str_name().trim_start_matches("TYPE_").to_lowercase(),
    };
    format!("{repeated}{kind}")
}

/// A full name as it is written within a package.
fn short(name: &str, package: &str) -> String {
    let name = name.trim_start_matches('.');
    name.strip_prefix(&format!("{package}.")).unwrap_or(name).to_owned()
}

fn is_map_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(prost_types::MessageOptions::map_entry)
}
