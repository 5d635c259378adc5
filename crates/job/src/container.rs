//! The containers of a job, as evaluated when it begins (actions/runner `PipelineTemplateConverter.cs`,
//! `ContainerInfo.cs`). Deliberately absent: what options and volumes mean, which is the executor's.

use trainyard_model::Value;

/// A container that a job asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// `image`
    pub image: String,
    /// `env`
    pub env: Vec<(String, String)>,
    /// `ports`
    pub ports: Vec<String>,
    /// `volumes`
    pub volumes: Vec<String>,
    /// `options`
    pub options: String,
    /// `credentials`: name and password.
    pub credentials: Option<(String, String)>,
    /// `entrypoint`, of a service.
    pub entrypoint: Option<String>,
    /// `command`, of a service.
    pub command: Option<String>,
}

/// All containers of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainersSpec {
    /// That of its steps.
    pub job: Option<ContainerSpec>,
    /// Those of its services, by name; one whose image is empty is not started.
    pub services: Vec<(String, Option<ContainerSpec>)>,
}

/// What became of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ContainersReady {
    /// `job.container`
    pub container: Option<Value>,
    /// `job.services`
    pub services: Value,
    /// Whether the job's container has bash, where a job that asked for none was given one.
    pub has_bash: Option<bool>,
}

fn text(value: &Value, key: &str) -> Option<String> {
    value.get(key).map(|v| v.to_text().into_owned()).filter(|t| !t.is_empty())
}

fn list(value: &Value, key: &str) -> Vec<String> {
    match value.get(key) {
        Some(Value::Array(items)) => items.iter().map(|i| i.to_text().into_owned()).collect(),
        _ => Vec::new(),
    }
}

/// Reads an evaluated `container`, or one of `services`; none when its image is empty.
///
/// # Errors
///
/// When its credentials are not whole.
pub fn read(value: &Value) -> Result<Option<ContainerSpec>, String> {
    let Value::Object(_) = value else {
        let image = value.to_text();
        let image = image.trim();
        let image = image.strip_prefix("docker://").unwrap_or(image).to_owned();
        return Ok((!image.is_empty()).then(|| ContainerSpec { image, ..ContainerSpec::default() }));
    };
    let Some(image) = text(value, "image").map(|i| i.trim().to_owned()).filter(|i| !i.is_empty())
    else {
        return Ok(None);
    };
    let image = image.strip_prefix("docker://").map(str::to_owned).unwrap_or(image);
    let credentials = match value.get("credentials") {
        Some(given @ Value::Object(_)) => {
            let part = |key: &str| {
                text(given, key).ok_or_else(|| {
                    format!(
                        "'{image}': credentials.{key} is empty; is the secret that it names there?"
                    )
                })
            };
            Some((part("username")?, part("password")?))
        }
        _ => None,
    };
    let env = match value.get("env") {
        Some(Value::Object(env)) => {
            env.iter().map(|(k, v)| (k.to_owned(), v.to_text().into_owned())).collect()
        }
        _ => Vec::new(),
    };
    Ok(Some(ContainerSpec {
        env,
        ports: list(value, "ports"),
        volumes: list(value, "volumes"),
        options: text(value, "options").unwrap_or_default(),
        credentials,
        entrypoint: text(value, "entrypoint"),
        command: text(value, "command"),
        image,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &Value) -> String {
        match read(value) {
            Ok(Some(c)) => format!("{} {:?} {:?} {:?}", c.image, c.env, c.ports, c.credentials),
            Ok(None) => "none".into(),
            Err(why) => why,
        }
    }

    #[test]
    fn forms() {
        insta::assert_snapshot!(check(&Value::from("python:3.12")), @"python:3.12 [] [] None");
        insta::assert_snapshot!(check(&Value::from("")), @"none");
        insta::assert_snapshot!(check(&Value::object([("image", Value::from(" "))])), @"none");
        let env = Value::object([("A", Value::Number(1.0))]);
        let map = [("image", Value::from("docker://a/b")), ("env", env)];
        insta::assert_snapshot!(check(&Value::object(map)), @r#"a/b [("A", "1")] [] None"#);
        let login = Value::object([("username", Value::from("me")), ("password", Value::from(""))]);
        let map = [("image", Value::from("x")), ("credentials", login)];
        insta::assert_snapshot!(check(&Value::object(map)), @"'x': credentials.password is empty; is the secret that it names there?");
    }
}
