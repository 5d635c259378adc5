//! The matrix of a strategy: product, exclude, include, names.
//! Follows actions/runner `Conversion/MatrixBuilder.cs` and `JobNameBuilder.cs`.

use std::sync::Arc;

use trainyard_expression::{index, loose_eq};
use trainyard_model::{Object, Value};

/// Most jobs that one matrix may make; GitHub's server refuses more.
pub const MAX_CELLS: usize = 256;

/// One row of a matrix.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The `matrix` context.
    pub values: Value,
    /// The scalars that make up its name, in order: those of its vectors, without what
    /// includes added.
    pub segments: Vec<String>,
}

/// A matrix that cannot be made: where in the matrix, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixError {
    /// The key it is about, if one.
    pub key: Option<String>,
    /// What is wrong, in GitHub's words.
    pub message: String,
}

fn error<T>(key: Option<&str>, message: impl Into<String>) -> Result<T, MatrixError> {
    Err(MatrixError { key: key.map(str::to_owned), message: message.into() })
}

/// The cells of an evaluated `matrix` mapping, in order.
pub fn expand(matrix: &Value) -> Result<Vec<Cell>, MatrixError> {
    let Value::Object(matrix) = matrix else {
        return error(None, format!("The matrix must be a mapping, found {}", matrix.kind()));
    };
    let mut vectors: Vec<(&str, &Arc<Vec<Value>>)> = Vec::new();
    let mut include: &[Value] = &[];
    let mut exclude: &[Value] = &[];
    for (key, value) in matrix.iter() {
        let Value::Array(items) = value else {
            return error(
                Some(key),
                format!("Matrix '{key}' must be a list, found {}", value.kind()),
            );
        };
        match key {
            "include" => include = items,
            "exclude" => exclude = items,
            _ if items.is_empty() => {
                return error(
                    Some(key),
                    format!("Matrix vector '{key}' does not contain any values"),
                );
            }
            _ => vectors.push((key, items)),
        }
    }
    if vectors.is_empty() && include.is_empty() {
        return error(None, "Matrix must define at least one vector");
    }
    let includes = read_includes(include, &vectors)?;
    let excludes = read_excludes(exclude, &vectors)?;
    let size = match vectors.is_empty() {
        true => 0,
        false => vectors.iter().fold(1usize, |n, (_, v)| n.saturating_mul(v.len())),
    };
    // Excludes may bring a large product down again, but not one that would never be walked.
    if size > MAX_CELLS * MAX_CELLS {
        return too_many(size);
    }
    let mut cells = Vec::new();
    let mut matched = vec![false; includes.len()];
    for index in 0..size {
        let row = product_row(&vectors, size, index);
        if excludes.iter().any(|filter| matches(filter, &row)) {
            continue;
        }
        let mut extra = Object::new();
        for (i, item) in includes.iter().enumerate() {
            if matches(&item.filter, &row) {
                matched[i] = true;
                for (key, value) in item.extra.iter() {
                    extra.insert(key, value.clone());
                }
            }
        }
        let segments = segments(&row);
        let mut values = row;
        for (key, value) in extra.iter() {
            values.insert(key, value.clone());
        }
        cells.push(Cell { values: Value::Object(Arc::new(values)), segments });
    }
    for (item, _) in includes.iter().zip(&matched).filter(|(_, matched)| !**matched) {
        let mut values = item.filter.clone();
        for (key, value) in item.extra.iter() {
            values.insert(key, value.clone());
        }
        let segments = segments(&values);
        cells.push(Cell { values: Value::Object(Arc::new(values)), segments });
    }
    if cells.is_empty() {
        // Everything excluded leaves one job without a matrix (`EvaluateStrategy`).
        cells.push(Cell { values: Value::Null, segments: Vec::new() });
    }
    if cells.len() > MAX_CELLS {
        return too_many(cells.len());
    }
    Ok(cells)
}

fn too_many<T>(count: usize) -> Result<T, MatrixError> {
    error(
        None,
        format!(
            "The strategy produced {count} configurations which exceeds the maximum of {MAX_CELLS} configurations"
        ),
    )
}

