//! The connection service file.
//!
//! Source: PostgreSQL 18, libpq, "The Connection Service File".

use std::path::PathBuf;

use crate::capture::postgres::conninfo::ConnInfo;

/// Where Debian's and most other packages look for the system's file; `PGSYSCONFDIR` goes before.
const SYSTEM_FOLDERS: [&str; 2] = ["/etc/postgresql-common", "/etc"];

/// The name of the system's file.
const SYSTEM_FILE: &str = "pg_service.conf";

/// The parameters of a service: of the file of this path, or `~/.pg_service.conf`; then of the
/// system's.
///
/// # Errors
///
/// No file has the service, or its lines cannot be read.
pub(super) fn read(service: &str, path: Option<&str>) -> Result<ConnInfo, String> {
    let own = match path {
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::home_dir().map(|home| home.join(".pg_service.conf")),
    };
    let system = std::env::var_os("PGSYSCONFDIR").map(PathBuf::from);
    let system = system.into_iter().chain(SYSTEM_FOLDERS.map(PathBuf::from));
    for path in own.into_iter().chain(system.map(|folder| folder.join(SYSTEM_FILE))) {
        let Ok(content) = std::fs::read_to_string(&path) else { continue };
        let found = parse(&content, service)
            .map_err(|error| format!("service file {}: {error}", path.display()))?;
        if let Some(info) = found {
            return Ok(info);
        }
    }
    Err(format!(
        "service \"{service}\" is in no service file (PGSERVICEFILE, ~/.pg_service.conf, \
         {}/{SYSTEM_FILE})",
        SYSTEM_FOLDERS.first().unwrap_or(&"")
    ))
}

/// The lines below `[service]`, up to the next heading. The first of equal names counts.
fn parse(content: &str, service: &str) -> Result<Option<ConnInfo>, String> {
    let mut info = None;
    for (number, line) in content.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            if info.is_some() {
                break;
            }
            if heading.strip_suffix(']') == Some(service) {
                info = Some(ConnInfo::default());
            }
            continue;
        }
        let Some(known) = &mut info else { continue };
        let at = |error: String| format!("line {}: {error}", number + 1);
        let (name, value) =
            line.split_once('=').ok_or_else(|| at("expected name=value".to_owned()))?;
        if matches!(name, "service" | "servicefile") {
            return Err(at("a service cannot name another".to_owned()));
        }
        let mut one = ConnInfo::default();
        one.set(name, value).map_err(at)?;
        *known = std::mem::take(known).or(one);
    }
    Ok(info)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_ends_at_the_next_heading_and_its_first_lines_count() {
        let content = "# x\n[a]\nhost=one\n\n[b]\nhost=two\nhost=three\nport=5433\n[c]\nuser=u\n";
        let info = parse(content, "b").unwrap().unwrap();
        assert_eq!((info.get("host"), info.get("port")), (Some("two"), Some("5433")));
        assert_eq!(info.get("user"), None);
        assert_eq!(parse(content, "d").unwrap(), None);
        for (content, message) in [
            ("[a]\nnonsense\n", "line 2: expected name=value"),
            ("[a]\nservice=b\n", "cannot name another"),
            ("[a]\nhots=b\n", "nearest is \"host\""),
        ] {
            let error = parse(content, "a").unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
