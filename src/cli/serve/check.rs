//! `ensign serve --check`: the settings that are in force, and where they come from.

use serde_json::json;

use super::Settings;
use crate::{
    cli::{
        error::Result,
        output::{Listing, Output},
    },
    config::Source,
};

/// Lists the settings; `computed` has the values of those that nobody set and whose defaults depend on others.
pub(super) fn show(output: &mut Output, settings: &Settings, computed: &[(&'static str, String)]) -> Result<()> {
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for setting in settings.iter() {
        let default = || computed.iter().find(|(name, _)| *name == setting.name).map(|(_, value)| value.clone());
        let value = match &setting.source {
            Source::Default => setting.value.clone().or_else(default),
            _ => setting.value.clone(),
        };
        let source = setting.source.to_string();
        rows.push(vec![setting.name.clone(), value.clone().unwrap_or_else(|| "-".to_owned()), source.clone()]);
        values.push(json!({ "name": setting.name, "value": value, "source": source }));
    }
    let columns = &["setting", "value", "source"];
    output.list(Listing { columns, rows, values, when_empty: "there are no settings" })
}
