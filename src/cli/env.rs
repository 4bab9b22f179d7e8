//! `ensign env`: what an SDK needs, as commands for a shell.

use clap::ValueEnum;
use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    node::trust_variables,
    output::Detail,
    trust::TrustFiles,
};

/// Print what an SDK needs, as variables
///
/// The variables are ENSIGN_ENDPOINT, ENSIGN_AUTH_URL, ENSIGN_CLIENT_ID, ENSIGN_CLIENT_SECRET and ENSIGN_INSECURE. The
/// Go SDK reads them all; PyEnsign reads the two of the key, and takes the endpoint, the auth URL and `insecure` as
/// arguments. Where an authority is to be trusted besides the machine's, as with `dev-server --tls`, there are
/// ENSIGN_CA_FILE, GRPC_DEFAULT_SSL_ROOTS_FILE_PATH, which gRPC in Python reads, and SSL_CERT_FILE, which Go and OpenSSL
/// read, too; with these two they trust nobody else. The output holds the secret: it is meant for `eval`, not for a log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ eval \"$(ensign env)\"
  $ ensign env --shell fish | source")]
pub(super) struct Args {
    /// The shell to write for; without it, that of SHELL, or else the POSIX shell
    #[arg(long, value_name = "SHELL")]
    shell: Option<Shell>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shell {
    /// sh, bash, zsh and their kin
    Sh,
    Bash,
    Zsh,
    Fish,
    Powershell,
    /// NAME=VALUE lines without quotes, as for an env file
    Dotenv,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let target = context.target()?;
        let key = target.credentials(&context.environment, &context.credentials()?)?;
        let secret = key.client_secret.expose_str().ok_or_else(|| CliError::failed("the secret is not text"))?;
        let endpoint = target.endpoint()?;
        let mut variables = vec![
            ("ENSIGN_ENDPOINT", endpoint.address().to_string()),
            ("ENSIGN_AUTH_URL", endpoint.auth_url().to_owned()),
            ("ENSIGN_CLIENT_ID", key.client_id.clone()),
            ("ENSIGN_CLIENT_SECRET", secret.to_owned()),
            ("ENSIGN_INSECURE", endpoint.is_insecure().to_string()),
        ];
        if let Some(ca_file) = TrustFiles::absolute(target.trust.ca_file.as_ref())?.filter(|_| !endpoint.is_insecure())
        {
            variables.extend(trust_variables(&ca_file));
        }
        if context.output.format().is_some() || context.output.jq().is_some() {
            let value = variables.iter().map(|(name, value)| ((*name).to_owned(), json!(value)));
            let value = value.collect::<serde_json::Map<_, _>>().into();
            return context.output.detail(Detail { fields: variables.clone(), value });
        }
        let shell = self.shell.unwrap_or_else(|| current_shell(context.environment.get("SHELL")));
        let text: String = variables.iter().map(|(name, value)| line(shell, name, value)).collect();
        context.output.text(text.as_bytes())
    }
}

fn current_shell(path: Option<&str>) -> Shell {
    let name = path.and_then(|path| path.rsplit('/').next()).unwrap_or_default();
    match name {
        "fish" => Shell::Fish,
        "pwsh" => Shell::Powershell,
        _ => Shell::Sh,
    }
}

fn line(shell: Shell, name: &str, value: &str) -> String {
    match shell {
        Shell::Sh | Shell::Bash | Shell::Zsh => format!("export {name}='{}'\n", value.replace('\'', r"'\''")),
        Shell::Fish => {
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            format!("set -gx {name} '{value}'\n")
        }
        Shell::Powershell => format!("$env:{name} = '{}'\n", value.replace('\'', "''")),
        Shell::Dotenv => format!("{name}={value}\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_of_every_shell() {
        assert_eq!(line(Shell::Sh, "A", "it's"), "export A='it'\\''s'\n");
        assert_eq!(line(Shell::Fish, "A", r"it's\"), "set -gx A 'it\\'s\\\\'\n");
        assert_eq!(line(Shell::Powershell, "A", "it's"), "$env:A = 'it''s'\n");
        assert_eq!(line(Shell::Dotenv, "A", "x"), "A=x\n");
        assert_eq!(current_shell(Some("/usr/bin/fish")), Shell::Fish);
        assert_eq!(current_shell(None), Shell::Sh);
    }
}
