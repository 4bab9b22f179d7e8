//! `--jq`: a filter over JSON.

use std::fmt;

use jaq_core::{
    Compiler, Ctx, Filter, Vars, data,
    load::{Arena, File, Loader},
    unwrap_valr,
};
use jaq_json::{Val, read, write};

use crate::cli::error::{CliError, Result};

/// A compiled filter.
pub(in crate::cli) struct Jq {
    filter: Filter<data::JustLut<Val>>,
}

impl fmt::Debug for Jq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Jq")
    }
}

impl Jq {
    pub(super) fn compile(code: &str) -> Result<Jq> {
        let broken = |what: String| {
            CliError::usage(format!("--jq {code:?} is no filter: {what}"))
                .hint("for example --jq '.[].name', as in the manual of jq")
        };
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions)
            .load(&arena, File { code, path: () })
            .map_err(|_| broken("it can't be parsed".to_owned()))?;
        let filter = Compiler::default().with_funs(functions).compile(modules).map_err(|errors| {
            let names: Vec<&str> = errors.iter().flat_map(|(_, errors)| errors.iter().map(|error| error.0)).collect();
            broken(format!("unknown {}", names.join(", ")))
        })?;
        Ok(Jq { filter })
    }

    /// Runs the filter over one JSON text. Its results, one a line; strings without quotes.
    pub(in crate::cli) fn run(&self, json: &[u8]) -> Result<Vec<u8>> {
        let failed = |what: String| CliError::failed(format!("--jq: {what}"));
        let input = read::parse_single(json).map_err(|error| failed(error.to_string()))?;
        let context = Ctx::<data::JustLut<Val>>::new(&self.filter.lut, Vars::new([]));
        let mut text = Vec::new();
        for result in self.filter.id.run((context, input)).map(unwrap_valr) {
            let value = result.map_err(|error| failed(error.to_string()))?;
            match value {
                Val::TStr(string) => text.extend_from_slice(&string),
                other => write::write(&mut text, &write::Pp::default(), 0, &other)
                    .map_err(|error| failed(error.to_string()))?,
            }
            text.push(b'\n');
        }
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let run = |code: &str| Jq::compile(code).unwrap().run(br#"[{"a":"x y","b":1.50},{"a":null}]"#).unwrap();
        assert_eq!(run(".[].a"), b"x y\nnull\n");
        assert_eq!(run(".[0]"), b"{\"a\":\"x y\",\"b\":1.50}\n");
        assert_eq!(run("length"), b"2\n");
        assert!(Jq::compile(".[").is_err());
        assert!(Jq::compile("nonsense").is_err());
        assert!(Jq::compile(".a").unwrap().run(b"[]").is_err());
    }
}
