//! The clean environment of a child: what of the caller's variables it gets.

/// Variables that pass from the caller to the steps; documented in the README.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "TZ",
    // Certificate authorities.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    // Package indexes by files of this machine.
    "PIP_CONFIG_FILE",
    "PIP_FIND_LINKS",
    "PIP_NO_INDEX",
    "UV_INSECURE_HOST",
    "UV_CONFIG_FILE",
    "NPM_CONFIG_USERCONFIG",
    "npm_config_userconfig",
];

/// Proxies: they pass into containers, too.
pub const PROXIES: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "all_proxy",
];

/// Addresses of package indexes: they pass into containers, too.
pub const INDEXES: &[&str] = &[
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_TRUSTED_HOST",
    "UV_INDEX",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
    "UV_EXTRA_INDEX_URL",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
];

/// Prefixes of which every variable passes.
const PASSED_PREFIXES: &[&str] = &["LC_"];

/// The variables that every child of a job starts with.
pub fn base(inherit_all: bool, extra: &[(String, String)]) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
        .filter(|(name, _)| {
            inherit_all
                || [PASSED, PROXIES, INDEXES].iter().any(|l| l.contains(&name.as_str()))
                || PASSED_PREFIXES.iter().any(|p| name.starts_with(p))
        })
        .collect();
    for (key, value) in extra {
        set(&mut env, key, value);
    }
    env
}

/// Sets a variable in place.
pub fn set(env: &mut Vec<(String, String)>, key: &str, value: &str) {
    match env.iter_mut().find(|(k, _)| k == key) {
        Some(pair) => pair.1 = value.to_owned(),
        None => env.push((key.to_owned(), value.to_owned())),
    }
}

/// The value of a variable.
pub fn get<'a>(env: &'a [(String, String)], key: &str) -> Option<&'a str> {
    env.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

/// The program of that name on a PATH.
pub fn which(name: &str, path: &str) -> Option<std::path::PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable = |p: &std::path::Path| {
        p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if name.contains('/') {
        let path = std::path::PathBuf::from(name);
        return runnable(&path).then_some(path);
    }
    path.split(':')
        .filter(|p| !p.is_empty())
        .map(|folder| std::path::Path::new(folder).join(name))
        .find(|p| runnable(p))
}
