//! The password file.
//!
//! Source: PostgreSQL 18, libpq, "The Password File".

use std::path::Path;
use std::path::PathBuf;

/// What a line of the password file is matched against.
#[derive(Clone, Copy, Debug)]
pub struct PasswordFor<'a> {
    /// Host name; `localhost` for the default socket folder.
    pub host: &'a str,
    /// Port.
    pub port: &'a str,
    /// Database.
    pub database: &'a str,
    /// User.
    pub user: &'a str,
}

/// Lines of a password file that may be used.
#[derive(Clone, Default)]
pub struct PasswordFile {
    content: String,
}

impl PasswordFile {
    /// Reads the file of this path, or `~/.pgpass`. One that is not there is empty, and so is one
    /// that others may read: the log says so.
    pub fn read(path: Option<&str>) -> Self {
        let default = || std::env::home_dir().map(|home| home.join(".pgpass"));
        let Some(path) = path.map(PathBuf::from).or_else(default) else {
            return PasswordFile::default();
        };
        let Ok(content) = std::fs::read_to_string(&path) else { return PasswordFile::default() };
        if readable_by_others(&path) {
            tracing::warn!(
                path = %path.display(),
                "the password file is not used, because others may read it; chmod 600 mends that"
            );
            return PasswordFile::default();
        }
        PasswordFile { content }
    }

    /// The password for a connection: of the first line that fits.
    pub fn password(&self, wanted: PasswordFor<'_>) -> Option<String> {
        self.content.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
            let fields = fields(line);
            let [host, port, database, user, password] = fields.as_slice() else { return None };
            let matches = |field: &str, value: &str| field == "*" || field == value;
            let found = matches(host, wanted.host)
                && matches(port, wanted.port)
                && matches(database, wanted.database)
                && matches(user, wanted.user);
            found.then(|| password.clone())
        })
    }
}

/// Splits a line at colons; `\:` and `\\` stand for themselves. The password keeps later colons.
fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let last = fields.len() == 5;
        match character {
            '\\' => fields.last_mut().into_iter().for_each(|field| field.extend(characters.next())),
            ':' if !last => fields.push(String::new()),
            _ => fields.last_mut().into_iter().for_each(|field| field.push(character)),
        }
    }
    fields
}

fn readable_by_others(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_first_matching_line() {
        let content = "# comment\nother:*:*:*:no\n*:5432:sh\\:op:me:pa:ss\\\\word\n*:*:*:*:last\n";
        let file = PasswordFile { content: content.to_owned() };
        let wanted = PasswordFor { host: "h", port: "5432", database: "sh:op", user: "me" };
        assert_eq!(file.password(wanted).as_deref(), Some("pa:ss\\word"));
        let other = PasswordFor { user: "you", ..wanted };
        assert_eq!(file.password(other).as_deref(), Some("last"));
    }
}
