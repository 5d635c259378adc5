//! Values of flags: sizes, times, cards.

use crate::options::Gpus;

/// `all`, `2`, `device=0,1`, `"device=0,1",capabilities=utility` (docker/cli `opts/gpus.go`).
pub(crate) fn gpus(value: &str) -> Option<Gpus> {
    let mut gpus = Gpus { count: None, ids: Vec::new(), capabilities: Vec::new(), driver: None };
    let mut last = "";
    for field in value.trim_matches('\'').split(',') {
        let field = field.trim().trim_matches('"');
        match field.split_once('=') {
            Some(("device", id)) => {
                gpus.ids.push(id.to_owned());
                last = "device";
            }
            Some(("count", count)) if count == "all" || count == "-1" => {}
            Some(("count", count)) => gpus.count = Some(count.parse().ok()?),
            Some(("capabilities", name)) => {
                gpus.capabilities.push(name.to_owned());
                last = "capabilities";
            }
            Some(("driver", name)) => gpus.driver = Some(name.to_owned()),
            Some(("options", _)) => {}
            Some(_) => return None,
            // Of a list that a key before it began.
            None if last == "device" => gpus.ids.push(field.to_owned()),
            None if last == "capabilities" => gpus.capabilities.push(field.to_owned()),
            None if field == "all" || field == "-1" => {}
            None => gpus.count = Some(field.parse().ok().filter(|n| *n > 0)?),
        }
    }
    Some(gpus)
}

/// Bytes of `512m`, `8g`, `1GiB`, `1073741824`.
pub fn size(text: &str) -> Option<i64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor: f64 = match unit.trim() {
        "" | "b" => 1.0,
        "k" | "kb" | "kib" | "ki" => 1024.0,
        "m" | "mb" | "mib" | "mi" => 1024.0 * 1024.0,
        "g" | "gb" | "gib" | "gi" => 1024.0 * 1024.0 * 1024.0,
        "t" | "tb" | "tib" | "ti" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * factor;
    #[allow(clippy::cast_possible_truncation)]
    (0.0..9e18).contains(&bytes).then_some(bytes as i64)
}

/// Nanoseconds of `10s`, `1m30s`, `500ms`, as Go writes times; a bare number is refused, as there.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let mut rest = text.trim();
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..end] {
                "ns" => 1.0,
                "us" | "µs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[end..];
    }
    #[allow(clippy::cast_possible_truncation)]
    (total > 0.0 && total < 9e18).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards() {
        let check = |text: &str| format!("{:?}", gpus(text));
        insta::assert_snapshot!(check("2"), @"Some(Gpus { count: Some(2), ids: [], capabilities: [], driver: None })");
        insta::assert_snapshot!(check("\"device=0,1\""), @r#"Some(Gpus { count: None, ids: ["0", "1"], capabilities: [], driver: None })"#);
        insta::assert_snapshot!(check("device=1,capabilities=utility"), @r#"Some(Gpus { count: None, ids: ["1"], capabilities: ["utility"], driver: None })"#);
    }
}