fn product_row(vectors: &[(&str, &Arc<Vec<Value>>)], size: usize, index: usize) -> Object {
    let mut row = Object::new();
    let mut block = size;
    for (name, vector) in vectors {
        block /= vector.len();
        row.insert(*name, vector[(index / block) % vector.len()].clone());
    }
    row
}

struct Include {
    filter: Object,
    extra: Object,
}

fn read_includes(
    items: &[Value],
    vectors: &[(&str, &Arc<Vec<Value>>)],
) -> Result<Vec<Include>, MatrixError> {
    let mut includes = Vec::new();
    for item in items {
        let Value::Object(mapping) = item else {
            return error(Some("include"), "A matrix include must be a mapping");
        };
        if mapping.is_empty() {
            return error(Some("include"), "Matrix include mapping does not contain any values");
        }
        let mut include = Include { filter: Object::new(), extra: Object::new() };
        for (key, value) in mapping.iter() {
            let filters = vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key));
            let side = if filters { &mut include.filter } else { &mut include.extra };
            side.insert(key, value.clone());
        }
        includes.push(include);
    }
    Ok(includes)
}

fn read_excludes(
    items: &[Value],
    vectors: &[(&str, &Arc<Vec<Value>>)],
) -> Result<Vec<Object>, MatrixError> {
    let mut excludes = Vec::new();
    for item in items {
        let Value::Object(mapping) = item else {
            return error(Some("exclude"), "A matrix exclude must be a mapping");
        };
        if mapping.is_empty() {
            return error(Some("exclude"), "Matrix exclude filter must not be empty");
        }
        for (key, _) in mapping.iter() {
            if !vectors.iter().any(|(name, _)| name.eq_ignore_ascii_case(key)) {
                return error(
                    Some(key),
                    format!("Matrix exclude key '{key}' does not match any key within the matrix"),
                );
            }
        }
        excludes.push(Object::clone(mapping));
    }
    Ok(excludes)
}

fn matches(filter: &Object, row: &Object) -> bool {
    filter.iter().all(|(key, wanted)| leaf_matches(wanted, row.get(key).unwrap_or(&Value::Null)))
}

/// Every scalar of the filter must equal what stands at its path; what is not there is null.
fn leaf_matches(wanted: &Value, found: &Value) -> bool {
    let at = |key: Value| index(found, &key).cloned().unwrap_or_default();
    match wanted {
        Value::Object(object) => {
            object.iter().all(|(key, wanted)| leaf_matches(wanted, &at(Value::from(key))))
        }
        #[allow(clippy::cast_precision_loss)]
        Value::Array(items) => items
            .iter()
            .enumerate()
            .all(|(i, wanted)| leaf_matches(wanted, &at(Value::Number(i as f64)))),
        // The runner writes the literal into an expression, and so through G15.
        Value::Number(n) => {
            let printed = trainyard_model::parse_number(&trainyard_model::number_to_string(*n));
            loose_eq(found, &Value::Number(printed))
        }
        scalar => loose_eq(found, scalar),
    }
}

fn segments(row: &Object) -> Vec<String> {
    let mut out = Vec::new();
    for (_, value) in row.iter() {
        collect_segments(value, &mut out);
    }
    out
}

fn collect_segments(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|v| collect_segments(v, out)),
        Value::Object(object) => object.iter().for_each(|(_, v)| collect_segments(v, out)),
        scalar => {
            let text = scalar.to_text();
            if !text.is_empty() {
                out.push(text.into_owned());
            }
        }
    }
}

/// The name of a job made by a matrix: `name (a, b)`, at most 100 UTF-16 units.
pub fn display_name(job: &str, segments: &[String]) -> String {
    let name = match segments.is_empty() {
        true => job.to_owned(),
        false => format!("{job} ({})", segments.join(", ")),
    };
    let units: Vec<u16> = name.encode_utf16().collect();
    if units.len() <= 100 {
        return name;
    }
    format!("{}...", String::from_utf16_lossy(&units[..97]))
}
